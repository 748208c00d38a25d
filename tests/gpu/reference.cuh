// The oracle on the device: the formulas in double, one block per query and head, from the
// definitions of src/core alone.
#pragma once

#include <cmath>
#include <cstring>

#include "device_step.cuh"

namespace pagoda::cuda {

struct ReferenceOut {
  float* out;        // [num_tokens, num_heads, head_dim_v]
  float* magnitude;  // as out: sum of p |v|, the scale of every rounding error
  float* lse;        // [num_heads, num_tokens]
};

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

struct ReferenceParams {
  AttendParams p;
  ScheduleParams s;
  Score score;
  Dtype dtype;
  int head_dim, head_dim_v, num_heads;
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

template <int = 0>
__global__ void reference_attend(ReferenceParams r, ReferenceOut to) {
  constexpr int kThreads = 128;
  __shared__ double weight[kThreads];
  const AttendParams& p = r.p;
  const int token = blockIdx.x, head = blockIdx.y, thread = threadIdx.x;
  int req = 0;
  while (req < r.s.num_reqs && token >= r.s.query_start_loc[req + 1]) ++req;
  double m = -INFINITY, l = 0, o[4] = {}, a[4] = {};
  if (req < r.s.num_reqs) {
    const int query_len = r.s.query_start_loc[req + 1] - r.s.query_start_loc[req];
    const int seq_len = r.s.seq_lens[req];
    const int position = seq_len - query_len + token - r.s.query_start_loc[req];
    const Mask mask = mask_of_request(p.mask, r.s.causal ? r.s.causal[req] != 0 : p.mask.causal);
    const KeyRange keys = visible_keys(mask, position, seq_len);
    const auto* q = static_cast<const uint8_t*>(p.query) + token * p.query_token_stride +
                    head * p.query_head_stride;
    const double slope = p.alibi_slopes ? p.alibi_slopes[head] : 0;
    for (int first = keys.begin; first < keys.end; first += kThreads) {
      const int key = first + thread;
      double s = -INFINITY;
      if (key < keys.end && is_shown(p, req, token - r.s.query_start_loc[req], key, head)) {
        const uint8_t* k = key_row(p, p.key, req, key, head / p.group.value);
        double dot = 0;
        for (int i = 0; i < r.head_dim; ++i)
          dot += load_element(q, i, r.dtype) * load_cached(k, i, r.dtype, p.key_format.code);
        dot *= scale_at(p, p.key_scale, req, key, head / p.group.value);
        s = logit<double>(r.score, dot, slope, position, key);
      }
      weight[thread] = s;
      __syncthreads();
      double next = m;
      for (int i = 0; i < kThreads; ++i) next = fmax(next, weight[i]);
      const double rescale = next == -INFINITY ? 1 : m == -INFINITY ? 0 : exp(m - next);
      __syncthreads();
      weight[thread] = s == -INFINITY ? 0 : exp(s - next);
      __syncthreads();
      m = next, l *= rescale;
      for (int c = 0; c < 4; ++c) o[c] *= rescale, a[c] *= rescale;
      const int count = min(kThreads, keys.end - first);
      for (int i = 0; i < count; ++i) {
        l += weight[i];
        if (weight[i] == 0) continue;
        const int kv_head = head / p.group.value;
        const uint8_t* v = key_row(p, p.value, req, first + i, kv_head);
        const double scale = scale_at(p, p.value_scale, req, first + i, kv_head);
        for (int c = 0; c < 4; ++c)
          if (thread + c * kThreads < r.head_dim_v) {
            const double value =
                load_cached(v, thread + c * kThreads, r.dtype, p.value_format.code) * scale *
                out_scale_of(p, kv_head, thread + c * kThreads);
            o[c] += weight[i] * value, a[c] += weight[i] * fabs(value);
          }
      }
      __syncthreads();
    }
    if (p.sinks) {
      const double sink = p.sinks[head], next = fmax(m, sink);
      const double rescale = m == -INFINITY ? 0 : exp(m - next);
      l = l * rescale + exp(sink - next);
      for (int c = 0; c < 4; ++c) o[c] *= rescale, a[c] *= rescale;
      m = next;
    }
  }
  const int64_t row = int64_t(token) * r.num_heads + head;
  for (int c = 0; c < 4; ++c)
    if (thread + c * kThreads < r.head_dim_v) {
      const int64_t at = row * r.head_dim_v + thread + c * kThreads;
      to.out[at] = l > 0 ? o[c] / l : 0;
      to.magnitude[at] = l > 0 ? a[c] / l : 0;
    }
  if (thread == 0) to.lse[int64_t(head) * r.s.num_tokens + token] = l > 0 ? m + log(l) : -INFINITY;
}

struct Comparison {
  double worst_out = 0;  // error over its bound; above 1 is a failure
  double worst_lse = 0;
  bool ok() const { return worst_out <= 1 && worst_lse <= 1; }
};

// out: two roundings of the element type per product and result, of the magnitude that was summed;
// lse: float arithmetic. NaN fails.
inline Comparison compare_with_reference(const DeviceStep& step) {
  const StepSpec& spec = step.spec;
  const size_t rows = size_t(step.num_tokens) * spec.num_heads;
  DeviceArray<float> out(rows * spec.head_dim_v), magnitude(rows * spec.head_dim_v), lse(rows);
  const ReferenceParams params{step.layer(0), step.schedule_params, spec.score,    spec.dtype,
                               spec.head_dim, spec.head_dim_v,      spec.num_heads};
  reference_attend<><<<dim3(step.num_tokens, spec.num_heads), 128>>>(
      params, {out.get(), magnitude.get(), lse.get()});
  check_cuda(cudaDeviceSynchronize(), "running the reference");
  const auto want = out.host(), scale = magnitude.host(), want_lse = lse.host();
  const auto got_bits = step.out.host();
  const auto got_lse = step.lse.host();
  const double unit = spec.dtype == PAGODA_BF16 ? 0x1p-7 : 0x1p-10;
  Comparison worst;
  for (size_t i = 0; i < want.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, &got_bits[2 * i], 2);
    const float got = spec.dtype == PAGODA_BF16 ? to_float(Bfloat16{bits}) : to_float(Half{bits});
    const double bound = unit * scale[i] + 1e-6;
    const double error = std::abs(got - want[i]) / bound;
    if (!(error <= worst.worst_out)) worst.worst_out = std::isnan(error) ? INFINITY : error;
  }
  if (spec.needs_lse)
    for (size_t i = 0; i < want_lse.size(); ++i) {
      if (got_lse[i] == want_lse[i]) continue;
      const double error =
          std::abs(got_lse[i] - want_lse[i]) / (2e-5 + 2e-6 * std::abs(want_lse[i]));
      if (!(error <= worst.worst_lse)) worst.worst_lse = std::isnan(error) ? INFINITY : error;
    }
  return worst;
}

}  // namespace pagoda::cuda
