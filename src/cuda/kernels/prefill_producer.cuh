// Device only. The warp group that feeds the others. Its first warp hands out work and has the copy
// engine bring keys, page by page; the second does so for values; the other two bring the queries,
// whose rows are packed from several tokens and heads, take finished rows away, and find out what
// each row sees. A box of the copy engine is half a tile of them where the group divides 64;
// otherwise lanes bring and take 16 bytes each.
#pragma once

#include "paged_keys.cuh"
#include "prefill_output.cuh"
#include "prefill_rows.cuh"
#include "prefill_traits.cuh"

namespace pagoda::cuda::prefill {

// Until what other kernels write is there. A decode kernel has itself waited for those before it
// when it lets this one start; and the two write different rows.
__device__ inline void wait_for_inputs(const PrefillParams& params) {
  if (!params.beside_decode) wait_for_earlier_kernels();
}

// A ring of tiles of keys or of values.
template <class Tr, class Tile>
struct TileRing {
  uint8_t (&stages)[Tr::kStages][Tile::kBytes];
  uint64_t (&full)[Tr::kStages];
  uint64_t (&empty)[Tr::kStages];
};

// Brings the tiles of keys, or those of values, of one piece of work after the other, each in
// falling order. Pages are looked up a tile ahead, so that no copy waits for the page table. By one
// warp.
template <class Tr, class Tile>
class TileProducer {
 public:
  using Work = typename Tr::Work;

  __device__ TileProducer(const PrefillParams& params, const CUtensorMap& map,
                          const TileRing<Tr, Tile>& ring)
      : params_(params),
        map_(map),
        ring_(ring),
        lane_(threadIdx.x % 32),
        num_boxes_(Tr::kKeys / params.box_rows) {}

  // Looks up the first tile of the work that comes next; null: there is none.
  __device__ void look_up(const Work* work) {
    if (!work) return;
    const PagedKeys keys(params_.attend, work->tile.req);
    box_ = find_box(work->tile, keys, KeyTiles<Tr>(work->tile).end - 1);
  }

  // The same of the block's first work. What a block brings that has no other work is also brought
  // near, while kernels that may still write it run.
  __device__ void look_up_first(const Work* work) {
    look_up(work);
    if (!work || !work->is_only || box_.page < 0) return;
#pragma unroll
    for (int slab = 0; slab < Tile::kSlabs; ++slab)
      prefetch_box_4d(&map_, slab * kSlabElements, box_.row, work->head, box_.page);
  }

  // find_next: says what work comes after this; called as soon as the first copy is under way.
  template <class FindNext>
  __device__ void produce(const Work& work, FindNext find_next) {
    const PrefillTile& tile = work.tile;  // read where it is: registers are few
    const KeyTiles<Tr> tiles(tile);
    const PagedKeys keys(params_.attend, tile.req);
    const Work* next = nullptr;
    for (int i = tiles.end - 1; i >= tiles.first; --i) {
      const Box box = box_;
      if (i > tiles.first)
        box_ = find_box(tile, keys, i - 1);
      else if (i < tiles.end - 1)
        look_up(next);
      copy(box, work.head);
      position_.advance();
      if (i == tiles.end - 1) next = find_next();
    }
    if (tiles.end - tiles.first == 1) look_up(next);
  }

 private:
  // The rows of a tile that one lane sends for. A box in front of the work's keys or behind the
  // request's may have no page.
  struct Box {
    int32_t page = -1, row = 0;
  };

  __device__ Box find_box(const PrefillTile& tile, const PagedKeys& keys, int index) const {
    const int first = index * Tr::kKeys + lane_ * params_.box_rows;
    const bool used =
        lane_ < num_boxes_ && first < tile.seq_len && first + params_.box_rows > tile.key_begin;
    return used ? Box{keys.page_of_now(first), keys.row_of(first)} : Box{};
  }

  __device__ void copy(const Box& box, int head) const {
    const int boxes = __popc(__ballot_sync(~0u, box.page >= 0));
    uint64_t& full = ring_.full[position_.slot];
    mbarrier_wait(ring_.empty[position_.slot], position_.parity ^ 1);
    if (lane_ == 0)
      mbarrier_arrive_expect_bytes(full, boxes * params_.box_rows * 128 * Tile::kSlabs);
    __syncwarp();
    if (box.page < 0) return;
    const uint32_t destination =
        shared_address(ring_.stages[position_.slot]) + lane_ * params_.box_rows * 128;
#pragma unroll
    for (int slab = 0; slab < Tile::kSlabs; ++slab)
      copy_box_4d(destination + slab * Tile::kSlabBytes, &map_, full, slab * kSlabElements, box.row,
                  head, box.page);
  }

  const PrefillParams& params_;
  const CUtensorMap& map_;
  const TileRing<Tr, Tile> ring_;
  const int lane_, num_boxes_;
  RingPosition<Tr::kStages> position_;
  Box box_;  // of the next tile
};

// Hands out tiles of work in the order of the list, to whichever block asks first; one key head
// after the other, so that what the blocks read at one time stays in the second-level cache. Where
// no block gets a second tile, the longest of all heads go to the blocks that start first.
template <class Tr>
class WorkSource {
 public:
  __device__ WorkSource(const PrefillParams& params, typename Tr::Shared& shared)
      : params_(params),
        shared_(shared),
        num_tiles_(__ldcg(&params.attend.schedule->num_prefill_tiles)),
        total_(num_tiles_ * params.attend.num_kv_heads),
        alone_(total_ <= static_cast<int>(gridDim.x)) {}

  // The index of this block's next piece of work, for lane 0, which does not wait for the answer
  // before it uses it. The first needs no counter.
  __device__ int first() const { return blockIdx.x; }
  __device__ int next() const {
    if (alone_) return total_;
    if (threadIdx.x % 32 != 0) return 0;
    return static_cast<int>(atomicAdd(params_.attend.next_tile, 1u) + gridDim.x);
  }

  // Puts the work of lane 0's index where all warps see it; returns whether there is any.
  __device__ bool publish(int index) {
    const int lane = threadIdx.x % 32;
    index = __shfl_sync(~0u, index, 0);
    // Every block asks until it gets nothing, so the last one to ask is known by its number.
    if (lane == 0 && index == total_ + static_cast<int>(gridDim.x) - 1 && total_ > 0)
      *params_.attend.next_tile = 0;
    mbarrier_wait(shared_.work_empty[position_.slot], position_.parity ^ 1);
    auto& work = shared_.work[position_.slot];
    const bool any = index < total_;
    const int inner = alone_ ? params_.attend.num_kv_heads : num_tiles_;
    const int major = any ? index / inner : -1, minor = any ? index % inner : 0;
    const auto* tile =
        reinterpret_cast<const int32_t*>(&params_.attend.prefill_tiles[alone_ ? major : minor]);
    if (any && lane < static_cast<int>(sizeof(PrefillTile) / 4))
      reinterpret_cast<int32_t*>(&work.tile)[lane] = __ldcg(tile + lane);
    if (lane == 0) work.head = alone_ && any ? minor : major, work.is_only = alone_;
    __syncwarp();
    if (lane == 0) mbarrier_arrive(shared_.work_full[position_.slot]);
    position_.advance();
    return any;
  }

 private:
  const PrefillParams& params_;
  typename Tr::Shared& shared_;
  const int num_tiles_, total_;
  const bool alone_;
  RingPosition<Tr::kTiles> position_;
};

// The other warps' view of the work, piece by piece.
template <class Tr>
class WorkReader {
 public:
  __device__ explicit WorkReader(typename Tr::Shared& shared) : shared_(shared) {}

  // Waits for the next piece, which stays where it is until it is released; null: there is none.
  __device__ const typename Tr::Work* next() {
    const uint32_t n = read_++;
    mbarrier_wait(shared_.work_full[n % Tr::kTiles], n / Tr::kTiles & 1);
    const typename Tr::Work& work = shared_.work[n % Tr::kTiles];
    return work.head >= 0 ? &work : nullptr;
  }
  // Gives back the oldest piece that has not been.
  __device__ void release() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(shared_.work_empty[released_ % Tr::kTiles]);
    ++released_;
  }

 private:
  typename Tr::Shared& shared_;
  uint32_t read_ = 0, released_ = 0;
};

// Keys, and before them the work that there is: two pieces ahead, so that queries come in time; but
// nothing is put in front of the block's first keys.
template <class Tr>
__device__ void produce_keys(const PrefillParams& params, typename Tr::Shared& shared) {
  WorkSource<Tr> source(params, shared);
  TileProducer<Tr, typename Tr::KeyTile> producer(params, params.key_map,
                                                  {shared.key, shared.key_full, shared.key_empty});
  bool more = source.publish(source.first());
  if (!more) return;
  // Where more work is to come, the counter is asked before pages are looked up.
  if (shared.work[0].is_only) producer.look_up_first(&shared.work[0]);
  wait_for_inputs(params);
  int ahead = source.next();
  if (!shared.work[0].is_only) producer.look_up_first(&shared.work[0]);
  const auto publish_one = [&] {
    if (!more) return;
    more = source.publish(ahead);
    if (more) ahead = source.next();
  };
  const auto piece = [&](uint32_t n) {
    const typename Tr::Work& work = shared.work[n % Tr::kTiles];
    return work.head >= 0 ? &work : nullptr;
  };
  uint32_t n = 0;
  while (const typename Tr::Work* work = piece(n)) {
    producer.produce(*work, [&] {
      if (n == 0) publish_one();
      publish_one();
      return piece(n + 1);
    });
    ++n;
  }
}

template <class Tr>
__device__ void produce_values(const PrefillParams& params, typename Tr::Shared& shared) {
  TileProducer<Tr, typename Tr::ValueTile> producer(
      params, params.value_map, {shared.value, shared.value_full, shared.value_empty});
  WorkReader<Tr> reader(shared);
  const typename Tr::Work* work = reader.next();
  producer.look_up_first(work);
  wait_for_inputs(params);
  while (work) {
    const typename Tr::Work* next = nullptr;
    producer.produce(*work, [&] { return next = reader.next(); });
    reader.release();
    work = next;
  }
}

// Brings num_rows rows of a tile's queries, from row `first` of the tile on, to their place; rows
// behind the last become zeros. By one warp, eight lanes to a row, where the copy engine does not
// serve.
template <class Tr>
__device__ __forceinline__ void gather_queries(const AttendParams& attend,
                                               const typename Tr::Work& work,
                                               typename Tr::Shared& shared, int slot, int first,
                                               int num_rows) {
  constexpr int kChunks = Tr::kHeadDim / 8, kLanes = 8, kRowsAtOnce = 32 / kLanes;
  const int lane = threadIdx.x % 32;
  const PrefillTile tile = work.tile;
  const int head = work.head;
  const uint32_t destination = shared_address(shared.query[slot]);
#pragma unroll 4
  for (int index = first + lane / kLanes; index < first + num_rows; index += kRowsAtOnce) {
    const TileRow row(attend, tile, head, index);
    const auto* source = static_cast<const uint8_t*>(attend.query) +
                         int64_t{tile.query_start + row.token} * attend.query_token_stride +
                         row.query_head * attend.query_head_stride;
#pragma unroll
    for (int chunk = lane % kLanes; chunk < kChunks; chunk += kLanes)
      cp_async_16(destination + Tr::QueryTile::offset(index, chunk), source + 16 * chunk, row.real);
  }
  cp_async_commit();
}
__device__ inline void await_gathered() {
  cp_async_wait<0>();
  fence_async_proxy();
}

// Half a tile's rows between shared memory and the tensors of the call, by the copy engine and one
// warp. A half that the request does not fill may bring rows of the next one, which nobody looks
// at.
template <class Tr>
class HalfTileCopy {
 public:
  __device__ HalfTileCopy(const PrefillParams& params, typename Tr::Shared& shared, int half)
      : params_(params), shared_(shared), half_(half) {}

  __device__ void begin_queries(const typename Tr::Work& work, int slot) const {
    if (threadIdx.x % 32 != 0) return;
    const Place to = place(half_ == 0 ? work.tile.first_row : work.tile.second_row,
                           work.tile.query_start, work.head);
    const uint32_t destination = address(slot);
    uint64_t& full = shared_.query_full[slot];
    mbarrier_expect_bytes(full, Tr::QueryTile::kSlabs * kHalfBytes);
#pragma unroll
    for (int slab = 0; slab < Tr::QueryTile::kSlabs; ++slab)
      copy_box_3d(destination + slab * Tr::QueryTile::kSlabBytes, &params_.query_map, full,
                  slab * kSlabElements, to.head, to.token);
  }

  // Rows that finished where their queries were; returns when these may be overwritten.
  __device__ void send(const StagedRows& rows, int slot) const {
    if (threadIdx.x % 32 != 0) return;
    const Place to = place(rows.first + half_ * kHalfTileRows, rows.query_start, rows.head);
    const uint32_t source = address(slot);
#pragma unroll
    for (int column = 0; column < Tr::kHeadDimV; column += kSlabElements)
      store_box_3d(&params_.out_map, source + column / kSlabElements * Tr::QueryTile::kSlabBytes,
                   column, to.head, to.token);
    wait_for_stores_to_read();
  }

 private:
  static constexpr uint32_t kHalfBytes = kHalfTileRows * 128;  // of a slab
  struct Place {
    int head, token;
  };
  __device__ Place place(int row, int query_start, int head) const {
    const Divisor& group = params_.attend.group;
    return {head * group.value, query_start + group.divide(row)};
  }
  __device__ uint32_t address(int slot) const {
    return shared_address(shared_.query[slot]) + half_ * kHalfBytes;
  }

  const PrefillParams& params_;
  typename Tr::Shared& shared_;
  const int half_;
};

// By the last warps of the group, each for half of a tile. Before the queries of a tile come, the
// output of the tile whose place they take leaves.
template <class Tr>
__device__ void produce_queries(const PrefillParams& params, typename Tr::Shared& shared) {
  const AttendParams& attend = params.attend;
  const int half = threadIdx.x / 32 - 2, lane = threadIdx.x % 32;
  const HalfTileCopy<Tr> copy(params, shared, half);
  WorkReader<Tr> reader(shared);
  RingPosition<Tr::kQueries> position;
  // What the tile before in the same place left there.
  StagedRows* const staged = shared.staged[half];
  const auto take_place = [&](const StagedRows& next) {
    mbarrier_wait(shared.query_empty[position.slot], position.parity ^ 1);
    if constexpr (!Tr::kOverlaps) return;
    const StagedRows rows = staged[position.slot];
    if (rows.head >= 0) {
      const int first = half * kHalfTileRows, end = first + kHalfTileRows;
      if (params.has_row_maps && rows.first + end <= rows.end)
        copy.send(rows, position.slot);
      else
        send_rows<Tr>(attend, rows, shared.query[position.slot], first, end);
      send_lse<Tr>(attend, rows, shared.ranges[position.slot], first, end);
    }
    __syncwarp();
    if (lane == 0) staged[position.slot] = next;
    __syncwarp();
  };
  bool is_first = true;
  if (lane < Tr::kQueries) staged[lane] = {};
  __syncwarp();
  while (const typename Tr::Work* work = reader.next()) {
    take_place({work->tile.first_row, work->tile.query_len * attend.group.value,
                work->tile.query_start, work->head});
    if (is_first) wait_for_inputs(params);
    is_first = false;
    if (params.has_row_maps) {
      fence_async_proxy();
      __syncwarp();
      copy.begin_queries(*work, position.slot);
    } else {
      gather_queries<Tr>(attend, *work, shared, position.slot, half * kHalfTileRows, kHalfTileRows);
    }
    find_ranges<Tr>(attend, work->tile, shared.ranges[position.slot], half * kHalfTileRows,
                    kHalfTileRows);
    if (!params.has_row_maps) await_gathered();
    __syncwarp();
    if (lane == 0) mbarrier_arrive(shared.query_full[position.slot]);
    reader.release();
    position.advance();
  }
  // All but the last tile, whose rows leave from registers.
  for (int i = 1; i < Tr::kQueries; ++i) {
    take_place({});
    position.advance();
  }
}

}  // namespace pagoda::cuda::prefill
