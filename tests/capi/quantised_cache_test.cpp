// Quantised caches through the C interface: the bytes that update_cache writes against a writer of
// their own here, and attention over them against attention over the restored numbers.
#include <array>
#include <cfloat>
#include <cmath>
#include <iterator>
#include <random>
#include <tuple>

#include "world.h"

namespace pagoda::test {
namespace {

constexpr int64_t kPages = 5, kPageSize = 8, kKvHeads = 2, kHeads = 6, kDim = 40, kDimV = 88;
constexpr int kTokens = 11;
constexpr int64_t kSlots = kPages * kPageSize;

// An e4m3 code by search: the nearest of all 255 numbers, ties to the even code.
uint8_t nearest_e4m3(double x) {
  if (std::isnan(x)) return 0x7f;
  const auto value_of = [](int code) {
    const int e = code >> 3, m = code & 7;
    return e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10);
  };
  int best = 0;
  for (int code = 0; code <= 0x7e; ++code) {
    const double now = std::fabs(std::fabs(x) - value_of(code));
    const double before = std::fabs(std::fabs(x) - value_of(best));
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return static_cast<uint8_t>(best | (std::signbit(x) ? 0x80 : 0));
}

double value_of_e4m3(uint8_t bits) {
  const int e = bits >> 3 & 15, m = bits & 7;
  const double magnitude = e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10);
  return bits & 0x80 ? -magnitude : magnitude;
}

// One cache, keys or values, as the test sees it. Scales of tokens may lie within the rows.
struct Side {
  pagoda_dtype dtype = PAGODA_F32;
  enum { kNone, kHead, kToken, kChannel } scales = kNone;
  int64_t dim = 0;
  bool scales_in_rows = false;

  int64_t row_bytes() const {
    return dtype == PAGODA_F32 ? dim * 4 : dim + (scales_in_rows ? 4 : 0);
  }
  std::vector<uint8_t> bytes = {};
  std::vector<float> scale = {};
  Tensor rows_tensor = {}, scale_tensor = {};

  void allocate(std::mt19937& random) {
    bytes.assign(static_cast<size_t>(kSlots * kKvHeads * row_bytes()), 0xff);
    const int64_t elements = dtype == PAGODA_F32 ? 4 : 1, row = row_bytes() / elements;
    rows_tensor = Tensor(bytes.data(), dtype, {kPages, kPageSize, kKvHeads, dim},
                         {kPageSize * kKvHeads * row, kKvHeads * row, row, 1});
    std::uniform_real_distribution<float> draw(0.01f, 0.05f);
    if (scales == kHead) {
      scale = {draw(random), draw(random)};
      scale_tensor = Tensor(scale.data(), PAGODA_F32, {kKvHeads});
    } else if (scales == kChannel) {
      for (int64_t i = 0; i < kKvHeads * dim; ++i) scale.push_back(draw(random));
      scale_tensor = Tensor(scale.data(), PAGODA_F32, {kKvHeads, dim});
    } else if (scales == kToken && scales_in_rows) {
      scale_tensor = Tensor(bytes.data() + dim, PAGODA_F32, {kPages, kPageSize, kKvHeads},
                            {kPageSize * kKvHeads * row / 4, kKvHeads * row / 4, row / 4});
    } else if (scales == kToken) {
      scale.assign(static_cast<size_t>(kSlots * kKvHeads), NAN);
      scale_tensor = Tensor(scale.data(), PAGODA_F32, {kPages, kPageSize, kKvHeads});
    }
  }

  float* token_scale(int64_t slot, int64_t head) {
    const int64_t row = slot * kKvHeads + head;
    if (!scales_in_rows) return &scale[static_cast<size_t>(row)];
    return reinterpret_cast<float*>(&bytes[static_cast<size_t>(row * row_bytes() + dim)]);
  }
  uint8_t* row(int64_t slot, int64_t head) {
    return &bytes[static_cast<size_t>((slot * kKvHeads + head) * row_bytes())];
  }

  // What the row must be, computed in another way than the library's. x: [dim]
  std::vector<uint8_t> expected_row(const float* x, int64_t head, float* made_scale) {
    std::vector<uint8_t> expected(static_cast<size_t>(dtype == PAGODA_F32 ? dim * 4 : dim));
    if (dtype == PAGODA_F32) {
      std::memcpy(expected.data(), x, expected.size());
      return expected;
    }
    float absmax = 0;
    for (int64_t e = 0; e < dim; ++e)
      if (!std::isnan(x[e])) absmax = std::max(absmax, std::min(std::fabs(x[e]), FLT_MAX));
    *made_scale = std::max(absmax / (dtype == PAGODA_INT8 ? 127.0f : 448.0f), 1e-6f);
    for (int64_t e = 0; e < dim; ++e) {
      const float used = scales == kHead      ? scale[static_cast<size_t>(head)]
                         : scales == kChannel ? scale[static_cast<size_t>(head * dim + e)]
                                              : *made_scale;
      const float y = x[e] * (1 / used);
      const double within = std::clamp(static_cast<double>(y), -448.0, 448.0);
      const double away = std::isnan(y) ? 0 : std::trunc(within + std::copysign(0.5, y));
      expected[static_cast<size_t>(e)] =
          dtype == PAGODA_INT8
              ? static_cast<uint8_t>(static_cast<int8_t>(std::clamp(away, -128.0, 127.0)))
              : nearest_e4m3(within);
    }
    return expected;
  }

  // The rows as f32 numbers, [kSlots, kKvHeads, dim].
  std::vector<float> restored() {
    std::vector<float> all;
    for (int64_t slot = 0; slot < kSlots; ++slot)
      for (int64_t head = 0; head < kKvHeads; ++head)
        for (int64_t e = 0; e < dim; ++e) {
          const uint8_t byte = dtype == PAGODA_F32 ? 0 : row(slot, head)[e];
          double value = dtype == PAGODA_INT8 ? static_cast<int8_t>(byte) : value_of_e4m3(byte);
          if (dtype == PAGODA_F32) {
            float x;
            std::memcpy(&x, row(slot, head) + e * 4, 4);
            value = static_cast<double>(x);
          }
          if (scales == kHead) value *= static_cast<double>(scale[static_cast<size_t>(head)]);
          if (scales == kChannel)
            value *= static_cast<double>(scale[static_cast<size_t>(head * dim + e)]);
          if (scales == kToken) value *= static_cast<double>(*token_scale(slot, head));
          all.push_back(static_cast<float>(value));
        }
    return all;
  }
};

struct Case {
  const char* name;
  pagoda_kv_format format;
  Side key, value;
};

std::vector<Case> all_cases() {
  const auto side = [](pagoda_dtype dtype, decltype(Side::kNone) scales, bool in_rows = false) {
    return [=](int64_t dim) {
      Side made;
      made.dtype = dtype;
      made.scales = scales;
      made.dim = dim;
      made.scales_in_rows = in_rows;
      return made;
    };
  };
  const auto same = side(PAGODA_F32, Side::kNone), fp8 = side(PAGODA_FP8_E4M3, Side::kHead),
             fp8_token = side(PAGODA_FP8_E4M3, Side::kToken),
             fp8_in_rows = side(PAGODA_FP8_E4M3, Side::kToken, true),
             int8 = side(PAGODA_INT8, Side::kToken),
             int8_in_rows = side(PAGODA_INT8, Side::kToken, true),
             channel = side(PAGODA_INT8, Side::kChannel);
  return {{"same", PAGODA_KV_SAME, same(kDim), same(kDimV)},
          {"fp8_heads", PAGODA_KV_FP8_E4M3, fp8(kDim), fp8(kDimV)},
          {"fp8_tokens", PAGODA_KV_FP8_E4M3_TOKEN, fp8_token(kDim), fp8_token(kDimV)},
          {"fp8_tokens_in_rows", PAGODA_KV_FP8_E4M3_TOKEN, fp8_in_rows(kDim), fp8_in_rows(kDimV)},
          {"int8_tokens", PAGODA_KV_INT8_TOKEN, int8(kDim), int8(kDimV)},
          {"int8_tokens_in_rows", PAGODA_KV_INT8_TOKEN, int8_in_rows(kDim), int8_in_rows(kDimV)},
          {"int8_channels", PAGODA_KV_INT8_CHANNEL_V, int8(kDim), channel(kDimV)},
          {"int8_keys", PAGODA_KV_INT8_KEYS, int8(kDim), same(kDimV)}};
}

struct Machine {
  const char *backend, *isa;
};

std::vector<Machine> all_machines() {
  std::vector<Machine> machines{{"reference", nullptr}};
  for (const char* isa : {"scalar", "avx2", "avx512", "neon"}) {
    ContextOptions options;
    options.backend = "cpu";
    options.isa = isa;
    try {
      const Context context(options);
      machines.push_back({"cpu", isa});
    } catch (const Error&) {  // not on this machine
    }
  }
  return machines;
}

class QuantisedCache : public ::testing::TestWithParam<std::tuple<Case, Machine>> {
 protected:
  QuantisedCache() : own(std::get<Case>(GetParam())) {
    own.key.allocate(random);
    own.value.allocate(random);
    std::normal_distribution<float> normal;
    for (auto* data : {&key, &value, &query})
      for (float& x : *data) x = normal(random);
  }

  Spec spec_of(pagoda_kv_format format) const {
    Spec spec;
    spec.num_heads = kHeads;
    spec.num_kv_heads = kKvHeads;
    spec.head_dim = kDim;
    spec.head_dim_v = kDimV;
    spec.kv_format = format;
    spec.page_size = kPageSize;
    spec.causal = 1;
    return spec;
  }

  // Writes (if told to) and attends over the given caches; returns out and lse.
  std::array<std::vector<float>, 2> run(const Machine& machine, pagoda_kv_format format,
                                        const Layer& layer, bool write) {
    ContextOptions options;
    options.backend = machine.backend;
    options.isa = machine.isa;
    const Context context(options);
    Limits limits;
    limits.max_reqs = 2;
    limits.max_tokens = kTokens;
    limits.max_seq_len = 32;
    limits.num_pages = kPages;
    Plan plan(context, spec_of(format), limits);
    Batch batch;
    batch.num_reqs = 2;
    batch.num_tokens = kTokens;
    batch.query_start_loc = starts;
    batch.seq_lens = lens;
    batch.page_table = table;
    batch.page_table_stride = batch.page_table_width = 2;
    batch.slot_mapping = slots;
    const AlignedBytes workspace = aligned_bytes(plan.workspace_size());
    plan.prepare(batch, workspace.get(), plan.workspace_size());
    if (write)
      plan.update_cache(layer, Tensor(key.data(), PAGODA_F32, {kTokens, kKvHeads, kDim}),
                        Tensor(value.data(), PAGODA_F32, {kTokens, kKvHeads, kDimV}));
    std::vector<float> out(kTokens * kHeads * kDimV), lse(kHeads * kTokens);
    const Tensor lse_tensor(lse.data(), PAGODA_F32, {kHeads, kTokens});
    plan.forward(layer, Tensor(query.data(), PAGODA_F32, {kTokens, kHeads, kDim}),
                 Tensor(out.data(), PAGODA_F32, {kTokens, kHeads, kDimV}), &lse_tensor);
    return {out, lse};
  }

  Layer layer_of_own() {
    Layer layer;
    layer.key_cache = &own.key.rows_tensor;
    layer.value_cache = &own.value.rows_tensor;
    if (own.key.scales != Side::kNone) layer.key_scale = &own.key.scale_tensor;
    if (own.value.scales != Side::kNone) layer.value_scale = &own.value.scale_tensor;
    return layer;
  }

  // Seven tokens of a request on pages 3 and 1, three of another on page 4, and one that is not
  // written.
  // Rows in which every number is of a kind that a quantiser may get wrong.
  void plant_special(std::vector<float>& rows, int64_t dim) {
    const float special[] = {NAN,      INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 1e-45f, -1e-40f,
                             0x1p-30f, -0.0f,    0.5f,      1.5f,    -2.5f,    126.5f, -127.5f};
    for (float& x : rows)
      if (random() % 16 == 0) x = special[random() % std::size(special)];
    const size_t row = static_cast<size_t>(dim);
    std::fill_n(rows.begin(), row, 0.0f);  // a scale of the smallest size
    std::fill_n(rows.begin() + dim, row, NAN);
    for (size_t e = 0; e < row; ++e)  // a scale of 1: codes and the middles between them
      rows[2 * row + e] = e == 0 ? 127.0f : static_cast<float>(e) / 2 - 10;
    for (size_t e = 0; e < row; ++e)
      rows[3 * row + e] = e == 0 ? 448.0f : std::ldexp(static_cast<float>(e) + 0.5f, -10);
  }

  void check_bytes(Side& side, const std::vector<float>& x) const {
    std::vector<bool> written(kSlots, false);
    for (int t = 0; t < kTokens; ++t) {
      if (slots[t] < 0) continue;
      written[static_cast<size_t>(slots[t])] = true;
      for (int64_t head = 0; head < kKvHeads; ++head) {
        float scale = 0;
        const auto expected = side.expected_row(
            &x[static_cast<size_t>((t * kKvHeads + head) * side.dim)], head, &scale);
        const uint8_t* row = side.row(slots[t], head);
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_EQ(without_sign_of_nan(side, row[i]), without_sign_of_nan(side, expected[i]))
              << "token " << t << " head " << head << " byte " << i;
        ASSERT_TRUE(side.scales != Side::kToken || *side.token_scale(slots[t], head) == scale);
      }
    }
    for (int64_t slot = 0; slot < kSlots; ++slot)  // and nothing else was touched
      for (int64_t i = 0; !written[static_cast<size_t>(slot)] && i < kKvHeads * side.row_bytes();
           ++i)
        ASSERT_EQ(side.row(slot, 0)[i], 0xff) << "slot " << slot;
  }

  // The sign of a NaN is nobody's promise.
  static int without_sign_of_nan(const Side& side, uint8_t byte) {
    return side.dtype == PAGODA_FP8_E4M3 && (byte & 0x7f) == 0x7f ? 0x7f : byte;
  }

  const Machine machine = std::get<Machine>(GetParam());
  const int32_t starts[3] = {0, 7, 10}, lens[2] = {7, 3}, table[4] = {3, 1, 4, -1};
  const int64_t slots[kTokens] = {24, 25, 26, 27, 28, 29, 30, 32, 33, 34, -1};
  std::mt19937 random{17};
  Case own;
  std::vector<float> key = std::vector<float>(kTokens * kKvHeads * kDim);
  std::vector<float> value = std::vector<float>(kTokens * kKvHeads * kDimV);
  std::vector<float> query = std::vector<float>(kTokens * kHeads * kDim);
};

TEST_P(QuantisedCache, BytesAndScalesAreThoseOfAnIndependentWriter) {
  run(machine, own.format, layer_of_own(), /*write=*/true);
  check_bytes(own.key, key);
  check_bytes(own.value, value);
}

TEST_P(QuantisedCache, BytesOfSpecialNumbersAreThoseOfAnIndependentWriter) {
  plant_special(key, kDim);
  plant_special(value, kDimV);
  run(machine, own.format, layer_of_own(), /*write=*/true);
  check_bytes(own.key, key);
  check_bytes(own.value, value);
}

// All backends are held to the reference over the numbers that the cache holds, so that no error of
// quantisation hides one of attention. Sums of `cpu` are float.
TEST_P(QuantisedCache, AttentionIsThatOverTheRestoredNumbers) {
  const auto [out, lse] = run(machine, own.format, layer_of_own(), /*write=*/true);
  std::vector<float> keys = own.key.restored(), values = own.value.restored();
  const Tensor key_cache(keys.data(), PAGODA_F32, {kPages, kPageSize, kKvHeads, kDim});
  const Tensor value_cache(values.data(), PAGODA_F32, {kPages, kPageSize, kKvHeads, kDimV});
  Layer restored;
  restored.key_cache = &key_cache;
  restored.value_cache = &value_cache;
  const auto [expected, expected_lse] =
      run({"reference", nullptr}, PAGODA_KV_SAME, restored, /*write=*/false);
  const float bound = machine.isa == nullptr ? 2e-6f : 1e-5f;
  for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], bound) << i;
  for (size_t i = 0; i < lse.size(); ++i) {
    if (std::isinf(expected_lse[i]))
      ASSERT_EQ(lse[i], expected_lse[i]);
    else
      ASSERT_NEAR(lse[i], expected_lse[i], bound) << i;
  }
}

// A NaN in e4m3 stays one; int8 has none.
TEST_P(QuantisedCache, ANanInTheCacheShowsInTheRowsThatSeeItAlone) {
  key[(3 * kKvHeads + 1) * kDim + 5] = NAN;      // token 3 of request 0
  value[(5 * kKvHeads + 0) * kDimV + 77] = NAN;  // token 5
  const auto [out, lse] = run(machine, own.format, layer_of_own(), /*write=*/true);
  const bool nan_keys = own.key.dtype != PAGODA_INT8, nan_values = own.value.dtype != PAGODA_INT8;
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t head = 0; head < kHeads; ++head)
      for (int64_t e = 0; e < kDimV; ++e) {
        const bool first = t < 7, lower = head < kHeads / kKvHeads;
        const bool expected = (nan_keys && first && !lower && t >= 3) ||
                              (nan_values && first && lower && t >= 5 && e == 77);
        ASSERT_EQ(std::isnan(out[static_cast<size_t>((t * kHeads + head) * kDimV + e)]), expected)
            << t << " " << head << " " << e;
      }
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<Case, Machine>>& info) {
  const auto& [own, machine] = info.param;
  return std::string(own.name) + "_" + (machine.isa == nullptr ? machine.backend : machine.isa);
}

INSTANTIATE_TEST_SUITE_P(Formats, QuantisedCache,
                         ::testing::Combine(::testing::ValuesIn(all_cases()),
                                            ::testing::ValuesIn(all_machines())),
                         name_of);

}  // namespace
}  // namespace pagoda::test
