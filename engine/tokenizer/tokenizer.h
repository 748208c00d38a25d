// Text to token ids and back. Three families of vocabularies: byte-level BPE (GPT-2, Llama 3, Qwen,
// SmolLM) and SentencePiece-BPE (Llama 2, Mistral), from GGUF metadata or from a tokenizer.json,
// and WordPiece (BERT) from a tokenizer.json, whose text comes back in words apart. A tokenizer is
// immutable but for an internal cache; encode may be called from several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::engine {

class GgufFile;
class ModelFile;

using TokenId = int32_t;

inline constexpr size_t kMaxTextBytes = size_t{1} << 28;  // of one call to encode

struct EncodeOptions {
  bool add_special = true;     // bos in front and eos behind, where the vocabulary asks for them
  bool parse_special = false;  // "<|im_end|>" in the text becomes its token; for rendered chats
};

struct DecodeOptions {
  bool skip_special = true;   // control tokens give no text
  bool at_text_start = true;  // SentencePiece: drop the space that encoding put in front
};

class Tokenizer {
 public:
  static Tokenizer from_model(const ModelFile& model);
  static Tokenizer from_gguf(const GgufFile& file);
  // `folder` holds tokenizer.json, and tokenizer_config.json if there is one.
  static Tokenizer from_folder(const std::filesystem::path& folder);

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Any bytes are accepted. Bytes that are not UTF-8 are encoded as such where the vocabulary has
  // tokens for them, so that decode(encode(text)) == text, up to Unicode composition (NFC) where
  // the family asks for it. Errors: kLimit for a text above kMaxTextBytes.
  std::vector<TokenId> encode(std::string_view text, EncodeOptions options = {}) const;

  // May end inside a UTF-8 sequence; StreamDecoder gives whole characters only.
  // Errors: kInvalidArgument for an id outside the vocabulary.
  std::string decode(std::span<const TokenId> ids, DecodeOptions options = {}) const;

  int32_t vocab_size() const;
  std::string_view piece(TokenId id) const;  // the bytes a token stands for
  bool is_special(TokenId id) const;         // a control token: gives no text
  // The id of a control or user-defined token such as "<|im_end|>".
  std::optional<TokenId> find(std::string_view token) const;

  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;
  const std::vector<TokenId>& stop_tokens() const;  // every id that ends a generation, ascending
  bool is_stop(TokenId id) const;

  struct State;

 private:
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Text of a running generation. Holds back the bytes of a character until it is complete; bytes
// that can never complete come out as U+FFFD, so that what it returns is always valid UTF-8.
class StreamDecoder {
 public:
  // The tokenizer must outlive the decoder. A generation that continues a prompt is not at the
  // start of a text.
  explicit StreamDecoder(const Tokenizer& tokenizer,
                         DecodeOptions options = {.skip_special = true, .at_text_start = false});

  std::string add(TokenId id);  // the characters that this token completed; may be empty
  std::string finish();         // what was held back, as U+FFFD

 private:
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  std::string held_;  // an incomplete UTF-8 sequence, at most 3 bytes
};

}  // namespace pagoda::engine
