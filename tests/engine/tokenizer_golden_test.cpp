// Tokenizers against others: llama.cpp's published cases for three vocabularies, and encodings by
// the tokenizers package (golden/make_tokenizer_golden.py) for small vocabularies of our own and
// for two large ones.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/formats/gguf.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/test_data.h"

namespace pagoda::engine {
namespace {

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};

// Cases of llama.cpp: texts between separators, and a line of ids for each.
struct Case {
  std::string text;
  std::vector<TokenId> ids;
};

std::vector<Case> read_llama_cpp_cases(const std::string& vocabulary) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = read_file(vocabulary + ".inp");
  std::istringstream lines(read_file(vocabulary + ".out"));
  std::vector<Case> cases;
  for (size_t at = 0; at < texts.size();) {
    const size_t end = texts.find(separator, at);
    if (end == std::string::npos) break;
    Case next{.text = texts.substr(at, end - at), .ids = {}};
    std::string line;
    std::getline(lines, line);
    std::istringstream numbers(line);
    for (TokenId id = 0; numbers >> id;) next.ids.push_back(id);
    cases.push_back(std::move(next));
    at = end + separator.size();
  }
  return cases;
}

void expect_llama_cpp_cases(const Tokenizer& tokenizer, const std::string& vocabulary) {
  const std::vector<Case> cases = read_llama_cpp_cases(vocabulary);
  EXPECT_EQ(cases.size(), 46u);
  for (const Case& next : cases) {
    EXPECT_EQ(tokenizer.encode(next.text, kPlain), next.ids) << "text: [" << next.text << "]";
    EXPECT_EQ(tokenizer.decode(next.ids), next.text);
  }
}

class LlamaCppVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(LlamaCppVocabulary, EncodesEveryPublishedCase) {
  const auto path = shared_data(std::string("tokenizers/llama.cpp-vocab/") + GetParam());
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "the vocabulary " << GetParam() << " is not on this machine";
  expect_llama_cpp_cases(Tokenizer::from_gguf(GgufFile::open(path)), path);
}

INSTANTIATE_TEST_SUITE_P(All, LlamaCppVocabulary,
                         testing::Values("ggml-vocab-gpt-2.gguf", "ggml-vocab-llama-spm.gguf",
                                         "ggml-vocab-qwen2.gguf"),
                         [](const auto& info) {
                           std::string name(info.param);
                           std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
                           return name;
                         });

TEST(TokenizerJson, Qwen25EncodesAsItsGgufDoes) {
  const auto folder = shared_data("tokenizers/qwen2.5");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "qwen2.5's vocabulary is not here";
  expect_llama_cpp_cases(Tokenizer::from_folder(folder),
                         shared_data("tokenizers/llama.cpp-vocab/ggml-vocab-qwen2.gguf"));
}

void expect_golden(const Tokenizer& tokenizer, const char* name, EncodeOptions options) {
  const auto all = nlohmann::json::parse(read_file(golden("tokenizers/tokenizers.json")));
  const auto& cases = all.at(name);
  EXPECT_GE(cases.size(), 240u);
  for (const auto& next : cases)
    EXPECT_EQ(tokenizer.encode(next["text"].get<std::string>(), options),
              next["ids"].get<std::vector<TokenId>>())
        << name << ": [" << next["text"].get<std::string>() << "]";
}

class SmallVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(SmallVocabulary, EncodesAsTheTokenizersPackageDoes) {
  const Tokenizer tokenizer =
      Tokenizer::from_folder(golden(std::string("tokenizers/") + GetParam()));
  expect_golden(tokenizer, GetParam(), {.add_special = true, .parse_special = true});
}

INSTANTIATE_TEST_SUITE_P(All, SmallVocabulary, testing::Values("llama3", "smollm", "sentencepiece"),
                         [](const auto& info) { return std::string(info.param); });

TEST(TokenizerGolden, Qwen25AsTheTokenizersPackage) {
  const auto folder = shared_data("tokenizers/qwen2.5");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "qwen2.5's vocabulary is not here";
  expect_golden(Tokenizer::from_folder(folder), "qwen2.5",
                {.add_special = true, .parse_special = true});
}

TEST(TokenizerGolden, Gpt2AsTheTokenizersPackage) {
  const auto path = shared_data("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "GPT-2's vocabulary is not here";
  expect_golden(Tokenizer::from_gguf(GgufFile::open(path)), "gpt2", kPlain);
}

// The prompts of the comparison with llama.cpp were encoded by it, each as one text but for the
// long ones at the end, which are several texts one behind the other.
TEST(TokenizerGolden, SmolLm2AsLlamaCpp) {
  if (smollm2_file().empty())
    GTEST_SKIP() << "SmolLM2 is not here; `pagoda pull smollm2` fetches it";
  const Tokenizer tokenizer = Tokenizer::from_gguf(GgufFile::open(smollm2_file()));
  const auto cases = nlohmann::json::parse(read_file(golden("smollm2_llamacpp.json")))["cases"];
  constexpr size_t kWholeTexts = 18;
  for (size_t i = 0; i < kWholeTexts; ++i) {
    const auto ids = cases.at(i)["prompt_ids"].get<std::vector<TokenId>>();
    const std::string text = tokenizer.decode(ids, {.skip_special = false});
    EXPECT_EQ(tokenizer.encode(text, {.add_special = true, .parse_special = true}), ids) << text;
  }
  EXPECT_EQ(tokenizer.stop_tokens(), (std::vector<TokenId>{0, 2}));
}

// Text of a megabyte survives, in every vocabulary that is here.
TEST(TokenizerCorpus, RoundTrips) {
  int checked = 0;
  for (const char* vocabulary : {"tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf",
                                 "tokenizers/llama.cpp-vocab/ggml-vocab-llama-spm.gguf",
                                 "tokenizers/llama.cpp-vocab/ggml-vocab-qwen2.gguf",
                                 "models/stories260K/stories260K.f32.gguf"}) {
    if (!std::filesystem::exists(shared_data(vocabulary))) continue;
    const Tokenizer tokenizer = Tokenizer::from_gguf(GgufFile::open(shared_data(vocabulary)));
    for (const char* name : {"eval/wikitext2_valid.txt", "eval/tinystories_sample.txt"}) {
      const std::string text = read_file(shared_data(name));
      ASSERT_FALSE(text.empty());
      EXPECT_TRUE(tokenizer.decode(tokenizer.encode(text, kPlain)) == text)
          << vocabulary << " " << name;
      ++checked;
    }
  }
  if (checked == 0) GTEST_SKIP() << "the vocabularies and texts are not on this machine";
}

}  // namespace
}  // namespace pagoda::engine
