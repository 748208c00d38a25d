// pagoda.h in terms of the library: reads the caller's structs, checks what needs no device, and
// turns failures into statuses.
#include <pagoda/pagoda.h>

#include <memory>
#include <optional>
#include <sstream>

#include "../backend/backend.h"
#include "../backend/runner.h"
#include "check_tensor.h"
#include "guard.h"

using namespace pagoda;

struct pagoda_context {
  std::unique_ptr<Backend> backend;
};

struct pagoda_plan {
  pagoda_context* context;
  Problem problem;
  Plan plan;
  const Kernel* kernel;
  WorkspaceMap map;
  std::optional<Prepared> prepared;
};

namespace pagoda::capi {
namespace {

thread_local std::string last_error_text;  // NOLINT: per thread by contract

std::unique_ptr<Backend> create_backend(const pagoda_context_options& options) {
  const BackendOptions wanted{.device = options.device,
                              .num_threads = options.num_threads,
                              .isa = options.isa != nullptr ? options.isa : ""};
  expect(options.num_threads >= 0, PAGODA_INVALID_ARGUMENT, "options.num_threads is ",
         options.num_threads, "; it is a number of threads, or 0 for all cores");
  std::string names;
  std::string refusals;
  for (const BackendEntry& entry : backend_entries()) {
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
    if (options.backend != nullptr && std::string(options.backend) != entry.name) continue;
    if (options.backend != nullptr) return entry.create(wanted);
    try {
      return entry.create(wanted);
    } catch (const Failure& failure) {
      if (failure.status == PAGODA_INVALID_ARGUMENT) throw;
      refusals += std::string(" ") + entry.name + ": " + failure.what() + ".";
    }
  }
  expect(options.backend == nullptr, PAGODA_UNSUPPORTED, "there is no backend \"",
         options.backend != nullptr ? options.backend : "", "\"; this build has ", names);
  throw Failure(PAGODA_UNSUPPORTED, "no backend can be used here." + refusals, Where::here());
}

std::string join(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

Batch read_batch(const pagoda_batch* given, const Problem& problem) {
  const pagoda_batch batch = read_struct(given, "pagoda_batch");
  const Limits& limits = problem.limits;
  expect(batch.num_reqs >= 0, PAGODA_INVALID_ARGUMENT, "batch.num_reqs is ", batch.num_reqs,
         "; it is at least 0");
  expect(batch.num_tokens >= 0, PAGODA_INVALID_ARGUMENT, "batch.num_tokens is ", batch.num_tokens,
         "; it is at least 0");
  expect(batch.num_reqs <= limits.max_reqs, PAGODA_OUT_OF_LIMITS, "batch.num_reqs is ",
         batch.num_reqs, "; the plan was made for ", limits.max_reqs, " (limits.max_reqs)");
  expect(batch.num_tokens <= limits.max_tokens, PAGODA_OUT_OF_LIMITS, "batch.num_tokens is ",
         batch.num_tokens, "; the plan was made for ", limits.max_tokens, " (limits.max_tokens)");
  expect(batch.max_query_len >= 0 && batch.max_query_len <= limits.max_query_len,
         PAGODA_OUT_OF_LIMITS, "batch.max_query_len is ", batch.max_query_len,
         "; the plan was made for ", limits.max_query_len, " (limits.max_query_len)");
  expect(batch.max_seq_len >= 0 && batch.max_seq_len <= limits.max_seq_len, PAGODA_OUT_OF_LIMITS,
         "batch.max_seq_len is ", batch.max_seq_len, "; the plan was made for ", limits.max_seq_len,
         " (limits.max_seq_len)");
  expect(batch.query_start_loc != nullptr, PAGODA_INVALID_ARGUMENT,
         "batch.query_start_loc is NULL; it has num_reqs + 1 entries");
  expect(batch.seq_lens != nullptr || batch.num_reqs == 0, PAGODA_INVALID_ARGUMENT,
         "batch.seq_lens is NULL; it has num_reqs entries");
  const bool has_table = batch.page_table != nullptr;
  if (problem.has_cache()) {
    expect(has_table || batch.num_reqs == 0, PAGODA_INVALID_ARGUMENT,
           "batch.page_table is NULL, but the plan has a cache");
    expect(batch.page_table_width >= 0 && batch.page_table_stride >= batch.page_table_width,
           PAGODA_INVALID_ARGUMENT, "batch.page_table_stride is ", batch.page_table_stride,
           "; it is at least batch.page_table_width, ", batch.page_table_width);
    expect(batch.key_start_loc == nullptr, PAGODA_INVALID_ARGUMENT,
           "batch.key_start_loc is set, but the plan has a cache");
  } else {
    expect(
        !has_table && batch.slot_mapping == nullptr, PAGODA_INVALID_ARGUMENT,
        "batch.page_table or batch.slot_mapping is set, but the plan has no cache (page_size 0)");
  }
  return {.num_reqs = batch.num_reqs,
          .num_tokens = batch.num_tokens,
          .max_query_len = batch.max_query_len > 0 ? batch.max_query_len : limits.max_query_len,
          .max_seq_len = batch.max_seq_len > 0 ? batch.max_seq_len : limits.max_seq_len,
          .query_start_loc = batch.query_start_loc,
          .seq_lens = batch.seq_lens,
          .page_table = batch.page_table,
          .page_table_stride = batch.page_table_stride,
          .page_table_width = batch.page_table_width,
          .slot_mapping = batch.slot_mapping,
          .key_start_loc = problem.has_cache()              ? nullptr
                           : batch.key_start_loc != nullptr ? batch.key_start_loc
                                                            : batch.query_start_loc,
          .causal = batch.causal};
}

Dtype cache_dtype(const Problem& problem) {
  return problem.dtype;
}

// `given` may be NULL for a plan that needs nothing of a layer.
Layer read_layer(const pagoda_layer* given, const Problem& problem, Access access) {
  const pagoda_layer layer = given == nullptr && !problem.has_cache()
                                 ? pagoda_layer{}
                                 : read_struct(given, "pagoda_layer");
  Layer own{.alibi_slopes = layer.alibi_slopes, .sinks = layer.sinks};
  const bool has_alibi = problem.score.alibi != Alibi::none;
  expect(has_alibi == (layer.alibi_slopes != nullptr), PAGODA_INVALID_ARGUMENT,
         "layer.alibi_slopes is ", layer.alibi_slopes != nullptr ? "set" : "NULL",
         ", but spec.alibi says ", has_alibi ? "that there are slopes" : "that there are none");
  expect(problem.has_sinks == (layer.sinks != nullptr), PAGODA_INVALID_ARGUMENT, "layer.sinks is ",
         layer.sinks != nullptr ? "set" : "NULL", ", but spec.has_sinks is ", problem.has_sinks);
  expect(layer.key_scale == nullptr && layer.value_scale == nullptr, PAGODA_INVALID_ARGUMENT,
         "layer.key_scale or layer.value_scale is set, but spec.kv_format keeps the query's type");
  if (!problem.has_cache()) {
    expect(layer.key_cache == nullptr && layer.value_cache == nullptr, PAGODA_INVALID_ARGUMENT,
           "layer.key_cache or layer.value_cache is set, but the plan has no cache (page_size 0)");
    return own;
  }
  const int64_t pages = problem.limits.num_pages, size = problem.page_size;
  own.key_cache = check_tensor(layer.key_cache, "layer.key_cache", cache_dtype(problem),
                               {pages, size, problem.num_kv_heads, problem.head_dim}, access);
  own.value_cache = check_tensor(layer.value_cache, "layer.value_cache", cache_dtype(problem),
                                 {pages, size, problem.num_kv_heads, problem.head_dim_v}, access);
  return own;
}

Prepared& prepared_of(pagoda_plan* plan, pagoda_stream stream) {
  expect(plan != nullptr, PAGODA_INVALID_ARGUMENT, "plan is NULL");
  expect(plan->prepared.has_value(), PAGODA_INVALID_ARGUMENT,
         "the plan is not prepared; call pagoda_plan_prepare once per step before this");
  plan->prepared->stream = stream;
  return *plan->prepared;
}

std::string explain(const Problem& problem) {
  std::ostringstream text;
  for (const BackendEntry& entry : backend_entries()) {
    text << entry.name << ": ";
    try {
      const Selection selection = entry.create({})->select(problem);
      if (selection.kernel != nullptr)
        text << "serves with kernel " << selection.kernel->name << "\n";
      else
        text << "refuses: " << join(selection.reasons, "; ") << "\n";
    } catch (const Failure& failure) {
      text << "is not available: " << failure.what() << "\n";
    }
  }
  return text.str();
}

std::string doctor() {
  std::ostringstream text;
  text << "pagoda " << PAGODA_VERSION_MAJOR << "." << PAGODA_VERSION_MINOR << ", ABI "
       << PAGODA_ABI_VERSION << "\n";
  for (const BackendEntry& entry : backend_entries()) {
    text << entry.name << ": ";
    try {
      text << entry.create({})->machine() << "\n";
    } catch (const Failure& failure) {
      text << "not available: " << failure.what() << "\n";
    }
  }
#ifndef PAGODA_HAS_CUDA
  text << "cuda: not in this build (built without nvcc)\n";
#endif
  return text.str();
}

}  // namespace

std::string& last_error() {
  return last_error_text;
}

pagoda_status fail(pagoda_status status, const char* sentence) noexcept {
  try {
    last_error_text = sentence;
  } catch (...) {
    last_error_text.clear();  // no memory for the sentence: the status must do
  }
  return status;
}

}  // namespace pagoda::capi

using namespace pagoda::capi;

const char* pagoda_status_name(pagoda_status status) {
  switch (status) {
    case PAGODA_OK:
      return "ok";
    case PAGODA_INVALID_ARGUMENT:
      return "invalid argument";
    case PAGODA_UNSUPPORTED:
      return "unsupported";
    case PAGODA_OUT_OF_LIMITS:
      return "out of limits";
    case PAGODA_WORKSPACE_TOO_SMALL:
      return "workspace too small";
    case PAGODA_OUT_OF_MEMORY:
      return "out of memory";
    case PAGODA_DEVICE_ERROR:
      return "device error";
    case PAGODA_COMM_ERROR:
      return "communication error";
    case PAGODA_INTERNAL:
      return "internal error";
    case PAGODA_OUT_OF_PAGES:
      return "out of pages";
  }
  return "unknown status";
}

const char* pagoda_last_error(void) {
  return last_error().c_str();
}

int32_t pagoda_abi_version(void) {
  return PAGODA_ABI_VERSION;
}

size_t pagoda_doctor(char* buffer, size_t capacity) {
  return guard_text(buffer, capacity, [] { return doctor(); });
}

pagoda_status pagoda_context_create(const pagoda_context_options* options, pagoda_context** out) {
  return guard([&] {
    expect(out != nullptr, PAGODA_INVALID_ARGUMENT, "out is NULL");
    *out = nullptr;
    const pagoda_context_options own = options == nullptr
                                           ? pagoda_context_options{}
                                           : read_struct(options, "pagoda_context_options");
    auto context = std::make_unique<pagoda_context>();
    context->backend = create_backend(own);
    *out = context.release();
  });
}

void pagoda_context_destroy(pagoda_context* context) {
  delete context;
}

pagoda_status pagoda_plan_create(pagoda_context* context, const pagoda_spec* spec,
                                 const pagoda_limits* limits, const pagoda_tuning* tuning,
                                 pagoda_plan** out) {
  return guard([&] {
    expect(out != nullptr, PAGODA_INVALID_ARGUMENT, "out is NULL");
    *out = nullptr;
    expect(context != nullptr, PAGODA_INVALID_ARGUMENT, "context is NULL");
    Problem problem =
        make_problem(read_struct(spec, "pagoda_spec"), read_struct(limits, "pagoda_limits"),
                     tuning == nullptr ? pagoda_tuning{} : read_struct(tuning, "pagoda_tuning"));
    const Backend& backend = *context->backend;
    const Selection selection = backend.select(problem);
    expect(selection.kernel != nullptr, PAGODA_UNSUPPORTED, "backend ", backend.name(),
           " cannot serve this plan: ", join(selection.reasons, "; "));
    WorkspaceMap map;
    backend.add_workspace(problem, *selection.kernel, map);
    Plan plan = make_plan(problem);
    *out = new pagoda_plan{context,          std::move(problem), std::move(plan),
                           selection.kernel, std::move(map),     std::nullopt};
  });
}

void pagoda_plan_destroy(pagoda_plan* plan) {
  delete plan;
}

size_t pagoda_plan_workspace_size(const pagoda_plan* plan) {
  return plan != nullptr ? plan->map.size() : 0;
}

size_t pagoda_plan_describe(const pagoda_plan* plan, char* buffer, size_t capacity) {
  return guard_text(buffer, capacity, [&] {
    return plan == nullptr ? std::string()
                           : describe(plan->problem, plan->plan, plan->map,
                                      plan->context->backend->name(), plan->kernel->name);
  });
}

size_t pagoda_explain(const pagoda_spec* spec, const pagoda_limits* limits,
                      const pagoda_tuning* tuning, char* buffer, size_t capacity) {
  return guard_text(buffer, capacity, [&] {
    pagoda_limits bounds{};
    bounds.max_reqs = bounds.max_tokens = bounds.max_seq_len = 1;
    bounds.num_pages = 1;
    if (limits != nullptr) bounds = read_struct(limits, "pagoda_limits");
    return explain(
        make_problem(read_struct(spec, "pagoda_spec"), bounds,
                     tuning == nullptr ? pagoda_tuning{} : read_struct(tuning, "pagoda_tuning")));
  });
}

pagoda_status pagoda_plan_prepare(pagoda_plan* plan, const pagoda_batch* batch, void* workspace,
                                  size_t workspace_size, pagoda_stream stream) {
  return guard([&] {
    expect(plan != nullptr, PAGODA_INVALID_ARGUMENT, "plan is NULL");
    plan->prepared.reset();
    const size_t needed = plan->map.size();
    expect(workspace_size >= needed, PAGODA_WORKSPACE_TOO_SMALL, "the workspace is ",
           workspace_size, " bytes; this plan needs ", needed, " (pagoda_plan_workspace_size)");
    expect(workspace != nullptr || needed == 0, PAGODA_INVALID_ARGUMENT, "workspace is NULL");
    expect(reinterpret_cast<uintptr_t>(workspace) % WorkspaceMap::kAlignment == 0,
           PAGODA_INVALID_ARGUMENT, "workspace is not aligned to ", WorkspaceMap::kAlignment,
           " bytes");
    const Prepared prepared{plan->problem,
                            *plan->kernel,
                            plan->map,
                            static_cast<std::byte*>(workspace),
                            read_batch(batch, plan->problem),
                            stream};
    plan->context->backend->schedule(prepared);
    plan->prepared.emplace(prepared);
  });
}

pagoda_status pagoda_update_cache(pagoda_plan* plan, const pagoda_layer* layer,
                                  const pagoda_tensor* key, const pagoda_tensor* value,
                                  pagoda_stream stream) {
  return guard([&] {
    const Prepared& prepared = prepared_of(plan, stream);
    const Problem& problem = plan->problem;
    expect(problem.has_cache(), PAGODA_INVALID_ARGUMENT, "the plan has no cache (page_size 0)");
    expect(prepared.batch.slot_mapping != nullptr, PAGODA_INVALID_ARGUMENT,
           "batch.slot_mapping was NULL when this step was prepared");
    const Layer own = read_layer(layer, problem, Access::write);
    const int64_t tokens = prepared.batch.num_tokens, heads = problem.num_kv_heads;
    const TensorView k =
        check_tensor(key, "key", problem.dtype, {tokens, heads, problem.head_dim}, Access::read);
    const TensorView v = check_tensor(value, "value", problem.dtype,
                                      {tokens, heads, problem.head_dim_v}, Access::read);
    plan->context->backend->update_cache(prepared, own, k, v);
  });
}

pagoda_status pagoda_forward(pagoda_plan* plan, const pagoda_layer* layer,
                             const pagoda_tensor* query, const pagoda_tensor* key,
                             const pagoda_tensor* value, const pagoda_tensor* out,
                             const pagoda_tensor* lse, pagoda_stream stream) {
  return guard([&] {
    const Prepared& prepared = prepared_of(plan, stream);
    const Problem& problem = plan->problem;
    const Layer own = read_layer(layer, problem, Access::read);
    const int64_t tokens = prepared.batch.num_tokens, heads = problem.num_heads;
    Operands operands{.query = check_tensor(query, "query", problem.dtype,
                                            {tokens, heads, problem.head_dim}, Access::read),
                      .out = check_tensor(out, "out", problem.dtype,
                                          {tokens, heads, problem.head_dim_v}, Access::write),
                      .lse = check_lse(lse, "lse", heads, tokens, Access::write)};
    if (problem.has_cache()) {
      expect(key == nullptr && value == nullptr, PAGODA_INVALID_ARGUMENT,
             "key or value is given, but the plan attends to its cache; write them with "
             "pagoda_update_cache");
    } else {
      operands.key = check_tensor(key, "key", problem.dtype,
                                  {kAnySize, problem.num_kv_heads, problem.head_dim}, Access::read);
      operands.value = check_tensor(
          value, "value", problem.dtype,
          {operands.key.shape[0], problem.num_kv_heads, problem.head_dim_v}, Access::read);
    }
    run_plan(*plan->context->backend, plan->plan, prepared, own, operands);
  });
}

pagoda_status pagoda_merge_states(pagoda_context* context, const pagoda_merge* merge,
                                  pagoda_stream stream) {
  return guard([&] {
    expect(context != nullptr, PAGODA_INVALID_ARGUMENT, "context is NULL");
    const pagoda_merge given = read_struct(merge, "pagoda_merge");
    const pagoda_tensor shape = read_struct(given.out, "merge.out");
    expect(shape.num_dims == 3, PAGODA_INVALID_ARGUMENT, "merge.out has ", shape.num_dims,
           " dimensions; it has 3, [num_tokens, num_heads, head_dim_v]");
    expect(shape.dtype == PAGODA_F32 || shape.dtype == PAGODA_F16 || shape.dtype == PAGODA_BF16,
           PAGODA_UNSUPPORTED, "merge.out is ", name_of(shape.dtype),
           "; states are f32, f16 or bf16");
    const int64_t tokens = shape.shape[0], heads = shape.shape[1], dim = shape.shape[2];
    expect(given.num_tokens_a <= tokens, PAGODA_INVALID_ARGUMENT, "merge.num_tokens_a is ",
           given.num_tokens_a, "; merge.out has ", tokens, " tokens");
    const auto state = [&](const pagoda_tensor* tensor, const char* name, Access access) {
      return check_tensor(tensor, name, shape.dtype, {tokens, heads, dim}, access);
    };
    expect(given.lse_a != nullptr && given.lse_b != nullptr, PAGODA_INVALID_ARGUMENT,
           "merge.lse_a or merge.lse_b is NULL; both states need their log-sum-exp");
    context->backend->merge(
        {.num_tokens_a = given.num_tokens_a < 0 ? static_cast<int32_t>(tokens) : given.num_tokens_a,
         .out_a = state(given.out_a, "merge.out_a", Access::read),
         .lse_a = check_lse(given.lse_a, "merge.lse_a", heads, tokens, Access::read),
         .out_b = state(given.out_b, "merge.out_b", Access::read),
         .lse_b = check_lse(given.lse_b, "merge.lse_b", heads, tokens, Access::read),
         .out = state(given.out, "merge.out", Access::write),
         .lse = check_lse(given.lse, "merge.lse", heads, tokens, Access::write)},
        stream);
  });
}
