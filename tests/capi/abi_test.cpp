// The binary interface as numbers: a field that moves breaks programs that were compiled before.
#include <gtest/gtest.h>
#include <pagoda/pagoda.h>

#include <cstddef>

extern "C" uint32_t size_of_spec_in_c99(void);
extern "C" uint32_t size_of_batch_in_c11(void);

namespace {

TEST(Abi, SizesOnLp64) {
  EXPECT_EQ(sizeof(pagoda_tensor), 104u);
  EXPECT_EQ(sizeof(pagoda_context_options), 56u);
  EXPECT_EQ(sizeof(pagoda_spec), 88u);
  EXPECT_EQ(sizeof(pagoda_limits), 32u);
  EXPECT_EQ(sizeof(pagoda_tuning), 24u);
  EXPECT_EQ(sizeof(pagoda_step_info), 40u);
  EXPECT_EQ(sizeof(pagoda_batch), 96u);
  EXPECT_EQ(sizeof(pagoda_layer), 64u);
  EXPECT_EQ(sizeof(pagoda_merge), 56u);
  EXPECT_EQ(sizeof(pagoda_query_codes), 32u);
}

TEST(Abi, OffsetsOnLp64) {
  EXPECT_EQ(offsetof(pagoda_tensor, data), 8u);
  EXPECT_EQ(offsetof(pagoda_tensor, shape), 24u);
  EXPECT_EQ(offsetof(pagoda_tensor, stride), 64u);
  EXPECT_EQ(offsetof(pagoda_spec, dtype), 20u);
  EXPECT_EQ(offsetof(pagoda_spec, has_sinks), 60u);
  EXPECT_EQ(offsetof(pagoda_spec, query_format), 72u);
  EXPECT_EQ(offsetof(pagoda_spec, score_expr), 80u);
  EXPECT_EQ(offsetof(pagoda_layer, query_scale), 56u);
  EXPECT_EQ(offsetof(pagoda_limits, num_pages), 24u);
  EXPECT_EQ(offsetof(pagoda_batch, query_start_loc), 24u);
  EXPECT_EQ(offsetof(pagoda_batch, causal), 80u);
  EXPECT_EQ(offsetof(pagoda_batch, block_mask), 88u);
  EXPECT_EQ(offsetof(pagoda_merge, lse), 48u);
}

TEST(Abi, TheSameInC) {
  EXPECT_EQ(size_of_spec_in_c99(), sizeof(pagoda_spec));
  EXPECT_EQ(size_of_batch_in_c11(), sizeof(pagoda_batch));
}

TEST(Abi, VersionOfLibraryAndHeaderAgree) {
  EXPECT_EQ(pagoda_abi_version(), PAGODA_ABI_VERSION);
}

TEST(Abi, EveryStatusHasAName) {
  for (int status = PAGODA_OK; status <= PAGODA_OUT_OF_PAGES; ++status)
    EXPECT_STRNE(pagoda_status_name(static_cast<pagoda_status>(status)), "unknown status");
  EXPECT_STREQ(pagoda_status_name(static_cast<pagoda_status>(99)), "unknown status");
}

}  // namespace
