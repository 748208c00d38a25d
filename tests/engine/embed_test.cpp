// Sentence embeddings: all-MiniLM-L6-v2 against the same formulas in double
// (golden/make_minilm_golden.py), WordPiece by its rules, and folders that are no such model.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/embed/bert_config.h"
#include "engine/embed/embedder.h"
#include "engine/error.h"
#include "tests/engine/test_data.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;

class MiniLm : public testing::Test {
 protected:
  void SetUp() override {
    if (minilm_folder().empty())
      GTEST_SKIP() << "all-MiniLM-L6-v2 is not here; `pagoda pull minilm` fetches it";
    cases_ = json::parse(read_file(golden("minilm.json")));
    for (const json& c : cases_) texts_.push_back(c["text"]);
  }

  json cases_;
  std::vector<std::string> texts_;
};

TEST_F(MiniLm, TokensAreThoseOfTheTokenizersPackage) {
  const Tokenizer tokenizer = Tokenizer::from_folder(minilm_folder());
  for (const json& c : cases_) {
    std::vector<TokenId> ids = tokenizer.encode(c["text"].get<std::string>());
    const auto expected = c["ids"].get<std::vector<TokenId>>();
    if (ids.size() > 256) {
      ids.resize(256);
      ids.back() = expected.back();
    }
    EXPECT_EQ(ids, expected) << c["text"];
  }
}

TEST_F(MiniLm, EmbeddingsAreThoseOfTheFormulasInDouble) {
  ASSERT_GE(cases_.size(), 30u);
  for (const char* backend : {"cpu", "reference"}) {
    Embedder embedder(minilm_folder(), {.backend = backend});
    const std::vector<Embedding> embeddings = embedder.embed(texts_);
    for (size_t i = 0; i < texts_.size(); ++i) {
      const Embedding expected{.values = cases_[i]["embedding"].get<std::vector<float>>()};
      EXPECT_EQ(embeddings[i].num_tokens, static_cast<int32_t>(cases_[i]["ids"].size()));
      // The golden values have six digits.
      EXPECT_NEAR(similarity(embeddings[i], expected), 1, 1e-5) << texts_[i];
      EXPECT_NEAR(similarity(embeddings[i], embeddings[i]), 1, 1e-6);
    }
  }
}

TEST_F(MiniLm, SimilaritiesHaveTheirFiveDigits) {
  Embedder embedder(minilm_folder());
  const std::vector<Embedding> e = embedder.embed(std::span(texts_).first(4));
  EXPECT_NEAR(similarity(e[0], e[1]), 0.69457, 1e-5);
  EXPECT_NEAR(similarity(e[0], e[2]), 0.94291, 1e-5);
  EXPECT_NEAR(similarity(e[0], e[3]), 0.25687, 1e-5);
}

TEST_F(MiniLm, ATextHasTheSameBitsInAnyCompany) {
  Embedder together(minilm_folder(), {.num_threads = 2});
  Embedder apart(minilm_folder(), {.num_threads = 1, .max_step_tokens = 1});
  const std::vector<Embedding> all = together.embed(texts_);
  for (size_t i = 0; i < texts_.size(); i += 3) {
    const std::vector<Embedding> alone = apart.embed(std::span(texts_).subspan(i, 1));
    EXPECT_EQ(alone[0].values, all[i].values) << texts_[i];
  }
}

TEST_F(MiniLm, LongTextsAreCutAndSaySo) {
  Embedder embedder(minilm_folder());
  const std::vector<Embedding> all = embedder.embed(texts_);
  EXPECT_TRUE(all.back().is_cut);
  EXPECT_EQ(all.back().num_tokens, 256);
  EXPECT_FALSE(all.front().is_cut);
  EXPECT_TRUE(embedder.embed({}).empty());
}

TEST_F(MiniLm, AttentionIsAPlanWithoutACache) {
  const std::string plan = Embedder(minilm_folder()).describe();
  EXPECT_NE(plan.find("keys of the call"), std::string::npos) << plan;
  EXPECT_NE(plan.find("all keys"), std::string::npos) << plan;
}

json word_piece_file(const json& normalizer = json::object()) {
  json vocabulary;
  int id = 0;
  for (const char* piece : {"[UNK]", "un", "##aff", "##able", "##a", "a", ".", "##x", "e", "E"})
    vocabulary[piece] = id++;
  json file = {{"model",
                {{"type", "WordPiece"},
                 {"unk_token", "[UNK]"},
                 {"max_input_chars_per_word", 9},
                 {"vocab", vocabulary}}},
               {"normalizer", {{"type", "BertNormalizer"}}},
               {"pre_tokenizer", {{"type", "BertPreTokenizer"}}}};
  file["normalizer"].update(normalizer);
  return file;
}

Tokenizer word_piece(const json& file) {
  const auto folder = test_folder("word_piece");
  write_file(folder / "tokenizer.json", file.dump());
  return Tokenizer::from_folder(folder);
}

using Ids = std::vector<TokenId>;

TEST(WordPiece, TakesTheLongestPieceAtEachPlace) {
  const Tokenizer tokenizer = word_piece(word_piece_file());
  EXPECT_EQ(tokenizer.encode("unaffable"), (Ids{1, 2, 3}));
  EXPECT_EQ(tokenizer.encode("UNAFF  a.a"), (Ids{1, 2, 5, 6, 5}));
  EXPECT_EQ(tokenizer.encode("unb a"), (Ids{0, 5})) << "no piece for the rest: the word is unknown";
  EXPECT_EQ(tokenizer.encode("unaaaaaaa unaaaaaaaa"), (Ids{1, 4, 4, 4, 4, 4, 4, 4, 0}))
      << "words beyond nine characters are unknown";
  EXPECT_EQ(tokenizer.encode("\xff"
                             "a\xc3"),
            (Ids{5}))
      << "bytes that are no UTF-8 are left out";
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.decode(Ids{1, 2, 3, 5, 6}), "unaffable a .");
}

TEST(WordPiece, SettingsOfTheNormalizerAreKept) {
  EXPECT_EQ(word_piece(word_piece_file()).encode("\u00c9 E"), (Ids{8, 8}));
  EXPECT_EQ(word_piece(word_piece_file({{"lowercase", false}})).encode("\u00c9 E"), (Ids{0, 9}));
  EXPECT_EQ(word_piece(word_piece_file({{"lowercase", false}, {"strip_accents", true}}))
                .encode("\u00c9 E"),
            (Ids{9, 9}));
  EXPECT_EQ(word_piece(word_piece_file({{"strip_accents", false}})).encode("\u00c9"), (Ids{0}));
}

TEST(WordPiece, OtherPipelinesAreRefused) {
  json file = word_piece_file();
  file["normalizer"]["type"] = "NFC";
  EXPECT_THROW(word_piece(file), Error);
  file = word_piece_file();
  file.erase("pre_tokenizer");
  EXPECT_THROW(word_piece(file), Error);
  file = word_piece_file();
  file["model"]["unk_token"] = "[NONE]";
  EXPECT_THROW(word_piece(file), Error);
}

json bert_config() {
  return {{"model_type", "bert"},   {"hidden_act", "gelu"},         {"num_hidden_layers", 1},
          {"hidden_size", 16},      {"intermediate_size", 32},      {"num_attention_heads", 2},
          {"vocab_size", 10},       {"max_position_embeddings", 8}, {"type_vocab_size", 2},
          {"layer_norm_eps", 1e-12}};
}

BertConfig read(const json& config, const char* pooling = nullptr) {
  const auto folder = test_folder("bert_config");
  std::filesystem::remove_all(folder / "1_Pooling");
  write_file(folder / "config.json", config.dump());
  if (pooling != nullptr) {
    std::filesystem::create_directories(folder / "1_Pooling");
    write_file(folder / "1_Pooling" / "config.json", pooling);
  }
  return read_bert_config(folder);
}

TEST(BertConfig, IsReadAndOtherModelsAreRefused) {
  EXPECT_EQ(read(bert_config()).max_tokens, 8);
  EXPECT_EQ(read(bert_config(), R"({"pooling_mode_mean_tokens": true})").head_dim(), 8);
  EXPECT_THROW(read(bert_config(), R"({"pooling_mode_cls_token": true})"), Error);
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, json>>{{"model_type", "llama"},
                                                 {"hidden_act", "relu"},
                                                 {"num_attention_heads", 3},
                                                 {"hidden_size", -16},
                                                 {"num_hidden_layers", 1 << 30},
                                                 {"layer_norm_eps", "small"},
                                                 {"vocab_size", nullptr},
                                                 {"max_position_embeddings", 2}}) {
    json config = bert_config();
    config[key] = value;
    EXPECT_THROW(read(config), Error) << key;
  }
}

}  // namespace
}  // namespace pagoda::engine
