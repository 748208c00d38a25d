// See json_tokenizer.h. Hugging Face's tokenizers are built from named components; those that
// the supported families use are recognised, and any other is refused rather than skipped.
#include "engine/error.h"
#include "engine/formats/in_quotes.h"
#include "engine/tokenizer/json_tokenizer.h"
#include "engine/tokenizer/piece_text.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;

class Reader {
 public:
  explicit Reader(const std::string& where) : where_(where) {}

  JsonPipeline read(const json& root) {
    const json& model = root["model"];
    pipeline_.is_sentence_piece = flag(model, "byte_fallback", false);
    pipeline_.byte_pair.whole_words = flag(model, "ignore_merges", false);
    for (const json* part : parts(root, "normalizer", "normalizers")) add_normalizer(*part);
    for (const json* part : parts(root, "pre_tokenizer", "pretokenizers")) add_splitter(*part);
    require(pipeline_.is_sentence_piece || byte_level_, ErrorKind::kUnsupported, where_,
            ": the tokenizer is neither byte-level nor has it byte_fallback");
    return std::move(pipeline_);
  }

 private:
  static bool flag(const json& object, const char* key, bool otherwise) {
    const auto found = object.find(key);
    return found == object.end() || !found->is_boolean() ? otherwise : found->get<bool>();
  }

  static std::string text(const json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() || !found->is_string() ? "" : found->get<std::string>();
  }

  // The component under `key`, or those of its sequence; none for null.
  std::vector<const json*> parts(const json& root, const char* key, const char* list_key) const {
    const auto found = root.find(key);
    if (found == root.end() || found->is_null()) return {};
    require(found->is_object(), ErrorKind::kMalformed, where_, ": '", key, "' is not an object");
    if (text(*found, "type") != "Sequence") return {&*found};
    const auto list = found->find(list_key);
    require(list != found->end() && list->is_array(), ErrorKind::kMalformed, where_, ": '", key,
            "' is a sequence without a list");
    std::vector<const json*> all;
    for (const json& part : *list) {
      require(part.is_object(), ErrorKind::kMalformed, where_, ": '", key,
              "' holds something that is not an object");
      all.push_back(&part);
    }
    return all;
  }

  void add_normalizer(const json& part) {
    const std::string type = text(part, "type");
    if (type == "NFC") {
      pipeline_.byte_pair.normalize_nfc = true;
      return;
    }
    const bool is_space_sign = pipeline_.is_sentence_piece && part.contains("content") &&
                               text(part, "content") == kSpaceSign;
    if (type == "Replace" && is_space_sign && part.contains("pattern") &&
        part["pattern"].is_object() && text(part["pattern"], "String") == " ")
      return;  // what the vocabulary's pieces are read with
    if (type == "Prepend" && pipeline_.is_sentence_piece && text(part, "prepend") == kSpaceSign) {
      pipeline_.prefix = SpacePrefix::kEveryFragment;
      return;
    }
    fail(ErrorKind::kUnsupported, where_, ": the normalizer ", in_quotes(type),
         " with these settings is not supported");
  }

  void add_splitter(const json& part) {
    const std::string type = text(part, "type");
    if (type == "ByteLevel") {
      byte_level_ = true;
      pipeline_.byte_pair.add_prefix_space = flag(part, "add_prefix_space", true);
      if (flag(part, "use_regex", true)) pipeline_.expressions.emplace_back(kGpt2Expression);
    } else if (type == "Digits" && flag(part, "individual_digits", false)) {
      pipeline_.expressions.emplace_back(R"(\p{N})");
    } else if (type == "Digits") {
      pipeline_.expressions.emplace_back(R"(\p{N}+)");
    } else if (type == "Split") {
      add_split(part);
    } else if (type == "Metaspace" && pipeline_.is_sentence_piece) {
      add_metaspace(part);
    } else {
      fail(ErrorKind::kUnsupported, where_, ": the pre-tokenizer ", in_quotes(type),
           " is not supported");
    }
  }

  void add_split(const json& part) {
    const auto pattern = part.find("pattern");
    const bool is_expression =
        pattern != part.end() && pattern->is_object() && !text(*pattern, "Regex").empty();
    require(is_expression && text(part, "behavior") == "Isolated" && !flag(part, "invert", false),
            ErrorKind::kUnsupported, where_,
            ": a Split pre-tokenizer is not an isolating regular expression");
    pipeline_.expressions.push_back(text(*pattern, "Regex"));
  }

  void add_metaspace(const json& part) {
    const std::string scheme = text(part, "prepend_scheme");
    const bool prefixed = flag(part, "add_prefix_space", true);
    if (scheme == "never" || !prefixed)
      pipeline_.prefix = SpacePrefix::kNever;
    else
      pipeline_.prefix =
          scheme == "first" ? SpacePrefix::kFirstFragment : SpacePrefix::kEveryFragment;
  }

  const std::string& where_;
  JsonPipeline pipeline_;
  bool byte_level_ = false;
};

}  // namespace

WordPieceOptions read_word_piece(const json& root, const std::string& where) {
  const auto member = [&](const char* key, const char* type) -> const json& {
    const auto found = root.find(key);
    const bool is_type =
        found != root.end() && found->is_object() && found->value("type", "") == type;
    require(is_type, ErrorKind::kUnsupported, where, ": a WordPiece vocabulary without a ", type,
            " is not supported");
    return *found;
  };
  const json& normalizer = member("normalizer", "BertNormalizer");
  member("pre_tokenizer", "BertPreTokenizer");
  WordPieceOptions options;
  options.clean_text = normalizer.value("clean_text", true);
  options.split_ideographs = normalizer.value("handle_chinese_chars", true);
  options.lowercase = normalizer.value("lowercase", true);
  const auto accents = normalizer.find("strip_accents");
  const bool is_open = accents == normalizer.end() || accents->is_null();
  options.strip_accents = is_open ? options.lowercase : accents->get<bool>();
  options.continuing = root["model"].value("continuing_subword_prefix", "##");
  options.max_word_characters = root["model"].value("max_input_chars_per_word", 100);
  return options;
}

JsonPipeline read_pipeline(const json& root, const std::string& where) {
  return Reader(where).read(root);
}

}  // namespace pagoda::engine
