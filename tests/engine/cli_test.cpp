// The program from outside: what it prints where, and its exit status. Results go to stdout, all
// else to stderr; a failure is one sentence and leaves stdout empty.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/engine/test_models.h"
#include "tests/engine/tiny_models.h"

namespace pagoda::engine {
namespace {

struct Outcome {
  int status = -1;
  std::string out, err;
};

// Words are quoted for the shell; none of them contains a single quote.
Outcome pagoda_cli(const std::vector<std::string>& words) {
  const auto folder = test_folder("cli_outcome");
  std::string command = PAGODA_CLI;
  for (const std::string& word : words) command += " '" + word + "'";
  command += " >" + (folder / "out").string() + " 2>" + (folder / "err").string();
  const int status = std::system(command.c_str());
  return {.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          .out = read_file(folder / "out"),
          .err = read_file(folder / "err")};
}

void expect_refused(const std::vector<std::string>& words, const std::string& part) {
  const Outcome outcome = pagoda_cli(words);
  EXPECT_EQ(outcome.status, 1) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  EXPECT_TRUE(outcome.err.starts_with("pagoda: ")) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

std::string story() {
  return read_file(stories_folder() / "expected_greedy_n200.txt");
}

class CliWithModel : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(stories_model())) GTEST_SKIP() << kNoStories;
  }
  static std::vector<std::string> run(std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "--model", stories_model().string()});
    return more;
  }
};

TEST_F(CliWithModel, QuietPrintsTheTextAndNothingElse) {
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {},
           {"--page-size", "64", "--threads", "1", "--no-prefix-cache"},
           {"--backend", "reference", "--prefill-chunk", "7"},
           {"--backend", "cpu", "--isa", "scalar", "--page-size", "8", "--num-pages", "30"}}) {
    std::vector<std::string> words =
        run({"--prompt", "", "--max-tokens", "200", "--temperature", "0", "--quiet"});
    words.insert(words.end(), flags.begin(), flags.end());
    const Outcome outcome = pagoda_cli(words);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.out, story());
    EXPECT_EQ(outcome.err, "");
  }
}

TEST_F(CliWithModel, QuantisedCachesTellAStoryToo) {
  const auto folder = test_folder("cli_kv");
  const std::string text = (stories_folder() / "expected_greedy_n200.txt").string();
  const std::string scales = (folder / "scales.safetensors").string();
  const Outcome measured = pagoda_cli(
      {"calibrate", "--model", stories_model().string(), "--text", text, "--out", scales});
  ASSERT_EQ(measured.status, 0) << measured.err;
  EXPECT_NE(measured.out.find(scales), std::string::npos) << measured.out;
  for (const char* format : {"fp8", "fp8-token", "int8", "int8-channel-v", "int8-keys"}) {
    const Outcome outcome =
        pagoda_cli(run({"--prompt", "Once upon a time", "--max-tokens", "8", "--temperature", "0",
                        "--quiet", "--kv-format", format, "--kv-scales", scales}));
    EXPECT_EQ(outcome.status, 0) << format << outcome.err;
    EXPECT_EQ(outcome.out, ", there was a little girl\n") << format;
  }
  const std::vector<std::string> measure{
      "perplexity", "--model", stories_model().string(), "--file", text, "--kv-format", "int8"};
  std::vector<std::string> opted_out = measure, same = measure;
  opted_out.insert(opted_out.end(), {"--kv-same-layers", "0,1,2,3,4,sliding"});
  same.back() = "same";
  const std::string unquantised = pagoda_cli(same).out;
  EXPECT_EQ(pagoda_cli(opted_out).out, unquantised);
  EXPECT_NE(pagoda_cli(measure).out, unquantised);
}

TEST_F(CliWithModel, WrongChoicesOfTheCacheAreRefused) {
  expect_refused(run({"--prompt", "x", "--kv-format", "int8-channel-v", "--quiet"}), "calibrate");
  expect_refused(run({"--prompt", "x", "--kv-same-layers", "1,nine", "--quiet"}), "\"nine\"");
  expect_refused(run({"--prompt", "x", "--kv-same-layers", "77", "--quiet"}), "no layer 77");
}

TEST_F(CliWithModel, ALineOfFiguresCloses) {
  const Outcome outcome = pagoda_cli(run({"--prompt", "Once upon", "--max-tokens", "30"}));
  EXPECT_EQ(outcome.status, 0);
  const std::regex line(
      "prompt 3 tokens, [0-9.]+/s; generated 30 tokens, [0-9.]+/s; pages 2 of 3 used, 0 shared; "
      "prefix hits 0 tokens; preemptions 0\n");
  EXPECT_TRUE(std::regex_match(outcome.err, line)) << outcome.err;
}

TEST_F(CliWithModel, JsonIsALineForEachPromptInTheirOrder) {
  const auto prompts = test_folder("cli_prompts") / "prompts.txt";
  write_file(prompts,
             "Once upon a time\n\n"
             R"({"prompt": "One day", "max_tokens": 5, "temperature": 0.9, "seed": 4})"
             "\n"
             R"({"prompt": "Once upon a time", "stop": [","]})"
             "\n");
  const Outcome outcome = pagoda_cli(
      run({"--prompts-file", prompts.string(), "--json", "--max-tokens", "9", "--page-size", "8"}));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  std::istringstream lines(outcome.out);
  std::vector<nlohmann::json> all;
  for (std::string line; std::getline(lines, line);) all.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(all.size(), 3);
  EXPECT_EQ(all[0]["text"], ", there was a little girl named");
  EXPECT_EQ(all[0]["finish"], "length");
  EXPECT_EQ(all[1]["prompt"], "One day");
  EXPECT_EQ(all[1]["tokens"].size(), 5);
  EXPECT_EQ(all[2]["text"], "");
  EXPECT_EQ(all[2]["finish"], "stop-string");
  const auto figures = nlohmann::json::parse(outcome.err).at("figures");
  EXPECT_EQ(figures.at("generated_tokens"), 9 + 5 + 1);
}

TEST_F(CliWithModel, CascadeReadsSharedPagesOnceAndChangesNoToken) {
  const auto prompts = test_folder("cli_cascade") / "prompts.txt";
  const std::string beginning = story().substr(0, 440);
  std::string lines;
  for (const char* end : {"One day", "Lily", "The dog", "Tom was", "Then"})
    lines += nlohmann::json{{"prompt", beginning + " " + end}}.dump() + "\n";
  write_file(prompts, lines);
  std::map<std::string, nlohmann::json> figures;
  std::string text;
  for (const char* cascade : {"never", "always", "auto"}) {
    const Outcome outcome =
        pagoda_cli(run({"--prompts-file", prompts.string(), "--json", "--max-tokens", "20",
                        "--page-size", "8", "--prefill-chunk", "64", "--cascade", cascade}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    if (text.empty()) text = outcome.out;
    EXPECT_EQ(outcome.out, text) << cascade;
    figures[cascade] = nlohmann::json::parse(outcome.err).at("figures");
  }
  const auto number = [&](const char* cascade, const char* name) {
    return figures.at(cascade).at(name).get<int64_t>();
  };
  EXPECT_EQ(number("never", "key_bytes"), number("never", "key_bytes_without_cascade"));
  EXPECT_EQ(number("never", "cascade_steps"), 0);
  EXPECT_GE(number("always", "cascade_requests"), 3);
  EXPECT_EQ(number("always", "key_bytes_without_cascade"), number("never", "key_bytes"));
  EXPECT_LT(number("always", "key_bytes"), number("never", "key_bytes") * 9 / 10);
}

TEST(Cli, ExplainTellsWhatAStepWouldShare) {
  const std::vector<std::string> step{"explain",           "--backend", "cpu",
                                      "--threads",         "1",         "--requests",
                                      "1:300,1:300,1:400", "--shared",  "256"};
  const auto with = [&](const char* cascade) {
    std::vector<std::string> words = step;
    words.insert(words.end(), {"--cascade", cascade});
    const Outcome outcome = pagoda_cli(words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out.substr(outcome.out.find("this step"));
  };
  EXPECT_NE(with("always").find("1 group on 1 level: 3 requests share 256 keys"),
            std::string::npos);
  EXPECT_EQ(with("never"), "this step\ncascade    none: tuning.cascade is -1\n");
  expect_refused({"explain", "--page-size", "0", "--shared", "64"}, "--shared is for a cache");
}

TEST_F(CliWithModel, TextsOfSeveralPromptsHaveHeadings) {
  const auto prompts = test_folder("cli_headings") / "prompts.txt";
  write_file(prompts, "Once upon a time\nOnce upon a time, there\n");
  const Outcome outcome =
      pagoda_cli(run({"--prompts-file", prompts.string(), "--max-tokens", "4"}));
  EXPECT_EQ(outcome.out,
            "> Once upon a time\n, there was a\n\n> Once upon a time, there\n was a little g\n");
}

TEST_F(CliWithModel, TokenIdsAndTokenizeAgree) {
  const Outcome ids =
      pagoda_cli(run({"--prompt", "", "--max-tokens", "12", "--token-ids", "--quiet"}));
  std::string list = ids.out.substr(0, ids.out.size() - 1);
  std::replace(list.begin(), list.end(), ' ', ',');
  const Outcome text =
      pagoda_cli({"tokenize", "--model", stories_model().string(), "--decode", list});
  EXPECT_TRUE(story().starts_with(text.out.substr(0, text.out.size() - 1))) << text.out;
  const Outcome back = pagoda_cli({"tokenize", "--model", stories_model().string(), "--text",
                                   text.out.substr(0, text.out.size() - 1), "--json", "--no-bos"});
  EXPECT_EQ(nlohmann::json::parse(back.out).dump(), "[" + list + "]");
}

TEST_F(CliWithModel, KvmapDrawsWhatHappened) {
  const auto picture = test_folder("cli_kvmap") / "map.svg";
  const Outcome outcome =
      pagoda_cli({"kvmap", "--model", stories_model().string(), "--page-size", "8", "--num-pages",
                  "40", "--prefill-chunk", "32", "--out", picture.string()});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const std::string svg = read_file(picture);
  EXPECT_TRUE(svg.starts_with("<svg")) << svg.substr(0, 80);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_EQ(svg.find("0 preemptions"), std::string::npos) << "the example should show some";
  for (const char* part : {"shared by several requests", "12 requests on 39 pages of 8 tokens"})
    EXPECT_NE(svg.find(part), std::string::npos) << part;
}

TEST_F(CliWithModel, PerplexityDoesNotDependOnTheCut) {
  const auto text = test_folder("cli_perplexity") / "text.txt";
  write_file(text, story());
  std::string first;
  for (const char* chunk : {"512", "7"}) {
    const Outcome outcome =
        pagoda_cli({"perplexity", "--model", stories_model().string(), "--file", text.string(),
                    "--prefill-chunk", chunk, "--window", "100"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    if (first.empty()) first = outcome.out;
    EXPECT_EQ(outcome.out, first);
  }
  std::smatch value;
  ASSERT_TRUE(std::regex_search(first, value, std::regex("perplexity ([0-9.]+) over ([0-9]+)")));
  // The model's own most probable text: on average it is nearly sure of each token.
  EXPECT_GT(std::stod(value[1]), 1.0);
  EXPECT_LT(std::stod(value[1]), 2.0);
}

TEST_F(CliWithModel, GuessesChangeTheFiguresAndNotTheText) {
  const Outcome plain = pagoda_cli(run({"--prompt", "Tim and Tim", "--max-tokens", "60"}));
  const std::string model = stories_model().string();
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {"--draft", "ngram:2:5"}, {"--draft-model", model, "--draft-tokens", "3"}}) {
    std::vector<std::string> words = run({"--prompt", "Tim and Tim", "--max-tokens", "60"});
    words.insert(words.end(), flags.begin(), flags.end());
    const Outcome outcome = pagoda_cli(words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.out, plain.out);
    const std::regex drafts(".*; drafts [1-9][0-9]* tokens, [0-9]+ accepted \\([0-9.]+ %\\)\n");
    EXPECT_TRUE(std::regex_match(outcome.err, drafts)) << outcome.err;
    words.insert(words.end(), {"--json"});
    const auto figures = nlohmann::json::parse(pagoda_cli(words).err).at("figures");
    EXPECT_GT(figures.at("accepted_tokens"), 0);
    EXPECT_GE(figures.at("drafted_tokens"), figures.at("accepted_tokens"));
  }
  for (const char* form : {"ngram:3", "ngram:0:4", "ngram:3:4x", "words:3:4", "ngram:3:-1"})
    expect_refused(run({"--prompt", "x", "--draft", form}), "ngram:SUFFIX:TOKENS");
}

TEST_F(CliWithModel, BenchPrintsRatesOfEveryCaseAsJson) {
  const Outcome outcome =
      pagoda_cli({"bench", "--model", stories_model().string(), "--prompts", "3,40", "--generate",
                  "5", "--requests", "2", "--repeats", "2", "--threads", "2"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto result = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(result.at("threads"), 2);
  EXPECT_GT(result.at("peak_memory_mib"), 1);
  std::vector<std::string> names;
  for (const auto& one : result.at("cases")) {
    names.push_back(one.at("case"));
    EXPECT_GT(one.at("tokens_per_second_median"), 0) << names.back();
    EXPECT_GE(one.at("tokens_per_second_best"), one.at("tokens_per_second_median"));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"prompt_3", "prompt_40", "generate_1", "generate_2"}));
}

TEST(Cli, EmbedPrintsNumbersJsonOrSimilarities) {
  if (minilm_folder().empty()) GTEST_SKIP() << "all-MiniLM-L6-v2 is not here";
  const std::string model = minilm_folder().string();
  const std::vector<std::string> texts{"--text", "That is a happy person", "--text",
                                       "That is a happy dog"};
  const auto embed = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"embed", "--model", model};
    words.insert(words.end(), texts.begin(), texts.end());
    words.insert(words.end(), more.begin(), more.end());
    return pagoda_cli(words).out;
  };
  EXPECT_EQ(embed({"--similarity"}), "1.0000\t0.6946\n0.6946\t1.0000\n");
  std::istringstream lines(embed({"--json"})), numbers(embed({}));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const auto first = nlohmann::json::parse(line);
  EXPECT_EQ(first.at("tokens"), 7);
  for (const auto& value : first.at("embedding")) {
    double number = 0;
    ASSERT_TRUE(numbers >> number);
    EXPECT_NEAR(number, value.get<double>(), 1e-7);
  }
}

TEST_F(CliWithModel, EmbedRefusesADecoder) {
  expect_refused({"embed", "--model", stories_model().string(), "--text", "x"}, "config.json");
}

// Of a build without CUDA, and of a machine without a device.
TEST_F(CliWithModel, ADeviceThatIsNotThereIsRefusedWithARemedy) {
  if (std::filesystem::exists("/dev/nvidiactl")) GTEST_SKIP() << "there is a CUDA device";
  for (const char* remedy : {"CUDA device", "the device cpu"})
    expect_refused(run({"--prompt", "x", "--device", "cuda", "--quiet"}), remedy);
}

TEST_F(CliWithModel, WrongValuesAreRefusedWithARemedy) {
  expect_refused(run({"--prompt", "x", "--num-pages", "3"}), "--num-pages 18");
  expect_refused(run({"--prompt", "x", "--page-size", "12"}), "multiple of 8");
  expect_refused(run({"--prompt", "x", "--page-size", "-8"}), "page size of -8");
  expect_refused(run({"--prompt", "x", "--temperature", "-1"}), "temperature is -1");
  expect_refused(run({"--prompt", "x", "--backend", "abacus"}), "abacus");
  expect_refused(run({"--prompt", "x", "--isa", "mmx"}), "scalar");
  expect_refused(run({"--prompt", "x", "--system", "be kind"}), "--system needs a chat");
  expect_refused(run({"--prompt", "x", "--chat"}), "no chat template");
  expect_refused(run({"--prompt", std::string(3000, 'x')}), "context only 512");
  expect_refused(run({"--prompts-file", "/nonexistent"}), "/nonexistent cannot be read");
}

TEST_F(CliWithModel, OutputThatCannotBeWrittenIsAFailure) {
  std::string command = PAGODA_CLI " run --quiet --max-tokens 5 --prompt x --model ";
  command += stories_model().string() + " >/dev/full 2>&1";
  EXPECT_NE(std::system(command.c_str()), 0);
}

TEST_F(CliWithModel, ABadPromptsFileIsNamedByLine) {
  const auto prompts = test_folder("cli_bad_prompts") / "prompts.txt";
  write_file(prompts, "fine\n{\"prompt\": 5}\n");
  expect_refused(run({"--prompts-file", prompts.string()}), "line 2");
  write_file(prompts, "\n\n");
  expect_refused(run({"--prompts-file", prompts.string()}), "holds no prompts");
}

// What the page says of each backend that this machine can use is what the backend answers.
TEST(Cli, TheSupportTableIsFresh) {
  const std::string page =
      read_file(std::filesystem::path(PAGODA_SOURCE_DIR) / "docs/reference/support.md");
  const Outcome outcome = pagoda_cli({"support", "--markdown"});
  EXPECT_EQ(outcome.status, 0);
  size_t begin = 0;
  int parts = 0;
  while (begin < outcome.out.size()) {
    const size_t end = std::min(outcome.out.find("\n## ", begin + 1), outcome.out.size());
    const std::string part = outcome.out.substr(begin, end - begin);
    EXPECT_NE(page.find(part), std::string::npos)
        << "docs/reference/support.md is stale; `pagoda support --markdown` prints\n"
        << part;
    begin = end;
    parts++;
  }
  EXPECT_GE(parts, 3) << "an introduction, cpu and reference";
}

TEST(Cli, MistypedWordsBringASuggestion) {
  expect_refused({"run", "--model", "x", "--promt", "y"}, "did you mean --prompt?");
  expect_refused({"run", "--model", "x", "--prompt", "y", "--max-token=5"},
                 "did you mean --max-tokens?");
  expect_refused({"rum"}, "did you mean run?");
  expect_refused({"kvmap", "--model", "x", "--outt", "y"}, "did you mean --out?");
}

TEST(Cli, WhatIsNoModelIsRefusedByItsKind) {
  const auto folder = test_folder("cli_files");
  const auto refused = [&](const std::string& name, const std::string& bytes,
                           const std::string& part) {
    write_file(folder / name, bytes);
    expect_refused({"run", "--model", (folder / name).string(), "--prompt", "x"}, part);
  };
  refused("lfs.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "LFS");
  refused("text.gguf", "This is a story about a model.", "GGUF");
  const std::string whole = tiny_gguf().file();
  refused("short.gguf", whole.substr(0, whole.size() / 2), "the file has");
  refused("head.gguf", whole, "head_dim");  // a head_dim of 4, which attention does not have
  expect_refused({"run", "--model", (folder / "nothing").string(), "--prompt", "x"}, "there is no");
}

}  // namespace
}  // namespace pagoda::engine
