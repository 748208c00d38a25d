// The binary interface of kv.h as numbers.
#include <gtest/gtest.h>
#include <pagoda/kv.h>

#include <cstddef>

extern "C" int64_t kv_slot_in_c11(void);

namespace {

TEST(KvAbi, SizesOnLp64) {
  EXPECT_EQ(sizeof(pagoda_cache_group), 32u);
  EXPECT_EQ(sizeof(pagoda_cache_event), 56u);
  EXPECT_EQ(sizeof(pagoda_cache_options), 96u);
  EXPECT_EQ(sizeof(pagoda_cache_extra), 32u);
  EXPECT_EQ(sizeof(pagoda_cache_request), 80u);
  EXPECT_EQ(sizeof(pagoda_cache_request_info), 20u);
  EXPECT_EQ(sizeof(pagoda_cache_step), 72u);
  EXPECT_EQ(sizeof(pagoda_cache_stats), 96u);
  EXPECT_EQ(sizeof(pagoda_cache_page_info), 32u);
}

TEST(KvAbi, OffsetsOnLp64) {
  EXPECT_EQ(offsetof(pagoda_cache_group, page_bytes), 24u);
  EXPECT_EQ(offsetof(pagoda_cache_options, seed), 40u);
  EXPECT_EQ(offsetof(pagoda_cache_options, on_event), 80u);
  EXPECT_EQ(offsetof(pagoda_cache_request, salt), 32u);
  EXPECT_EQ(offsetof(pagoda_cache_request, no_prefix_cache), 76u);
  EXPECT_EQ(offsetof(pagoda_cache_step, page_table), 40u);
  EXPECT_EQ(offsetof(pagoda_cache_step, slot_mapping), 64u);
  EXPECT_EQ(offsetof(pagoda_cache_stats, num_hit_tokens), 88u);
}

TEST(KvAbi, WorksFromC) {
  EXPECT_EQ(kv_slot_in_c11(), 2 * 4 + 1);
}

}  // namespace
