#include "oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pagoda::conformance {

bool sees(const Geometry& g, const Request& request, int64_t p, int64_t j) {
  if (j < 0 || j >= request.seq_len) return false;
  if (request.causal && j > p) return false;
  if (g.window_kind == WindowKind::none) return true;
  // A causal spec has its window behind the query; a request that is not causal has it on both
  // sides.
  const int64_t back = g.window_left;
  const int64_t ahead = g.spec_causal && !request.causal ? g.window_left : g.window_right;
  if (back != -1 && j < p - back) return false;
  return ahead == -1 || request.causal || j <= p + ahead;
}

namespace {

// Of one logit, as ExpectedRow has them of a row.
struct Conditions {
  double logit = 0, query = 0, query_sum = 0;
};

template <class Real>
struct Oracle {
  const Geometry& g;
  const Values& values;
  Expected& expected;
  const Shows& shows;
  const Rescores& rescores;
  std::vector<Real> logits = {};
  std::vector<int32_t> keys = {};

  static constexpr Real kInfinity = std::numeric_limits<Real>::infinity();

  Real scale() const {
    return g.scale != 0 ? static_cast<Real>(g.scale)
                        : static_cast<Real>(static_cast<float>(1 / std::sqrt(double(g.head_dim))));
  }

  // The logit of one key, and its conditions. scale_of_qk: of the stored query and the stored key
  Real logit(const float* q, const float* k, Real scale_of_qk, int32_t head, int64_t p, int64_t j,
             Conditions& conditions) const {
    Real dot = 0, sum_of_sizes = 0, largest_query = 0, sum_of_query = 0, sum_of_keys = 0;
    for (int32_t e = 0; e < g.head_dim; ++e) {
      const Real product = static_cast<Real>(q[e]) * static_cast<Real>(k[e]);
      dot += product;
      sum_of_sizes += std::abs(product);
      largest_query = std::max(largest_query, std::abs(static_cast<Real>(q[e])));
      sum_of_query += std::abs(static_cast<Real>(q[e]));
      sum_of_keys += std::abs(static_cast<Real>(k[e]));
    }
    Real s = dot * scale_of_qk * scale();
    // An infinite one gives a logit that no rounding of others changes.
    if (std::isfinite(s)) {
      const Real of_keys = scale() * scale_of_qk * sum_of_keys;
      conditions.query = std::abs(static_cast<double>(of_keys * largest_query));
      conditions.query_sum = std::abs(static_cast<double>(of_keys * sum_of_query));
    }
    double& condition = conditions.logit;
    condition =
        (g.head_dim + 4) * std::abs(static_cast<double>(scale() * scale_of_qk * sum_of_sizes));
    if (g.softcap > 0) {
      s = static_cast<Real>(g.softcap) * std::tanh(s / static_cast<Real>(g.softcap));
      condition += 8 * std::abs(static_cast<double>(s));
    }
    if (g.alibi == PAGODA_ALIBI_NONE) return s;
    const Real slope = static_cast<Real>(values.alibi_slopes[static_cast<size_t>(head)]);
    Real bias = slope * static_cast<Real>(j - p);
    if (g.alibi == PAGODA_ALIBI_SQRT)
      bias = j <= p ? -slope * std::sqrt(static_cast<Real>(p - j)) : 0;
    condition += 4 * std::abs(static_cast<double>(bias)) + 2 * std::abs(static_cast<double>(s));
    return s + bias;
  }

  static Real scale_at(const std::vector<float>& scales, size_t index) {
    return scales.empty() ? 1 : static_cast<Real>(scales[index]);
  }

  // q: of one query, q_scale what it is multiplied by
  void collect_logits(size_t r, int32_t i, const float* q, Real q_scale, int32_t head,
                      ExpectedRow& row) {
    const Request& request = g.requests[r];
    const RequestValues& own = values.requests[r];
    const int64_t p = request.position(i);
    logits.clear();
    keys.clear();
    const int32_t kv_head = head / g.group;
    for (int32_t j = 0; j < request.seq_len; ++j) {
      if (!sees(g, request, p, j) || (shows && !shows(r, head, i, j))) continue;
      Conditions conditions;
      const auto position = static_cast<size_t>(j * g.num_kv_heads + kv_head);
      const float* k = &own.key[position * static_cast<size_t>(g.head_dim)];
      Real s = logit(q, k, q_scale * scale_at(own.key_scale, position), head, p, j, conditions);
      if (rescores) {
        // Of expressions that are at most four times as steep as the logit itself, and have few
        // operations, none of them on numbers much larger than what goes in and comes out.
        const Real before = s;
        s = static_cast<Real>(rescores(static_cast<double>(s), r, head, i, j));
        conditions.query *= 4;
        conditions.query_sum *= 4;
        conditions.logit =
            4 * conditions.logit + 16 * static_cast<double>(std::abs(before) + std::abs(s)) + 16;
      }
      logits.push_back(s);
      keys.push_back(j);
      if (s == -kInfinity) continue;
      row.logit_condition = std::max(row.logit_condition, conditions.logit);
      row.query_condition = std::max(row.query_condition, conditions.query);
      row.query_sum_condition = std::max(row.query_sum_condition, conditions.query_sum);
    }
    row.num_keys = static_cast<int32_t>(keys.size());
  }

  // at: of the row's first output element.
  void attend(size_t r, int32_t i, const float* q, Real q_scale, int32_t head, ExpectedRow& row,
              size_t at) {
    const RequestValues& own = values.requests[r];
    collect_logits(r, i, q, q_scale, head, row);
    const Real sink =
        g.sinks ? static_cast<Real>(values.sinks[static_cast<size_t>(head)]) : -kInfinity;
    Real largest = sink;
    for (Real s : logits) {
      if (std::isnan(s) || s == kInfinity) row.is_nan = true;
      largest = std::max(largest, s);
    }
    row.lse = static_cast<double>(sink);
    row.empty = keys.empty();
    // Subtracting a large sink from a small logit rounds to the sink's size, not the logit's.
    if (std::isfinite(sink)) row.logit_condition += std::abs(static_cast<double>(sink));
    if (row.empty || row.is_nan) return;
    if (largest == -kInfinity) largest = 0;  // every key is infinitely unlikely
    Real sum = sink == -kInfinity ? 0 : std::exp(sink - largest);
    for (Real s : logits) sum += std::exp(s - largest);
    row.lse = static_cast<double>(largest + std::log(sum));
    if (sum == 0) sum = 1;
    const auto dim = static_cast<size_t>(g.head_dim_v);
    std::vector<Real> out(dim, 0), weighted(dim, 0), lost(dim, 0), sizes(dim, 0);
    Real largest_scale = own.value_scale.empty() ? 1 : 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      const Real weight = std::exp(logits[i] - largest) / sum;
      const auto position = static_cast<size_t>(keys[i] * g.num_kv_heads + head / g.group);
      const float* v = &own.value[position * dim];
      const Real row_scale = scale_at(own.value_scale, position);
      const size_t channels = static_cast<size_t>(head / g.group) * dim;
      largest_scale = std::max(largest_scale, std::abs(row_scale));
      for (size_t e = 0; e < dim; ++e) {
        if (!std::isfinite(v[e])) {
          Element& kind = expected.kind[at + e];
          if (weight > Real(0x1p-100))
            kind = Element::not_finite;
          else if (kind != Element::not_finite)
            kind = Element::any;
          continue;
        }
        const Real unscaled =
            static_cast<Real>(v[e]) * scale_at(values.channel_scale, channels + e);
        const Real value = unscaled * row_scale;
        sizes[e] += std::abs(unscaled);
        out[e] += weight * value;
        const Real size = weight * std::abs(value);
        weighted[e] += size;
        if (weight * std::min(row_scale, Real(1)) < Real(0x1p-125)) lost[e] += size;
      }
    }
    for (size_t e = 0; e < dim; ++e) {
      expected.out[at + e] = static_cast<double>(out[e]);
      expected.weighted[at + e] = static_cast<double>(weighted[e]);
      expected.sizes[at + e] = static_cast<double>(sizes[e] * largest_scale);
      expected.lost[at + e] = static_cast<double>(lost[e]);
    }
  }
};

}  // namespace

template <class Real>
Expected attend(const Geometry& g, const Values& values, const Shows& shows,
                const Rescores& rescores) {
  const auto heads = static_cast<size_t>(g.num_heads()), dim = static_cast<size_t>(g.head_dim_v);
  const size_t num_rows = static_cast<size_t>(g.num_tokens()) * heads;
  Expected expected{.num_heads = g.num_heads(), .head_dim_v = g.head_dim_v};
  expected.rows.resize(num_rows);
  expected.out.resize(num_rows * dim);
  expected.weighted.resize(num_rows * dim);
  expected.sizes.resize(num_rows * dim);
  expected.lost.resize(num_rows * dim);
  expected.kind.resize(num_rows * dim, Element::ordinary);
  for (ExpectedRow& row : expected.rows) row.lse = -std::numeric_limits<double>::infinity();
  Oracle<Real> oracle{g, values, expected, shows, rescores};
  size_t row = 0;
  for (size_t r = 0; r < g.requests.size(); ++r)
    for (int32_t i = 0; i < g.requests[r].query_len; ++i)
      for (int32_t head = 0; head < g.num_heads(); ++head, ++row)
        oracle.attend(r, i, &values.query[row * static_cast<size_t>(g.head_dim)],
                      Oracle<Real>::scale_at(values.query_scale, row), head, expected.rows[row],
                      row * dim);
  for (size_t i = 0; i < num_rows; ++i)
    if (expected.rows[i].empty && !expected.rows[i].is_nan)
      std::fill_n(&expected.kind[i * dim], dim, Element::exact);
  return expected;
}

template Expected attend<double>(const Geometry&, const Values&, const Shows&, const Rescores&);
template Expected attend<long double>(const Geometry&, const Values&, const Shows&,
                                      const Rescores&);

}  // namespace pagoda::conformance
