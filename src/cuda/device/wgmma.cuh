// Device only. The matrix product of a warp group: d += a * b with b, and a if it is not in
// registers, in shared memory under the 128-byte swizzle. Asynchronous: between the call and the
// wait that covers it, neither d nor a register of a may be touched.
//
// The operands of one instruction are listed in full, as PTX wants them; the lists are written by
// macros that end with this file.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace pagoda::cuda {

// Rows of 64 elements that lie 128 bytes apart, swizzled. `along_k`: the elements of a row follow
// the summed dimension (queries, keys); otherwise they follow the other one (values), and
// slab_bytes is the distance to the next 64 of them.
template <bool kAlongK>
__device__ inline uint64_t matrix_descriptor(uint32_t address, uint32_t slab_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = 1024 >> 4;
  const uint64_t leading = kAlongK ? 1 : slab_bytes >> 4;
  return kSwizzle128 | kEightRows << 32 | leading << 16 | (address & 0x3ffff) >> 4;
}

// The descriptor of what lies `bytes` further on.
__device__ inline uint64_t advance(uint64_t descriptor, uint32_t bytes) {
  const uint32_t low = static_cast<uint32_t>(descriptor) + (bytes >> 4);
  return (descriptor & 0xffffffff00000000) | low;
}

__device__ inline void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of an accumulator across the place where this stands.
template <int kCount>
__device__ inline void pin_registers(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// A copy that stays behind what stands in front of it: `a` in registers of its own while a product
// still reads those that the copy goes to.
__device__ inline uint32_t moved(uint32_t x) {
  uint32_t y;
  asm volatile("mov.b32 %0, %1;" : "=r"(y) : "r"(x) : "memory");
  return y;
}

#define PAGODA_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define PAGODA_D8(i) PAGODA_D4(i), PAGODA_D4(i + 4)
#define PAGODA_D16(i) PAGODA_D8(i), PAGODA_D8(i + 8)
#define PAGODA_D32(i) PAGODA_D16(i), PAGODA_D16(i + 16)
#define PAGODA_R8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define PAGODA_R16 \
  PAGODA_R8        \
  ", "             \
  "%8, %9, %10, %11, %12, %13, %14, %15"
#define PAGODA_R32 \
  PAGODA_R16       \
  ", "             \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PAGODA_R64                                                                   \
  PAGODA_R32                                                                         \
  ", "                                                                               \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// One instruction for kN columns of b: m 64, k 16. a: [64, 16], b: [16, kN] behind a descriptor of
// keys; or a in registers and b behind a descriptor of values.
template <class T, int kN>
struct Wgmma;

template <>
struct Wgmma<__nv_bfloat16, 16> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {" PAGODA_R8
        "}, %8, %9, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D8(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %13, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {" PAGODA_R8
        "}, {%8, %9, %10, %11}, %12, p, 1, 1, 1;\n}\n"
        : PAGODA_D8(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Wgmma<__nv_bfloat16, 32> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" PAGODA_R16
        "}, %16, %17, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D16(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" PAGODA_R16
        "}, {%16, %17, %18, %19}, %20, p, 1, 1, 1;\n}\n"
        : PAGODA_D16(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Wgmma<__nv_bfloat16, 64> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" PAGODA_R32
        "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D32(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" PAGODA_R32
        "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
        : PAGODA_D32(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Wgmma<__nv_bfloat16, 128> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" PAGODA_R64
        "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D32(0), PAGODA_D32(32)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" PAGODA_R64
        "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
        : PAGODA_D32(0), PAGODA_D32(32)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Wgmma<__half, 16> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {" PAGODA_R8
        "}, %8, %9, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D8(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %13, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {" PAGODA_R8
        "}, {%8, %9, %10, %11}, %12, p, 1, 1, 1;\n}\n"
        : PAGODA_D8(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Wgmma<__half, 32> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {" PAGODA_R16
        "}, %16, %17, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D16(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {" PAGODA_R16
        "}, {%16, %17, %18, %19}, %20, p, 1, 1, 1;\n}\n"
        : PAGODA_D16(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Wgmma<__half, 64> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" PAGODA_R32
        "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D32(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" PAGODA_R32
        "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
        : PAGODA_D32(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Wgmma<__half, 128> {
  static __device__ void keys(float* d, uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" PAGODA_R64
        "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
        : PAGODA_D32(0), PAGODA_D32(32)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ void values(float* d, const uint32_t* a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" PAGODA_R64
        "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
        : PAGODA_D32(0), PAGODA_D32(32)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

#undef PAGODA_D4
#undef PAGODA_D8
#undef PAGODA_D16
#undef PAGODA_D32
#undef PAGODA_R8
#undef PAGODA_R16
#undef PAGODA_R32
#undef PAGODA_R64

}  // namespace pagoda::cuda
