// Attention and cache writes of the CPU backend: cpu_bench --benchmark_filter=prefill/2048
//
// Each case says its shape in its name; counters are TFLOP/s of causal pairs, or GB/s of the cache
// that the queries need. machine/* are plain loops over the same memory or arithmetic in the same
// run. With --benchmark_repetitions=N the best and the median are printed; only ratios within one
// run mean something on a shared machine. PAGODA_BENCH_THREADS and PAGODA_BENCH_ISA choose both.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "layer.h"
#include "machine.h"

namespace pagoda::bench {
namespace {

constexpr double kBeyondCache = 800e6;  // bytes: more than the last-level cache of most machines

int threads() {
  const char* text = std::getenv("PAGODA_BENCH_THREADS");
  return text != nullptr ? std::atoi(text) : static_cast<int>(std::thread::hardware_concurrency());
}

std::string isa() {
  const char* text = std::getenv("PAGODA_BENCH_ISA");
  return text != nullptr ? text : "";
}

benchmark::Counter rate(double per_iteration) {
  return {per_iteration, benchmark::Counter::kIsIterationInvariantRate};
}

// Two threads are timed by the clock; one by the processor time that it got, which other processes
// disturb less.
void best_and_median(benchmark::internal::Benchmark* it) {
  if (threads() > 1) it->UseRealTime();
  it->ComputeStatistics("lowest", [](const std::vector<double>& v) {
      return *std::min_element(v.begin(), v.end());
    })->ComputeStatistics("highest", [](const std::vector<double>& v) {
    return *std::max_element(v.begin(), v.end());
  });
}

void run_prefill(benchmark::State& state, const Shape& shape) {
  LayerRun layer(shape, threads(), isa(), 1);
  layer.forward();
  for (auto _ : state) layer.forward();
  state.counters["FLOP"] = rate(layer.flops());
}

void run_decode(benchmark::State& state, const Shape& shape, bool cold) {
  const LayerRun probe(shape, 1, isa(), 1);
  const int copies = cold ? std::max(1, static_cast<int>(kBeyondCache / probe.cache_bytes())) : 1;
  LayerRun layer(shape, threads(), isa(), copies);
  for (int i = 0; i < copies; ++i) layer.forward();
  for (auto _ : state) layer.forward();
  state.counters["Bytes"] = rate(layer.cache_bytes());
}

void run_prepare(benchmark::State& state, const Shape& shape) {
  LayerRun layer(shape, threads(), isa(), 1);
  for (auto _ : state) layer.prepare();
}

void run_update(benchmark::State& state, const Shape& shape) {
  LayerRun layer(shape, threads(), isa(), 1);
  layer.forward();
  for (auto _ : state) layer.update_cache();
  state.counters["Bytes"] = rate(layer.written_bytes());
}

void run_on_all(int count, const auto& body) {
  std::vector<std::thread> workers;
  for (int t = 1; t < count; ++t) workers.emplace_back([&, t] { body(t); });
  body(0);
  for (std::thread& worker : workers) worker.join();
}

void machine_read(benchmark::State& state) {
  const auto size = static_cast<size_t>(kBeyondCache);
  const std::unique_ptr<char, decltype(&std::free)> memory(
      static_cast<char*>(std::aligned_alloc(kHugePage, size / kHugePage * kHugePage)), &std::free);
  ask_for_huge_pages(memory.get(), size / kHugePage * kHugePage);
  std::fill_n(memory.get(), size / kHugePage * kHugePage, char{1});
  const int count = threads();
  for (auto _ : state)
    run_on_all(count, [&](int t) {
      const size_t share = size / static_cast<size_t>(count) / 4096 * 4096;
      benchmark::DoNotOptimize(read_all(memory.get() + static_cast<size_t>(t) * share, share));
    });
  state.counters["Bytes"] = rate(static_cast<double>(size));
}

void machine_gemm(benchmark::State& state) {
  constexpr int kDepth = 128;
  const int count = threads();
  std::atomic<double> flops{0};
  for (auto _ : state)
    run_on_all(count, [&](int) {
      std::vector<float> a(6 * kDepth, 1.3f), b(kDepth * 64, 0.7f), c(6 * 64);
      flops = multiply_from_cache(a.data(), b.data(), c.data(), kDepth, 40000) * count;
    });
  state.counters["FLOP"] = rate(flops);
}

void machine_tiles(benchmark::State& state) {
  const int count = threads();
  std::atomic<double> flops{0};
  for (auto _ : state) run_on_all(count, [&](int) { flops = multiply_tiles(40000) * count; });
  state.counters["FLOP"] = rate(flops);
}

void add_prefill(const std::string& name, const Shape& shape) {
  best_and_median(benchmark::RegisterBenchmark(
      ("prefill/" + name).c_str(), [shape](benchmark::State& s) { run_prefill(s, shape); }));
}

void add_decode(const std::string& name, const Shape& shape, bool cold = true) {
  best_and_median(benchmark::RegisterBenchmark(
      ("decode/" + name).c_str(),
      [shape, cold](benchmark::State& s) { run_decode(s, shape, cold); }));
}

void add_update(const std::string& name, const Shape& shape) {
  best_and_median(benchmark::RegisterBenchmark(
      ("update_cache/" + name).c_str(), [shape](benchmark::State& s) { run_update(s, shape); }));
}

Shape prefill(int32_t len, Shape s = {}) {
  s.query_len = s.seq_len = len;
  return s;
}

constexpr int32_t kGroups[] = {1, 3, 4, 5, 7, 8, 12, 17, 24, 32};
constexpr int32_t kDims[] = {64, 80, 96, 128, 192, 256};

// About as many heads of queries as elsewhere.
Shape grouped(int32_t group, Shape s) {
  s.num_kv_heads = std::max(1, (32 + group / 2) / group);
  s.num_heads = s.num_kv_heads * group;
  return s;
}

void add_prefills() {
  for (int32_t len : {512, 1024, 2048, 8192})
    add_prefill(std::to_string(len) + "/bf16", prefill(len));
  add_prefill("8x256/bf16", prefill(256, {.num_reqs = 8}));
  add_prefill("512_on_32k/bf16", {.query_len = 512, .seq_len = 32768});
  add_prefill("2048/bf16/softcap", prefill(2048, {.softcap = 30}));
  add_prefill("2048/bf16/alibi", prefill(2048, {.alibi = true}));
  add_prefill("2048/bf16/window512_sinks", prefill(2048, {.sinks = true, .window = 512}));
  add_prefill("2048/f16", prefill(2048, {.dtype = PAGODA_F16}));
  add_prefill("2048/f32", prefill(2048, {.dtype = PAGODA_F32}));
  add_prefill("2048/f32/avx512", prefill(2048, {.dtype = PAGODA_F32, .isa = "avx512"}));
  add_prefill("2048/bf16/avx512", prefill(2048, {.isa = "avx512"}));
  for (int32_t dim : kDims)
    add_prefill("1024/bf16/d" + std::to_string(dim), prefill(1024, {.head_dim = dim}));
  for (int32_t group : kGroups)
    add_prefill("1024/bf16/group" + std::to_string(group), grouped(group, prefill(1024)));
}

void add_formats() {
  const struct {
    const char* name;
    pagoda_kv_format format;
  } formats[] = {{"fp8", PAGODA_KV_FP8_E4M3},
                 {"fp8_token", PAGODA_KV_FP8_E4M3_TOKEN},
                 {"int8", PAGODA_KV_INT8_TOKEN},
                 {"int8_channel_v", PAGODA_KV_INT8_CHANNEL_V},
                 {"int8_keys", PAGODA_KV_INT8_KEYS}};
  add_update("512/bf16", {.query_len = 512, .seq_len = 4096});
  for (const auto& [name, format] : formats) {
    const std::string kv = std::string("bf16/kv_") + name;
    add_decode("1x4096/" + kv, {.seq_len = 4096, .kv_format = format});
    add_decode("16x4096/" + kv, {.num_reqs = 16, .seq_len = 4096, .kv_format = format});
    add_decode("1x4096/" + kv + "/page128",
               {.seq_len = 4096, .kv_format = format, .page_size = 128});
    add_decode("1x4096/" + kv + "/warm", {.seq_len = 4096, .kv_format = format}, false);
    add_decode("1x512/" + kv + "/warm", {.seq_len = 512, .kv_format = format}, false);
    add_prefill("2048/" + kv, prefill(2048, {.kv_format = format}));
    add_update("512/" + kv, {.query_len = 512, .seq_len = 4096, .kv_format = format});
  }
  add_decode("1x4096/bf16/kv_int8/4queries",
             {.query_len = 4, .seq_len = 4096, .kv_format = PAGODA_KV_INT8_TOKEN});
}

void add_decodes() {
  add_decode("1x4096/bf16", {.seq_len = 4096});
  add_decode("16x4096/bf16", {.num_reqs = 16, .seq_len = 4096});
  add_decode("1x4096/bf16/page128", {.seq_len = 4096, .page_size = 128});
  add_decode("1x4096/bf16/avx512", {.seq_len = 4096, .isa = "avx512"});
  add_decode("1x4096/bf16/nhd", {.seq_len = 4096, .hnd = false});
  add_decode("1x4096/f16", {.seq_len = 4096, .dtype = PAGODA_F16});
  add_decode("1x4096/f32", {.seq_len = 4096, .dtype = PAGODA_F32});
  add_decode("1x16384/bf16", {.seq_len = 16384});
  add_decode("1x4096/bf16/4queries", {.query_len = 4, .seq_len = 4096});
  add_decode("1x256/bf16/warm", {.seq_len = 256}, false);
  add_decode("1x512/bf16/warm", {.seq_len = 512}, false);
  add_decode("1x4096/bf16/warm", {.seq_len = 4096}, false);
  for (int32_t group : kGroups)
    add_decode("1x4096/bf16/group" + std::to_string(group),
               {.seq_len = 4096, .num_heads = 8 * group});
  for (int32_t dim : kDims)
    add_decode("1x4096/bf16/d" + std::to_string(dim), {.seq_len = 4096, .head_dim = dim});
}

// Bytes are those that the requests need, the shared ones counted for each.
void add_cascades(int32_t cascade) {
  const std::string name = cascade < 0 ? "/flat" : cascade > 0 ? "/forced" : "/cascade";
  const auto shared = [&](int32_t reqs, int32_t common, int32_t own, int32_t group = 4) {
    return Shape{.num_reqs = reqs,
                 .seq_len = common + own,
                 .num_heads = 8 * group,
                 .shared = common,
                 .cascade = cascade};
  };
  add_decode("64x4096+1024/bf16" + name, shared(64, 4096, 1024));
  add_decode("16x4096+1024/bf16" + name, shared(16, 4096, 1024));
  add_decode("64x768+128/bf16" + name, shared(64, 768, 128));
  add_decode("8x768+128/bf16" + name, shared(8, 768, 128));
  add_decode("64x4096+1024/bf16/group1" + name, shared(64, 4096, 1024, 1));
  for (int32_t reqs : {2, 3, 4})
    add_decode(std::to_string(reqs) + "x4096+64/bf16" + name, shared(reqs, 4096, 64));
  add_decode("4x128+64/bf16/warm" + name, shared(4, 128, 64), false);
  const Shape step = shared(64, 4096, 1024);
  best_and_median(
      benchmark::RegisterBenchmark(("prepare/64x4096+1024" + name).c_str(),
                                   [step](benchmark::State& s) { run_prepare(s, step); }));
}

void add_all() {
  best_and_median(benchmark::RegisterBenchmark("machine/read", machine_read));
  best_and_median(benchmark::RegisterBenchmark("machine/gemm", machine_gemm));
  if (has_tiles()) best_and_median(benchmark::RegisterBenchmark("machine/tiles", machine_tiles));
  add_prefills();
  add_decodes();
  add_formats();
  for (int32_t cascade : {-1, 0, 1}) add_cascades(cascade);
}

}  // namespace
}  // namespace pagoda::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  pagoda::bench::add_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
