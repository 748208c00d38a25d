// A step on the device, made from lengths: random queries, keys and values, shuffled pages, NaN in
// every byte that no request owns, poisoned outputs. Shared by the checks and the benchmarks.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "../../src/cuda/kernels/prefill_keys.h"
#include "../../src/cuda/launch.h"
#include "../../src/cuda/tensor_map.h"

namespace pagoda::cuda {

struct StepSpec {
  std::vector<int32_t> query_lens, seq_lens;  // [num_reqs]
  std::vector<uint8_t> causal;                // [num_reqs] or empty
  int num_padding_tokens = 0;
  int num_heads = 32, num_kv_heads = 8, head_dim = 128, head_dim_v = 128;
  int page_size = 16;        // 0: keys come packed, without a cache
  bool heads_first = false;  // [page, head, token, d] instead of [page, token, head, d]
  int num_layers = 1;        // caches with the same page table
  Dtype dtype = PAGODA_BF16;
  Mask mask;
  Score score;
  bool has_sinks = false;
  int32_t num_splits = 0;           // 0: automatic
  int32_t split_keys = kSplitKeys;  // keys per split when automatic
  int32_t rows_per_item = 0;        // 0: by the longest query
  std::vector<int32_t> contents;    // [num_reqs] or empty: requests of one number hold the same
  int64_t first_page = 0;           // pages in front of this one stay unused
  int32_t max_slots = 0;            // of partial states of a key head; 0: enough
  bool needs_lse = true;
  bool only_prefill = false;  // the caller knows that no request is short
  bool apart = false;         // long and short requests by kernels of their own
  uint64_t seed = 1;
  pagoda_kv_format kv_format = PAGODA_KV_SAME;
  bool general = false;  // by the general kernel also where others serve
  int mask_tile_kv = 0;  // keys of a block mask's tiles; 0: none
  int mask_tile_q = 64, mask_heads = 1;
};

// Whether arrays come from a pool, which is for many threads on one device: each cudaFree would
// wait for all of them. Set before the first array is made.
inline bool arrays_come_from_a_pool = false;

template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t count) : count_(count) {
    if (count == 0) return;
    const size_t bytes = count * sizeof(T);
    check_cuda(arrays_come_from_a_pool ? cudaMallocAsync(&data_, bytes, nullptr)
                                       : cudaMalloc(&data_, bytes),
               "allocating");
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    if (count_)
      check_cuda(cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
                 "copying");
  }
  DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~DeviceArray() { arrays_come_from_a_pool ? cudaFreeAsync(data_, nullptr) : cudaFree(data_); }

  T* get() const { return static_cast<T*>(data_); }
  size_t size() const { return count_; }
  std::vector<T> host() const {
    std::vector<T> copy(count_);
    check_cuda(cudaMemcpy(copy.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost),
               "copying back");
    return copy;
  }

 private:
  void* data_ = nullptr;
  size_t count_ = 0;
};

__device__ inline float random_normal(uint64_t seed, uint64_t index) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + index * 0xbf58476d1ce4e5b9ull;
  x ^= x >> 30, x *= 0xbf58476d1ce4e5b9ull, x ^= x >> 27, x *= 0x94d049bb133111ebull, x ^= x >> 31;
  const float u = (static_cast<uint32_t>(x) + 1.0f) * 2.3283064e-10f;
  const float v = static_cast<uint32_t>(x >> 32) * 2.3283064e-10f;
  return sqrtf(-2 * logf(fminf(u, 1.0f))) * cospif(2 * v);
}

__device__ inline void store_element(void* data, size_t index, Dtype dtype, float value) {
  if (dtype == PAGODA_BF16)
    static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16(value);
  else
    static_cast<__half*>(data)[index] = __float2half(value);
}

template <int = 0>
__global__ void fill_normal(void* data, size_t count, Dtype dtype, uint64_t seed) {
  for (size_t i = blockIdx.x * size_t(blockDim.x) + threadIdx.x; i < count;
       i += size_t(gridDim.x) * blockDim.x)
    store_element(data, i, dtype, random_normal(seed, i));
}

// One block per request: random queries, the same for the same content whatever stands beside it.
template <int = 0>
__global__ void fill_queries(void* data, const int32_t* query_start_loc, const int32_t* contents,
                             int num_reqs, int token_elements, Dtype dtype, uint64_t seed) {
  const int req = blockIdx.x;
  const int64_t first = query_start_loc[req], end = query_start_loc[req + 1];
  for (int64_t i = threadIdx.x; i < (end - first) * token_elements; i += blockDim.x)
    store_element(data, first * token_elements + i, dtype,
                  random_normal(seed, (uint64_t(contents[req]) << 40) + i));
}

// A number as it lies in a cache: an element or, of normally distributed numbers, a code.
__device__ inline void store_cached(void* row, size_t index, Dtype dtype, Code code, float value) {
  if (code == Code::int8)
    static_cast<int8_t*>(row)[index] = encode_int8(value, 40);
  else if (code == Code::e4m3)
    static_cast<E4m3*>(row)[index] = encode_e4m3(value, 30);
  else
    store_element(row, index, dtype, value);
}

// One block per (request, key stride): random rows for the keys that exist, and their scales if
// those are of tokens.
template <int = 0>
__global__ void fill_keys(KeyView view, KeyScales scales, AttendParams p, const int32_t* seq_lens,
                          const int32_t* contents, int head_dim, Dtype dtype, Code code,
                          uint64_t seed) {
  const int req = blockIdx.y;
  for (int key = blockIdx.x; key < seq_lens[req]; key += gridDim.x) {
    int64_t offset;
    if (p.page_table) {
      const int64_t page = p.page_table[req * p.page_table_stride + key / p.page_size];
      offset = page * view.page_stride + key % p.page_size * view.token_stride;
      for (int head = threadIdx.x; scales.token_stride && head < p.num_kv_heads; head += blockDim.x)
        const_cast<float*>(
            scales.data)[page * scales.page_stride + key % p.page_size * scales.token_stride +
                         head * scales.head_stride] =
            0.03f + 0.01f * cosf(float(key * 8 + head + contents[req]));
    } else {
      offset = (p.key_start_loc[req] + key) * view.token_stride;
    }
    for (int i = threadIdx.x; i < p.num_kv_heads * head_dim; i += blockDim.x) {
      auto* row = static_cast<uint8_t*>(const_cast<void*>(view.data)) + offset +
                  i / head_dim * view.head_stride;
      const uint64_t index =
          (uint64_t(contents[req]) << 40) + uint64_t(key) * p.num_kv_heads * head_dim + i;
      store_cached(row, i % head_dim, dtype, code, random_normal(seed, index));
    }
  }
}

class DeviceStep {
 public:
  explicit DeviceStep(const StepSpec& spec) : spec(spec) {
    make_lengths();
    make_scales();
    make_cache();
    make_tensors();
    make_block_mask();
    make_schedule_memory();
  }

  // num_decode_blocks: of the decode kernel's launch.
  void schedule(int num_decode_blocks, int num_prefill_blocks, cudaStream_t stream) const {
    ScheduleParams own = schedule_params;
    own.num_decode_blocks = num_decode_blocks;
    own.num_prefill_blocks = num_prefill_blocks;
    check_cuda(cudaMemsetAsync(arrivals_.get(), 0, 4 * arrivals_.size(), stream), "clearing");
    launch_schedule(own, stream);
  }
  AttendParams layer(int index) const {
    AttendParams own = params;
    own.key = key_view(index), own.value = value_view(index);
    return own;
  }
  PrefillParams prefill_layer(int index, int tile_keys, bool beside_decode) const {
    const int box_rows = box_rows_of(spec.page_size, tile_keys);
    const int decode_box_rows = box_rows_of(spec.page_size, mixed::kTileKeys);
    const auto query_map = packed_map(query, spec.head_dim);
    const auto out_map = packed_map(out, spec.head_dim_v);
    return {.attend = layer(index),
            .key_map = make_key_map(key_view(index), spec.dtype, box_rows),
            .value_map = make_key_map(value_view(index), spec.dtype, box_rows),
            .box_rows = box_rows,
            .query_map = query_map.value_or(CUtensorMap{}),
            .out_map = out_map.value_or(CUtensorMap{}),
            .has_row_maps = query_map && out_map,
            .decode_key_map = rows_map(key_view(index), decode_box_rows),
            .decode_value_map = rows_map(value_view(index), decode_box_rows),
            .decode_box_rows = decode_box_rows,
            .beside_decode = beside_decode};
  }
  // rows: [num_tokens, num_heads, head_dim]
  std::optional<CUtensorMap> packed_map(const DeviceArray<uint8_t>& rows, int head_dim) const {
    const int64_t head = 2 * head_dim, token = head * spec.num_heads;
    return make_packed_map({.data = rows.get(),
                            .num_pages = 1,
                            .page_size = num_tokens,
                            .num_kv_heads = spec.num_heads,
                            .head_dim = head_dim,
                            .page_stride = num_tokens * token,
                            .token_stride = token,
                            .head_stride = head},
                           spec.dtype, params.group.value);
  }
  KeyView key_view(int layer) const { return at(key_view_, keys_[layer]); }
  KeyView value_view(int layer) const { return at(value_view_, values_[layer]); }
  void poison_outputs() const {
    check_cuda(cudaMemset(out.get(), 0xff, out.size()), "poisoning");
    check_cuda(cudaMemset(lse.get(), 0xff, lse.size() * 4), "poisoning");
  }

  // Bytes of keys and values that one layer's attention must read.
  size_t key_value_bytes() const {
    size_t keys = 0;
    for (int32_t n : spec.seq_lens) keys += n;
    const KvFormat format = kv_format_of(spec.kv_format);
    const auto row = [&](CacheFormat own, int dim) {
      return dim * bytes_of(own) + (own.scale == ScaleOf::token ? 4 : 0);
    };
    return keys * spec.num_kv_heads *
           (row(format.key, spec.head_dim) + row(format.value, spec.head_dim_v));
  }
  // The kernel of a row of the table.
  const KernelEntry* find(Phase phase, int rows) const {
    KernelConfig config{phase, spec.dtype, spec.head_dim, spec.head_dim_v, rows};
    if (phase == Phase::decode) {
      const KvFormat format = kv_format_of(spec.kv_format);
      config.key = format.key.code, config.value = format.value.code;
    }
    return find_kernel(config);
  }
  bool is_quantised() const { return spec.kv_format != PAGODA_KV_SAME; }
  // Whether the general kernel attends all requests.
  bool is_general() const {
    return spec.general || spec.mask_tile_kv > 0 || !find(Phase::decode, 8);
  }
  // Floating-point operations of the two products, counting visible pairs.
  double flops() const {
    double pairs = 0;
    for (size_t r = 0; r < spec.seq_lens.size(); ++r) {
      const Mask mask =
          mask_of_request(spec.mask, spec.causal.empty() ? spec.mask.causal : spec.causal[r]);
      for (int i = 0; i < spec.query_lens[r]; ++i) {
        const KeyRange keys =
            visible_keys(mask, spec.seq_lens[r] - spec.query_lens[r] + i, spec.seq_lens[r]);
        pairs += keys.end - keys.begin;
      }
    }
    return 2.0 * pairs * spec.num_heads * (spec.head_dim + spec.head_dim_v);
  }
  // Whether long and short requests are attended by one kernel.
  bool is_mixed() const {
    return !is_general() && !is_quantised() && !spec.only_prefill && !spec.apart &&
           max_rows() > kMaxDecodeRows && find(Phase::mixed, 128) != nullptr;
  }
  int max_rows() const {
    int longest = 1;
    for (int n : spec.query_lens) longest = std::max(longest, n);
    return longest * spec.num_heads / spec.num_kv_heads;
  }

  StepSpec spec;
  int num_reqs, num_tokens;
  AttendParams params;
  ScheduleParams schedule_params;
  DeviceArray<int32_t> query_start_loc, seq_lens, page_table, key_start_loc;
  DeviceArray<uint8_t> causal, query, out;
  DeviceArray<float> lse, sinks, slopes;

 private:
  // Of the mixed kernel; nothing where there is none.
  CUtensorMap rows_map(const KeyView& view, int box_rows) const {
    return is_mixed() ? make_row_map(view, spec.dtype, box_rows) : CUtensorMap{};
  }
  int bytes_of(CacheFormat format) const { return format.code == Code::same ? 2 : 1; }

  // Scales of tokens become NaN where no key is; fill_keys writes the others.
  void make_scales() {
    const KvFormat format = kv_format_of(spec.kv_format);
    params.key_format = format.key, params.value_format = format.value;
    params.num_heads = spec.num_heads;
    std::vector<float> values(size_t(spec.num_kv_heads) * spec.head_dim_v);
    for (size_t i = 0; i < values.size(); ++i) values[i] = 0.03f + 0.01f * std::sin(float(i));
    given_scales_ = DeviceArray<float>(values);
    if (format.key.scale == ScaleOf::head)
      params.key_scale = {.data = given_scales_.get(), .head_stride = 1};
    if (format.value.scale == ScaleOf::head)
      params.out_scale = {.data = given_scales_.get(), .head_stride = 1};
    if (format.value.scale == ScaleOf::channel)
      params.out_scale = {
          .data = given_scales_.get(), .head_stride = spec.head_dim_v, .channel_stride = 1};
  }
  KeyScales make_token_scales(CacheFormat format, int64_t num_rows, DeviceArray<float>& memory) {
    if (format.scale != ScaleOf::token) return {};
    memory = DeviceArray<float>(size_t(num_rows) * spec.num_kv_heads);
    check_cuda(cudaMemset(memory.get(), 0xff, memory.size() * 4), "poisoning");
    return {.data = memory.get(),
            .page_stride = int64_t{spec.page_size} * spec.num_kv_heads,
            .token_stride = 1,
            .head_stride = spec.page_size};
  }

  // Some tiles absent, some full, some with random bits.
  void make_block_mask() {
    if (spec.mask_tile_kv == 0) return;
    std::mt19937_64 random(spec.seed + 9);
    std::vector<int32_t> tile_start{0}, row_start{0}, tiles, bits_at;
    std::vector<uint32_t> bits;
    for (int32_t n : spec.query_lens)
      tile_start.push_back(tile_start.back() + (n + spec.mask_tile_q - 1) / spec.mask_tile_q);
    const uint64_t dense = random() % 3;
    for (int head = 0; head < spec.mask_heads; ++head)
      for (int r = 0; r < num_reqs; ++r)
        for (int t = tile_start[r]; t < tile_start[r + 1]; ++t) {
          const int left = spec.query_lens[r] - (t - tile_start[r]) * spec.mask_tile_q;
          for (int k = 0; k * spec.mask_tile_kv < spec.seq_lens[r]; ++k) {
            const uint64_t kind = random() % 8;
            if (kind < 4 - dense) continue;
            tiles.push_back(k);
            bits_at.push_back(kind < 6 ? -1 : static_cast<int32_t>(bits.size()));
            const int words = std::min(left, spec.mask_tile_q) * (spec.mask_tile_kv / 32);
            for (int w = 0; kind >= 6 && w < words; ++w)
              bits.push_back(static_cast<uint32_t>(random() & random()));
          }
          row_start.push_back(static_cast<int32_t>(tiles.size()));
        }
    mask_tile_start_ = DeviceArray<int32_t>(tile_start);
    mask_row_start_ = DeviceArray<int32_t>(row_start);
    mask_tiles_ = DeviceArray<int32_t>(tiles);
    mask_bits_at_ = DeviceArray<int32_t>(bits_at);
    mask_bits_ = DeviceArray<uint32_t>(bits);
    params.block_mask = {.tile_q = spec.mask_tile_q,
                         .tile_kv = spec.mask_tile_kv,
                         .num_reqs = num_reqs,
                         .num_heads = spec.mask_heads,
                         .tile_start = mask_tile_start_.get(),
                         .row_start = mask_row_start_.get(),
                         .tile = mask_tiles_.get(),
                         .bits_at = mask_bits_at_.get(),
                         .bits = mask_bits_.get()};
  }

  void make_lengths() {
    num_reqs = static_cast<int>(spec.seq_lens.size());
    std::vector<int32_t> start{0}, key_start{0};
    for (int32_t n : spec.query_lens) start.push_back(start.back() + n);
    for (int32_t n : spec.seq_lens) key_start.push_back(key_start.back() + n);
    num_tokens = start.back() + spec.num_padding_tokens;
    query_start_loc = DeviceArray<int32_t>(start);
    seq_lens = DeviceArray<int32_t>(spec.seq_lens);
    key_start_loc = DeviceArray<int32_t>(key_start);
    if (!spec.causal.empty()) causal = DeviceArray<uint8_t>(spec.causal);
    std::vector<int32_t> own = spec.contents;
    if (own.empty()) own.resize(num_reqs), std::iota(own.begin(), own.end(), 0);
    contents_ = DeviceArray<int32_t>(own);
    num_keys_ = key_start.back();
  }

  void make_cache() {
    int64_t num_rows = num_keys_;
    params.page_size = spec.page_size;
    if (spec.page_size) {
      int width = 1;
      int64_t num_pages = 1;
      for (int32_t n : spec.seq_lens) {
        const int pages = (n + spec.page_size - 1) / spec.page_size;
        width = std::max(width, pages), num_pages += pages;
      }
      num_pages += 3;
      std::vector<int32_t> ids(num_pages - 1);
      std::iota(ids.begin(), ids.end(), static_cast<int32_t>(1 + spec.first_page));
      num_pages += spec.first_page;
      std::shuffle(ids.begin(), ids.end(), std::mt19937_64(spec.seed));
      std::vector<int32_t> table(size_t(num_reqs) * width, 0x7fffffff);
      size_t next = 0;
      for (int r = 0; r < num_reqs; ++r)
        for (int i = 0; i * spec.page_size < spec.seq_lens[r]; ++i)
          table[size_t(r) * width + i] = ids[next++];
      page_table = DeviceArray<int32_t>(table);
      params.page_table = page_table.get();
      params.page_table_stride = width;
      num_rows = num_pages * spec.page_size;
    }
    params.key_start_loc = key_start_loc.get();
    params.num_kv_heads = spec.num_kv_heads;
    params.group = Divisor(spec.num_heads / spec.num_kv_heads);
    const KvFormat format = kv_format_of(spec.kv_format);
    if (format.key.scale == ScaleOf::token)
      params.key_scale = make_token_scales(format.key, num_rows, key_scales_);
    params.value_scale = make_token_scales(format.value, num_rows, value_scales_);
    key_view_ = view_of(spec.head_dim, num_rows, bytes_of(format.key));
    value_view_ = view_of(spec.head_dim_v, num_rows, bytes_of(format.value));
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      const uint64_t seed = 1000 * spec.seed + 2 * layer;
      keys_.push_back(
          make_keys(key_view_, params.key_scale, num_rows, spec.head_dim, format.key, seed));
      values_.push_back(make_keys(value_view_, params.value_scale, num_rows, spec.head_dim_v,
                                  format.value, seed + 1));
    }
  }

  KeyView view_of(int head_dim, int64_t num_rows, int element_bytes) const {
    const int64_t row = int64_t{element_bytes} * head_dim, heads = spec.num_kv_heads;
    const int64_t size = spec.page_size ? spec.page_size : std::max<int64_t>(num_rows, 1);
    const bool heads_first = spec.heads_first && spec.page_size;
    return {.num_pages = std::max<int64_t>(num_rows, 1) / size,
            .page_size = size,
            .num_kv_heads = heads,
            .head_dim = head_dim,
            .page_stride = heads * size * row,
            .token_stride = heads_first ? row : heads * row,
            .head_stride = heads_first ? size * row : row};
  }
  static KeyView at(KeyView view, const DeviceArray<uint8_t>& bytes) {
    view.data = bytes.get();
    return view;
  }

  DeviceArray<uint8_t> make_keys(KeyView view, const KeyScales& scales, int64_t num_rows,
                                 int head_dim, CacheFormat format, uint64_t seed) const {
    DeviceArray<uint8_t> bytes(std::max<size_t>(num_rows, 1) * spec.num_kv_heads * head_dim *
                               bytes_of(format));
    check_cuda(cudaMemset(bytes.get(), 0xff, bytes.size()), "poisoning");  // NaN
    view.data = bytes.get();
    if (num_reqs)
      fill_keys<><<<dim3(256, num_reqs), 256>>>(view, scales, params, seq_lens.get(),
                                                contents_.get(), head_dim, spec.dtype, format.code,
                                                seed);
    check_cuda(cudaGetLastError(), "filling keys");
    return bytes;
  }

  void make_tensors() {
    const int64_t heads = spec.num_heads;
    query = DeviceArray<uint8_t>(num_tokens * heads * spec.head_dim * 2);
    out = DeviceArray<uint8_t>(num_tokens * heads * spec.head_dim_v * 2);
    lse = DeviceArray<float>(num_tokens * heads);
    fill_normal<><<<512, 256>>>(query.get(), query.size() / 2, spec.dtype, spec.seed + 77);
    if (num_reqs)
      fill_queries<><<<num_reqs, 256>>>(query.get(), query_start_loc.get(), contents_.get(),
                                        num_reqs, static_cast<int>(heads * spec.head_dim),
                                        spec.dtype, spec.seed + 78);
    params.query = query.get();
    params.query_token_stride = heads * spec.head_dim * 2;
    params.query_head_stride = spec.head_dim * 2;
    params.out = out.get();
    params.out_token_stride = heads * spec.head_dim_v * 2;
    params.out_head_stride = spec.head_dim_v * 2;
    params.lse = spec.needs_lse ? lse.get() : nullptr;
    params.lse_head_stride = num_tokens;
    params.lse_token_stride = 1;
    params.mask = spec.mask;
    params.score = Score2::from(spec.score);
    std::mt19937_64 random(spec.seed + 5);
    std::vector<float> values(heads);
    if (spec.has_sinks) {
      for (float& v : values) v = std::normal_distribution<float>(2, 2)(random);
      sinks = DeviceArray<float>(values);
      params.sinks = sinks.get();
    }
    if (spec.score.alibi != Alibi::none) {
      for (int h = 0; h < heads; ++h) values[h] = std::exp2(-8.0f * (h + 1) / heads);
      slopes = DeviceArray<float>(values);
      params.alibi_slopes = slopes.get();
    }
  }

  void make_schedule_memory() {
    const int group = params.group.value;
    const bool wide = max_rows() > 8 && !is_mixed() && find(Phase::decode, 16) != nullptr;
    const int rows = spec.rows_per_item ? spec.rows_per_item : wide ? 16 : 8;
    const int max_items = (num_reqs + 32) * kMaxSplits + num_tokens * group / 8 + 1;
    const int rows_in_slots = spec.max_slots ? spec.max_slots : std::max(256 * num_reqs, 8192);
    const int64_t max_slots = int64_t(rows_in_slots) * spec.num_kv_heads;
    const int64_t max_tiles = num_reqs + int64_t(num_tokens) * group / 64 + 1;
    header_ = DeviceArray<ScheduleHeader>(1);
    items_ = DeviceArray<DecodeItem>(max_items);
    tiles_ = DeviceArray<PrefillTile>(max_tiles);
    partial_out_ = DeviceArray<float>(max_slots * spec.head_dim_v);
    partial_ml_ = DeviceArray<float>(max_slots * 2);
    arrivals_ = DeviceArray<uint32_t>(max_slots);
    cudaMemset(arrivals_.get(), 0, arrivals_.size() * 4);
    next_tile_ = DeviceArray<uint32_t>(std::vector<uint32_t>(4, 0));
    params.next_tile = next_tile_.get();
    if (is_mixed()) params.mixed = reinterpret_cast<MixedCounters*>(next_tile_.get() + 1);
    params.schedule = header_.get();
    params.decode_items = items_.get();
    params.prefill_tiles = tiles_.get();
    params.partial_out = partial_out_.get();
    params.partial_ml = partial_ml_.get();
    params.arrivals = arrivals_.get();
    schedule_params = {.query_start_loc = query_start_loc.get(),
                       .seq_lens = seq_lens.get(),
                       .causal = spec.causal.empty() ? nullptr : causal.get(),
                       .num_reqs = num_reqs,
                       .num_tokens = num_tokens,
                       .group = group,
                       .rows_per_item = rows,
                       .rows_per_tile = is_general() || is_quantised()
                                            ? general_rows(spec.head_dim, spec.head_dim_v)
                                            : 128,
                       .max_decode_rows = is_general() ? 0 : kMaxDecodeRows,
                       .num_kv_heads = spec.num_kv_heads,
                       .max_items = max_items,
                       .max_slots = rows_in_slots,
                       .mask = spec.mask,
                       .splits = {.automatic = spec.split_keys, .num_splits = spec.num_splits},
                       .has_short_splits = !is_quantised() && spec.num_splits == 0,
                       .head_dim_v = spec.head_dim_v,
                       .partial_out = partial_out_.get(),
                       .partial_ml = partial_ml_.get(),
                       .header = header_.get(),
                       .decode_items = items_.get(),
                       .prefill_tiles = tiles_.get()};
  }

  int64_t num_keys_ = 0;
  DeviceArray<int32_t> contents_;
  DeviceArray<float> given_scales_, key_scales_, value_scales_;
  DeviceArray<int32_t> mask_tile_start_, mask_row_start_, mask_tiles_, mask_bits_at_;
  DeviceArray<uint32_t> mask_bits_;
  KeyView key_view_, value_view_;
  std::vector<DeviceArray<uint8_t>> keys_, values_;
  DeviceArray<ScheduleHeader> header_;
  DeviceArray<DecodeItem> items_;
  DeviceArray<PrefillTile> tiles_;
  DeviceArray<float> partial_out_, partial_ml_;
  DeviceArray<uint32_t> arrivals_, next_tile_;
};

}  // namespace pagoda::cuda
