// pagoda.h in terms of the library: reads the caller's structs, checks what needs no device, and
// turns failures into statuses.
#include <pagoda/pagoda.h>

#include <memory>
#include <optional>

#include "../backend/backend.h"
#include "../backend/runner.h"
#include "../core/kv_format.h"
#include "../parallel/host_ranks.h"
#include "about.h"
#include "check_tensor.h"
#include "guard.h"
#include "mask_objects.h"
#include "read.h"
#include "read_comm.h"

using namespace pagoda;

struct pagoda_context {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Ranks> ranks;  // null: no comm
  RankOf rank;
  std::string broken;  // not empty: a collective failed, and this is what it said
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

void check_stream(const Backend& backend, pagoda_stream stream) {
  expect(stream == nullptr || backend.takes_streams(), PAGODA_INVALID_ARGUMENT,
         "a stream was given, but backend ", backend.name(), " works in the call; pass NULL");
}

// Ranks that went on after a failed collective would wait for each other in different places.
void check_usable(const pagoda_context& context) {
  expect(context.broken.empty(), PAGODA_COMM_ERROR, context.broken);
}

// Runs what may communicate, and makes the context unusable if that fails.
template <class Body>
void communicate(pagoda_context& context, const Body& body) {
  try {
    body();
  } catch (const Failure& failure) {
    if (failure.status == PAGODA_COMM_ERROR) context.broken = failure.what();
    throw;
  }
}

Prepared& prepared_of(pagoda_plan* plan, pagoda_stream stream) {
  expect(plan != nullptr, PAGODA_INVALID_ARGUMENT, "plan is NULL");
  check_usable(*plan->context);
  check_stream(*plan->context->backend, stream);
  expect(plan->prepared.has_value(), PAGODA_INVALID_ARGUMENT,
         "the plan is not prepared; call pagoda_plan_prepare once per step before this");
  plan->prepared->stream = stream;
  return *plan->prepared;
}

Problem problem_of(const pagoda_spec* given, const pagoda_limits& limits,
                   const pagoda_tuning* tuning, RankOf rank) {
  const pagoda_spec spec = read_struct(given, "pagoda_spec");
  Problem problem = make_problem(
      spec, limits, tuning == nullptr ? pagoda_tuning{} : read_struct(tuning, "pagoda_tuning"),
      rank);
  problem.score_expr = read_score_expr(spec.score_expr);
  return problem;
}

// A plan without a cache may be given no layer.
const pagoda_tensor* query_scale_of(const pagoda_layer* layer) {
  return layer == nullptr ? nullptr : read_struct(layer, "pagoda_layer").query_scale;
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
    if (own.comm != nullptr) {
      const pagoda_comm comm = read_comm(own.comm);
      context->rank = {.rank = comm.rank, .num_ranks = comm.num_ranks, .has_comm = true};
      context->ranks = parallel::make_host_ranks(comm);
    }
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
    Problem problem = problem_of(spec, read_struct(limits, "pagoda_limits"), tuning, context->rank);
    const Backend& backend = *context->backend;
    const Selection selection = backend.select(problem);
    expect(selection.kernel != nullptr, PAGODA_UNSUPPORTED, "backend ", backend.name(),
           " cannot serve this plan: ", join(sentences_of(selection.reasons), "; "));
    WorkspaceMap map;
    backend.add_workspace(problem, *selection.kernel, map);
    if (!problem.shard.is_whole()) context->ranks->add_workspace(problem, map);
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
    if (plan == nullptr) return std::string();
    const Backend& backend = *plan->context->backend;
    return describe(plan->problem, plan->plan, plan->map,
                    {.backend = backend.name(),
                     .kernel = plan->kernel->name,
                     .groups_requests = backend.groups_requests()});
  });
}

size_t pagoda_explain(const pagoda_spec* spec, const pagoda_limits* limits,
                      const pagoda_tuning* tuning, char* buffer, size_t capacity) {
  return guard_text(buffer, capacity, [&] { return explain(read_question(spec, limits, tuning)); });
}

Problem pagoda::capi::read_question(const pagoda_spec* spec, const pagoda_limits* limits,
                                    const pagoda_tuning* tuning) {
  pagoda_limits bounds{};
  bounds.max_reqs = bounds.max_tokens = bounds.max_seq_len = 1;
  bounds.num_pages = 1;
  if (limits != nullptr) bounds = read_struct(limits, "pagoda_limits");
  // Which kernel serves does not depend on the number of ranks, as long as there are some.
  constexpr RankOf kOneOfTwo{.rank = 0, .num_ranks = 2, .has_comm = true};
  return problem_of(spec, bounds, tuning, kOneOfTwo);
}

pagoda_status pagoda_plan_prepare(pagoda_plan* plan, const pagoda_batch* batch, void* workspace,
                                  size_t workspace_size, pagoda_stream stream) {
  return guard([&] {
    expect(plan != nullptr, PAGODA_INVALID_ARGUMENT, "plan is NULL");
    plan->prepared.reset();
    check_usable(*plan->context);
    check_stream(*plan->context->backend, stream);
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

pagoda_status pagoda_plan_step_info(const pagoda_plan* plan, pagoda_step_info* info) {
  return guard([&] {
    expect(plan != nullptr, PAGODA_INVALID_ARGUMENT, "plan is NULL");
    expect(plan->prepared.has_value(), PAGODA_INVALID_ARGUMENT,
           "the plan is not prepared; call pagoda_plan_prepare before this");
    write_struct(info, plan->context->backend->step_info(*plan->prepared), "pagoda_step_info");
  });
}

size_t pagoda_plan_describe_step(const pagoda_plan* plan, char* buffer, size_t capacity) {
  return guard_text(buffer, capacity, [&] {
    if (plan == nullptr || !plan->prepared.has_value()) return std::string();
    return "cascade    " + plan->context->backend->describe_cascade(*plan->prepared) + "\n";
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
    Layer own = read_layer(layer, problem, Access::read);
    const int64_t tokens = prepared.batch.num_tokens, heads = problem.own_heads();
    own.query_scale =
        read_query_scale(query_scale_of(layer), "layer.query_scale", problem.query_format, tokens,
                         heads, problem.num_kv_heads, Access::read);
    const Dtype query_dtype = dtype_of(query_format_of(problem.query_format), problem.dtype);
    Operands operands{.query = check_tensor(query, "query", query_dtype,
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
    pagoda_context& context = *plan->context;
    communicate(context, [&] {
      run_plan(*context.backend, context.ranks.get(), plan->plan, prepared, own, operands);
    });
  });
}

pagoda_status pagoda_quantise_query(pagoda_context* context, const pagoda_query_codes* query,
                                    pagoda_stream stream) {
  return guard([&] {
    expect(context != nullptr, PAGODA_INVALID_ARGUMENT, "context is NULL");
    check_stream(*context->backend, stream);
    context->backend->quantise_query(read_query_codes(query), stream);
  });
}

pagoda_status pagoda_merge_states(pagoda_context* context, const pagoda_merge* merge,
                                  pagoda_stream stream) {
  return guard([&] {
    expect(context != nullptr, PAGODA_INVALID_ARGUMENT, "context is NULL");
    check_stream(*context->backend, stream);
    context->backend->merge(read_merge(merge), stream);
  });
}
