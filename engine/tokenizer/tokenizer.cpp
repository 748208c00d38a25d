// See tokenizer.h.
#include "engine/tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "engine/error.h"
#include "engine/formats/gguf.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/tokenizer_state.h"

namespace pagoda::engine {
namespace {

// Control tokens that end a turn or a text in the supported families.
constexpr std::string_view kEndTokens[] = {"<|im_end|>",    "<|eot_id|>", "<|eom_id|>",
                                           "<|endoftext|>", "<|end|>",    "<|end_of_text|>",
                                           "<end_of_turn>"};

}  // namespace

void complete_special_tokens(SpecialTokens& special, const Vocabulary& vocabulary,
                             const AddedTokens& added) {
  for (std::string_view name : kEndTokens)
    if (const auto id = added.find(name); id && vocabulary.kind(*id) == TokenKind::kControl)
      special.stop.push_back(*id);
  std::erase_if(special.stop, [&](TokenId id) { return !vocabulary.contains(id); });
  std::sort(special.stop.begin(), special.stop.end());
  special.stop.erase(std::unique(special.stop.begin(), special.stop.end()), special.stop.end());
  if (special.bos && !vocabulary.contains(*special.bos)) special.bos.reset();
  if (special.eos && !vocabulary.contains(*special.eos)) special.eos.reset();
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::from_model(const ModelFile& model) {
  return model.gguf() != nullptr ? from_gguf(*model.gguf()) : from_folder(model.folder());
}

Tokenizer Tokenizer::from_gguf(const GgufFile& file) {
  return Tokenizer(read_gguf_tokenizer(file));
}

Tokenizer Tokenizer::from_folder(const std::filesystem::path& folder) {
  return Tokenizer(read_json_tokenizer(folder));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  require(text.size() <= kMaxTextBytes, ErrorKind::kLimit, "a text of ", text.size(),
          " bytes cannot be encoded at once, the limit is ", kMaxTextBytes);
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  if (options.add_special) ids = state_->prefix;
  bool is_first = true;
  const auto encode_fragment = [&](std::string_view fragment) {
    if (const auto* model = std::get_if<SentencePieceModel>(&state_->model))
      model->encode(fragment, is_first, ids);
    else if (const auto* words = std::get_if<WordPieceModel>(&state_->model))
      words->encode(fragment, ids);
    else
      std::get<BytePairModel>(state_->model).encode(fragment, ids);
    is_first = false;
  };
  state_->added.split(text, options.parse_special, encode_fragment, [&](TokenId id) {
    ids.push_back(id);
    is_first = false;
  });
  if (options.add_special) ids.insert(ids.end(), state_->suffix.begin(), state_->suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, DecodeOptions options) const {
  const auto* words = std::get_if<WordPieceModel>(&state_->model);
  const auto* model = std::get_if<SentencePieceModel>(&state_->model);
  bool drop_space =
      options.at_text_start && model != nullptr && model->prefix() != SpacePrefix::kNever;
  std::string text;
  for (TokenId id : ids) {
    std::string_view bytes = piece(id);
    if (is_special(id) && options.skip_special) continue;
    if (words != nullptr && !words->continues(bytes) && !text.empty()) text += ' ';
    if (is_special(id)) {
      text += bytes;
      continue;
    }
    text += drop_space && bytes.starts_with(' ') ? bytes.substr(1) : bytes;
    drop_space = false;
  }
  return text;
}

int32_t Tokenizer::vocab_size() const {
  return state_->vocabulary.size();
}

std::string_view Tokenizer::piece(TokenId id) const {
  require(state_->vocabulary.contains(id), ErrorKind::kInvalidArgument, "token id ", id,
          " is outside the vocabulary of ", vocab_size());
  return state_->vocabulary.bytes(id);
}

bool Tokenizer::is_special(TokenId id) const {
  require(state_->vocabulary.contains(id), ErrorKind::kInvalidArgument, "token id ", id,
          " is outside the vocabulary of ", vocab_size());
  const TokenKind kind = state_->vocabulary.kind(id);
  return kind == TokenKind::kControl || kind == TokenKind::kUnknown;
}

std::optional<TokenId> Tokenizer::find(std::string_view token) const {
  return state_->added.find(token);
}

std::optional<TokenId> Tokenizer::bos() const {
  return state_->special.bos;
}
std::optional<TokenId> Tokenizer::eos() const {
  return state_->special.eos;
}
const std::vector<TokenId>& Tokenizer::stop_tokens() const {
  return state_->special.stop;
}

bool Tokenizer::is_stop(TokenId id) const {
  return std::binary_search(stop_tokens().begin(), stop_tokens().end(), id);
}

}  // namespace pagoda::engine
