// Where tensors enter: shapes, types and strides are checked once, by name, and strides of
// dimensions of size 1 are made canonical. The inside relies on it.
#pragma once

#include <initializer_list>

#include "../core/tensor.h"

namespace pagoda::capi {

inline constexpr int64_t kAnySize = -1;

enum class Access { read, write };

// Throws Failure if `given` is NULL, has another type or shape, a base that is not aligned to its
// elements, a negative stride, an innermost stride other than 1, or (for Access::write) a stride of
// 0 that would put two elements in one place. shape: kAnySize matches every size.
TensorView check_tensor(const pagoda_tensor* given, const char* name, Dtype dtype,
                        std::initializer_list<int64_t> shape, Access access);

// As above, but the last dimension may have any stride.
TensorView check_strided(const pagoda_tensor* given, const char* name, Dtype dtype,
                         std::initializer_list<int64_t> shape, Access access);

// The log-sum-exp, of any strides; absent if NULL. [num_heads, num_tokens] float
TensorView check_lse(const pagoda_tensor* given, const char* name, int64_t num_heads,
                     int64_t num_tokens, Access access);

}  // namespace pagoda::capi
