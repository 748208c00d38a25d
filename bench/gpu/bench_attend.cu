// Times the attention kernels on the device: bench_attend [json file] [name filter] [keys per
// split]. Each case is captured as a graph of one launch per layer, the layers' caches together far
// above the second-level cache; the figure is the median of replays, per layer.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>

#include "../../tests/gpu/reference.cuh"
#include "../../tests/gpu/run_step.cuh"

using namespace pagoda;
using namespace pagoda::cuda;

namespace {

constexpr double kFootprint = 400e6;  // bytes of keys and values that a replay walks through

struct Case {
  std::string name;
  StepSpec spec;
  bool by_bytes;  // the figure that matters: TB/s, otherwise TFLOP/s
};

struct Result {
  double microseconds, spread;  // of one launch
  double sustained;             // microseconds of a launch among many behind each other
  double terabytes, teraflops;
  Comparison comparison;
};

StepSpec uniform(int num_reqs, int query_len, int seq_len, int page_size = 16) {
  StepSpec spec;
  spec.score.scale = 1 / std::sqrt(float(spec.head_dim));
  spec.query_lens.assign(num_reqs, query_len);
  spec.seq_lens.assign(num_reqs, seq_len);
  spec.page_size = page_size;
  return spec;
}

StepSpec ragged() {
  StepSpec spec = uniform(64, 1, 128);
  std::mt19937 random(7);
  for (int32_t& n : spec.seq_lens) n = std::uniform_int_distribution<int>(128, 16384)(random);
  return spec;
}

StepSpec with_window(StepSpec spec, int window) {
  spec.mask.window_left = window - 1;
  return spec;
}

StepSpec only_prefill(StepSpec spec) {
  spec.only_prefill = true;
  return spec;
}

StepSpec not_causal(StepSpec spec) {
  spec.mask.causal = false;
  return spec;
}

// A chunk of a prompt beside decoding requests.
StepSpec mixed(int chunk = 2048) {
  StepSpec spec = uniform(64, 1, 4096);
  spec.query_lens[0] = chunk, spec.seq_lens[0] = 8192 + chunk;
  return spec;
}

StepSpec apart(StepSpec spec) {
  spec.apart = true;
  return spec;
}

StepSpec with_head_dim(StepSpec spec, int head_dim) {
  spec.head_dim = spec.head_dim_v = head_dim;
  spec.score.scale = 1 / std::sqrt(float(head_dim));
  return spec;
}

StepSpec with_format(StepSpec spec, pagoda_kv_format format) {
  spec.kv_format = format;
  return spec;
}

StepSpec general(StepSpec spec) {
  spec.general = true;
  return spec;
}

// Half of the tiles of 128 x 128 absent.
StepSpec with_block_mask(StepSpec spec) {
  spec.mask_tile_q = spec.mask_tile_kv = 128;
  return spec;
}

std::vector<Case> cases() {
  return {
      {"decode_1x1k", uniform(1, 1, 1024), true},
      {"decode_1x4k", uniform(1, 1, 4096), true},
      {"decode_1x8k", uniform(1, 1, 8192), true},
      {"decode_1x32k", uniform(1, 1, 32768), true},
      {"decode_1x128k", uniform(1, 1, 131072), true},
      {"decode_8x1k", uniform(8, 1, 1024), true},
      {"decode_8x4k", uniform(8, 1, 4096), true},
      {"decode_16x8k", uniform(16, 1, 8192), true},
      {"decode_64x1k", uniform(64, 1, 1024), true},
      {"decode_64x8k", uniform(64, 1, 8192), true},
      {"decode_256x512", uniform(256, 1, 512), true},
      {"decode_256x2k", uniform(256, 1, 2048), true},
      {"decode_ragged_64", ragged(), true},
      {"decode_q4_1x1k", uniform(1, 4, 1024), true},
      {"decode_q4_256x512", uniform(256, 4, 512), true},
      {"decode_q4_16x8k", uniform(16, 4, 8192), true},
      {"decode_window1k_64x8k", with_window(uniform(64, 1, 8192), 1024), true},
      {"prefill_dense_16x1k", only_prefill(uniform(16, 1024, 1024, 0)), false},
      {"prefill_dense_8x2k", only_prefill(uniform(8, 2048, 2048, 0)), false},
      {"prefill_dense_4x4k", only_prefill(uniform(4, 4096, 4096, 0)), false},
      {"prefill_dense_2x8k", only_prefill(uniform(2, 8192, 8192, 0)), false},
      {"prefill_dense_1x16k", only_prefill(uniform(1, 16384, 16384, 0)), false},
      {"prefill_full_8x2k", only_prefill(not_causal(uniform(8, 2048, 2048, 0))), false},
      {"prefill_full_1x16k", only_prefill(not_causal(uniform(1, 16384, 16384, 0))), false},
      {"prefill_page16_4x4k", only_prefill(uniform(4, 4096, 4096)), false},
      {"prefill_page16_2k_on_16k", only_prefill(uniform(1, 2048, 18432)), false},
      {"prefill_page16_8x512_on_4k", only_prefill(uniform(8, 512, 4608)), false},
      {"prefill_page16_1x512", only_prefill(uniform(1, 512, 512)), false},
      {"prefill_page256_4x4k", only_prefill(uniform(4, 4096, 4096, 256)), false},
      {"prefill_window1k_1x16k", only_prefill(with_window(uniform(1, 16384, 16384, 0), 1024)),
       false},
      {"prefill_d64_1x16k", only_prefill(with_head_dim(uniform(1, 16384, 16384, 0), 64)), false},
      {"prefill_d256_1x8k", only_prefill(with_head_dim(uniform(1, 8192, 8192, 0), 256)), false},
      {"mixed_2k_on_8k_63x4k", mixed(), false},
      {"mixed_apart_2k_on_8k_63x4k", apart(mixed()), false},
      {"mixed_its_prefill", only_prefill(uniform(1, 2048, 8192 + 2048)), false},
      {"mixed_its_decode", uniform(63, 1, 4096), true},
      {"mixed_without_decode", uniform(1, 2048, 8192 + 2048), false},
      {"mixed_128_on_8k_63x4k", mixed(128), false},
      {"mixed_apart_128_on_8k_63x4k", apart(mixed(128)), false},
      {"mixed_512_on_8k_63x4k", mixed(512), false},
      {"mixed_apart_512_on_8k_63x4k", apart(mixed(512)), false},
      {"decode_int8_1x8k", with_format(uniform(1, 1, 8192), PAGODA_KV_INT8_TOKEN), true},
      {"decode_int8_64x1k", with_format(uniform(64, 1, 1024), PAGODA_KV_INT8_TOKEN), true},
      {"decode_int8_64x8k", with_format(uniform(64, 1, 8192), PAGODA_KV_INT8_TOKEN), true},
      {"decode_int8_256x2k", with_format(uniform(256, 1, 2048), PAGODA_KV_INT8_TOKEN), true},
      {"decode_int8_keys_64x8k", with_format(uniform(64, 1, 8192), PAGODA_KV_INT8_KEYS), true},
      {"decode_int8_channel_64x8k", with_format(uniform(64, 1, 8192), PAGODA_KV_INT8_CHANNEL_V),
       true},
      {"decode_fp8_64x1k", with_format(uniform(64, 1, 1024), PAGODA_KV_FP8_E4M3), true},
      {"decode_fp8_64x8k", with_format(uniform(64, 1, 8192), PAGODA_KV_FP8_E4M3), true},
      {"decode_fp8_token_64x8k", with_format(uniform(64, 1, 8192), PAGODA_KV_FP8_E4M3_TOKEN), true},
      {"prefill_int8_4x4k", with_format(uniform(4, 4096, 4096), PAGODA_KV_INT8_TOKEN), false},
      {"prefill_fp8_4x4k", with_format(uniform(4, 4096, 4096), PAGODA_KV_FP8_E4M3), false},
      {"prefill_general_4x4k", general(uniform(4, 4096, 4096)), false},
      {"prefill_mask_full_1x16k", with_block_mask(not_causal(uniform(1, 16384, 16384))), false},
  };
}

struct Timing {
  double median, spread;  // microseconds; from the tenth to the ninetieth percent, by the median
};

Timing timing_of(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  return {median, (times[times.size() * 9 / 10] - times[times.size() / 10]) / median};
}

// Calls work(i) between two events until `budget` microseconds are used, without the first three.
template <class Work>
Timing time_calls(cudaStream_t stream, int launches, double budget, Work work) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  std::vector<double> times;
  double total = 0;
  for (int i = 0; i < 60 && (i < 8 || total < budget); ++i) {
    work(begin, end);
    check_cuda(cudaEventSynchronize(end), "running a case");
    float ms;
    cudaEventElapsedTime(&ms, begin, end);
    total += 1e3 * ms;
    if (i >= 3) times.push_back(1e3 * ms / launches);
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  return timing_of(times);
}

// A graph of one launch per layer, behind each other: what a decoding loop sees, and for long
// prompts what the limit of power leaves.
Timing time_replays(const StepRunner& runner, int num_layers, cudaStream_t stream) {
  const int launches = std::max(num_layers, 4);
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  for (int i = 0; i < launches; ++i) runner.attend(i % num_layers, stream);
  check_cuda(cudaStreamEndCapture(stream, &graph), "capturing");
  check_cuda(cudaGraphInstantiate(&replay, graph, 0), "instantiating the graph");
  const Timing timing =
      time_calls(stream, launches, 0.1e6, [&](cudaEvent_t begin, cudaEvent_t end) {
        cudaEventRecord(begin, stream);
        check_cuda(cudaGraphLaunch(replay, stream), "replaying");
        cudaEventRecord(end, stream);
      });
  cudaGraphExecDestroy(replay), cudaGraphDestroy(graph);
  return timing;
}

// One launch at a time, each behind a fill of 256 MB that empties the second-level cache, as
// triton.testing.do_bench does: the chip's clock is then what it is between other work.
Timing time_single(const StepRunner& runner, cudaStream_t stream) {
  static const DeviceArray<uint8_t> other(size_t{256} << 20);
  return time_calls(stream, 1, 0.05e6, [&](cudaEvent_t begin, cudaEvent_t end) {
    check_cuda(cudaMemsetAsync(other.get(), 1, other.size(), stream), "emptying the cache");
    cudaEventRecord(begin, stream);
    runner.attend(0, stream);
    cudaEventRecord(end, stream);
  });
}

Result measure(const Case& c, bool check) {
  StepSpec spec = c.spec;
  spec.num_layers = 1;
  {
    double bytes = 0;
    for (int32_t n : spec.seq_lens) bytes += n;
    bytes *= spec.num_kv_heads * (spec.head_dim + spec.head_dim_v) * 2.0;
    spec.num_layers = std::clamp(static_cast<int>(kFootprint / bytes + 0.999), 1, 96);
  }
  const DeviceStep step(spec);
  const StepRunner runner(step);
  cudaStream_t stream;
  check_cuda(cudaStreamCreate(&stream), "creating a stream");
  runner.schedule(stream);
  check_cuda(cudaStreamSynchronize(stream), "scheduling");

  const int launches = std::max(spec.num_layers, 4);
  Result result{};
  const Timing sustained = time_replays(runner, spec.num_layers, stream);
  const Timing timing = c.by_bytes ? sustained : time_single(runner, stream);
  result.microseconds = timing.median, result.spread = timing.spread;
  result.sustained = sustained.median;
  result.terabytes = step.key_value_bytes() / result.microseconds * 1e-6;
  result.teraflops = step.flops() / result.microseconds * 1e-6;
  if (check) {
    step.poison_outputs();
    runner.attend(0, stream);
    check_cuda(cudaStreamSynchronize(stream), "attending");
    result.comparison = compare_with_reference(step);
  }
  cudaStreamDestroy(stream);
  return result;
}

}  // namespace

// filter: parts of names, separated by commas.
bool is_wanted(const std::string& name, const std::string& filter) {
  for (size_t begin = 0; begin <= filter.size();) {
    const size_t end = std::min(filter.find(',', begin), filter.size());
    if (name.find(filter.substr(begin, end - begin)) != std::string::npos) return true;
    begin = end + 1;
  }
  return false;
}

int main(int argc, char** argv) {
  const char* json_path = argc > 1 ? argv[1] : "/dev/null";
  const char* filter = argc > 2 ? argv[2] : "";
  cudaDeviceProp device;
  int driver = 0;
  check_cuda(cudaGetDeviceProperties(&device, 0), "asking for the device");
  cudaDriverGetVersion(&driver);
  std::FILE* json = std::fopen(json_path, "w");
  if (!json) return std::perror(json_path), 1;
  std::fprintf(json, "{\"device\": \"%s\", \"driver\": %d, \"time\": %lld, \"cases\": [",
               device.name, driver, static_cast<long long>(std::time(nullptr)));
  std::printf("%-26s %10s %10s %8s %8s %8s  %s\n", "case", "us", "sustained", "TB/s", "TFLOP/s",
              "spread", "error");
  const char* separator = "";
  for (Case c : cases()) {
    if (argc > 3) c.spec.split_keys = std::atoi(argv[3]);
    if (!is_wanted(c.name, filter)) continue;
    try {
      const bool check =
          c.spec.query_lens.size() * size_t(c.spec.query_lens[0]) * c.spec.seq_lens[0] < 5'000'000;
      const Result r = measure(c, check);
      std::printf("%-26s %10.2f %10.2f %8.3f %8.1f %7.1f%%  %.2f\n", c.name.c_str(), r.microseconds,
                  r.sustained, r.terabytes, r.teraflops, 100 * r.spread,
                  std::max(r.comparison.worst_out, r.comparison.worst_lse));
      std::fprintf(json,
                   "%s\n  {\"name\": \"%s\", \"us\": %.3f, \"sustained_us\": %.3f, \"spread\": "
                   "%.4f, \"tb_s\": %.4f, "
                   "\"tflop_s\": %.2f, \"ok\": %s}",
                   separator, c.name.c_str(), r.microseconds, r.sustained, r.spread, r.terabytes,
                   r.teraflops, r.comparison.ok() ? "true" : "false");
      separator = ",";
    } catch (const std::exception& error) {
      std::printf("%-26s %s\n", c.name.c_str(), error.what());
    }
    std::fflush(stdout);
  }
  std::fprintf(json, "\n]}\n");
  return std::fclose(json);
}
