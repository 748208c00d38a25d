// The weighted draws. Every value of every feature has a share large enough that each legal pair of
// values occurs several times in 20 000 cases (features.cpp counts them), and common values of real
// models have more.
#include <algorithm>
#include <iterator>

#include "geometry.h"
#include "isas.h"

namespace pagoda::conformance {
namespace {

// Multiply-adds that a case may cost: most are small, so that there can be many.
constexpr int64_t kUsualCost = 300'000, kLargeCost = 3'000'000;

int32_t draw_head_dim(Random& random) {
  const int32_t dim = random.weighted<int32_t>({{8, 6},
                                                {16, 8},
                                                {24, 3},
                                                {32, 8},
                                                {40, 2},
                                                {64, 16},
                                                {72, 2},
                                                {80, 4},
                                                {96, 5},
                                                {112, 2},
                                                {128, 14},
                                                {160, 2},
                                                {192, 4},
                                                {256, 4},
                                                {512, 3},
                                                {264, 1},
                                                {0, 16}});
  return dim != 0 ? dim : 8 * random.between(1, 64);
}

void draw_heads(Geometry& g, Random& random) {
  g.head_dim = draw_head_dim(random);
  g.head_dim_v = random.chance(0.7) ? g.head_dim : draw_head_dim(random);
  g.group = random.chance(0.4) ? random.pick({1, 2, 4, 7, 8}) : random.between(1, 16);
  g.num_kv_heads =
      random.weighted<int32_t>({{1, 45}, {2, 28}, {3, 15}, {4, 8}, {g.group <= 4 ? 8 : 3, 4}});
}

void draw_score(Geometry& g, Random& random) {
  g.softcap = random.weighted<float>({{0.0f, 60}, {5.0f, 20}, {50.0f, 20}});
  g.alibi = random.weighted<pagoda_alibi>(
      {{PAGODA_ALIBI_NONE, 60}, {PAGODA_ALIBI_LINEAR, 22}, {PAGODA_ALIBI_SQRT, 18}});
  g.sinks = random.chance(0.35);
  switch (random.weighted<int>({{0, 50}, {1, 35}, {2, 15}})) {
    case 1:
      g.scale = static_cast<float>(random.uniform(0.01, 1.5));
      break;
    case 2:
      g.scale = static_cast<float>(-random.uniform(0.01, 0.5));
      break;
    default:
      break;
  }
}

void draw_mask(Geometry& g, Random& random) {
  g.causal_kind = random.weighted<CausalKind>(
      {{CausalKind::causal, 55}, {CausalKind::full, 20}, {CausalKind::flags, 25}});
  g.spec_causal = g.causal_kind == CausalKind::causal ||
                  (g.causal_kind == CausalKind::flags && random.chance(0.7));
  g.window_kind = random.weighted<WindowKind>({{WindowKind::none, 45},
                                               {WindowKind::zero, 7},
                                               {WindowKind::one, 7},
                                               {WindowKind::left, 14},
                                               {WindowKind::right, 8},
                                               {WindowKind::both, 12},
                                               {WindowKind::huge, 7}});
  const auto size = [&] {
    return random.chance(0.5) ? random.between(2, 12) : random.between(2, 150);
  };
  switch (g.window_kind) {
    case WindowKind::none:
      break;
    case WindowKind::zero:
      g.window_left = 0;
      g.window_right = random.pick({0, -1});
      break;
    case WindowKind::one:
      g.window_left = 1;
      g.window_right = random.pick({0, 1, -1});
      break;
    case WindowKind::left:
      g.window_left = size();
      break;
    case WindowKind::right:
      g.window_right = random.chance(0.2) ? 0 : size();
      break;
    case WindowKind::both:
      g.window_left = size();
      g.window_right = size();
      break;
    case WindowKind::huge:
      g.window_left = random.pick({INT32_MAX, INT32_MAX - 1, 5000});
      g.window_right = random.pick({INT32_MAX, -1, 5000});
      break;
  }
}

int32_t draw_seq_len(Random& random, int32_t page_size) {
  const int32_t unit = page_size > 0 && random.chance(0.5) ? page_size : 64;
  switch (random.weighted<int>({{0, 28}, {1, 40}, {2, 22}, {3, 7}, {4, 3}})) {
    case 0:
      return random.between(1, 16);
    case 1:
      return random.between(1, 80);
    case 2:  // at the edge of a page or a tile
      return std::max(1, unit * random.between(1, 3) + random.between(-1, 1));
    case 3:
      return random.between(100, 512);
    default:
      return random.chance(0.3) ? 512 * random.between(1, 2) + random.between(-1, 1)
                                : random.between(513, 1100);
  }
}

int32_t draw_query_len(Random& random, int32_t seq_len) {
  switch (random.weighted<int>({{0, 30}, {1, 25}, {2, 25}, {3, 10}, {4, 10}})) {
    case 0:
      return 1;
    case 1:
      return seq_len;  // a whole prompt
    case 2:
      return random.between(1, seq_len);  // a chunk behind some context
    case 3:
      return seq_len + random.between(1, 9);
    default:
      return 0;
  }
}

void draw_requests(Geometry& g, Random& random) {
  g.queries = random.weighted<Queries>(
      {{Queries::decode, 30}, {Queries::uniform, 20}, {Queries::mixed, 50}});
  const int count = random.weighted<int>({{1, 30}, {2, 25}, {3, 20}, {4, 12}, {6, 9}, {9, 4}});
  const int32_t uniform_len = random.between(2, 8);
  for (int i = 0; i < count; ++i) {
    Request request;
    request.seq_len = draw_seq_len(random, g.page_size);
    request.query_len = g.queries == Queries::decode    ? 1
                        : g.queries == Queries::uniform ? uniform_len
                                                        : draw_query_len(random, request.seq_len);
    if (random.chance(0.06)) request.seq_len = 0;
    if (g.queries != Queries::mixed && random.chance(0.06)) request.query_len = 0;
    request.causal = g.causal_kind == CausalKind::flags ? random.chance(0.5) : g.spec_causal;
    g.requests.push_back(request);
  }
  if (random.chance(0.15))  // a padded batch: requests without tokens at the end
    for (int i = random.between(1, 3); i > 0; --i)
      g.requests.push_back({.query_len = 0, .seq_len = 0, .causal = g.spec_causal});
  if (random.chance(0.005)) g.requests.clear();
  g.padded_tokens = random.chance(0.2) ? random.between(1, 9) : 0;
}

// Fewer queries first, since long keys are what makes a case different; then fewer requests.
void fit_cost(Geometry& g, Random& random) {
  const int64_t most = random.chance(0.08) ? kLargeCost : kUsualCost;
  while (g.cost() > most) {
    const int32_t longest = g.longest_query();
    if (longest > 1) {
      for (Request& request : g.requests)
        if (g.queries == Queries::uniform ? request.query_len > 0 : request.query_len == longest)
          request.query_len = std::max(1, request.query_len * 2 / 3);
    } else if (g.requests.size() > 1) {
      g.requests.pop_back();
    } else {
      break;
    }
  }
  if (g.queries == Queries::uniform && g.longest_query() == 1) g.queries = Queries::decode;
}

// A whole prompt over several splits, affordable with small heads only.
void draw_long_prompt(Geometry& g, Random& random) {
  g.head_dim = random.pick({8, 16});
  g.head_dim_v = random.pick({8, 16});
  g.group = random.between(1, 2);
  g.num_kv_heads = 1;
  const int32_t len = random.between(513, 560);
  g.queries = Queries::mixed;
  g.requests = {{.query_len = len, .seq_len = len, .causal = g.spec_causal}};
}

void draw_sharing(Geometry& g, Random& random) {
  if (!random.chance(0.25)) return;
  for (size_t i = 1; i < g.requests.size(); ++i) {
    const int32_t other = random.between(0, static_cast<int32_t>(i) - 1);
    const Request& donor = g.requests[static_cast<size_t>(other)];
    Request& own = g.requests[i];
    // Only full pages that neither request writes in this step are shared.
    const auto settled = [&](const Request& r) {
      return std::max(0, r.seq_len - r.query_len) / g.page_size;
    };
    const int32_t most = std::min(settled(donor), settled(own));
    if (most == 0) continue;
    own.shares_with = other;
    own.shared_pages = random.between(1, most);
  }
}

void draw_memory(Geometry& g, Random& random) {
  const auto arrangement = [&] {
    return random.weighted<Arrangement>(
        {{Arrangement::packed, 60}, {Arrangement::sliced, 25}, {Arrangement::heads_first, 15}});
  };
  g.query = random.chance(0.06) ? Arrangement::expanded : arrangement();
  g.key = random.chance(0.04) ? Arrangement::expanded : arrangement();
  g.out = arrangement();
  g.lse = random.weighted<LseKind>({{LseKind::absent, 12},
                                    {LseKind::packed, 48},
                                    {LseKind::transposed, 22},
                                    {LseKind::strided, 18}});
  g.degenerate_strides = g.num_kv_heads == 1 && random.chance(0.4);
  g.misalignment = random.chance(0.6) ? 0 : random.between(1, 15);
  if (!g.has_cache()) return;
  g.layout = random.weighted<Layout>({{Layout::nhd, 25},
                                      {Layout::hnd, 20},
                                      {Layout::kv_row, 18},
                                      {Layout::kv_slices, 13},
                                      {Layout::padded, 13},
                                      {Layout::cross_layer, 11}});
  g.writing = random.weighted<Writing>(
      {{Writing::placed, 40}, {Writing::updated, 40}, {Writing::updated_with_holes, 20}});
  g.tail = random.pick({Tail::int_max, Tail::minus_one, Tail::random});
}

void draw_formats(Geometry& g, Random& random) {
  if (g.has_cache())
    g.kv_format = random.weighted<pagoda_kv_format>({{PAGODA_KV_SAME, 45},
                                                     {PAGODA_KV_FP8_E4M3, 11},
                                                     {PAGODA_KV_FP8_E4M3_TOKEN, 11},
                                                     {PAGODA_KV_INT8_TOKEN, 11},
                                                     {PAGODA_KV_INT8_CHANNEL_V, 11},
                                                     {PAGODA_KV_INT8_KEYS, 11}});
  g.query_format = random.weighted<pagoda_query_format>(
      {{PAGODA_QUERY_SAME, 70}, {PAGODA_QUERY_INT8, 15}, {PAGODA_QUERY_FP8_E4M3, 15}});
  const bool of_tokens = g.stored_key().scale == ScaleOf::token;
  g.scales_in_rows = of_tokens && random.chance(0.45);
  // Heads that are one in memory have one code, and so one scale.
  g.one_scale = g.query == Arrangement::expanded || random.chance(0.3);
}

}  // namespace

Geometry draw_geometry(uint64_t seed) {
  Random random = stream_of(seed, 1);
  Geometry g;
  g.seed = seed;
  g.dtype = random.weighted<pagoda_dtype>({{PAGODA_F32, 35}, {PAGODA_F16, 30}, {PAGODA_BF16, 35}});
  draw_heads(g, random);
  g.page_size = random.weighted<int32_t>(
      {{0, 15}, {8, 14}, {16, 25}, {32, 12}, {64, 10}, {128, 7}, {8 * random.between(3, 15), 17}});
  draw_mask(g, random);
  draw_score(g, random);
  draw_requests(g, random);
  fit_cost(g, random);
  if (random.chance(0.002)) draw_long_prompt(g, random);
  if (g.has_cache()) draw_sharing(g, random);
  draw_memory(g, random);
  g.num_splits = random.chance(0.45) ? 0 : random.pick({1, 2, 3, 4, 5, 6, 7, 8, 17});
  g.num_threads = random.weighted<int32_t>({{1, 60}, {2, 20}, {3, 10}, {7, 10}});
  g.isa = kIsas[random.between<size_t>(0, std::size(kIsas) - 1)];
  g.regime = random.chance(0.25) ? Regime::gaussian
                                 : static_cast<Regime>(random.between(0, kNumRegimes - 1));
  g.cascade = random.weighted<int32_t>({{0, 30}, {1, 50}, {-1, 20}});
  Random formats = stream_of(seed, 6);
  draw_formats(g, formats);
  return g;
}

}  // namespace pagoda::conformance
