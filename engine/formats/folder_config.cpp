// ModelConfig from the JSON files of a Hugging Face folder.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/formats/config_readers.h"
#include "engine/formats/json_file.h"
#include "engine/formats/mapped_file.h"
#include "engine/formats/quoted.h"
#include "engine/formats/rope_scaling.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;

constexpr int64_t kMaxLayersRead = 1024;  // before the per-layer table is allocated
constexpr int64_t kMaxTemplateBytes = int64_t{1} << 20;

// One JSON object, asked by key. null counts as absent, as in Python's configurations.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    require(object.is_object(), ErrorKind::kMalformed, where_, " is not a JSON object");
  }

  const std::string& where() const { return where_; }

  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<int64_t> find_int(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    const bool fits = value->is_number_integer() &&
                      (!value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX);
    require(fits, ErrorKind::kMalformed, where_, ": '", key, "' is not an integer");
    return value->get<int64_t>();
  }

  std::optional<double> find_float(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    require(value->is_number(), ErrorKind::kMalformed, where_, ": '", key, "' is not a number");
    return value->get<double>();
  }

  std::optional<bool> find_bool(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    require(value->is_boolean(), ErrorKind::kMalformed, where_, ": '", key,
            "' is not true or false");
    return value->get<bool>();
  }

  std::optional<std::string> find_string(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    require(value->is_string(), ErrorKind::kMalformed, where_, ": '", key, "' is not a string");
    return value->get<std::string>();
  }

  int64_t need_int(const char* key) const {
    const auto value = find_int(key);
    require(value.has_value(), ErrorKind::kNotFound, where_, " has no '", key, "'");
    return *value;
  }

  double need_float(const char* key) const {
    const auto value = find_float(key);
    require(value.has_value(), ErrorKind::kNotFound, where_, " has no '", key, "'");
    return *value;
  }

 private:
  const json& object_;
  std::string where_;
};

Architecture architecture_of(const std::string& model_type, const std::string& where) {
  if (model_type == "llama" || model_type == "mistral") return Architecture::kLlama;
  if (model_type == "qwen2") return Architecture::kQwen2;
  if (model_type == "qwen3") return Architecture::kQwen3;
  if (model_type == "smollm3") return Architecture::kSmolLm3;
  fail(ErrorKind::kUnsupported, where, " has the model_type ", quoted(model_type),
       "; llama, mistral, qwen2, qwen3 and smollm3 are supported");
}

void add_scaling(RopeConfig& rope, const Fields& scaling, int64_t context_length) {
  const auto kind =
      scaling.find_string("rope_type").value_or(scaling.find_string("type").value_or("default"));
  if (kind == "default") return;
  const double factor = scaling.need_float("factor");
  require(factor > 0, ErrorKind::kMalformed, scaling.where(), ": the rope scaling factor is ",
          factor, ", it must be positive");
  const auto original = static_cast<double>(
      scaling.find_int("original_max_position_embeddings").value_or(context_length));
  if (kind == "linear") {
    rope.frequency_factors = linear_factors(rope.num_dims, factor);
  } else if (kind == "llama3") {
    rope.frequency_factors =
        llama3_factors(rope.num_dims, rope.theta,
                       {.factor = factor,
                        .low_frequency_factor = scaling.need_float("low_freq_factor"),
                        .high_frequency_factor = scaling.need_float("high_freq_factor"),
                        .original_context = original});
  } else if (kind == "yarn") {
    YarnScaling yarn{.factor = factor, .original_context = original};
    yarn.beta_fast = scaling.find_float("beta_fast").value_or(yarn.beta_fast);
    yarn.beta_slow = scaling.find_float("beta_slow").value_or(yarn.beta_slow);
    rope.frequency_factors = yarn_factors(rope.num_dims, rope.theta, yarn);
    rope.magnitude =
        static_cast<float>(scaling.find_float("attention_factor").value_or(yarn_magnitude(factor)));
  } else {
    fail(ErrorKind::kUnsupported, scaling.where(), " has the rope scaling ", quoted(kind),
         "; linear, llama3 and yarn are supported");
  }
}

// Older files have rope_theta and rope_scaling, newer ones both in rope_parameters.
RopeConfig read_rope(const Fields& fields, const ModelConfig& config) {
  RopeConfig rope;
  rope.style = RopeStyle::kHalves;
  const double part = fields.find_float("partial_rotary_factor").value_or(1.0);
  require(part > 0 && part <= 1, ErrorKind::kMalformed, fields.where(),
          ": partial_rotary_factor is ", part, ", it must be in (0, 1]");
  rope.num_dims = static_cast<int64_t>(part * static_cast<double>(config.head_dim));
  rope.theta = fields.find_float("rope_theta").value_or(10000.0);
  const json* scaling = fields.find("rope_parameters");
  if (scaling == nullptr) scaling = fields.find("rope_scaling");
  if (scaling == nullptr) return rope;
  const Fields inner(*scaling, fields.where());
  rope.theta = inner.find_float("rope_theta").value_or(rope.theta);
  require(rope.theta > 1, ErrorKind::kMalformed, fields.where(), ": the rope base is ", rope.theta,
          ", it must be above 1");
  add_scaling(rope, inner, config.context_length);
  return rope;
}

// Whether layer `i` has a window: by its entry in layer_types, or by the family's own rule.
bool is_windowed(const Fields& fields, Architecture architecture, size_t i) {
  if (const json* types = fields.find("layer_types")) {
    const bool known = types->is_array() && i < types->size() && (*types)[i].is_string();
    require(known, ErrorKind::kMalformed, fields.where(),
            ": layer_types is not a list with a string for each layer");
    const auto& type = (*types)[i].get_ref<const std::string&>();
    require(type == "full_attention" || type == "sliding_attention", ErrorKind::kUnsupported,
            fields.where(), ": a layer of type ", quoted(type), " is not supported");
    return type == "sliding_attention";
  }
  if (architecture == Architecture::kLlama) return true;  // Mistral: all, where a window is given
  if (!fields.find_bool("use_sliding_window").value_or(false)) return false;
  return static_cast<int64_t>(i) >= fields.find_int("max_window_layers").value_or(0);
}

std::vector<LayerConfig> read_layers(const Fields& fields, const ModelConfig& config) {
  require(config.num_layers >= 1 && config.num_layers <= kMaxLayersRead, ErrorKind::kLimit,
          fields.where(), ": ", config.num_layers, " layers, 1 to ", kMaxLayersRead, " are read");
  std::vector<LayerConfig> layers(static_cast<size_t>(config.num_layers));
  const int64_t window = fields.find_int("sliding_window").value_or(0);
  const json* with_rope = fields.find("no_rope_layers");  // 1: rotated, in spite of the name
  for (size_t i = 0; i < layers.size(); ++i) {
    if (is_windowed(fields, config.architecture, i)) layers[i].sliding_window = window;
    if (with_rope == nullptr) continue;
    const bool known =
        with_rope->is_array() && i < with_rope->size() && (*with_rope)[i].is_number_integer();
    require(known, ErrorKind::kMalformed, fields.where(),
            ": no_rope_layers is not a list with a number for each layer");
    layers[i].use_rope = (*with_rope)[i].get<int64_t>() != 0;
  }
  return layers;
}

void add_stop_ids(SpecialTokens& special, const Fields& fields) {
  const json* value = fields.find("eos_token_id");
  if (value == nullptr) return;
  const std::vector<json> ids =
      value->is_array() ? value->get<std::vector<json>>() : std::vector<json>{*value};
  for (const json& id : ids) {
    const bool fits = id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX;
    require(fits, ErrorKind::kMalformed, fields.where(), ": eos_token_id is not a token id");
    special.stop.push_back(id.get<int32_t>());
    if (!special.eos) special.eos = id.get<int32_t>();
  }
}

void require_supported(const Fields& fields) {
  const auto activation = fields.find_string("hidden_act").value_or("silu");
  require(activation == "silu", ErrorKind::kUnsupported, fields.where(), " has the activation ",
          quoted(activation), "; silu is supported");
  require(!fields.find_bool("mlp_bias").value_or(false), ErrorKind::kUnsupported, fields.where(),
          " has biases in its feed-forward layers, which are not supported");
  require(fields.find("quantization_config") == nullptr, ErrorKind::kUnsupported, fields.where(),
          " has a quantization_config; safetensors are read in F32, F16 and BF16");
}

std::string template_of(const json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  require(value.is_array(), ErrorKind::kMalformed, where,
          ": chat_template is neither a string nor a list");
  for (const json& named : value)  // [{"name": "default", "template": "..."}, ...]
    if (named.is_object() && named.value("name", "") == "default")
      return named.value("template", "");
  return "";
}

}  // namespace

SpecialTokens read_folder_special_tokens(const std::filesystem::path& folder) {
  SpecialTokens special;
  for (const char* name : {"config.json", "generation_config.json", "tokenizer_config.json"}) {
    const std::filesystem::path path = folder / name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    const json object = read_json_file(path);
    const Fields fields(object, path.string());
    const auto bos = fields.find_int("bos_token_id");
    if (bos && *bos >= 0 && *bos <= INT32_MAX) special.bos = static_cast<int32_t>(*bos);
    add_stop_ids(special, fields);
    special.add_bos = fields.find_bool("add_bos_token").value_or(special.add_bos);
    special.add_eos = fields.find_bool("add_eos_token").value_or(special.add_eos);
  }
  std::sort(special.stop.begin(), special.stop.end());
  special.stop.erase(std::unique(special.stop.begin(), special.stop.end()), special.stop.end());
  return special;
}

ModelConfig read_folder_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  const json object = read_json_file(path);
  const Fields fields(object, path.string());
  ModelConfig config;
  config.architecture =
      architecture_of(fields.find_string("model_type").value_or(""), fields.where());
  require_supported(fields);
  config.name = fields.find_string("_name_or_path").value_or("");
  config.num_layers = fields.need_int("num_hidden_layers");
  config.hidden_size = fields.need_int("hidden_size");
  config.ffn_size = fields.need_int("intermediate_size");
  config.context_length = fields.need_int("max_position_embeddings");
  config.vocab_size = fields.need_int("vocab_size");
  config.num_heads = fields.need_int("num_attention_heads");
  config.num_kv_heads = fields.find_int("num_key_value_heads").value_or(config.num_heads);
  require(config.num_heads >= 1, ErrorKind::kMalformed, fields.where(), ": ", config.num_heads,
          " attention heads");
  config.head_dim = fields.find_int("head_dim").value_or(config.hidden_size / config.num_heads);
  require(config.head_dim >= 2 && config.head_dim <= 4096, ErrorKind::kMalformed, fields.where(),
          ": head_dim is ", config.head_dim, ", 2 to 4096 are read");
  config.norm_epsilon = static_cast<float>(fields.need_float("rms_norm_eps"));
  const bool tied_by_default = config.architecture == Architecture::kSmolLm3;
  config.tied_embeddings = fields.find_bool("tie_word_embeddings").value_or(tied_by_default);
  config.qk_norm = config.architecture == Architecture::kQwen3;
  config.rope = read_rope(fields, config);
  config.layers = read_layers(fields, config);
  config.special = read_folder_special_tokens(folder);
  check_config(config, fields.where());
  return config;
}

std::string read_folder_chat_template(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto own_file = folder / "chat_template.jinja";
  if (std::filesystem::exists(own_file, ignored)) {
    const std::vector<std::byte> bytes = MappedFile::open(own_file).read_front(kMaxTemplateBytes);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  const auto config = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(config, ignored)) return "";
  const json object = read_json_file(config);
  require(object.is_object(), ErrorKind::kMalformed, config.string(), " is not a JSON object");
  const auto found = object.find("chat_template");
  return found == object.end() || found->is_null() ? "" : template_of(*found, config.string());
}

}  // namespace pagoda::engine
