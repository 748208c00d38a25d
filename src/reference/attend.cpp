// Attention of one query at a time, by the formulas of pagoda_spec.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../backend/check_batch.h"
#include "../core/splits.h"
#include "../core/state.h"
#include "../mask/bound_expr.h"
#include "../mask/evaluate.h"
#include "backend.h"
#include "cache_rows.h"

namespace pagoda::reference {
namespace {

struct Call {
  const Prepared& prepared;
  const Attend& step;
  const Layer& layer;
  const Operands& operands;
  const Problem& problem;
};

// One query of one head, and where its request's keys lie.
struct Query {
  const Call& call;
  int32_t req, token, head;
  int32_t num_keys;  // of the request on this rank
  int32_t position;
  KeyRange keys;   // that the built-in mask shows; keys are counted on this rank
  int32_t within;  // the request: which of its queries this is

  int32_t kv_head() const { return head / call.problem.group(); }

  Row key_row(int32_t j) const {
    const KvFormat format = kv_format_of(call.problem.kv_format);
    return row_of(j,
                  {call.layer.key_cache, call.layer.key_scale, format.key, call.problem.page_size},
                  call.operands.key);
  }
  Row value_row(int32_t j) const {
    const KvFormat format = kv_format_of(call.problem.kv_format);
    return row_of(
        j, {call.layer.value_cache, call.layer.value_scale, format.value, call.problem.page_size},
        call.operands.value);
  }

  // Key j's row of the cache, or of the call's tensor where the step says so.
  Row row_of(int32_t j, const Cache& cache, const TensorView& of_call) const {
    const Batch& batch = call.prepared.batch;
    if (call.step.keys == Keys::call)
      return {&of_call, offset(of_call, int64_t{batch.key_start_loc[req]} + j, kv_head())};
    const int32_t page_size = call.problem.page_size;
    const PageId page{batch.page_table[req * batch.page_table_stride + j / page_size]};
    return row_at(cache, slot_of(page, j % page_size, page_size), kv_head());
  }

  double logit_of(int32_t j) const {
    const TensorView& query = call.operands.query;
    const int64_t q = offset(query, token, head);
    const Row key = key_row(j);
    double dot = 0;
    for (int64_t e = 0; e < call.problem.head_dim; ++e) dot += load(query, q + e) * key.at(e);
    const double slope =
        call.layer.alibi_slopes != nullptr ? static_cast<double>(call.layer.alibi_slopes[head]) : 0;
    const double s = logit(call.problem.score, dot * query_scale(), slope, position,
                           position_of(call.problem.shard, j));
    return call.problem.score_expr != nullptr ? rescored(*call.problem.score_expr, j, s) : s;
  }

  // The value of the caller's expression, which is in float by the language's definition.
  double rescored(const mask::BoundExpr& score, int32_t j, double s) const {
    const Batch& batch = call.prepared.batch;
    mask::Point point;
    point[mask::Variable::request] = req;
    point[mask::Variable::head] = head;
    point[mask::Variable::kv_head] = kv_head();
    point[mask::Variable::query] = position;
    point[mask::Variable::key] = position_of(call.problem.shard, j);
    point[mask::Variable::seq_len] = batch.seq_lens[req];
    point[mask::Variable::query_len] = batch.query_start_loc[req + 1] - batch.query_start_loc[req];
    point.score = static_cast<float>(s);
    std::vector<mask::Value> scratch(score.expr.nodes.size());
    return static_cast<double>(mask::evaluate(score.expr, score.bindings, point, scratch.data()).f);
  }

  // Whether the block mask shows a key of the range.
  bool sees(int32_t j) const {
    const mask::BlockMask& mask = call.prepared.batch.block_mask;
    if (!mask) return true;
    const int32_t mask_head =
        static_cast<int32_t>(int64_t{head} * mask.num_heads / call.problem.num_heads);
    const int64_t list = mask.list_of(req, within / mask.tile_q, mask_head);
    for (int32_t i = mask.row_start[list]; i < mask.row_start[list + 1]; ++i) {
      if (mask.tile[i] != j / mask.tile_kv) continue;
      if (mask.bits_at[i] < 0) return true;
      const int32_t words = mask.tile_kv / 32, bit = j % mask.tile_kv;
      const uint32_t word = mask.bits[mask.bits_at[i] + within % mask.tile_q * words + bit / 32];
      return (word >> bit % 32 & 1) != 0;
    }
    return false;
  }

  double query_scale() const {
    const TensorView& scale = call.layer.query_scale;
    switch (query_format_of(call.problem.query_format).scale) {
      case ScaleOf::token:
        return load(scale, offset(scale, token, head));
      case ScaleOf::head:
        return load(scale, kv_head() * scale.stride[0]);
      default:
        return 1;
    }
  }

  double sink() const {
    return call.step.adds_sinks ? static_cast<double>(call.layer.sinks[head])
                                : minus_infinity<double>();
  }
};

struct Answer {
  std::vector<double> out;  // [head_dim_v]
  double lse;
};

// The larger one, and NaN where one is NaN: a key that is not a number must show in its rows.
double larger(double a, double b) {
  return std::isnan(a) || a > b ? a : b;
}

// All logits, their maximum, the sum, the weighted mean.
Answer attend_directly(const Query& query) {
  const auto dim = static_cast<size_t>(query.call.problem.head_dim_v);
  Answer answer{std::vector<double>(dim, 0.0), query.sink()};
  std::vector<int32_t> keys;
  std::vector<double> logits;
  for (int32_t j = query.keys.begin; j < query.keys.end; ++j) {
    if (!query.sees(j)) continue;
    keys.push_back(j);
    logits.push_back(query.logit_of(j));
  }
  double largest = query.sink();
  for (double s : logits) largest = larger(largest, s);
  if (largest == minus_infinity<double>()) return answer;
  double sum = weight_of(query.sink(), largest);
  for (double s : logits) sum += std::exp(s - largest);
  for (size_t i = 0; i < logits.size(); ++i) {
    const Row value = query.value_row(keys[i]);
    const double p = std::exp(logits[i] - largest) / sum;
    for (size_t e = 0; e < dim; ++e) answer.out[e] += p * value.at(static_cast<int64_t>(e));
  }
  answer.lse = largest + std::log(sum);
  return answer;
}

// The keys of one split, one at a time, without the sink.
Answer attend_split(const Query& query, int32_t begin, int32_t end) {
  const auto dim = static_cast<size_t>(query.call.problem.head_dim_v);
  std::vector<double> o(dim, 0.0);
  double m = minus_infinity<double>(), l = 0;
  for (int32_t j = begin; j < end; ++j) {
    if (!query.sees(j)) continue;
    const double s = query.logit_of(j);
    const double grown = larger(m, s);
    if (grown == minus_infinity<double>()) continue;
    const double keep = weight_of(m, grown), p = weight_of(s, grown);
    const Row value = query.value_row(j);
    for (size_t e = 0; e < dim; ++e) o[e] = keep * o[e] + p * value.at(static_cast<int64_t>(e));
    l = keep * l + p;
    m = grown;
  }
  if (l > 0)
    for (double& x : o) x /= l;
  return {std::move(o), lse_of(m, l)};
}

Answer attend_online(const Query& query) {
  const auto dim = static_cast<size_t>(query.call.problem.head_dim_v);
  Answer total{std::vector<double>(dim, 0.0), query.sink()};
  const SplitRule rule{.num_splits = query.call.problem.tuning.num_splits};
  const int64_t len = split_len(rule, query.num_keys);
  for (int64_t from = 0; from < query.num_keys; from += len) {
    const auto begin = static_cast<int32_t>(std::max<int64_t>(from, query.keys.begin));
    const auto end = static_cast<int32_t>(std::min<int64_t>(from + len, query.keys.end));
    if (begin >= end) continue;
    const Answer part = attend_split(query, begin, end);
    const MergeWeights<double> weights = merge_weights(total.lse, part.lse);
    for (size_t e = 0; e < dim; ++e)
      total.out[e] = (weights.a != 0 ? weights.a * total.out[e] : 0) +
                     (weights.b != 0 ? weights.b * part.out[e] : 0);
    total.lse = weights.lse;
  }
  return total;
}

void write(const Call& call, int32_t token, int32_t head, const Answer& answer) {
  const TensorView& out = call.operands.out;
  for (size_t e = 0; e < answer.out.size(); ++e)
    store(out, offset(out, token, head) + static_cast<int64_t>(e), answer.out[e]);
  const TensorView& lse = call.operands.lse;
  if (lse) store(lse, offset(lse, head, token), answer.lse);
}

void attend_request(const Call& call, int32_t req) {
  const Batch& batch = call.prepared.batch;
  const int32_t begin = batch.query_start_loc[req], end = batch.query_start_loc[req + 1];
  const int32_t seq_len = batch.seq_lens[req];
  const Shard& shard = call.problem.shard;
  const Mask mask = batch.causal != nullptr
                        ? mask_of_request(call.step.mask, batch.causal[req] == 1)
                        : call.step.mask;
  const bool online = &call.prepared.kernel == &kOnline;
  for (int32_t token = begin; token < end; ++token) {
    const int32_t position = seq_len - (end - token);
    for (int32_t head = 0; head < call.problem.num_heads; ++head) {
      const Query query{call,
                        req,
                        token,
                        head,
                        local_len(shard, seq_len),
                        position,
                        local_range(shard, visible_keys(mask, position, seq_len)),
                        token - begin};
      write(call, token, head, online ? attend_online(query) : attend_directly(query));
    }
  }
}

}  // namespace

void ReferenceBackend::attend(const Prepared& prepared, const Attend& step, const Layer& layer,
                              const Operands& operands) {
  const Call call{prepared, step, layer, operands, prepared.problem};
  const Batch& batch = prepared.batch;
  if (step.keys == Keys::call) check_keys_on_host(batch, operands.key.shape[0]);
  for (int32_t req = 0; req < batch.num_reqs; ++req) attend_request(call, req);
  const Answer nothing{std::vector<double>(static_cast<size_t>(prepared.problem.head_dim_v), 0.0),
                       minus_infinity<double>()};
  for (int32_t token = batch.query_start_loc[batch.num_reqs]; token < batch.num_tokens; ++token)
    for (int32_t head = 0; head < prepared.problem.num_heads; ++head)
      write(call, token, head, nothing);
}

}  // namespace pagoda::reference
