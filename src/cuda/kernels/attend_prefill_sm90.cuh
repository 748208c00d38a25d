// Attention of many query rows: prompts, chunks of prompts, encoders. Bound by arithmetic.
//
// A tile is 128 packed rows of one request for one key head; blocks, one per multiprocessor, take
// tiles from a list with the longest first, until there are none.
//
//   warp 0           takes work; keys by the copy engine, in boxes that never cross the border of a
//                    page, two stages
//   warp 1           values, likewise
//   warps 2 and 3    half a tile's queries each, of the next two tiles; finished rows, from where
//                    their queries were, and their lse
//   warps 4 to 7     rows 0 to 63   (prefill_consumer.cuh)
//   warps 8 to 11    rows 64 to 127
//
//                  keys of tile n            n - 1             n - 2
//   tensor cores   | S0 | O0  S0' | S1  O1 | ...
//   group 0             softmax        softmax
//   group 1                  softmax        softmax
//
// Between two tiles of work a group begins the values of the last keys and the scores of the next
// tile's first, and hands its rows over while the latter are under way.
//
// What a step's schedule and page table say is older than the kernel before this one, so all that
// follows from them alone happens while that one ends.
//
// Keys are visited from the last to the first, so the tiles that need a mask come together. Tiles
// are counted from key 0 and never cut, so a row's bits depend on nothing but its request.
#pragma once

#include "prefill_consumer.cuh"
#include "prefill_producer.cuh"
#include "prefill_traits.cuh"

namespace pagoda::cuda::prefill {

template <class Tr>
__device__ void init_barriers(typename Tr::Shared& shared) {
  constexpr int kConsumerWarps = 4 * Tr::kGroups;
  for (uint64_t& barrier : shared.work_full) mbarrier_init(barrier, 1);
  for (uint64_t& barrier : shared.work_empty)
    mbarrier_init(barrier, kConsumerWarps + Tr::kWorkReaders);
  for (uint64_t& barrier : shared.query_full) mbarrier_init(barrier, Tr::kQueryWarps);
  for (uint64_t& barrier : shared.query_empty) mbarrier_init(barrier, kConsumerWarps);
  for (uint64_t& barrier : shared.query_read) mbarrier_init(barrier, 4);
  for (int i = 0; i < Tr::kStages; ++i) {
    mbarrier_init(shared.key_full[i], 1);
    mbarrier_init(shared.value_full[i], 1);
    mbarrier_init(shared.key_empty[i], kConsumerWarps);
    mbarrier_init(shared.value_empty[i], kConsumerWarps);
  }
  fence_barrier_init();
}

template <class Tr>
__global__ void __launch_bounds__(Tr::kThreads, 1)
    attend_prefill(const __grid_constant__ PrefillParams params) {
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<typename Tr::Shared*>(memory);
  const ScheduleHeader* schedule = params.attend.schedule;
  if (params.attend.mixed && (has_items(schedule) || !has_tiles(schedule))) return pass_by();
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&params.key_map);
    prefetch_tensor_map(&params.value_map);
    init_barriers<Tr>(shared);
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    give_registers<Tr::kProducerRegisters>();
    if (threadIdx.x < 32)
      produce_keys<Tr>(params, shared);
    else if (threadIdx.x < 64)
      produce_values<Tr>(params, shared);
    else
      produce_queries<Tr>(params, shared);
  } else {
    take_registers<Tr::kConsumerRegisters>();
    wait_for_inputs(params);
    allow_next_kernel();
    Consumer<Tr>(params, shared, threadIdx.x / 128 - 1).run();
  }
  if (params.beside_decode) wait_for_earlier_kernels();  // who comes next waits for this one alone
}

}  // namespace pagoda::cuda::prefill
