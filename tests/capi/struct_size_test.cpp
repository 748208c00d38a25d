// Structs of older and newer headers: what is missing is zero, what is unknown must be.
#include "world.h"

namespace pagoda::test {
namespace {

struct NewerSpec {
  pagoda_spec known;
  uint64_t field_of_tomorrow;
};

NewerSpec newer(const pagoda_spec& spec, uint64_t field) {
  NewerSpec all;
  std::memset(&all, 0, sizeof all);  // what lies between the fields too
  std::memcpy(&all.known, &spec, sizeof spec);
  all.field_of_tomorrow = field;
  return all;
}

TEST(StructSize, AShorterStructHasZerosForTheRest) {
  World world("reference");
  world.spec.has_sinks = 1;  // beyond the shorter size: not seen
  world.spec.struct_size = offsetof(pagoda_spec, has_sinks);
  const Result result = world.run();
  EXPECT_EQ(result.status, PAGODA_OK) << result.sentence;
}

TEST(StructSize, ALongerStructMayHaveZerosBehind) {
  World world("reference");
  NewerSpec spec = newer(world.spec, 0);
  spec.known.struct_size = sizeof spec;
  pagoda_plan* plan = nullptr;
  ASSERT_EQ(world.run().status, PAGODA_OK);
  EXPECT_EQ(pagoda_plan_create(world.context, &spec.known, &world.limits, nullptr, &plan),
            PAGODA_OK)
      << pagoda_last_error();
  pagoda_plan_destroy(plan);
}

TEST(StructSize, AnUnknownFieldThatIsSetIsRefused) {
  World world("reference");
  NewerSpec spec = newer(world.spec, uint64_t{1} << 40);
  spec.known.struct_size = sizeof spec;
  pagoda_plan* plan = nullptr;
  ASSERT_EQ(world.run().status, PAGODA_OK);
  EXPECT_EQ(pagoda_plan_create(world.context, &spec.known, &world.limits, nullptr, &plan),
            PAGODA_UNSUPPORTED);
  EXPECT_NE(std::string(pagoda_last_error())
                .find("sets byte " + std::to_string(offsetof(NewerSpec, field_of_tomorrow) + 5)),
            std::string::npos)
      << pagoda_last_error();
  EXPECT_EQ(plan, nullptr);
}

}  // namespace
}  // namespace pagoda::test
