// Builds the block mask of each step from one mask expression. Requests with many queries are built
// from nothing; for a request with few (decode) the builder remembers which tiles stay as they are
// while the sequence grows to the next tile boundary, so that a step touches only the tiles that
// can change: usually one or two.
#pragma once

#include <vector>

#include "bindings.h"
#include "block_mask.h"
#include "decode_rows.h"
#include "tile_decider.h"
#include "tile_writer.h"

namespace pagoda::mask {

struct BlockMaskShape {
  int32_t tile_q = 128;   // 1 to 256
  int32_t tile_kv = 128;  // 32, 64, 128 or 256
  int32_t num_heads = 1, num_kv_heads = 1;
  // Whose keys the mask is of: its tiles count the keys that the shard keeps, in their order.
  Shard shard;
};

struct BlockMaskLimits {
  int32_t max_reqs = 0;
  int32_t max_tokens = 0;  // queries in one step
  int32_t max_seq_len = 0;
};

class BlockMaskBuilder {
 public:
  // `bindings` outlives the builder. All allocation is here. PAGODA_INVALID_ARGUMENT: a shape or
  // limit out of range, or an expression that is not a mask.
  BlockMaskBuilder(const Expr& mask, const Bindings& bindings, const BlockMaskShape& shape,
                   const BlockMaskLimits& limits);

  // Room for every step within the limits. The bits are counted as if every tile were partial,
  // which no sensible mask comes near: measure() gives what one step needs.
  Capacity upper_bound() const;
  Capacity measure(const Step& step);

  // The result points into `memory` and is a function of mask, bindings and step alone. If the last
  // build of this builder went to the same memory, and nobody has written there since, only what
  // has changed is written. Does not allocate. Errors: PAGODA_INVALID_ARGUMENT (a step that
  // contradicts itself), PAGODA_OUT_OF_LIMITS, PAGODA_WORKSPACE_TOO_SMALL (says how much is needed;
  // the memory's content is then undefined).
  BlockMask build(const Step& step, const Memory& memory);

  // After somebody else has written to the memory.
  void forget() { previous_ = {}; }

  const TileDecider& decider() const { return decider_; }
  int32_t num_mask_heads() const { return num_mask_heads_; }

 private:
  void check(const Step& step) const;
  void refuse_entry(const Step& step) const;
  // One tile is the case of every decode, and a division is what such a request would wait for.
  int64_t tiles_of(int64_t query_len) const {
    if (query_len <= shape_.tile_q) return query_len > 0 ? 1 : 0;
    return (query_len + shape_.tile_q - 1) / shape_.tile_q;
  }
  int64_t num_tiles(const Step& step) const;
  Capacity capacity_of(const Step& step, int64_t tiles, const TileWriter& writer) const;
  Point point_of(const Step& step, int32_t request, int32_t mask_head) const;

  // Appends the rows of one request. `row_start`, if not null, receives the end of each.
  void write_request(const Step& step, int32_t request, int32_t mask_head, TileWriter& writer,
                     int32_t* row_start);

  // The same for few queries, through what is remembered of the request; false: nothing written.
  bool write_decode(const Step& step, int32_t request, int32_t mask_head, TileWriter& writer);

  const Program program_;
  const Bindings& bindings_;
  const BlockMaskShape shape_;
  const BlockMaskLimits limits_;
  const int32_t num_mask_heads_;
  TileDecider decider_;
  DecodeRows decode_rows_;
  Memory previous_;  // of the last build
};

}  // namespace pagoda::mask
