// The CUDA backend through pagoda.h against the reference backend: check_capi [cases] [first seed].
// Whole steps with update_cache, graphs replayed with other lengths, merges. Returns 1 if any
// failed.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <pagoda/pagoda.hpp>
#include <random>
#include <string>
#include <vector>

#include "../../src/core/dtype.h"
#include "../../src/cuda/check_cuda.h"

namespace pagoda {
namespace {

using cuda::check_cuda;
using Bytes = std::vector<uint8_t>;

// Host bytes and their copy on the device.
struct Both {
  Bytes host;
  void* device = nullptr;

  explicit Both(size_t size) : host(size) {
    check_cuda(cudaMalloc(&device, std::max<size_t>(size, 16)), "allocating");
  }
  Both(const Both&) = delete;
  Both& operator=(const Both&) = delete;
  ~Both() { cudaFree(device); }

  void upload() {
    check_cuda(cudaMemcpy(device, host.data(), host.size(), cudaMemcpyHostToDevice), "uploading");
  }
  Bytes download() const {
    Bytes copy(host.size());
    check_cuda(cudaMemcpy(copy.data(), device, copy.size(), cudaMemcpyDeviceToHost), "downloading");
    return copy;
  }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(host.data());
  }
};

float read_element(const Bytes& bytes, size_t index, pagoda_dtype dtype) {
  uint16_t bits;
  std::memcpy(&bits, &bytes[2 * index], 2);
  return dtype == PAGODA_BF16 ? to_float(Bfloat16{bits}) : to_float(Half{bits});
}

struct Case {
  std::mt19937_64 random;
  Spec spec;
  Limits limits;
  Tuning tuning;
  int num_reqs, num_tokens, width, group;

  explicit Case(uint64_t seed) : random(seed) {
    static constexpr int dims[][2] = {{64, 64},   {80, 80},   {96, 96},
                                      {128, 128}, {192, 128}, {256, 256}};
    const auto& dim = dims[below(6)];
    spec.head_dim = dim[0], spec.head_dim_v = dim[1];
    spec.num_kv_heads = 1 + below(4);
    group = 1 + below(6);
    spec.num_heads = spec.num_kv_heads * group;
    spec.dtype = below(2) ? PAGODA_BF16 : PAGODA_F16;
    spec.page_size = 8 * (1 + below(9));
    spec.causal = below(4) != 0;
    if (below(3) == 0)
      spec.has_window = 1, spec.window_left = below(200), spec.window_right = below(20);
    if (below(4) == 0) spec.logit_softcap = 20;
    spec.alibi = static_cast<pagoda_alibi>(below(3));
    spec.has_sinks = below(2);
    num_reqs = 1 + below(5);
    num_tokens = num_reqs * (1 + below(80)) + below(9);
    width = 64;
    limits.max_reqs = num_reqs, limits.max_tokens = num_tokens;
    limits.max_seq_len = width * spec.page_size, limits.num_pages = num_reqs * width + 1;
    if (below(3) == 0) tuning.num_splits = 1 + below(6);
  }
  int below(int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); }
  void fill_normal(Both& bytes) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < bytes.host.size() / 2; ++i) {
      const float x = normal(random);
      const uint16_t bits =
          spec.dtype == PAGODA_BF16 ? from_float<Bfloat16>(x).bits : from_float<Half>(x).bits;
      std::memcpy(&bytes.host[2 * i], &bits, 2);
    }
    bytes.upload();
  }
};

// The tensors of a step, on both sides.
struct Step {
  Case& c;
  Both query, key, value, out, lse, key_cache, value_cache;
  Both start, lens, table, slots, causal, slopes, sinks;

  explicit Step(Case& c)
      : c(c),
        query(2 * size_t(c.num_tokens) * c.spec.num_heads * c.spec.head_dim),
        key(2 * size_t(c.num_tokens) * c.spec.num_kv_heads * c.spec.head_dim),
        value(2 * size_t(c.num_tokens) * c.spec.num_kv_heads * c.spec.head_dim_v),
        out(2 * size_t(c.num_tokens) * c.spec.num_heads * c.spec.head_dim_v),
        lse(4 * size_t(c.num_tokens) * c.spec.num_heads),
        key_cache(2 * size_t(c.limits.num_pages) * c.spec.page_size * c.spec.num_kv_heads *
                  c.spec.head_dim),
        value_cache(2 * size_t(c.limits.num_pages) * c.spec.page_size * c.spec.num_kv_heads *
                    c.spec.head_dim_v),
        start(4 * (c.num_reqs + 1)),
        lens(4 * c.num_reqs),
        table(4 * size_t(c.num_reqs) * c.width),
        slots(8 * size_t(c.num_tokens)),
        causal(c.num_reqs),
        slopes(4 * c.spec.num_heads),
        sinks(4 * c.spec.num_heads) {
    for (Both* both : {&query, &key, &value, &key_cache, &value_cache}) c.fill_normal(*both);
    std::vector<int32_t> pages(c.num_reqs * c.width);
    std::iota(pages.begin(), pages.end(), 1);
    std::shuffle(pages.begin(), pages.end(), c.random);
    std::memcpy(table.host.data(), pages.data(), table.host.size());
    for (int h = 0; h < c.spec.num_heads; ++h) {
      slopes.as<float>()[h] = std::exp2(-0.5f * float(h + 1));
      sinks.as<float>()[h] = float(c.below(5)) - 2;
    }
    for (Both* both : {&table, &slopes, &sinks}) both->upload();
    draw_lengths();
  }

  // Lengths, and the slots that follow from them.
  void draw_lengths() {
    int32_t token = 0;
    start.as<int32_t>()[0] = 0;
    std::fill_n(slots.as<int64_t>(), c.num_tokens, -1);
    for (int r = 0; r < c.num_reqs; ++r) {
      const int most = (c.num_tokens - token) / (c.num_reqs - r);
      const int query_len = c.below(8) ? c.below(most + 1) : 0;
      const int seq_len = std::min(query_len + c.below(1200), c.width * c.spec.page_size);
      lens.as<int32_t>()[r] = seq_len < query_len ? query_len : seq_len;
      causal.host[r] = static_cast<uint8_t>(c.below(2));
      for (int i = 0; i < query_len; ++i, ++token) {
        const int position = lens.as<int32_t>()[r] - query_len + i;
        const int32_t page = table.as<int32_t>()[r * c.width + position / c.spec.page_size];
        slots.as<int64_t>()[token] = int64_t{page} * c.spec.page_size + position % c.spec.page_size;
      }
      start.as<int32_t>()[r + 1] = token;
    }
    for (Both* both : {&start, &lens, &slots, &causal}) both->upload();
  }

  // The layer's tensors on one side.
  struct Views {
    Tensor keys, values, query, out, lse;
    Layer layer;
  };
  void make_views(bool on_device, Views& views) {
    const auto at = [&](Both& both) -> void* { return on_device ? both.device : both.host.data(); };
    const Spec& s = c.spec;
    const int64_t pages = c.limits.num_pages, tokens = c.num_tokens;
    views.keys = {at(key_cache), s.dtype, {pages, s.page_size, s.num_kv_heads, s.head_dim}};
    views.values = {at(value_cache), s.dtype, {pages, s.page_size, s.num_kv_heads, s.head_dim_v}};
    views.query = {at(query), s.dtype, {tokens, s.num_heads, s.head_dim}};
    views.out = {at(out), s.dtype, {tokens, s.num_heads, s.head_dim_v}};
    views.lse = {at(lse), PAGODA_F32, {s.num_heads, tokens}};
    views.layer.key_cache = &views.keys, views.layer.value_cache = &views.values;
    if (s.alibi != PAGODA_ALIBI_NONE)
      views.layer.alibi_slopes = static_cast<const float*>(at(slopes));
    if (s.has_sinks) views.layer.sinks = static_cast<const float*>(at(sinks));
  }

  void run(Plan& plan, bool on_device, void* workspace, cudaStream_t stream) {
    const auto at = [&](Both& both) -> void* { return on_device ? both.device : both.host.data(); };
    const auto ints = [&](Both& both) { return static_cast<const int32_t*>(at(both)); };
    Batch batch;
    batch.num_reqs = c.num_reqs, batch.num_tokens = c.num_tokens;
    batch.query_start_loc = ints(start), batch.seq_lens = ints(lens);
    batch.page_table = ints(table);
    batch.page_table_stride = batch.page_table_width = c.width;
    batch.slot_mapping = static_cast<const int64_t*>(at(slots));
    batch.causal = static_cast<const uint8_t*>(at(causal));
    const int64_t tokens = c.num_tokens, heads = c.spec.num_kv_heads;
    Views views;
    make_views(on_device, views);
    plan.prepare(batch, workspace, plan.workspace_size(), stream);
    plan.update_cache(views.layer, {at(key), c.spec.dtype, {tokens, heads, c.spec.head_dim}},
                      {at(value), c.spec.dtype, {tokens, heads, c.spec.head_dim_v}}, stream);
    plan.forward(views.layer, views.query, views.out, &views.lse, stream);
  }
  void forward(Plan& plan, cudaStream_t stream) {
    Views views;
    make_views(true, views);
    plan.forward(views.layer, views.query, views.out, &views.lse, stream);
  }
};

std::string compare(const Step& step) {
  const Bytes got = step.out.download(), got_lse = step.lse.download();
  if (step.key_cache.download() != step.key_cache.host) return "key cache differs";
  if (step.value_cache.download() != step.value_cache.host) return "value cache differs";
  const pagoda_dtype dtype = step.c.spec.dtype;
  double error = 0, norm = 1e-6;
  for (size_t i = 0; i < got.size() / 2; ++i) {
    const double want = read_element(step.out.host, i, dtype);
    const double difference = read_element(got, i, dtype) - want;
    error += difference * difference, norm += want * want;
  }
  const double bound = dtype == PAGODA_BF16 ? 5e-3 : 1e-3;
  if (!(std::sqrt(error / norm) <= bound))
    return "out differs by " + std::to_string(std::sqrt(error / norm));
  for (size_t i = 0; i < got_lse.size() / 4; ++i) {
    float a, b;
    std::memcpy(&a, &got_lse[4 * i], 4);
    std::memcpy(&b, &step.lse.host[4 * i], 4);
    if (a != b && !(std::abs(a - b) <= 1e-4 + 1e-5 * std::abs(b)))
      return "lse " + std::to_string(a) + " instead of " + std::to_string(b);
  }
  return "";
}

std::string check_case(uint64_t seed, Context& gpu, Context& reference) {
  Case c(seed);
  Step step(c);
  Plan on_gpu(gpu, c.spec, c.limits, c.tuning), oracle(reference, c.spec, c.limits, c.tuning);
  Both workspace(on_gpu.workspace_size() + 256);
  check_cuda(cudaMemset(workspace.device, 0xff, workspace.host.size()), "poisoning");
  Bytes host_workspace(oracle.workspace_size() + 512);
  const auto aligned = [](void* p) {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(p) + 255) / 256 * 256);
  };
  cudaStream_t stream;
  check_cuda(cudaStreamCreate(&stream), "creating a stream");
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  step.run(on_gpu, true, aligned(workspace.device), stream);
  check_cuda(cudaStreamEndCapture(stream, &graph), "capturing");
  check_cuda(cudaGraphInstantiate(&replay, graph, 0), "instantiating");
  std::string complaint;
  for (int round = 0; round < 3 && complaint.empty(); ++round) {
    if (round) step.draw_lengths();
    for (Both* both : {&step.out, &step.lse})
      check_cuda(cudaMemset(both->device, 0xff, both->host.size()), "poisoning");
    check_cuda(cudaGraphLaunch(replay, stream), "replaying");
    check_cuda(cudaStreamSynchronize(stream), "running");
    step.run(oracle, false, aligned(host_workspace.data()), nullptr);
    complaint = compare(step);
    const Bytes replayed = step.out.download();
    step.run(on_gpu, true, aligned(workspace.device), stream);
    check_cuda(cudaStreamSynchronize(stream), "running");
    if (complaint.empty() && replayed != step.out.download()) complaint = "replay and call differ";
    if (!complaint.empty()) complaint += " in round " + std::to_string(round);
  }
  cudaGraphExecDestroy(replay), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
  return complaint;
}

std::string check_merge(uint64_t seed, Context& gpu, Context& reference) {
  Case c(seed);
  const int64_t tokens = c.num_tokens, heads = c.spec.num_heads, dim = c.spec.head_dim_v;
  const size_t out_size = size_t(2 * tokens * heads * dim), lse_size = size_t(4 * tokens * heads);
  Both a(out_size), b(out_size), to(out_size), lse_a(lse_size), lse_b(lse_size), lse(lse_size);
  c.fill_normal(a), c.fill_normal(b);
  for (Both* both : {&lse_a, &lse_b}) {
    for (size_t i = 0; i < lse_size / 4; ++i)
      both->as<float>()[i] =
          c.below(5) ? float(c.below(100)) * 0.1f : (c.below(2) ? INFINITY : -INFINITY);
    both->upload();
  }
  for (const bool on_device : {false, true}) {
    const auto at = [&](Both& both) -> void* { return on_device ? both.device : both.host.data(); };
    const Tensor out_a(at(a), c.spec.dtype, {tokens, heads, dim});
    const Tensor out_b(at(b), c.spec.dtype, {tokens, heads, dim});
    const Tensor out(at(to), c.spec.dtype, {tokens, heads, dim});
    const Tensor l_a(at(lse_a), PAGODA_F32, {heads, tokens}),
        l_b(at(lse_b), PAGODA_F32, {heads, tokens});
    const Tensor l(at(lse), PAGODA_F32, {heads, tokens});
    Merge merge;
    merge.num_tokens_a = static_cast<int32_t>(tokens / 2);
    merge.out_a = &out_a, merge.lse_a = &l_a, merge.out_b = &out_b, merge.lse_b = &l_b;
    merge.out = &out, merge.lse = &l;
    (on_device ? gpu : reference).merge_states(merge);
  }
  check_cuda(cudaDeviceSynchronize(), "merging");
  const Bytes got = to.download();
  for (size_t i = 0; i < got.size() / 2; ++i) {
    const float x = read_element(got, i, c.spec.dtype), y = read_element(to.host, i, c.spec.dtype);
    if (!(std::abs(x - y) <= 0.01f * std::abs(y) + 1e-3f))
      return "merge: " + std::to_string(x) + " instead of " + std::to_string(y);
  }
  return "";
}

// Microseconds that a call of forward keeps the host, outside a graph: of a step whose longest
// query has max_query_len tokens.
double time_forward(Context& gpu, uint64_t seed, int32_t max_query_len) {
  Case c(seed);
  c.limits.max_query_len = max_query_len;
  Step step(c);
  Plan plan(gpu, c.spec, c.limits, c.tuning);
  Both workspace(plan.workspace_size() + 256);
  step.run(plan, true, workspace.device, nullptr);
  check_cuda(cudaDeviceSynchronize(), "running");
  constexpr int kCalls = 200, kRounds = 15;
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) step.forward(plan, nullptr);
    const auto end = std::chrono::steady_clock::now();
    check_cuda(cudaDeviceSynchronize(), "running");
    times.push_back(std::chrono::duration<double, std::micro>(end - begin).count() / kCalls);
  }
  std::sort(times.begin(), times.end());
  return times[kRounds / 2];
}

int run(int cases, uint64_t first) {
  ContextOptions options;
  options.backend = "cuda";
  Context gpu(options);
  options.backend = "reference";
  Context reference(options);
  std::printf("%s\n", doctor().c_str());
  std::printf("host time of a decode step's forward: %.2f us\n", time_forward(gpu, first, 1));
  std::printf("host time of a mixed step's forward: %.2f us\n", time_forward(gpu, first, 0));
  int failed = 0;
  for (int i = 0; i < cases && failed < 10; ++i) {
    const uint64_t seed = first + static_cast<uint64_t>(i);
    std::string complaint = check_case(seed, gpu, reference);
    if (complaint.empty()) complaint = check_merge(seed, gpu, reference);
    if (complaint.empty()) continue;
    ++failed;
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), complaint.c_str());
  }
  std::printf("%d cases, %d failed\n", cases, failed);
  return failed > 0;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  try {
    return pagoda::run(argc > 1 ? std::atoi(argv[1]) : 30,
                       argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
