// The flags of every command that loads a model, and the loading.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>

#include "engine/runner.h"

namespace pagoda::cli {

struct ModelOptions {
  std::string model;
  std::string dtype;  // empty: f32, on a CUDA device bf16
  std::string kv_format = "same";
  std::string kv_same_layers;  // "0,11", "sliding" or both
  engine::RunnerOptions runner;
  std::string cascade = "auto";
  bool no_prefix_cache = false;
  bool context_parallel = false;
  bool tensor_parallel = false;
  int32_t comm_timeout_ms = 0;  // 0: the communicator's own
  bool quiet = false;           // no bars, no figures
};

// --model alone.
void add_model_option(CLI::App& command, std::string& model);

void add_model_options(CLI::App& command, ModelOptions& options);

// --device, of commands that run a model through the runner.
void add_device_option(CLI::App& command, engine::Device& device);

// "f32", "f16" or "bf16", which the flags have been checked to be; f32 if empty.
pagoda_dtype dtype_of(const std::string& name);

// The formats by the names that the flags take.
const std::map<std::string, pagoda_kv_format>& kv_formats();

// Errors: kInvalidArgument for a list of layers that cannot be read.
engine::KvChoice kv_choice_of(const ModelOptions& options);

// A model, opened and ready; the parts refer to each other.
struct LoadedModel {
  engine::ModelFile file;
  engine::Tokenizer tokenizer;
};

// A path, or the name of a pulled model.
LoadedModel open_model(const std::string& path_or_name);

// max_tokens: of the longest sequence to come, for the size of the page cache; 0: the context.
std::unique_ptr<engine::Runner> make_runner(const LoadedModel& model, const ModelOptions& options,
                                            int32_t max_seq_len, int32_t num_sequences);

}  // namespace pagoda::cli
