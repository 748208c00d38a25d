// The runner on a CUDA device with a real model: bench_runner MODEL GOLDEN OUT.json, or, for a
// profiler, bench_runner MODEL REQUESTS, which only writes texts of so many requests.
//
// Does the device choose the tokens that the CPU chooses in float, and how many tokens a second
// does it read and write? GOLDEN is tests/engine/golden/smollm2_llamacpp.json, of which only the
// prompts are used.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/runner.h"

namespace pagoda::engine {
namespace {

using Json = nlohmann::ordered_json;
using Tokens = std::vector<int32_t>;

constexpr int32_t kGenerated = 48;  // tokens of a compared text
constexpr double kNearTie = 0.5;    // logits: of a clear step the best token is further ahead

double seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

struct Model {
  explicit Model(const std::string& path)
      : file(ModelFile::open(path)), tokenizer(Tokenizer::from_model(file)) {}

  // On the CPU in f32 with all weights as floats, on the device in a type of 16 bits.
  Runner runner(pagoda_dtype dtype, int32_t max_reqs, int32_t max_seq_len, int32_t chunk,
                bool prefix_cache) const {
    RunnerOptions options;
    options.device = dtype == PAGODA_F32 ? Device::kCpu : Device::kCuda;
    options.expand_weights = dtype == PAGODA_F32;
    options.dtype = dtype;
    options.max_reqs = max_reqs;
    options.max_seq_len = max_seq_len;
    options.prefill_chunk = chunk;
    options.prefix_cache = prefix_cache;
    return {file, tokenizer, options};
  }

  ModelFile file;
  Tokenizer tokenizer;
};

// Greedy texts of all prompts, in their order, with the two best tokens of each step.
std::vector<Generation> generate(Runner& runner, const std::vector<Tokens>& prompts,
                                 int32_t max_tokens) {
  GenerationOptions options;
  options.max_tokens = max_tokens;
  options.ignore_eos = true;
  options.sampling.num_logprobs = 2;
  for (const Tokens& prompt : prompts) runner.add(prompt, options);
  runner.run();
  std::vector<Generation> done = runner.take_finished();
  std::sort(done.begin(), done.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return done;
}

double margin_of(const Sampled& sampled) {
  return sampled.most[0].logprob - sampled.most[1].logprob;
}

// Each text as far as both go the same way, and the margin at which they part.
Json compare_texts(const std::vector<Generation>& cpu, const std::vector<Generation>& cuda) {
  int same = 0;
  int64_t common = 0, steps = 0;
  double largest = 0;
  for (size_t i = 0; i < cpu.size(); i++) {
    const Tokens &a = cpu[i].tokens, &b = cuda[i].tokens;
    const auto parting = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
    steps += static_cast<int64_t>(a.size());
    common += parting;
    if (parting == static_cast<ptrdiff_t>(a.size()))
      same++;
    else
      largest = std::max(largest, margin_of(cpu[i].sampled[static_cast<size_t>(parting)]));
  }
  return {{"texts", cpu.size()},
          {"texts_equal", same},
          {"tokens", steps},
          {"tokens_before_parting", common},
          {"largest_margin_at_parting", largest}};
}

// Every step of the CPU's texts: what the device chooses behind the same tokens.
Json compare_steps(const Model& model, pagoda_dtype dtype, const std::vector<Tokens>& prompts,
                   const std::vector<Generation>& cpu) {
  std::vector<Tokens> beginnings;
  std::vector<const Sampled*> chosen;
  for (size_t i = 0; i < cpu.size(); i++)
    for (size_t step = 0; step < cpu[i].tokens.size(); step++) {
      Tokens& beginning = beginnings.emplace_back(prompts[i]);
      const auto first = cpu[i].tokens.begin();
      beginning.insert(beginning.end(), first, first + static_cast<ptrdiff_t>(step));
      chosen.push_back(&cpu[i].sampled[step]);
    }
  Runner runner = model.runner(dtype, 64, 2048, 2048, true);
  const std::vector<Generation> cuda = generate(runner, beginnings, 1);
  int clear = 0, clear_different = 0, different = 0;
  double largest = 0;
  for (size_t i = 0; i < cuda.size(); i++) {
    const double margin = margin_of(*chosen[i]);
    const bool differs = cuda[i].tokens[0] != chosen[i]->token;
    clear += margin >= kNearTie;
    clear_different += differs && margin >= kNearTie;
    different += differs;
    if (differs) largest = std::max(largest, margin);
  }
  return {
      {"steps", cuda.size()}, {"different", different}, {"largest_margin_of_a_difference", largest},
      {"near_tie", kNearTie}, {"clear_steps", clear},   {"clear_steps_different", clear_different}};
}

Tokens random_prompt(int32_t size, int32_t vocab_size, uint32_t seed) {
  std::mt19937 random(seed);
  Tokens tokens;
  for (int32_t i = 0; i < size; i++)
    tokens.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_size)));
  return tokens;
}

// Steps in which every request gets one token, after the first that make the graph.
Json decode_speed(const Model& model, int32_t num_reqs, const SamplingOptions& sampling,
                  const char* kind) {
  constexpr int32_t kPrompt = 64, kTokens = 256;
  constexpr size_t kWarm = 16;
  Runner runner = model.runner(PAGODA_BF16, num_reqs, kPrompt + kTokens, kPrompt * num_reqs, false);
  GenerationOptions options;
  options.max_tokens = kTokens;
  options.ignore_eos = true;
  options.sampling = sampling;
  for (int32_t i = 0; i < num_reqs; i++)
    runner.add(random_prompt(kPrompt, model.tokenizer.vocab_size(), static_cast<uint32_t>(i)),
               options);
  std::vector<double> durations;
  for (double before = seconds(); runner.step();) {
    const double now = seconds();
    durations.push_back(now - before);
    before = now;
  }
  durations.erase(durations.begin(), durations.begin() + std::min(durations.size(), kWarm));
  const double least = *std::min_element(durations.begin(), durations.end());
  const double step = median(durations);
  return {{"requests", num_reqs},
          {"sampling", kind},
          {"steps", durations.size()},
          {"step_microseconds", 1e6 * step},
          {"least_step_microseconds", 1e6 * least},
          {"tokens_per_second", num_reqs / step}};
}

// The time from prompts to their first tokens.
Json prefill_speed(const Model& model, int32_t num_reqs, int32_t prompt_size) {
  constexpr int kRounds = 8, kWarm = 3;
  Runner runner =
      model.runner(PAGODA_BF16, num_reqs, prompt_size + 1, num_reqs * prompt_size, false);
  GenerationOptions options;
  options.max_tokens = 1;
  options.ignore_eos = true;
  std::vector<double> durations;
  for (int round = 0; round < kRounds; round++) {
    for (int32_t i = 0; i < num_reqs; i++)
      runner.add(random_prompt(prompt_size, model.tokenizer.vocab_size(),
                               static_cast<uint32_t>(round * num_reqs + i)),
                 options);
    const double before = seconds();
    runner.run();
    if (round >= kWarm) durations.push_back(seconds() - before);
  }
  const double duration = median(durations);
  return {{"requests", num_reqs},
          {"prompt_tokens", prompt_size},
          {"milliseconds", 1e3 * duration},
          {"tokens_per_second", num_reqs * prompt_size / duration}};
}

std::vector<Tokens> read_prompts(const std::string& path) {
  std::ifstream file(path);
  const Json golden = Json::parse(file);
  std::vector<Tokens> prompts;
  for (const auto& entry : golden.at("cases"))
    prompts.push_back(entry.at("prompt_ids").get<Tokens>());
  return prompts;
}

// f16 has three bits more than bf16: differences that rounding alone makes are rarer by as much.
Json compare(const Model& model, const std::vector<Tokens>& prompts) {
  Runner on_cpu = model.runner(PAGODA_F32, 16, 2048, 512, true);
  const std::vector<Generation> cpu = generate(on_cpu, prompts, kGenerated);
  Json result;
  for (const auto& [name, dtype] : {std::pair{"bf16", PAGODA_BF16}, {"f16", PAGODA_F16}}) {
    Runner on_cuda = model.runner(dtype, 16, 2048, 512, true);
    result[name] = {{"texts", compare_texts(cpu, generate(on_cuda, prompts, kGenerated))},
                    {"steps", compare_steps(model, dtype, prompts, cpu)}};
  }
  return result;
}

void run_decode(const std::string& model_path, int32_t num_reqs) {
  const Model model(model_path);
  std::printf("%s\n", decode_speed(model, num_reqs, {}, "greedy").dump().c_str());
}

void run(const std::string& model_path, const std::string& golden, const std::string& out) {
  const Model model(model_path);
  Json result = {{"model", model.file.config().name}};
  const auto print = [](const char* what, const Json& value) {
    std::printf("%s %s\n", what, value.dump().c_str());
    std::fflush(stdout);
  };
  const SamplingOptions drawn = {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .seed = 1};
  for (int32_t num_reqs : {1, 16, 128})
    print("decode", result["decode"].emplace_back(decode_speed(model, num_reqs, {}, "greedy")));
  for (int32_t num_reqs : {1, 128})
    print("decode", result["decode"].emplace_back(decode_speed(
                        model, num_reqs, drawn, "temperature 0.8, top-k 40, top-p 0.95")));
  for (const auto& [num_reqs, size] : {std::pair{1, 512}, {1, 2000}, {16, 512}, {128, 64}})
    print("prefill", result["prefill"].emplace_back(prefill_speed(model, num_reqs, size)));
  print("against the CPU", result["against_cpu"] = compare(model, read_prompts(golden)));
  std::ofstream(out) << result.dump(1) << '\n';
}

}  // namespace
}  // namespace pagoda::engine

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "bench_runner MODEL GOLDEN OUT.json, or bench_runner MODEL REQUESTS\n");
    return 2;
  }
  try {
    if (argc == 4)
      pagoda::engine::run(argv[1], argv[2], argv[3]);
    else
      pagoda::engine::run_decode(argv[1], std::stoi(argv[2]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_runner: %s\n", error.what());
    return 1;
  }
  return 0;
}
