// Random steps against the reference: check_attend [cases] [first seed] [family], with family one
// of decode, prefill, mixed (long requests and short ones by one kernel), general (kernel), codes
// (quantised caches) and mask (block masks). Prints the
// steps that fail with the seed that makes them again, and a summary. Returns 1 if any failed.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "reference.cuh"
#include "run_step.cuh"

using namespace pagoda;
using namespace pagoda::cuda;

namespace {

struct Draw {
  std::mt19937_64 engine;
  int below(int n) { return static_cast<int>(engine() % static_cast<uint64_t>(n)); }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool chance(int percent) { return below(100) < percent; }
  template <class T>
  T of(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<int>(values.size()))];
  }
};

std::vector<std::pair<int, int>> built_head_dims() {
  std::vector<std::pair<int, int>> dims;
  for (const KernelEntry& kernel : kernel_entries())
    if (kernel.config.phase == Phase::general && kernel.config.dtype == PAGODA_BF16)
      dims.emplace_back(kernel.config.head_dim, kernel.config.head_dim_v);
  return dims;
}

std::vector<std::pair<int, int>> mixed_head_dims() {
  std::vector<std::pair<int, int>> dims;
  for (const KernelEntry& kernel : kernel_entries())
    if (kernel.config.phase == Phase::mixed && kernel.config.dtype == PAGODA_BF16)
      dims.emplace_back(kernel.config.head_dim, kernel.config.head_dim_v);
  return dims;
}

bool has_prefill() {
  for (const KernelEntry& kernel : kernel_entries())
    if (kernel.config.phase == Phase::prefill) return true;
  return false;
}

// Of a long request and some short ones, some of many keys, in any order.
void draw_mixed_lengths(Draw& draw, StepSpec& spec) {
  const int group = spec.num_heads / spec.num_kv_heads, shortest = kMaxDecodeRows / group + 1;
  const int num_reqs = draw.between(2, 24), place = draw.below(num_reqs);
  spec.query_lens.clear(), spec.seq_lens.clear();
  for (int r = 0; r < num_reqs; ++r) {
    const bool is_long = r == place || draw.chance(10);
    const int query_len = is_long ? shortest + draw.below(draw.of({1, 300, 900}))
                                  : draw.between(1, draw.of({1, 1, shortest - 1}));
    spec.query_lens.push_back(query_len);
    spec.seq_lens.push_back(query_len + draw.below(draw.of({50, 1500, 6000})));
  }
  if (!spec.causal.empty()) spec.causal.resize(num_reqs, 1);
  if (spec.max_slots) spec.max_slots = 64 * num_reqs;
}

// What only some kernels serve.
void draw_format(Draw& draw, const std::string& family, StepSpec& spec) {
  const bool any = family.empty() || family == "decode" || family == "general";
  if (spec.page_size && (family == "codes" || (any && draw.chance(30))))
    spec.kv_format = draw.of({PAGODA_KV_FP8_E4M3, PAGODA_KV_FP8_E4M3_TOKEN, PAGODA_KV_INT8_TOKEN,
                              PAGODA_KV_INT8_CHANNEL_V, PAGODA_KV_INT8_KEYS});
  spec.general = family == "general" || (family.empty() && draw.chance(20));
  if (family == "mask" || (any && family != "decode" && draw.chance(15))) {
    spec.mask_tile_kv = draw.of({32, 64, 128, 256});
    spec.mask_tile_q = draw.of({1, 3, 16, 64, 128, 256});
    spec.mask_heads = draw.of({1, spec.num_kv_heads, spec.num_heads});
  }
}

StepSpec random_step(uint64_t seed, const std::string& family) {
  Draw draw{std::mt19937_64(seed)};
  StepSpec spec;
  spec.seed = seed;
  spec.dtype = draw.of({PAGODA_BF16, PAGODA_F16});
  static const auto dims = built_head_dims();
  static const auto dims_of_mixed = mixed_head_dims();
  const auto& own = family == "mixed" && !dims_of_mixed.empty() ? dims_of_mixed : dims;
  std::tie(spec.head_dim, spec.head_dim_v) = own[draw.below(static_cast<int>(own.size()))];
  spec.num_kv_heads = draw.of({1, 2, 3, 8});
  spec.num_heads = spec.num_kv_heads * draw.of({1, 2, 3, 4, 5, 8, 16});
  spec.page_size = draw.of({0, 8, 16, 16, 24, 64, 128, 256});
  spec.heads_first = draw.chance(30);
  spec.mask.causal = draw.chance(75);
  if (draw.chance(30)) {
    spec.mask.window_left = draw.of({-1, 0, 1, 17, 100, 1000});
    spec.mask.window_right = draw.of({-1, 0, 5, 64});
  }
  spec.score.scale = draw.chance(80) ? 1 / std::sqrt(float(spec.head_dim)) : 0.3f;
  if (draw.chance(20)) spec.score.softcap = draw.of({0.5f, 5.0f, 30.0f});
  spec.score.alibi = draw.of({Alibi::none, Alibi::none, Alibi::none, Alibi::linear, Alibi::sqrt});
  spec.has_sinks = draw.chance(25);
  spec.num_splits = draw.of({0, 0, 0, 1, 2, 3, 7});
  const int num_reqs = draw.between(1, 6);
  const int group = spec.num_heads / spec.num_kv_heads;
  const bool any_short = draw.chance(40);
  const bool short_only = !has_prefill() || (family.empty() ? any_short : family == "decode");
  const int longest = short_only ? kMaxDecodeRows / group : 700;
  const int max_query = std::clamp(draw.of({1, 1, 4, 16, 200, 700}), 1, longest);
  for (int r = 0; r < num_reqs; ++r) {
    spec.query_lens.push_back(draw.chance(8) ? 0 : draw.between(1, max_query));
    const int cached = draw.of({0, 3, 50, 300, 1500, 3000});
    int seq_len = spec.query_lens[r] + draw.between(0, cached);
    if (draw.chance(5)) seq_len = 0;
    if (draw.chance(5)) seq_len = spec.query_lens[r] / 2;  // more queries than keys
    spec.seq_lens.push_back(seq_len);
  }
  if (draw.chance(25))
    for (int r = 0; r < num_reqs; ++r) spec.causal.push_back(draw.chance(50));
  if (draw.chance(20)) spec.max_slots = 64 * num_reqs;
  if (family == "mixed")
    draw_mixed_lengths(draw, spec);
  else
    spec.apart = draw.chance(50);
  draw_format(draw, family, spec);
  if (draw.chance(30)) spec.num_padding_tokens = draw.between(1, 40);
  return spec;
}

std::string text_of(const StepSpec& spec) {
  char text[400];
  std::snprintf(text, sizeof text,
                "%s d %d/%d heads %d/%d page %d%s causal %d window %d,%d cap %g alibi %d sinks %d "
                "splits %d padding %d%s format %d%s mask %d x %d of %d",
                name_of(spec.dtype), spec.head_dim, spec.head_dim_v, spec.num_heads,
                spec.num_kv_heads, spec.page_size, spec.heads_first ? " hnd" : "", spec.mask.causal,
                spec.mask.window_left, spec.mask.window_right, spec.score.softcap,
                static_cast<int>(spec.score.alibi), spec.has_sinks, spec.num_splits,
                spec.num_padding_tokens, spec.causal.empty() ? "" : " causal by request",
                spec.kv_format, spec.general ? " general" : "", spec.mask_tile_q, spec.mask_tile_kv,
                spec.mask_heads);
  std::string result = text;
  for (size_t r = 0; r < spec.seq_lens.size(); ++r)
    result += " " + std::to_string(spec.query_lens[r]) + ":" + std::to_string(spec.seq_lens[r]);
  return result;
}

// Out and lse after the kernels; twice, since the second run finds what the first left behind.
bool check(uint64_t seed, const std::string& family, Comparison& worst) {
  const StepSpec spec = random_step(seed, family);
  const DeviceStep step(spec);
  if (step.num_tokens == 0) return true;
  const StepRunner runner(step);
  runner.schedule(nullptr);
  std::vector<uint8_t> first;
  for (int run = 0; run < 2; ++run) {
    step.poison_outputs();
    runner.attend(0, nullptr);
    check_cuda(cudaDeviceSynchronize(), "attending");
    if (run == 0) first = step.out.host();
  }
  const Comparison result = compare_with_reference(step);
  const bool same = first == step.out.host();
  if (!result.ok() || !same)
    std::printf("seed %llu: out %.3g lse %.3g of the bound%s: %s\n",
                static_cast<unsigned long long>(seed), result.worst_out, result.worst_lse,
                same ? "" : ", second run differs", text_of(spec).c_str());
  worst.worst_out = std::max(worst.worst_out, result.worst_out);
  worst.worst_lse = std::max(worst.worst_lse, result.worst_lse);
  return result.ok() && same;
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 200;
  const uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const std::string family = argc > 3 ? argv[3] : "";
  int failed = 0;
  Comparison worst;
  for (int i = 0; i < cases && failed < 12; ++i) {
    try {
      failed += !check(first + i, family, worst);
    } catch (const std::exception& error) {
      std::printf("seed %llu: %s\n  %s\n", static_cast<unsigned long long>(first + i), error.what(),
                  text_of(random_step(first + i, family)).c_str());
      return 1;
    }
  }
  std::printf("%d cases, %d failed; worst error: out %.3f, lse %.3f of the bound\n", cases, failed,
              worst.worst_out, worst.worst_lse);
  return failed > 0;
}
