// Every function with every pointer argument NULL in turn: a typed error or a documented meaning.
#include "world.h"

namespace pagoda::test {
namespace {

class NullArguments : public ::testing::Test {
 protected:
  NullArguments() : world("reference") { EXPECT_EQ(world.run().status, PAGODA_OK); }

  void expect_invalid(pagoda_status status, const char* sentence) {
    EXPECT_EQ(status, PAGODA_INVALID_ARGUMENT);
    EXPECT_NE(std::string(pagoda_last_error()).find(sentence), std::string::npos)
        << pagoda_last_error();
  }

  World world;
};

TEST_F(NullArguments, Context) {
  expect_invalid(pagoda_context_create(&world.options, nullptr), "out is NULL");
  pagoda_context* context = nullptr;
  EXPECT_EQ(pagoda_context_create(nullptr, &context), PAGODA_OK);  // all defaults
  EXPECT_NE(context, nullptr);
  pagoda_context_destroy(context);
  pagoda_context_destroy(nullptr);
}

TEST_F(NullArguments, Plan) {
  pagoda_plan* plan = nullptr;
  const auto create = [&](pagoda_context* c, const pagoda_spec* s, const pagoda_limits* l) {
    return pagoda_plan_create(c, s, l, nullptr, &plan);
  };
  expect_invalid(create(nullptr, &world.spec, &world.limits), "context is NULL");
  expect_invalid(create(world.context, nullptr, &world.limits), "pagoda_spec is NULL");
  expect_invalid(create(world.context, &world.spec, nullptr), "pagoda_limits is NULL");
  expect_invalid(pagoda_plan_create(world.context, &world.spec, &world.limits, nullptr, nullptr),
                 "out is NULL");
  EXPECT_EQ(plan, nullptr);
  EXPECT_EQ(create(world.context, &world.spec, &world.limits), PAGODA_OK);
  pagoda_plan_destroy(plan);
  pagoda_plan_destroy(nullptr);
  EXPECT_EQ(pagoda_plan_workspace_size(nullptr), 0u);
}

TEST_F(NullArguments, Prepare) {
  expect_invalid(pagoda_plan_prepare(nullptr, &world.batch, nullptr, 0, nullptr), "plan is NULL");
  const size_t size = pagoda_plan_workspace_size(world.plan);
  expect_invalid(pagoda_plan_prepare(world.plan, nullptr, world.workspace.get(), size, nullptr),
                 "pagoda_batch is NULL");
}

TEST_F(NullArguments, StepInfo) {
  StepInfo info;
  expect_invalid(pagoda_plan_step_info(nullptr, &info), "plan is NULL");
  expect_invalid(pagoda_plan_step_info(world.plan, nullptr), "pagoda_step_info is NULL");
  EXPECT_EQ(pagoda_plan_describe_step(nullptr, nullptr, 0), 0u);
}

TEST_F(NullArguments, UpdateCache) {
  World& w = world;
  expect_invalid(pagoda_update_cache(nullptr, &w.layer, &w.key, &w.value, nullptr), "plan is NULL");
  expect_invalid(pagoda_update_cache(w.plan, nullptr, &w.key, &w.value, nullptr),
                 "pagoda_layer is NULL");
  expect_invalid(pagoda_update_cache(w.plan, &w.layer, nullptr, &w.value, nullptr), "key is NULL");
  expect_invalid(pagoda_update_cache(w.plan, &w.layer, &w.key, nullptr, nullptr), "value is NULL");
}

TEST_F(NullArguments, Forward) {
  World& w = world;
  const auto forward = [](pagoda_plan* plan, const pagoda_layer* layer, const pagoda_tensor* query,
                          const pagoda_tensor* out, const pagoda_tensor* lse) {
    return pagoda_forward(plan, layer, query, nullptr, nullptr, out, lse, nullptr);
  };
  expect_invalid(forward(nullptr, &w.layer, &w.query, &w.out, &w.lse), "plan is NULL");
  expect_invalid(forward(w.plan, nullptr, &w.query, &w.out, &w.lse), "pagoda_layer is NULL");
  expect_invalid(forward(w.plan, &w.layer, nullptr, &w.out, &w.lse), "query is NULL");
  expect_invalid(forward(w.plan, &w.layer, &w.query, nullptr, &w.lse), "out is NULL");
  EXPECT_EQ(forward(w.plan, &w.layer, &w.query, &w.out, nullptr), PAGODA_OK);  // no lse wanted
}

TEST_F(NullArguments, Merge) {
  World& w = world;
  Merge merge;
  merge.num_tokens_a = -1;
  merge.out_a = merge.out_b = merge.out = &w.out;
  merge.lse_a = merge.lse_b = &w.lse;
  EXPECT_EQ(pagoda_merge_states(w.context, &merge, nullptr), PAGODA_OK) << pagoda_last_error();
  expect_invalid(pagoda_merge_states(nullptr, &merge, nullptr), "context is NULL");
  expect_invalid(pagoda_merge_states(w.context, nullptr, nullptr), "pagoda_merge is NULL");
  for (const pagoda_tensor* Merge::*field :
       {static_cast<const pagoda_tensor * Merge::*>(&Merge::out_a),
        static_cast<const pagoda_tensor * Merge::*>(&Merge::out_b),
        static_cast<const pagoda_tensor * Merge::*>(&Merge::out),
        static_cast<const pagoda_tensor * Merge::*>(&Merge::lse_a),
        static_cast<const pagoda_tensor * Merge::*>(&Merge::lse_b)}) {
    Merge spoiled = merge;
    spoiled.*field = nullptr;
    expect_invalid(pagoda_merge_states(w.context, &spoiled, nullptr), "NULL");
  }
}

TEST_F(NullArguments, Text) {
  EXPECT_GT(pagoda_doctor(nullptr, 0), 10u);
  EXPECT_GT(pagoda_plan_describe(world.plan, nullptr, 0), 10u);
  EXPECT_EQ(pagoda_plan_describe(nullptr, nullptr, 0), 0u);
  EXPECT_GT(pagoda_explain(&world.spec, nullptr, nullptr, nullptr, 0), 10u);
  char byte = 'x';
  EXPECT_EQ(pagoda_explain(nullptr, nullptr, nullptr, &byte, 1), 0u);
  EXPECT_EQ(byte, '\0');
  EXPECT_NE(std::string(pagoda_last_error()).find("pagoda_spec is NULL"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::test
