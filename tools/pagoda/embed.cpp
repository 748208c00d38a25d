// pagoda embed: sentence embeddings, and how similar sentences are.
#include <fstream>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/embed/embedder.h"
#include "engine/error.h"
#include "tools/pagoda/commands.h"
#include "tools/pagoda/model_cache.h"
#include "tools/pagoda/model_options.h"

namespace pagoda::cli {
namespace {

struct Flags {
  std::string model;
  std::vector<std::string> texts;
  std::string texts_file;
  engine::EmbedderOptions embedder;
  bool json = false, similarity = false;
};

std::vector<std::string> texts_of(const Flags& flags) {
  std::vector<std::string> texts = flags.texts;
  if (flags.texts_file.empty()) return texts;
  std::ifstream file(flags.texts_file);
  engine::require(file.good(), engine::ErrorKind::kNotFound, "the texts file ", flags.texts_file,
                  " cannot be read");
  for (std::string line; std::getline(file, line);) texts.push_back(line);
  return texts;
}

void print_json(const std::vector<std::string>& texts,
                const std::vector<engine::Embedding>& embeddings) {
  for (size_t i = 0; i < texts.size(); i++) {
    const nlohmann::ordered_json line = {{"text", texts[i]},
                                         {"tokens", embeddings[i].num_tokens},
                                         {"cut", embeddings[i].is_cut},
                                         {"embedding", embeddings[i].values}};
    std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  }
}

// A row for each text: its cosine with every text.
void print_similarity(const std::vector<engine::Embedding>& embeddings) {
  std::cout << std::fixed << std::setprecision(4);
  for (const engine::Embedding& a : embeddings) {
    const char* separator = "";
    for (const engine::Embedding& b : embeddings) {
      std::cout << separator << engine::similarity(a, b);
      separator = "\t";
    }
    std::cout << '\n';
  }
}

void print_values(const std::vector<engine::Embedding>& embeddings) {
  std::cout << std::setprecision(9);
  for (const engine::Embedding& embedding : embeddings)
    for (size_t i = 0; i < embedding.values.size(); i++)
      std::cout << embedding.values[i] << (i + 1 < embedding.values.size() ? ' ' : '\n');
}

void embed(const Flags& flags) {
  const std::vector<std::string> texts = texts_of(flags);
  engine::Embedder embedder(resolve_model(flags.model), flags.embedder);
  const std::vector<engine::Embedding> embeddings = embedder.embed(texts);
  if (flags.json)
    print_json(texts, embeddings);
  else if (flags.similarity)
    print_similarity(embeddings);
  else
    print_values(embeddings);
}

}  // namespace

void add_embed(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("embed", "embeddings of sentences by a BERT encoder, one a line");
  const auto flags = std::make_shared<Flags>();
  command
      ->add_option("--model", flags->model,
                   "a folder with config.json, tokenizer.json and safetensors, or minilm")
      ->required();
  auto* text = command->add_option("--text", flags->texts, "a sentence; may be repeated")
                   ->allow_extra_args(false);
  auto* file = command->add_option("--texts-file", flags->texts_file, "a sentence per line");
  command->add_option("--threads", flags->embedder.num_threads, "0: every core")
      ->check(CLI::Range(0, 1024));
  command->add_option("--backend", flags->embedder.backend, "of attention: cpu, reference")
      ->type_name("NAME");
  command
      ->add_option("--isa", flags->embedder.isa,
                   "of attention on the CPU: scalar, avx2, avx512, amx, amx_fp16, neon")
      ->type_name("NAME");
  auto* json = command->add_flag("--json", flags->json, "a line of JSON for each text");
  command
      ->add_flag("--similarity", flags->similarity,
                 "in place of the embeddings the cosine of every pair of texts")
      ->excludes(json);
  command->callback([flags, text, file] {
    if (text->count() == 0 && file->count() == 0)
      throw CLI::RequiredError("--text or --texts-file");
    embed(*flags);
  });
}

}  // namespace pagoda::cli
