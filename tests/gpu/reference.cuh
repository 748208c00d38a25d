// The oracle on the device: the formulas in double, one block per query and few heads, from the
// definitions of src/core alone, and what of a step's results differs from them.
#pragma once

#include <cmath>

#include "device_step.cuh"

namespace pagoda::cuda {

__device__ inline double load_element(const void* row, int64_t index, Dtype dtype) {
  return dtype == PAGODA_BF16
             ? double(__bfloat162float(static_cast<const __nv_bfloat16*>(row)[index]))
             : double(__half2float(static_cast<const __half*>(row)[index]));
}

// A number of a cache without its scale.
__device__ inline double load_cached(const void* row, int64_t index, Dtype dtype, Code code) {
  if (code == Code::int8) return static_cast<const int8_t*>(row)[index];
  if (code == Code::e4m3) return to_float(static_cast<const E4m3*>(row)[index]);
  return load_element(row, index, dtype);
}

// Eight numbers of a cache in one access; rows are multiples of eight numbers, and aligned so.
__device__ inline void load_cached8(const void* row, int index, Dtype dtype, Code code,
                                    double (&to)[8]) {
  alignas(16) uint8_t bytes[16];
  if (code == Code::same)
    *reinterpret_cast<uint4*>(bytes) = static_cast<const uint4*>(row)[index / 8];
  else
    *reinterpret_cast<uint2*>(bytes) = static_cast<const uint2*>(row)[index / 8];
  for (int i = 0; i < 8; ++i) to[i] = load_cached(bytes, i, dtype, code);
}

struct ReferenceParams {
  AttendParams p;
  ScheduleParams s;
  Score score;
  Dtype dtype;
  int head_dim, head_dim_v, num_heads;
  const void* out;   // [num_tokens, num_heads, head_dim_v], what is held against the formulas
  const float* lse;  // [num_heads, num_tokens] or nullptr
  float* worst;      // [2] largest error of out and of lse, over their bounds; not negative
};

__device__ inline const uint8_t* key_row(const AttendParams& p, const KeyView& view, int req,
                                         int key, int head) {
  const auto* base = static_cast<const uint8_t*>(view.data) + head * view.head_stride;
  if (!p.page_table) return base + (int64_t(p.key_start_loc[req]) + key) * view.token_stride;
  const int64_t page = p.page_table[req * p.page_table_stride + key / p.page_size];
  return base + page * view.page_stride + key % p.page_size * view.token_stride;
}

__device__ inline double scale_at(const AttendParams& p, const KeyScales& scales, int req, int key,
                                  int head) {
  if (!scales.data) return 1;
  const int64_t page = p.page_table[req * p.page_table_stride + key / p.page_size];
  return scales.data[page * scales.page_stride + key % p.page_size * scales.token_stride +
                     head * scales.head_stride];
}

// By the definition in mask.h: query `within` of a request, key `key`.
__device__ inline bool is_shown(const AttendParams& p, int req, int within, int key, int head) {
  const auto& mask = p.block_mask;
  if (!mask.tile_start) return true;
  const int64_t list =
      int64_t(head) * mask.num_heads / p.num_heads * mask.tile_start[mask.num_reqs] +
      mask.tile_start[req] + within / mask.tile_q;
  for (int i = mask.row_start[list]; i < mask.row_start[list + 1]; ++i) {
    if (mask.tile[i] != key / mask.tile_kv) continue;
    if (mask.bits_at[i] < 0) return true;
    const int bit = key % mask.tile_kv, words = mask.tile_kv / 32;
    return mask.bits[mask.bits_at[i] + within % mask.tile_q * words + bit / 32] >> bit % 32 & 1;
  }
  return false;
}

constexpr int kReferenceThreads = 128;

// The largest, or the sum, of a number of each thread, for all threads.
template <class Combine>
__device__ double over_block(double value, Combine combine) {
  __shared__ double of_warp[kReferenceThreads / 32];
  for (int lane = 16; lane > 0; lane /= 2)
    value = combine(value, __shfl_xor_sync(0xffffffff, value, lane));
  __syncthreads();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  value = of_warp[0];
  for (int w = 1; w < kReferenceThreads / 32; ++w) value = combine(value, of_warp[w]);
  return value;
}

// NaN is the worst of all errors.
__device__ inline void note_error(float* worst, double error) {
  float value = isnan(error) ? INFINITY : static_cast<float>(error);
  if (value > *worst) atomicMax(reinterpret_cast<int*>(worst), __float_as_int(value));
}

// One row of the softmax in pieces of 128 keys: a thread for each key, then for each column.
struct ReferenceRow {
  double m = -INFINITY, l = 0;
  double o[2] = {}, a[2] = {};  // columns thread and thread + 128; a: sums of sizes

  __device__ void move_to(double next) {
    const double rescale = next == -INFINITY ? 1 : m == -INFINITY ? 0 : exp(m - next);
    m = next, l *= rescale;
    for (int c = 0; c < 2; ++c) o[c] *= rescale, a[c] *= rescale;
  }
  __device__ void add_sink(double sink) {
    move_to(fmax(m, sink));
    l += exp(sink - m);
  }
};

constexpr int kReferenceRows = 4;  // heads of one key head that a block has, so that keys and
                                   // values become doubles once for all of them

struct ReferenceKeys {
  double query[kReferenceRows][256];
  double weight[kReferenceRows][kReferenceThreads];  // times the scale of values
  const uint8_t* value[kReferenceThreads];
};

// Which rows a block has: a token's and those of query heads [first_head, first_head + count).
struct ReferenceRows {
  int req, token, first_head, count, kv_head;
  int within, position;  // of the token in its request
};

// The logits of one key.
__device__ inline void reference_logits(const ReferenceParams& r, const ReferenceKeys& shared,
                                        const ReferenceRows& rows, int key,
                                        double (&logits)[kReferenceRows]) {
  const AttendParams& p = r.p;
  const uint8_t* k = key_row(p, p.key, rows.req, key, rows.kv_head);
  double dot[kReferenceRows] = {};
  for (int i = 0; i < r.head_dim; i += 8) {
    double element[8];
    load_cached8(k, i, r.dtype, p.key_format.code, element);
#pragma unroll
    for (int h = 0; h < kReferenceRows; ++h)
      for (int j = 0; j < 8; ++j) dot[h] += shared.query[h][i + j] * element[j];
  }
  const double scale = scale_at(p, p.key_scale, rows.req, key, rows.kv_head);
#pragma unroll
  for (int h = 0; h < kReferenceRows; ++h) {
    const int head = rows.first_head + h;
    if (h >= rows.count || !is_shown(p, rows.req, rows.within, key, head)) continue;
    const double slope = p.alibi_slopes ? p.alibi_slopes[head] : 0;
    logits[h] = logit<double>(r.score, dot[h] * scale, slope, rows.position, key);
  }
}

__device__ inline void add_values(const ReferenceParams& r, const ReferenceKeys& shared, int count,
                                  ReferenceRow (&row)[kReferenceRows]) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const int column = threadIdx.x + c * kReferenceThreads;
    if (column >= r.head_dim_v) return;
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      const double value = load_cached(shared.value[i], column, r.dtype, r.p.value_format.code);
#pragma unroll
      for (int h = 0; h < kReferenceRows; ++h) {
        const double weight = shared.weight[h][i];
        row[h].o[c] += weight * value, row[h].a[c] += fabs(weight) * fabs(value);
      }
    }
  }
}

__device__ inline void load_queries(const ReferenceParams& r, const ReferenceRows& rows,
                                    ReferenceKeys& shared) {
  for (int h = 0; h < kReferenceRows; ++h) {
    const auto* q = static_cast<const uint8_t*>(r.p.query) + rows.token * r.p.query_token_stride +
                    (rows.first_head + min(h, rows.count - 1)) * r.p.query_head_stride;
    for (int i = threadIdx.x; i < r.head_dim; i += kReferenceThreads)
      shared.query[h][i] = load_element(q, i, r.dtype);
  }
  __syncthreads();
}

__device__ inline void attend_rows(const ReferenceParams& r, const ReferenceRows& rows,
                                   ReferenceKeys& shared, ReferenceRow (&row)[kReferenceRows]) {
  const AttendParams& p = r.p;
  const int thread = threadIdx.x;
  const Mask mask = mask_of_request(p.mask, r.s.causal ? r.s.causal[rows.req] != 0 : p.mask.causal);
  const KeyRange keys = visible_keys(mask, rows.position, r.s.seq_lens[rows.req]);
  load_queries(r, rows, shared);
  for (int first = keys.begin; first < keys.end; first += kReferenceThreads) {
    const int key = first + thread, count = min(kReferenceThreads, keys.end - first);
    double s[kReferenceRows], value_scale = 0;
    for (double& one : s) one = -INFINITY;
    if (thread < count) {
      reference_logits(r, shared, rows, key, s);
      shared.value[thread] = key_row(p, p.value, rows.req, key, rows.kv_head);
      value_scale = scale_at(p, p.value_scale, rows.req, key, rows.kv_head);
    }
#pragma unroll
    for (int h = 0; h < kReferenceRows; ++h) {
      const auto larger = [](double x, double y) { return fmax(x, y); };
      const auto sum = [](double x, double y) { return x + y; };
      row[h].move_to(fmax(row[h].m, over_block(s[h], larger)));
      const double weight = s[h] == -INFINITY ? 0 : exp(s[h] - row[h].m);
      shared.weight[h][thread] = weight * value_scale;
      row[h].l += over_block(weight, sum);
    }
    add_values(r, shared, count, row);
    __syncthreads();
  }
}

// out: two roundings of the element type per product and result, of the magnitude that was summed;
// lse: float arithmetic.
__device__ inline void compare_row(const ReferenceParams& r, int token, int head,
                                   const ReferenceRow& row) {
  const double unit = r.dtype == PAGODA_BF16 ? 0x1p-7 : 0x1p-10;
  const int64_t first = (int64_t(token) * r.num_heads + head) * r.head_dim_v;
  for (int c = 0; c < 2; ++c) {
    const int column = threadIdx.x + c * kReferenceThreads;
    if (column >= r.head_dim_v) break;
    const double scale = out_scale_of(r.p, head / r.p.group.value, column);
    const double want = row.l > 0 ? row.o[c] * scale / row.l : 0;
    const double size = row.l > 0 ? row.a[c] * fabs(scale) / row.l : 0;
    const double got = load_element(r.out, first + column, r.dtype);
    note_error(&r.worst[0], fabs(got - want) / (unit * size + 1e-6));
  }
  if (threadIdx.x != 0 || !r.lse) return;
  const double want = row.l > 0 ? row.m + log(row.l) : -INFINITY;
  const double got = r.lse[int64_t(head) * r.s.num_tokens + token];
  if (got != want) note_error(&r.worst[1], fabs(got - want) / (2e-5 + 2e-6 * fabs(want)));
}

template <int = 0>
__global__ void __launch_bounds__(kReferenceThreads, 5) reference_attend(ReferenceParams r) {
  __shared__ ReferenceKeys shared;
  const AttendParams& p = r.p;
  const int group = p.group.value, parts = (group + kReferenceRows - 1) / kReferenceRows;
  ReferenceRows rows = {.token = static_cast<int>(blockIdx.x)};
  rows.kv_head = blockIdx.y / parts;
  const int in_group = blockIdx.y % parts * kReferenceRows;
  rows.first_head = rows.kv_head * group + in_group;
  rows.count = min(kReferenceRows, group - in_group);
  while (rows.req < r.s.num_reqs && rows.token >= r.s.query_start_loc[rows.req + 1]) ++rows.req;
  ReferenceRow row[kReferenceRows];
  const bool is_real = rows.req < r.s.num_reqs;  // padding has no keys and no sinks
  if (is_real) {
    rows.within = rows.token - r.s.query_start_loc[rows.req];
    const int query_len = r.s.query_start_loc[rows.req + 1] - r.s.query_start_loc[rows.req];
    rows.position = r.s.seq_lens[rows.req] - query_len + rows.within;
    attend_rows(r, rows, shared, row);
  }
#pragma unroll
  for (int h = 0; h < kReferenceRows; ++h) {
    if (h >= rows.count) break;
    if (is_real && p.sinks) row[h].add_sink(p.sinks[rows.first_head + h]);
    compare_row(r, rows.token, rows.first_head + h, row[h]);
  }
}

struct Comparison {
  double worst_out = 0;  // error over its bound; above 1 is a failure
  double worst_lse = 0;
  bool ok() const { return worst_out <= 1 && worst_lse <= 1; }
};

// NaN fails.
inline Comparison compare_with_reference(const DeviceStep& step) {
  const StepSpec& spec = step.spec;
  const DeviceArray<float> worst(std::vector<float>(2, 0.0f));
  const ReferenceParams params{
      step.layer(0),  step.schedule_params, spec.score,
      spec.dtype,     spec.head_dim,        spec.head_dim_v,
      spec.num_heads, step.out.get(),       spec.needs_lse ? step.lse.get() : nullptr,
      worst.get()};
  const int group = spec.num_heads / spec.num_kv_heads;
  const int parts = (group + kReferenceRows - 1) / kReferenceRows * spec.num_kv_heads;
  reference_attend<><<<dim3(step.num_tokens, parts), kReferenceThreads>>>(params);
  check_cuda(cudaGetLastError(), "running the reference");
  const std::vector<float> errors = worst.host();
  return {errors[0], errors[1]};
}

}  // namespace pagoda::cuda
