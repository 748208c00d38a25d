// The forward pass on a CUDA device against formulas in double (random_model.h), and the draw of
// tokens against the sampler of the host. Skips where there is no device.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/cuda/device_memory.h"
#include "engine/cuda/kernels.h"
#include "engine/cuda/step_shape.h"
#include "engine/error.h"
#include "engine/model/executor.h"
#include "tests/engine/random_model.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

class OnDevice : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0)
      GTEST_SKIP() << "there is no CUDA device";
  }
};

// A request on pages of its own: the first is 1 + number * pages_each.
struct Sequence {
  std::vector<int32_t> tokens;
  int32_t number = 0;
  int32_t done = 0;
  std::vector<std::vector<double>> logprobs;  // [done][vocab]
};

std::vector<int32_t> random_tokens(int count, int vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; i++)
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)));
  return tokens;
}

class ExecutorDriver {
 public:
  ExecutorDriver(const std::filesystem::path& folder, pagoda_dtype dtype, int32_t page_size,
                 pagoda_kv_format kv_format = PAGODA_KV_SAME, Device device = Device::kCuda)
      : file_(ModelFile::open(folder)), page_size_(page_size) {
    DecoderOptions options;
    options.dtype = dtype;
    options.kv.format = kv_format;
    options.page_size = page_size;
    options.num_pages = 1 + 8 * pages_each();
    options.max_reqs = 8;
    options.max_tokens = 200;
    options.max_seq_len = 128;
    vocab_ = static_cast<int32_t>(file_.config().vocab_size);
    executor_ = make_executor(device, file_, options, vocab_);
    all_.num_logprobs = vocab_;
  }

  // Computes the next counts[i] tokens of sequences[i], all in one step.
  void step(const std::vector<Sequence*>& sequences, const std::vector<int32_t>& counts) {
    std::vector<int32_t> tokens, starts = {0}, seq_lens, rows, table;
    std::vector<int64_t> slots;
    for (size_t i = 0; i < sequences.size(); i++) {
      Sequence& sequence = *sequences[i];
      const int32_t first = 1 + sequence.number * pages_each();
      for (int32_t t = sequence.done; t < sequence.done + counts[i]; t++) {
        tokens.push_back(sequence.tokens[static_cast<size_t>(t)]);
        rows.push_back(static_cast<int32_t>(rows.size()));
        slots.push_back(int64_t{first} * page_size_ + t);
      }
      sequence.done += counts[i];
      starts.push_back(static_cast<int32_t>(tokens.size()));
      seq_lens.push_back(sequence.done);
      for (int32_t page = 0; page < pages_each(); page++) table.push_back(first + page);
    }
    const std::vector<StepBatch::Group> groups(executor_->groups().size(),
                                               {.page_table = table.data(),
                                                .page_table_stride = pages_each(),
                                                .slot_mapping = slots.data()});
    const std::vector<Draw> draws(rows.size(), {.options = &all_});
    take(sequences, counts, executor_->step({tokens, starts, seq_lens, groups, rows}, draws));
  }

 private:
  int32_t pages_each() const { return 128 / page_size_; }

  void take(const std::vector<Sequence*>& sequences, const std::vector<int32_t>& counts,
            std::span<const Sampled> sampled) {
    size_t row = 0;
    for (size_t i = 0; i < sequences.size(); i++)
      for (int32_t t = 0; t < counts[i]; t++, row++) {
        std::vector<double>& logprobs = sequences[i]->logprobs.emplace_back(vocab_);
        for (const TokenLogprob& one : sampled[row].most)
          logprobs[static_cast<size_t>(one.token)] = one.logprob;
        EXPECT_EQ(sampled[row].token, sampled[row].most.front().token) << "greedy";
      }
  }

  ModelFile file_;
  int32_t page_size_, vocab_ = 0;
  std::unique_ptr<Executor> executor_;
  SamplingOptions all_;
};

// The largest difference of a probability's logarithm, as a share of the largest logit.
double worst_error(const Sequence& sequence, const std::vector<std::vector<double>>& expected) {
  double worst = 0;
  for (size_t t = 0; t < sequence.logprobs.size(); t++) {
    double sum = 0, scale = 0;
    for (double logit : expected[t]) {
      sum += std::exp(logit);
      scale = std::max(scale, std::abs(logit));
    }
    for (size_t i = 0; i < expected[t].size(); i++) {
      const double difference = sequence.logprobs[t][i] - (expected[t][i] - std::log(sum));
      worst = std::max(worst, std::abs(difference) / scale);
    }
  }
  return worst;
}

struct Family {
  const char* name;
  RandomModelSpec spec;
};

void PrintTo(const Family& family, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << family.name;
}

RandomModelSpec of_head_dim_64(RandomModelSpec spec) {
  spec.head_dim = 64;
  return spec;
}

std::vector<Family> families() {
  return {
      {"llama", of_head_dim_64({.model_type = "llama"})},
      {"llama3_scaling",
       of_head_dim_64({.model_type = "llama", .theta = 500000.0, .llama3_factor = 8})},
      {"tied", of_head_dim_64({.model_type = "llama", .tied_embeddings = true})},
      {"mistral", of_head_dim_64({.model_type = "mistral", .windows = {10, 10, 10}})},
      {"qwen2_some_windows",
       of_head_dim_64(
           {.model_type = "qwen2", .theta = 1e6, .qkv_bias = true, .windows = {0, 16, 0}})},
      {"qwen3", of_head_dim_64({.model_type = "qwen3", .qk_norm = true})},
      {"one_head", of_head_dim_64({.model_type = "llama", .num_heads = 1, .num_kv_heads = 1})},
  };
}

class DeviceFamily : public OnDevice, public testing::WithParamInterface<Family> {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (IsSkipped()) return;
    folder_ = test_folder(std::string("device_") + GetParam().name);
    model_.write(folder_);
  }
  RandomModel model_{GetParam().spec, 11};
  std::filesystem::path folder_;
};

// Weights, activations and the cache have 11 or 8 significant bits here, three more or fewer; any
// wrong formula moves logits by about as much as they are.
constexpr double kF16Bound = 0.02, kBf16Bound = 0.16;

TEST_P(DeviceFamily, LogitsEqualTheFormulas) {
  const std::vector<int32_t> tokens = random_tokens(60, GetParam().spec.vocab, 1);
  const auto expected = model_.logits(tokens);
  for (const auto& [dtype, bound] : {std::pair{PAGODA_F16, kF16Bound}, {PAGODA_BF16, kBf16Bound}})
    for (int32_t page_size : {8, 64}) {
      ExecutorDriver driver(folder_, dtype, page_size);
      Sequence sequence = {.tokens = tokens, .number = 3};
      for (int32_t count : {30, 1, 1, 1, 1, 5, 5, 16}) driver.step({&sequence}, {count});
      const double error = worst_error(sequence, expected);
      EXPECT_LT(error, bound) << "pages of " << page_size;
      std::cout << (dtype == PAGODA_F16 ? "f16 " : "bf16 ") << error << '\n';
    }
}

// Codes take more from the logits than f16 does, and on the device no more than on the host.
TEST_P(DeviceFamily, QuantisedCachesAreAsGoodAsOnTheHost) {
  const std::vector<int32_t> tokens = random_tokens(60, GetParam().spec.vocab, 2);
  const auto expected = model_.logits(tokens);
  for (pagoda_kv_format format :
       {PAGODA_KV_FP8_E4M3, PAGODA_KV_FP8_E4M3_TOKEN, PAGODA_KV_INT8_TOKEN, PAGODA_KV_INT8_KEYS}) {
    const auto error_on = [&](Device device) {
      ExecutorDriver driver(folder_, PAGODA_F16, 16, format, device);
      Sequence sequence = {.tokens = tokens, .number = 3};
      for (int32_t count : {30, 1, 1, 1, 1, 5, 5, 16}) driver.step({&sequence}, {count});
      return worst_error(sequence, expected);
    };
    const double device = error_on(Device::kCuda), host = error_on(Device::kCpu);
    EXPECT_LT(device, 1.5 * host + kF16Bound) << "format " << format;
    std::cout << "format " << format << ": " << device << ", host " << host << '\n';
  }
}

// Steps of other sizes run as graphs of their own, and padded requests and tokens are in company.
TEST_P(DeviceFamily, RequestsInCompanyAreTheirOwn) {
  std::vector<Sequence> sequences;
  for (int32_t i = 0; i < 5; i++)
    sequences.push_back(
        {.tokens = random_tokens(50, GetParam().spec.vocab, 20 + static_cast<uint32_t>(i)),
         .number = i});
  ExecutorDriver driver(folder_, PAGODA_F16, 16);
  Sequence &a = sequences[0], &b = sequences[1], &c = sequences[2], &d = sequences[3],
           &e = sequences[4];
  driver.step({&a, &b}, {30, 7});
  driver.step({&c, &d, &e}, {9, 11, 13});
  for (int i = 0; i < 5; i++) driver.step({&e, &d, &c, &b, &a}, {1, 1, 1, 1, 1});
  for (int i = 0; i < 5; i++) driver.step({&c, &a, &b}, {1, 1, 1});
  driver.step({&b, &a, &d}, {33, 10, 1});
  for (Sequence& sequence : sequences) {
    sequence.tokens.resize(static_cast<size_t>(sequence.done));
    EXPECT_LT(worst_error(sequence, model_.logits(sequence.tokens)), kF16Bound) << sequence.number;
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeviceFamily, testing::ValuesIn(families()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(OnDevice, AHeadThatNoKernelServesIsRefusedWithReasons) {
  const auto folder = test_folder("device_head_dim");
  RandomModel({.head_dim = 24}, 3).write(folder);
  const ModelFile file = ModelFile::open(folder);
  try {
    make_executor(Device::kCuda, file, {.dtype = PAGODA_BF16, .num_pages = 9, .max_seq_len = 64},
                  80);
    FAIL() << "a head_dim of 24";
  } catch (const pagoda::Error& error) {
    EXPECT_NE(std::string(error.what()).find("24"), std::string::npos) << error.what();
  }
}

// One launch draws from many rows, each with options of its own.
void expect_draws_of_the_sampler(int vocab, uint32_t seed) {
  const std::vector<SamplingOptions> kinds = {
      {},
      {.repetition_penalty = 1.3f},
      {.temperature = 1},
      {.temperature = 0.7f, .top_k = 40},
      {.temperature = 1.5f, .top_p = 0.9f},
      {.temperature = 1, .min_p = 0.05f},
      {.temperature = 30, .top_k = 1000, .top_p = 0.95f, .min_p = 0.1f, .repetition_penalty = 1.1f},
      {.temperature = 0.6f, .top_p = 0.5f, .repetition_penalty = 0.8f}};
  constexpr int kRows = 256;
  const int64_t stride = vocab + 8, words = (vocab + 31) / 32;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<size_t>(kRows * stride), 1e30f);  // beyond: never drawn
  std::vector<uint32_t> bits(static_cast<size_t>(kRows * words));
  std::vector<cuda::DrawParams> params;
  std::vector<int32_t> expected;
  Sampler sampler(vocab);
  for (int row = 0; row < kRows; row++) {
    SamplingOptions options = kinds[static_cast<size_t>(row) % kinds.size()];
    options.seed = seed;
    float* const own = logits.data() + row * stride;
    const float spread = row % 3 == 0 ? 40.0f : 1.0f;
    for (int i = 0; i < vocab; i++) own[i] = spread * normal(random);
    own[random() % static_cast<uint32_t>(vocab)] = NAN;
    const std::vector<int32_t> seen = random_tokens(30, vocab, seed + static_cast<uint32_t>(row));
    cuda::write_seen(
        {.tokens = seen}, vocab,
        std::span(bits).subspan(static_cast<size_t>(row * words), static_cast<size_t>(words)));
    const auto counter = static_cast<uint64_t>(row);
    params.push_back({options.temperature, options.top_k, options.top_p, options.min_p,
                      options.repetition_penalty, options.seed, counter});
    expected.push_back(
        sampler.sample({own, static_cast<size_t>(vocab)}, seen, counter, options).token);
  }
  const auto device_logits = cuda::to_device(std::span<const float>(logits));
  const auto device_bits = cuda::to_device(std::span<const uint32_t>(bits));
  const auto device_params = cuda::to_device(std::span<const cuda::DrawParams>(params));
  const cuda::DeviceArray<cuda::DrawnToken> out(kRows);
  cuda::queue_draw({.logits = device_logits.data(),
                    .stride = stride,
                    .vocab_size = vocab,
                    .draws = device_params.data(),
                    .seen = device_bits.data(),
                    .out = out.data(),
                    .num_draws = kRows},
                   nullptr);
  std::vector<cuda::DrawnToken> drawn(kRows);
  cuda::check_cuda(cudaMemcpy(drawn.data(), out.data(), drawn.size() * sizeof(cuda::DrawnToken),
                              cudaMemcpyDeviceToHost),
                   "copying tokens");
  for (size_t row = 0; row < drawn.size(); row++)
    EXPECT_EQ(drawn[row].token, expected[row]) << "row " << row << " of a vocabulary of " << vocab;
}

TEST_F(OnDevice, TokensAreDrawnAsTheSamplerDraws) {
  for (int vocab : {5, 80, 1000, 49152, 151936})
    expect_draws_of_the_sampler(vocab, static_cast<uint32_t>(vocab));
}

TEST_F(OnDevice, LogitsThatAreNotFiniteAreRefused) {
  const std::vector<float> logits = {NAN, -INFINITY, NAN};
  const auto device_logits = cuda::to_device(std::span<const float>(logits));
  const std::vector<cuda::DrawParams> greedy(1);
  const auto params = cuda::to_device(std::span<const cuda::DrawParams>(greedy));
  const cuda::DeviceArray<cuda::DrawnToken> out(1);
  cuda::queue_draw({.logits = device_logits.data(),
                    .stride = 3,
                    .vocab_size = 3,
                    .draws = params.data(),
                    .seen = nullptr,
                    .out = out.data(),
                    .num_draws = 1},
                   nullptr);
  cuda::DrawnToken drawn = {};
  cuda::check_cuda(cudaMemcpy(&drawn, out.data(), sizeof drawn, cudaMemcpyDeviceToHost), "copying");
  EXPECT_EQ(drawn.token, -1);
}

}  // namespace
}  // namespace pagoda::engine
