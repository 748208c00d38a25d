// See tensor_view.h.
#include "engine/formats/tensor_view.h"

namespace pagoda::engine {
namespace {

// In the order of TensorType.
constexpr TypeTraits kTraits[] = {
    {"F32", 1, 4},      {"F16", 1, 2},      {"BF16", 1, 2},     {"Q4_0", 32, 18},
    {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24},   {"Q8_0", 32, 34},
    {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210}, {"I64", 1, 8},
};

}  // namespace

const TypeTraits& traits(TensorType type) {
  return kTraits[static_cast<size_t>(type)];
}

int64_t TensorView::num_elements() const {
  int64_t count = 1;
  for (int64_t dim : shape) count *= dim;  // the reader has checked the product
  return count;
}

int64_t TensorView::row_size() const {
  return shape.empty() ? 1 : shape.back();
}

int64_t TensorView::num_rows() const {
  int64_t count = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) count *= shape[i];
  return count;
}

}  // namespace pagoda::engine
