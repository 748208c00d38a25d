#include "engine/embed/bert_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/error.h"
#include "engine/formats/in_quotes.h"
#include "engine/formats/json_file.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int64_t kMaxSize = int64_t{1} << 24;  // of any number; tensors have to match it later

int64_t positive(const json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  require(found != object.end(), ErrorKind::kNotFound, where, " has no '", key, "'");
  const bool fits = found->is_number_unsigned() && found->get<uint64_t>() > 0 &&
                    found->get<uint64_t>() <= static_cast<uint64_t>(kMaxSize);
  require(fits, ErrorKind::kMalformed, where, ": '", key, "' is not an integer from 1 to ",
          kMaxSize);
  return found->get<int64_t>();
}

void require_text(const json& object, const char* key, const std::string& wanted,
                  const std::string& where) {
  const auto found = object.find(key);
  const std::string is =
      found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  require(is == wanted, ErrorKind::kUnsupported, where, ": '", key, "' is ", in_quotes(is), "; ",
          wanted, " is supported");
}

json read_object(const fs::path& path) {
  json object = read_json_file(path);
  require(object.is_object(), ErrorKind::kMalformed, path.string(), " is not a JSON object");
  return object;
}

void check_pooling(const fs::path& path) {
  const json pooling = read_object(path);
  for (const auto& [key, value] : pooling.items()) {
    if (!key.starts_with("pooling_mode_") || !value.is_boolean()) continue;
    require(value.get<bool>() == (key == "pooling_mode_mean_tokens"), ErrorKind::kUnsupported,
            path.string(), ": ", in_quotes(key), "; only the mean of the tokens is supported");
  }
}

}  // namespace

BertConfig read_bert_config(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  const std::string where = path.string();
  const json root = read_object(path);
  require_text(root, "model_type", "bert", where);
  require_text(root, "hidden_act", "gelu", where);
  if (root.contains("position_embedding_type"))
    require_text(root, "position_embedding_type", "absolute", where);
  BertConfig config = {.num_layers = positive(root, "num_hidden_layers", where),
                       .hidden_size = positive(root, "hidden_size", where),
                       .ffn_size = positive(root, "intermediate_size", where),
                       .num_heads = positive(root, "num_attention_heads", where),
                       .vocab_size = positive(root, "vocab_size", where),
                       .num_positions = positive(root, "max_position_embeddings", where),
                       .num_types = positive(root, "type_vocab_size", where)};
  require(config.hidden_size % config.num_heads == 0, ErrorKind::kMalformed, where,
          ": 'hidden_size' is no multiple of 'num_attention_heads'");
  const auto epsilon = root.find("layer_norm_eps");
  require(epsilon != root.end() && epsilon->is_number() && epsilon->get<double>() >= 0,
          ErrorKind::kMalformed, where, ": 'layer_norm_eps' is not a number from 0");
  config.norm_epsilon = epsilon->get<float>();
  config.max_tokens = config.num_positions;
  std::error_code ignored;
  if (const fs::path own = folder / "sentence_bert_config.json"; fs::exists(own, ignored))
    config.max_tokens =
        std::min(config.max_tokens, positive(read_object(own), "max_seq_length", own.string()));
  if (const fs::path own = folder / "1_Pooling" / "config.json"; fs::exists(own, ignored))
    check_pooling(own);
  require(config.max_tokens > 2, ErrorKind::kMalformed, where, ": texts of ", config.max_tokens,
          " tokens have no room between the two that every text gets");
  return config;
}

}  // namespace pagoda::engine
