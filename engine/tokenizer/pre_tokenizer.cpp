// See pre_tokenizer.h.
#include "engine/tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/error.h"
#include "engine/formats/in_quotes.h"
#include "engine/tokenizer/utf8.h"

namespace pagoda::engine {
namespace {

// Steps of one match; a word of a megabyte stays below a tenth of it.
constexpr uint32_t kMatchLimit = 50'000'000;

struct FamilyExpressions {
  std::string_view name;
  std::vector<std::string> expressions;
};

// Contractions, words with one leading non-letter, numbers of `digits`, punctuation, line ends,
// spaces.
std::string modern_expression(const std::string& digits) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

const std::vector<FamilyExpressions>& families() {
  static const std::vector<FamilyExpressions> table = {
      {"gpt-2", {kGpt2Expression}},
      {"smollm", {R"(\p{N})", kGpt2Expression}},
      {"qwen2", {modern_expression(R"(\p{N})")}},
      {"deepseek-r1-qwen", {modern_expression(R"(\p{N})")}},
      {"llama-bpe", {modern_expression(R"(\p{N}{1,3})")}},
      {"llama3", {modern_expression(R"(\p{N}{1,3})")}},
      {"llama-v3", {modern_expression(R"(\p{N}{1,3})")}},
  };
  return table;
}

}  // namespace

const char* const kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::vector<std::string> expressions_of(std::string_view name) {
  std::string known;
  for (const FamilyExpressions& family : families()) {
    if (family.name == name) return family.expressions;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  fail(ErrorKind::kUnsupported, "the pre-tokenizer ", in_quotes(name), " is not known; known are ",
       known);
}

class PreTokenizer::Expression {
 public:
  explicit Expression(const std::string& source) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    require(code_ != nullptr, ErrorKind::kUnsupported,
            "the tokenizer's expression cannot be compiled at its byte ", offset, " (PCRE2 error ",
            error, ")");
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, it interprets
    context_.reset(pcre2_match_context_create(nullptr));
    require(context_ != nullptr, ErrorKind::kLimit, "no memory for the tokenizer's expression");
    pcre2_set_match_limit(context_.get(), kMatchLimit);
  }

  // Matches and what lies between them. `text` is valid UTF-8.
  void split(std::string_view text, const std::function<void(std::string_view)>& use) const {
    const std::unique_ptr<pcre2_match_data, Free> match(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    size_t done = 0;  // words up to here have been given out
    size_t from = 0;
    while (from < text.size()) {
      const int result = pcre2_match(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK,
                                     match.get(), context_.get());
      if (result == PCRE2_ERROR_NOMATCH) break;
      require(result > 0, ErrorKind::kLimit, "the tokenizer's expression gave up on a text of ",
              text.size(), " bytes (PCRE2 error ", result, ")");
      const size_t* span = pcre2_get_ovector_pointer(match.get());
      if (span[1] == span[0]) {  // an empty match moves on by a character
        from = span[1] + (span[1] < text.size() ? first_character(text.substr(span[1])).length : 1);
        continue;
      }
      if (span[0] > done) use(text.substr(done, span[0] - done));
      use(text.substr(span[0], span[1] - span[0]));
      done = from = span[1];
    }
    if (done < text.size()) use(text.substr(done));
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> context_;
};

PreTokenizer::PreTokenizer(const std::vector<std::string>& expressions) {
  for (const std::string& expression : expressions)
    stages_.push_back(std::make_unique<Expression>(expression));
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

void PreTokenizer::split(std::string_view text,
                         const std::function<void(std::string_view)>& use) const {
  while (!text.empty()) {
    const size_t valid = valid_prefix_length(text);
    if (valid > 0) split_from(0, text.substr(0, valid), use);
    text.remove_prefix(valid);
    if (text.empty()) return;
    use(text.substr(0, 1));
    text.remove_prefix(1);
  }
}

void PreTokenizer::split_from(size_t stage, std::string_view word,
                              const std::function<void(std::string_view)>& use) const {
  if (stage == stages_.size()) return use(word);
  stages_[stage]->split(word, [&](std::string_view part) { split_from(stage + 1, part, use); });
}

}  // namespace pagoda::engine
