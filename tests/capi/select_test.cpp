// Selection: every reason in order, explicit choices that are kept or refused, and nothing of a
// spec that is ignored.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <pagoda/select.hpp>

#include "small_attention.h"

namespace pagoda::test {
namespace {

TEST(Select, NamesTheBackendsInOrderOfPreference) {
  const std::vector<std::string> names = backend_names();
  ASSERT_GE(names.size(), 2u);
  EXPECT_EQ(names.back(), "reference");
  EXPECT_NE(std::find(names.begin(), names.end(), "cpu"), names.end());
  EXPECT_EQ(pagoda_backend_name(-1), nullptr);
  EXPECT_EQ(pagoda_backend_name(static_cast<int32_t>(names.size())), nullptr);
}

TEST(Select, SaysWhichKernelServes) {
  const Answer answer = select("reference", small_spec(8));
  EXPECT_EQ(answer.verdict, PAGODA_SERVES);
  EXPECT_EQ(answer.kernel, "reference.direct");
  EXPECT_TRUE(answer.reasons.empty());
  EXPECT_TRUE(select("cpu", small_spec(8)).kernel.starts_with("cpu."));
}

TEST(Select, TellsEveryReasonInOrder) {
  Spec spec = small_spec(0);
  spec.kv_format = PAGODA_KV_INT8_TOKEN;
  Tuning tuning;
  tuning.kernel = "abacus";
  for (const char* backend : {"cpu", "reference"}) {
    const Answer answer = select(backend, spec, nullptr, &tuning);
    EXPECT_EQ(answer.verdict, PAGODA_REFUSES);
    ASSERT_EQ(answer.reasons.size(), 2u) << backend;
    EXPECT_NE(answer.reasons[0].find("kv_format"), std::string::npos) << answer.reasons[0];
    EXPECT_NE(answer.reasons[1].find("abacus"), std::string::npos) << answer.reasons[1];
    // A plan on this backend is refused with the same reasons, all of them.
    ContextOptions options;
    options.backend = backend;
    const Context context(options);
    try {
      const Plan plan(context, spec, small_limits(), tuning);
      ADD_FAILURE() << backend << " served after all";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), PAGODA_UNSUPPORTED);
      for (const std::string& reason : answer.reasons)
        EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }
}

TEST(Select, AnExplicitChoiceIsKept) {
  Tuning tuning;
  tuning.kernel = "reference.online";
  EXPECT_EQ(select("reference", small_spec(8), nullptr, &tuning).kernel, "reference.online");
  tuning.kernel = "cpu.scalar";
  EXPECT_EQ(select("cpu", small_spec(8), nullptr, &tuning).kernel, "cpu.scalar");
  tuning.kernel = "reference.direct";
  tuning.num_splits = 4;
  EXPECT_EQ(select("reference", small_spec(8), nullptr, &tuning).verdict, PAGODA_REFUSES);
}

TEST(Select, WhatIsNotLegalOrNotThereIsToldApart) {
  Spec spec = small_spec(8);
  spec.head_dim = 12;
  const Answer answer = select("cpu", spec);
  EXPECT_EQ(answer.verdict, PAGODA_NOT_LEGAL);
  ASSERT_EQ(answer.reasons.size(), 1u);
  EXPECT_NE(answer.reasons[0].find("head_dim is 12"), std::string::npos) << answer.reasons[0];
  EXPECT_EQ(select("abacus", small_spec(8)).verdict, PAGODA_NOT_USABLE);
  EXPECT_EQ(pagoda_select(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0),
            std::string("backend is NULL").size());
  pagoda_verdict verdict = PAGODA_SERVES;
  EXPECT_GT(pagoda_select("cpu", nullptr, nullptr, nullptr, &verdict, nullptr, 0), 0u);
  EXPECT_EQ(verdict, PAGODA_NOT_LEGAL);
}

struct Change {
  const char* field;
  std::function<void(Spec&)> apply;
};

// A field that a backend serves changes what the plan says or what attention gives; a field that
// changes neither would be ignored.
TEST(Select, NothingOfASpecIsIgnored) {
  const std::vector<Change> changes{
      {"num_kv_heads", [](Spec& s) { s.num_kv_heads = 4; }},
      {"head_dim_v", [](Spec& s) { s.head_dim_v = 8; }},
      {"dtype", [](Spec& s) { s.dtype = PAGODA_BF16; }},
      {"page_size", [](Spec& s) { s.page_size = 16; }},
      {"no cache", [](Spec& s) { s.page_size = 0; }},
      {"softmax_scale", [](Spec& s) { s.softmax_scale = 0.5f; }},
      {"logit_softcap", [](Spec& s) { s.logit_softcap = 30; }},
      {"causal", [](Spec& s) { s.causal = 0; }},
      {"window", [](Spec& s) { s.has_window = 1, s.window_left = 4, s.window_right = -1; }},
      {"alibi", [](Spec& s) { s.alibi = PAGODA_ALIBI_LINEAR; }},
      {"sqrt alibi", [](Spec& s) { s.alibi = PAGODA_ALIBI_SQRT; }},
      {"sinks", [](Spec& s) { s.has_sinks = 1; }},
      {"fp8", [](Spec& s) { s.kv_format = PAGODA_KV_FP8_E4M3; }},
      {"fp8 token", [](Spec& s) { s.kv_format = PAGODA_KV_FP8_E4M3_TOKEN; }},
      {"int8 token", [](Spec& s) { s.kv_format = PAGODA_KV_INT8_TOKEN; }},
      {"int8 channel", [](Spec& s) { s.kv_format = PAGODA_KV_INT8_CHANNEL_V; }},
      {"int8 keys", [](Spec& s) { s.kv_format = PAGODA_KV_INT8_KEYS; }},
      {"int8 queries", [](Spec& s) { s.query_format = PAGODA_QUERY_INT8; }},
      {"fp8 queries", [](Spec& s) { s.query_format = PAGODA_QUERY_FP8_E4M3; }},
  };
  for (const char* backend : {"cpu", "reference"}) {
    ContextOptions options;
    options.backend = backend;
    options.num_threads = 1;
    const Context context(options);
    std::vector<std::string> descriptions{Plan(context, small_spec(8), small_limits()).describe()};
    for (const Change& change : changes) {
      Spec spec = small_spec(8);
      change.apply(spec);
      if (select(backend, spec).verdict != PAGODA_SERVES) continue;
      const std::string description = Plan(context, spec, small_limits()).describe();
      EXPECT_EQ(std::count(descriptions.begin(), descriptions.end(), description), 0)
          << backend << " says nothing of " << change.field;
      descriptions.push_back(description);
    }
  }
}

}  // namespace
}  // namespace pagoda::test
