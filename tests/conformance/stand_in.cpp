#include "stand_in.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace pagoda::conformance {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct State {
  double m = -kInfinity, l = 0;
  std::vector<double> o;
};

// A fault may compute any address; it stays within the tensor that it belongs to.
std::byte* address_within(const pagoda_tensor& truth, const pagoda_tensor& assumed, int64_t i,
                          int64_t j, int64_t k = 0) {
  const int64_t* shape = truth.shape;
  std::byte* last = truth.num_dims == 4 ? address(truth, shape[0] - 1, shape[1] - 1, shape[2] - 1)
                                        : address(truth, shape[0] - 1, shape[1] - 1);
  return std::clamp(address(assumed, i, j, k), static_cast<std::byte*>(truth.data), last);
}

class StandIn {
 public:
  StandIn(Step& step, Fault fault) : step_(step), g_(step.geometry()), fault_(fault) {}

  void update_cache() {
    if (!g_.has_cache() || g_.writing == Writing::placed || is(Fault::slots_skipped)) return;
    for (int32_t t = 0; t < g_.num_tokens(); ++t) write_slot(t);
  }

  void forward() {
    for (int32_t r = 0; r < step_.batch.num_reqs; ++r) attend_request(r);
    if (is(Fault::padded_tokens_untouched)) return;
    for (int32_t t = g_.num_query_tokens(); t < g_.num_tokens(); ++t)
      for (int32_t head = 0; head < g_.num_heads(); ++head)
        finish(t, head, {.o = std::vector<double>(dim_v())});
  }

 private:
  bool is(Fault fault) const { return fault_ == fault; }
  size_t dim_v() const { return static_cast<size_t>(g_.head_dim_v); }

  void write_slot(int32_t t) {
    int64_t slot = step_.batch.slot_mapping[t];
    if (slot < 0 && is(Fault::negative_slot_wraps))
      slot = step_.limits.num_pages * g_.page_size - 1;
    if (slot < 0 && is(Fault::pad_slot_to_null_page)) slot = 0;
    if (slot < 0) return;
    if (is(Fault::slot_off_by_one)) slot = slot % g_.page_size == 0 ? slot : slot - 1;
    const auto copy = [&](const Tensor& from, const pagoda_tensor& to) {
      for (int32_t head = 0; head < g_.num_kv_heads; ++head)
        std::memcpy(address(to, slot / g_.page_size, slot % g_.page_size, head),
                    address(from, t, head),
                    static_cast<size_t>(from.shape[2]) * size_of(from.dtype));
    };
    copy(step_.key, *step_.layer.key_cache);
    if (!is(Fault::value_not_written)) copy(step_.value, *step_.layer.value_cache);
  }

  int32_t kv_head(int32_t head) const {
    if (is(Fault::heads_modulo)) return head % g_.num_kv_heads;
    if (is(Fault::group_to_power_of_two))
      return std::min(head / static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(g_.group))),
                      g_.num_kv_heads - 1);
    return head / g_.group;
  }

  // Of key j of request r; `tensor` holds keys or values, `is_value` says which.
  const std::byte* row(int32_t r, int32_t j, int32_t head, bool is_value) const {
    if (!g_.has_cache()) {
      const Batch& batch = step_.batch;
      const int32_t* starts = batch.key_start_loc == nullptr || is(Fault::key_start_ignored)
                                  ? batch.query_start_loc
                                  : batch.key_start_loc;
      const Tensor& rows = is_value ? step_.value : step_.key;
      return address(rows, std::min(starts[r] + int64_t{j}, rows.shape[0] - 1), kv_head(head));
    }
    const Batch& batch = step_.batch;
    const int64_t stride =
        is(Fault::table_stride_is_width) ? batch.page_table_width : batch.page_table_stride;
    const int64_t page = batch.page_table[r * stride + j / g_.page_size];
    return cache_row(std::clamp<int64_t>(page, 0, step_.limits.num_pages - 1), j % g_.page_size,
                     head, is_value);
  }

  const std::byte* cache_row(int64_t page, int32_t offset, int32_t head, bool is_value) const {
    const pagoda_tensor& truth = is_value ? *step_.layer.value_cache : *step_.layer.key_cache;
    pagoda_tensor cache = truth;
    if (is_value && is(Fault::value_strides_of_key))
      std::copy_n(step_.layer.key_cache->stride, 3, cache.stride);
    if (is(Fault::page_stride_dense))
      cache.stride[0] = cache.shape[1] * cache.shape[2] * cache.shape[3];
    if (is(Fault::head_stride_dense)) cache.stride[2] = cache.shape[3];
    return address_within(truth, cache, page, offset, kv_head(head));
  }

  double at(const std::byte* row, int32_t e) const {
    return load(g_.dtype, row + static_cast<size_t>(e) * size_of(g_.dtype));
  }

  bool sees(const Request& request, int64_t p, int64_t j) const {
    const bool causal = is(Fault::causal_flag_ignored) ? g_.spec_causal : request.causal;
    if (causal && j > p) return false;
    if (g_.window_kind == WindowKind::none) return true;
    if (is(Fault::window_dropped_in_decode) && request.query_len == 1) return true;
    int64_t left = g_.window_left, right = g_.window_right;
    if (g_.spec_causal && !causal && !is(Fault::window_not_symmetric)) right = left;
    if (left >= 0 && is(Fault::window_one_more)) ++left;
    if (left > 0 && is(Fault::window_one_less)) --left;
    if (right >= 0 && is(Fault::window_right_one_more)) ++right;
    if (left >= 0 && j < p - left) return false;
    return causal || right < 0 || j <= p + right;
  }

  double capped(double s) const {
    const double c = g_.softcap;
    if (c == 0 || is(Fault::softcap_dropped)) return s;
    if (!is(Fault::softcap_by_exponentials)) return c * std::tanh(s / c);
    const float up = std::exp(static_cast<float>(s / c)),
                down = std::exp(static_cast<float>(-s / c));
    return c * static_cast<double>((up - down) / (up + down));
  }

  double bias(const Request& request, int32_t head, int64_t p, int64_t j) const {
    if (g_.alibi == PAGODA_ALIBI_NONE) return 0;
    if (is(Fault::alibi_dropped_in_decode) && request.query_len == 1) return 0;
    const double slope =
        step_.layer.alibi_slopes[is(Fault::alibi_of_kv_head) ? kv_head(head) : head];
    const double distance = static_cast<double>(is(Fault::alibi_absolute) ? j : j - p);
    if (g_.alibi == PAGODA_ALIBI_LINEAR) return (is(Fault::alibi_sign) ? -slope : slope) * distance;
    const auto ahead = static_cast<double>(j - p);
    if (ahead > 0) return is(Fault::alibi_sqrt_mirrored) ? -slope * std::sqrt(ahead) : 0;
    return (is(Fault::alibi_sign) ? slope : -slope) * std::sqrt(-ahead);
  }

  double scale() const {
    const int32_t dim = is(Fault::scale_of_head_dim_v) ? g_.head_dim_v : g_.head_dim;
    return g_.scale != 0 && !is(Fault::scale_ignored) ? g_.scale : 1 / std::sqrt(double(dim));
  }

  double logit(int32_t r, int32_t t, int32_t head, int64_t p, int32_t j) const {
    const Request& request = g_.requests[static_cast<size_t>(r)];
    Tensor query = step_.query;
    if (is(Fault::query_stride_dense)) query.stride[0] = int64_t{g_.num_heads()} * g_.head_dim;
    const std::byte *q = address_within(step_.query, query, t, head), *k = row(r, j, head, false);
    double dot = 0;
    const int32_t dims = is(Fault::last_dims_dropped) ? g_.head_dim / 16 * 16 : g_.head_dim;
    for (int32_t e = 0; e < dims; ++e) dot += at(q, e) * at(k, e);
    const double s = dot * scale(), b = bias(request, head, p, j);
    const double result = is(Fault::softcap_after_alibi) ? capped(s + b) : capped(s) + b;
    return is(Fault::nan_ignored) && std::isnan(result) ? -kInfinity : result;
  }

  void add(State& state, double s, int32_t r, int32_t j, int32_t head) const {
    if (s == -kInfinity) return;
    const double m = std::isnan(s) || s > state.m ? s : state.m;
    const double keep = state.m == -kInfinity ? 0 : std::exp(state.m - m);
    double p = std::exp(s - m);
    if (is(Fault::weights_in_bfloat16)) p = rounded(PAGODA_BF16, p);
    const std::byte* v = row(r, j, head, true);
    state.m = m;
    state.l = keep * state.l + p;
    const size_t dims =
        is(Fault::value_dim_of_key) ? std::min(dim_v(), static_cast<size_t>(g_.head_dim)) : dim_v();
    for (size_t e = 0; e < dims; ++e) {
      state.o[e] = keep * state.o[e] + p * at(v, static_cast<int32_t>(e));
      if (is(Fault::sums_in_output_type)) state.o[e] = rounded(g_.dtype, state.o[e]);
    }
  }

  State merged(const State& a, const State& b) const {
    if (a.l == 0) return b;
    if (b.l == 0) return a;
    State sum = a;
    sum.m = std::isnan(a.m) || a.m > b.m ? a.m : b.m;
    double wa = std::exp(a.m - sum.m), wb = std::exp(b.m - sum.m);
    if (is(Fault::splits_averaged)) wa = wb = 1;
    sum.l = wa * a.l + wb * b.l;
    for (size_t e = 0; e < sum.o.size(); ++e) sum.o[e] = wa * a.o[e] + wb * b.o[e];
    return sum;
  }

  // Faults that read what no query sees, with a weight of zero.
  void add_unseen(State& state, int32_t r, int32_t j, int32_t head) const {
    const Request& request = g_.requests[static_cast<size_t>(r)];
    const std::byte* v = nullptr;
    if (is(Fault::hidden_times_zero) && j < request.seq_len) v = row(r, j, head, true);
    if (is(Fault::null_page_times_zero) && g_.has_cache()) v = cache_row(0, 0, head, true);
    if (v == nullptr) return;
    for (size_t e = 0; e < dim_v(); ++e) state.o[e] += 0 * at(v, static_cast<int32_t>(e));
  }

  State attend_keys(int32_t r, int32_t t, int32_t head, int64_t p, int32_t begin,
                    int32_t end) const {
    const Request& request = g_.requests[static_cast<size_t>(r)];
    State state{.o = std::vector<double>(dim_v())};
    for (int32_t j = begin; j < end; ++j) {
      if (sees(request, p, j)) {
        add(state, logit(r, t, head, p, j), r, j, head);
      } else if (is(Fault::softcap_after_mask) && g_.softcap > 0) {
        add(state, -g_.softcap + bias(request, head, p, j), r, j, head);
      } else if (is(Fault::finite_minus_infinity)) {
        add(state, -50.0, r, j, head);
      } else {
        add_unseen(state, r, j, head);
      }
    }
    if (!g_.has_cache() || end != request.seq_len || request.seq_len == 0) return state;
    const int32_t page_end = g_.pages_of(request) * g_.page_size;
    for (int32_t j = end; j < page_end; ++j) {
      if (is(Fault::tail_read)) add(state, logit(r, t, head, p, j), r, j, head);
      if (!is(Fault::tail_times_zero)) continue;
      const std::byte* v = row(r, j, head, true);
      for (size_t e = 0; e < dim_v(); ++e) state.o[e] += 0 * at(v, static_cast<int32_t>(e));
    }
    return state;
  }

  void add_sink(State& state, int32_t head) const {
    double sink = step_.layer.sinks[is(Fault::sink_of_kv_head) ? kv_head(head) : head];
    if (is(Fault::sink_scaled)) sink *= scale();
    const State alone{.m = sink, .l = 1, .o = std::vector<double>(dim_v())};
    state = merged(state, alone);
    if (is(Fault::sink_twice)) state = merged(state, alone);
  }

  void attend_row(int32_t r, int32_t i, int32_t t, int32_t head) {
    const Request& request = g_.requests[static_cast<size_t>(r)];
    int64_t p = is(Fault::causal_top_left) ? i : request.position(i);
    if (is(Fault::early_queries_clamped)) p = std::max<int64_t>(p, 0);
    const int32_t splits = std::max(g_.num_splits, 1);
    const int32_t keys =
        is(Fault::last_key_dropped) ? std::max(request.seq_len - 1, 0) : request.seq_len;
    const int32_t share =
        is(Fault::split_remainder_dropped) ? keys / splits : (keys + splits - 1) / splits;
    const bool has_sink = g_.sinks;
    State total{.o = std::vector<double>(dim_v())};
    for (int32_t split = 0; split < splits; ++split) {
      if (is(Fault::last_split_dropped) && splits > 1 && split == splits - 1) break;
      const int32_t begin = std::min(split * share, keys), end = std::min(begin + share, keys);
      State state = attend_keys(r, t, head, p, begin, end);
      if (has_sink && is(Fault::sink_in_every_split)) add_sink(state, head);
      total = merged(total, state);
    }
    const State without_sink = total;
    if (has_sink && !is(Fault::sink_in_every_split)) add_sink(total, head);
    finish(t, head, total, is(Fault::sink_missing_in_lse) ? &without_sink : nullptr);
  }

  double lse_of(const State& state) const {
    if (state.l == 0) return is(Fault::empty_row_infinity) ? kInfinity : -kInfinity;
    if (is(Fault::lse_without_maximum)) return std::log(state.l);
    const double lse = state.m + std::log(state.l);
    return is(Fault::lse_base_two) ? lse / std::log(2.0) : lse;
  }

  void finish(int32_t t, int32_t head, const State& state, const State* for_lse = nullptr) {
    if (state.l == 0 && is(Fault::empty_row_untouched)) return;
    Tensor out = step_.out;
    if (is(Fault::out_stride_dense)) out.stride[0] = int64_t{g_.num_heads()} * g_.head_dim_v;
    std::byte* to = address_within(step_.out, out, t, head);
    for (size_t e = 0; e < dim_v(); ++e) {
      const double mean =
          state.l == 0 ? (is(Fault::empty_row_is_mean) ? 1 : 0) : state.o[e] / state.l;
      store(g_.dtype, to + e * size_of(g_.dtype), static_cast<float>(mean));
    }
    if (!step_.has_lse()) return;
    Tensor lse = step_.lse;
    if (is(Fault::lse_transposed)) std::swap(lse.stride[0], lse.stride[1]);
    store(PAGODA_F32, address_within(step_.lse, lse, head, t),
          static_cast<float>(lse_of(for_lse ? *for_lse : state)));
  }

  void attend_request(int32_t r) {
    const Request& request = g_.requests[static_cast<size_t>(r)];
    int32_t begin = step_.batch.query_start_loc[r];
    if (is(Fault::query_start_by_uniform_len))
      begin = std::min(r * request.query_len, g_.num_query_tokens() - request.query_len);
    for (int32_t i = 0; i < request.query_len; ++i)
      for (int32_t head = 0; head < g_.num_heads(); ++head) attend_row(r, i, begin + i, head);
  }

  Step& step_;
  const Geometry& g_;
  Fault fault_;
};

}  // namespace

const char* name_of(Fault fault) {
  static const char* const names[] = {"none",
                                      "window_one_more",
                                      "window_one_less",
                                      "window_right_one_more",
                                      "window_dropped_in_decode",
                                      "causal_top_left",
                                      "causal_flag_ignored",
                                      "window_not_symmetric",
                                      "early_queries_clamped",
                                      "last_key_dropped",
                                      "softcap_after_mask",
                                      "softcap_dropped",
                                      "softcap_by_exponentials",
                                      "softcap_after_alibi",
                                      "alibi_sign",
                                      "alibi_absolute",
                                      "alibi_dropped_in_decode",
                                      "alibi_sqrt_mirrored",
                                      "alibi_of_kv_head",
                                      "scale_ignored",
                                      "scale_of_head_dim_v",
                                      "sink_twice",
                                      "sink_scaled",
                                      "sink_of_kv_head",
                                      "sink_missing_in_lse",
                                      "lse_base_two",
                                      "lse_without_maximum",
                                      "lse_transposed",
                                      "finite_minus_infinity",
                                      "empty_row_infinity",
                                      "empty_row_untouched",
                                      "empty_row_is_mean",
                                      "padded_tokens_untouched",
                                      "tail_times_zero",
                                      "tail_read",
                                      "null_page_times_zero",
                                      "hidden_times_zero",
                                      "nan_ignored",
                                      "last_split_dropped",
                                      "split_remainder_dropped",
                                      "splits_averaged",
                                      "sink_in_every_split",
                                      "heads_modulo",
                                      "group_to_power_of_two",
                                      "value_dim_of_key",
                                      "last_dims_dropped",
                                      "table_stride_is_width",
                                      "page_stride_dense",
                                      "head_stride_dense",
                                      "value_strides_of_key",
                                      "query_stride_dense",
                                      "out_stride_dense",
                                      "key_start_ignored",
                                      "query_start_by_uniform_len",
                                      "negative_slot_wraps",
                                      "slot_off_by_one",
                                      "slots_skipped",
                                      "value_not_written",
                                      "pad_slot_to_null_page",
                                      "sums_in_output_type",
                                      "weights_in_bfloat16"};
  static_assert(std::size(names) == static_cast<size_t>(Fault::count));
  return names[static_cast<size_t>(fault)];
}

Result run_stand_in(Step& step, Fault fault) {
  StandIn stand_in(step, fault);
  stand_in.update_cache();
  stand_in.forward();
  return step.finish();
}

}  // namespace pagoda::conformance
