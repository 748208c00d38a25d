#include "builder.h"

#include <algorithm>
#include <limits>

#include "../core/error.h"

namespace pagoda::mask {
namespace {

constexpr int64_t kMaxIndex = std::numeric_limits<int32_t>::max();  // of row_start and bits_at

const Expr& checked(const Expr& mask, const BlockMaskShape& shape, const BlockMaskLimits& limits) {
  expect(!mask.nodes.empty() && mask.root().type == Type::boolean, PAGODA_INVALID_ARGUMENT,
         "a block mask needs a boolean expression");
  expect(shape.tile_q >= 1 && shape.tile_q <= 256, PAGODA_INVALID_ARGUMENT, "tile_q is ",
         shape.tile_q, "; 1 to 256 are allowed");
  expect(shape.tile_kv >= 32 && shape.tile_kv <= kMaxLanes &&
             (shape.tile_kv & (shape.tile_kv - 1)) == 0,
         PAGODA_INVALID_ARGUMENT, "tile_kv is ", shape.tile_kv,
         "; 32, 64, 128 and 256 are allowed");
  expect(
      shape.num_kv_heads >= 1 && shape.num_heads >= 1 && shape.num_heads % shape.num_kv_heads == 0,
      PAGODA_INVALID_ARGUMENT, "num_heads is ", shape.num_heads,
      ", which is not a multiple of num_kv_heads, ", shape.num_kv_heads);
  const Shard& shard = shape.shard;
  expect(shard.num_ranks >= 1 && shard.rank >= 0 && shard.rank < shard.num_ranks &&
             shard.interleave >= 1,
         PAGODA_INVALID_ARGUMENT, "rank ", shard.rank, " of ", shard.num_ranks, " with runs of ",
         shard.interleave, " keys; ranks count from 0, runs have at least 1");
  expect(limits.max_reqs >= 0 && limits.max_tokens >= 0 && limits.max_seq_len >= 0,
         PAGODA_INVALID_ARGUMENT, "a limit is negative: max_reqs ", limits.max_reqs,
         ", max_tokens ", limits.max_tokens, ", max_seq_len ", limits.max_seq_len);
  return mask;
}

int32_t heads_of(const Program& program, const BlockMaskShape& shape) {
  if (program.uses(Variable::head)) return shape.num_heads;
  return program.uses(Variable::kv_head) ? shape.num_kv_heads : 1;
}

}  // namespace

BlockMaskBuilder::BlockMaskBuilder(const Expr& mask, const Bindings& bindings,
                                   const BlockMaskShape& shape, const BlockMaskLimits& limits)
    : program_(compile(checked(mask, shape, limits),
                       shape.shard.is_whole() ? KeyOrder::in_order : KeyOrder::dealt)),
      bindings_(bindings),
      shape_(shape),
      limits_(limits),
      num_mask_heads_(heads_of(program_, shape)),
      decider_(program_, bindings, shape.tile_q, shape.tile_kv, shape.shard),
      decode_rows_(shape.tile_kv, int64_t{num_mask_heads_} * limits.max_reqs) {}

Capacity BlockMaskBuilder::upper_bound() const {
  // The most tiles that so many tokens make: one token for each request, then whole tiles.
  const int64_t reqs = std::min(limits_.max_reqs, limits_.max_tokens);
  const int64_t tiles = reqs == 0 ? 0 : reqs + (limits_.max_tokens - reqs) / shape_.tile_q;
  const int64_t most_keys = local_len(shape_.shard, limits_.max_seq_len);
  const int64_t tiles_kv = (most_keys + shape_.tile_kv - 1) / shape_.tile_kv;
  const int64_t tokens = reqs == 0 ? 0 : limits_.max_tokens;
  return {.reqs = limits_.max_reqs,
          .rows = num_mask_heads_ * tiles,
          .entries = num_mask_heads_ * tiles * tiles_kv,
          .words = num_mask_heads_ * tokens * tiles_kv * (shape_.tile_kv / 32)};
}

void BlockMaskBuilder::check(const Step& step) const {
  expect(step.num_reqs >= 0 && step.num_reqs <= limits_.max_reqs, PAGODA_OUT_OF_LIMITS,
         "the step has ", step.num_reqs, " requests; the block mask was made for ",
         limits_.max_reqs);
  expect(step.query_start_loc != nullptr && (step.seq_lens != nullptr || step.num_reqs == 0),
         PAGODA_INVALID_ARGUMENT, "query_start_loc or seq_lens is NULL");
  expect(step.query_start_loc[0] == 0, PAGODA_INVALID_ARGUMENT, "query_start_loc[0] is ",
         step.query_start_loc[0], ", not 0");
  // All entries at once; which one is wrong is only asked if one is.
  bool bad = false;
  for (int32_t r = 0; r < step.num_reqs; ++r) {
    bad |= step.query_start_loc[r + 1] < step.query_start_loc[r];
    bad |= step.seq_lens[r] < 0 || step.seq_lens[r] > limits_.max_seq_len;
  }
  if (bad) refuse_entry(step);
  expect(step.query_start_loc[step.num_reqs] <= limits_.max_tokens, PAGODA_OUT_OF_LIMITS,
         "the step has ", step.query_start_loc[step.num_reqs],
         " queries; the block mask was made for ", limits_.max_tokens);
}

void BlockMaskBuilder::refuse_entry(const Step& step) const {
  for (int32_t r = 0; r < step.num_reqs; ++r) {
    expect(step.query_start_loc[r + 1] >= step.query_start_loc[r], PAGODA_INVALID_ARGUMENT,
           "query_start_loc falls after request ", r);
    expect(step.seq_lens[r] >= 0, PAGODA_INVALID_ARGUMENT, "seq_lens[", r, "] is ",
           step.seq_lens[r]);
    expect(step.seq_lens[r] <= limits_.max_seq_len, PAGODA_OUT_OF_LIMITS, "seq_lens[", r, "] is ",
           step.seq_lens[r], "; the block mask was made for ", limits_.max_seq_len);
  }
}

int64_t BlockMaskBuilder::num_tiles(const Step& step) const {
  int64_t tiles = 0;
  for (int32_t r = 0; r < step.num_reqs; ++r)
    tiles += tiles_of(step.query_start_loc[r + 1] - step.query_start_loc[r]);
  return tiles;
}

Capacity BlockMaskBuilder::capacity_of(const Step& step, int64_t tiles,
                                       const TileWriter& writer) const {
  return {.reqs = step.num_reqs,
          .rows = num_mask_heads_ * tiles,
          .entries = writer.entries(),
          .words = writer.words()};
}

Point BlockMaskBuilder::point_of(const Step& step, int32_t request, int32_t mask_head) const {
  const int32_t head = mask_head * (shape_.num_heads / num_mask_heads_);
  Point point;
  point[Variable::request] = request;
  point[Variable::head] = head;
  point[Variable::kv_head] = head / (shape_.num_heads / shape_.num_kv_heads);
  point[Variable::seq_len] = step.seq_lens[request];
  point[Variable::query_len] = step.query_start_loc[request + 1] - step.query_start_loc[request];
  return point;
}

void BlockMaskBuilder::write_request(const Step& step, int32_t request, int32_t mask_head,
                                     TileWriter& writer, int32_t* row_start) {
  const Point point = point_of(step, request, mask_head);
  const int64_t query_len = step.query_start_loc[request + 1] - step.query_start_loc[request];
  const int64_t seq_len = step.seq_lens[request];
  const int64_t num_keys = local_len(shape_.shard, step.seq_lens[request]);
  decider_.set_request(box_of(point), point);
  for (int64_t i = 0; i < query_len; i += shape_.tile_q) {
    const int64_t first = seq_len - query_len + i;
    const int64_t last = first + std::min<int64_t>(shape_.tile_q, query_len - i) - 1;
    decider_.visit(
        first, last, num_keys, [&](int64_t from, int64_t end) { writer.full(from, end); },
        [&](int64_t tile) {
          const TileBits found = decider_.resolve(tile);
          if (found.truth == Truth::full) writer.full(tile, tile + 1);
          if (found.truth == Truth::undecided) writer.partial(tile, found.bits, found.words);
        });
    if (row_start != nullptr) *row_start++ = static_cast<int32_t>(writer.entries());
  }
}

Capacity BlockMaskBuilder::measure(const Step& step) {
  check(step);
  TileWriter writer;
  for (int32_t head = 0; head < num_mask_heads_; ++head)
    for (int32_t r = 0; r < step.num_reqs; ++r) write_request(step, r, head, writer, nullptr);
  return capacity_of(step, num_tiles(step), writer);
}

BlockMask BlockMaskBuilder::build(const Step& step, const Memory& memory) {
  check(step);
  decode_rows_.begin_step(memory.data != nullptr && memory.data == previous_.data &&
                          memory.capacity == previous_.capacity);
  previous_ = {};
  const int64_t tiles = num_tiles(step);
  const Capacity& room = memory.capacity;
  const auto refuse = [&](const Capacity& need) {
    expect(false, PAGODA_WORKSPACE_TOO_SMALL, "the block mask of this step needs ", need.bytes(),
           " bytes (", need.rows, " rows, ", need.entries, " tiles, ", need.words,
           " words of bits); the memory has ", room.bytes(), " bytes (", room.rows, ", ",
           room.entries, ", ", room.words, ")");
  };
  if (memory.data == nullptr || room.reqs < step.num_reqs || room.rows < num_mask_heads_ * tiles)
    refuse(measure(step));

  const MemoryMap map(memory);
  TileWriter writer(map, room);
  map.tile_start[0] = 0;
  map.row_start[0] = 0;
  int32_t* row_start = map.row_start + 1;
  for (int32_t head = 0; head < num_mask_heads_; ++head) {
    for (int32_t r = 0; r < step.num_reqs; ++r) {
      const int64_t query_len = step.query_start_loc[r + 1] - step.query_start_loc[r];
      const auto count = static_cast<int32_t>(tiles_of(query_len));
      map.tile_start[r + 1] = map.tile_start[r] + count;
      const bool is_decode = query_len <= kMaxDecodeQueries && count == 1 &&
                             step.seq_lens[r] >= query_len && shape_.shard.is_whole();
      if (!is_decode || !write_decode(step, r, head, writer))
        write_request(step, r, head, writer, row_start);
      else
        *row_start = static_cast<int32_t>(writer.entries());
      row_start += count;
    }
  }
  const Capacity need = capacity_of(step, tiles, writer);
  expect(need.entries <= kMaxIndex && need.words <= kMaxIndex, PAGODA_OUT_OF_LIMITS,
         "the block mask of this step has ", need.entries, " tiles and ", need.words,
         " words of bits; at most ", kMaxIndex, " of each can be numbered: use larger tiles");
  if (!room.holds(need)) refuse(need);
  previous_ = memory;
  return {.tile_q = shape_.tile_q,
          .tile_kv = shape_.tile_kv,
          .num_reqs = step.num_reqs,
          .num_tiles_q = static_cast<int32_t>(tiles),
          .num_heads = num_mask_heads_,
          .tile_start = map.tile_start,
          .row_start = map.row_start,
          .tile = map.tile,
          .bits_at = map.bits_at,
          .bits = map.bits,
          .num_entries = need.entries,
          .num_words = need.words};
}

bool BlockMaskBuilder::write_decode(const Step& step, int32_t request, int32_t mask_head,
                                    TileWriter& writer) {
  const DecodeRows::Request decode{
      .row = int64_t{mask_head} * limits_.max_reqs + request,
      .seq_len = step.seq_lens[request],
      .query_len = step.query_start_loc[request + 1] - step.query_start_loc[request],
      .generation = bindings_.generation()};
  return decode_rows_.write_known(decode, writer) ||
         decode_rows_.write(decode, point_of(step, request, mask_head), decider_, writer);
}

}  // namespace pagoda::mask
