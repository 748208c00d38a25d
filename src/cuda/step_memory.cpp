#include "step_memory.h"

#include <algorithm>

#include "launch.h"

namespace pagoda::cuda {
namespace {

constexpr const char* kHeader = "cuda.header";
constexpr const char* kDecodeItems = "cuda.decode_items";
constexpr const char* kPrefillTiles = "cuda.prefill_tiles";
constexpr const char* kPartialOut = "cuda.partial_out";
constexpr const char* kPartialMl = "cuda.partial_ml";
constexpr const char* kCounters = "cuda.counters";  // the next tile, then the arrivals

constexpr int32_t kRowsPerTile = 128;
constexpr size_t kCountersBeforeArrivals = 64;  // a line of its own

SplitRule split_rule_of(const Problem& problem) {
  return {.automatic = kSplitKeys, .num_splits = problem.tuning.num_splits};
}

size_t max_split_rows(const Problem& problem) {
  const Limits& limits = problem.limits;
  const int64_t rows =
      std::min<int64_t>(int64_t{limits.max_query_len} * problem.group(), kMaxDecodeRows);
  const int64_t splits =
      std::min(split_count(split_rule_of(problem), limits.max_seq_len), kMaxSplits);
  return static_cast<size_t>(splits > 1 ? std::min<int64_t>(rows * splits, kMaxSplitRows) : 0);
}

size_t max_slots(const Problem& problem) {
  return static_cast<size_t>(problem.limits.max_reqs) * max_split_rows(problem) *
         static_cast<size_t>(problem.num_kv_heads);
}

}  // namespace

void add_step_regions(const Problem& problem, WorkspaceMap& map) {
  const auto reqs = static_cast<size_t>(problem.limits.max_reqs);
  const auto rows =
      static_cast<size_t>(problem.limits.max_tokens) * static_cast<size_t>(problem.group());
  const size_t slots = max_slots(problem);
  map.add_array(kHeader, 1, sizeof(ScheduleHeader));
  map.add_array(kDecodeItems, reqs * kMaxSplits + rows / 8 + 1, sizeof(DecodeItem));
  map.add_array(kPrefillTiles, reqs + rows / kRowsPerTile + 1, sizeof(PrefillTile));
  map.add_array(kPartialOut, slots * static_cast<size_t>(problem.head_dim_v), sizeof(float));
  map.add_array(kPartialMl, slots * 2, sizeof(float));
  map.add_array(kCounters, kCountersBeforeArrivals + slots, sizeof(uint32_t));
}

void queue_schedule(const Prepared& prepared, int32_t rows_per_item, cudaStream_t stream) {
  const Problem& problem = prepared.problem;
  const Batch& batch = prepared.batch;
  const Region& counters = prepared.map.find(kCounters);
  check_cuda(cudaMemsetAsync(prepared.workspace + counters.offset, 0, counters.size, stream),
             "clearing the counters of a step");
  launch_schedule({.query_start_loc = batch.query_start_loc,
                   .seq_lens = batch.seq_lens,
                   .causal = batch.causal,
                   .num_reqs = batch.num_reqs,
                   .num_tokens = batch.num_tokens,
                   .group = problem.group(),
                   .rows_per_item = rows_per_item,
                   .rows_per_tile = kRowsPerTile,
                   .mask = problem.mask,
                   .splits = split_rule_of(problem),
                   .header = prepared.region<ScheduleHeader>(kHeader),
                   .decode_items = prepared.region<DecodeItem>(kDecodeItems),
                   .prefill_tiles = prepared.region<PrefillTile>(kPrefillTiles)},
                  stream);
}

void fill_step_pointers(const Prepared& prepared, AttendParams& params) {
  params.schedule = prepared.region<ScheduleHeader>(kHeader);
  params.decode_items = prepared.region<DecodeItem>(kDecodeItems);
  params.prefill_tiles = prepared.region<PrefillTile>(kPrefillTiles);
  params.partial_out = prepared.region<float>(kPartialOut);
  params.partial_ml = prepared.region<float>(kPartialMl);
  params.arrivals = prepared.region<uint32_t>(kCounters) + kCountersBeforeArrivals;
}

uint32_t* next_tile_of(const Prepared& prepared) {
  return prepared.region<uint32_t>(kCounters);
}

}  // namespace pagoda::cuda
