#include "step_memory.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "launch.h"

namespace pagoda::cuda {
namespace {

constexpr const char* kHeader = "cuda.header";
constexpr const char* kDecodeItems = "cuda.decode_items";
constexpr const char* kPrefillTiles = "cuda.prefill_tiles";
constexpr const char* kPartialOut = "cuda.partial_out";
constexpr const char* kPartialMl = "cuda.partial_ml";
constexpr const char* kCounters = "cuda.counters";  // the next tile, MixedCounters, the arrivals

constexpr size_t kCountersBeforeMixed = 32, kCountersBeforeArrivals = 64;  // lines of their own

// As Prepared::region, without a string that is made to look for another: every forward asks for
// half a dozen.
template <class T>
T* region_of(const Prepared& prepared, std::string_view name) {
  for (const Region& region : prepared.map.regions())
    if (region.name == name) return reinterpret_cast<T*>(prepared.workspace + region.offset);
  return prepared.region<T>(std::string(name).c_str());  // says that there is none
}

int32_t clamp_to_int32(size_t n) {
  return static_cast<int32_t>(std::min<size_t>(n, INT32_MAX));
}

SplitRule split_rule_of(const Problem& problem) {
  return {.automatic = kSplitKeys, .num_splits = problem.tuning.num_splits};
}

// Rows of partial states of one key head: enough for a single request on the whole device and for a
// full batch of short queries in its splits. Steps that need more attend their requests whole.
size_t max_slots(const Problem& problem) {
  const Limits& limits = problem.limits;
  const auto rows = static_cast<size_t>(
      std::min<int64_t>(int64_t{limits.max_query_len} * problem.group(), kMaxDecodeRows));
  const auto splits = static_cast<size_t>(
      std::min(split_count(split_rule_of(problem), limits.max_seq_len), kMaxSplits));
  const auto reqs = static_cast<size_t>(limits.max_reqs);
  const size_t useful = std::min<size_t>(rows * splits, 8 * kMaxSplits);
  // Short requests in many pieces, while those are fewer than the blocks of a device.
  const size_t pieces = size_t{kShortKeys / kLeastLeafKeys};
  const size_t lone =
      rows * std::min(reqs * pieces, 512 / static_cast<size_t>(problem.num_kv_heads) + pieces);
  // Requests that have the device to themselves use two sets of slots by turns.
  return std::max(reqs * std::max(useful, rows),
                  2 * std::max(rows * splits * size_t{kLeaves}, lone));
}

// Pieces of full batches; leaves while those are fewer than the blocks of a device.
size_t max_items(const Problem& problem) {
  const auto reqs = static_cast<size_t>(problem.limits.max_reqs);
  const auto rows =
      static_cast<size_t>(problem.limits.max_tokens) * static_cast<size_t>(problem.group());
  return (reqs + 32) * size_t{kMaxSplits} + rows / 8 + 1;
}

}  // namespace

void add_step_regions(const Problem& problem, const CudaKernel& kernel, WorkspaceMap& map) {
  const auto reqs = static_cast<size_t>(problem.limits.max_reqs);
  const auto rows =
      static_cast<size_t>(problem.limits.max_tokens) * static_cast<size_t>(problem.group());
  const size_t slots = max_slots(problem) * static_cast<size_t>(problem.num_kv_heads);
  map.add_array(kHeader, 1, sizeof(ScheduleHeader));
  map.add_array(kDecodeItems, max_items(problem), sizeof(DecodeItem));
  // A request, and the padding behind the last, has at most one tile that is not full.
  const auto rows_per_tile = static_cast<size_t>(kernel.prefill->config.rows);
  map.add_array(kPrefillTiles, reqs + rows / rows_per_tile + 1, sizeof(PrefillTile));
  map.add_array(kPartialOut, slots * static_cast<size_t>(problem.head_dim_v), sizeof(float));
  map.add_array(kPartialMl, slots * 2, sizeof(float));
  map.add_array(kCounters, kCountersBeforeArrivals + slots, sizeof(uint32_t));
}

void queue_schedule(const Prepared& prepared, const KernelEntry* decode, int32_t num_sms,
                    cudaStream_t stream) {
  const Problem& problem = prepared.problem;
  const Batch& batch = prepared.batch;
  const auto& kernel = static_cast<const CudaKernel&>(prepared.kernel);
  const Region& counters = prepared.map.find(kCounters);
  check_cuda(cudaMemsetAsync(prepared.workspace + counters.offset, 0, counters.size, stream),
             "clearing the counters of a step");
  launch_schedule(
      {.query_start_loc = batch.query_start_loc,
       .seq_lens = batch.seq_lens,
       .causal = batch.causal,
       .num_reqs = batch.num_reqs,
       .num_tokens = batch.num_tokens,
       .group = problem.group(),
       .rows_per_item = decode ? decode->config.rows : 8,
       .rows_per_tile = kernel.prefill->config.rows,
       .max_decode_rows = decode ? kMaxDecodeRows : 0,
       .num_kv_heads = problem.num_kv_heads,
       .num_decode_blocks = decode ? decode_blocks(*decode, num_sms) : 1,
       .num_prefill_blocks = prefill_blocks(*kernel.prefill, num_sms),
       .max_items = clamp_to_int32(max_items(problem)),
       .max_slots = clamp_to_int32(max_slots(problem)),
       .mask = problem.mask,
       .splits = split_rule_of(problem),
       .has_short_splits = problem.kv_format == PAGODA_KV_SAME && problem.tuning.num_splits == 0,
       .head_dim_v = problem.head_dim_v,
       .partial_out = prepared.region<float>(kPartialOut),
       .partial_ml = prepared.region<float>(kPartialMl),
       .header = prepared.region<ScheduleHeader>(kHeader),
       .decode_items = prepared.region<DecodeItem>(kDecodeItems),
       .prefill_tiles = prepared.region<PrefillTile>(kPrefillTiles)},
      stream);
}

void fill_step_pointers(const Prepared& prepared, AttendParams& params) {
  params.schedule = region_of<ScheduleHeader>(prepared, kHeader);
  params.decode_items = region_of<DecodeItem>(prepared, kDecodeItems);
  params.prefill_tiles = region_of<PrefillTile>(prepared, kPrefillTiles);
  params.partial_out = region_of<float>(prepared, kPartialOut);
  params.partial_ml = region_of<float>(prepared, kPartialMl);
  if (uses_mixed(prepared))
    params.mixed = reinterpret_cast<MixedCounters*>(region_of<uint32_t>(prepared, kCounters) +
                                                    kCountersBeforeMixed);
  params.arrivals = region_of<uint32_t>(prepared, kCounters) + kCountersBeforeArrivals;
}

uint32_t* next_tile_of(const Prepared& prepared) {
  return region_of<uint32_t>(prepared, kCounters);
}

}  // namespace pagoda::cuda
