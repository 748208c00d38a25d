// Device only. One function per instruction: the names of the PTX manual, arguments in the order
// destination, source, size. Nothing here knows about attention.
#pragma once

#include <cstdint>

namespace pagoda::cuda {

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// In a build that looks for races (PAGODA_DELAYS) a warp sometimes sleeps at a barrier, so that who
// comes first changes from run to run; results may not. Otherwise nothing.
__device__ inline void maybe_delay() {
#ifdef PAGODA_DELAYS
  uint32_t x = static_cast<uint32_t>(clock64()) * 2654435761u ^ blockIdx.x * 40503u ^
               threadIdx.x / 32 * 2246822519u;
  x ^= x >> 15, x *= 2246822519u, x ^= x >> 13;
  x = __shfl_sync(__activemask(), x, __ffs(__activemask()) - 1);
  if (x % 4 == 0) __nanosleep(x / 4 % 4096);
#endif
}

// Sometimes true in such a build, for what else happens too rarely to be tested.
__device__ inline bool by_chance() {
#ifdef PAGODA_DELAYS
  return clock64() / 64 % 4 == 0;
#else
  return false;
#endif
}

// ---- asynchronous copies by the threads -----------------------------------------------------

// 16 bytes, past the first-level cache; zeros if `valid` is false, in which case `source` is not
// read.
__device__ inline void cp_async_16(uint32_t destination, const void* source, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(destination),
               "l"(source), "r"(valid ? 16 : 0)
               : "memory");
}
// The same for bytes that are read once: in the second-level cache they make room for others first.
__device__ inline void cp_async_16_once(uint32_t destination, const void* source, bool valid) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(
                   destination),
               "l"(source), "r"(valid ? 16 : 0), "l"(policy)
               : "memory");
}
// 4 bytes, likewise.
__device__ inline void cp_async_4(uint32_t destination, const void* source, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(destination), "l"(source),
               "r"(valid ? 4 : 0)
               : "memory");
}
__device__ inline void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
  maybe_delay();
}

// ---- barriers in shared memory ---------------------------------------------------------------

__device__ inline void mbarrier_init(uint64_t& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals)
               : "memory");
}
// Before the place is used for another.
__device__ inline void mbarrier_invalidate(uint64_t& barrier) {
  asm volatile("mbarrier.inval.shared.b64 [%0];" ::"r"(shared_address(&barrier)) : "memory");
}
__device__ inline void mbarrier_arrive(uint64_t& barrier) {
  maybe_delay();
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}
// Threads that have met report to a barrier through one of them. A build for racecheck
// (PAGODA_RACECHECK), which does not follow that, has each report for itself.
__device__ constexpr int arrivals_of(int threads) {
#ifdef PAGODA_RACECHECK
  return threads;
#else
  return threads > 0 ? 1 : 0;
#endif
}
__device__ inline void mbarrier_arrive_for_all(uint64_t& barrier, bool is_first) {
  if (is_first || arrivals_of(2) == 2) mbarrier_arrive(barrier);
}
// Arrives when this thread's earlier cp.async have landed; counts as one of the barrier's arrivals.
__device__ inline void mbarrier_arrive_after_copies(uint64_t& barrier) {
  maybe_delay();
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(&barrier))
               : "memory");
}
// Until the phase of this parity has completed. Without the hint that lets a warp sleep: it wakes
// microseconds late.
__device__ inline void mbarrier_wait(uint64_t& barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
  maybe_delay();
}

// Whether the phase of this parity has completed.
__device__ inline bool mbarrier_test(uint64_t& barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(done)
      : "r"(shared_address(&barrier)), "r"(parity)
      : "memory");
  return done != 0;
}

__device__ inline void mbarrier_arrive_expect_bytes(uint64_t& barrier, uint32_t bytes) {
  maybe_delay();
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(bytes)
               : "memory");
}

// Bytes that `barrier` is to wait for in its present phase, besides its arrivals.
__device__ inline void mbarrier_expect_bytes(uint64_t& barrier, uint32_t bytes) {
  maybe_delay();
  asm volatile(
      "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)),
      "r"(bytes)
      : "memory");
}

// ---- tensor copies ----------------------------------------------------------------------------

__device__ inline void prefetch_tensor_map(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// A box of a three-dimensional tensor, innermost coordinate first; `barrier` counts its bytes.
__device__ inline void copy_box_3d(uint32_t destination, const void* map, uint64_t& barrier, int c0,
                                   int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(destination),
      "l"(map), "r"(shared_address(&barrier)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}
// From shared memory to a box; of what lies outside the tensor nothing is written.
__device__ inline void store_box_3d(const void* map, uint32_t source, int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
      "r"(source), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}
// Until the stores that this thread has begun have read shared memory.
__device__ inline void wait_for_stores_to_read() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  maybe_delay();
}
// A box of a four-dimensional tensor, likewise.
__device__ inline void copy_box_4d(uint32_t destination, const void* map, uint64_t& barrier, int c0,
                                   int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(destination),
      "l"(map), "r"(shared_address(&barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
// Asks for a box to be brought into the second-level cache: a hint like prefetch_line.
__device__ inline void prefetch_box_4d(const void* map, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global [%0, {%1, %2, %3, %4}];" ::"l"(map),
               "r"(c0), "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
// Of a five-dimensional one, and of bytes that are read once: in the second-level cache they make
// room for others first.
__device__ inline void copy_box_5d_once(uint32_t destination, const void* map, uint64_t& barrier,
                                        int c0, int c1, int c2, int c3, int c4) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(destination),
      "l"(map), "r"(shared_address(&barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4),
      "l"(policy)
      : "memory");
}
// Orders this thread's accesses to shared memory before later ones of the copy engine and wgmma.
__device__ inline void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Makes initialised barriers visible to the copy engine.
__device__ inline void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Asks for the line of 128 bytes at `source` to be brought into the second-level cache, which sees
// every later write: a hint that changes nothing.
__device__ inline void prefetch_line(const void* source) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(source));
}

__device__ inline float load_shared(uint32_t address) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(address) : "memory");
  return x;
}
__device__ inline uint4 load_shared_16(uint32_t address) {
  uint4 x;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}
__device__ inline uint2 load_shared_8(uint32_t address) {
  uint2 x;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(address) : "memory");
  return x;
}
__device__ inline void store_shared_16(uint32_t address, const uint4& x) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(x.x), "r"(x.y),
               "r"(x.z), "r"(x.w)
               : "memory");
}
__device__ inline void store_zero_16(uint32_t address) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(address), "r"(0) : "memory");
}

// ---- matrices of a warp ---------------------------------------------------------------------

__device__ inline void ldmatrix_x2(uint32_t (&r)[2], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}
__device__ inline void ldmatrix_x4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ inline void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ inline void stmatrix_x4(uint32_t address, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}
// Transposes an 8 x 8 matrix of 16-bit elements that lies across the warp.
__device__ inline uint32_t movmatrix_trans(uint32_t a) {
  uint32_t d;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(d) : "r"(a));
  return d;
}

// ---- arithmetic -----------------------------------------------------------------------------

__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float sqrt_approx(float x) {
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float rcp_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The same value, of which the compiler knows nothing: what follows from it is computed again where
// it is used, instead of being kept in registers through a loop.
__device__ inline int recomputed(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// (a & b) | c in one instruction also where two of them are constants.
__device__ inline uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// ---- warp groups ------------------------------------------------------------------------------

template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
__device__ inline void named_barrier_sync(int id, int threads) {
  maybe_delay();
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
  maybe_delay();
}
__device__ inline void named_barrier_arrive(int id, int threads) {
  maybe_delay();
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- order ----------------------------------------------------------------------------------

// Adds 1; who sees the new count sees what this thread, and those it has met at a barrier, wrote
// before.
__device__ inline uint32_t atomic_increment_release(uint32_t* counter) {
  maybe_delay();
  uint32_t before;
  asm volatile("atom.release.gpu.global.add.u32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(counter)
               : "memory");
  return before;
}
// Words that other blocks read or write at the same time, past the first-level cache.
__device__ inline uint2 load_relaxed_8(const void* source) {
  uint2 x;
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];"
               : "=r"(x.x), "=r"(x.y)
               : "l"(source)
               : "memory");
  return x;
}
__device__ inline uint4 load_relaxed_16(const void* source) {
  uint4 x;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(source)
               : "memory");
  return x;
}
__device__ inline uint32_t load_relaxed(const uint32_t* source) {
  uint32_t x;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(source) : "memory");
  return x;
}
__device__ inline void store_relaxed(uint32_t* to, uint32_t x) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(x) : "memory");
}
__device__ inline void store_relaxed_16(void* to, const uint4& x) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.x), "r"(x.y),
               "r"(x.z), "r"(x.w)
               : "memory");
}
__device__ inline void store_relaxed_8(void* to, const uint2& x) {
  asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(x.x), "r"(x.y)
               : "memory");
}
__device__ inline uint32_t atomic_add_relaxed(uint32_t* counter, uint32_t n) {
  maybe_delay();
  uint32_t before;
  asm volatile("atom.relaxed.gpu.global.add.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(counter), "r"(n)
               : "memory");
  return before;
}
__device__ inline void fence_acq_rel_gpu() {
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
}

// ---- programmatic launch ----------------------------------------------------------------------
// From 9.0 on; before, a kernel starts when the one before it has ended.

// Until the kernels before this one in the stream are done and their writes visible.
__device__ inline void wait_for_earlier_kernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// The next kernel may be brought onto the device; it waits for this one's writes all the same.
__device__ inline void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Of a kernel that has no part in a step. Its first block waits for all of them, as the kernel
// behind this one relies on it; the others make room for that one at once.
__device__ inline void pass_by() {
  allow_next_kernel();
  if (blockIdx.x == 0) wait_for_earlier_kernels();
}

}  // namespace pagoda::cuda
