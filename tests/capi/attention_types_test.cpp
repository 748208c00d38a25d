// Kinds of attention that are arrangements of plans and batches: encoders, cross attention, layers
// that share a cache, requests with their own causal flags, chunks, parts and padding of a batch.
#include "small_attention.h"

namespace pagoda::test {
namespace {

class AttentionTypes : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Backends, AttentionTypes, testing::Values("reference", "cpu"),
                         [](const auto& info) { return std::string(info.param); });

// Requests of these query and key lengths; pages, if any, are taken in a scattered order.
struct Requests {
  std::vector<int32_t> query_start_loc{0}, seq_lens, key_start_loc{0}, page_table;
  std::vector<int64_t> slots;  // of the queries' own tokens
  Batch batch;

  Requests(const std::vector<int32_t>& query_lens, const std::vector<int32_t>& key_lens,
           bool paged = false)
      : seq_lens(key_lens), page_table(key_lens.size() * 4) {
    for (size_t r = 0; r < query_lens.size(); ++r) {
      query_start_loc.push_back(query_start_loc.back() + query_lens[r]);
      key_start_loc.push_back(key_start_loc.back() + key_lens[r]);
      for (size_t i = 0; i < 4; ++i)
        page_table[r * 4 + i] = static_cast<int32_t>((r * 4 + i) * 7 % 31 + 1);
      for (int32_t p = key_lens[r] - query_lens[r]; p < key_lens[r] && paged; ++p)
        slots.push_back(slot(static_cast<int32_t>(r), p));
    }
    batch.num_reqs = static_cast<int32_t>(query_lens.size());
    batch.num_tokens = query_start_loc.back();
    batch.query_start_loc = query_start_loc.data();
    batch.seq_lens = seq_lens.data();
    if (!paged) {
      batch.key_start_loc = key_start_loc.data();
      return;
    }
    batch.page_table = page_table.data();
    batch.page_table_stride = batch.page_table_width = 4;
    batch.slot_mapping = slots.data();
  }
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;

  int64_t slot(int32_t r, int32_t position) const {
    return int64_t{page_table[static_cast<size_t>(r * 4 + position / kPageSize)]} * kPageSize +
           position % kPageSize;
  }
  // Calls visit(request, token, position) for every query token.
  template <class Visit>
  void for_each_query(const Visit& visit) const {
    for (int32_t r = 0; r < batch.num_reqs; ++r) {
      const auto at = static_cast<size_t>(r);
      const int32_t end = query_start_loc[at + 1];
      for (int32_t t = query_start_loc[at]; t < end; ++t) visit(r, t, seq_lens[at] - (end - t));
    }
  }
};

// The keys of all requests in one array, placed on their pages.
void place(SmallCache& cache, const Requests& requests, const Rows& key, const Rows& value) {
  for (int32_t r = 0; r < requests.batch.num_reqs; ++r)
    for (int32_t j = 0; j < requests.seq_lens[static_cast<size_t>(r)]; ++j) {
      const int64_t from = requests.key_start_loc[static_cast<size_t>(r)] + j;
      const int64_t to = requests.slot(r, j) * kKvHeads * kDim;
      std::copy_n(key.row(from, 0), kKvHeads * kDim, cache.keys.values.begin() + to);
      std::copy_n(value.row(from, 0), kKvHeads * kDim, cache.values.values.begin() + to);
    }
}

TEST_P(AttentionTypes, EncoderHasASymmetricWindowAndEveryScore) {
  const Requests requests({5, 12, 1, 7}, {5, 12, 1, 7});
  const Rows query(25, kHeads, 1), key(25, kKvHeads, 2), value(25, kKvHeads, 3);
  const std::vector<float> slopes{0.5f, 0.25f, 0.125f, 1}, sinks{0.5f, -1, 2, 0};
  Spec spec = small_spec(0);
  spec.causal = 0;
  spec.has_window = 1;
  spec.window_left = spec.window_right = 3;  // a window of 4 tokens: the token and 3 on each side
  spec.logit_softcap = 2;
  spec.alibi = PAGODA_ALIBI_LINEAR;
  spec.has_sinks = 1;
  Layer layer;
  layer.alibi_slopes = slopes.data();
  layer.sinks = sinks.data();
  SmallPlan plan(GetParam(), spec);
  plan.prepare(requests.batch);
  const Attended result = plan.forward(layer, query, &key, &value);
  requests.for_each_query([&](int32_t r, int32_t t, int32_t p) {
    for (size_t h = 0; h < kHeads; ++h)
      expect_row(result, query, t, static_cast<int64_t>(h),
                 {.key = key,
                  .value = value,
                  .first = requests.key_start_loc[static_cast<size_t>(r)],
                  .num_keys = requests.seq_lens[static_cast<size_t>(r)],
                  .sees = [p](int32_t j) { return std::abs(p - j) <= 3; },
                  .score =
                      [&, p](double s, int32_t j) {
                        return 2 * std::tanh(s / 2) + double{slopes[h]} * (j - p);
                      },
                  .sink = sinks[h]});
  });
}

TEST_P(AttentionTypes, AnEncoderHasNoCacheToQuantiseOrToWrite) {
  Spec spec = small_spec(0);
  spec.causal = 0;
  SmallPlan plan(GetParam(), spec);
  const Requests requests({3}, {3});
  plan.prepare(requests.batch);
  const Rows rows(3, kKvHeads, 1);
  EXPECT_THROW(plan.update({}, rows, rows), Error);
  spec.kv_format = PAGODA_KV_FP8_E4M3;
  EXPECT_THROW(SmallPlan(GetParam(), spec), Error);
}

// More queries than keys, fewer, and an encoder that gave nothing.
TEST_P(AttentionTypes, CrossAttentionHasKeysOfOtherLengths) {
  const Requests requests({6, 2, 3, 1}, {2, 9, 0, 4});
  const Rows query(12, kHeads, 4), key(15, kKvHeads, 5), value(15, kKvHeads, 6);
  Spec spec = small_spec(0);
  spec.causal = 0;
  SmallPlan plan(GetParam(), spec);
  plan.prepare(requests.batch);
  const Attended result = plan.forward({}, query, &key, &value);
  requests.for_each_query([&](int32_t r, int32_t t, int32_t) {
    for (int64_t h = 0; h < kHeads; ++h)
      expect_row(result, query, t, h,
                 {.key = key,
                  .value = value,
                  .first = requests.key_start_loc[static_cast<size_t>(r)],
                  .num_keys = requests.seq_lens[static_cast<size_t>(r)],
                  .sees = [](int32_t) { return true; }});
  });
}

// The first step writes the encoder's keys to pages, the second has no keys; both attend as if the
// keys came with the call.
TEST_P(AttentionTypes, CrossAttentionWritesOnceAndAttendsInEveryStep) {
  const Requests requests({6, 2, 1}, {2, 9, 4}, true);
  const Rows key(15, kKvHeads, 5), value(15, kKvHeads, 6);
  Spec spec = small_spec(kPageSize);
  spec.causal = 0;
  SmallPlan plan(GetParam(), spec);
  Spec without_cache = spec;
  without_cache.page_size = 0;
  SmallPlan same(GetParam(), without_cache);
  SmallCache cache;

  std::vector<int32_t> num_computed(3), key_start_loc(4);
  std::vector<int64_t> slots(15);
  for (int step = 0; step < 2; ++step) {
    CrossBatch cross;
    cross.num_reqs = 3;
    cross.encoder_lens = requests.seq_lens.data();
    cross.num_computed = num_computed.data();
    cross.page_table = requests.page_table.data();
    cross.page_table_stride = cross.page_table_width = 4;
    cross.page_size = kPageSize;
    cross.key_start_loc = key_start_loc.data();
    cross.slot_mapping = slots.data();
    cross.slot_capacity = 15;
    check(pagoda_make_cross(&cross));
    ASSERT_EQ(cross.num_keys, step == 0 ? 15 : 0);
    Batch batch = requests.batch;
    if (cross.num_keys > 0) {
      batch.num_tokens = cross.num_keys;
      batch.query_start_loc = key_start_loc.data();
      batch.slot_mapping = slots.data();
      plan.prepare(batch);
      plan.update(cache.layer, key, value);
    }
    const Requests queries(
        step == 0 ? std::vector<int32_t>{6, 2, 1} : std::vector<int32_t>{1, 1, 1},
        requests.seq_lens);
    const Rows query(queries.batch.num_tokens, kHeads, 7);
    batch.num_tokens = queries.batch.num_tokens;
    batch.query_start_loc = queries.query_start_loc.data();
    batch.slot_mapping = nullptr;
    plan.prepare(batch);
    same.prepare(queries.batch);
    EXPECT_EQ(plan.forward(cache.layer, query), same.forward({}, query, &key, &value)) << step;
    num_computed = {6, 2, 1};
  }
}

TEST_P(AttentionTypes, ALayerThatSharesACacheReadsAndNeverWritesIt) {
  const Requests requests({4, 1}, {12, 20}, true);
  const Rows own_key(32, kKvHeads, 1), own_value(32, kKvHeads, 2);
  const Rows query(5, kHeads, 3), other_query(5, kHeads, 4);
  SmallCache cache;
  place(cache, requests, own_key, own_value);
  SmallPlan plan(GetParam(), small_spec(kPageSize));
  plan.prepare(requests.batch);
  plan.forward(cache.layer, query);
  const std::vector<float> keys = cache.keys.values, values = cache.values.values;
  const Attended result = plan.forward(cache.layer, other_query);  // the sharing layer
  EXPECT_EQ(cache.keys.values, keys);
  EXPECT_EQ(cache.values.values, values);
  requests.for_each_query([&](int32_t r, int32_t t, int32_t p) {
    for (int64_t h = 0; h < kHeads; ++h)
      expect_row(result, other_query, t, h,
                 {.key = own_key,
                  .value = own_value,
                  .first = requests.key_start_loc[static_cast<size_t>(r)],
                  .num_keys = requests.seq_lens[static_cast<size_t>(r)],
                  .sees = [p](int32_t j) { return j <= p; }});
  });
}

// Behind the last layer that writes, a prompt's other tokens need not be computed.
TEST_P(AttentionTypes, TheLastQueriesOfAPromptGiveTheSameBitsAlone) {
  const Requests requests({9, 1, 5}, {20, 12, 5}, true);
  const Rows key(37, kKvHeads, 1), value(37, kKvHeads, 2), query(15, kHeads, 3);
  SmallCache cache;
  place(cache, requests, key, value);
  SmallPlan plan(GetParam(), small_spec(kPageSize));
  plan.prepare(requests.batch);
  const Attended whole = plan.forward(cache.layer, query);
  const std::vector<int32_t> tokens{7, 8, 9, 14};
  const SubBatch some = last_queries(requests.batch, tokens);
  plan.prepare(some.batch);
  constexpr int64_t kRow = kHeads * kDim;
  Rows few(4, kHeads);
  for (size_t i = 0; i < tokens.size(); ++i)
    std::copy_n(query.row(tokens[i], 0), kRow, few.values.begin() + static_cast<int64_t>(i) * kRow);
  const Attended result = plan.forward(cache.layer, few);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto row = result.out.begin() + static_cast<int64_t>(i) * kRow;
    EXPECT_TRUE(std::equal(row, row + kRow, whole.out.begin() + tokens[i] * kRow)) << i;
  }
}

TEST_P(AttentionTypes, RequestsHaveTheirOwnCausalFlags) {
  const std::vector<uint8_t> causal{1, 0, 0, 1};
  Requests requests({4, 4, 6, 1}, {12, 12, 6, 9}, true);
  requests.batch.causal = causal.data();
  const Rows key(39, kKvHeads, 1), value(39, kKvHeads, 2), query(15, kHeads, 3);
  SmallCache cache;
  place(cache, requests, key, value);
  Spec spec = small_spec(kPageSize);
  spec.has_window = 1;
  spec.window_left = 2;
  spec.window_right = -1;
  SmallPlan plan(GetParam(), spec);
  plan.prepare(requests.batch);
  const Attended result = plan.forward(cache.layer, query);
  requests.for_each_query([&](int32_t r, int32_t t, int32_t p) {
    const bool is_causal = causal[static_cast<size_t>(r)] == 1;
    for (int64_t h = 0; h < kHeads; ++h)
      expect_row(result, query, t, h,
                 {.key = key,
                  .value = value,
                  .first = requests.key_start_loc[static_cast<size_t>(r)],
                  .num_keys = requests.seq_lens[static_cast<size_t>(r)],
                  .sees = [=](int32_t j) { return j >= p - 2 && j <= (is_causal ? p : p + 2); }});
  });
}

TEST_P(AttentionTypes, ChunksAreVirtualRequests) {
  const Requests requests({4, 10, 5, 1}, {6, 27, 9, 16}, true);
  const Rows key(58, kKvHeads, 1), value(58, kKvHeads, 2), query(20, kHeads, 3);
  SmallCache cache;
  place(cache, requests, key, value);
  SmallPlan plan(GetParam(), small_spec(kPageSize));
  ChunkedBatch chunked(requests.batch, 8, kPageSize);
  plan.prepare(chunked.batch(requests.batch));
  const Attended result = plan.forward(cache.layer, query);
  requests.for_each_query([&](int32_t r, int32_t t, int32_t p) {
    for (int64_t h = 0; h < kHeads; ++h)
      expect_row(result, query, t, h,
                 {.key = key,
                  .value = value,
                  .first = requests.key_start_loc[static_cast<size_t>(r)],
                  .num_keys = requests.seq_lens[static_cast<size_t>(r)],
                  .sees = [p](int32_t j) { return j <= p && j / 8 == p / 8; }});
  });
}

TEST_P(AttentionTypes, PartsOfABatchGiveTheSameBits) {
  const Requests requests({1, 1, 4, 9}, {12, 20, 4, 30}, true);
  const Rows key(66, kKvHeads, 1), value(66, kKvHeads, 2), query(15, kHeads, 3);
  SmallCache cache;
  place(cache, requests, key, value);
  SmallPlan plan(GetParam(), small_spec(kPageSize));
  plan.prepare(requests.batch);
  const Attended whole = plan.forward(cache.layer, query);
  const Split split = split_decodes(requests.query_start_loc, 15);
  ASSERT_EQ(split.num_decodes, 2);
  for (const auto& [first, count] : {std::pair{0, split.num_decodes}, {2, split.num_prefills}}) {
    const SubBatch sub = sub_batch(requests.batch, first, count);
    Rows part(sub.batch.num_tokens, kHeads);
    std::copy_n(query.row(sub.first_token, 0), part.values.size(), part.values.begin());
    plan.prepare(sub.batch);
    const Attended result = plan.forward(cache.layer, part);
    EXPECT_TRUE(std::equal(result.out.begin(), result.out.end(),
                           whole.out.begin() + int64_t{sub.first_token} * kHeads * kDim));
  }
}

TEST_P(AttentionTypes, PaddingForAGraphChangesNothing) {
  Requests requests({1, 1, 4}, {12, 20, 4}, true);
  const Rows key(36, kKvHeads, 1), value(36, kKvHeads, 2), query(12, kHeads, 3);
  SmallCache cache;
  place(cache, requests, key, value);
  SmallPlan plan(GetParam(), small_spec(kPageSize));
  plan.prepare(requests.batch);
  Rows real(6, kHeads);
  std::copy_n(query.values.begin(), real.values.size(), real.values.begin());
  const Attended alone = plan.forward(cache.layer, real);

  requests.query_start_loc.resize(9);
  requests.seq_lens.resize(8);
  requests.page_table.resize(32);
  requests.slots.resize(12);
  Batch& batch = requests.batch;
  batch.query_start_loc = requests.query_start_loc.data();
  batch.seq_lens = requests.seq_lens.data();
  batch.page_table = requests.page_table.data();
  batch.slot_mapping = requests.slots.data();
  pad_batch(batch, 8, 12);
  plan.prepare(batch);
  const std::vector<float> keys = cache.keys.values;
  plan.update(cache.layer, Rows(12, kKvHeads, 8), Rows(12, kKvHeads, 9));
  place(cache, requests, key, value);
  EXPECT_EQ(cache.keys.values, keys) << "padding was written somewhere";
  const Attended padded = plan.forward(cache.layer, query);
  EXPECT_TRUE(std::equal(alone.out.begin(), alone.out.end(), padded.out.begin()));
  for (size_t i = alone.out.size(); i < padded.out.size(); ++i) EXPECT_EQ(padded.out[i], 0.0f);
  for (size_t h = 0; h < kHeads; ++h)
    for (size_t t = 6; t < 12; ++t)
      EXPECT_EQ(padded.lse[h * 12 + t], -std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace pagoda::test
