#include "read.h"

#include "../core/kv_format.h"
#include "guard.h"
#include "mask_objects.h"

namespace pagoda::capi {

std::unique_ptr<Backend> create_backend(const pagoda_context_options& options) {
  const BackendOptions wanted{.device = options.device,
                              .num_threads = options.num_threads,
                              .isa = options.isa != nullptr ? options.isa : "",
                              .run_tasks = options.run_tasks,
                              .host = options.host};
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

namespace {

void check_numbers(const pagoda_batch& batch, const Limits& limits) {
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
}

void check_arrays(const pagoda_batch& batch, const Problem& problem) {
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
}

// What can be said of it without its arrays.
void check_block_mask_fits(const mask::BlockMask& block_mask, const Problem& problem,
                           int32_t num_reqs) {
  expect(static_cast<bool>(block_mask) == problem.has_block_mask, PAGODA_INVALID_ARGUMENT,
         "batch.block_mask is ", block_mask ? "set" : "NULL", ", but spec.has_block_mask is ",
         problem.has_block_mask ? 1 : 0);
  if (!block_mask) return;
  expect(block_mask.num_reqs == num_reqs, PAGODA_INVALID_ARGUMENT, "batch.block_mask was made for ",
         block_mask.num_reqs, " requests; the batch has ", num_reqs);
  expect(block_mask.tile_q >= 1 && block_mask.tile_q <= 256, PAGODA_INVALID_ARGUMENT,
         "batch.block_mask has tiles of ", block_mask.tile_q, " queries; 1 to 256 are allowed");
  const int32_t keys = block_mask.tile_kv;
  expect(keys == 32 || keys == 64 || keys == 128 || keys == 256, PAGODA_INVALID_ARGUMENT,
         "batch.block_mask has tiles of ", keys, " keys; 32, 64, 128 and 256 are allowed");
  const int32_t heads = block_mask.num_heads;
  expect(heads == 1 || heads == problem.num_kv_heads || heads == problem.num_heads,
         PAGODA_INVALID_ARGUMENT, "batch.block_mask has ", heads, " heads; 1, num_kv_heads ",
         problem.num_kv_heads, " or num_heads ", problem.num_heads, " are possible");
}

}  // namespace

Batch read_batch(const pagoda_batch* given, const Problem& problem) {
  const pagoda_batch batch = read_struct(given, "pagoda_batch");
  const Limits& limits = problem.limits;
  check_numbers(batch, limits);
  check_arrays(batch, problem);
  const mask::BlockMask block_mask = read_block_mask(batch.block_mask);
  check_block_mask_fits(block_mask, problem, batch.num_reqs);
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
          .causal = batch.causal,
          .block_mask = block_mask};
}

namespace {

// Scales of tokens are written with the rows; the others are the caller's and only read.
TensorView read_scale(const pagoda_tensor* given, const char* name, CacheFormat format,
                      const Problem& problem, int64_t dim, Access access) {
  const int64_t heads = problem.num_kv_heads;
  switch (format.scale) {
    case ScaleOf::none:
      expect(given == nullptr, PAGODA_INVALID_ARGUMENT, name,
             " is set, but this cache of kv_format ", static_cast<int>(problem.kv_format),
             " keeps the query's type");
      return {};
    case ScaleOf::head:
      return check_strided(given, name, PAGODA_F32, {heads}, Access::read);
    case ScaleOf::token:
      return check_strided(given, name, PAGODA_F32,
                           {problem.limits.num_pages, problem.page_size, heads}, access);
    case ScaleOf::channel:
      return check_tensor(given, name, PAGODA_F32, {heads, dim}, Access::read);
  }
  return {};
}

}  // namespace

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
  if (!problem.has_cache()) {
    expect(layer.key_cache == nullptr && layer.value_cache == nullptr, PAGODA_INVALID_ARGUMENT,
           "layer.key_cache or layer.value_cache is set, but the plan has no cache (page_size 0)");
    return own;
  }
  const int64_t pages = problem.limits.num_pages, size = problem.page_size;
  const int64_t heads = problem.num_kv_heads;
  const KvFormat format = kv_format_of(problem.kv_format);
  own.key_cache =
      check_tensor(layer.key_cache, "layer.key_cache", dtype_of(format.key, problem.dtype),
                   {pages, size, heads, problem.head_dim}, access);
  own.value_cache =
      check_tensor(layer.value_cache, "layer.value_cache", dtype_of(format.value, problem.dtype),
                   {pages, size, heads, problem.head_dim_v}, access);
  own.key_scale =
      read_scale(layer.key_scale, "layer.key_scale", format.key, problem, problem.head_dim, access);
  own.value_scale = read_scale(layer.value_scale, "layer.value_scale", format.value, problem,
                               problem.head_dim_v, access);
  return own;
}

TensorView read_query_scale(const pagoda_tensor* given, const char* name,
                            pagoda_query_format format, int64_t num_tokens, int64_t num_heads,
                            int64_t num_kv_heads, Access access) {
  switch (query_format_of(format).scale) {
    case ScaleOf::token:
      return check_strided(given, name, PAGODA_F32, {num_tokens, num_heads}, access);
    case ScaleOf::head:
      return check_strided(given, name, PAGODA_F32, {num_kv_heads}, Access::read);
    default:
      expect(given == nullptr, PAGODA_INVALID_ARGUMENT, name,
             " is set, but spec.query_format is SAME");
      return {};
  }
}

QueryCodes read_query_codes(const pagoda_query_codes* given_codes) {
  const pagoda_query_codes given = read_struct(given_codes, "pagoda_query_codes");
  const CacheFormat format = query_format_of(given.format);
  expect(format.code != Code::same, PAGODA_INVALID_ARGUMENT, "query_codes.format is ",
         static_cast<int>(given.format), "; codes are PAGODA_QUERY_INT8 or PAGODA_QUERY_FP8_E4M3");
  const pagoda_tensor shape = read_struct(given.query, "query_codes.query");
  const pagoda_tensor scale = read_struct(given.scale, "query_codes.scale");
  expect(shape.num_dims == 3, PAGODA_INVALID_ARGUMENT, "query_codes.query has ", shape.num_dims,
         " dimensions; it has 3, [num_tokens, num_heads, head_dim]");
  expect(shape.dtype == PAGODA_F32 || shape.dtype == PAGODA_F16 || shape.dtype == PAGODA_BF16,
         PAGODA_INVALID_ARGUMENT, "query_codes.query is ", name_of(shape.dtype),
         "; it is f32, f16 or bf16");
  const int64_t tokens = shape.shape[0], heads = shape.shape[1], dim = shape.shape[2];
  expect(dim > 0 && dim % 8 == 0 && dim <= 512, PAGODA_INVALID_ARGUMENT,
         "query_codes.query has head_dim ", dim, "; it is a multiple of 8 from 8 to 512");
  const int64_t kv_heads = scale.num_dims > 0 ? scale.shape[0] : 0;
  expect(format.scale != ScaleOf::head || (kv_heads > 0 && heads % kv_heads == 0),
         PAGODA_INVALID_ARGUMENT, "query_codes.scale has ", kv_heads,
         " heads, of which the query's ", heads, " are no multiple");
  return {.query = check_tensor(given.query, "query_codes.query", shape.dtype, {tokens, heads, dim},
                                Access::read),
          .codes = check_tensor(given.codes, "query_codes.codes", dtype_of(format, shape.dtype),
                                {tokens, heads, dim}, Access::write),
          .scale = read_query_scale(given.scale, "query_codes.scale", given.format, tokens, heads,
                                    kv_heads, Access::write)};
}

MergeOperands read_merge(const pagoda_merge* given_merge) {
  const pagoda_merge given = read_struct(given_merge, "pagoda_merge");
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
  return {
      .num_tokens_a = given.num_tokens_a < 0 ? static_cast<int32_t>(tokens) : given.num_tokens_a,
      .out_a = state(given.out_a, "merge.out_a", Access::read),
      .lse_a = check_lse(given.lse_a, "merge.lse_a", heads, tokens, Access::read),
      .out_b = state(given.out_b, "merge.out_b", Access::read),
      .lse_b = check_lse(given.lse_b, "merge.lse_b", heads, tokens, Access::read),
      .out = state(given.out, "merge.out", Access::write),
      .lse = check_lse(given.lse, "merge.lse", heads, tokens, Access::write)};
}

}  // namespace pagoda::capi
