// Device only. The shape of the mixed kernel and its shared memory; attend_mixed_sm90.cuh has the
// picture. Its two halves are the prefill kernel's with one tile of queries and one set of weights,
// and the decode kernel's arithmetic over another ring.
#pragma once

#include "decode_stream.cuh"
#include "prefill_traits.cuh"

namespace pagoda::cuda::mixed {

// What the functions of decode_*.cuh are told: eight rows, keys and values of 16 bits. A slot of
// the ring holds 64 keys or 64 values, a tile of 16 for each stream, and cuts lie at multiples of
// 64 (core/splits.h), so no slot is cut.
template <class T, int kHeadDim_, int kHeadDimV_>
struct DecodeTraits {
  using Type = T;
  static constexpr Code kKeyCode = Code::same, kValueCode = Code::same;
  static constexpr bool kIsQuantised = false;
  static constexpr int kHeadDim = kHeadDim_, kHeadDimV = kHeadDimV_, kRowTiles = 1;
  static constexpr int kStreams = 4, kClerks = 32;
  static constexpr int kTileKeys = 16, kSubs = 1, kRows = 8;
  static constexpr int kQueryChunks = kHeadDim / 8;
  static_assert(kHeadDim % 64 == 0 && kHeadDimV % 64 == 0);

  using QueryTile = RowTile<kQueryChunks>;
  static_assert(kTileKeys == mixed::kTileKeys && kSlotKeys == kStreams * kTileKeys);
  static constexpr int kTileBytes = 2 * kTileKeys * (kHeadDim > kHeadDimV ? kHeadDim : kHeadDimV);
  static constexpr int kSlotBytes = kStreams * kTileBytes;

  static constexpr int kItems = 4, kQueries = 2;  // slots
  static constexpr int kStateRows = 4;            // that the streams share at a time
  static constexpr int kStatePitch = kHeadDimV + 4;

  struct StateTile {
    float out[kStreams][kStateRows][kStatePitch];
    float2 ml[kStreams][kStateRows];
  };
  // Without the ring.
  struct Shared {
    alignas(256) uint8_t queries[kQueries][kRows * QueryTile::kRowBytes];
    StateTile states;
    DecodeItem items[kItems];
    float4 run_out[kRows][kHeadDimV / 4];  // as in decode::Traits
    float2 run_ml[2][kRows];
    float2 request_ml[2][kRows];
    decode::Rows<DecodeTraits> rows[kStreams][4];  // what lanes c, c + 4, ... of a stream know
    uint64_t item_full[kItems], query_full[kQueries];
    uint64_t state_full, state_empty;
    int32_t index[kItems];  // in the list of items times key heads; below 0: there are no more
    volatile int64_t end_of_tiles;  // by the multiprocessor's clock; see tell_end
  };
};

template <class T, int kHeadDim_, int kHeadDimV_>
struct Traits : prefill::Traits<T, kHeadDim_, kHeadDimV_> {
  using Alone = prefill::Traits<T, kHeadDim_, kHeadDimV_>;
  using Decode = DecodeTraits<T, kHeadDim_, kHeadDimV_>;

  static constexpr int kThreads = Alone::kThreads + 128;
  static constexpr int kQueryWarps = 1, kWorkReaders = 1;  // the same warp brings values
  static constexpr int kQueries = 1;
  static constexpr bool kOverlaps = false;
  static constexpr int kTiles = 4;
  static constexpr int kWeightSets = 1;
  // A stream that cannot ask for its operands ahead waits long beside those that multiply.
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 192, kDecodeRegisters = 88;
  // About what 128 keys take a tile, and one key the streams beside it, as measured at head_dim
  // 128.
  static constexpr int kCyclesPerStep = 500 + 17 * kHeadDim_, kDecodeCyclesPerKey = 80;
  static_assert(kProducerRegisters + 2 * kConsumerRegisters + kDecodeRegisters <= 512);

  static constexpr int kSlots = [] {  // keys and values by turns, as many as fit
    constexpr int kOther = Alone::QueryTile::kBytes +
                           Alone::kStages * (Alone::KeyTile::kBytes + Alone::ValueTile::kBytes) +
                           sizeof(typename Decode::Shared) + 1024;
    constexpr int kRoom = 227 * 1024 - kOther;
    constexpr int kFit = kRoom / Decode::kSlotBytes;
    return kFit < 8 ? kFit : 8;
  }();

  struct Shared {
    alignas(1024) uint8_t query[kQueries][Alone::QueryTile::kBytes];
    alignas(1024) uint8_t key[Alone::kStages][Alone::KeyTile::kBytes];
    alignas(1024) uint8_t value[Alone::kStages][Alone::ValueTile::kBytes];
    alignas(1024) uint8_t slots[kSlots][Decode::kSlotBytes];
    alignas(16) typename Alone::Ranges ranges[kQueries];
    alignas(16) prefill::StagedRows staged[kQueryWarps][kQueries];
    alignas(16) typename Alone::Work work[kTiles];
    uint64_t work_full[kTiles], work_empty[kTiles];
    uint64_t query_full[kQueries], query_empty[kQueries], query_read[Alone::kGroups];
    uint64_t key_full[Alone::kStages], key_empty[Alone::kStages];
    uint64_t value_full[Alone::kStages], value_empty[Alone::kStages];
    uint64_t slot_full[kSlots], slot_empty[kSlots];
    typename Decode::Shared decode;
  };
  static_assert(sizeof(Shared) <= 227 * 1024);
};

}  // namespace pagoda::cuda::mixed
