#include "tools/pagoda/model_options.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <system_error>

#include "engine/error.h"
#include "tools/pagoda/model_cache.h"
#include "tools/pagoda/processes.h"
#include "tools/pagoda/progress_bar.h"

namespace pagoda::cli {

void add_model_option(CLI::App& command, std::string& model) {
  command
      .add_option("--model", model,
                  "a .gguf file, a folder with safetensors, or the name of a pulled model")
      ->required();
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  engine::RunnerOptions& runner = options.runner;
  add_model_option(command, options.model);
  command.add_option("--threads", runner.num_threads, "0: every core this process may use")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  command.add_option("--backend", runner.backend, "of attention: cpu, reference")
      ->type_name("NAME");
  command
      .add_option("--isa", runner.isa,
                  "of attention on the CPU: scalar, avx2, avx512, amx, amx_fp16, neon")
      ->type_name("NAME");
  command
      .add_option("--product-isa", runner.product_isa,
                  "of matrix products: scalar, avx2, avx512, amx, neon")
      ->type_name("NAME");
  command.add_flag(
      "--expand-weights", runner.expand_weights,
      "multiply weights of 4 to 8 bits as floats: slower, and activations stay unrounded");
  command
      .add_option("--dtype", options.dtype,
                  "of attention and its cache, on a CUDA device of weights too")
      ->default_str("f32, on a CUDA device bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  command.add_option("--kv-format", options.kv_format, "of the cache; same: --dtype")
      ->capture_default_str()
      ->check(CLI::IsMember(kv_formats()));
  command.add_option("--kv-same-layers", options.kv_same_layers,
                     "layers whose cache is not quantised: 0,11 or sliding, or both");
  command.add_option("--kv-scales", runner.kv.scales_path,
                     "scales of heads and channels, a file of pagoda calibrate");
  command.add_option("--page-size", runner.page_size, "tokens per page, a multiple of 8")
      ->capture_default_str();
  command.add_option("--num-pages", runner.num_pages,
                     "pages of the cache, the null page included; 0: enough for every request");
  command.add_flag("--no-prefix-cache", options.no_prefix_cache,
                   "do not share the pages of equal beginnings");
  command
      .add_option("--cascade", options.cascade,
                  "read pages that requests share once for all: auto where it pays, always, never")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "always", "never"}));
  command
      .add_option("--prefill-chunk", runner.prefill_chunk, "tokens of a prompt read in one step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--max-requests", runner.max_reqs, "under way at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  auto* parallel =
      command.add_flag("--context-parallel", options.context_parallel,
                       "under mpirun: every process keeps a share of each sequence's keys");
  command
      .add_option("--interleave", runner.context_parallel.interleave,
                  "neighbouring tokens that one process keeps; divides --page-size")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20))
      ->needs(parallel);
  command
      .add_flag("--tensor-parallel", options.tensor_parallel,
                "under mpirun: every process has a share of the heads")
      ->excludes(parallel);
  command
      .add_option("--comm-timeout", options.comm_timeout_ms,
                  "milliseconds after which a process that does not answer is lost; 0: 4000")
      ->check(CLI::Range(0, 1 << 30));
}

void add_device_option(CLI::App& command, engine::Device& device) {
  static const std::map<std::string, engine::Device> devices{{"cpu", engine::Device::kCpu},
                                                             {"cuda", engine::Device::kCuda}};
  command.add_option("--device", device, "who computes: cpu, cuda")
      ->type_name("NAME")
      ->default_str("cpu")
      ->transform(CLI::CheckedTransformer(devices));
}

const std::map<std::string, pagoda_kv_format>& kv_formats() {
  static const std::map<std::string, pagoda_kv_format> formats{
      {"same", PAGODA_KV_SAME},
      {"fp8", PAGODA_KV_FP8_E4M3},
      {"fp8-token", PAGODA_KV_FP8_E4M3_TOKEN},
      {"int8", PAGODA_KV_INT8_TOKEN},
      {"int8-channel-v", PAGODA_KV_INT8_CHANNEL_V},
      {"int8-keys", PAGODA_KV_INT8_KEYS}};
  return formats;
}

engine::KvChoice kv_choice_of(const ModelOptions& options) {
  engine::KvChoice choice = options.runner.kv;
  choice.format = kv_formats().at(options.kv_format);
  std::istringstream words(options.kv_same_layers);
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "sliding") {
      choice.sliding_is_same = true;
      continue;
    }
    int layer = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), layer);
    engine::require(error == std::errc() && end == word.data() + word.size(),
                    engine::ErrorKind::kInvalidArgument, "--kv-same-layers has \"", word,
                    "\"; it is a list of layer numbers and the word sliding");
    choice.same_layers.push_back(layer);
  }
  return choice;
}

pagoda_dtype dtype_of(const std::string& name) {
  if (name == "f16") return PAGODA_F16;
  return name == "bf16" ? PAGODA_BF16 : PAGODA_F32;
}

LoadedModel open_model(const std::string& path_or_name) {
  engine::ModelFile file = engine::ModelFile::open(resolve_model(path_or_name));
  engine::Tokenizer tokenizer = engine::Tokenizer::from_model(file);
  return {.file = std::move(file), .tokenizer = std::move(tokenizer)};
}

std::unique_ptr<engine::Runner> make_runner(const LoadedModel& model, const ModelOptions& options,
                                            int32_t max_seq_len, int32_t num_sequences) {
  engine::RunnerOptions runner = options.runner;
  const bool on_cuda = runner.device == engine::Device::kCuda;
  runner.dtype = options.dtype.empty() && on_cuda ? PAGODA_BF16 : dtype_of(options.dtype);
  runner.kv = kv_choice_of(options);
  runner.prefix_cache = !options.no_prefix_cache;
  runner.cascade = options.cascade == "always" ? 1 : options.cascade == "never" ? -1 : 0;
  runner.max_reqs = std::min(runner.max_reqs, num_sequences);
  runner.max_seq_len = max_seq_len;
  if (options.context_parallel)
    runner.context_parallel.comm = join_processes(options.comm_timeout_ms);
  if (options.tensor_parallel)
    runner.tensor_parallel.comm = join_processes(options.comm_timeout_ms);
  ProgressBar bar("loading", !options.quiet);
  return std::make_unique<engine::Runner>(model.file, model.tokenizer, runner,
                                          [&](double share) { bar.show(share); });
}

}  // namespace pagoda::cli
