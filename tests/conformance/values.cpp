// Each regime shows a kind of mistake that numbers of another kind hide: Gaussian values average
// out a key too many, coded ones name it; a wrong mask under zero queries moves the exact mean.
#include "values.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/core/dtype.h"

namespace pagoda::conformance {
namespace {

enum Purpose : uint64_t { kQueries = 11, kKeys = 12, kExtras = 13, kPlanted = 14 };

double smallest_normal(pagoda_dtype dtype) {
  return dtype == PAGODA_F16 ? 0x1p-14 : 0x1p-126;
}

// The largest f16. In the wider types a sum of 1100 of them, not yet divided by the denominator,
// has to stay in the range of float accumulators.
double largest_value(pagoda_dtype dtype) {
  return dtype == PAGODA_F16 ? 65504.0 : 2e35;
}

double draw_query(const Geometry& g, Random& random, int32_t e) {
  switch (g.regime) {
    case Regime::zero_query:
      return 0;
    case Regime::large_logits:
      return 40 * random.gaussian();
    case Regime::outlier_channel:
      return (e == 3 ? 1000 : 1) * random.gaussian();
    case Regime::sparse_exact:
      return random.chance(0.3) ? random.pick({-2.0, -1.0, 0.5, 1.0}) : 0.0;
    case Regime::subnormal:
      return smallest_normal(g.dtype) * random.uniform(-1, 1);
    default:
      return random.gaussian();
  }
}

double draw_key(const Geometry& g, Random& random) {
  switch (g.regime) {
    case Regime::zero_key:
      return 0;
    case Regime::large_logits:
      return 100 * random.gaussian();
    case Regime::sparse_exact:
      return random.chance(0.3) ? random.pick({-1.0, -0.5, 1.0, 2.0}) : 0.0;
    case Regime::subnormal:
      return smallest_normal(g.dtype) * random.uniform(-1, 1);
    default:
      return random.gaussian();
  }
}

// j is the key's position, e its element.
double draw_value(const Geometry& g, Random& random, int32_t j, int32_t e) {
  switch (g.regime) {
    case Regime::coded_values:
      return e % 2 == 0 ? j % 128 : (j / 128) + 1;
    case Regime::ones:
      return 1;
    case Regime::sparse_exact:
      return random.between(-4, 4);
    case Regime::subnormal:
      return smallest_normal(g.dtype) * random.uniform(-1, 1);
    case Regime::max_finite:
      return largest_value(g.dtype) * random.pick({-1.0, 1.0, 0.5});
    case Regime::outlier_channel:
      return (e == 5 ? 1000 : 1) * random.gaussian();
    default:
      return random.gaussian();
  }
}

// One key per request and head that every query finds by far the best.
void plant_one_hot(const Geometry& g, const Request& request, RequestValues& values,
                   Random& random) {
  if (request.seq_len == 0) return;
  const auto dim = static_cast<size_t>(g.head_dim), heads = static_cast<size_t>(g.num_kv_heads);
  for (size_t head = 0; head < heads; ++head) {
    const auto chosen = static_cast<size_t>(random.between(0, request.seq_len - 1));
    for (size_t j = 0; j < static_cast<size_t>(request.seq_len); ++j)
      for (size_t e = 0; e < dim; ++e)
        values.key[(j * heads + head) * dim + e] = rounded(g.dtype, j == chosen ? 30 : -30);
  }
}

void duplicate_keys(const Geometry& g, const Request& request, RequestValues& values) {
  const size_t k = static_cast<size_t>(g.num_kv_heads * g.head_dim);
  for (size_t j = 1; j < static_cast<size_t>(request.seq_len); j += 2)
    std::copy_n(&values.key[(j - 1) * k], k, &values.key[j * k]);
}

void plant_nonfinite(const Request& request, RequestValues& values, Random& random) {
  if (request.seq_len == 0) return;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (int i = random.between(1, 3); i > 0; --i) {
    std::vector<float>& target = random.chance(0.5) ? values.key : values.value;
    const float what =
        random.pick({std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity});
    target[random.bits() % target.size()] = what;
  }
}

RequestValues draw_request(const Geometry& g, const Request& request, Random& random) {
  RequestValues values;
  for (int32_t j = 0; j < request.seq_len; ++j)
    for (int32_t head = 0; head < g.num_kv_heads; ++head) {
      for (int32_t e = 0; e < g.head_dim; ++e)
        values.key.push_back(rounded(g.dtype, draw_key(g, random)));
      for (int32_t e = 0; e < g.head_dim_v; ++e)
        values.value.push_back(rounded(g.dtype, draw_value(g, random, j, e)));
    }
  if (g.regime == Regime::one_hot) plant_one_hot(g, request, values, random);
  if (g.regime == Regime::duplicated_keys) duplicate_keys(g, request, values);
  if (g.regime == Regime::nonfinite) plant_nonfinite(request, values, random);
  return values;
}

// Copies what head 0 of each row holds to the other heads of `rows` [rows, heads, dim].
void expand_heads(std::vector<float>& rows, int32_t heads, int32_t dim) {
  const auto h = static_cast<size_t>(heads), d = static_cast<size_t>(dim);
  for (size_t row = 0; row + h * d <= rows.size(); row += h * d)
    for (size_t head = 1; head < h; ++head) std::copy_n(&rows[row], d, &rows[row + head * d]);
}

void share_pages(const Geometry& g, Values& values) {
  for (size_t r = 0; r < g.requests.size(); ++r) {
    const Request& request = g.requests[r];
    if (request.shares_with < 0) continue;
    const RequestValues& donor = values.requests[static_cast<size_t>(request.shares_with)];
    const int32_t shared = std::min({request.shared_pages * g.page_size, request.seq_len,
                                     g.requests[static_cast<size_t>(request.shares_with)].seq_len});
    const auto rows = static_cast<size_t>(shared * g.num_kv_heads);
    std::copy_n(donor.key.begin(), rows * static_cast<size_t>(g.head_dim),
                values.requests[r].key.begin());
    std::copy_n(donor.value.begin(), rows * static_cast<size_t>(g.head_dim_v),
                values.requests[r].value.begin());
  }
}

void draw_extras(const Geometry& g, Values& values, Random& random) {
  const bool steep = random.chance(0.1);
  for (int32_t head = 0; head < g.num_heads(); ++head) {
    const double slope = std::exp2(-8.0 * (head + 1) / g.num_heads()) * (steep ? 200 : 1);
    if (g.alibi != PAGODA_ALIBI_NONE) values.alibi_slopes.push_back(static_cast<float>(slope));
    if (g.sinks) values.sinks.push_back(static_cast<float>(random.uniform(-10, 10)));
  }
}

}  // namespace

float rounded(pagoda_dtype dtype, double value) {
  const float single = static_cast<float>(value);
  if (dtype == PAGODA_F16) return to_float(from_float<Half>(single));
  if (dtype == PAGODA_BF16) return to_float(from_float<Bfloat16>(single));
  return single;
}

Values draw_values(const Geometry& g, uint64_t seed) {
  Values values;
  Random queries = stream_of(seed, kQueries), keys = stream_of(seed, kKeys),
         extras = stream_of(seed, kExtras);
  const int64_t rows = int64_t{g.num_query_tokens()} * g.num_heads();
  for (int64_t row = 0; row < rows; ++row)
    for (int32_t e = 0; e < g.head_dim; ++e)
      values.query.push_back(
          rounded(g.dtype, g.regime == Regime::one_hot ? 1.0 : draw_query(g, queries, e)));
  if (g.query == Arrangement::expanded) expand_heads(values.query, g.num_heads(), g.head_dim);
  for (const Request& request : g.requests)
    values.requests.push_back(draw_request(g, request, keys));
  if (g.key == Arrangement::expanded)
    for (RequestValues& request : values.requests) {
      expand_heads(request.key, g.num_kv_heads, g.head_dim);
      expand_heads(request.value, g.num_kv_heads, g.head_dim_v);
    }
  if (g.has_cache()) share_pages(g, values);
  draw_extras(g, values, extras);
  quantise(g, seed, values);
  return values;
}

}  // namespace pagoda::conformance
