// The kernel of few_rows.h. A block computes 16 outputs of all rows, or two such tiles whose
// outputs meet at the end: gate and up, or the two halves of a head that is rotated by halves. Its
// warps share out the inputs, multiply by mma.sync with the weights as the first operand, and sum
// up over shared memory in the order of warps. A lane reads eight neighbouring inputs at a time and
// passes them as the positions that mma expects of it; since weights and rows are permuted alike,
// the sum is the same.
#include "engine/cuda/device_memory.h"
#include "engine/cuda/few_rows.h"
#include "engine/cuda/rows.cuh"

namespace pagoda::engine::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kOutputs = 16;               // of a tile
constexpr int kColumnRows = 8;             // rows of activations in a column of tiles
constexpr int kChunk = 32;                 // inputs that a warp reads at a time, eight a lane
constexpr int64_t kSmallMatrix = 4 << 20;  // elements that the device's cache holds beside others

struct Bits {
  uint32_t pair[4];  // eight bf16
};

__device__ Bits load_weights(const __nv_bfloat16* from) {
  Bits bits;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(bits.pair[0]), "=r"(bits.pair[1]), "=r"(bits.pair[2]), "=r"(bits.pair[3])
               : "l"(from));
  return bits;
}

// sum += a * b for 16 outputs, 16 inputs and 8 rows (PTX: mma.m16n8k16).
__device__ void multiply(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                         uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

template <int kTiles, int kColumns>
struct Shared {
  float sums[kWarps][kTiles][kOutputs][kColumns * kColumnRows];
  float squares[kWarps][kColumns * kColumnRows];
};

template <int kTiles, int kColumns, bool kNormed>
class Block {
  // Chunks of weights under way at a time, the first of them before the kernel in front has ended.
  static constexpr int kAhead = kColumns == 4 ? 2 : 4;

 public:
  __device__ Block(const FewRows& product, Shared<kTiles, kColumns>& shared)
      : product_(product),
        shared_(shared),
        num_inputs_(static_cast<int>(product.matrix.num_inputs)),
        num_outputs_(product.matrix.num_outputs) {
    const int64_t tile = blockIdx.x;
    first_ = tile * kOutputs;
    if constexpr (kTiles == 2) {
      tile_distance_ = num_outputs_ / 2;
      if (product.kind != FewRowsOut::kRotated) return;
      tile_distance_ = product.rotate.head_dim / 2;
      const int64_t tiles_of_head = tile_distance_ / kOutputs;
      first_ = tile / tiles_of_head * product.rotate.head_dim + tile % tiles_of_head * kOutputs;
    }
  }

  __device__ void run() {
    let_next_kernel_begin();
    Bits ahead[kAhead][kTiles][2];
    load(0, ahead);
    wait_for_kernel_in_front();
    for (int group = 0; group * kAhead * kWarps * kChunk < num_inputs_; group++) {
      if (group > 0) load(group, ahead);
#pragma unroll
      for (int i = 0; i < kAhead; i++) add_chunk(input_of(group, i), ahead[i]);
    }
    share_sums();
    write();
  }

 private:
  // Of this lane, of the i-th chunk of a group.
  __device__ int input_of(int group, int i) const {
    const int chunk = (group * kAhead + i) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
    return chunk * kChunk + static_cast<int>(threadIdx.x) % 4 * 8;
  }

  // Outputs beyond the last repeat it and are not written; inputs beyond are 0.
  __device__ void load(int group, Bits (&weights)[kAhead][kTiles][2]) const {
    const auto* const matrix = static_cast<const __nv_bfloat16*>(product_.matrix.rows);
    const int in_tile = static_cast<int>(threadIdx.x) % kWarp / 4;
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      const int input = input_of(group, i);
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int64_t output =
              min(first_ + tile * tile_distance_ + in_tile + 8 * half, num_outputs_ - 1);
          weights[i][tile][half] =
              input < num_inputs_ ? load_weights(matrix + output * num_inputs_ + input) : Bits{};
        }
    }
  }

  // Eight inputs of this lane's row of a column. Rows beyond the last are 0.
  __device__ Bits row_bits(int column, int input) {
    const int64_t row = column * kColumnRows + static_cast<int>(threadIdx.x) % kWarp / 4;
    if (row >= product_.num_rows || input >= num_inputs_) return {};
    if constexpr (!kNormed) {
      const auto* const in = static_cast<const __nv_bfloat16*>(product_.in);
      return *reinterpret_cast<const Bits*>(in + row * num_inputs_ + input);
    } else {
      const int64_t token = product_.rows == nullptr ? row : product_.rows[row];
      const auto* const x =
          reinterpret_cast<const float4*>(product_.residual + token * num_inputs_ + input);
      const auto* const w = reinterpret_cast<const float4*>(product_.weight + input);
      const float4 x0 = x[0], x1 = x[1], w0 = w[0], w1 = w[1];
      squares_[column] += x0.x * x0.x + x0.y * x0.y + x0.z * x0.z + x0.w * x0.w + x1.x * x1.x +
                          x1.y * x1.y + x1.z * x1.z + x1.w * x1.w;
      return {{pack(x0.x * w0.x, x0.y * w0.y), pack(x0.z * w0.z, x0.w * w0.w),
               pack(x1.x * w1.x, x1.y * w1.y), pack(x1.z * w1.z, x1.w * w1.w)}};
    }
  }

  __device__ void add_chunk(int input, const Bits (&weights)[kTiles][2]) {
#pragma unroll
    for (int column = 0; column < kColumns; column++) {
      const Bits x = row_bits(column, input);
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++) {
        const Bits &low = weights[tile][0], &high = weights[tile][1];
        multiply(sums_[tile][column], low.pair[0], high.pair[0], low.pair[1], high.pair[1],
                 x.pair[0], x.pair[1]);
        multiply(sums_[tile][column], low.pair[2], high.pair[2], low.pair[3], high.pair[3],
                 x.pair[2], x.pair[3]);
      }
    }
  }

  __device__ void share_sums() {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
    for (int column = 0; column < kColumns; column++) {
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          shared_
              .sums[warp][tile][lane / 4 + i / 2 * 8][column * kColumnRows + lane % 4 * 2 + i % 2] =
              sums_[tile][column][i];
      if constexpr (kNormed) {
        float squares = squares_[column];
        squares += __shfl_xor_sync(kAllLanes, squares, 1);
        squares += __shfl_xor_sync(kAllLanes, squares, 2);
        if (lane % 4 == 0) shared_.squares[warp][column * kColumnRows + lane / 4] = squares;
      }
    }
    __syncthreads();
  }

  __device__ float sum_of(int tile, int output, int row) const {
    float sum = 0;
    for (int warp = 0; warp < kWarps; warp++) sum += shared_.sums[warp][tile][output][row];
    return sum;
  }

  // The norm's factor of a row, which was left out so far.
  __device__ float scale_of(int row) const {
    if constexpr (!kNormed) return 1;
    float squares = 0;
    for (int warp = 0; warp < kWarps; warp++) squares += shared_.squares[warp][row];
    return 1.0f / sqrtf(squares / static_cast<float>(num_inputs_) + product_.epsilon);
  }

  __device__ void write() const {
    const bool gated = product_.kind == FewRowsOut::kSiluTimes;
    const int64_t limit = gated ? num_outputs_ / 2 : num_outputs_;
    for (int i = threadIdx.x; i < kOutputs * kColumns * kColumnRows; i += kThreads) {
      const int in_tile = i % kOutputs, row = i / kOutputs;
      if (row >= product_.num_rows || first_ + in_tile >= limit) continue;
      const float scale = scale_of(row);
      if (product_.kind == FewRowsOut::kRotated)
        write_rotated(in_tile, row, scale);
      else if constexpr (kTiles == 2)
        write_gated(in_tile, row, scale);
      else
        write_plain(first_ + in_tile, row, sum_of(0, in_tile, row) * scale);
    }
  }

  __device__ void write_plain(int64_t output, int row, float value) const {
    const int64_t at = row * num_outputs_ + output;
    if (product_.kind == FewRowsOut::kTyped) return write_typed(at, value);
    float* const out = static_cast<float*>(product_.out) + at;
    *out = product_.kind == FewRowsOut::kAddFloat ? *out + value : value;
  }

  __device__ void write_gated(int in_tile, int row, float scale) const {
    const float gate = sum_of(0, in_tile, row) * scale;
    const float up = sum_of(kTiles - 1, in_tile, row) * scale;
    write_typed(row * (num_outputs_ / 2) + first_ + in_tile, gate / (1.0f + __expf(-gate)) * up);
  }

  // With two tiles this thread has both elements of a pair, with one its neighbour has the other.
  __device__ void write_rotated(int in_tile, int row, float scale) const {
    const RotateHeads& rotate = product_.rotate;
    const int64_t output = first_ + in_tile;
    const int in_head = static_cast<int>(output % rotate.head_dim);
    const bool turns = rotate.cosines != nullptr &&
                       output < int64_t{rotate.num_heads + rotate.num_kv_heads} * rotate.head_dim;
    const int64_t pair = kTiles == 2 ? in_head : in_head / 2;
    const int64_t angle = turns ? int64_t{rotate.positions[row]} * rotate.num_pairs + pair : 0;
    const float cosine = turns ? rotate.cosines[angle] : 1, sine = turns ? rotate.sines[angle] : 0;
    const auto value_at = [&](int tile, int at) {
      const float value = sum_of(tile, at, row) * scale;
      return rotate.bias == nullptr ? value
                                    : value + rotate.bias[first_ + tile * tile_distance_ + at];
    };
    const int64_t at = row * num_outputs_ + output;
    if constexpr (kTiles == 2) {
      const float a = value_at(0, in_tile), b = value_at(1, in_tile);
      write_typed(at, a * cosine - b * sine);
      write_typed(at + tile_distance_, a * sine + b * cosine);
    } else {
      const float own = value_at(0, in_tile);
      const float other = turns ? value_at(0, in_tile ^ 1) : 0;
      write_typed(at, in_head % 2 == 0 ? own * cosine - other * sine : other * sine + own * cosine);
    }
  }

  __device__ void write_typed(int64_t at, float value) const {
    static_cast<__nv_bfloat16*>(product_.out)[at] = __float2bfloat16(value);
  }

  const FewRows& product_;
  Shared<kTiles, kColumns>& shared_;
  const int num_inputs_;
  const int64_t num_outputs_;
  int64_t first_;              // output of this block
  int64_t tile_distance_ = 0;  // in outputs
  float sums_[kTiles][kColumns][4] = {};
  float squares_[kColumns] = {};
};

template <int kTiles, int kColumns, bool kNormed>
__global__ void __launch_bounds__(kThreads)
    few_rows_kernel(const __grid_constant__ FewRows product) {
  __shared__ Shared<kTiles, kColumns> shared;
  Block<kTiles, kColumns, kNormed>(product, shared).run();
}

template <int kTiles, int kColumns, bool kNormed>
void launch(const FewRows& product, cudaStream_t stream) {
  check_cuda(launch_early(few_rows_kernel<kTiles, kColumns, kNormed>,
                          blocks_for(product.matrix.num_outputs, kTiles * kOutputs), kThreads,
                          stream, product),
             "launching a product of few rows");
}

template <int kTiles, int kColumns>
void launch_normed(const FewRows& product, cudaStream_t stream) {
  if (product.in == nullptr)
    launch<kTiles, kColumns, true>(product, stream);
  else
    launch<kTiles, kColumns, false>(product, stream);
}

template <int kColumns>
void launch_kind(const FewRows& product, cudaStream_t stream) {
  const bool by_halves = product.kind == FewRowsOut::kRotated && !product.rotate.interleaved;
  if (product.kind == FewRowsOut::kSiluTimes || by_halves)
    launch_normed<2, kColumns>(product, stream);
  else
    launch_normed<1, kColumns>(product, stream);
}

}  // namespace

// Each block reads all rows; that is little beside the weights as long as the rows are few, or
// where all of it comes out of the device's cache.
bool has_few_rows(const DeviceMatrix& matrix, int64_t num_rows, pagoda_dtype dtype) {
  const bool is_small = matrix.num_outputs * matrix.num_inputs <= kSmallMatrix;
  return dtype == PAGODA_BF16 && num_rows <= (is_small ? kMaxFewRows : kMaxFewRows / 4);
}

bool can_rotate(const RotateHeads& rotate) {
  const int32_t tiles = rotate.interleaved ? kOutputs : 2 * kOutputs;
  const bool whole = rotate.cosines == nullptr || 2 * rotate.num_pairs == rotate.head_dim;
  return rotate.query_norm == nullptr && whole && rotate.head_dim % tiles == 0;
}

void queue_few_rows(const FewRows& product, cudaStream_t stream) {
  if (product.num_rows <= kColumnRows)
    launch_kind<1>(product, stream);
  else if (product.num_rows <= 2 * kColumnRows)
    launch_kind<2>(product, stream);
  else
    launch_kind<4>(product, stream);
}

}  // namespace pagoda::engine::cuda
