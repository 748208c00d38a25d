// What must not depend on circumstances: check_steps [scale] [repeats]. The same request alone, in
// a batch and on other pages; steps of each family of kernels again and again; graphs replayed with
// other lengths; caches whose offsets pass 2^31 and 2^32 elements. Prints one JSON object; returns
// 1 if anything failed. Built with PAGODA_DELAYS, warps sleep at random where they meet.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "reference.cuh"
#include "run_step.cuh"

using namespace pagoda;
using namespace pagoda::cuda;

namespace {

using Random = std::mt19937_64;

int below(Random& random, int n) {
  return static_cast<int>(random() % static_cast<uint64_t>(n));
}

// The bytes of one request's rows of out, then of lse.
std::vector<uint8_t> rows_of(const DeviceStep& step, int first_token, int num_tokens) {
  const size_t row = size_t(2) * step.spec.num_heads * step.spec.head_dim_v;
  const auto out = step.out.host();
  const auto lse = step.lse.host();
  std::vector<uint8_t> bytes(out.begin() + first_token * row,
                             out.begin() + (first_token + num_tokens) * row);
  for (int h = 0; h < step.spec.num_heads; ++h) {
    const auto* from = reinterpret_cast<const uint8_t*>(&lse[h * step.num_tokens + first_token]);
    bytes.insert(bytes.end(), from, from + 4 * num_tokens);
  }
  return bytes;
}

void run(const DeviceStep& step) {
  const StepRunner runner(step);
  runner.schedule(nullptr);
  step.poison_outputs();
  runner.attend(0, nullptr);
  check_cuda(cudaDeviceSynchronize(), "attending");
}

StepSpec random_request(Random& random) {
  StepSpec spec;
  spec.seed = 11;
  spec.dtype = below(random, 2) ? PAGODA_BF16 : PAGODA_F16;
  spec.num_kv_heads = 1 + below(random, 8);
  spec.num_heads = spec.num_kv_heads * (1 + below(random, 8));
  spec.query_lens = {1 + (below(random, 3) ? below(random, 4) : below(random, 300))};
  spec.seq_lens = {spec.query_lens[0] + below(random, below(random, 2) ? 900 : 12000)};
  spec.contents = {1000};
  spec.score.scale = 0.1f;
  if (below(random, 3) == 0) spec.mask.window_left = below(random, 2000);
  if (below(random, 2)) spec.kv_format = static_cast<pagoda_kv_format>(1 + below(random, 5));
  spec.general = below(random, 4) == 0;
  return spec;
}

// Alone; then among others, on pages of another size, in other pieces.
bool is_invariant(uint64_t seed) {
  Random random(seed);
  const StepSpec alone = random_request(random);
  const DeviceStep one(alone);
  run(one);
  const auto want = rows_of(one, 0, alone.query_lens[0]);
  for (int round = 0; round < 3; ++round) {
    StepSpec batch = alone;
    batch.query_lens.clear(), batch.seq_lens.clear(), batch.contents.clear();
    batch.page_size = 8 * (1 + below(random, 12));
    const int others = round == 0 ? 0 : below(random, 60), place = below(random, others + 1);
    int first_token = 0;
    for (int r = 0; r <= others; ++r) {
      const bool own = r == place;
      const int rows = below(random, 20) ? 5 : 200;  // some beside prompts, by the mixed kernel
      const int query_len = own ? alone.query_lens[0] : 1 + below(random, rows);
      batch.query_lens.push_back(query_len);
      batch.seq_lens.push_back(own ? alone.seq_lens[0] : query_len + below(random, 3000));
      batch.contents.push_back(own ? 1000 : r);
      if (r < place) first_token += query_len;
    }
    if (round == 2) batch.max_slots = 64 * (others + 1);
    const DeviceStep many(batch);
    run(many);
    if (rows_of(many, first_token, alone.query_lens[0]) != want) {
      std::printf("seed %llu: other bits in round %d\n", (unsigned long long)seed, round);
      return false;
    }
  }
  return true;
}

StepSpec small_step() {
  StepSpec spec;
  spec.query_lens = {1, 3, 40, 1, 90, 2};
  spec.seq_lens = {700, 3000, 500, 2100, 400, 9000};
  spec.score.scale = 0.1f;
  return spec;
}

// One step of each family of kernels.
std::vector<StepSpec> families() {
  std::vector<StepSpec> specs(6, small_step());
  specs[1].dtype = PAGODA_F16, specs[1].kv_format = PAGODA_KV_INT8_TOKEN;
  specs[2].kv_format = PAGODA_KV_FP8_E4M3;
  specs[3].kv_format = PAGODA_KV_INT8_KEYS;
  specs[4].general = true;
  specs[5].mask_tile_kv = 64;
  return specs;
}

int count_differing_repeats(const StepSpec& spec, int repeats) {
  const DeviceStep step(spec);
  run(step);
  const auto want = step.out.host();
  int failed = 0;
  for (int i = 0; i < repeats; ++i) {
    run(step);
    failed += step.out.host() != want;
  }
  return failed;
}

// A graph of schedule and attention, replayed with other lengths, against calls.
int count_differing_replays(int replays) {
  const StepSpec spec = small_step();
  const DeviceStep step(spec);
  const StepRunner runner(step);
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  check_cuda(cudaStreamCreate(&stream), "creating a stream");
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  runner.schedule(stream);
  runner.attend(0, stream);
  check_cuda(cudaStreamEndCapture(stream, &graph), "capturing");
  check_cuda(cudaGraphInstantiate(&replay, graph, 0), "instantiating");
  Random random(3);
  int failed = 0;
  for (int i = 0; i < replays; ++i) {
    std::vector<int32_t> lens = spec.seq_lens;
    for (int32_t& n : lens) n = below(random, 20) ? below(random, n + 1) : 0;
    cudaMemcpy(step.seq_lens.get(), lens.data(), 4 * lens.size(), cudaMemcpyHostToDevice);
    step.poison_outputs();
    check_cuda(cudaDeviceSynchronize(), "poisoning");
    check_cuda(cudaGraphLaunch(replay, stream), "replaying");
    check_cuda(cudaStreamSynchronize(stream), "replaying");
    const auto replayed = step.out.host();
    step.poison_outputs();
    check_cuda(cudaDeviceSynchronize(), "poisoning");
    runner.schedule(stream);
    runner.attend(0, stream);
    check_cuda(cudaStreamSynchronize(stream), "running");
    failed += replayed != step.out.host();
  }
  cudaGraphExecDestroy(replay), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
  return failed;
}

// Pages behind the given element of a cache of 16 tokens, 8 heads, 128 elements a page.
bool reaches(int64_t elements) {
  StepSpec spec = small_step();
  spec.first_page = elements / (16 * 8 * 128);
  const DeviceStep step(spec);
  run(step);
  return compare_with_reference(step).ok();
}

}  // namespace

int main(int argc, char** argv) {
  const int scale = argc > 1 ? std::atoi(argv[1]) : 10;
  int not_invariant = 0;
  for (int i = 0; i < 4 * scale; ++i) not_invariant += !is_invariant(i);
  const std::vector<StepSpec> specs = families();
  const int each = argc > 2 ? std::atoi(argv[2]) : 10 * scale;
  int repeats = 0;
  for (const StepSpec& spec : specs) repeats += count_differing_repeats(spec, each);
  const int replays = count_differing_replays(100 * scale);
  const bool beyond_31 = reaches((int64_t{1} << 31) + 5),
             beyond_32 = reaches((int64_t{1} << 32) + 5);
  const bool ok = !not_invariant && !repeats && !replays && beyond_31 && beyond_32;
  std::printf(
      "{\"invariance_cases\": %d, \"invariance_failed\": %d, \"repeats\": %d, \"repeats_failed\": "
      "%d, "
      "\"replays\": %d, \"replays_failed\": %d, \"beyond_2_31_elements\": %s, "
      "\"beyond_2_32_elements\": %s}\n",
      4 * scale, not_invariant, each * static_cast<int>(specs.size()), repeats, 100 * scale,
      replays, beyond_31 ? "true" : "false", beyond_32 ? "true" : "false");
  return !ok;
}
