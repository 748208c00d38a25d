// Wrong inputs to the paged cache: each its own status and sentence, and nothing has changed.
#include "kv_world.h"

namespace pagoda::test {
namespace {

constexpr pagoda_status kInvalid = PAGODA_INVALID_ARGUMENT, kLimits = PAGODA_OUT_OF_LIMITS,
                        kUnsupported = PAGODA_UNSUPPORTED, kPages = PAGODA_OUT_OF_PAGES;

struct WrongOptions {
  const char* name;
  void (*spoil)(KvWorld& world);
  pagoda_status status;
  const char* sentence;  // a part of it
};

struct WrongCall {
  const char* name;
  pagoda_status (*call)(KvWorld& world);
  pagoda_status status;
  const char* sentence;
};

// clang-format off
const WrongOptions kOptions[] = {
  {"options_without_size", [](KvWorld& w) { w.options.struct_size = 0; }, kInvalid, "pagoda_cache_options.struct_size is 0"},
  {"no_groups", [](KvWorld& w) { w.options.num_groups = 0; }, kInvalid, "num_groups is 0"},
  {"negative_groups", [](KvWorld& w) { w.options.num_groups = -1; }, kInvalid, "number of groups is -1"},
  {"groups_null", [](KvWorld& w) { w.options.groups = nullptr; }, kInvalid, "groups is NULL, but there are 2"},
  {"group_without_size", [](KvWorld& w) { w.groups[0].struct_size = 0; }, kInvalid, "groups.struct_size is 0"},
  {"group_of_odd_size", [](KvWorld& w) { w.groups[0].struct_size = 33; }, kInvalid, "multiple of 8"},
  {"groups_of_two_sizes", [](KvWorld& w) { w.groups[1].struct_size = 24; }, kInvalid, "groups[1].struct_size is 24"},
  {"page_size_zero", [](KvWorld& w) { w.groups[0].page_size = 0; }, kInvalid, "groups[0].page_size is 0"},
  {"page_size_negative", [](KvWorld& w) { w.groups[1].page_size = -4; }, kInvalid, "groups[1].page_size is -4"},
  {"page_size_huge", [](KvWorld& w) { w.groups[1].page_size = 1 << 30; }, kInvalid, "groups[1].page_size is 1073741824"},
  {"kernel_page_ragged", [](KvWorld& w) { w.groups[0].kernel_page_size = 3; }, kInvalid, "kernel_page_size is 3"},
  {"kernel_page_larger", [](KvWorld& w) { w.groups[0].kernel_page_size = 16; }, kInvalid, "kernel_page_size is 16"},
  {"kernel_page_negative", [](KvWorld& w) { w.groups[0].kernel_page_size = -1; }, kInvalid, "kernel_page_size is -1"},
  {"kernel_ids_too_wide", [](KvWorld& w) { w.groups[0].kernel_page_size = 1; w.num_pages[0] = 1 << 29; }, kInvalid, "do not fit 32 bits"},
  {"window_negative", [](KvWorld& w) { w.groups[1].window = -6; }, kInvalid, "groups[1].window is -6"},
  {"window_on_ranks", [](KvWorld& w) { w.options.num_ranks = 2; }, kUnsupported, "groups[1] has a window"},
  {"no_such_pool", [](KvWorld& w) { w.groups[1].pool = 2; }, kInvalid, "groups[1].pool is 2"},
  {"pool_negative", [](KvWorld& w) { w.groups[0].pool = -1; }, kInvalid, "groups[0].pool is -1"},
  {"page_bytes_negative", [](KvWorld& w) { w.groups[0].page_bytes = -1; }, kInvalid, "page_bytes is -1"},
  {"page_bytes_differ", [](KvWorld& w) { w.groups[1].pool = 0; w.groups[0].page_bytes = 4; w.groups[1].page_bytes = 5; }, kInvalid, "pages are 4 and 5 bytes"},
  {"num_pools_negative", [](KvWorld& w) { w.options.num_pools = -1; }, kInvalid, "num_pools is -1"},
  {"num_pages_null", [](KvWorld& w) { w.options.num_pages = nullptr; }, kInvalid, "num_pages is NULL"},
  {"only_the_null_page", [](KvWorld& w) { w.num_pages[1] = 1; }, kInvalid, "num_pages is 1"},
  {"pages_negative", [](KvWorld& w) { w.num_pages[0] = -4; }, kInvalid, "num_pages is -4"},
  {"pages_beyond_ids", [](KvWorld& w) { w.num_pages[0] = int64_t{1} << 40; }, kInvalid, "1099511627776"},
  {"prefix_cache_is_no_flag", [](KvWorld& w) { w.options.no_prefix_cache = 2; }, kInvalid, "options.no_prefix_cache is 2"},
  {"seed_null", [](KvWorld& w) { w.options.seed_size = 8; }, kInvalid, "seed is NULL, but its size is 8"},
  {"max_reqs_negative", [](KvWorld& w) { w.options.max_reqs = -3; }, kInvalid, "max_reqs is -3"},
  {"max_seq_len_negative", [](KvWorld& w) { w.options.max_seq_len = -3; }, kInvalid, "max_seq_len -3"},
  {"ranks_negative", [](KvWorld& w) { w.groups[1].window = 0; w.options.num_ranks = -2; }, kInvalid, "num_ranks is -2"},
  {"rank_out_of_range", [](KvWorld& w) { w.groups[1].window = 0; w.options.num_ranks = 2; w.options.rank = 2; }, kInvalid, "rank is 2"},
  {"rank_without_ranks", [](KvWorld& w) { w.options.rank = 1; }, kInvalid, "rank is 1"},
  {"interleave_ragged", [](KvWorld& w) { w.options.interleave = 3; }, kInvalid, "interleave is 3"},
};

const WrongCall kCalls[] = {
  {"begin_null", [](KvWorld& w) { return pagoda_cache_begin(w.cache, nullptr, &w.count); }, kInvalid, "pagoda_cache_request is NULL"},
  {"begin_without_size", [](KvWorld& w) { w.request.struct_size = 0; return w.begin(); }, kInvalid, "pagoda_cache_request.struct_size is 0"},
  {"begin_without_out", [](KvWorld& w) { w.request.id = 8; return pagoda_cache_begin(w.cache, &w.request, nullptr); }, kInvalid, "num_cached_tokens is NULL"},
  {"begin_without_cache", [](KvWorld& w) { return pagoda_cache_begin(nullptr, &w.request, &w.count); }, kInvalid, "cache is NULL"},
  {"begin_twice", [](KvWorld& w) { return w.begin(); }, kInvalid, "request 7 is in the cache already"},
  {"begin_without_tokens", [](KvWorld& w) { w.request.id = 8; w.request.num_tokens = 0; return w.begin(); }, kInvalid, "request 8 has 0 tokens"},
  {"begin_negative_tokens", [](KvWorld& w) { w.request.id = 8; w.request.num_tokens = -1; return w.begin(); }, kInvalid, "request 8 has -1 tokens"},
  {"begin_tokens_null", [](KvWorld& w) { w.request.id = 8; w.request.tokens = nullptr; return w.begin(); }, kInvalid, "has no token ids"},
  {"begin_salt_null", [](KvWorld& w) { w.request.id = 8; w.request.salt_size = 4; return w.begin(); }, kInvalid, "salt is NULL"},
  {"begin_adapter_null", [](KvWorld& w) { w.request.id = 8; w.request.adapter_size = 4; return w.begin(); }, kInvalid, "adapter is NULL"},
  {"begin_extras_null", [](KvWorld& w) { w.request.id = 8; w.request.num_extras = 1; return w.begin(); }, kInvalid, "extras is NULL"},
  {"begin_extras_negative", [](KvWorld& w) { w.request.id = 8; w.request.num_extras = -1; return w.begin(); }, kInvalid, "number of extras is -1"},
  {"begin_extra_before_start", [](KvWorld& w) { w.request.id = 8; w.request.extras = &w.extra; w.request.num_extras = 1; w.extra.start = -1; return w.begin(); }, kInvalid, "from position -1"},
  {"begin_extra_past_end", [](KvWorld& w) { w.request.id = 8; w.request.extras = &w.extra; w.request.num_extras = 1; w.extra.length = 18; return w.begin(); }, kInvalid, "covers 18 tokens"},
  {"begin_extra_empty", [](KvWorld& w) { w.request.id = 8; w.request.extras = &w.extra; w.request.num_extras = 1; w.extra.length = 0; return w.begin(); }, kInvalid, "covers 0 tokens"},
  {"begin_extra_without_key", [](KvWorld& w) { w.request.id = 8; w.request.extras = &w.extra; w.request.num_extras = 1; w.extra.key_size = 0; return w.begin(); }, kInvalid, "has no key"},
  {"begin_is_no_flag", [](KvWorld& w) { w.request.id = 8; w.request.no_prefix_cache = -1; return w.begin(); }, kInvalid, "request.no_prefix_cache is -1"},
  {"find_null", [](KvWorld& w) { return pagoda_cache_find(w.cache, nullptr, &w.count); }, kInvalid, "pagoda_cache_request is NULL"},
  {"grow_unknown", [](KvWorld& w) { return pagoda_cache_grow(w.cache, 99, 4); }, kInvalid, "request 99 is not in the cache"},
  {"grow_negative", [](KvWorld& w) { return pagoda_cache_grow(w.cache, 7, -4); }, kInvalid, "num_tokens is -4"},
  {"shrink_unknown", [](KvWorld& w) { return pagoda_cache_shrink(w.cache, 99, 4); }, kInvalid, "request 99 is not in the cache"},
  {"shrink_negative", [](KvWorld& w) { return pagoda_cache_shrink(w.cache, 7, -4); }, kInvalid, "num_tokens is -4"},
  {"grow_too_far", [](KvWorld& w) { return pagoda_cache_grow(w.cache, 7, 73); }, kPages, "needs 7 more pages of pool 0 for 73 tokens; 6 of 9 are left"},
  {"grow_too_far_in_pool_1", [](KvWorld& w) { return pagoda_cache_grow(w.cache, 7, 61); }, kPages, "of pool 1"},
  {"grow_to_the_end", [](KvWorld& w) { return pagoda_cache_grow(w.cache, 7, INT32_MAX); }, kPages, "2147483647 tokens"},
  {"append_unknown", [](KvWorld& w) { return pagoda_cache_append(w.cache, 99, w.tokens.data(), 1); }, kInvalid, "request 99"},
  {"append_negative", [](KvWorld& w) { return pagoda_cache_append(w.cache, 7, w.tokens.data(), -1); }, kInvalid, "num_tokens is -1"},
  {"append_null", [](KvWorld& w) { return pagoda_cache_append(w.cache, 7, nullptr, 1); }, kInvalid, "tokens is NULL"},
  {"append_too_many", [](KvWorld& w) { return pagoda_cache_append(w.cache, 7, w.tokens.data(), INT32_MAX); }, kInvalid, "do not fit 32 bits"},
  {"commit_unknown", [](KvWorld& w) { return pagoda_cache_commit(w.cache, 99, 1); }, kInvalid, "request 99"},
  {"commit_back", [](KvWorld& w) { return pagoda_cache_commit(w.cache, 7, 15); }, kInvalid, "step back"},
  {"commit_unknown_tokens", [](KvWorld& w) { return pagoda_cache_commit(w.cache, 7, 21); }, kInvalid, "20 known tokens"},
  {"free_unknown", [](KvWorld& w) { return pagoda_cache_free(w.cache, 99); }, kInvalid, "request 99"},
  {"reset_while_held", [](KvWorld& w) { return pagoda_cache_reset(w.cache); }, kInvalid, "3 pages are held"},
  {"request_unknown", [](KvWorld& w) { auto info = PAGODA_INIT(pagoda_cache_request_info); return pagoda_cache_get_request(w.cache, 99, &info); }, kInvalid, "request 99"},
  {"request_null", [](KvWorld& w) { return pagoda_cache_get_request(w.cache, 7, nullptr); }, kInvalid, "pagoda_cache_request_info is NULL"},
  {"row_no_such_group", [](KvWorld& w) { return pagoda_cache_page_row(w.cache, 2, 7, 0, nullptr, 0, &w.count); }, kInvalid, "group is 2"},
  {"row_negative_group", [](KvWorld& w) { return pagoda_cache_page_row(w.cache, -1, 7, 0, nullptr, 0, &w.count); }, kInvalid, "group is -1"},
  {"row_first_past_end", [](KvWorld& w) { return pagoda_cache_page_row(w.cache, 0, 7, 4, nullptr, 0, &w.count); }, kInvalid, "first is 4"},
  {"row_first_negative", [](KvWorld& w) { return pagoda_cache_page_row(w.cache, 0, 7, -1, nullptr, 0, &w.count); }, kInvalid, "first is -1"},
  {"row_too_short", [](KvWorld& w) { return pagoda_cache_page_row(w.cache, 0, 7, 0, w.page_table.data(), 2, &w.count); }, kLimits, "room for 2"},
  {"row_null", [](KvWorld& w) { return pagoda_cache_page_row(w.cache, 0, 7, 0, nullptr, 3, &w.count); }, kInvalid, "row is NULL"},
  {"row_without_count", [](KvWorld& w) { return pagoda_cache_page_row(w.cache, 0, 7, 0, nullptr, 0, nullptr); }, kInvalid, "count is NULL"},
  {"slots_unknown", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 0, 99, 16, 4, w.slots.data()); }, kInvalid, "request 99"},
  {"slots_no_such_group", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 2, 7, 16, 4, w.slots.data()); }, kInvalid, "group is 2"},
  {"slots_null", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 0, 7, 16, 4, nullptr); }, kInvalid, "slots is NULL"},
  {"slots_negative_count", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 0, 7, 16, -4, w.slots.data()); }, kInvalid, "slots has -4"},
  {"slots_negative_position", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 0, 7, -1, 1, w.slots.data()); }, kInvalid, "from position -1"},
  {"slots_past_pages", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 0, 7, 18, 3, w.slots.data()); }, kInvalid, "pages for 20 tokens"},
  {"slots_far_past_pages", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 0, 7, INT32_MAX, 3, w.slots.data()); }, kInvalid, "from position 2147483647"},
  {"slots_of_shared_tokens", [](KvWorld& w) { return pagoda_cache_slots(w.cache, 0, 7, 15, 3, w.slots.data()); }, kInvalid, "would write position 15 again"},
  {"fill_null", [](KvWorld& w) { return pagoda_cache_fill(w.cache, 0, nullptr); }, kInvalid, "pagoda_cache_step is NULL"},
  {"fill_no_such_group", [](KvWorld& w) { return pagoda_cache_fill(w.cache, 9, &w.step); }, kInvalid, "group is 9"},
  {"fill_negative_reqs", [](KvWorld& w) { w.step.num_reqs = -1; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "ids has -1"},
  {"fill_ids_null", [](KvWorld& w) { w.step.ids = nullptr; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "ids is NULL"},
  {"fill_lens_null", [](KvWorld& w) { w.step.seq_lens = nullptr; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "seq_lens is NULL"},
  {"fill_loc_null", [](KvWorld& w) { w.step.query_start_loc = nullptr; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "query_start_loc is NULL"},
  {"fill_negative_tokens", [](KvWorld& w) { w.step.num_tokens = -8; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "step.num_tokens is -8"},
  {"fill_few_tokens", [](KvWorld& w) { w.step.num_tokens = 3; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "slot_mapping has 3"},
  {"fill_loc_starts_late", [](KvWorld& w) { w.query_start_loc[0] = 1; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "query_start_loc[0] is 1"},
  {"fill_loc_falls", [](KvWorld& w) { w.query_start_loc[2] = 3; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "it never falls"},
  {"fill_loc_negative", [](KvWorld& w) { w.query_start_loc[1] = INT32_MIN; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "it never falls"},
  {"fill_padding_with_tokens", [](KvWorld& w) { w.query_start_loc[2] = 6; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "seq_lens[1] is 0"},
  {"fill_len_negative", [](KvWorld& w) { w.seq_lens[1] = -1; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "seq_lens[1] is -1"},
  {"fill_second_unknown", [](KvWorld& w) { w.seq_lens[1] = 4; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "request 0 is not in the cache"},
  {"fill_past_pages", [](KvWorld& w) { w.seq_lens[0] = 21; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "pages for 20 tokens"},
  {"fill_shared_tokens", [](KvWorld& w) { w.seq_lens[0] = 19; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "would write position 15 again"},
  {"fill_narrow_table", [](KvWorld& w) { w.step.page_table_width = 2; return pagoda_cache_fill(w.cache, 0, &w.step); }, kLimits, "has 2 columns"},
  {"fill_negative_width", [](KvWorld& w) { w.step.page_table_width = -2; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "page_table_width, -2"},
  {"fill_rows_overlap", [](KvWorld& w) { w.step.page_table_stride = 3; return pagoda_cache_fill(w.cache, 0, &w.step); }, kInvalid, "page_table_stride is 3"},
  {"common_unknown", [](KvWorld& w) { return pagoda_cache_common_prefix(w.cache, 0, w.ids.data(), 2, &w.count); }, kInvalid, "request 0"},
  {"common_null", [](KvWorld& w) { return pagoda_cache_common_prefix(w.cache, 0, nullptr, 2, &w.count); }, kInvalid, "ids is NULL"},
  {"common_no_such_group", [](KvWorld& w) { return pagoda_cache_common_prefix(w.cache, 5, w.ids.data(), 1, &w.count); }, kInvalid, "group is 5"},
  {"step_null", [](KvWorld& w) { return pagoda_cache_step_begin(w.cache, nullptr); }, kInvalid, "step is NULL"},
  {"step_never_begun", [](KvWorld& w) { return pagoda_cache_step_done(w.cache, 1); }, kInvalid, "step 1 is done, but only 0"},
  {"stats_no_such_pool", [](KvWorld& w) { auto s = PAGODA_INIT(pagoda_cache_stats); return pagoda_cache_get_stats(w.cache, 2, &s); }, kInvalid, "pool is 2"},
  {"stats_negative_pool", [](KvWorld& w) { auto s = PAGODA_INIT(pagoda_cache_stats); return pagoda_cache_get_stats(w.cache, -2, &s); }, kInvalid, "pool is -2"},
  {"stats_null", [](KvWorld& w) { return pagoda_cache_get_stats(w.cache, 0, nullptr); }, kInvalid, "pagoda_cache_stats is NULL"},
  {"stats_without_size", [](KvWorld& w) { pagoda_cache_stats s{}; return pagoda_cache_get_stats(w.cache, 0, &s); }, kInvalid, "pagoda_cache_stats.struct_size is 0"},
  {"page_past_end", [](KvWorld& w) { auto p = PAGODA_INIT(pagoda_cache_page_info); return pagoda_cache_get_page(w.cache, 0, 10, &p); }, kInvalid, "page is 10"},
  {"page_negative", [](KvWorld& w) { auto p = PAGODA_INIT(pagoda_cache_page_info); return pagoda_cache_get_page(w.cache, 0, -1, &p); }, kInvalid, "page is -1"},
  {"page_null", [](KvWorld& w) { return pagoda_cache_get_page(w.cache, 0, 1, nullptr); }, kInvalid, "pagoda_cache_page_info is NULL"},
  {"pages_for_negative", [](KvWorld& w) { int64_t n = 0; return pagoda_cache_pages_for(w.cache, 0, -1, 1, &n); }, kInvalid, "num_tokens is -1"},
  {"pages_for_null", [](KvWorld& w) { return pagoda_cache_pages_for(w.cache, 0, 1, 1, nullptr); }, kInvalid, "num_pages is NULL"},
  {"pages_for_no_such_pool", [](KvWorld& w) { int64_t n = 0; return pagoda_cache_pages_for(w.cache, 3, 1, 1, &n); }, kInvalid, "pool is 3"},
};
// clang-format on

TEST(KvWrongInputs, Options) {
  for (const WrongOptions& wrong : kOptions) {
    SCOPED_TRACE(wrong.name);
    KvWorld world;
    wrong.spoil(world);
    world.cache = reinterpret_cast<pagoda_cache*>(1);
    EXPECT_EQ(world.create(), wrong.status) << pagoda_last_error();
    EXPECT_EQ(world.cache, nullptr);
    EXPECT_NE(std::string(pagoda_last_error()).find(wrong.sentence), std::string::npos)
        << pagoda_last_error();
  }
}

TEST(KvWrongInputs, Calls) {
  for (const WrongCall& wrong : kCalls) {
    SCOPED_TRACE(wrong.name);
    KvWorld world;
    world.run();
    const std::vector<int64_t> before = world.look();
    EXPECT_EQ(wrong.call(world), wrong.status) << pagoda_last_error();
    EXPECT_NE(std::string(pagoda_last_error()).find(wrong.sentence), std::string::npos)
        << pagoda_last_error();
    EXPECT_EQ(world.look(), before);
    EXPECT_EQ(world.count, -5) << "an output was written";
    EXPECT_EQ(pagoda_cache_commit(world.cache, 7, 20), PAGODA_OK) << "the request is unusable";
  }
}

TEST(KvWrongInputs, NullCache) {
  KvWorld w;
  uint64_t step = 0;
  int64_t pages = 0;
  auto stats = PAGODA_INIT(pagoda_cache_stats);
  auto page = PAGODA_INIT(pagoda_cache_page_info);
  auto info = PAGODA_INIT(pagoda_cache_request_info);
  for (pagoda_status status :
       {pagoda_cache_reset(nullptr), pagoda_cache_find(nullptr, &w.request, &w.count),
        pagoda_cache_grow(nullptr, 7, 1), pagoda_cache_shrink(nullptr, 7, 1),
        pagoda_cache_append(nullptr, 7, w.tokens.data(), 1), pagoda_cache_commit(nullptr, 7, 1),
        pagoda_cache_free(nullptr, 7), pagoda_cache_get_request(nullptr, 7, &info),
        pagoda_cache_page_row(nullptr, 0, 7, 0, nullptr, 0, &w.count),
        pagoda_cache_slots(nullptr, 0, 7, 0, 1, w.slots.data()),
        pagoda_cache_fill(nullptr, 0, &w.step),
        pagoda_cache_common_prefix(nullptr, 0, w.ids.data(), 1, &w.count),
        pagoda_cache_step_begin(nullptr, &step), pagoda_cache_step_done(nullptr, 0),
        pagoda_cache_get_stats(nullptr, 0, &stats), pagoda_cache_get_page(nullptr, 0, 0, &page),
        pagoda_cache_pages_for(nullptr, 0, 1, 1, &pages)})
    EXPECT_EQ(status, PAGODA_INVALID_ARGUMENT);
  EXPECT_STREQ(pagoda_last_error(), "cache is NULL");
  EXPECT_EQ(pagoda_cache_create(&w.options, nullptr), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(pagoda_cache_create(nullptr, &w.cache), PAGODA_INVALID_ARGUMENT);
  pagoda_cache_destroy(nullptr);
}

}  // namespace
}  // namespace pagoda::test
