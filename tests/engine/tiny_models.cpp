// See tiny_models.h.
#include "tests/engine/tiny_models.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <random>

namespace pagoda::engine {
namespace {

using nlohmann::ordered_json;

constexpr int kHeadDim = 4, kHeads = 2, kKvHeads = 1;

struct Weight {
  std::string gguf, hugging_face;
  std::vector<uint64_t> shape;  // outermost first
};

std::vector<Weight> weights() {
  std::vector<Weight> all = {
      {"token_embd.weight", "model.embed_tokens.weight", {kTinyVocab, kTinyHidden}},
      {"output_norm.weight", "model.norm.weight", {kTinyHidden}},
  };
  for (int layer = 0; layer < kTinyLayers; ++layer) {
    const std::string g = "blk." + std::to_string(layer) + ".";
    const std::string h = "model.layers." + std::to_string(layer) + ".";
    all.push_back({g + "attn_norm.weight", h + "input_layernorm.weight", {kTinyHidden}});
    all.push_back(
        {g + "attn_q.weight", h + "self_attn.q_proj.weight", {kHeads * kHeadDim, kTinyHidden}});
    all.push_back(
        {g + "attn_k.weight", h + "self_attn.k_proj.weight", {kKvHeads * kHeadDim, kTinyHidden}});
    all.push_back(
        {g + "attn_v.weight", h + "self_attn.v_proj.weight", {kKvHeads * kHeadDim, kTinyHidden}});
    all.push_back({g + "attn_output.weight",
                   h + "self_attn.o_proj.weight",
                   {kTinyHidden, kHeads * kHeadDim}});
    all.push_back({g + "ffn_norm.weight", h + "post_attention_layernorm.weight", {kTinyHidden}});
    all.push_back({g + "ffn_gate.weight", h + "mlp.gate_proj.weight", {kTinyFfn, kTinyHidden}});
    all.push_back({g + "ffn_up.weight", h + "mlp.up_proj.weight", {kTinyFfn, kTinyHidden}});
    all.push_back({g + "ffn_down.weight", h + "mlp.down_proj.weight", {kTinyHidden, kTinyFfn}});
  }
  return all;
}

std::string data_of(const Weight& weight) {
  size_t count = 1;
  for (uint64_t dim : weight.shape) count *= dim;
  std::string bytes;
  for (float value : tiny_values(weight.gguf, count)) bytes += raw(value);
  return bytes;
}

const std::vector<std::string>& pieces() {  // in the order of their merging
  static const std::vector<std::string> kPieces = {"▁",  "a",  "b",   "c",  "h",  "i",
                                                   "ab", "▁a", "▁ab", "hi", "▁hi"};
  return kPieces;
}

std::string byte_piece(int byte) {
  char text[8];
  std::snprintf(text, sizeof text, "<0x%02X>", byte);
  return text;
}

std::vector<std::string> vocabulary() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_piece(byte));
  tokens.insert(tokens.end(), pieces().begin(), pieces().end());
  return tokens;
}

void add_gguf_vocabulary(GgufWriter& gguf) {
  std::vector<float> scores(kTinyVocab, 0.0f);
  std::vector<int32_t> types(kTinyVocab, 1);
  types[0] = 2;
  types[1] = types[2] = 3;
  for (size_t i = 3; i < 259; ++i) types[i] = 6;
  for (size_t i = 259; i < kTinyVocab; ++i) scores[i] = -static_cast<float>(i - 259);
  gguf.add_string("tokenizer.ggml.model", "llama");
  gguf.add_strings("tokenizer.ggml.tokens", vocabulary());
  gguf.add_numbers("tokenizer.ggml.scores", kF32, scores);
  gguf.add_numbers("tokenizer.ggml.token_type", kI32, types);
  gguf.add_u32("tokenizer.ggml.bos_token_id", 1);
  gguf.add_u32("tokenizer.ggml.eos_token_id", 2);
  gguf.add_u32("tokenizer.ggml.unknown_token_id", 0);
  gguf.add_bool("tokenizer.ggml.add_bos_token", true);
}

ordered_json json_vocabulary() {
  ordered_json vocab;
  int id = 0;
  for (const std::string& token : vocabulary()) vocab[token] = id++;
  const auto added = [](int token, const char* text) {
    return ordered_json{{"id", token}, {"content", text}, {"special", true}};
  };
  const ordered_json space = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}};
  const ordered_json prepend = {{"type", "Prepend"}, {"prepend", "▁"}};
  ordered_json root;
  root["added_tokens"] = {added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")};
  root["normalizer"] = {{"type", "Sequence"}, {"normalizers", {prepend, space}}};
  root["pre_tokenizer"] = nullptr;
  root["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}}};
  root["model"] = {{"type", "BPE"},
                   {"unk_token", "<unk>"},
                   {"byte_fallback", true},
                   {"vocab", std::move(vocab)},
                   {"merges", {"a b", "▁ a", "▁ ab", "h i", "▁ hi"}}};
  return root;
}

}  // namespace

std::vector<float> tiny_values(const std::string& gguf_name, size_t count) {
  uint32_t seed = 1;
  for (char c : gguf_name) seed = seed * 31 + static_cast<uint8_t>(c);
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  return values;
}

GgufWriter tiny_gguf() {
  GgufWriter gguf;
  gguf.add_string("general.architecture", "llama");
  gguf.add_string("general.name", "tiny");
  gguf.add_u32("llama.block_count", kTinyLayers);
  gguf.add_u32("llama.context_length", 64);
  gguf.add_u32("llama.embedding_length", kTinyHidden);
  gguf.add_u32("llama.feed_forward_length", kTinyFfn);
  gguf.add_u32("llama.attention.head_count", kHeads);
  gguf.add_u32("llama.attention.head_count_kv", kKvHeads);
  gguf.add_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  gguf.add_f32("llama.rope.freq_base", 10000.0f);
  gguf.add_u32("llama.rope.dimension_count", kHeadDim);
  add_gguf_vocabulary(gguf);
  for (const Weight& weight : weights())
    gguf.tensors.push_back({.name = weight.gguf,
                            .dims = {weight.shape.rbegin(), weight.shape.rend()},
                            .type = 0,
                            .data = data_of(weight)});
  return gguf;
}

TinyFolder::TinyFolder() {
  config = {{"model_type", "llama"},
            {"hidden_act", "silu"},
            {"num_hidden_layers", kTinyLayers},
            {"hidden_size", kTinyHidden},
            {"intermediate_size", kTinyFfn},
            {"num_attention_heads", kHeads},
            {"num_key_value_heads", kKvHeads},
            {"max_position_embeddings", 64},
            {"vocab_size", kTinyVocab},
            {"rms_norm_eps", 1e-5},
            {"rope_theta", 10000.0},
            {"rope_scaling", nullptr},
            {"tie_word_embeddings", true},
            {"bos_token_id", 1},
            {"eos_token_id", 2}};
  tokenizer = json_vocabulary();
  tokenizer_config = {{"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}};
  for (const Weight& weight : weights()) {
    const size_t begin = data.size();
    data += data_of(weight);
    directory[weight.hugging_face] = {
        {"dtype", "F32"}, {"shape", weight.shape}, {"data_offsets", {begin, data.size()}}};
  }
}

std::string TinyFolder::safetensors() const {
  return safetensors_bytes(directory.dump(), data);
}

void TinyFolder::write(const std::filesystem::path& folder) const {
  write_file(folder / "config.json", config.dump());
  write_file(folder / "tokenizer.json", tokenizer.dump());
  write_file(folder / "tokenizer_config.json", tokenizer_config.dump());
  write_file(folder / "model.safetensors", safetensors());
  for (const auto& [name, bytes] : more) {
    std::filesystem::remove(folder / name);
    if (!bytes.empty()) write_file(folder / name, bytes);
  }
}

std::string safetensors_bytes(const std::string& directory, const std::string& data) {
  return raw<uint64_t>(directory.size()) + directory + data;
}

std::filesystem::path test_folder(const std::string& name) {
  const auto folder = std::filesystem::path(testing::TempDir()) /
                      ("pagoda_" + std::to_string(getpid()) + "_" + name);
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good()) << path;
}

}  // namespace pagoda::engine
