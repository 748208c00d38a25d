#include "problem.h"

#include <cmath>

#include "../core/error.h"

namespace pagoda {
namespace {

constexpr int32_t kMaxHeadDim = 512;
constexpr int32_t kMaxHeads = 1 << 16;

void check_flag(int32_t value, const char* field) {
  expect(value == 0 || value == 1, PAGODA_INVALID_ARGUMENT, field, " is ", value, "; it is 0 or 1");
}

void check_positive(int64_t value, const char* field) {
  expect(value > 0, PAGODA_INVALID_ARGUMENT, field, " is ", value, "; it is at least 1");
}

void check_head_dim(int32_t value, const char* field) {
  expect(value > 0 && value % 8 == 0 && value <= kMaxHeadDim, PAGODA_INVALID_ARGUMENT, field,
         " is ", value, "; it is a multiple of 8 from 8 to ", kMaxHeadDim);
}

void check_heads(const pagoda_spec& spec) {
  check_positive(spec.num_heads, "spec.num_heads");
  check_positive(spec.num_kv_heads, "spec.num_kv_heads");
  expect(spec.num_heads <= kMaxHeads, PAGODA_INVALID_ARGUMENT, "spec.num_heads is ", spec.num_heads,
         "; at most ", kMaxHeads, " heads are possible");
  expect(spec.num_heads % spec.num_kv_heads == 0, PAGODA_INVALID_ARGUMENT, "spec.num_heads is ",
         spec.num_heads, ", which is no multiple of spec.num_kv_heads, ", spec.num_kv_heads);
}

Mask make_mask(const pagoda_spec& spec) {
  check_flag(spec.causal, "spec.causal");
  check_flag(spec.has_window, "spec.has_window");
  Mask mask{.causal = spec.causal == 1};
  if (spec.has_window == 0) {
    expect(spec.window_left == 0 && spec.window_right == 0, PAGODA_INVALID_ARGUMENT,
           "spec.window_left is ", spec.window_left, " and spec.window_right ", spec.window_right,
           ", but spec.has_window is 0; set it to 1, or the windows to 0");
    return mask;
  }
  expect(spec.window_left >= -1, PAGODA_INVALID_ARGUMENT, "spec.window_left is ", spec.window_left,
         "; it is a distance in tokens, or -1 for any");
  expect(spec.window_right >= -1, PAGODA_INVALID_ARGUMENT, "spec.window_right is ",
         spec.window_right, "; it is a distance in tokens, or -1 for any");
  mask.window_left = spec.window_left;
  mask.window_right = spec.window_right;
  return mask;
}

Score make_score(const pagoda_spec& spec) {
  expect(std::isfinite(spec.softmax_scale), PAGODA_INVALID_ARGUMENT, "spec.softmax_scale is ",
         spec.softmax_scale, "; it is a finite number, 0 for 1/sqrt(head_dim)");
  expect(std::isfinite(spec.logit_softcap) && spec.logit_softcap >= 0, PAGODA_INVALID_ARGUMENT,
         "spec.logit_softcap is ", spec.logit_softcap, "; it is positive, or 0 for none");
  expect(spec.alibi >= PAGODA_ALIBI_NONE && spec.alibi <= PAGODA_ALIBI_SQRT,
         PAGODA_INVALID_ARGUMENT, "spec.alibi is ", static_cast<int>(spec.alibi),
         "; it is a value of pagoda_alibi, 0 to 2");
  const double scale = spec.softmax_scale != 0 ? static_cast<double>(spec.softmax_scale)
                                               : 1 / std::sqrt(static_cast<double>(spec.head_dim));
  return {.scale = static_cast<float>(scale),
          .softcap = spec.logit_softcap,
          .alibi = static_cast<Alibi>(spec.alibi)};
}

// The part of the sequences that this rank keeps.
Shard make_shard(const pagoda_spec& spec, RankOf rank) {
  expect(spec.shard >= PAGODA_SHARD_NONE && spec.shard <= PAGODA_SHARD_KEYS_COPIES,
         PAGODA_INVALID_ARGUMENT, "spec.shard is ", static_cast<int>(spec.shard),
         "; it is a value of pagoda_shard, 0 to 2");
  if (spec.shard == PAGODA_SHARD_NONE) {
    expect(spec.shard_interleave == 0, PAGODA_INVALID_ARGUMENT, "spec.shard_interleave is ",
           spec.shard_interleave, ", but spec.shard is PAGODA_SHARD_NONE; set it to 0");
    return {};
  }
  expect(rank.has_comm, PAGODA_INVALID_ARGUMENT,
         "spec.shard deals keys out to ranks, but the context was made without options.comm");
  expect(spec.page_size > 0, PAGODA_INVALID_ARGUMENT,
         "spec.shard deals out the keys of a cache, but the plan has none (page_size 0)");
  const int32_t interleave = spec.shard_interleave == 0 ? 1 : spec.shard_interleave;
  expect(interleave > 0 && spec.page_size % interleave == 0, PAGODA_INVALID_ARGUMENT,
         "spec.shard_interleave is ", spec.shard_interleave, "; it divides spec.page_size, ",
         spec.page_size);
  return {.rank = rank.rank, .num_ranks = rank.num_ranks, .interleave = interleave};
}

Limits make_limits(const pagoda_limits& given, bool has_cache) {
  check_positive(given.max_reqs, "limits.max_reqs");
  check_positive(given.max_tokens, "limits.max_tokens");
  check_positive(given.max_seq_len, "limits.max_seq_len");
  expect(given.max_query_len >= 0 && given.max_query_len <= given.max_tokens,
         PAGODA_INVALID_ARGUMENT, "limits.max_query_len is ", given.max_query_len,
         "; it is at most limits.max_tokens, ", given.max_tokens, ", or 0 for that");
  if (has_cache) check_positive(given.num_pages, "limits.num_pages");
  return {.max_reqs = given.max_reqs,
          .max_tokens = given.max_tokens,
          .max_query_len = given.max_query_len != 0 ? given.max_query_len : given.max_tokens,
          .max_seq_len = given.max_seq_len,
          .num_pages = has_cache ? given.num_pages : 0};
}

}  // namespace

Problem make_problem(const pagoda_spec& spec, const pagoda_limits& limits,
                     const pagoda_tuning& tuning, RankOf rank) {
  check_heads(spec);
  check_head_dim(spec.head_dim, "spec.head_dim");
  if (spec.head_dim_v != 0) check_head_dim(spec.head_dim_v, "spec.head_dim_v");
  expect(spec.dtype == PAGODA_F32 || spec.dtype == PAGODA_F16 || spec.dtype == PAGODA_BF16,
         PAGODA_INVALID_ARGUMENT, "spec.dtype is ", name_of(spec.dtype), " (",
         static_cast<int>(spec.dtype), "); queries and outputs are f32, f16 or bf16");
  expect(spec.kv_format >= PAGODA_KV_SAME && spec.kv_format <= PAGODA_KV_INT8_KEYS,
         PAGODA_INVALID_ARGUMENT, "spec.kv_format is ", static_cast<int>(spec.kv_format),
         "; it is a value of pagoda_kv_format, 0 to 5");
  expect(spec.query_format >= PAGODA_QUERY_SAME && spec.query_format <= PAGODA_QUERY_FP8_E4M3,
         PAGODA_INVALID_ARGUMENT, "spec.query_format is ", static_cast<int>(spec.query_format),
         "; it is a value of pagoda_query_format, 0 to 2");
  expect(spec.page_size >= 0 && spec.page_size % 8 == 0, PAGODA_INVALID_ARGUMENT,
         "spec.page_size is ", spec.page_size,
         "; it is a multiple of 8, or 0 for attention without a cache");
  check_flag(spec.has_sinks, "spec.has_sinks");
  check_flag(spec.has_block_mask, "spec.has_block_mask");
  expect(tuning.num_splits >= 0, PAGODA_INVALID_ARGUMENT, "tuning.num_splits is ",
         tuning.num_splits, "; it is a number of splits, or 0 for automatic");
  expect(tuning.cascade >= -1 && tuning.cascade <= 1, PAGODA_INVALID_ARGUMENT, "tuning.cascade is ",
         tuning.cascade,
         "; it is 0 for where it pays, 1 for wherever it is possible, or -1 for never");
  const bool has_cache = spec.page_size > 0;
  const int32_t query_ranks = spec.shard == PAGODA_SHARD_KEYS ? rank.num_ranks : 1;
  expect(spec.num_heads <= kMaxHeads / query_ranks, PAGODA_INVALID_ARGUMENT, "spec.num_heads is ",
         spec.num_heads, " on each of ", query_ranks, " ranks; at most ", kMaxHeads,
         " heads in all are possible");
  return {.num_heads = spec.num_heads * query_ranks,
          .num_kv_heads = spec.num_kv_heads,
          .head_dim = spec.head_dim,
          .head_dim_v = spec.head_dim_v != 0 ? spec.head_dim_v : spec.head_dim,
          .dtype = spec.dtype,
          .kv_format = spec.kv_format,
          .query_format = spec.query_format,
          .page_size = spec.page_size,
          .score = make_score(spec),
          .mask = make_mask(spec),
          .has_block_mask = spec.has_block_mask == 1,
          .has_sinks = spec.has_sinks == 1,
          .shard = make_shard(spec, rank),
          .query_ranks = query_ranks,
          .limits = make_limits(limits, has_cache),
          .tuning = {.num_splits = tuning.num_splits,
                     .cascade = tuning.cascade,
                     .kernel = tuning.kernel != nullptr ? tuning.kernel : ""}};
}

}  // namespace pagoda
