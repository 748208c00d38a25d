// Attention of a step that has both long and short requests: the prefill kernel with one more warp
// group, which decodes while the others multiply. Prefill is bound by arithmetic and decoding by
// memory, so on one multiprocessor either has what the other does not use.
//
//   warp 0           takes prefill work; its keys         prefill_producer.cuh
//   warp 1           its queries and values
//   warp 2           items of decoding, before and after            mixed_clerk.cuh
//   warp 3           keys and values of decoding                    mixed_feeder.cuh
//   warps 4 to 11    multiply                              prefill_consumer.cuh
//   warps 12 to 15   four streams                          mixed_streams.cuh
//
// A block that has no tiles any more leaves its multiprocessor to two blocks of the decode kernel
// behind this one (attend_decode_sm90.cuh, kIsRest), which read memory more than twice as fast.
//
// Registers are what this costs: those that multiply have one set of weights instead of two.
// Neither half's arithmetic differs from its own kernel's, so results do not depend on which of
// them attends a step.
#pragma once

#include "attend_prefill_sm90.cuh"
#include "mixed_clerk.cuh"
#include "mixed_feeder.cuh"
#include "mixed_streams.cuh"
#include "mixed_traits.cuh"

namespace pagoda::cuda::mixed {

// Tells the clerk when about the block's last tile will be done. By one warp, when it has begun.
template <class Tr>
__device__ void tell_end(typename Tr::Shared& shared, const PrefillTile& last) {
  const prefill::KeyTiles<Tr> tiles(last);
  if (threadIdx.x % 32 == 0)
    shared.decode.end_of_tiles =
        clock64() + int64_t{Tr::kCyclesPerStep} * (tiles.end - tiles.first);
}

// By one warp: the queries of a tile in front of its values, which are not needed before.
template <class Tr>
__device__ void produce_queries_and_values(const PrefillParams& params,
                                           typename Tr::Shared& shared) {
  prefill::TileProducer<Tr, typename Tr::ValueTile> producer(
      params, params.value_map, {shared.value, shared.value_full, shared.value_empty});
  prefill::WorkReader<Tr> reader(shared);
  prefill::RingPosition<Tr::kQueries> position;
  const typename Tr::Work* work = reader.next();
  producer.look_up(work);
  while (work) {
    mbarrier_wait(shared.query_empty[position.slot], position.parity ^ 1);
    prefill::gather_queries<Tr>(params.attend, *work, shared, position.slot, 0, Tr::kRows);
    prefill::find_ranges<Tr>(params.attend, work->tile, shared.ranges[position.slot], 0, Tr::kRows);
    prefill::await_gathered();
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(shared.query_full[position.slot]);
    position.advance();
    const typename Tr::Work* next = nullptr;
    producer.produce(*work, [&] {
      next = reader.next();
      if (!next) tell_end<Tr>(shared, work->tile);
      return next;
    });
    reader.release();
    work = next;
  }
}

// By one thread.
template <class Tr>
__device__ void init_decode(typename Tr::Shared& shared) {
  for (uint64_t& barrier : shared.slot_full) mbarrier_init(barrier, 1);
  for (uint64_t& barrier : shared.slot_empty) mbarrier_init(barrier, Tr::Decode::kStreams);
  for (uint64_t& barrier : shared.decode.item_full) mbarrier_init(barrier, 33);
  for (uint64_t& barrier : shared.decode.query_full) mbarrier_init(barrier, 32);
  mbarrier_init(shared.decode.state_full, Tr::Decode::kStreams);
  mbarrier_init(shared.decode.state_empty, 1);
  shared.decode.end_of_tiles = INT64_MAX;  // not known yet
  fence_barrier_init();
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, 1)
    attend_mixed(const __grid_constant__ PrefillParams params) {
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Tr::Shared*>(memory);
  if (!has_both(params.attend.schedule)) return pass_by();
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&params.key_map);
    prefetch_tensor_map(&params.value_map);
    prefill::init_barriers<Tr>(shared);
    init_decode<Tr>(shared);
  }
  wait_for_earlier_kernels();
  allow_next_kernel();
  __syncthreads();

  if (threadIdx.x < 128) {
    give_registers<Tr::kProducerRegisters>();
    if (threadIdx.x < 32)
      prefill::produce_keys<Tr>(params, shared);
    else if (threadIdx.x < 64)
      produce_queries_and_values<Tr>(params, shared);
    else if (threadIdx.x < 96)
      Clerk<Tr>(params, shared).run();
    else
      Feeder<Tr>(params, shared).run();
  } else if (threadIdx.x < 384) {
    take_registers<Tr::kConsumerRegisters>();
    prefill::Consumer<Tr>(params, shared, threadIdx.x / 128 - 1).run();
  } else {
    give_registers<Tr::kDecodeRegisters>();
    Streams<Tr>(params, shared).run();
  }
}

}  // namespace pagoda::cuda::mixed
