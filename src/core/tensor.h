// A borrowed, strided array as the inside of the library sees it: checked and canonical. Made from
// a pagoda_tensor at the edge (check_tensor) and only read after that.
#pragma once

#include <pagoda/pagoda.h>

#include <cstdint>

#include "dtype.h"

namespace pagoda {

struct TensorView {
  void* data = nullptr;  // null: the tensor is absent
  Dtype dtype = PAGODA_F32;
  int32_t num_dims = 0;
  int64_t shape[PAGODA_MAX_DIMS] = {};
  int64_t stride[PAGODA_MAX_DIMS] = {};  // elements

  explicit operator bool() const { return data != nullptr; }
};

}  // namespace pagoda
