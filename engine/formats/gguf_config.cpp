// ModelConfig from GGUF metadata. Keys of the model begin with the architecture's name.
#include <algorithm>
#include <string>

#include "engine/error.h"
#include "engine/formats/config_readers.h"
#include "engine/formats/quants.h"
#include "engine/formats/quoted.h"
#include "engine/formats/rope_scaling.h"

namespace pagoda::engine {
namespace {

constexpr int64_t kMaxLayersRead = 1024;   // before the per-layer table is allocated
constexpr int64_t kSmolLm3RopePeriod = 4;  // every fourth layer has no position encoding

Architecture architecture_of(std::string_view name, const std::string& where) {
  if (name == "llama") return Architecture::kLlama;
  if (name == "qwen2") return Architecture::kQwen2;
  if (name == "qwen3") return Architecture::kQwen3;
  if (name == "smollm3") return Architecture::kSmolLm3;
  fail(ErrorKind::kUnsupported, where, " has the architecture ", quoted(name),
       "; llama, qwen2, qwen3 and smollm3 are supported");
}

// The metadata of one model, with the architecture's prefix put in front of each key.
class Keys {
 public:
  explicit Keys(const GgufFile& file) : file_(file) {
    const auto name = file.find_string("general.architecture");
    require(name.has_value(), ErrorKind::kNotFound, where(),
            " has no metadata 'general.architecture'");
    prefix_ = std::string(*name) + ".";
  }

  std::string where() const { return file_.path().string(); }
  std::string_view architecture() const { return {prefix_.data(), prefix_.size() - 1}; }

  std::optional<int64_t> find_int(const char* key) const { return file_.find_int(prefix_ + key); }
  std::optional<double> find_float(const char* key) const {
    return file_.find_float(prefix_ + key);
  }
  std::optional<std::string_view> find_string(const char* key) const {
    return file_.find_string(prefix_ + key);
  }

  int64_t need_int(const char* key) const {
    const auto value = find_per_layer(key);
    require(value.has_value(), ErrorKind::kNotFound, where(), " has no metadata '", prefix_, key,
            "'");
    return *value;
  }

  double need_float(const char* key) const {
    const auto value = find_float(key);
    require(value.has_value(), ErrorKind::kNotFound, where(), " has no metadata '", prefix_, key,
            "'");
    return *value;
  }

  // A number, or an array with the same number for every layer.
  std::optional<int64_t> find_per_layer(const char* key) const {
    if (!file_.is_array(prefix_ + key)) return find_int(key);
    const auto values = file_.find_ints(prefix_ + key);
    const bool equal =
        !values->empty() && std::all_of(values->begin(), values->end(),
                                        [&](int64_t v) { return v == values->front(); });
    require(equal, ErrorKind::kUnsupported, where(), ": metadata '", prefix_, key,
            "' differs between layers, which is not supported");
    return values->front();
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

// Llama 3.1 files carry their scaling as a tensor of divisors.
std::vector<float> stored_factors(const GgufFile& file) {
  const TensorView* tensor = file.find_tensor("rope_freqs.weight");
  if (tensor == nullptr) return {};
  require(tensor->type == TensorType::kF32, ErrorKind::kUnsupported, file.path().string(),
          ": rope_freqs.weight is ", traits(tensor->type).name, ", F32 is read");
  std::vector<float> factors(static_cast<size_t>(tensor->num_elements()));
  dequantize(tensor->type, tensor->bytes, factors);
  return factors;
}

void add_yarn(RopeConfig& rope, const Keys& keys, double factor) {
  YarnScaling yarn{.factor = factor};
  const auto original = keys.find_int("rope.scaling.original_context_length");
  yarn.original_context = static_cast<double>(original.value_or(keys.need_int("context_length")));
  yarn.beta_fast = keys.find_float("rope.scaling.yarn_beta_fast").value_or(yarn.beta_fast);
  yarn.beta_slow = keys.find_float("rope.scaling.yarn_beta_slow").value_or(yarn.beta_slow);
  rope.frequency_factors = yarn_factors(rope.num_dims, rope.theta, yarn);
  const double attention = keys.find_float("rope.scaling.attn_factor").value_or(1.0);
  rope.magnitude = yarn_magnitude(factor) * static_cast<float>(attention);
}

RopeConfig read_rope(const GgufFile& file, const Keys& keys, const ModelConfig& config) {
  RopeConfig rope;
  const bool permuted =
      config.architecture == Architecture::kLlama || config.architecture == Architecture::kSmolLm3;
  rope.style = permuted ? RopeStyle::kInterleaved : RopeStyle::kHalves;
  rope.num_dims = keys.find_int("rope.dimension_count").value_or(config.head_dim);
  require(rope.num_dims >= 2 && rope.num_dims <= config.head_dim, ErrorKind::kMalformed,
          keys.where(), ": ", rope.num_dims, " rotated dimensions of head_dim ", config.head_dim);
  rope.theta = keys.find_float("rope.freq_base").value_or(10000.0);
  rope.frequency_factors = stored_factors(file);

  const std::string_view scaling = keys.find_string("rope.scaling.type").value_or("none");
  const double old_linear = keys.find_float("rope.scale_linear").value_or(1.0);
  const double factor = keys.find_float("rope.scaling.factor").value_or(old_linear);
  if (scaling == "none" && old_linear == 1.0) return rope;
  require(scaling == "none" || scaling == "linear" || scaling == "yarn", ErrorKind::kUnsupported,
          keys.where(), " has the rope scaling ", quoted(scaling),
          "; linear, yarn and stored factors are supported");
  require(rope.frequency_factors.empty(), ErrorKind::kUnsupported, keys.where(),
          " has both stored rope factors and the rope scaling ", quoted(scaling));
  require(factor > 0, ErrorKind::kMalformed, keys.where(), ": the rope scaling factor is ", factor,
          ", it must be positive");
  if (scaling == "yarn")
    add_yarn(rope, keys, factor);
  else
    rope.frequency_factors = linear_factors(rope.num_dims, factor);
  return rope;
}

std::vector<LayerConfig> read_layers(const Keys& keys, const ModelConfig& config) {
  require(config.num_layers >= 1 && config.num_layers <= kMaxLayersRead, ErrorKind::kLimit,
          keys.where(), ": ", config.num_layers, " layers, 1 to ", kMaxLayersRead, " are read");
  std::vector<LayerConfig> layers(static_cast<size_t>(config.num_layers));
  const int64_t window = keys.find_per_layer("attention.sliding_window").value_or(0);
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].sliding_window = window;
    if (config.architecture == Architecture::kSmolLm3)
      layers[i].use_rope = (i + 1) % kSmolLm3RopePeriod != 0;
  }
  return layers;
}

void read_sizes(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  config.num_layers = keys.need_int("block_count");
  config.hidden_size = keys.need_int("embedding_length");
  config.ffn_size = keys.need_int("feed_forward_length");
  config.context_length = keys.need_int("context_length");
  config.num_heads = keys.need_int("attention.head_count");
  config.num_kv_heads = keys.find_per_layer("attention.head_count_kv").value_or(config.num_heads);
  require(config.num_heads >= 1, ErrorKind::kMalformed, keys.where(), ": ", config.num_heads,
          " attention heads");
  config.head_dim =
      keys.find_int("attention.key_length").value_or(config.hidden_size / config.num_heads);
  const int64_t head_dim_v = keys.find_int("attention.value_length").value_or(config.head_dim);
  require(head_dim_v == config.head_dim, ErrorKind::kUnsupported, keys.where(), ": keys of ",
          config.head_dim, " and values of ", head_dim_v, " elements per head");
  config.norm_epsilon = static_cast<float>(keys.need_float("attention.layer_norm_rms_epsilon"));
  const TensorView* embedding = file.find_tensor("token_embd.weight");
  require(embedding != nullptr && embedding->shape.size() == 2, ErrorKind::kNotFound, keys.where(),
          " has no matrix token_embd.weight, so it is no complete model");
  config.vocab_size = embedding->shape[0];
}

}  // namespace

SpecialTokens read_gguf_special_tokens(const GgufFile& file) {
  const auto id_of = [&](const char* key) -> std::optional<int32_t> {
    const auto id = file.find_int(key);
    if (!id) return std::nullopt;
    if (*id < 0 || *id > INT32_MAX) return std::nullopt;  // some files write -1 for "none"
    return static_cast<int32_t>(*id);
  };
  SpecialTokens special;
  special.bos = id_of("tokenizer.ggml.bos_token_id");
  special.eos = id_of("tokenizer.ggml.eos_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"})
    if (const auto id = id_of(key)) special.stop.push_back(*id);
  std::sort(special.stop.begin(), special.stop.end());
  special.stop.erase(std::unique(special.stop.begin(), special.stop.end()), special.stop.end());
  // Without a flag, SentencePiece vocabularies start with bos and byte-level ones do not, except
  // that Llama 3's byte-level one does.
  const auto model = file.find_string("tokenizer.ggml.model").value_or("");
  const auto pre = file.find_string("tokenizer.ggml.pre").value_or("");
  const bool by_default = model == "llama" || pre == "llama-bpe" || pre == "llama3";
  special.add_bos = file.find_bool("tokenizer.ggml.add_bos_token").value_or(by_default);
  special.add_eos = file.find_bool("tokenizer.ggml.add_eos_token").value_or(false);
  return special;
}

ModelConfig read_gguf_config(const GgufFile& file) {
  const Keys keys(file);
  ModelConfig config;
  config.architecture = architecture_of(keys.architecture(), keys.where());
  config.name = std::string(file.find_string("general.name").value_or(""));
  require(file.find_int("split.count").value_or(1) <= 1, ErrorKind::kUnsupported, keys.where(),
          " is one of several parts of a model; join them with llama-gguf-split --merge");
  require(keys.find_int("expert_count").value_or(0) == 0, ErrorKind::kUnsupported, keys.where(),
          " is a mixture of experts, which is not supported");
  read_sizes(file, keys, config);
  config.rope = read_rope(file, keys, config);
  config.layers = read_layers(keys, config);
  config.tied_embeddings = file.find_tensor("output.weight") == nullptr;
  config.qk_norm = config.architecture == Architecture::kQwen3;
  config.special = read_gguf_special_tokens(file);
  add_biases(config, [&](std::string_view name) { return file.find_tensor(name) != nullptr; });
  check_config(config, keys.where());
  return config;
}

}  // namespace pagoda::engine
