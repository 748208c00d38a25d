#include "check_tensor.h"

#include <algorithm>
#include <sstream>
#include <string>

#include "../core/strides.h"
#include "guard.h"

namespace pagoda::capi {
namespace {

std::string text_of(const int64_t* sizes, int count) {
  std::ostringstream text;
  text << "[";
  for (int i = 0; i < count; ++i) {
    if (i > 0) text << ", ";
    if (sizes[i] == kAnySize)
      text << "any";
    else
      text << sizes[i];
  }
  text << "]";
  return text.str();
}

void check_shape(const pagoda_tensor& given, const char* name,
                 std::initializer_list<int64_t> shape) {
  const int wanted = static_cast<int>(shape.size());
  // Every forward comes through here: the texts are composed for failures alone.
  if (given.num_dims != wanted)
    expect(false, PAGODA_INVALID_ARGUMENT, name, " has ", given.num_dims, " dimensions; it has ",
           wanted, ", ", text_of(shape.begin(), wanted));
  bool fits = true;
  int i = 0;
  for (int64_t size : shape) {
    fits = fits && given.shape[i] >= 0 && (size == kAnySize || given.shape[i] == size);
    ++i;
  }
  if (!fits)
    expect(false, PAGODA_INVALID_ARGUMENT, name, " has shape ", text_of(given.shape, wanted),
           "; this call needs ", text_of(shape.begin(), wanted));
}

void check_address(const pagoda_tensor& given, const char* name) {
  int64_t elements = 1;
  for (int i = 0; i < given.num_dims; ++i)
    if (__builtin_mul_overflow(elements, given.shape[i], &elements)) elements = INT64_MAX;
  if (elements == 0) return;
  expect(given.data != nullptr, PAGODA_INVALID_ARGUMENT, name, ".data is NULL, but it has ",
         elements, " elements");
  expect((reinterpret_cast<uintptr_t>(given.data) & (size_of(given.dtype) - 1)) == 0,
         PAGODA_INVALID_ARGUMENT, name, ".data is not aligned to its elements of ",
         size_of(given.dtype), " bytes");
}

bool is_empty(const TensorView& view) {
  return std::any_of(view.shape, view.shape + view.num_dims,
                     [](int64_t size) { return size == 0; });
}

// The furthest element lies sum (shape - 1) * stride away; that sum must fit in 62 bits of bytes.
void check_strides(const TensorView& view, const char* name, Access access, bool dense_inner) {
  const bool may_overlap = access == Access::read || is_empty(view);
  int64_t reach = 0;
  for (int i = 0; i < view.num_dims; ++i) {
    expect(view.stride[i] >= 0, PAGODA_INVALID_ARGUMENT, name, ".stride[", i, "] is ",
           view.stride[i], "; strides are not negative");
    expect(may_overlap || view.stride[i] > 0 || view.shape[i] <= 1, PAGODA_INVALID_ARGUMENT, name,
           ".stride[", i, "] is 0, which puts several elements of an output in one place");
    int64_t step = 0;
    const bool overflow =
        view.shape[i] > 0 && (__builtin_mul_overflow(view.stride[i], view.shape[i] - 1, &step) ||
                              __builtin_add_overflow(reach, step, &reach));
    expect(!overflow && reach < (INT64_MAX >> 3), PAGODA_INVALID_ARGUMENT, name, ".stride[", i,
           "] is ", view.stride[i], "; with its shape the tensor leaves the address space");
  }
  const int last = view.num_dims - 1;
  expect(!dense_inner || view.stride[last] == 1, PAGODA_INVALID_ARGUMENT, name, ".stride[", last,
         "] is ", view.stride[last], "; the last dimension must be dense (stride 1)");
}

TensorView check(const pagoda_tensor* given, const char* name, Dtype dtype,
                 std::initializer_list<int64_t> shape, Access access, bool dense_inner) {
  const pagoda_tensor own = read_struct(given, name);
  expect(own.dtype == dtype, PAGODA_INVALID_ARGUMENT, name, " is ", name_of(own.dtype),
         "; this call needs ", name_of(dtype));
  check_shape(own, name, shape);
  check_address(own, name);
  TensorView view{.data = own.data, .dtype = own.dtype, .num_dims = own.num_dims};
  for (int i = 0; i < own.num_dims; ++i) {
    view.shape[i] = own.shape[i];
    view.stride[i] = own.stride[i];
  }
  canonicalize_strides(view.num_dims, view.shape, view.stride);
  check_strides(view, name, access, dense_inner);
  return view;
}

}  // namespace

TensorView check_tensor(const pagoda_tensor* given, const char* name, Dtype dtype,
                        std::initializer_list<int64_t> shape, Access access) {
  return check(given, name, dtype, shape, access, /*dense_inner=*/true);
}

TensorView check_strided(const pagoda_tensor* given, const char* name, Dtype dtype,
                         std::initializer_list<int64_t> shape, Access access) {
  return check(given, name, dtype, shape, access, /*dense_inner=*/false);
}

TensorView check_lse(const pagoda_tensor* given, const char* name, int64_t num_heads,
                     int64_t num_tokens, Access access) {
  if (given == nullptr) return {};
  return check_strided(given, name, PAGODA_F32, {num_heads, num_tokens}, access);
}

}  // namespace pagoda::capi
