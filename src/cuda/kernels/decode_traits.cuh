// Device only. The shape of the decode kernel and its shared memory; attend_decode_sm90.cuh has the
// picture.
#pragma once

#include <cstdint>

#include "../attend_params.h"
#include "../device/ptx.cuh"
#include "../device/smem_tile.cuh"
#include "../schedule.h"

namespace pagoda::cuda::decode {

// Among how many blocks the merging of a request is shared out at most (decode_awaited.cuh), for
// how many pieces a thread asks at once, and what the block with the first share knows of the
// others, a bit for each.
inline constexpr int kMostShares = 4, kPiecesOfTask = 4;
static_assert(kPiecesOfTask >= kLeaves);
struct ShareAnswers {
  uint32_t missing, declined;
};

// The partial states of an item's rows, for one key head. Made by partials_of.
template <int kHeadDimV>
struct PartialStates {
  float* out;                     // [num_rows, kHeadDimV] of the first piece
  float2* ml;                     // [num_rows]
  int64_t out_stride, ml_stride;  // elements from piece to piece

  __device__ float* at(int piece, int row, int column) const {
    return out + piece * out_stride + row * kHeadDimV + column;
  }
  __device__ float2* ml_at(int piece, int row) const { return ml + piece * ml_stride + row; }
};

template <class T, int kHeadDim_, int kHeadDimV_, int kRowTiles_, Code kKeyCode_ = Code::same,
          Code kValueCode_ = Code::same, bool kIsRest_ = false>
struct Traits {
  using Type = T;
  static constexpr Code kKeyCode = kKeyCode_, kValueCode = kValueCode_;
  static constexpr bool kIsRest = kIsRest_;  // of steps that a mixed kernel attends
  static constexpr bool kIsQuantised = kKeyCode != Code::same || kValueCode != Code::same;
  static constexpr int kHeadDim = kHeadDim_, kHeadDimV = kHeadDimV_, kRowTiles = kRowTiles_;
  static_assert(kHeadDim % 16 == 0 && kHeadDimV % 16 == 0);

  using Partials = PartialStates<kHeadDimV>;
  static constexpr int kStreams = 4;
  static constexpr int kClerks = 128, kThreads = 32 * kStreams + kClerks;
  // Codes take half the bytes and more work: a stream takes twice as many keys at once, so that its
  // chains of dependent instructions stand beside each other.
  static constexpr int kTileKeys = kValueCode != Code::same ? 32 : 16, kSubs = kTileKeys / 16;
  static constexpr int kRows = 8 * kRowTiles;
  // Of 16 bytes.
  static constexpr int kQueryChunks = kHeadDim / 8;
  static constexpr int kKeyChunks = kHeadDim / (kKeyCode == Code::same ? 8 : 16);
  static constexpr int kValueChunks = kHeadDimV / (kValueCode == Code::same ? 8 : 16);
  using QueryTile = RowTile<kQueryChunks>;
  using KeyTile = RowTile<kKeyChunks>;
  using ValueTile = RowTile<kValueChunks>;

  static constexpr int kKeyBytes = kTileKeys * KeyTile::kRowBytes;
  static constexpr int kScalesAt = kKeyBytes + kTileKeys * ValueTile::kRowBytes;
  static constexpr int kStageBytes = kScalesAt + (kIsQuantised ? 2 * 4 * kTileKeys : 0);

  // These change speed, never results. More bytes in flight than the memory needs to be busy only
  // wait in its queues, and all else waits behind them.
  static constexpr int kItems = 8, kItemsAhead = 3;  // slots; how far ahead the clerk fills them
  static constexpr int kQueries = 4, kQueriesAhead = 2;
  static constexpr bool kWide = kRowTiles * (kHeadDim + kHeadDimV) > 320;  // one block has it all
  static constexpr int kRingBytes = (kWide ? 128 : 72) * 1024;
  static constexpr int kStages =
      kRingBytes / (kStreams * kStageBytes) < 2 ? 2 : kRingBytes / (kStreams * kStageBytes);
  // Row tiles of states that fit between streams and clerks.
  static constexpr int kStateTiles = kRowTiles == 2 && kWide ? 4 : 2;
  static constexpr int kStateBuffers = kStateTiles / kRowTiles;
  static_assert(kStateBuffers >= 1);

  // Two rows lie 8 banks apart, so that a transposed state is stored without conflicts.
  static constexpr int kStatePitch = kHeadDimV + 4;

  // What the clerks know of the block's only item, if no block has a second one (kItemIsAlone).
  struct OnlyItem {
    int32_t head;
    uint32_t* arrivals;
    int32_t set;                           // of its slots in this launch, see kSecondSet
    int32_t share;                         // of the merging that is this block's; below 0: none
    ShareAnswers answers;                  // to the block with the first share
    int32_t parts, splits;                 // parts: of a split, see Pieces
    int32_t num_shares, share_groups;      // groups of four columns in a share
    int32_t tasks, task_splits;            // tasks of a group; splits of a task
    uint32_t others[kMaxPieces / 32 + 1];  // pieces that other blocks have, a bit for each
    Partials partials[2];                  // of either set
  };
  struct StateTile {
    float out[kStreams][8][kStatePitch];
    float2 ml[kStreams][8];
  };
  struct Shared {
    alignas(128) uint8_t ring[kStreams][kStages][kStageBytes];
    StateTile states[kStateTiles];
    alignas(16) uint8_t queries[kQueries][kRows * QueryTile::kRowBytes];
    DecodeItem items[kItems];
    float4 run_out[kRows][kHeadDimV / 4];  // of the split that the clerk merges leaves into
    float2 run_ml[2][kRows];               // before the leaf and behind it, by turns
    float2 request_ml[2][kRows];           // the same of an item of several splits
    uint64_t item_full[kItems], query_full[kQueries];
    uint64_t state_full[kStateBuffers], state_empty[kStateBuffers];
    uint32_t arrivals_before;  // of the item last reported
    OnlyItem only;
    // See Work. Apart from what changes later, which the same wide load would read.
    alignas(16) int32_t num_items, first_item, item_stride;
    bool fills_device;  // the step: more than half of the blocks have items, and all wait first
    bool takes_shares;  // of the items, until there are none; only where kIsRest
    alignas(16) int32_t leaves_shared[kStreams];  // by each stream so far; registers are few
  };
  static_assert(sizeof(Shared) <= 227 * 1024);
  static constexpr int kBlocksPerSm = 2 * (sizeof(Shared) + 1024) <= 228 * 1024 ? 2 : 1;
  // Of the register file: a thread of two blocks starts with 128, one of a single block with 255.
  // Clerks that multiply by scales at the end, or come back for more, need some more.
  static constexpr int kMore = kIsQuantised || kIsRest ? 8 : 0;
  static constexpr int kStreamRegisters = kBlocksPerSm == 2 ? 176 - kMore : 248;
  static constexpr int kClerkRegisters = kBlocksPerSm == 2 ? 80 + kMore : 128;
};

// The end of the leaf of an item that starts at key `begin`. An item without keys has one leaf
// without keys. Divides, so that no register remembers what shared memory has.
__device__ inline int end_of_leaf(const DecodeItem& item, int begin) {
  const int in_split = begin % item.split_len;
  const int left = min(item.leaf_len - in_split % item.leaf_len, item.split_len - in_split);
  return begin + min(left, item.key_end - begin);
}
__device__ inline bool ends_split(const DecodeItem& item, int end) {
  return end == item.key_end || end % item.split_len == 0;
}

// What all warps of a block know: the kernel's parameters and which items are this block's. The
// block's n-th item has index first + n * stride in the list of items times key heads.
template <class Tr>
struct Work {
  const AttendParams& params;
  typename Tr::Shared& shared;
  int num_items;  // of this block

  __device__ Work(const AttendParams& params, typename Tr::Shared& shared)
      : params(params), shared(shared), num_items(shared.num_items) {}
  __device__ int index(int n) const { return shared.first_item + n * shared.item_stride; }
  __device__ int head(int n) const { return index(n) % params.num_kv_heads; }
  // The slot of item n is refilled when the streams have finished item n + kItems - kItemsAhead.
  __device__ const DecodeItem& item(int n) const { return shared.items[n % Tr::kItems]; }

  __device__ void wait_item(int n) const {
    mbarrier_wait(shared.item_full[n % Tr::kItems], n / Tr::kItems & 1);
  }
  __device__ void wait_query(int n) const {
    mbarrier_wait(shared.query_full[n % Tr::kQueries], n / Tr::kQueries & 1);
  }

  // Until what other kernels write is there. A mixed kernel has itself waited for those before it
  // when it lets this one start; and the two write different rows.
  __device__ void wait_for_inputs() const {
    if (!Tr::kIsRest || !shared.takes_shares) wait_for_earlier_kernels();
  }

  // To be asked when item 0 is there.
  __device__ bool is_alone() const { return item(0).flags & kItemIsAlone; }
};

}  // namespace pagoda::cuda::decode
