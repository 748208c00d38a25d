// A tokenizer from Hugging Face's tokenizer.json, and tokenizer_config.json beside it.
#include "engine/tokenizer/json_tokenizer.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/formats/config_readers.h"
#include "engine/formats/in_quotes.h"
#include "engine/formats/json_file.h"
#include "engine/tokenizer/piece_text.h"
#include "engine/tokenizer/tokenizer_state.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxTokenId = uint64_t{1} << 24;
constexpr uint64_t kMaxGap = 65536;
constexpr JsonLimits kLimits{.max_bytes = int64_t{64} << 20, .max_depth = 32};

struct FileToken {
  std::string text;
  TokenKind kind = TokenKind::kUnused;  // an id that the file leaves out
};

class Reader {
 public:
  explicit Reader(const std::filesystem::path& folder)
      : folder_(folder),
        where_((folder / "tokenizer.json").string()),
        root_(read_json_file(folder / "tokenizer.json", kLimits)) {}

  std::unique_ptr<Tokenizer::State> read() {
    require(root_.is_object() && root_.contains("model") && root_["model"].is_object(),
            ErrorKind::kMalformed, where_, " has no object 'model'");
    const std::string type = root_["model"].value("type", "BPE");
    require(type == "BPE" || type == "WordPiece", ErrorKind::kUnsupported, where_,
            " has a model of the type ", in_quotes(type), "; BPE and WordPiece are supported");
    is_word_piece_ = type == "WordPiece";
    if (!is_word_piece_) pipeline_ = read_pipeline(root_, where_);
    read_vocabulary();
    read_added();
    for (const FileToken& token : tokens_) state_->vocabulary.add(bytes_of(token), token.kind);
    state_->vocabulary.finish();
    state_->added.finish();
    make_model();
    read_special();
    return std::move(state_);
  }

 private:
  TokenId id_of(const json& value) const {
    const bool fits = value.is_number_unsigned() && value.get<uint64_t>() < kMaxTokenId;
    require(fits, ErrorKind::kMalformed, where_, ": a token id is not an integer from 0 to ",
            kMaxTokenId - 1);
    // A table by id is made; a few ids may be left out, but not most.
    require(value.get<uint64_t>() < 4 * num_listed_ + kMaxGap, ErrorKind::kMalformed, where_,
            ": the token id ", value.get<uint64_t>(), " is far beyond the number of tokens");
    return value.get<TokenId>();
  }

  FileToken& token(TokenId id) {
    if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
    return tokens_[static_cast<size_t>(id)];
  }

  void read_vocabulary() {
    const json& model = root_["model"];
    require(model.contains("vocab") && model["vocab"].is_object(), ErrorKind::kMalformed, where_,
            " has no object 'vocab'");
    num_listed_ = model["vocab"].size();
    for (const auto& [text, value] : model["vocab"].items()) {
      FileToken& entry = token(id_of(value));
      require(entry.kind == TokenKind::kUnused, ErrorKind::kMalformed, where_, ": the token id ",
              value.get<TokenId>(), " is given twice");
      const bool is_byte = pipeline_.is_sentence_piece && byte_of_piece(text) >= 0;
      entry = {.text = text, .kind = is_byte ? TokenKind::kByte : TokenKind::kNormal};
    }
  }

  void read_added() {
    const auto list = root_.find("added_tokens");
    if (list == root_.end()) return;
    require(list->is_array(), ErrorKind::kMalformed, where_, ": 'added_tokens' is not a list");
    for (const json& entry : *list) {
      const bool complete = entry.is_object() && entry.contains("id") &&
                            entry.contains("content") && entry["content"].is_string();
      require(complete, ErrorKind::kMalformed, where_,
              ": an added token does not have an id and a content");
      const auto flag = [&](const char* key) {
        const auto found = entry.find(key);
        return found != entry.end() && found->is_boolean() && found->get<bool>();
      };
      const AddedToken added{.text = entry["content"].get<std::string>(),
                             .id = id_of(entry["id"]),
                             .is_control = flag("special"),
                             .strip_left = flag("lstrip"),
                             .strip_right = flag("rstrip")};
      token(added.id) = {.text = added.text,
                         .kind = added.is_control ? TokenKind::kControl : TokenKind::kUser};
      state_->added.add(added);
    }
  }

  std::string bytes_of(const FileToken& token) const {
    const bool is_piece = token.kind == TokenKind::kNormal || token.kind == TokenKind::kByte;
    if (!is_piece || is_word_piece_) return token.text;
    return pipeline_.is_sentence_piece ? sentence_piece_bytes(token.text, token.kind, where_)
                                       : bytes_or_text(token.text);
  }

  // "left right" in older files, ["left", "right"] in newer ones.
  std::pair<std::string, std::string> split_merge(const json& merge, size_t rank) const {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ', 1);
    require(space != std::string::npos, ErrorKind::kMalformed, where_, ": merge ", rank,
            " is not two pieces");
    return {text.substr(0, space), text.substr(space + 1)};
  }

  PairTable read_merges() const {
    const json& model = root_["model"];
    require(model.contains("merges") && model["merges"].is_array(), ErrorKind::kMalformed, where_,
            " has no list 'merges'");
    const json& merges = model["merges"];
    PairTable pairs(merges.size());
    const auto to_bytes = [&](const std::string& piece) {
      return pipeline_.is_sentence_piece ? with_spaces(piece) : bytes_or_text(piece);
    };
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const auto [left_text, right_text] = split_merge(merges[rank], rank);
      const std::string left = to_bytes(left_text), right = to_bytes(right_text);
      const Vocabulary& vocabulary = state_->vocabulary;
      const TokenId ids[] = {vocabulary.find(left), vocabulary.find(right),
                             vocabulary.find(left + right)};
      require(*std::min_element(ids, ids + 3) >= 0, ErrorKind::kMalformed, where_, ": merge ", rank,
              " is not of tokens and to a token of the vocabulary");
      pairs.insert(ids[0], ids[1], ids[2], static_cast<int32_t>(rank));
    }
    return pairs;
  }

  std::optional<TokenId> unknown_token() const {
    const auto name = root_["model"].find("unk_token");
    if (name == root_["model"].end() || !name->is_string()) return std::nullopt;
    for (size_t id = 0; id < tokens_.size(); ++id)
      if (tokens_[id].text == name->get_ref<const std::string&>()) return static_cast<TokenId>(id);
    return std::nullopt;
  }

  void make_model() {
    if (is_word_piece_) {
      const auto unknown = unknown_token();
      require(unknown.has_value(), ErrorKind::kMalformed, where_,
              ": the vocabulary does not have its 'unk_token'");
      state_->model.emplace<WordPieceModel>(state_->vocabulary, read_word_piece(root_, where_),
                                            *unknown);
      return;
    }
    if (pipeline_.is_sentence_piece)
      state_->model.emplace<SentencePieceModel>(state_->vocabulary, std::vector<float>(),
                                                read_merges(), pipeline_.prefix, unknown_token());
    else
      state_->model.emplace<BytePairModel>(state_->vocabulary, read_merges(),
                                           PreTokenizer(pipeline_.expressions), pipeline_.byte_pair,
                                           unknown_token());
  }

  // A token that tokenizer_config.json names, as a string or as an object with a content.
  std::optional<TokenId> named_token(const json& config, const char* key) const {
    const auto found = config.find(key);
    if (found == config.end()) return std::nullopt;
    if (found->is_string()) return state_->added.find(found->get_ref<const std::string&>());
    if (!found->is_object() || !found->contains("content")) return std::nullopt;
    const json& content = (*found)["content"];
    if (!content.is_string()) return std::nullopt;
    return state_->added.find(content.get_ref<const std::string&>());
  }

  void read_special() {
    SpecialTokens& special = state_->special;
    special = read_folder_special_tokens(folder_);
    std::error_code ignored;
    const auto path = folder_ / "tokenizer_config.json";
    if (std::filesystem::exists(path, ignored)) {
      const json config = read_json_file(path);
      require(config.is_object(), ErrorKind::kMalformed, path.string(), " is not a JSON object");
      if (const auto id = named_token(config, "bos_token")) special.bos = id;
      if (const auto id = named_token(config, "eos_token")) {
        special.eos = id;
        special.stop.push_back(*id);
      }
    }
    complete_special_tokens(special, state_->vocabulary, state_->added);
    read_template();
    if (special.add_bos && special.bos && state_->prefix.empty()) state_->prefix = {*special.bos};
    if (special.add_eos && special.eos && state_->suffix.empty()) state_->suffix = {*special.eos};
  }

  // The post-processor puts tokens around a text by a template such as <s> A.
  void read_template() {
    const auto processor = root_.find("post_processor");
    if (processor == root_.end() || !processor->is_object()) return;
    if (processor->value("type", "") == "Sequence" && processor->contains("processors")) {
      for (const json& part : (*processor)["processors"]) add_template(part);
    } else {
      add_template(*processor);
    }
  }

  void add_template(const json& part) {
    if (!part.is_object() || part.value("type", "") != "TemplateProcessing") return;
    const auto single = part.find("single");
    if (single == part.end() || !single->is_array()) return;
    bool before = true;
    for (const json& item : *single) {
      if (item.is_object() && item.contains("Sequence")) {
        before = false;
        continue;
      }
      const bool complete =
          item.is_object() && item.contains("SpecialToken") && item["SpecialToken"].is_object();
      require(complete, ErrorKind::kMalformed, where_,
              ": the post-processor's template holds neither a text nor a token");
      const std::string name = item["SpecialToken"].value("id", "");
      const auto id = state_->added.find(name);
      require(id.has_value(), ErrorKind::kMalformed, where_, ": the post-processor's token ",
              in_quotes(name), " is not an added token");
      (before ? state_->prefix : state_->suffix).push_back(*id);
    }
  }

  std::filesystem::path folder_;
  std::string where_;
  json root_;
  bool is_word_piece_ = false;
  JsonPipeline pipeline_;
  std::vector<FileToken> tokens_;  // by id
  uint64_t num_listed_ = 0;        // in the vocabulary, without added tokens
  std::unique_ptr<Tokenizer::State> state_ = std::make_unique<Tokenizer::State>();
};

}  // namespace

std::unique_ptr<Tokenizer::State> read_json_tokenizer(const std::filesystem::path& folder) {
  try {
    return Reader(folder).read();
  } catch (const json::exception&) {  // a member of another type than its name promises
    fail(ErrorKind::kMalformed, (folder / "tokenizer.json").string(),
         ": a member has the wrong JSON type");
  }
}

}  // namespace pagoda::engine
