#include "rank_world.h"

#include <algorithm>
#include <cmath>

#include "backends.h"

namespace pagoda::conformance {
namespace {

constexpr int64_t kMostWork = 1 << 22;  // multiply-adds of a case: there are many

}  // namespace

RankWorld::RankWorld(const Geometry& geometry, const Values& values, const Ranks& ranks,
                     int32_t rank, uint64_t fill_seed)
    : g_(geometry), ranks_(ranks), rank_(rank) {
  make_spec();
  make_requests(fill_seed);
  make_scales(values, fill_seed);
  make_history(values);
  make_inputs(values, fill_seed);
}

void RankWorld::make_spec() {
  spec.num_heads = ranks_.own_heads(g_);
  spec.num_kv_heads = g_.num_kv_heads;
  spec.head_dim = g_.head_dim;
  spec.head_dim_v = g_.head_dim_v;
  spec.dtype = g_.dtype;
  spec.kv_format = g_.kv_format;
  spec.query_format = g_.query_format;
  spec.page_size = g_.page_size;
  spec.softmax_scale = g_.scale;
  spec.logit_softcap = g_.softcap;
  spec.causal = g_.spec_causal ? 1 : 0;
  spec.has_window = g_.window_kind != WindowKind::none ? 1 : 0;
  if (spec.has_window == 1) {
    spec.window_left = g_.window_left;
    spec.window_right = g_.window_right;
  }
  spec.alibi = g_.alibi;
  spec.has_sinks = g_.sinks ? 1 : 0;
  spec.shard = ranks_.copies ? PAGODA_SHARD_KEYS_COPIES : PAGODA_SHARD_KEYS;
  spec.shard_interleave = ranks_.interleave;
  limits.max_reqs = static_cast<int32_t>(g_.requests.size()) + 1;
  limits.max_tokens = std::max(g_.num_tokens(), 1);
  limits.max_seq_len = std::max(g_.longest_seq(), 1);
}

Tensor RankWorld::make(std::initializer_list<int64_t> shape, pagoda_dtype dtype,
                       uint64_t fill_seed) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  buffers_.push_back(
      std::make_unique<Buffer>(static_cast<size_t>(elements) * size_of(dtype), 0, fill_seed));
  return Tensor(buffers_.back()->data(), dtype, shape);
}

// Pages of all ranks together hold page_size * num_ranks tokens; their ids are the same everywhere.
void RankWorld::make_requests(uint64_t fill_seed) {
  const int32_t all = g_.page_size * ranks_.num_ranks;
  for (const Request& request : g_.requests)
    table_stride_ = std::max(table_stride_, (request.seq_len + all - 1) / all);
  table_stride_ += 2;
  int32_t next_page = 1;
  query_start_loc_.push_back(0);
  for (const Request& request : g_.requests) {
    const size_t row = page_table_.size();
    const size_t donor = static_cast<size_t>(std::max(request.shares_with, 0) * table_stride_);
    page_table_.resize(row + static_cast<size_t>(table_stride_), INT32_MAX);  // never read
    for (int32_t i = 0; i < (request.seq_len + all - 1) / all; ++i)
      page_table_[row + static_cast<size_t>(i)] = i < request.shared_pages / ranks_.num_ranks
                                                      ? page_table_[donor + static_cast<size_t>(i)]
                                                      : next_page++;
    query_start_loc_.push_back(query_start_loc_.back() + request.query_len);
    seq_lens_.push_back(request.seq_len);
    causal_.push_back(request.causal ? 1 : 0);
  }
  limits.num_pages = next_page;
  batch.num_reqs = static_cast<int32_t>(g_.requests.size());
  batch.num_tokens = g_.num_tokens();
  batch.query_start_loc = query_start_loc_.data();
  batch.seq_lens = seq_lens_.data();
  batch.page_table = page_table_.data();
  batch.page_table_stride = table_stride_;
  batch.page_table_width = table_stride_;
  if (g_.causal_kind == CausalKind::flags) batch.causal = causal_.data();
  const int64_t pages = limits.num_pages, size = g_.page_size, heads = g_.num_kv_heads;
  key_cache_ = make({pages, size, heads, g_.head_dim}, g_.stored_key().dtype, fill_seed);
  value_cache_ = make({pages, size, heads, g_.head_dim_v}, g_.stored_value().dtype, fill_seed);
  layer.key_cache = &key_cache_;
  layer.value_cache = &value_cache_;
}

void RankWorld::put(const Tensor& tensor, std::byte* at, const float* from, int32_t count) const {
  for (int32_t e = 0; e < count; ++e)
    store(tensor.dtype, at + static_cast<size_t>(e) * size_of(tensor.dtype), from[e]);
}

int64_t RankWorld::global_slot(size_t r, int32_t position) const {
  const int64_t all = int64_t{g_.page_size} * ranks_.num_ranks;
  const auto column = r * static_cast<size_t>(table_stride_) + static_cast<size_t>(position / all);
  return page_table_[column] * all + position % all;
}

// Scales that the library writes start as garbage; the others are the case's.
void RankWorld::make_scales(const Values& values, uint64_t fill_seed) {
  const int64_t pages = limits.num_pages, size = g_.page_size, heads = g_.num_kv_heads;
  const auto scale = [&](const Stored& stored, const std::vector<float>& of_heads, Tensor& tensor) {
    if (stored.scale == ScaleOf::token) tensor = make({pages, size, heads}, PAGODA_F32, fill_seed);
    if (stored.scale == ScaleOf::channel) {
      tensor = make({heads, g_.head_dim_v}, PAGODA_F32, fill_seed);
      std::memcpy(tensor.data, values.channel_scale.data(),
                  values.channel_scale.size() * sizeof(float));
    }
    if (stored.scale == ScaleOf::head) {
      tensor = make({heads}, PAGODA_F32, fill_seed);
      std::memcpy(tensor.data, of_heads.data(), of_heads.size() * sizeof(float));
    }
    return stored.scale == ScaleOf::none ? nullptr : &tensor;
  };
  layer.key_scale = scale(g_.stored_key(), values.key_head_scale, key_scale_);
  layer.value_scale = scale(g_.stored_value(), values.value_head_scale, value_scale_);
  if (g_.stored_query().scale == ScaleOf::head)
    layer.query_scale = scale(g_.stored_query(), values.query_head_scale, query_scale_);
}

// from: rows of as many numbers as the tensor's
void RankWorld::set_row(Tensor& tensor, int64_t token, int32_t head, const std::vector<float>& from,
                        size_t row) const {
  const auto dim = static_cast<int32_t>(tensor.shape[2]);
  put(tensor, address(tensor, token, head), &from[row * static_cast<size_t>(dim)], dim);
}

// The keys of earlier steps, as update_cache is given them.
void RankWorld::make_history(const Values& values) {
  int64_t tokens = 0;
  for (const Request& request : g_.requests) tokens += std::max(0, request.position(0));
  history_key_ = make({tokens, g_.num_kv_heads, g_.head_dim}, g_.dtype, 0);
  history_value_ = make({tokens, g_.num_kv_heads, g_.head_dim_v}, g_.dtype, 0);
  for (size_t r = 0; r < g_.requests.size(); ++r)
    for (int32_t j = 0; j < std::max(0, g_.requests[r].position(0)); ++j) {
      const auto token = static_cast<int64_t>(history_slots_.size());
      history_slots_.push_back(global_slot(r, j));
      for (int32_t head = 0; head < g_.num_kv_heads; ++head) {
        const auto row = static_cast<size_t>(j * g_.num_kv_heads + head);
        set_row(history_key_, token, head, values.requests[r].new_key(), row);
        set_row(history_value_, token, head, values.requests[r].new_value(), row);
      }
    }
  check(pagoda_local_slots(rank_, ranks_.num_ranks, ranks_.interleave, g_.page_size,
                           history_slots_.data(), history_slots_.data(),
                           static_cast<int32_t>(tokens)));
}

void RankWorld::write_history(const Context& context) {
  if (history_slots_.empty()) return;
  Limits own = limits;
  own.max_reqs = 1;
  own.max_tokens = static_cast<int32_t>(history_slots_.size());
  Spec unmasked = spec;
  unmasked.has_block_mask = 0;
  unmasked.score_expr = nullptr;
  Plan plan(context, unmasked, own);
  const int32_t no_requests[] = {0};
  Batch step;
  step.num_tokens = own.max_tokens;
  step.query_start_loc = no_requests;
  step.slot_mapping = history_slots_.data();
  Buffer workspace(plan.workspace_size(), 0, 7);
  plan.prepare(step, workspace.data(), plan.workspace_size());
  plan.update_cache(layer, history_key_, history_value_);
}

void RankWorld::make_inputs(const Values& values, uint64_t fill_seed) {
  const int64_t tokens = g_.num_tokens();
  const int32_t heads = ranks_.own_heads(g_);
  query_ = make({tokens, heads, g_.head_dim}, g_.stored_query().dtype, fill_seed);
  const bool token_scales = g_.stored_query().scale == ScaleOf::token;
  if (token_scales) {
    query_scale_ = make({tokens, heads}, PAGODA_F32, fill_seed);
    layer.query_scale = &query_scale_;
  }
  key_ = make({tokens, g_.num_kv_heads, g_.head_dim}, g_.dtype, fill_seed);
  value_ = make({tokens, g_.num_kv_heads, g_.head_dim_v}, g_.dtype, fill_seed);
  out_ = make({tokens, heads, g_.head_dim_v}, g_.dtype, fill_seed);
  lse_ = make({heads, tokens}, PAGODA_F32, fill_seed);
  slots_.assign(static_cast<size_t>(std::max<int64_t>(tokens, 1)), -1);
  int32_t token = 0;
  for (size_t r = 0; r < g_.requests.size(); ++r)
    for (int32_t i = 0; i < g_.requests[r].query_len; ++i, ++token) {
      for (int32_t own = 0; own < heads; ++own) {
        const auto row = static_cast<size_t>(token * g_.num_heads() + ranks_.head(g_, rank_, own));
        set_row(query_, token, own, values.query, row);
        if (token_scales)
          store(PAGODA_F32, address(query_scale_, token, own), values.query_scale[row]);
      }
      const int32_t j = g_.requests[r].position(i);
      if (j < 0) continue;
      slots_[static_cast<size_t>(token)] = global_slot(r, j);
      for (int32_t head = 0; head < g_.num_kv_heads; ++head) {
        const auto row = static_cast<size_t>(j * g_.num_kv_heads + head);
        set_row(key_, token, head, values.requests[r].new_key(), row);
        set_row(value_, token, head, values.requests[r].new_value(), row);
      }
    }
  check(pagoda_local_slots(rank_, ranks_.num_ranks, ranks_.interleave, g_.page_size, slots_.data(),
                           slots_.data(), static_cast<int32_t>(tokens)));
  batch.slot_mapping = slots_.data();
  for (int32_t own = 0; own < heads; ++own) {
    const auto head = static_cast<size_t>(ranks_.head(g_, rank_, own));
    if (g_.alibi != PAGODA_ALIBI_NONE) slopes_.push_back(values.alibi_slopes[head]);
    if (g_.sinks) sinks_.push_back(values.sinks[head]);
  }
  if (!slopes_.empty()) layer.alibi_slopes = slopes_.data();
  if (!sinks_.empty()) layer.sinks = sinks_.data();
}

Result RankWorld::run(const Context& context, const char* kernel) {
  Tuning tuning;
  tuning.num_splits = g_.num_splits;
  tuning.kernel = kernel;
  tuning.cascade = g_.cascade;
  Result result;
  try {
    write_history(context);
    Plan plan(context, spec, limits, tuning);
    const size_t size = plan.workspace_size();
    Buffer workspace(size, 0, 7);
    plan.prepare(batch, workspace.data(), size);
    result.info = plan.step_info();
    plan.update_cache(layer, key_, value_);
    plan.forward(layer, query_, out_, &lse_);
    collect(result);
  } catch (const Error& error) {
    result.status = error.status();
    result.complaint = error.what();
  }
  return result;
}

void RankWorld::collect(Result& result) const {
  for (int32_t t = 0; t < g_.num_tokens(); ++t)
    for (int32_t own = 0; own < ranks_.own_heads(g_); ++own) {
      const std::byte* at = address(out_, t, own);
      for (int32_t e = 0; e < g_.head_dim_v; ++e)
        result.out.push_back(load(g_.dtype, at + static_cast<size_t>(e) * size_of(g_.dtype)));
    }
  for (int32_t own = 0; own < ranks_.own_heads(g_); ++own)
    for (int32_t t = 0; t < g_.num_tokens(); ++t)
      result.lse.push_back(load(PAGODA_F32, address(lse_, own, t)));
}

Geometry draw_shared(uint64_t seed, const Ranks& ranks) {
  for (uint64_t s = seed * 1000;; ++s) {
    Geometry g = draw_geometry(s);
    if (!g.has_cache() || g.cost() > kMostWork) continue;
    if (!ranks.copies) g.group = ranks.num_ranks * (1 + static_cast<int32_t>(s % 2));
    g.page_size = (g.page_size + ranks.interleave - 1) / ranks.interleave * ranks.interleave;
    for (Request& request : g.requests) request.shared_pages = 0, request.shares_with = -1;
    g.lse = LseKind::packed;
    return g;
  }
}

Result join(const Geometry& g, const Ranks& ranks, const std::vector<Result>& results) {
  const auto tokens = static_cast<size_t>(g.num_tokens()),
             heads = static_cast<size_t>(g.num_heads());
  const auto dim = static_cast<size_t>(g.head_dim_v);
  const auto own_heads = static_cast<size_t>(ranks.own_heads(g));
  Result all{.out = std::vector<float>(tokens * heads * dim),
             .lse = std::vector<float>(heads * tokens)};
  for (int32_t r = 0; r < ranks.num_ranks; ++r) {
    const Result& from = results[static_cast<size_t>(r)];
    if (!from.complaint.empty()) return from;
    for (size_t own = 0; own < own_heads; ++own) {
      const auto head = static_cast<size_t>(ranks.head(g, r, static_cast<int32_t>(own)));
      for (size_t t = 0; t < tokens; ++t) {
        all.lse[head * tokens + t] = from.lse[own * tokens + t];
        for (size_t e = 0; e < dim; ++e)
          all.out[(t * heads + head) * dim + e] = from.out[(t * own_heads + own) * dim + e];
      }
    }
  }
  return all;
}

// What reducing adds to the error of attention: a rank's weight is exp of a difference of
// log-sum-exps in float, its own and a total of num_ranks and a sink, each rounded to 2^-24 of
// itself.
Arithmetic arithmetic_of(Geometry g, const Values& values, const Ranks& ranks) {
  g.sinks = false;
  double largest = 1;
  for (const ExpectedRow& row : attend<double>(g, values).rows)
    if (std::isfinite(row.lse)) largest = std::max(largest, std::abs(row.lse));
  for (const float sink : values.sinks)
    if (std::isfinite(sink)) largest = std::max(largest, std::abs(static_cast<double>(sink)));
  Arithmetic arithmetic = Backends::arithmetic(g, g.isa);
  arithmetic.weights += (ranks.num_ranks + 3) * 0x1p-24 * largest;
  return arithmetic;
}

}  // namespace pagoda::conformance
