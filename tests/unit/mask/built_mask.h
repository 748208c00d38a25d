// A batch, its block mask in memory of its own, and the comparison with evaluation pair by pair.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "src/mask/builder.h"
#include "src/mask/evaluate.h"

namespace pagoda::mask {

inline void* aligned(std::vector<uint8_t>& bytes) {
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  return bytes.data() + (64 - address % 64) % 64;
}

struct Batch {
  std::vector<int32_t> query_start_loc = {0}, seq_lens;

  void add(int32_t seq_len, int32_t query_len) {
    seq_lens.push_back(seq_len);
    query_start_loc.push_back(query_start_loc.back() + query_len);
  }
  int32_t num_reqs() const { return static_cast<int32_t>(seq_lens.size()); }
  int32_t query_len(int32_t r) const {
    return query_start_loc[static_cast<size_t>(r) + 1] - query_start_loc[static_cast<size_t>(r)];
  }
  Step step() const { return {num_reqs(), query_start_loc.data(), seq_lens.data()}; }
};

// The lists of a block mask by value.
struct Lists {
  std::vector<int32_t> tile_start, row_start, tile, bits_at;
  std::vector<uint32_t> bits;
  bool operator==(const Lists&) const = default;
};

inline Lists lists_of(const BlockMask& mask, const Capacity& need) {
  return {{mask.tile_start, mask.tile_start + need.reqs + 1},
          {mask.row_start, mask.row_start + need.rows + 1},
          {mask.tile, mask.tile + need.entries},
          {mask.bits_at, mask.bits_at + need.entries},
          {mask.bits, mask.bits + need.words}};
}

class BuiltMask {
 public:
  BuiltMask(BlockMaskBuilder& builder, const Batch& batch)
      : batch_(batch), need_(builder.measure(batch.step())), bytes_(need_.bytes() + 64, 0xa5) {
    mask_ = builder.build(batch.step(), {aligned(bytes_), need_});
  }

  const BlockMask& mask() const { return mask_; }
  const Capacity& need() const { return need_; }
  Lists lists() const { return lists_of(mask_, need_); }

  testing::AssertionResult matches(const Expr& expr, const Bindings& bindings,
                                   const BlockMaskShape& shape) const {
    std::vector<Value> scratch(expr.nodes.size());
    for (int32_t h = 0; h < shape.num_heads; ++h)
      for (int32_t r = 0; r < batch_.num_reqs(); ++r) {
        const auto result = request_matches(expr, bindings, shape, r, h, scratch);
        if (!result) return result;
      }
    if (mask_.row_start[need_.rows] != need_.entries)
      return testing::AssertionFailure() << "the last row does not end the lists";
    return testing::AssertionSuccess();
  }

 private:
  testing::AssertionResult request_matches(const Expr& expr, const Bindings& bindings,
                                           const BlockMaskShape& shape, int32_t r, int32_t h,
                                           std::vector<Value>& scratch) const {
    const int64_t query_len = batch_.query_len(r),
                  seq_len = batch_.seq_lens[static_cast<size_t>(r)];
    const int64_t num_keys = local_len(shape.shard, batch_.seq_lens[static_cast<size_t>(r)]);
    Point point;
    point[Variable::request] = r;
    point[Variable::head] = h;
    point[Variable::kv_head] = h / (shape.num_heads / shape.num_kv_heads);
    point[Variable::seq_len] = seq_len;
    point[Variable::query_len] = query_len;
    for (int64_t i = 0; i < query_len; ++i) {
      const int64_t row = int64_t{h} * mask_.num_heads / shape.num_heads * mask_.num_tiles_q +
                          mask_.tile_start[r] + i / shape.tile_q;
      if (row >= need_.rows) return testing::AssertionFailure() << "row " << row;
      int32_t at = mask_.row_start[row];
      const int32_t end = mask_.row_start[row + 1];
      for (int64_t tile = 0; tile * shape.tile_kv < num_keys; ++tile) {
        const bool listed = at < end && mask_.tile[at] == tile;
        for (int64_t k = tile * shape.tile_kv; k < (tile + 1) * shape.tile_kv; ++k) {
          point[Variable::query] = seq_len - query_len + i;
          point[Variable::key] = position_of(shape.shard, static_cast<int32_t>(k));
          const bool wanted =
              k < num_keys && evaluate(expr, bindings, point, scratch.data()).i != 0;
          const bool is = listed && (mask_.bits_at[at] < 0 ? k < num_keys : bit(at, i, k));
          if (is != wanted)
            return testing::AssertionFailure() << "request " << r << " head " << h << " query " << i
                                               << " key " << k << ": " << is;
        }
        at += listed;
      }
      if (at != end) return testing::AssertionFailure() << "row " << row << " has more tiles";
    }
    return tiles_are_tight(r, query_len, num_keys);
  }

  bool bit(int32_t at, int64_t i, int64_t k) const {
    const int64_t word =
        mask_.bits_at[at] + i % mask_.tile_q * (mask_.tile_kv / 32) + k % mask_.tile_kv / 32;
    return (mask_.bits[word] >> (k % 32) & 1) != 0;
  }

  // No tile with bits is all visible or all hidden.
  testing::AssertionResult tiles_are_tight(int32_t r, int64_t query_len, int64_t num_keys) const {
    for (int32_t head = 0; head < mask_.num_heads; ++head)
      for (int32_t t = mask_.tile_start[r]; t < mask_.tile_start[r + 1]; ++t) {
        const int64_t first = int64_t{t - mask_.tile_start[r]} * mask_.tile_q;
        const int64_t queries = std::min<int64_t>(mask_.tile_q, query_len - first);
        const int64_t row = int64_t{head} * mask_.num_tiles_q + t;
        for (int32_t at = mask_.row_start[row]; at < mask_.row_start[row + 1]; ++at) {
          if (mask_.bits_at[at] < 0) continue;
          const int64_t key = int64_t{mask_.tile[at]} * mask_.tile_kv;
          int64_t shown = 0;
          for (int64_t i = 0; i < queries; ++i)
            for (int64_t k = key; k < key + mask_.tile_kv; ++k) shown += bit(at, i, k);
          if (shown == 0 || shown == queries * std::min<int64_t>(mask_.tile_kv, num_keys - key))
            return testing::AssertionFailure() << "a partial tile is not partial";
        }
      }
    return testing::AssertionSuccess();
  }

  const Batch batch_;
  const Capacity need_;
  std::vector<uint8_t> bytes_;
  BlockMask mask_{};
};

}  // namespace pagoda::mask
