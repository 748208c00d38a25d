// Tokenizers by rules: special tokens, prefixes, bytes that are no UTF-8, streaming, long words.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "engine/error.h"
#include "engine/formats/gguf.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/damaged_case.h"
#include "tests/engine/test_data.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

using Ids = std::vector<TokenId>;
constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};

// Ids of the tiny model: 0 <unk>, 1 <s>, 2 </s>, 3 + byte, then the pieces below.
enum Piece : TokenId { kSpace = 259, kA, kB, kC, kH, kI, kAb, kSpaceA, kSpaceAb, kHi, kSpaceHi };
TokenId byte(uint8_t value) {
  return 3 + value;
}

Tokenizer from_gguf(const GgufWriter& gguf) {
  const auto path = test_folder("tokenizer") / "model.gguf";
  write_file(path, gguf.file());
  return Tokenizer::from_gguf(GgufFile::open(path));
}

Tokenizer from_folder(const TinyFolder& tiny) {
  const auto folder = test_folder("tokenizer_folder");
  tiny.write(folder);
  return Tokenizer::from_folder(folder);
}

Tokenizer small(const char* name) {
  return Tokenizer::from_folder(golden(std::string("tokenizers/") + name));
}

void expect_tiny_encodings(const Tokenizer& tokenizer) {
  EXPECT_EQ(tokenizer.vocab_size(), kTinyVocab);
  EXPECT_EQ(tokenizer.encode("ab hi"), (Ids{1, kSpaceAb, kSpaceHi}));
  EXPECT_EQ(tokenizer.encode("ab hi", kPlain), (Ids{kSpaceAb, kSpaceHi}));
  EXPECT_EQ(tokenizer.encode("abc", kPlain), (Ids{kSpaceAb, kC}));
  EXPECT_EQ(tokenizer.encode("", kPlain), Ids{});
  EXPECT_EQ(tokenizer.encode(""), Ids{1});
  EXPECT_EQ(tokenizer.encode("  b", kPlain), (Ids{kSpace, kSpace, kSpace, kB}));
  EXPECT_EQ(tokenizer.encode("Z", kPlain), (Ids{kSpace, byte('Z')}));
  EXPECT_EQ(tokenizer.encode("é\xff", kPlain), (Ids{kSpace, byte(0xC3), byte(0xA9), byte(0xFF)}));
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.stop_tokens(), Ids{2});
  EXPECT_TRUE(tokenizer.is_stop(2));
  EXPECT_FALSE(tokenizer.is_stop(1));
  EXPECT_EQ(tokenizer.find("</s>"), 2);
  EXPECT_EQ(tokenizer.find("<x>"), std::nullopt);
}

TEST(SentencePiece, FromGguf) {
  expect_tiny_encodings(from_gguf(tiny_gguf()));
}
TEST(SentencePiece, FromJson) {
  expect_tiny_encodings(from_folder(TinyFolder()));
}

TEST(SentencePiece, SpecialTokensAreParsedOnlyWhenAsked) {
  const Tokenizer tokenizer = from_gguf(tiny_gguf());
  const EncodeOptions parsing{.add_special = false, .parse_special = true};
  EXPECT_EQ(tokenizer.encode("a</s>b", parsing), (Ids{kSpaceA, 2, kSpace, kB}));
  EXPECT_EQ(tokenizer.encode("</s>", parsing), Ids{2});
  EXPECT_EQ(tokenizer.encode("</s", parsing).size(), 4u);
  const Ids spelt = tokenizer.encode("</s>", kPlain);
  EXPECT_EQ(spelt, (Ids{kSpace, byte('<'), byte('/'), byte('s'), byte('>')}));
}

TEST(SentencePiece, PrefixAndFlagsOfTheFile) {
  GgufWriter gguf = tiny_gguf();
  gguf.add_bool("tokenizer.ggml.add_space_prefix", false);
  gguf.add_bool("tokenizer.ggml.add_eos_token", true);
  gguf.entry("tokenizer.ggml.add_bos_token").payload = std::string(1, '\0');
  const Tokenizer tokenizer = from_gguf(gguf);
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{kAb, 2}));
  EXPECT_EQ(tokenizer.decode(Ids{kSpaceHi}), " hi");
}

TEST(SentencePiece, DecodingDropsTheSpaceThatEncodingPut) {
  const Tokenizer tokenizer = from_gguf(tiny_gguf());
  EXPECT_EQ(tokenizer.decode(Ids{1, kSpaceHi, kSpaceA}), "hi a");
  EXPECT_EQ(tokenizer.decode(Ids{1, kSpaceHi, kSpaceA}, {.at_text_start = false}), " hi a");
  EXPECT_EQ(tokenizer.decode(Ids{1, kHi, 2}, {.skip_special = false}), "<s>hi</s>");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(" a", kPlain)), " a");
  expect_error([&] { tokenizer.decode(Ids{270}); }, ErrorKind::kInvalidArgument,
               "token id 270 is outside the vocabulary of 270");
  expect_error([&] { tokenizer.piece(-1); }, ErrorKind::kInvalidArgument, "token id -1");
}

TEST(SentencePiece, TheScoreDecidesNotTheOrder) {
  // "abi": with "bi" scored above "ab" the pair on the right is joined first.
  GgufWriter gguf = tiny_gguf();
  std::string& tokens = gguf.entry("tokenizer.ggml.tokens").payload;
  const std::string old_piece = gguf_string("▁ab"), new_piece = gguf_string("bi");
  tokens.replace(tokens.rfind(old_piece), old_piece.size(), new_piece);
  const TokenId kBi = kSpaceAb;
  EXPECT_EQ(from_gguf(gguf).encode("abi", kPlain), (Ids{kSpace, kAb, kI}));
  std::string& scores = gguf.entry("tokenizer.ggml.scores").payload;
  scores.replace(12 + 4 * kBi, 4, raw(1.0f));
  EXPECT_EQ(from_gguf(gguf).encode("abi", kPlain), (Ids{kSpaceA, kBi}));
}

TEST(SentencePiece, TokensMayReachAcrossWords) {
  GgufWriter gguf = tiny_gguf();
  std::string& tokens = gguf.entry("tokenizer.ggml.tokens").payload;
  const std::string old_piece = gguf_string("▁ab"), new_piece = gguf_string("i▁a");
  tokens.replace(tokens.rfind(old_piece), old_piece.size(), new_piece);
  gguf.entry("tokenizer.ggml.scores").payload.replace(12 + 4 * kSpaceAb, 4, raw(1.0f));
  EXPECT_EQ(from_gguf(gguf).encode("hi a", kPlain), (Ids{kSpace, kH, kSpaceAb}));
}

TEST(AddedTokens, TheLeftmostAndThenTheLongestAddedTokenIsFound) {
  TinyFolder tiny;
  for (const auto& [id, text] : {std::pair{300, "<x>"}, {301, "<x><y>"}, {302, "><"}})
    tiny.tokenizer["added_tokens"].push_back({{"id", id}, {"content", text}});
  const Tokenizer tokenizer = from_folder(tiny);
  EXPECT_EQ(tokenizer.encode("<x><y>", kPlain), Ids{301});
  EXPECT_EQ(tokenizer.encode("<x><x>", kPlain), (Ids{300, 300}));
  EXPECT_EQ(tokenizer.encode("a><", kPlain), (Ids{kSpaceA, 302}));
}

TEST(AddedTokens, TakeWhiteSpaceWithThem) {
  TinyFolder tiny;
  tiny.tokenizer["added_tokens"].push_back({{"id", 300}, {"content", "<l>"}, {"lstrip", true}});
  tiny.tokenizer["added_tokens"].push_back({{"id", 301}, {"content", "<r>"}, {"rstrip", true}});
  const Tokenizer tokenizer = from_folder(tiny);
  EXPECT_EQ(tokenizer.encode("a \n<l> b", kPlain), (Ids{kSpaceA, 300, kSpace, kSpace, kB}));
  EXPECT_EQ(tokenizer.encode("a<r> \t", kPlain), (Ids{kSpaceA, 301}));
  EXPECT_EQ(tokenizer.encode("  <l><r>  b", kPlain), (Ids{300, 301, kSpace, kB}));
}

TEST(ByteLevel, AWholeWordNeedsNoMergingWhereTheFamilySaysSo) {
  TinyFolder tiny;
  const nlohmann::ordered_json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const auto encode = [&](bool ignore_merges) {
    tiny.tokenizer = {{"added_tokens", nlohmann::json::array()},
                      {"pre_tokenizer", level},
                      {"model",
                       {{"type", "BPE"},
                        {"ignore_merges", ignore_merges},
                        {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"abc", 4}, {"Ġ", 5}}},
                        {"merges", nlohmann::ordered_json::array({"a b"})}}}};
    return from_folder(tiny).encode("abc abcb", kPlain);
  };
  EXPECT_EQ(encode(true), (Ids{4, 5, 3, 2, 1}));
  EXPECT_EQ(encode(false), (Ids{3, 2, 5, 3, 2, 1}));
}

TEST(ByteLevel, AnyBytesSurvive) {
  std::mt19937 random(1);
  for (const char* name : {"llama3", "smollm", "sentencepiece"}) {
    const Tokenizer tokenizer = small(name);
    for (int round = 0; round < 500; ++round) {
      std::string text(random() % 60, '\0');
      for (char& c : text)
        c = static_cast<char>(random() % 3 == 0 ? random() : ' ' + random() % 90);
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, kPlain)), text) << name;
    }
  }
}

TEST(ByteLevel, ComposesWhereTheFamilyAsksForIt) {
  const std::string apart = "e\xCC\x81", composed = "\xC3\xA9";
  const Tokenizer nfc = small("smollm");
  EXPECT_EQ(nfc.encode(apart, kPlain), nfc.encode(composed, kPlain));
  EXPECT_EQ(nfc.decode(nfc.encode("\xff" + apart + "\xfe", kPlain)), "\xff" + composed + "\xfe");
  const Tokenizer plain = small("llama3");
  EXPECT_EQ(plain.decode(plain.encode(apart, kPlain)), apart);
}

TEST(ByteLevel, UserTokensAreNeverSplitAndControlTokensOnlyWhenAsked) {
  const Tokenizer tokenizer = small("llama3");
  const TokenId user = tokenizer.find("snake_case").value();
  EXPECT_FALSE(tokenizer.is_special(user));
  EXPECT_EQ(tokenizer.encode("snake_case", kPlain), Ids{user});
  const TokenId end = tokenizer.find("<|im_end|>").value();
  EXPECT_TRUE(tokenizer.is_special(end));
  EXPECT_GT(tokenizer.encode("<|im_end|>", kPlain).size(), 1u);
  EXPECT_EQ(tokenizer.encode("<|im_end|>", {.add_special = false, .parse_special = true}),
            Ids{end});
  EXPECT_EQ(tokenizer.stop_tokens(), (Ids{tokenizer.find("<|end|>").value(), end}));
  EXPECT_EQ(tokenizer.encode(""), Ids{tokenizer.find("<|begin|>").value()});
}

TEST(ByteLevel, LongWordsTakeNoLongTime) {
  const Tokenizer tokenizer = small("llama3");
  for (const std::string& unit : {std::string("a"), std::string(" "), std::string("!"),
                                  std::string("ab"), std::string("\n"), std::string(" \n")}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    EXPECT_TRUE(tokenizer.decode(tokenizer.encode(text, kPlain)) == text) << unit;
  }
}

TEST(ByteLevel, ThreadsShareATokenizer) {
  const Tokenizer tokenizer = small("smollm");
  const std::string text = read_file(golden("make_tokenizer_golden.py"));
  const Ids expected = small("smollm").encode(text, kPlain);
  std::vector<std::thread> threads;
  std::vector<Ids> results(4);
  for (Ids& result : results)
    threads.emplace_back([&] { result = tokenizer.encode(text, kPlain); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

// The stream of a whole text is the text, and every part of it is valid UTF-8.
TEST(Streaming, GivesWholeCharacters) {
  const std::string text = "a é 你好 🦙🚀 e\xCC\x81 done";
  for (const char* name : {"llama3", "sentencepiece"}) {
    const Tokenizer tokenizer = small(name);
    StreamDecoder stream(tokenizer, {.skip_special = true, .at_text_start = true});
    std::string streamed;
    for (TokenId id : tokenizer.encode(text)) {
      const std::string part = stream.add(id);
      EXPECT_TRUE(part.empty() || (static_cast<uint8_t>(part[0]) & 0xC0) != 0x80) << name;
      streamed += part;
    }
    EXPECT_EQ(streamed + stream.finish(), text) << name;
  }
}

TEST(Streaming, ReplacesWhatCanNeverBeACharacter) {
  const Tokenizer tokenizer = from_gguf(tiny_gguf());
  const std::string kReplacement = "\xEF\xBF\xBD";
  const auto stream = [&](std::initializer_list<uint8_t> bytes) {
    StreamDecoder decoder(tokenizer);
    std::string text;
    for (uint8_t value : bytes) text += decoder.add(byte(value)) + "|";
    return text + decoder.finish();
  };
  EXPECT_EQ(stream({0xC3, 0xA9}), "|é|");
  EXPECT_EQ(stream({0xE2, 0x82, 0xAC}), "||€|");
  EXPECT_EQ(stream({0xC3, 'x'}), "|" + kReplacement + "x|");
  EXPECT_EQ(stream({0xFF, 'x'}), kReplacement + "|x|");
  EXPECT_EQ(stream({0xF0, 0x9F}), "||" + kReplacement);
  EXPECT_EQ(stream({0xED, 0xA0}), "|" + kReplacement + kReplacement + "|");
  EXPECT_EQ(stream({0xC0, 0x80}), kReplacement + "|" + kReplacement + "|");
}

TEST(Streaming, ContinuesAPromptWithItsSpace) {
  const Tokenizer tokenizer = from_gguf(tiny_gguf());
  StreamDecoder inside(tokenizer);
  EXPECT_EQ(inside.add(kSpaceHi), " hi");
  StreamDecoder start(tokenizer, {.skip_special = true, .at_text_start = true});
  EXPECT_EQ(start.add(1), "");
  EXPECT_EQ(start.add(kSpaceHi), "hi");
  EXPECT_EQ(start.add(kSpaceHi), " hi");
}

TEST(PreTokenizer, CutsAsTheFamiliesDo) {
  const auto words = [](const char* family, std::string_view text) {
    std::vector<std::string> all;
    PreTokenizer(expressions_of(family)).split(text, [&](std::string_view word) {
      all.emplace_back(word);
    });
    return all;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(words("gpt-2", "it's  12345 x"), (Words{"it", "'s", " ", " 12345", " x"}));
  EXPECT_EQ(words("smollm", "it's  123 x"), (Words{"it", "'s", "  ", "1", "2", "3", " x"}));
  EXPECT_EQ(words("qwen2", "IT'S 12345\n\n x"),
            (Words{"IT", "'S", " ", "1", "2", "3", "4", "5", "\n\n", " x"}));
  EXPECT_EQ(words("llama-bpe", "a.b 12345!\n"), (Words{"a", ".b", " ", "123", "45", "!\n"}));
  EXPECT_EQ(words("llama-bpe",
                  "a\xff\xff"
                  "b"),
            (Words{"a", "\xff", "\xff", "b"}));
  EXPECT_EQ(words("gpt-2", ""), Words{});
  expect_error([] { expressions_of("unknown"); }, ErrorKind::kUnsupported, "is not known");
}

}  // namespace
}  // namespace pagoda::engine
