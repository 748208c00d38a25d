// Random steps against the reference: check_attend [cases] [first seed] [family] [threads], with
// family one of decode, prefill, mixed (long requests and short ones by one kernel), general
// (kernel), codes (quantised caches), mask (block masks) and rows (case after case the next row of
// the kernel table), or "". Prints the steps that fail with the seed that makes them again, and a
// summary. Returns 1 if any failed. Threads take cases in turn, each in a stream of its own: the
// file is compiled with a default stream per thread, and kernels are started in it by name.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

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

// Of the kernels of one phase that this build has.
std::vector<std::pair<int, int>> head_dims_of(Phase phase) {
  std::vector<std::pair<int, int>> dims;
  for (const KernelEntry& kernel : kernel_entries())
    if (kernel.config.phase == phase && kernel.config.dtype == PAGODA_BF16)
      dims.emplace_back(kernel.config.head_dim, kernel.config.head_dim_v);
  return dims;
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
  static const auto dims = head_dims_of(Phase::general);
  static const auto dims_of_mixed = head_dims_of(Phase::mixed);
  static const bool has_prefill = !head_dims_of(Phase::prefill).empty();
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
  const bool short_only = !has_prefill || (family.empty() ? any_short : family == "decode");
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

// A step that the kernel of one row of the table serves.
StepSpec step_of_row(uint64_t seed) {
  const std::vector<KernelEntry>& rows = kernel_entries();
  const KernelConfig& config = rows[seed % rows.size()].config;
  const Phase phase = config.phase;
  const bool has_both = phase == Phase::mixed || phase == Phase::rest;
  StepSpec spec = random_step(seed, phase == Phase::general  ? "general"
                                    : phase == Phase::decode ? "decode"
                                    : has_both               ? "mixed"
                                                             : "prefill");
  spec.dtype = config.dtype;
  spec.head_dim = config.head_dim, spec.head_dim_v = config.head_dim_v;
  if (phase == Phase::decode) {
    spec.rows_per_item = config.rows;
    for (auto format : {PAGODA_KV_SAME, PAGODA_KV_FP8_E4M3, PAGODA_KV_FP8_E4M3_TOKEN,
                        PAGODA_KV_INT8_KEYS, PAGODA_KV_INT8_TOKEN, PAGODA_KV_INT8_CHANNEL_V}) {
      const KvFormat codes = kv_format_of(format);
      if (codes.key.code == config.key && codes.value.code == config.value) spec.kv_format = format;
    }
    if (spec.kv_format != PAGODA_KV_SAME && spec.page_size == 0) spec.page_size = 16;
  } else if (!has_both) {  // more rows than decode takes
    spec.query_lens[0] = std::max(spec.query_lens[0], kMaxDecodeRows + 1);
    spec.seq_lens[0] = std::max(spec.seq_lens[0], spec.query_lens[0]);
  }
  return spec;
}

StepSpec step_of(uint64_t seed, const std::string& family) {
  return family == "rows" ? step_of_row(seed) : random_step(seed, family);
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

struct Finding {
  Comparison comparison;
  bool repeats = true;  // the second run had the bits of the first
  bool ok() const { return comparison.ok() && repeats; }
};

template <int = 0>
__global__ void count_differing(const uint16_t* a, const uint16_t* b, size_t count,
                                unsigned* differing) {
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < count;
       i += size_t(gridDim.x) * blockDim.x)
    if (a[i] != b[i]) atomicAdd(differing, 1);
}

bool has_same_out(const DeviceStep& step, const DeviceArray<uint8_t>& first) {
  const DeviceArray<unsigned> differing(std::vector<unsigned>{0});
  count_differing<><<<256, 256>>>(reinterpret_cast<const uint16_t*>(first.get()),
                                  reinterpret_cast<const uint16_t*>(step.out.get()),
                                  first.size() / 2, differing.get());
  return differing.host()[0] == 0;
}

// Out and lse after the kernels; twice, since the second run finds what the first left behind.
Finding check(const StepSpec& spec) {
  const cudaStream_t stream = cudaStreamPerThread;
  const DeviceStep step(spec);
  if (step.num_tokens == 0) return {};
  const StepRunner runner(step);
  runner.schedule(stream);
  const DeviceArray<uint8_t> first(step.out.size());
  for (int run = 0; run < 2; ++run) {
    step.poison_outputs();
    runner.attend(0, stream);
    check_cuda(cudaStreamSynchronize(stream), "attending");
    if (run == 0)
      check_cuda(cudaMemcpyAsync(first.get(), step.out.get(), first.size(),
                                 cudaMemcpyDeviceToDevice, stream),
                 "keeping the first result");
  }
  return {compare_with_reference(step), has_same_out(step, first)};
}

// What all threads share.
class Report {
 public:
  void add(uint64_t seed, const StepSpec& spec, const Finding& found) {
    const std::lock_guard lock(mutex_);
    const Comparison& errors = found.comparison;
    worst.worst_out = std::max(worst.worst_out, errors.worst_out);
    worst.worst_lse = std::max(worst.worst_lse, errors.worst_lse);
    if (found.ok()) return;
    ++failed;
    std::printf("seed %llu: out %.3g lse %.3g of the bound%s: %s\n",
                static_cast<unsigned long long>(seed), errors.worst_out, errors.worst_lse,
                found.repeats ? "" : ", second run differs", text_of(spec).c_str());
  }
  void add_exception(uint64_t seed, const StepSpec& spec, const std::exception& error) {
    const std::lock_guard lock(mutex_);
    failed += kTooMany;  // an error of the device stays
    std::printf("seed %llu: %s\n  %s\n", static_cast<unsigned long long>(seed), error.what(),
                text_of(spec).c_str());
  }

  static constexpr int kTooMany = 12;
  std::atomic<int> failed = 0;
  Comparison worst;

 private:
  std::mutex mutex_;
};

void check_cases(std::atomic<int>& next, int cases, uint64_t first, const std::string& family,
                 Report& report) {
  for (int i = next++; i < cases && report.failed < Report::kTooMany; i = next++) {
    const StepSpec spec = step_of(first + i, family);
    try {
      report.add(first + i, spec, check(spec));
    } catch (const std::exception& error) {
      return report.add_exception(first + i, spec, error);
    }
  }
}

void use_pool() {
  arrays_come_from_a_pool = true;
  cudaMemPool_t pool;
  uint64_t keep = UINT64_MAX;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, 0), "asking for the pool");
  check_cuda(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep),
             "keeping memory in the pool");
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 200;
  const uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const std::string family = argc > 3 ? argv[3] : "";
  const int num_threads = argc > 4 ? std::atoi(argv[4]) : 1;
  if (num_threads > 1) use_pool();
  Report report;
  std::atomic<int> next = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < num_threads; ++t)
    threads.emplace_back([&] { check_cases(next, cases, first, family, report); });
  for (std::thread& thread : threads) thread.join();
  std::printf("%d cases, %d failed; worst error: out %.3f, lse %.3f of the bound; %zu rows\n",
              cases, report.failed.load(), report.worst.worst_out, report.worst.worst_lse,
              kernel_entries().size());
  return report.failed > 0;
}
