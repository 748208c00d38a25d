// Host and device. What every attention kernel is told: tensors, the step's batch, the semantics.
// One struct for all of them, passed by value; a kernel reads it from constant memory.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "../core/kv_format.h"
#include "../core/mask.h"
#include "../core/score.h"
#include "divisor.h"

namespace pagoda::cuda {

// Keys or values in pages. Without a cache: one page that holds all rows of the call, those of a
// request from key_start_loc[request] on.
struct KeyView {
  const void* data = nullptr;  // [num_pages, page_size, num_kv_heads, head_dim]
  int64_t num_pages = 0, page_size = 0, num_kv_heads = 0, head_dim = 0;
  int64_t page_stride = 0, token_stride = 0, head_stride = 0;  // bytes
  bool operator==(const KeyView&) const = default;
};

// What the codes of a quantised cache are multiplied by. Strides in elements.
struct KeyScales {
  const float* data = nullptr;  // [num_pages, page_size, num_kv_heads]; null: 1 for all
  int64_t page_stride = 0, token_stride = 0, head_stride = 0;  // 0: scales of heads alone
};
struct OutScales {
  const float* data = nullptr;  // [num_kv_heads, head_dim_v]; null: 1 for all
  int64_t head_stride = 0, channel_stride = 0;
};

// A block mask as pagoda_block_mask describes it. Arrays on the device; null: there is none.
struct BlockTiles {
  int32_t tile_q = 0, tile_kv = 0;
  int32_t num_reqs = 0;
  int32_t num_heads = 0;                // 1, num_kv_heads or the heads of the queries
  const int32_t* tile_start = nullptr;  // [num_reqs + 1]
  const int32_t* row_start = nullptr;   // [num_heads * tile_start[num_reqs] + 1]
  const int32_t* tile = nullptr;        // [num_entries]
  const int32_t* bits_at = nullptr;     // [num_entries]
  const uint32_t* bits = nullptr;       // [num_words]
};

// The logit in base 2, so that the kernels need one multiplication before exp2.
struct Score2 {
  float scale = 1;  // softmax_scale * log2(e); with a soft-cap, the factor inside exp2
  float cap = 0;    // logit_softcap * log2(e); 0: none
  Alibi alibi = Alibi::none;

  static Score2 from(const Score& score) {
    constexpr float kLog2e = 1.4426950408889634f;
    if (score.softcap > 0)
      return {2 * kLog2e * score.scale / score.softcap, score.softcap * kLog2e, score.alibi};
    return {score.scale * kLog2e, 0, score.alibi};
  }
};

struct AttendParams {
  const void* query = nullptr;     // [num_tokens, num_heads, head_dim]
  int64_t query_token_stride = 0;  // bytes, as below
  int64_t query_head_stride = 0;
  KeyView key, value;
  CacheFormat key_format, value_format;
  KeyScales key_scale;    // of tokens or heads: they multiply q . k
  KeyScales value_scale;  // of tokens: they multiply weights
  OutScales out_scale;    // of value heads or channels: they multiply the finished output
  void* out = nullptr;    // [num_tokens, num_heads, head_dim_v]
  int64_t out_token_stride = 0;
  int64_t out_head_stride = 0;
  float* lse = nullptr;  // [num_heads, num_tokens] or null
  int64_t lse_head_stride = 0;
  int64_t lse_token_stride = 0;

  const int32_t* page_table = nullptr;     // [num_reqs, page_table_stride] or null
  int64_t page_table_stride = 0;           // elements
  const int32_t* key_start_loc = nullptr;  // [num_reqs + 1], read where page_table is null
  int32_t page_size = 0;

  int32_t num_kv_heads = 0;
  Divisor group;  // query heads of one key head
  Mask mask;
  BlockTiles block_mask;
  int32_t num_heads = 0;
  Score2 score;
  const float* alibi_slopes = nullptr;  // [num_heads] or null
  const float* sinks = nullptr;         // [num_heads] or null

  const struct ScheduleHeader* schedule = nullptr;    // see schedule.h
  const struct DecodeItem* decode_items = nullptr;    // [schedule->num_decode_items]
  const struct PrefillTile* prefill_tiles = nullptr;  // [schedule->num_prefill_tiles]
  float* partial_out = nullptr;   // [slots, head_dim_v], a slot for each row, head and piece
  float* partial_ml = nullptr;    // [slots, 2]
  uint32_t* next_tile = nullptr;  // of prefill; 0 between launches
  struct MixedCounters* mixed = nullptr;  // not null: the mixed kernel has a part in the step
  uint32_t* arrivals = nullptr;           // [slots], no count in them between launches
};

// What the kernels that fetch keys with the copy engine are told besides.
struct PrefillParams {
  AttendParams attend;
  CUtensorMap key_map, value_map;  // tensor_map.h
  int32_t box_rows = 0;            // of both
  // Of the call's queries and outputs, in boxes of half a tile; where a half is no box, false.
  CUtensorMap query_map = {}, out_map = {};
  bool has_row_maps = false;
  // Of the mixed kernel, for the requests that it decodes; whole rows.
  CUtensorMap decode_key_map = {}, decode_value_map = {};
  int32_t decode_box_rows = 0;  // 8 or 16
  bool beside_decode = false;   // the launch before is this step's decode kernel: work beside it
};

// How the mixed kernel and the decode kernel beside and behind it share the items of a step. All 0
// between steps.
struct MixedCounters {
  uint32_t next_item;      // in the list of items times key heads
  uint32_t decode_blocks;  // that have got nothing more
};

#ifdef __CUDACC__
// What an output column of a key head is multiplied by at the end.
__device__ inline float out_scale_of(const AttendParams& params, int head, int column) {
  const OutScales& scales = params.out_scale;
  return scales.data
             ? __ldg(scales.data + head * scales.head_stride + column * scales.channel_stride)
             : 1.0f;
}

// A packed row, taken apart: row r is token r / group of its request and query head r % group of
// its key head.
struct PackedRow {
  int32_t token, query_head;

  __device__ PackedRow(const AttendParams& params, int row, int head)
      : token(params.group.divide(row)),
        query_head(head * params.group.value + row - token * params.group.value) {}
};
#endif

}  // namespace pagoda::cuda
