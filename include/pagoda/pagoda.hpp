// pagoda.hpp - pagoda.h in C++20: owning handles, tensors, exceptions. Header-only.
#pragma once

#include <pagoda/pagoda.h>

#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>

namespace pagoda {
// The library's own types live in pagoda too; the inline namespace keeps their symbols apart.
inline namespace v1 {

using Status = pagoda_status;

class Error : public std::runtime_error {
 public:
  explicit Error(Status status) : std::runtime_error(pagoda_last_error()), status_(status) {}
  Status status() const noexcept { return status_; }

 private:
  Status status_;
};

inline void check(Status status) {
  if (status != PAGODA_OK) throw Error(status);
}

// The structs of pagoda.h with their size filled in and everything else zero.
template <class Struct>
struct Sized : Struct {
  Sized() : Struct{} { this->struct_size = sizeof(Struct); }
};
using ContextOptions = Sized<pagoda_context_options>;
using Spec = Sized<pagoda_spec>;
using Limits = Sized<pagoda_limits>;
using Tuning = Sized<pagoda_tuning>;
using Batch = Sized<pagoda_batch>;
using Layer = Sized<pagoda_layer>;
using Merge = Sized<pagoda_merge>;
using QueryCodes = Sized<pagoda_query_codes>;
using StepInfo = Sized<pagoda_step_info>;

// A borrowed, strided array. Without strides it is packed, row-major.
struct Tensor : Sized<pagoda_tensor> {
  Tensor() = default;

  Tensor(void* elements, pagoda_dtype type, std::initializer_list<int64_t> sizes) {
    data = elements;
    dtype = type;
    for (int64_t size : sizes) shape[num_dims++] = size;
    int64_t step = 1;
    for (int32_t i = num_dims; i-- > 0; step *= shape[i]) stride[i] = step;
  }

  Tensor(void* elements, pagoda_dtype type, std::initializer_list<int64_t> sizes,
         std::initializer_list<int64_t> strides)
      : Tensor(elements, type, sizes) {
    int i = 0;
    for (int64_t step : strides) stride[i++] = step;
  }
};

// Calls one of the functions that return text.
template <class Function>
std::string text_of(const Function& function) {
  std::string text(function(nullptr, 0), '\0');
  function(text.data(), text.size() + 1);
  return text;
}

inline std::string doctor() {
  return text_of([](char* buffer, size_t size) { return pagoda_doctor(buffer, size); });
}

inline std::string explain(const Spec& spec, const Limits* limits = nullptr,
                           const Tuning* tuning = nullptr) {
  return text_of([&](char* buffer, size_t size) {
    return pagoda_explain(&spec, limits, tuning, buffer, size);
  });
}

class Context {
 public:
  explicit Context(const ContextOptions& options = {}) {
    pagoda_context* raw = nullptr;
    check(pagoda_context_create(&options, &raw));
    handle_.reset(raw);
  }

  pagoda_context* get() const noexcept { return handle_.get(); }

  void merge_states(const Merge& merge, pagoda_stream stream = nullptr) {
    check(pagoda_merge_states(get(), &merge, stream));
  }

  void quantise_query(const QueryCodes& query, pagoda_stream stream = nullptr) {
    check(pagoda_quantise_query(get(), &query, stream));
  }

 private:
  struct Destroy {
    void operator()(pagoda_context* context) const { pagoda_context_destroy(context); }
  };
  std::unique_ptr<pagoda_context, Destroy> handle_;
};

class Plan {
 public:
  Plan(const Context& context, const Spec& spec, const Limits& limits, const Tuning& tuning = {}) {
    pagoda_plan* raw = nullptr;
    check(pagoda_plan_create(context.get(), &spec, &limits, &tuning, &raw));
    handle_.reset(raw);
  }

  size_t workspace_size() const { return pagoda_plan_workspace_size(handle_.get()); }

  std::string describe() const {
    return text_of([&](char* buffer, size_t size) {
      return pagoda_plan_describe(handle_.get(), buffer, size);
    });
  }

  // workspace: [size] bytes, aligned to 256
  void prepare(const Batch& batch, void* workspace, size_t size, pagoda_stream stream = nullptr) {
    check(pagoda_plan_prepare(handle_.get(), &batch, workspace, size, stream));
  }

  StepInfo step_info() const {
    StepInfo info;
    check(pagoda_plan_step_info(handle_.get(), &info));
    return info;
  }

  std::string describe_step() const {
    return text_of([&](char* buffer, size_t size) {
      return pagoda_plan_describe_step(handle_.get(), buffer, size);
    });
  }

  void update_cache(const Layer& layer, const Tensor& key, const Tensor& value,
                    pagoda_stream stream = nullptr) {
    check(pagoda_update_cache(handle_.get(), &layer, &key, &value, stream));
  }

  void forward(const Layer& layer, const Tensor& query, const Tensor& out,
               const Tensor* lse = nullptr, pagoda_stream stream = nullptr) {
    check(pagoda_forward(handle_.get(), &layer, &query, nullptr, nullptr, &out, lse, stream));
  }

  // For a plan without a cache.
  void forward(const Layer& layer, const Tensor& query, const Tensor& key, const Tensor& value,
               const Tensor& out, const Tensor* lse = nullptr, pagoda_stream stream = nullptr) {
    check(pagoda_forward(handle_.get(), &layer, &query, &key, &value, &out, lse, stream));
  }

 private:
  struct Destroy {
    void operator()(pagoda_plan* plan) const { pagoda_plan_destroy(plan); }
  };
  std::unique_ptr<pagoda_plan, Destroy> handle_;
};

}  // namespace v1
}  // namespace pagoda
