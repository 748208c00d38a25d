#include "cascade.h"

#include <algorithm>
#include <sstream>

#include "../core/dtype.h"
#include "../core/kv_format.h"
#include "schedule.h"
#include "select.h"

namespace pagoda::cpu {
namespace {

constexpr const char* kOrder = "cpu.reqs";
constexpr const char* kNodes = "cpu.groups";
constexpr const char* kPending = "cpu.pending";
constexpr const char* kTokens = "cpu.shared";
constexpr const char* kStates = "cpu.left";
// Short names, so that looking for a region makes no string on the heap.
constexpr int kOrders = 3;  // order, deepest and first_slot share a region

// These change speed, never results. A request of many query tokens has rows enough of its own to
// share the reading of a key.
constexpr int32_t kMaxQueryLen = 4;
constexpr int32_t kRowsInPlace = 6, kRowsOfPass = 384;
constexpr int64_t kCacheBytes = int64_t{32} << 20;
constexpr double kByte = 0.13, kState = 0.3, kLevel = 15000;
struct IsaPrices {
  const char* isa;
  double element, product, packed, packed_product;
};
constexpr IsaPrices kPrices[] = {
    // docs/kernels/cpu-attend.md and cpu-amx.md have the measurements. What has not been measured
    // counts as the last.
    {.isa = "amx_fp16",
     .element = 0.11,
     .product = 0.002,
     .packed = 0.19,
     .packed_product = 0.0012},
    {.isa = "amx", .element = 0.11, .product = 0.002, .packed = 0.19, .packed_product = 0.0012},
    {.isa = "avx512", .element = 0.064, .product = 0.011, .packed = 0.18, .packed_product = 0.0176},
    {.isa = "avx2", .element = 0.107, .product = 0.014, .packed = 0.22, .packed_product = 0.0195},
    {.isa = "scalar", .element = 0.149, .product = 0.062, .packed = 0.28, .packed_product = 0.065},
};

CascadePrices prices_of(const Prepared& prepared, int num_threads) {
  const std::string isa = static_cast<const CpuKernel&>(prepared.kernel).isa;
  const IsaPrices* own = std::find_if(std::begin(kPrices), std::end(kPrices) - 1,
                                      [&](const IsaPrices& entry) { return isa == entry.isa; });
  return {.byte = kByte,
          .element = own->element,
          .product = own->product,
          .packed = own->packed,
          .packed_product = own->packed_product,
          .state = kState,
          .level = kLevel * num_threads,
          .cache_bytes = kCacheBytes,
          .rows_in_place = kRowsInPlace,
          .rows_of_pass = kRowsOfPass};
}

int64_t bytes_of_row(CacheFormat format, Dtype dtype, int64_t dim) {
  const auto element = static_cast<int64_t>(size_of(dtype_of(format, dtype)));
  return dim * element + (format.scale == ScaleOf::token ? int64_t{sizeof(float)} : 0);
}

PrefixRules rules_of(const Prepared& prepared, const Geometry& geometry, const SplitRule& splits,
                     int num_threads) {
  const Problem& problem = prepared.problem;
  const bool forced = problem.tuning.cascade > 0;
  const Kernels& kernels = *static_cast<const CpuKernel&>(prepared.kernel).functions;
  return {.page_size = problem.page_size,
          .unit = kTileKeys,
          .whole_splits = kernels.may_descend && problem.score.alibi != Alibi::none,
          .splits = splits,
          .mask = problem.mask,
          .shard = problem.shard,
          .max_levels = kMaxLevels,
          .max_query_len = forced ? problem.limits.max_query_len : kMaxQueryLen,
          .max_tokens = max_shared_tokens(problem),
          .forced = forced,
          .prices = prices_of(prepared, num_threads),
          .key = {.elements = problem.head_dim + problem.head_dim_v,
                  .bytes = bytes_of_key(problem),
                  .num_kv_heads = problem.num_kv_heads,
                  .group = problem.group(),
                  .floats_of_state = static_cast<int32_t>(left_floats(geometry))}};
}

// The tokens of a group, in order of position so that what they see never falls from row to row.
void list_tokens(const Batch& batch, const PrefixMemory& memory, const SharedPrefix& node,
                 SharedToken* tokens) {
  SharedToken* next = tokens + node.first_token;
  for (int32_t i = 0; i < node.num_reqs; ++i) {
    const int32_t r = memory.order[node.first_req + i];
    const int32_t len = batch.query_start_loc[r + 1] - batch.query_start_loc[r];
    for (int32_t t = 0; t < len; ++t)
      *next++ = {.request = r, .token = t, .position = batch.seq_lens[r] - len + t};
  }
  std::sort(tokens + node.first_token, next, [](const SharedToken& a, const SharedToken& b) {
    if (a.position != b.position) return a.position < b.position;
    return a.request < b.request;
  });
}

void give_slots(const Batch& batch, const PrefixMemory& memory, int32_t* first_slot) {
  int32_t next = 0;
  for (int32_t r = 0; r < batch.num_reqs; ++r) {
    first_slot[r] = next;
    if (memory.deepest[r] >= 0) next += batch.query_start_loc[r + 1] - batch.query_start_loc[r];
  }
}

std::string count_of(int64_t count, const char* word) {
  return std::to_string(count) + " " + word + (count == 1 ? "" : "s");
}

}  // namespace

Cascade::Cascade(const Prepared& prepared)
    : memory{}, tokens{}, first_slot{}, states{}, rows_per_head{} {
  if (max_shared_tokens(prepared.problem) == 0) return;
  auto* orders = prepared.region<int32_t>(kOrder);
  const int64_t reqs = prepared.problem.limits.max_reqs;
  memory = {.order = orders,
            .deepest = orders + reqs,
            .nodes = prepared.region<SharedPrefix>(kNodes),
            .pending = prepared.region<PendingPrefix>(kPending)};
  tokens = prepared.region<SharedToken>(kTokens);
  first_slot = orders + 2 * reqs;
  states = prepared.region<float>(kStates);
  rows_per_head = max_shared_tokens(prepared.problem) * prepared.problem.group();
}

const char* reason_against_cascade(const Problem& problem) {
  if (problem.tuning.cascade < 0) return "tuning.cascade is -1";
  if (problem.has_block_mask) return "a block mask may differ between requests that share pages";
  if (problem.score_expr != nullptr)
    return "a score expression may differ between requests that share pages";
  if (!problem.has_cache()) return "keys come with the call and lie on no pages";
  if (problem.limits.max_reqs < 2) return "limits.max_reqs is 1";
  if (problem.limits.max_tokens < 2) return "limits.max_tokens is 1";
  if (problem.limits.max_seq_len < kTileKeys)
    return "limits.max_seq_len is below a tile of 64 keys";
  return nullptr;
}

int64_t max_shared_tokens(const Problem& problem) {
  if (reason_against_cascade(problem) != nullptr) return 0;
  const int64_t all = problem.limits.max_tokens;
  if (problem.tuning.cascade > 0) return all;
  return std::min(all, int64_t{problem.limits.max_reqs} * kMaxQueryLen);
}

void add_cascade_regions(const Problem& problem, const Geometry& geometry, WorkspaceMap& map) {
  const int64_t tokens = max_shared_tokens(problem);
  if (tokens == 0) return;
  const auto reqs = static_cast<size_t>(problem.limits.max_reqs);
  map.add_array(kOrder, kOrders * reqs, sizeof(int32_t));
  map.add_array(kNodes, reqs, sizeof(SharedPrefix));
  map.add_array(kPending, reqs, sizeof(PendingPrefix));
  map.add_array(kTokens, static_cast<size_t>(kMaxLevels * tokens), sizeof(SharedToken));
  const auto row = static_cast<size_t>(left_floats(geometry)) * sizeof(float);
  map.add_array(kStates, static_cast<size_t>(tokens * problem.num_heads), row);
}

PrefixForest find_groups(const Prepared& prepared, const Geometry& geometry,
                         const SplitRule& splits, int num_threads) {
  const Cascade cascade(prepared);
  if (cascade.tokens == nullptr) return {};
  const Batch& batch = prepared.batch;
  const PrefixForest forest =
      find_shared_prefixes({.num_reqs = batch.num_reqs,
                            .query_start_loc = batch.query_start_loc,
                            .seq_lens = batch.seq_lens,
                            .page_table = batch.page_table,
                            .page_table_stride = batch.page_table_stride,
                            .causal = batch.causal},
                           rules_of(prepared, geometry, splits, num_threads), cascade.memory);
  for (int32_t n = 0; n < forest.num_nodes; ++n)
    list_tokens(batch, cascade.memory, cascade.memory.nodes[n], cascade.tokens);
  if (forest.num_nodes > 0) give_slots(batch, cascade.memory, cascade.first_slot);
  return forest;
}

int64_t bytes_of_key(const Problem& problem) {
  const KvFormat format = kv_format_of(problem.kv_format);
  return problem.num_kv_heads * (bytes_of_row(format.key, problem.dtype, problem.head_dim) +
                                 bytes_of_row(format.value, problem.dtype, problem.head_dim_v));
}

pagoda_step_info info_of(const Problem& problem, const CascadeSummary& summary) {
  const int64_t bytes = bytes_of_key(problem);
  return {.cascade_groups = summary.forest.num_nodes,
          .cascade_levels = summary.forest.num_levels,
          .cascade_reqs = summary.forest.num_reqs,
          .cascade_keys = summary.shared_keys,
          .key_bytes = summary.keys_read * bytes,
          .key_bytes_flat = summary.keys_flat * bytes};
}

std::string describe(const Problem& problem, const CascadeSummary& summary) {
  std::ostringstream text;
  const PrefixForest& forest = summary.forest;
  const int64_t bytes = bytes_of_key(problem);
  if (const char* reason = reason_against_cascade(problem)) {
    text << "none: " << reason;
  } else if (forest.num_nodes > 0) {
    text << count_of(forest.num_nodes, "group") << " on " << count_of(forest.num_levels, "level")
         << ": " << forest.num_reqs << " requests share " << summary.shared_keys
         << " keys; a layer reads " << summary.keys_read * bytes
         << " bytes of keys and values instead of " << summary.keys_flat * bytes
         << (problem.tuning.cascade > 0 ? ", because tuning.cascade is 1"
                                        : ", because it costs less to read them once");
  } else if (forest.num_refused > 0) {
    text << "none: " << forest.refused_reqs << " requests share " << forest.refused_keys
         << " keys, but a group of them would cost more than it saves";
  } else {
    text << "none: no two requests of this step ";
    if (problem.tuning.cascade == 0) text << "with up to " << kMaxQueryLen << " query tokens ";
    text << "share their first " << kTileKeys << " keys";
  }
  return text.str();
}

}  // namespace pagoda::cpu
