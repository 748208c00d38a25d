// Device only. The operands of decode's products, from tiles of 16-bit elements or of codes. Codes
// become elements in registers, on the way from shared memory to the product:
//
//   keys     ldmatrix moves bytes as it moves pairs, so a thread gets elements 4 c to 4 c + 3 of
//            its key where the instruction asks for 2 c, 2 c + 1 and 2 c + 8, 2 c + 9. The sum over
//            elements has no order, so the query is loaded in the same wrong places.
//   values   the transposing ldmatrix keeps pairs of bytes together: a thread gets columns 2 g and
//            2 g + 1 of its two keys where the instruction asks for g and g + 8. So the output's
//            columns come out in another order, and are put back when the state is shared.
//
// Scales of keys multiply s, scales of values' tokens the weights, all others the finished output.
#pragma once

#include <type_traits>

#include "../device/dequant.cuh"
#include "decode_traits.cuh"

namespace pagoda::cuda::decode {

// Of weights that scales of tokens multiply: an f16 weight times a small scale would lose bits, and
// what 2^6 times the largest scale of an f16 row is still holds.
template <class Tr>
inline constexpr float kWeightFactor = std::is_same_v<typename Tr::Type, __half> ? 64.0f : 1.0f;

// Elements 16 step + {4 c, 4 c + 2} and {4 c + 1, 4 c + 3} of row first_row + g.
template <class Tr>
__device__ void load_query_for_codes(uint32_t (&q)[2], const uint8_t* query, int first_row,
                                     int step) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const uint2 four = *reinterpret_cast<const uint2*>(
      query + Tr::QueryTile::offset(first_row + g, 2 * step + c / 2) + c % 2 * 8);
  q[0] = __byte_perm(four.x, four.y, 0x5410);
  q[1] = __byte_perm(four.x, four.y, 0x7632);
}

// Calls use(step, k) for each 16 elements of the 16 keys at `keys`.
template <class Tr, class Use>
__device__ void for_key_steps(uint32_t keys, Use use) {
  const int lane = threadIdx.x % 32;
  if constexpr (Tr::kKeyCode == Code::same) {
#pragma unroll
    for (int step = 0; step < Tr::kHeadDim / 16; ++step) {
      uint32_t k[4];
      ldmatrix_x4(k, keys + Tr::KeyTile::offset(lane % 16, 2 * step + lane / 16));
      use(step, k);
    }
  } else {
    using Codes = Widen<typename Tr::Type, Tr::kKeyCode>;
#pragma unroll
    for (int step = 0; step < Tr::kHeadDim / 16; step += 2) {
      const bool two = step + 1 < Tr::kHeadDim / 16;  // of an odd number the last is read twice
      uint32_t codes[4], k[4];
      ldmatrix_x4(codes, keys + Tr::KeyTile::offset(lane % 16, step + (two ? lane / 16 : 0)));
#pragma unroll
      for (int i = 0; i < (two ? 2 : 1); ++i) {
        Codes::four(codes[2 * i], k[0], k[2]);
        Codes::four(codes[2 * i + 1], k[1], k[3]);
        use(step + i, k);
      }
    }
  }
}

// Calls use(d, v) for each 16 columns of the 16 values at `values`.
template <class Tr, class Use>
__device__ void for_value_steps(uint32_t values, Use use) {
  const int lane = threadIdx.x % 32;
  if constexpr (Tr::kValueCode == Code::same) {
    const int row = lane % 8 + lane / 16 * 8, odd_chunk = lane / 8 % 2;
#pragma unroll
    for (int d = 0; d < Tr::kHeadDimV / 16; ++d) {
      uint32_t v[4];
      ldmatrix_x4_trans(v, values + Tr::ValueTile::offset(row, 2 * d + odd_chunk));
      use(d, v);
    }
  } else {
    using Codes = Widen<typename Tr::Type, Tr::kValueCode>;
#pragma unroll
    for (int d = 0; d < Tr::kHeadDimV / 16; d += 2) {
      const bool two = d + 1 < Tr::kHeadDimV / 16;
      uint32_t codes[4], v[4];
      ldmatrix_x4_trans(codes,
                        values + Tr::ValueTile::offset(lane % 16, d + (two ? lane / 16 : 0)));
#pragma unroll
      for (int i = 0; i < (two ? 2 : 1); ++i) {
        Codes::four(codes[2 * i], v[0], v[1]);
        Codes::four(codes[2 * i + 1], v[2], v[3]);
        use(d + i, v);
      }
    }
  }
}

// Which of sixteen columns a thread has in the upper (0) and the lower (1) half of an output tile.
template <class Tr>
__device__ constexpr int value_column(int g, int half) {
  return Tr::kValueCode == Code::same ? g + 8 * half : 2 * g + half;
}

// s times the scales of the thread's keys. scales: of these sixteen, [16]
template <class Tr>
__device__ void scale_logits(float (&s)[Tr::kRowTiles][4], uint32_t scales) {
  if constexpr (Tr::kKeyCode != Code::same) {
    const int g = threadIdx.x % 32 / 4;
    const float scale[2] = {load_shared(scales + 4 * g), load_shared(scales + 4 * (g + 8))};
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      for (int i = 0; i < 4; ++i) s[n][i] *= scale[i / 2];
  }
}

// Behind the sum of the weights, which does not see the scales of values.
template <class Tr>
__device__ void scale_weights(float (&p)[Tr::kRowTiles][4], uint32_t scales,
                              const AttendParams& params) {
  if constexpr (Tr::kValueCode != Code::same) {
    if (params.value_scale.data == nullptr) return;
    const int g = threadIdx.x % 32 / 4;
    const float scale[2] = {kWeightFactor<Tr> * load_shared(scales + 4 * g),
                            kWeightFactor<Tr> * load_shared(scales + 4 * (g + 8))};
#pragma unroll
    for (int n = 0; n < Tr::kRowTiles; ++n)
      for (int i = 0; i < 4; ++i) p[n][i] *= scale[i / 2];
  }
}

// Four columns of a finished output, from sums of codes.
template <class Tr>
__device__ void unscale(const AttendParams& params, int head, int column, float4& o) {
  const float factor = params.value_scale.data ? 1 / kWeightFactor<Tr> : 1.0f;
  o.x *= factor * out_scale_of(params, head, column);
  o.y *= factor * out_scale_of(params, head, column + 1);
  o.z *= factor * out_scale_of(params, head, column + 2);
  o.w *= factor * out_scale_of(params, head, column + 3);
}

}  // namespace pagoda::cuda::decode
