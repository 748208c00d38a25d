// Cuts text into the words within which a byte-level BPE merges. Every model family has its own
// regular expressions; a difference in one of them changes the tokens of every text.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::engine {

class PreTokenizer {
 public:
  // Each expression cuts every word that the one before it left: its matches and what lies between
  // them are words. Errors: kUnsupported for an expression that cannot be compiled.
  explicit PreTokenizer(const std::vector<std::string>& expressions);

  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  // Calls `use` with the words of `text`, in order; together they are `text`. Bytes that are no
  // UTF-8 are words of their own.
  // Errors: kLimit when an expression needs more steps than any honest one on this text.
  void split(std::string_view text, const std::function<void(std::string_view)>& use) const;

 private:
  class Expression;
  void split_from(size_t stage, std::string_view word,
                  const std::function<void(std::string_view)>& use) const;
  std::vector<std::unique_ptr<Expression>> stages_;
};

// The expressions of the families that GGUF files name in tokenizer.ggml.pre.
// Errors: kUnsupported for a name that is not known.
std::vector<std::string> expressions_of(std::string_view pre_tokenizer_name);

// The GPT-2 expression, which Hugging Face's ByteLevel applies on its own.
extern const char* const kGpt2Expression;

}  // namespace pagoda::engine
