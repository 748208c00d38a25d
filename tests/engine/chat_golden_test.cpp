// Chat templates against renderings by Jinja2 (golden/make_chat_golden.py): the vendors' templates
// over whole conversations, and small ones of our own that reach the corners of the language.
#include <gtest/gtest.h>

#include "engine/chat/chat.h"
#include "engine/error.h"
#include "engine/formats/gguf.h"
#include "tests/engine/test_data.h"

namespace pagoda::engine {
namespace {

struct Golden {
  Json cases;
  std::tm now = {};
};

Golden read_golden() {
  const Json root = Json::parse(read_file(golden("chat_templates.json")));
  Golden golden{.cases = root["cases"]};
  golden.now.tm_year = root["now"][0].get<int>() - 1900;
  golden.now.tm_mon = root["now"][1].get<int>() - 1;
  golden.now.tm_mday = root["now"][2].get<int>();
  golden.now.tm_hour = root["now"][3].get<int>();
  golden.now.tm_min = root["now"][4].get<int>();
  golden.now.tm_sec = root["now"][5].get<int>();
  return golden;
}

std::filesystem::path file_of(const std::string& name) {
  if (name == "smollm2") return smollm2_file();
  if (name.ends_with(".gguf")) return shared_data("tokenizers/llama.cpp-vocab/" + name);
  return shared_data("chat_templates/" + name);
}

std::string template_source(const std::filesystem::path& path) {
  if (path.extension() != ".gguf") return read_file(path);
  return std::string(GgufFile::open(path).find_string("tokenizer.chat_template").value());
}

void expect_same(const Json& golden_case, const std::string& source, const std::tm& now) {
  SCOPED_TRACE(golden_case.value("template", "feature") + ": " +
               golden_case["title"].get<std::string>());
  std::string text, error;
  try {
    text = ChatTemplate(source).render_variables(golden_case["variables"], now);
  } catch (const Error& refused) {
    EXPECT_EQ(refused.kind(), ErrorKind::kTemplate);
    error = refused.what();
  }
  if (golden_case.contains("error")) {
    EXPECT_NE(error, "") << "Jinja refuses this with " << golden_case["error"];
  } else {
    EXPECT_EQ(error, "");
    EXPECT_EQ(text, golden_case["text"].get<std::string>());
  }
}

TEST(ChatGolden, FeaturesRenderAsJinjaRendersThem) {
  const Golden golden = read_golden();
  int count = 0;
  for (const Json& golden_case : golden.cases) {
    if (!golden_case.contains("source")) continue;
    expect_same(golden_case, golden_case["source"].get<std::string>(), golden.now);
    ++count;
  }
  EXPECT_GE(count, 46);
}

class VendorTemplate : public testing::TestWithParam<const char*> {};

TEST_P(VendorTemplate, RendersConversationsAsJinjaDoes) {
  const std::filesystem::path path = file_of(GetParam());
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "the template " << GetParam() << " is not on this machine";
  const std::string source = template_source(path);
  const Golden golden = read_golden();
  int count = 0;
  for (const Json& golden_case : golden.cases) {
    if (golden_case.value("template", "") != GetParam()) continue;
    expect_same(golden_case, source, golden.now);
    ++count;
  }
  EXPECT_EQ(count, 18);
}

INSTANTIATE_TEST_SUITE_P(All, VendorTemplate,
                         testing::Values("HuggingFaceTB-SmolLM3-3B.jinja",
                                         "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
                                         "Qwen-Qwen2.5-7B-Instruct.jinja", "Qwen-Qwen3-0.6B.jinja",
                                         "meta-llama-Llama-3.1-8B-Instruct.jinja",
                                         "meta-llama-Llama-3.2-3B-Instruct.jinja",
                                         "ggml-vocab-qwen2.gguf", "smollm2"),
                         [](const auto& info) {
                           std::string name;
                           for (const char* c = info.param; *c != '\0'; ++c)
                             name += std::isalnum(*c) ? *c : '_';
                           return name;
                         });

}  // namespace
}  // namespace pagoda::engine
