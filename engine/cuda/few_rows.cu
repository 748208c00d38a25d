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

constexpr int kWarps = 16;
constexpr int kThreads = kWarps * kWarp;
constexpr int kOutputs = 16;               // of a tile
constexpr int kColumnRows = 8;             // rows of activations in a column of tiles
constexpr int kChunk = 32;                 // inputs that a warp reads at a time, eight a lane
constexpr int64_t kSmallMatrix = 4 << 20;  // elements that the device's cache holds beside others

struct Bits {
  uint32_t pair[4];  // eight bf16
};

struct Floats {
  float value[8];
};

__device__ Floats load_floats(const float* from) {
  const auto* const four = reinterpret_cast<const float4*>(from);
  const float4 a = four[0], b = four[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ Bits load_bits(const __nv_bfloat16* from) {
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
  float sums[kWarps][kTiles][kColumns * kColumnRows][kOutputs + 1];  // + 1: rows in other banks
  float squares[kWarps][kColumns * kColumnRows];
};

template <int kTiles, int kColumns, bool kNormed>
class Block {
  // Chunks of a warp under way at a time, the first of them before the kernel in front has ended;
  // as many as there are registers for.
  static constexpr int kAhead = kTiles * kColumns == 4 ? 2 : 3;
  // One element of the tiles is written by one thread.
  static_assert(kOutputs * kColumns * kColumnRows <= kThreads);

 public:
  __device__ Block(const FewRows& product, Shared<kTiles, kColumns>& shared)
      : product_(product),
        shared_(shared),
        num_inputs_(static_cast<int>(product.matrix.num_inputs)),
        num_outputs_(product.matrix.num_outputs) {
    first_ = int64_t{blockIdx.x} * kOutputs;
    if constexpr (kTiles == 2) {
      tile_distance_ = num_outputs_ / 2;
      if (product.kind != FewRowsOut::kRotated) return;
      const int half_head = product.rotate.head_dim / 2;
      const int tile = static_cast<int>(blockIdx.x), tiles_of_head = half_head / kOutputs;
      tile_distance_ = half_head;
      first_ = int64_t{tile / tiles_of_head} * 2 * half_head + tile % tiles_of_head * kOutputs;
    }
  }

  __device__ void run() {
    let_next_kernel_begin();
    load_weights_of(0);
    wait_for_kernel_in_front();
    load_rows_of(0);
    load_for_write();
    multiply_group();
    for (int group = 1; group * kAhead * kWarps * kChunk < num_inputs_; group++) {
      load_weights_of(group);
      load_rows_of(group);
      multiply_group();
    }
    share_sums();
    if (writes()) write();
  }

 private:
  // Of this lane, of the i-th chunk of a group.
  __device__ int input_of(int group, int i) const {
    const int chunk = (group * kAhead + i) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
    return chunk * kChunk + static_cast<int>(threadIdx.x) % 4 * 8;
  }

  // Outputs beyond the last repeat it and are not written; inputs beyond are 0.
  __device__ void load_weights_of(int group) {
    const auto* const matrix = static_cast<const __nv_bfloat16*>(product_.matrix.rows);
    const int lane_output = static_cast<int>(threadIdx.x) % kWarp / 4;
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      const int input = input_of(group, i);
      const bool is_there = input < num_inputs_;
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int64_t output =
              min(first_ + tile * tile_distance_ + lane_output + 8 * half, num_outputs_ - 1);
          weights_[i][tile][half] =
              is_there ? load_bits(matrix + output * num_inputs_ + input) : Bits{};
        }
      if constexpr (kNormed) norm_[i] = is_there ? load_floats(product_.weight + input) : Floats{};
    }
  }

  // Eight inputs of this lane's row of each column. Rows beyond the last are 0.
  __device__ void load_rows_of(int group) {
#pragma unroll
    for (int column = 0; column < kColumns; column++) {
      const int64_t lane_row = column * kColumnRows + static_cast<int>(threadIdx.x) % kWarp / 4;
      const bool is_row = lane_row < product_.num_rows;
      const bool is_named = kNormed && is_row && product_.rows != nullptr;
      const int64_t first = (is_named ? product_.rows[lane_row] : lane_row) * num_inputs_;
#pragma unroll
      for (int i = 0; i < kAhead; i++) {
        const int input = input_of(group, i);
        const bool is_there = is_row && input < num_inputs_;
        if constexpr (kNormed) {
          floats_[i][column] = is_there ? load_floats(product_.residual + first + input) : Floats{};
        } else {
          const auto* const in = static_cast<const __nv_bfloat16*>(product_.in);
          rows_[i][column] = is_there ? *reinterpret_cast<const Bits*>(in + first + input) : Bits{};
        }
      }
    }
  }

  __device__ Bits row_bits(int i, int column) {
    if constexpr (!kNormed) return rows_[i][column];
    const Floats &x = floats_[i][column], &w = norm_[i];
    Bits bits;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float low = x.value[2 * j], high = x.value[2 * j + 1];
      squares_[column] += low * low + high * high;
      bits.pair[j] = pack(low * w.value[2 * j], high * w.value[2 * j + 1]);
    }
    return bits;
  }

  __device__ void multiply_group() {
#pragma unroll
    for (int i = 0; i < kAhead; i++)
#pragma unroll
      for (int column = 0; column < kColumns; column++) {
        const Bits x = row_bits(i, column);
#pragma unroll
        for (int tile = 0; tile < kTiles; tile++) {
          const Bits &low = weights_[i][tile][0], &high = weights_[i][tile][1];
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
      const int first_row = column * kColumnRows;
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          shared_.sums[warp][tile][first_row + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] =
              sums_[tile][column][i];
      if constexpr (kNormed) {
        float squares = squares_[column];
        squares += __shfl_xor_sync(kAllLanes, squares, 1);
        squares += __shfl_xor_sync(kAllLanes, squares, 2);
        if (lane % 4 == 0) shared_.squares[warp][first_row + lane / 4] = squares;
      }
    }
    __syncthreads();
  }

  // The element that this thread writes.
  __device__ int in_tile() const {
    return static_cast<int>(threadIdx.x) % kOutputs;
  }
  __device__ int row() const {
    return static_cast<int>(threadIdx.x) / kOutputs;
  }
  __device__ int64_t output() const {
    return first_ + in_tile();
  }
  __device__ int64_t at() const {
    return row() * num_outputs_ + output();
  }
  __device__ bool writes() const {
    const bool gated = product_.kind == FewRowsOut::kSiluTimes;
    return row() < product_.num_rows && output() < (gated ? num_outputs_ / 2 : num_outputs_);
  }

  // What the element's last step reads, asked for while the rows are on their way.
  __device__ void load_for_write() {
    if (!writes()) return;
    if (product_.kind == FewRowsOut::kAddFloat)
      old_ = static_cast<const float*>(product_.out)[at()];
    if (product_.kind != FewRowsOut::kRotated) return;
    const RotateHeads& rotate = product_.rotate;
    const int64_t num_turned = int64_t{rotate.num_heads + rotate.num_kv_heads} * rotate.head_dim;
    turns_ = rotate.cosines != nullptr && output() < num_turned;
    if (!turns_) return;
    const int in_head = static_cast<int>(output()) % rotate.head_dim;
    const int pair = kTiles == 2 ? in_head : in_head / 2;
    const int64_t angle = int64_t{rotate.positions[row()]} * rotate.num_pairs + pair;
    cosine_ = rotate.cosines[angle];
    sine_ = rotate.sines[angle];
  }

  __device__ float sum_of(int tile, int output) const {
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; warp++) sum += shared_.sums[warp][tile][row()][output];
    return sum;
  }

  // The norm's factor of this thread's row, which was left out so far.
  __device__ float scale() const {
    if constexpr (!kNormed) return 1;
    float squares = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; warp++) squares += shared_.squares[warp][row()];
    return 1.0f / sqrtf(squares / static_cast<float>(num_inputs_) + product_.epsilon);
  }

  __device__ void write() const {
    if (product_.kind == FewRowsOut::kRotated) return write_rotated(scale());
    const float value = sum_of(0, in_tile()) * scale();
    if constexpr (kTiles == 2) {
      const float up = sum_of(1, in_tile()) * scale();
      write_typed(row() * (num_outputs_ / 2) + output(), value / (1.0f + __expf(-value)) * up);
    } else if (product_.kind == FewRowsOut::kTyped) {
      write_typed(at(), value);
    } else {
      static_cast<float*>(product_.out)[at()] = old_ + value;
    }
  }

  // With two tiles this thread has both elements of a pair, with one its neighbour has the other.
  __device__ void write_rotated(float scale) const {
    const float* const bias = product_.rotate.bias;
    const auto value_at = [&](int tile, int output) {
      const float value = sum_of(tile, output) * scale;
      return bias == nullptr ? value : value + bias[first_ + tile * tile_distance_ + output];
    };
    const float own = value_at(0, in_tile());
    if constexpr (kTiles == 2) {
      const float other = value_at(1, in_tile());
      write_typed(at(), own * cosine_ - other * sine_);
      write_typed(at() + tile_distance_, own * sine_ + other * cosine_);
    } else {
      const float other = turns_ ? value_at(0, in_tile() ^ 1) : 0;
      const bool is_first = in_tile() % 2 == 0;
      write_typed(at(), is_first ? own * cosine_ - other * sine_ : other * sine_ + own * cosine_);
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
  Bits weights_[kAhead][kTiles][2];
  Floats norm_[kAhead];  // weights of kNormed, as its rows:
  Floats floats_[kAhead][kColumns];
  Bits rows_[kAhead][kColumns];  // without it
  float sums_[kTiles][kColumns][4] = {};
  float squares_[kColumns] = {};
  float old_ = 0, cosine_ = 1, sine_ = 0;  // of the element that this thread writes
  bool turns_ = false;
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
// where all of it comes out of the device's cache. A block must find enough inputs for its warps.
bool has_few_rows(const DeviceMatrix& matrix, int64_t num_rows, pagoda_dtype dtype) {
  const bool is_small = matrix.num_outputs * matrix.num_inputs <= kSmallMatrix;
  const bool fills_blocks = is_small || matrix.num_inputs >= kThreads * 2;
  return dtype == PAGODA_BF16 && fills_blocks &&
         num_rows <= (is_small ? kMaxFewRows : kMaxFewRows / 2);
}

bool can_rotate(const RotateHeads& rotate) {
  const int32_t tiles = rotate.interleaved ? kOutputs : 2 * kOutputs;
  const bool whole = rotate.cosines == nullptr || 2 * rotate.num_pairs == rotate.head_dim;
  return rotate.query_norm == nullptr && whole && rotate.head_dim % tiles == 0;
}

void queue_few_rows(const FewRows& product, cudaStream_t stream) {
  if (product.num_rows <= kColumnRows)
    launch_kind<1>(product, stream);
  else
    launch_kind<2>(product, stream);
}

}  // namespace pagoda::engine::cuda
