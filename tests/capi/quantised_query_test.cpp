// Quantised queries through the C interface: the codes that pagoda_quantise_query makes, exact
// products of integers, attention against that of the restored queries, and what is refused.
#include <cmath>
#include <random>

#include "world.h"

namespace pagoda::test {
namespace {

struct Machine {
  const char *backend, *isa;
};

ContextOptions options_of(const Machine& machine) {
  ContextOptions options;
  options.backend = machine.backend;
  options.isa = machine.isa;
  return options;
}

std::vector<Machine> all_machines() {
  std::vector<Machine> machines{{"reference", nullptr}};
  for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
    try {
      const Context context(options_of({"cpu", isa}));
      machines.push_back({"cpu", isa});
    } catch (const Error&) {  // not on this machine
    }
  }
  return machines;
}

class QuantisedQuery : public ::testing::TestWithParam<Machine> {
 protected:
  Context context{options_of(GetParam())};
  std::mt19937 random{5};
};

// Every query token sees its own key alone, so its lse is its logit: with scales of 1, the product
// of two rows of integers. `num_tokens` tokens of one request, 2 query heads of one key head.
void expect_exact_products(const Context& context, int num_tokens, std::mt19937& random) {
  constexpr int kDim = 512, kHeads = 2, kPageSize = 8, kPages = 3;
  std::vector<int8_t> query(static_cast<size_t>(num_tokens) * kHeads * kDim), keys, values;
  keys.resize(kPages * kPageSize * kDim);
  values.resize(keys.size());
  const auto fill = [&](std::vector<int8_t>& codes) {
    for (size_t i = 0; i < codes.size(); ++i)  // every third row as far from 0 as codes go
      codes[i] = i / kDim % 3 == 0 ? int8_t{-128} : static_cast<int8_t>(random() % 256 - 128);
    for (size_t i = 0; i < codes.size(); i += 7 * kDim) ++codes[i];  // and sums that are odd
  };
  fill(query);
  fill(keys);
  std::vector<float> ones(static_cast<size_t>(std::max(num_tokens * kHeads, kPages * kPageSize)),
                          1);
  Spec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = 1;
  spec.head_dim = kDim;
  spec.kv_format = PAGODA_KV_INT8_TOKEN;
  spec.query_format = PAGODA_QUERY_INT8;
  spec.page_size = kPageSize;
  spec.softmax_scale = 1;
  spec.causal = spec.has_window = 1;
  Limits limits;
  limits.max_reqs = 1;
  limits.max_tokens = limits.max_seq_len = 16;
  limits.num_pages = kPages;
  Plan plan(context, spec, limits);
  const int32_t starts[] = {0, num_tokens}, lens[] = {num_tokens}, table[] = {2, 1};
  Batch batch;
  batch.num_reqs = 1;
  batch.num_tokens = num_tokens;
  batch.query_start_loc = starts;
  batch.seq_lens = lens;
  batch.page_table = table;
  batch.page_table_stride = batch.page_table_width = 2;
  const AlignedBytes workspace = aligned_bytes(plan.workspace_size());
  plan.prepare(batch, workspace.get(), plan.workspace_size());
  const Tensor key_cache(keys.data(), PAGODA_INT8, {kPages, kPageSize, 1, kDim});
  const Tensor value_cache(values.data(), PAGODA_INT8, {kPages, kPageSize, 1, kDim});
  const Tensor scale(ones.data(), PAGODA_F32, {kPages, kPageSize, 1});
  const Tensor query_scale(ones.data(), PAGODA_F32, {num_tokens, kHeads});
  Layer layer;
  layer.key_cache = &key_cache;
  layer.value_cache = &value_cache;
  layer.key_scale = layer.value_scale = &scale;
  layer.query_scale = &query_scale;
  std::vector<float> out(query.size()), lse(ones.size());
  const Tensor lse_tensor(lse.data(), PAGODA_F32, {kHeads, num_tokens});
  plan.forward(layer, Tensor(query.data(), PAGODA_INT8, {num_tokens, kHeads, kDim}),
               Tensor(out.data(), PAGODA_F32, {num_tokens, kHeads, kDim}), &lse_tensor);
  for (int t = 0; t < num_tokens; ++t)
    for (int head = 0; head < kHeads; ++head) {
      int32_t product = 0;
      const int row = table[t / kPageSize] * kPageSize + t % kPageSize;
      for (int e = 0; e < kDim; ++e)
        product += query[static_cast<size_t>((t * kHeads + head) * kDim + e)] *
                   keys[static_cast<size_t>(row * kDim + e)];
      ASSERT_EQ(lse[static_cast<size_t>(head * num_tokens + t)], static_cast<float>(product))
          << "token " << t << " head " << head;
    }
}

TEST_P(QuantisedQuery, ProductsOfIntegersAreExact) {
  for (int num_tokens : {1, 2, 11})  // rows as few as of a decode, and packed keys
    for (int times = 0; times < 10; ++times) expect_exact_products(context, num_tokens, random);
}

TEST_P(QuantisedQuery, CodesAreThoseOfTheRule) {
  constexpr int64_t kTokens = 9, kHeads = 6, kDim = 24, kRow = kHeads * kDim + 3;
  std::vector<float> query(kTokens * kRow);
  std::normal_distribution<float> normal;
  for (float& x : query) x = normal(random);
  query[5] = NAN;
  query[2 * kDim] = INFINITY;
  std::vector<int8_t> codes(kHeads * kTokens * kDim);
  std::vector<float> scale(kHeads * kTokens);
  const Tensor from(query.data(), PAGODA_F32, {kTokens, kHeads, kDim}, {kRow, kDim, 1});
  const Tensor to(codes.data(), PAGODA_INT8, {kTokens, kHeads, kDim}, {kDim, kTokens * kDim, 1});
  const Tensor scales(scale.data(), PAGODA_F32, {kTokens, kHeads}, {1, kTokens});
  QueryCodes call;
  call.format = PAGODA_QUERY_INT8;
  call.query = &from;
  call.codes = &to;
  call.scale = &scales;
  context.quantise_query(call);
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t head = 0; head < kHeads; ++head) {
      const float* x = &query[static_cast<size_t>(t * kRow + head * kDim)];
      float absmax = 0;
      for (int64_t e = 0; e < kDim; ++e)
        if (!std::isnan(x[e]))
          absmax = std::max(absmax, std::min(std::fabs(x[e]), std::numeric_limits<float>::max()));
      const float expected = std::max(absmax / 127.0f, 1e-6f);
      ASSERT_EQ(scale[static_cast<size_t>(head * kTokens + t)], expected);
      for (int64_t e = 0; e < kDim; ++e) {
        const float y = x[e] * (1 / expected);
        const double rounded = std::isnan(y) ? 0 : std::trunc(y + std::copysign(0.5, y));
        ASSERT_EQ(codes[static_cast<size_t>((head * kTokens + t) * kDim + e)],
                  static_cast<int>(std::clamp(rounded, -128.0, 127.0)));
      }
    }
}

// A step of the world with quantised queries: what it gives, and what it gives with the numbers
// that the codes stand for.
struct QueryWorld : World {
  explicit QueryWorld(const Machine& machine, pagoda_query_format format) : World(machine.backend) {
    options.isa = machine.isa;
    spec.query_format = format;
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (float& x : q) x = normal(random);
    for (float& x : cache_k) x = normal(random);
    for (float& x : new_k) x = normal(random);
    const Tensor numbers = query;
    const bool by_token = format == PAGODA_QUERY_INT8;
    scale_tensor = by_token ? Tensor(scale.data(), PAGODA_F32, {kTokens, kHeads})
                            : Tensor(scale.data(), PAGODA_F32, {kKvHeads});
    query = Tensor(codes.data(), by_token ? PAGODA_INT8 : PAGODA_FP8_E4M3, {kTokens, kHeads, kDim});
    layer.query_scale = &scale_tensor;
    call.format = format;
    call.query = &numbers;
    call.codes = &query;
    call.scale = &scale_tensor;
    Context(options_of(machine)).quantise_query(call);
  }

  // Replaces the codes by the numbers that they stand for.
  void restore() {
    const bool by_token = spec.query_format == PAGODA_QUERY_INT8;
    for (size_t i = 0; i < q.size(); ++i) {
      const size_t head = i / kDim % kHeads, token = i / kDim / kHeads;
      const float own = scale[by_token ? token * kHeads + head : head / (kHeads / kKvHeads)];
      const int e = codes[i] >> 3 & 15, m = codes[i] & 7;
      const double size = e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10);
      const double number = by_token          ? static_cast<int8_t>(codes[i])
                            : codes[i] & 0x80 ? -size
                                              : size;
      q[i] = static_cast<float>(number * own);
    }
    spec.query_format = PAGODA_QUERY_SAME;
    layer.query_scale = nullptr;
    query = Tensor(q.data(), PAGODA_F32, {kTokens, kHeads, kDim});
  }

  std::vector<uint8_t> codes = std::vector<uint8_t>(kTokens * kHeads * kDim);
  std::vector<float> scale = {0.01f, 0.02f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  Tensor scale_tensor;
  QueryCodes call;
};

TEST_P(QuantisedQuery, AttentionIsThatOfTheRestoredQueries) {
  for (pagoda_query_format format : {PAGODA_QUERY_INT8, PAGODA_QUERY_FP8_E4M3}) {
    QueryWorld world(GetParam(), format);
    const Result first = world.run();
    ASSERT_EQ(first.status, PAGODA_OK) << first.sentence;
    const std::vector<float> out = world.o, lse = world.l;
    world.restore();
    ASSERT_EQ(world.run().status, PAGODA_OK);
    for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], world.o[i], 5e-6f) << i;
    for (size_t i = 0; i < lse.size(); ++i) ASSERT_NEAR(lse[i], world.l[i], 5e-6f) << i;
  }
}

struct WrongQuery {
  const char* sentence;
  void (*spoil)(QueryWorld& world);
};

TEST_P(QuantisedQuery, WrongInputsHaveTheirSentences) {
  const WrongQuery cases[] = {
      {"spec.query_format is 3",
       [](QueryWorld& w) { w.spec.query_format = static_cast<pagoda_query_format>(3); }},
      {"layer.query_scale is NULL", [](QueryWorld& w) { w.layer.query_scale = nullptr; }},
      {"layer.query_scale is set", [](QueryWorld& w) { w.spec.query_format = PAGODA_QUERY_SAME; }},
      {"layer.query_scale has shape [4, 4]", [](QueryWorld& w) { w.scale_tensor.shape[0] = 4; }},
      {"layer.query_scale is f16", [](QueryWorld& w) { w.scale_tensor.dtype = PAGODA_F16; }},
      {"query is fp8_e4m3; this call needs int8",
       [](QueryWorld& w) { w.query.dtype = PAGODA_FP8_E4M3; }},
      {"query is f32; this call needs int8", [](QueryWorld& w) {
         w.query = Tensor(w.q.data(), PAGODA_F32, {World::kTokens, 4, 16});
       }}};
  for (const WrongQuery& wrong : cases) {
    QueryWorld world(GetParam(), PAGODA_QUERY_INT8);
    wrong.spoil(world);
    const Result result = world.run();
    EXPECT_EQ(result.status, PAGODA_INVALID_ARGUMENT) << wrong.sentence;
    EXPECT_NE(result.sentence.find(wrong.sentence), std::string::npos) << result.sentence;
  }
}

TEST_P(QuantisedQuery, WrongCallsOfQuantiseQueryHaveTheirSentences) {
  struct Wrong {
    const char* sentence;
    void (*spoil)(QueryWorld& world, Tensor& numbers);
  };
  const Wrong cases[] = {
      {"query_codes.format is 0",
       [](QueryWorld& w, Tensor&) { w.call.format = PAGODA_QUERY_SAME; }},
      {"pagoda_query_codes.struct_size is 0",
       [](QueryWorld& w, Tensor&) { w.call.struct_size = 0; }},
      {"query_codes.query is NULL", [](QueryWorld& w, Tensor&) { w.call.query = nullptr; }},
      {"query_codes.scale is NULL", [](QueryWorld& w, Tensor&) { w.call.scale = nullptr; }},
      {"query_codes.codes is NULL", [](QueryWorld& w, Tensor&) { w.call.codes = nullptr; }},
      {"query_codes.query is int8", [](QueryWorld&, Tensor& n) { n.dtype = PAGODA_INT8; }},
      {"query_codes.query has 2 dimensions", [](QueryWorld&, Tensor& n) { n.num_dims = 2; }},
      {"query_codes.query has head_dim 12", [](QueryWorld&, Tensor& n) { n.shape[2] = 12; }},
      {"query_codes.codes is int8; this call needs fp8_e4m3",
       [](QueryWorld& w, Tensor&) { w.query.dtype = PAGODA_INT8; }},
      {"query_codes.scale has 3 heads",
       [](QueryWorld& w, Tensor&) { w.scale_tensor.shape[0] = 3; }}};
  for (const Wrong& wrong : cases) {
    QueryWorld world(GetParam(), PAGODA_QUERY_FP8_E4M3);
    Tensor numbers(world.q.data(), PAGODA_F32, {World::kTokens, World::kHeads, World::kDim});
    world.call.query = &numbers;
    wrong.spoil(world, numbers);
    EXPECT_EQ(pagoda_quantise_query(context.get(), &world.call, nullptr), PAGODA_INVALID_ARGUMENT);
    EXPECT_NE(std::string(pagoda_last_error()).find(wrong.sentence), std::string::npos)
        << pagoda_last_error();
  }
  EXPECT_EQ(pagoda_quantise_query(nullptr, nullptr, nullptr), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_quantise_query(context.get(), nullptr, nullptr), PAGODA_INVALID_ARGUMENT);
}

INSTANTIATE_TEST_SUITE_P(Backends, QuantisedQuery, ::testing::ValuesIn(all_machines()),
                         [](const auto& info) {
                           return std::string(info.param.isa == nullptr ? info.param.backend
                                                                        : info.param.isa);
                         });

}  // namespace
}  // namespace pagoda::test
