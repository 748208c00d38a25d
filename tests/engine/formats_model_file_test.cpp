// Valid models: what the two formats say, and that they say the same.
#include <gtest/gtest.h>

#include <chrono>

#include "engine/error.h"
#include "engine/formats/gguf.h"
#include "engine/formats/model_file.h"
#include "engine/formats/quants.h"
#include "engine/formats/rope_scaling.h"
#include "tests/engine/damaged_case.h"
#include "tests/engine/test_data.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

std::filesystem::path write_gguf(const GgufWriter& gguf) {
  const std::filesystem::path path = test_folder("gguf") / "model.gguf";
  write_file(path, gguf.file());
  return path;
}

std::filesystem::path write_folder(const TinyFolder& tiny) {
  const std::filesystem::path folder = test_folder("folder");
  tiny.write(folder);
  return folder;
}

std::vector<float> values_of(const ModelFile& model, std::string_view name) {
  const TensorView tensor = model.tensor(name);
  std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
  dequantize(tensor.type, tensor.bytes, values);
  return values;
}

void expect_tiny_config(const ModelConfig& config) {
  EXPECT_EQ(config.architecture, Architecture::kLlama);
  EXPECT_EQ(config.num_layers, kTinyLayers);
  EXPECT_EQ(config.hidden_size, kTinyHidden);
  EXPECT_EQ(config.ffn_size, kTinyFfn);
  EXPECT_EQ(config.num_heads, 2);
  EXPECT_EQ(config.num_kv_heads, 1);
  EXPECT_EQ(config.head_dim, 4);
  EXPECT_EQ(config.vocab_size, kTinyVocab);
  EXPECT_EQ(config.context_length, 64);
  EXPECT_EQ(config.norm_epsilon, 1e-5f);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_FALSE(config.qk_norm || config.qkv_bias || config.output_bias);
  EXPECT_EQ(config.rope.num_dims, 4);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_TRUE(config.rope.frequency_factors.empty());
  ASSERT_EQ(config.layers.size(), 2u);
  EXPECT_EQ(config.layers[1].sliding_window, 0);
  EXPECT_TRUE(config.layers[1].use_rope);
  EXPECT_EQ(config.special.bos, 1);
  EXPECT_EQ(config.special.eos, 2);
  EXPECT_EQ(config.special.stop, std::vector<int32_t>{2});
}

void expect_tiny_tensors(const ModelFile& model) {
  const std::vector<std::string> names = model.tensor_names();
  EXPECT_EQ(names.size(), 20u);
  for (const std::string& name : names) {
    const std::vector<float> values = values_of(model, name);
    EXPECT_EQ(values, tiny_values(name, values.size())) << name;
  }
  EXPECT_EQ(model.tensor("blk.1.ffn_up.weight").shape, (std::vector<int64_t>{12, 8}));
  expect_error([&] { model.tensor("blk.9.ffn_up.weight"); }, ErrorKind::kNotFound,
               "has no tensor 'blk.9.ffn_up.weight'");
}

TEST(ModelFile, ReadsGguf) {
  GgufWriter gguf = tiny_gguf();
  gguf.add_string("tokenizer.chat_template", "{{ messages }}");
  const ModelFile model = ModelFile::open(write_gguf(gguf));
  expect_tiny_config(model.config());
  EXPECT_EQ(model.config().name, "tiny");
  EXPECT_EQ(model.config().rope.style, RopeStyle::kInterleaved);
  EXPECT_TRUE(model.config().special.add_bos);
  EXPECT_EQ(model.chat_template(), "{{ messages }}");
  EXPECT_NE(model.gguf(), nullptr);
  EXPECT_EQ(model.tensor_bytes(), (270 * 8 + 8 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 3 * 96)) * 4);
  expect_tiny_tensors(model);
}

TEST(ModelFile, ReadsVersion2AndOtherAlignments) {
  GgufWriter gguf = tiny_gguf();
  gguf.version = 2;
  gguf.alignment = 8;
  gguf.add_u32("general.alignment", 8);
  expect_tiny_tensors(ModelFile::open(write_gguf(gguf)));
}

TEST(ModelFile, ReadsTensorsInAnyOrder) {
  GgufWriter gguf = tiny_gguf();
  uint64_t offset = 0;  // the data stays where it is, the directory is turned round
  std::string data;
  for (GgufTensor& tensor : gguf.tensors) {
    tensor.offset = offset;
    data += tensor.data;
    offset = data.size();
  }
  std::reverse(gguf.tensors.begin(), gguf.tensors.end());
  gguf.add_u32("general.alignment", 4);
  gguf.alignment = 4;
  std::string file = gguf.header();
  file.resize((file.size() + 3) / 4 * 4);
  const std::filesystem::path path = test_folder("order") / "model.gguf";
  write_file(path, file + data);
  expect_tiny_tensors(ModelFile::open(path));
}

TEST(ModelFile, ReadsAFolder) {
  const std::filesystem::path folder = write_folder(TinyFolder());
  const ModelFile model = ModelFile::open(folder);
  expect_tiny_config(model.config());
  EXPECT_EQ(model.config().rope.style, RopeStyle::kHalves);
  EXPECT_EQ(model.gguf(), nullptr);
  EXPECT_EQ(model.folder(), folder);
  expect_tiny_tensors(model);
  expect_tiny_tensors(ModelFile::open(folder / "model.safetensors"));
}

TEST(ModelFile, FindsTheOnlyGgufOfAFolder) {
  const std::filesystem::path path = write_gguf(tiny_gguf());
  expect_tiny_tensors(ModelFile::open(path.parent_path()));
  write_file(path.parent_path() / "second.gguf", "x");
  expect_error([&] { ModelFile::open(path.parent_path()); }, ErrorKind::kInvalidArgument,
               "holds 2 GGUF files");
  const std::filesystem::path empty = test_folder("empty");
  expect_error([&] { ModelFile::open(empty); }, ErrorKind::kNotFound, "holds no model");
  expect_error([&] { ModelFile::open(empty / "x.gguf"); }, ErrorKind::kNotFound,
               "there is no model at");
  expect_error([&] { ModelFile::open(""); }, ErrorKind::kNotFound, "there is no model at");
  write_file(empty / "x.safetensors", "x");
  expect_error([&] { ModelFile::open(empty / "x.safetensors"); }, ErrorKind::kNotFound,
               "has no config.json beside it");
}

TEST(ModelFile, ReadsTheChatTemplateOfAFolder) {
  TinyFolder tiny;
  tiny.tokenizer_config["chat_template"] = {{{"name", "tool_use"}, {"template", "t"}},
                                            {{"name", "default"}, {"template", "d"}}};
  EXPECT_EQ(ModelFile::open(write_folder(tiny)).chat_template(), "d");
  tiny.tokenizer_config["chat_template"] = "one";
  EXPECT_EQ(ModelFile::open(write_folder(tiny)).chat_template(), "one");
  tiny.more["chat_template.jinja"] = "file";
  EXPECT_EQ(ModelFile::open(write_folder(tiny)).chat_template(), "file");
}

TEST(ModelFile, SeesThatAFileWasShortened) {
  const std::filesystem::path path = write_gguf(tiny_gguf());
  const ModelFile model = ModelFile::open(path);
  EXPECT_NO_THROW(model.tensor("token_embd.weight"));
  std::filesystem::resize_file(path, 4096);
  expect_error([&] { model.tensor("token_embd.weight"); }, ErrorKind::kTruncated,
               "bytes when it was opened and has 4096 now");
}

TEST(ModelFile, ReadsBiasesAndNorms) {
  GgufWriter gguf = tiny_gguf();
  gguf.entry("general.architecture").payload = gguf_string("qwen3");
  for (GgufEntry& entry : gguf.entries)
    if (entry.key.starts_with("llama.")) entry.key.replace(0, 5, "qwen3");
  for (const char* layer : {"blk.0.", "blk.1."}) {
    for (const auto& [name, size] : {std::pair{"attn_q.bias", 8u},
                                     {"attn_k.bias", 4u},
                                     {"attn_v.bias", 4u},
                                     {"attn_output.bias", 8u},
                                     {"attn_q_norm.weight", 4u},
                                     {"attn_k_norm.weight", 4u}})
      gguf.tensors.push_back({.name = std::string(layer) + name,
                              .dims = {size},
                              .type = 0,
                              .data = std::string(size * 4, '\0')});
  }
  const ModelConfig config = ModelFile::open(write_gguf(gguf)).config();
  EXPECT_EQ(config.architecture, Architecture::kQwen3);
  EXPECT_EQ(config.rope.style, RopeStyle::kHalves);
  EXPECT_TRUE(config.qk_norm && config.qkv_bias && config.output_bias);
}

TEST(ModelFile, ReadsWindowsAndLayersWithoutRope) {
  TinyFolder tiny;
  tiny.config["model_type"] = "mistral";
  tiny.config["sliding_window"] = 16;
  ModelConfig config = ModelFile::open(write_folder(tiny)).config();
  EXPECT_EQ(config.layers[0].sliding_window, 16);
  EXPECT_EQ(config.layers[1].sliding_window, 16);

  tiny.config["model_type"] = "qwen2";
  EXPECT_EQ(ModelFile::open(write_folder(tiny)).config().layers[1].sliding_window, 0);
  tiny.config["use_sliding_window"] = true;
  tiny.config["max_window_layers"] = 1;
  config = ModelFile::open(write_folder(tiny)).config();
  EXPECT_EQ(config.layers[0].sliding_window, 0);
  EXPECT_EQ(config.layers[1].sliding_window, 16);

  tiny.config["layer_types"] = {"sliding_attention", "full_attention"};
  tiny.config["model_type"] = "smollm3";
  tiny.config["no_rope_layers"] = {1, 0};
  config = ModelFile::open(write_folder(tiny)).config();
  EXPECT_EQ(config.layers[0].sliding_window, 16);
  EXPECT_EQ(config.layers[1].sliding_window, 0);
  EXPECT_TRUE(config.layers[0].use_rope);
  EXPECT_FALSE(config.layers[1].use_rope);
}

TEST(ModelFile, CollectsStopTokens) {
  TinyFolder tiny;
  tiny.config["eos_token_id"] = {2, 7};
  tiny.more["generation_config.json"] = R"({"eos_token_id": [5, 2], "bos_token_id": 3})";
  const SpecialTokens special = ModelFile::open(write_folder(tiny)).config().special;
  EXPECT_EQ(special.stop, (std::vector<int32_t>{2, 5, 7}));
  EXPECT_EQ(special.eos, 2);
  EXPECT_EQ(special.bos, 3);
}

TEST(ModelFile, ReadsBfloatAndHalf) {
  TinyFolder tiny;
  // 1.5 as bfloat and as half, in place of the first norm's floats.
  std::string& data = tiny.data;
  const size_t begin = tiny.directory["model.norm.weight"]["data_offsets"][0];
  data.erase(begin + 16, 16);
  for (auto& [name, tensor] : tiny.directory.items()) {
    size_t first = tensor["data_offsets"][0], last = tensor["data_offsets"][1];
    if (last > begin) tensor["data_offsets"] = {first > begin ? first - 16 : first, last - 16};
  }
  for (const auto& [dtype, bits] :
       {std::pair<const char*, uint16_t>{"BF16", 0x3FC0}, {"F16", 0x3E00}}) {
    tiny.directory["model.norm.weight"]["dtype"] = dtype;
    for (size_t i = 0; i < 8; ++i) data.replace(begin + 2 * i, 2, raw(bits));
    const ModelFile model = ModelFile::open(write_folder(tiny));
    EXPECT_EQ(values_of(model, "output_norm.weight"), std::vector<float>(8, 1.5f)) << dtype;
  }
}

TEST(ModelFile, ReadsRopeScalingInEveryForm) {
  GgufWriter gguf = tiny_gguf();
  gguf.add_string("llama.rope.scaling.type", "linear");
  gguf.add_f32("llama.rope.scaling.factor", 4.0f);
  const std::vector<float> fours = {4.0f, 4.0f};
  EXPECT_EQ(ModelFile::open(write_gguf(gguf)).config().rope.frequency_factors, fours);

  gguf.entry("llama.rope.scaling.type").payload = gguf_string("yarn");
  const RopeConfig yarn = ModelFile::open(write_gguf(gguf)).config().rope;
  EXPECT_FLOAT_EQ(yarn.magnitude, 1.0f + 0.1f * std::log(4.0f));
  EXPECT_EQ(yarn.frequency_factors.size(), 2u);

  GgufWriter stored = tiny_gguf();
  stored.tensors.push_back(
      {.name = "rope_freqs.weight", .dims = {2}, .type = 0, .data = raw(1.0f) + raw(8.0f)});
  const std::vector<float> factors = {1.0f, 8.0f};
  EXPECT_EQ(ModelFile::open(write_gguf(stored)).config().rope.frequency_factors, factors);

  TinyFolder tiny;
  tiny.config["rope_scaling"] = {{"rope_type", "llama3"},
                                 {"factor", 8.0},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", 64}};
  const RopeConfig llama3 = ModelFile::open(write_folder(tiny)).config().rope;
  // Frequencies 1 and 0.01 turn 10 and 0.1 times over 64 tokens: kept, and divided by 8.
  EXPECT_EQ(llama3.frequency_factors, factors);
  tiny.config.erase("rope_scaling");
  tiny.config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500.0}};
  EXPECT_EQ(ModelFile::open(write_folder(tiny)).config().rope.theta, 500.0);
}

TEST(RopeScaling, Llama3FactorsOfARealModel) {
  // Llama 3.1: head_dim 128, base 500000. The bands of its published configuration.
  const std::vector<float> factors = llama3_factors(128, 500000.0, {});
  ASSERT_EQ(factors.size(), 64u);
  for (size_t i = 0; i < 64; ++i) {
    const double wavelength = 2 * M_PI * std::pow(500000.0, static_cast<double>(i) / 64);
    if (wavelength < 8192.0 / 4) {
      EXPECT_EQ(factors[i], 1.0f) << i;
    } else if (wavelength > 8192.0) {
      EXPECT_EQ(factors[i], 8.0f) << i;
    } else {
      EXPECT_GT(factors[i], 1.0f) << i;
      EXPECT_LT(factors[i], 8.0f) << i;
    }
  }
}

TEST(RopeScaling, YarnKeepsFastAndDividesSlowDimensions) {
  const std::vector<float> factors =
      yarn_factors(128, 10000.0, {.factor = 16, .original_context = 4096});
  ASSERT_EQ(factors.size(), 64u);
  // floor and ceiling of 128 ln(4096 / (2 pi turns)) / (2 ln 10000) for 32 turns and for 1: 20, 46.
  for (size_t i = 0; i <= 20; ++i) EXPECT_EQ(factors[i], 1.0f) << i;
  for (size_t i = 21; i < 46; ++i) EXPECT_GT(factors[i], factors[i - 1]) << i;
  for (size_t i = 46; i < 64; ++i) EXPECT_EQ(factors[i], 16.0f) << i;
  EXPECT_FLOAT_EQ(factors[33], 1.0f / (0.5f + 0.5f / 16));
}

TEST(ModelFile, ReadsStories260K) {
  const auto path = shared_data("models/stories260K/stories260K.f32.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "stories260K is not on this machine";
  const ModelFile model = ModelFile::open(path);
  EXPECT_EQ(model.config().num_layers, 5);
  EXPECT_EQ(model.config().head_dim, 8);
  EXPECT_EQ(model.config().num_kv_heads, 4);
  EXPECT_EQ(model.config().vocab_size, 512);
  EXPECT_TRUE(model.config().special.add_bos);
  EXPECT_EQ(model.tensor_names().size(), 47u);
}

TEST(ModelFile, ReadsSmolLm2) {
  const auto path = smollm2_file();
  if (path.empty()) GTEST_SKIP() << "SmolLM2 is not here; `pagoda pull smollm2` fetches it";
  const ModelFile model = ModelFile::open(path);
  const ModelConfig& config = model.config();
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.num_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.rope.theta, 100000.0);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_FALSE(config.special.add_bos);
  EXPECT_EQ(model.tensor("token_embd.weight").type, TensorType::kQ8_0);
  EXPECT_EQ(model.tensor("blk.29.attn_q.weight").type, TensorType::kQ4_1);
  EXPECT_FALSE(model.chat_template().empty());
}

}  // namespace
}  // namespace pagoda::engine
