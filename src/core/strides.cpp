#include "strides.h"

#include <sstream>

namespace pagoda {

bool canonicalize_strides(int num_dims, const int64_t* shape, int64_t* stride) {
  bool changed = false;
  int64_t expected = 1;
  for (int i = num_dims; i-- > 0;) {
    if (shape[i] == 1 && stride[i] != expected) {
      stride[i] = expected;
      changed = true;
    }
    // A stride that would not fit stays what it is: its only multiple in use is zero.
    if (__builtin_mul_overflow(stride[i], shape[i], &expected)) expected = stride[i];
  }
  return changed;
}

std::string why_not_tma(const void* base, Dtype dtype, int num_dims, const int64_t* shape,
                        const int64_t* stride) {
  std::ostringstream why;
  if (reinterpret_cast<uintptr_t>(base) % 16 != 0) {
    why << "the base address is not a multiple of 16 bytes";
  } else if (num_dims < 1 || num_dims > 5) {
    why << "it has " << num_dims << " dimensions; a descriptor has 1 to 5";
  } else if (stride[num_dims - 1] != 1) {
    why << "its innermost stride is " << stride[num_dims - 1] << "; a descriptor needs 1";
  }
  if (!why.str().empty()) return why.str();
  for (int i = 0; i < num_dims; ++i) {
    if (shape[i] < 1 || shape[i] > (int64_t{1} << 32)) {
      why << "dimension " << i << " has " << shape[i] << " elements; a descriptor takes 1 to 2^32";
      return why.str();
    }
    if (i == num_dims - 1) break;
    int64_t bytes = 0;
    const bool overflow =
        __builtin_mul_overflow(stride[i], static_cast<int64_t>(size_of(dtype)), &bytes);
    if (overflow || bytes < 0 || bytes >= (int64_t{1} << 40)) {
      why << "stride " << i << " is " << stride[i]
          << " elements; a descriptor takes 0 to 2^40 bytes";
      return why.str();
    }
    if (bytes % 16 != 0) {
      why << "stride " << i << " is " << bytes << " bytes; a descriptor needs a multiple of 16";
      return why.str();
    }
  }
  return {};
}

}  // namespace pagoda
