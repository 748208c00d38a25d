#include "schedule.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "../core/mask.h"
#include "mask_rows.h"
#include "score_rows.h"

namespace pagoda::cpu {
namespace {

constexpr const char* kHeader = "cpu.header";
constexpr const char* kItems = "cpu.items";
constexpr const char* kTickets = "cpu.tickets";
constexpr const char* kParts = "cpu.parts";
constexpr const char* kScratch = "cpu.scratch";
constexpr const char* kScore = "cpu.score";

// These change speed, never results.
constexpr int32_t kRowsOfTile[] = {1024, 512, 384, 192,
                                   96,   48,  24};  // the largest that leaves every thread enough
constexpr int32_t kUnpartedRows = 64;               // of a request, that are never parted
constexpr int kItemsPerThread = 4;
constexpr int64_t kPackCost = 12;  // packing a key costs as much as attending it with so many rows
constexpr int64_t kItemCost = 64;  // and starting an item as much as so many keys
constexpr int64_t kMinPartRows = 4096, kPartRowsPerThread = 256;
// A group's tiles are not cut below this for the sake of the threads: each packs the keys anew.
constexpr int32_t kMinRowsOfGroup = 96;

int64_t clamped_product(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

// Rows of states that may be kept apart at once, each with room for its share of padding.
int64_t max_part_rows(const Problem& problem, int num_threads) {
  if (num_threads == 1) return 0;
  const Limits& limits = problem.limits;
  const int64_t splits = int64_t{limits.max_seq_len} / kTileKeys + 1;
  const int64_t all = clamped_product(int64_t{limits.max_tokens} * problem.num_heads, splits);
  return std::min(all, std::max(kMinPartRows, num_threads * kPartRowsPerThread));
}

int64_t max_part_floats(const Problem& problem, const Geometry& geometry, int num_threads) {
  // A state of few rows takes up whole groups of them.
  const int64_t group = problem.group();
  const int64_t share = (round_up(group, geometry.row_group) + group - 1) / group;
  return max_part_rows(problem, num_threads) * (geometry.padded_dim_v * share + 2 * kRowPadding);
}

int64_t max_items(const Problem& problem, int num_threads) {
  const int64_t tokens = problem.limits.max_tokens + kMaxLevels * max_shared_tokens(problem);
  return tokens * problem.group() / *std::rbegin(kRowsOfTile) +
         2 * int64_t{problem.limits.max_reqs} + max_part_rows(problem, num_threads);
}

struct Request {
  int32_t query_len, seq_len;
  int32_t num_keys;  // on this rank
  Mask mask;
};

Request request_of(const Problem& problem, const Batch& batch, int32_t r) {
  return {.query_len = batch.query_start_loc[r + 1] - batch.query_start_loc[r],
          .seq_len = batch.seq_lens[r],
          .num_keys = local_len(problem.shard, batch.seq_lens[r]),
          .mask = mask_of_request(
              problem.mask, batch.causal != nullptr ? batch.causal[r] != 0 : problem.mask.causal)};
}

// Rows of the request that has most, if they are few for all: then its cache is read once, since
// keys can be dealt out in place of rows. 0: they are not.
int32_t few_rows(const Problem& problem, const Batch& batch, const Geometry& geometry) {
  int64_t most = 0;
  for (int32_t r = 0; r < batch.num_reqs; ++r)
    most = std::max(
        most, (int64_t{batch.query_start_loc[r + 1]} - batch.query_start_loc[r]) * problem.group());
  return most <= std::min(kUnpartedRows, geometry.max_rows) ? static_cast<int32_t>(most) : 0;
}

int32_t choose_rows(const Problem& problem, const Batch& batch, const Geometry& geometry,
                    int num_threads) {
  if (const int32_t few = few_rows(problem, batch, geometry); few > 0) return few;
  for (const int32_t rows : kRowsOfTile) {
    if (rows > geometry.max_rows && rows != *std::rbegin(kRowsOfTile)) continue;
    if (num_threads == 1) return std::min(rows, geometry.max_rows);
    int64_t tiles = 0;
    for (int32_t r = 0; r < batch.num_reqs; ++r) {
      const int64_t len = batch.query_start_loc[r + 1] - batch.query_start_loc[r];
      tiles += (len * problem.group() + rows - 1) / rows;
    }
    if (tiles * problem.num_kv_heads >= int64_t{num_threads} * kItemsPerThread)
      return std::min(rows, geometry.max_rows);
  }
  return std::min(*std::rbegin(kRowsOfTile), geometry.max_rows);
}

// What the rows of an item have to look at.
struct Work {
  KeyRange keys;     // some row sees the first and the last of them, if any
  int64_t num_keys;  // of these, not skipped
  int64_t pairs;     // of query and key
};

KeyRange intersection(KeyRange a, int32_t begin, int32_t end) {
  return {.begin = std::max(a.begin, begin), .end = std::min(a.end, end)};
}

KeyRange keys_of(const Problem& problem, const Request& request, int64_t first_row,
                 int64_t num_rows) {
  const int32_t start = request.seq_len - request.query_len;
  const auto first = static_cast<int32_t>(start + first_row / problem.group());
  const auto last = static_cast<int32_t>(start + (first_row + num_rows - 1) / problem.group());
  return local_range(problem.shard, any_visible(request.mask, first, last, request.seq_len));
}

// keys: that the built-in mask shows some row
Work work_of(const Problem& problem, const Batch& batch, const Item& item, KeyRange keys) {
  if (!batch.block_mask) {
    const int64_t count = std::max<int64_t>(int64_t{keys.end} - keys.begin, 0);
    return {keys, count, count * item.num_rows};
  }
  const ListedWork listed = listed_work({.mask = batch.block_mask,
                                         .request = item.request,
                                         .group = problem.group(),
                                         .num_kv_heads = problem.num_kv_heads,
                                         .first_row = item.first_row,
                                         .num_rows = item.num_rows},
                                        keys);
  return {listed.keys, listed.num_keys, listed.pairs};
}

class Builder {
 public:
  Builder(const Prepared& prepared, const Kernels& kernels, const Geometry& geometry,
          int num_threads)
      : problem_(prepared.problem),
        batch_(prepared.batch),
        geometry_(geometry),
        num_threads_(num_threads),
        rule_(split_rule(problem_, kernels)),
        schedule_(prepared),
        cascade_(prepared),
        rows_(choose_rows(problem_, batch_, geometry, num_threads)),
        free_parts_(max_part_floats(problem_, geometry, num_threads)) {
    summary_.forest = find_groups(prepared, geometry, rule_, num_threads);
  }

  void build() {
    for (int32_t n = 0; n < summary_.forest.num_nodes; ++n) add_group(n);
    for (int32_t r = 0; r < batch_.num_reqs; ++r) add_request(r);
    if (num_threads_ > 1) deal_out_splits();
    std::sort(schedule_.items, schedule_.items + num_items_, [](const Item& a, const Item& b) {
      if (a.level != b.level) return a.level < b.level;
      if (a.cost != b.cost) return a.cost > b.cost;
      if (a.request != b.request) return a.request < b.request;
      if (a.group != b.group) return a.group < b.group;
      return a.first_row != b.first_row ? a.first_row < b.first_row : a.split_begin < b.split_begin;
    });
    std::memset(schedule_.tickets, 0, sizeof(uint32_t) * static_cast<size_t>(num_tickets_));
    write_header();
  }

 private:
  const SharedPrefix& group_of(int32_t n) const { return cascade_.memory.nodes[n]; }

  int32_t rows_of_group(int64_t num_rows) const {
    const int64_t wanted = int64_t{num_threads_} * kItemsPerThread;
    int32_t rows = geometry_.max_rows;
    for (const int32_t fewer : kRowsOfTile) {
      const int64_t tiles = (num_rows + rows - 1) / rows;
      if (num_threads_ == 1 || tiles * problem_.num_kv_heads >= wanted || fewer < kMinRowsOfGroup)
        break;
      rows = std::min(rows, fewer);
    }
    return rows;
  }

  void add_group(int32_t n) {
    const SharedPrefix& group = group_of(n);
    const int64_t num_rows = group.num_tokens * problem_.group();
    const int32_t rows = rows_of_group(num_rows);
    summary_.shared_keys += group.key_end - group.key_begin;
    for (int64_t row = 0; row < num_rows; row += rows)
      add_item({.first_row = row,
                .request = cascade_.memory.order[group.first_req],
                .group = n,
                .num_rows = static_cast<int32_t>(std::min<int64_t>(rows, num_rows - row)),
                .key_begin = group.key_begin,
                .key_end = group.key_end,
                .level = group.level},
               group.visible);
  }

  void add_request(int32_t r) {
    const Request request = request_of(problem_, batch_, r);
    const int64_t num_rows = int64_t{request.query_len} * problem_.group();
    const int32_t deepest = summary_.forest.num_nodes > 0 ? cascade_.memory.deepest[r] : -1;
    for (int64_t row = 0; row < num_rows; row += rows_) {
      Item item{.first_row = row,
                .request = r,
                .group = -1,
                .num_rows = static_cast<int32_t>(std::min<int64_t>(rows_, num_rows - row)),
                .key_end = request.num_keys};
      const KeyRange keys = keys_of(problem_, request, item.first_row, item.num_rows);
      summary_.keys_flat += work_of(problem_, batch_, item, keys).num_keys;
      if (deepest >= 0) {
        item.key_begin = group_of(deepest).key_end;
        item.level = group_of(deepest).level + 1;
      }
      add_item(item, keys);
    }
  }

  // The splits that the rows see, and one that an earlier level or this one leaves open.
  // keys: that some row sees
  void add_item(Item item, KeyRange keys) {
    const Work work =
        work_of(problem_, batch_, item, intersection(keys, item.key_begin, item.key_end));
    keys = work.keys;
    const int64_t len = split_len(rule_, local_len(problem_.shard, batch_.seq_lens[item.request]));
    int64_t begin = item.key_begin / len, end = begin;
    if (!keys.empty()) {
      begin = keys.begin / len;  // the first row's, or beyond what any row has seen
      end = (keys.end + len - 1) / len;
    } else if (item.key_begin % len != 0) {
      end = begin + 1;
    }
    if (item.leaves() && item.key_end % len != 0) end = item.key_end / len + 1;
    item.states = item.ticket = -1;
    item.pieces = 1;
    item.split_begin = item.tile_begin = static_cast<int32_t>(begin);
    item.split_end = item.tile_end = static_cast<int32_t>(end);
    item.cost = work.pairs + work.num_keys * kPackCost + kItemCost * item.num_rows;
    level_cost_[item.level] += item.cost;
    summary_.keys_read += work.num_keys;
    schedule_.items[num_items_++] = item;
  }

  // Cuts the items that would keep one thread busy after the others of their level have ended.
  void deal_out_splits() {
    const int32_t whole = num_items_;
    for (int32_t i = 0; i < whole; ++i) {
      const Item item = schedule_.items[i];
      const int64_t share =
          level_cost_[item.level] * problem_.num_kv_heads / (num_threads_ * kItemsPerThread) + 1;
      const int32_t splits = item.tile_end - item.tile_begin;
      const auto pieces =
          static_cast<int32_t>(std::min<int64_t>(splits, (item.cost + share - 1) / share));
      const int64_t floats = problem_.num_kv_heads * splits * geometry_.state_floats(item.num_rows);
      if (pieces < 2 || floats > free_parts_) continue;
      cut(i, pieces);
      next_part_ += floats;
      free_parts_ -= floats;
      num_tickets_ += problem_.num_kv_heads;
    }
  }

  // Into pieces that cost about the same, each of one split at least.
  void cut(int32_t index, int32_t pieces) {
    const Item whole = schedule_.items[index];
    int64_t total = 0, done = 0;
    for (int32_t split = whole.tile_begin; split < whole.tile_end; ++split)
      total += cost_of_split(whole, split);
    int32_t split = whole.tile_begin;
    for (int32_t p = 0; p < pieces; ++p) {
      Item piece = whole;
      piece.split_begin = split;
      const int32_t last = whole.tile_end - (pieces - 1 - p);
      const int64_t before = done;
      do {
        done += cost_of_split(whole, split++);
      } while (split < last && done * pieces < total * (p + 1));
      piece.split_end = split;
      piece.cost =
          static_cast<int64_t>(static_cast<double>(whole.cost) *
                               static_cast<double>(done - before) / static_cast<double>(total));
      piece.states = next_part_;
      piece.pieces = pieces;
      piece.ticket = num_tickets_;
      schedule_.items[p == 0 ? index : num_items_++] = piece;
    }
  }

  // Relative to the other splits of the item, of which a block mask may show more or less. At least
  // 1, since a state that is empty has to be passed over.
  int64_t cost_of_split(const Item& item, int32_t split) const {
    if (!batch_.block_mask) return 1;
    const Request request = request_of(problem_, batch_, item.request);
    const int64_t len = split_len(rule_, request.num_keys), start = split * len;
    const KeyRange keys =
        intersection(keys_of(problem_, request, item.first_row, item.num_rows),
                     static_cast<int32_t>(std::max<int64_t>(start, item.key_begin)),
                     static_cast<int32_t>(std::min<int64_t>(start + len, item.key_end)));
    const Work work = work_of(problem_, batch_, item, keys);
    return 1 + work.pairs + work.num_keys * kPackCost;
  }

  void write_header() const {
    ScheduleHeader& header = *schedule_.header;
    header = {.num_levels = summary_.forest.num_levels + 1, .summary = summary_};
    int32_t item = 0;
    for (int32_t level = 0; level < header.num_levels; ++level) {
      while (item < num_items_ && schedule_.items[item].level == level) ++item;
      header.level_end[level] = item;
    }
  }

  const Problem& problem_;
  const Batch& batch_;
  const Geometry& geometry_;
  const int num_threads_;
  const SplitRule rule_;
  Schedule schedule_;
  const Cascade cascade_;
  const int32_t rows_;
  CascadeSummary summary_{};
  int64_t free_parts_, next_part_ = 0;
  int64_t level_cost_[kMaxLevels + 1] = {};
  int32_t num_items_ = 0, num_tickets_ = 0;
};

}  // namespace

Schedule::Schedule(const Prepared& prepared)
    : header(prepared.region<ScheduleHeader>(kHeader)),
      items(prepared.region<Item>(kItems)),
      tickets(prepared.region<uint32_t>(kTickets)),
      parts(prepared.region<float>(kParts)),
      scratch(prepared.region<std::byte>(kScratch)),
      score(prepared.region<std::byte>(kScore)) {}

SplitRule split_rule(const Problem& problem, const Kernels& kernels) {
  return {
      .unit = kTileKeys, .automatic = kernels.split_keys, .num_splits = problem.tuning.num_splits};
}

void add_schedule_regions(const Problem& problem, const Geometry& geometry, int num_threads,
                          WorkspaceMap& map) {
  map.add(kHeader, sizeof(ScheduleHeader));
  map.add_array(kItems, static_cast<size_t>(max_items(problem, num_threads)), sizeof(Item));
  map.add_array(kTickets, static_cast<size_t>(max_part_rows(problem, num_threads)),
                sizeof(uint32_t));
  map.add_array(kParts, static_cast<size_t>(max_part_floats(problem, geometry, num_threads)),
                sizeof(float));
  map.add_array(kScratch, static_cast<size_t>(num_threads), Scratch::size(geometry));
  map.add_array(kScore, static_cast<size_t>(num_threads), ScoreRows::bytes(problem));
  add_cascade_regions(problem, geometry, map);
}

void make_schedule(const Prepared& prepared, const Kernels& kernels, const Geometry& geometry,
                   int num_threads) {
  Builder(prepared, kernels, geometry, num_threads).build();
}

}  // namespace pagoda::cpu
