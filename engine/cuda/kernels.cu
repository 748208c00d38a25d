// The row operations of a step; kernels.h says what each computes.
#include "engine/cuda/device_memory.h"
#include "engine/cuda/kernels.h"
#include "engine/cuda/rows.cuh"

namespace pagoda::engine::cuda {
namespace {

constexpr int kNormThreads = 256;
constexpr int kRotateThreads = 128;
constexpr int kElementThreads = 256;

void check_launch(const char* what) {
  check_cuda(cudaGetLastError(), what);
}

// One block a row. `row`: float [size], of which the norm is written typed to `out`.
template <class T>
__device__ void norm_row(const float* row, const float* weight, T* out, int64_t size,
                         float epsilon) {
  __shared__ float partial[kNormThreads / kWarp];
  float squares = 0;
  for (int64_t i = threadIdx.x * 4; i < size; i += blockDim.x * 4) {
    const float4 x = *reinterpret_cast<const float4*>(row + i);
    squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
  }
  const float mean = block_sum(squares, partial) / static_cast<float>(size);
  const float scale = 1.0f / sqrtf(mean + epsilon);
  for (int64_t i = threadIdx.x * 8; i < size; i += blockDim.x * 8) {
    float values[8];
#pragma unroll
    for (int j = 0; j < 8; j++) values[j] = row[i + j] * scale * weight[i + j];
    store_eight(out + i, values);
  }
}

template <class T>
__global__ void __launch_bounds__(kNormThreads) norm_kernel(NormRows norm) {
  const int64_t row = norm.rows == nullptr ? blockIdx.x : norm.rows[blockIdx.x];
  norm_row(norm.residual + row * norm.size, norm.weight,
           static_cast<T*>(norm.out) + blockIdx.x * norm.size, norm.size, norm.epsilon);
}

template <class T>
__global__ void __launch_bounds__(kNormThreads) embed_kernel(EmbedRows embed) {
  const int64_t row = blockIdx.x;
  const T* const from = static_cast<const T*>(embed.embedding) + embed.tokens[row] * embed.size;
  float* const residual = embed.residual + row * embed.size;
  for (int64_t i = threadIdx.x * 8; i < embed.size; i += blockDim.x * 8) {
    const Eight<T> values = load_eight(from + i);
#pragma unroll
    for (int j = 0; j < 8; j++) residual[i + j] = static_cast<float>(values.element[j]);
  }
}

// One warp a head. A lane owns pairs of elements, and those beyond the pairs, from reading to
// writing, so heads change in place.
template <class T>
__device__ void rotate_head(const RotateHeads& rotate, int64_t row, int head) {
  const int lane = threadIdx.x % kWarp;
  const int num_all = rotate.num_heads + 2 * rotate.num_kv_heads;
  const int num_turned = rotate.num_heads + rotate.num_kv_heads;
  const bool turns = head < num_turned && rotate.cosines != nullptr;
  const float* const norm = head < rotate.num_heads ? rotate.query_norm
                            : head < num_turned     ? rotate.key_norm
                                                    : nullptr;
  T* const x = static_cast<T*>(rotate.qkv) + (row * num_all + head) * rotate.head_dim;
  const float* const bias = rotate.bias == nullptr ? nullptr : rotate.bias + head * rotate.head_dim;
  const auto read = [&](int i) {
    return static_cast<float>(x[i]) + (bias == nullptr ? 0.0f : bias[i]);
  };

  float scale = 1;
  if (norm != nullptr) {
    float squares = 0;
    for (int i = lane; i < rotate.head_dim; i += kWarp) squares += read(i) * read(i);
    scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(rotate.head_dim) + rotate.epsilon);
  }
  __syncwarp();  // all have read before any writes
  const auto normed = [&](int i) { return norm == nullptr ? read(i) : read(i) * scale * norm[i]; };

  const int num_pairs = turns ? rotate.num_pairs : 0;
  const int step = rotate.interleaved ? 2 : 1;
  const int partner = rotate.interleaved ? 1 : num_pairs;
  const int64_t angles = turns ? int64_t{rotate.positions[row]} * num_pairs : 0;
  for (int i = lane; i < num_pairs; i += kWarp) {
    const float a = normed(i * step), b = normed(i * step + partner);
    const float cosine = rotate.cosines[angles + i], sine = rotate.sines[angles + i];
    x[i * step] = T(a * cosine - b * sine);
    x[i * step + partner] = T(a * sine + b * cosine);
  }
  for (int i = 2 * num_pairs + lane; i < rotate.head_dim; i += kWarp) x[i] = T(normed(i));
}

template <class T>
__global__ void __launch_bounds__(kRotateThreads) rotate_kernel(RotateHeads rotate, int num_heads) {
  let_next_kernel_begin();
  wait_for_kernel_in_front();
  const int64_t warp = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp;
  const int64_t row = warp / num_heads;
  if (row < rotate.num_rows) rotate_head<T>(rotate, row, static_cast<int>(warp % num_heads));
}

template <class T>
__global__ void __launch_bounds__(kElementThreads)
    silu_times_kernel(const T* gate_up, T* out, int64_t num_rows, int64_t size) {
  const int64_t at = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 8;
  if (at >= num_rows * size) return;
  const T* const from = gate_up + at / size * 2 * size + at % size;
  const Eight<T> gate = load_eight(from), up = load_eight(from + size);
  float values[8];
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const float g = static_cast<float>(gate.element[i]);
    values[i] = g / (1.0f + __expf(-g)) * static_cast<float>(up.element[i]);
  }
  store_eight(out + at, values);
}

__global__ void __launch_bounds__(kElementThreads)
    add_bias_kernel(const float* bias, float* rows, int64_t num_rows, int64_t size) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at < num_rows * size) rows[at] += bias[at % size];
}

}  // namespace

void queue_norm(const NormRows& norm, cudaStream_t stream) {
  if (norm.num_rows == 0) return;
  with_type(norm.dtype, [&](auto type) {
    norm_kernel<decltype(type)><<<blocks_for(norm.num_rows, 1), kNormThreads, 0, stream>>>(norm);
  });
  check_launch("launching a norm");
}

void queue_embed(const EmbedRows& embed, cudaStream_t stream) {
  with_type(embed.dtype, [&](auto type) {
    embed_kernel<decltype(type)><<<blocks_for(embed.num_rows, 1), kNormThreads, 0, stream>>>(embed);
  });
  check_launch("launching the embedding");
}

void queue_rotate(const RotateHeads& rotate, cudaStream_t stream) {
  const bool changes = rotate.cosines != nullptr || rotate.query_norm != nullptr;
  if (!changes && rotate.bias == nullptr) return;
  // Values have nothing but a bias.
  const int num_heads = rotate.num_heads + (rotate.bias == nullptr ? 1 : 2) * rotate.num_kv_heads;
  with_type(rotate.dtype, [&](auto type) {
    check_cuda(launch_early(rotate_kernel<decltype(type)>,
                            blocks_for(rotate.num_rows * num_heads, kRotateThreads / kWarp),
                            kRotateThreads, stream, rotate, num_heads),
               "launching the rotation");
  });
}

void queue_silu_times(const void* gate_up, void* out, int64_t num_rows, int64_t size,
                      pagoda_dtype dtype, cudaStream_t stream) {
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    silu_times_kernel<<<blocks_for(num_rows * size, 8 * kElementThreads), kElementThreads, 0,
                        stream>>>(static_cast<const T*>(gate_up), static_cast<T*>(out), num_rows,
                                  size);
  });
  check_launch("launching the gate");
}

void queue_add_bias(const float* bias, float* rows, int64_t num_rows, int64_t size,
                    cudaStream_t stream) {
  add_bias_kernel<<<blocks_for(num_rows * size, kElementThreads), kElementThreads, 0, stream>>>(
      bias, rows, num_rows, size);
  check_launch("adding a bias");
}

}  // namespace pagoda::engine::cuda
