// `pagoda bench`: how fast a model runs here, as JSON. Prompts are random tokens, and every case is
// repeated, because other programs disturb; the best time is what the machine can do.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "tools/pagoda/commands.h"
#include "tools/pagoda/model_options.h"

namespace pagoda::cli {
namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  ModelOptions model;
  std::vector<int32_t> prompts = {512, 2048};
  int32_t num_generated = 128;
  int32_t num_requests = 16;
  int repeats = 5;
};

std::vector<int32_t> random_prompt(int32_t size, int64_t vocab_size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> prompt(static_cast<size_t>(size));
  for (int32_t& token : prompt)
    token = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size));
  return prompt;
}

class ModelBench {
 public:
  ModelBench(const LoadedModel& model, BenchOptions options) : options_(std::move(options)) {
    ModelOptions& flags = options_.model;
    flags.no_prefix_cache = true;  // a repetition computes everything again
    flags.runner.max_reqs = options_.num_requests;
    int32_t longest = 0;
    for (int32_t size : options_.prompts) longest = std::max(longest, size + 1);
    if (flags.runner.num_pages == 0) flags.runner.num_pages = pages_needed(longest);
    longest = std::max(longest, options_.num_generated + 1);
    vocab_size_ = model.file.config().vocab_size;
    runner_ = make_runner(model, flags, longest, options_.num_requests);
  }

  // Reading a prompt, up to its first token.
  Json prompt(int32_t size) {
    return measure("prompt_" + std::to_string(size), [&](uint32_t seed) {
      const double before = runner_->stats().prompt_seconds;
      run(1, size, 1, seed);
      return size / (runner_->stats().prompt_seconds - before);
    });
  }

  // Text behind one token, of some requests at once.
  Json text(int32_t num_requests) {
    return measure("generate_" + std::to_string(num_requests), [&](uint32_t seed) {
      const engine::RunnerStats before = runner_->stats();
      run(num_requests, 1, options_.num_generated, seed);
      const engine::RunnerStats after = runner_->stats();
      return static_cast<double>(after.decode_tokens - before.decode_tokens) /
             (after.decode_seconds - before.decode_seconds);
    });
  }

  Json all() {
    Json cases = Json::array();
    for (int32_t size : options_.prompts) cases.push_back(prompt(size));
    if (options_.num_generated > 1) {
      cases.push_back(text(1));
      if (options_.num_requests > 1) cases.push_back(text(options_.num_requests));
    }
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    return {{"model", options_.model.model},
            {"device", engine::name_of(options_.model.runner.device)},
            {"threads", runner_->executor().options().num_threads},
            {"dtype", options_.model.dtype.empty() ? "f32" : options_.model.dtype},
            {"prefill_chunk", options_.model.runner.prefill_chunk},
            {"cases", cases},
            {"peak_memory_mib", static_cast<double>(usage.ru_maxrss) / 1024}};
  }

 private:
  // Of the largest case, and the null page: memory that no case needs would still be touched, since
  // the page that was free for longest is the next to be used.
  int64_t pages_needed(int32_t longest_prompt) const {
    const int64_t size = options_.model.runner.page_size;
    const auto pages_of = [size](int64_t tokens) { return (tokens + size - 1) / size; };
    return 1 + std::max(pages_of(longest_prompt),
                        options_.num_requests * pages_of(options_.num_generated + 1));
  }

  void run(int32_t num_requests, int32_t prompt_size, int32_t num_generated, uint32_t seed) {
    for (int32_t i = 0; i < num_requests; i++)
      runner_->add(random_prompt(prompt_size, vocab_size_, seed + static_cast<uint32_t>(i)),
                   {.max_tokens = num_generated, .ignore_eos = true});
    runner_->run();
    runner_->take_finished();
  }

  // once(seed) returns tokens per second.
  Json measure(const std::string& name, const std::function<double(uint32_t)>& once) {
    once(0);  // memory is touched, and products are made for new numbers of rows
    std::vector<double> rates;
    for (int i = 0; i < options_.repeats; i++) rates.push_back(once(static_cast<uint32_t>(i)));
    std::sort(rates.begin(), rates.end());
    return {{"case", name},
            {"tokens_per_second_best", rates.back()},
            {"tokens_per_second_median", rates[rates.size() / 2]}};
  }

  BenchOptions options_;
  int64_t vocab_size_;
  std::unique_ptr<engine::Runner> runner_;
};

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("bench", "measure how fast a model runs here");
  const auto options = std::make_shared<BenchOptions>();
  add_model_options(command, options->model);
  add_device_option(command, options->model.runner.device);
  command.add_option("--prompts", options->prompts, "lengths of prompts, in tokens")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--generate", options->num_generated, "tokens of each text; 1: none")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--requests", options->num_requests, "texts at once, besides one alone")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command.add_option("--repeats", options->repeats, "of each case")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command.callback([options] {
    const LoadedModel model = open_model(options->model.model);
    std::cout << ModelBench(model, *options).all().dump(2) << "\n";
  });
}

}  // namespace pagoda::cli
