// The CUDA backend through pagoda.h against the reference backend: check_capi [cases] [first seed].
// Whole steps with update_cache in every format, block masks, graphs replayed with other lengths
// and masks, merges. Returns 1 if any failed.
#include <cuda_runtime_api.h>
#include <pagoda/mask.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <pagoda/pagoda.hpp>
#include <random>
#include <string>
#include <vector>

#include "../../src/core/dtype.h"
#include "../../src/core/kv_format.h"
#include "../../src/cuda/check_cuda.h"

namespace pagoda {
namespace {

using cuda::check_cuda;
using Bytes = std::vector<uint8_t>;

// Host bytes and their copy on the device.
struct Both {
  Bytes host;
  void* device = nullptr;

  explicit Both(size_t size) : host(size) {
    check_cuda(cudaMalloc(&device, std::max<size_t>(size, 16)), "allocating");
  }
  Both(const Both&) = delete;
  Both& operator=(const Both&) = delete;
  ~Both() { cudaFree(device); }

  void upload() {
    check_cuda(cudaMemcpy(device, host.data(), host.size(), cudaMemcpyHostToDevice), "uploading");
  }
  Bytes download() const {
    Bytes copy(host.size());
    check_cuda(cudaMemcpy(copy.data(), device, copy.size(), cudaMemcpyDeviceToHost), "downloading");
    return copy;
  }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(host.data());
  }
};

float read_element(const Bytes& bytes, size_t index, pagoda_dtype dtype) {
  uint16_t bits;
  std::memcpy(&bits, &bytes[2 * index], 2);
  return dtype == PAGODA_BF16 ? to_float(Bfloat16{bits}) : to_float(Half{bits});
}

struct Case {
  std::mt19937_64 random;
  Spec spec;
  Limits limits;
  Tuning tuning;
  int num_reqs, num_tokens, width, group;
  KvFormat format;
  bool scales_behind_rows = false;  // of tokens: a row and its scale lie behind each other
  int mask_tile_q = 0, mask_tile_kv = 0, mask_heads = 1;  // 0: no block mask

  explicit Case(uint64_t seed) : random(seed) {
    static constexpr int dims[][2] = {{64, 64},   {80, 80},   {96, 96},
                                      {128, 128}, {192, 128}, {256, 256}};
    const auto& dim = dims[below(6)];
    spec.head_dim = dim[0], spec.head_dim_v = dim[1];
    spec.num_kv_heads = 1 + below(4);
    group = 1 + below(6);
    spec.num_heads = spec.num_kv_heads * group;
    spec.dtype = below(2) ? PAGODA_BF16 : PAGODA_F16;
    spec.page_size = 8 * (1 + below(9));
    spec.causal = below(4) != 0;
    if (below(3) == 0)
      spec.has_window = 1, spec.window_left = below(200), spec.window_right = below(20);
    if (below(4) == 0) spec.logit_softcap = 20;
    spec.alibi = static_cast<pagoda_alibi>(below(3));
    spec.has_sinks = below(2);
    num_reqs = 1 + below(5);
    num_tokens = num_reqs * (1 + below(80)) + below(9);
    width = 64;
    limits.max_reqs = num_reqs, limits.max_tokens = num_tokens;
    limits.max_seq_len = width * spec.page_size, limits.num_pages = num_reqs * width + 1;
    if (below(3) == 0) tuning.num_splits = 1 + below(6);
    if (below(4) == 0) tuning.cascade = 1;
    draw_format();
    if (below(4) == 0) {
      spec.has_block_mask = 1;
      mask_tile_q = 1 + below(130), mask_tile_kv = 32 << below(4);
      mask_heads = below(2) ? 1 : below(2) ? spec.num_kv_heads : spec.num_heads;
    }
    if (scales_behind_rows || below(5) == 0) name_general_kernel();
  }
  void draw_format() {
    if (below(2)) spec.kv_format = static_cast<pagoda_kv_format>(1 + below(5));
    format = kv_format_of(spec.kv_format);
    const bool both_of_tokens =
        format.key.scale == ScaleOf::token && format.value.scale == ScaleOf::token;
    scales_behind_rows = both_of_tokens && below(3) == 0;
  }
  void name_general_kernel() {
    kernel = std::string("sm80.") + name_of(spec.dtype) + ".d" + std::to_string(spec.head_dim);
    if (spec.head_dim != spec.head_dim_v) kernel += "x" + std::to_string(spec.head_dim_v);
  }
  Tuning tuning_on_gpu() const {
    Tuning own = tuning;
    if (!kernel.empty()) own.kernel = kernel.c_str();
    return own;
  }
  std::string kernel;  // forced, or empty

  // Bytes of a row of a cache, its scale included where that lies behind it.
  int64_t row_bytes(CacheFormat own, int64_t dim) const {
    return dim * static_cast<int64_t>(size_of(dtype_of(own, spec.dtype))) +
           (scales_behind_rows ? 4 : 0);
  }
  size_t cache_bytes(CacheFormat own, int64_t dim) const {
    return static_cast<size_t>(limits.num_pages * spec.page_size * spec.num_kv_heads *
                               row_bytes(own, dim));
  }
  size_t num_scales(CacheFormat own, int64_t dim) const {
    const auto heads = static_cast<size_t>(spec.num_kv_heads);
    if (own.scale == ScaleOf::token && !scales_behind_rows)
      return static_cast<size_t>(limits.num_pages * spec.page_size) * heads;
    return own.scale == ScaleOf::channel ? heads * static_cast<size_t>(dim) : heads;
  }
  float draw_scale(Code code) {
    return (code == Code::int8 ? 0.01f : 0.2f) * (1 + float(below(100)) / 50);
  }
  // Numbers in the type of the cache; codes are any int8, and e4m3 between 1/8 and 4.
  void fill_cache(Both& bytes, CacheFormat own, int64_t dim) {
    if (own.code == Code::same) return fill_normal(bytes);
    for (uint8_t& byte : bytes.host)
      byte = static_cast<uint8_t>(own.code == Code::int8 ? below(256)
                                                         : (below(2) << 7) + 0x20 + below(0x28));
    const auto row = static_cast<size_t>(row_bytes(own, dim));
    for (size_t at = 0; scales_behind_rows && at < bytes.host.size(); at += row) {
      const float scale = draw_scale(own.code);
      std::memcpy(&bytes.host[at + static_cast<size_t>(dim)], &scale, 4);
    }
    bytes.upload();
  }
  int below(int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); }
  void fill_normal(Both& bytes) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < bytes.host.size() / 2; ++i) {
      const float x = normal(random);
      const uint16_t bits =
          spec.dtype == PAGODA_BF16 ? from_float<Bfloat16>(x).bits : from_float<Half>(x).bits;
      std::memcpy(&bytes.host[2 * i], &bits, 2);
    }
    bytes.upload();
  }
};

// The tensors of a step, on both sides.
struct Step {
  Case& c;
  Both query, key, value, out, lse, key_cache, value_cache;
  Both start, lens, table, slots, causal, slopes, sinks, key_scale, value_scale;
  Both mask_start, mask_rows, mask_tiles, mask_bits_at, mask_bits;

  explicit Step(Case& c)
      : c(c),
        query(2 * size_t(c.num_tokens) * c.spec.num_heads * c.spec.head_dim),
        key(2 * size_t(c.num_tokens) * c.spec.num_kv_heads * c.spec.head_dim),
        value(2 * size_t(c.num_tokens) * c.spec.num_kv_heads * c.spec.head_dim_v),
        out(2 * size_t(c.num_tokens) * c.spec.num_heads * c.spec.head_dim_v),
        lse(4 * size_t(c.num_tokens) * c.spec.num_heads),
        key_cache(c.cache_bytes(c.format.key, c.spec.head_dim)),
        value_cache(c.cache_bytes(c.format.value, c.spec.head_dim_v)),
        start(4 * (c.num_reqs + 1)),
        lens(4 * c.num_reqs),
        table(4 * size_t(c.num_reqs) * c.width),
        slots(8 * size_t(c.num_tokens)),
        causal(c.num_reqs),
        slopes(4 * c.spec.num_heads),
        sinks(4 * c.spec.num_heads),
        key_scale(4 * c.num_scales(c.format.key, c.spec.head_dim)),
        value_scale(4 * c.num_scales(c.format.value, c.spec.head_dim_v)),
        mask_start(4 * (c.num_reqs + 1)),
        mask_rows(4 * (max_lists(c) + 1)),
        mask_tiles(4 * max_entries(c)),
        mask_bits_at(4 * max_entries(c)),
        mask_bits(c.spec.has_block_mask ? kMaskWords * 4 : 4) {
    for (Both* both : {&query, &key, &value}) c.fill_normal(*both);
    c.fill_cache(key_cache, c.format.key, c.spec.head_dim);
    c.fill_cache(value_cache, c.format.value, c.spec.head_dim_v);
    for (size_t i = 0; i < key_scale.host.size() / 4; ++i)
      key_scale.as<float>()[i] = c.draw_scale(c.format.key.code);
    for (size_t i = 0; i < value_scale.host.size() / 4; ++i)
      value_scale.as<float>()[i] = c.draw_scale(c.format.value.code);
    key_scale.upload(), value_scale.upload();
    std::vector<int32_t> pages(c.num_reqs * c.width);
    std::iota(pages.begin(), pages.end(), 1);
    std::shuffle(pages.begin(), pages.end(), c.random);
    std::memcpy(table.host.data(), pages.data(), table.host.size());
    for (int h = 0; h < c.spec.num_heads; ++h) {
      slopes.as<float>()[h] = std::exp2(-0.5f * float(h + 1));
      sinks.as<float>()[h] = float(c.below(5)) - 2;
    }
    for (Both* both : {&table, &slopes, &sinks}) both->upload();
    draw_lengths();
  }

  static constexpr size_t kMaskWords = size_t{1} << 20;
  static size_t max_lists(const Case& c) {
    return size_t(c.mask_heads) * size_t(c.num_tokens + c.num_reqs);
  }
  static size_t max_entries(const Case& c) {
    if (!c.spec.has_block_mask) return 1;
    return max_lists(c) * size_t(c.limits.max_seq_len / c.mask_tile_kv + 1);
  }

  // Tiles of the block mask: absent, full, or with random bits while there is room for those.
  void draw_mask() {
    int32_t lists = 0, entries = 0;
    int64_t words = 0;
    mask_start.as<int32_t>()[0] = mask_rows.as<int32_t>()[0] = 0;
    for (int r = 0; r < c.num_reqs; ++r) {
      const int query_len = start.as<int32_t>()[r + 1] - start.as<int32_t>()[r];
      mask_start.as<int32_t>()[r + 1] =
          mask_start.as<int32_t>()[r] + (query_len + c.mask_tile_q - 1) / c.mask_tile_q;
    }
    for (int head = 0; head < c.mask_heads; ++head)
      for (int r = 0; r < c.num_reqs; ++r) {
        int left = start.as<int32_t>()[r + 1] - start.as<int32_t>()[r];
        for (; left > 0; left -= c.mask_tile_q) {
          for (int tile = 0; tile * c.mask_tile_kv < lens.as<int32_t>()[r]; ++tile) {
            const int64_t need = int64_t{std::min(left, c.mask_tile_q)} * (c.mask_tile_kv / 32);
            const int kind = c.below(6);
            if (kind < 2) continue;
            const bool has_bits = kind > 3 && words + need <= int64_t{kMaskWords};
            mask_tiles.as<int32_t>()[entries] = tile;
            mask_bits_at.as<int32_t>()[entries++] = has_bits ? static_cast<int32_t>(words) : -1;
            for (int64_t w = 0; has_bits && w < need; ++w)
              mask_bits.as<uint32_t>()[words++] = static_cast<uint32_t>(c.random());
          }
          mask_rows.as<int32_t>()[++lists] = entries;
        }
      }
    for (Both* both : {&mask_start, &mask_rows, &mask_tiles, &mask_bits_at, &mask_bits})
      both->upload();
  }

  void add_mask(bool on_device, pagoda_block_mask& mask) {
    const auto at = [&](Both& both) -> void* { return on_device ? both.device : both.host.data(); };
    mask.struct_size = sizeof(mask);
    mask.tile_q = c.mask_tile_q, mask.tile_kv = c.mask_tile_kv;
    mask.num_reqs = c.num_reqs, mask.num_heads = c.mask_heads;
    mask.num_tiles_q = mask_start.as<int32_t>()[c.num_reqs];
    mask.tile_start = static_cast<const int32_t*>(at(mask_start));
    mask.row_start = static_cast<const int32_t*>(at(mask_rows));
    mask.tile = static_cast<const int32_t*>(at(mask_tiles));
    mask.bits_at = static_cast<const int32_t*>(at(mask_bits_at));
    mask.bits = static_cast<const uint32_t*>(at(mask_bits));
    mask.num_entries = static_cast<int64_t>(mask_tiles.host.size() / 4);
    mask.num_words = static_cast<int64_t>(mask_bits.host.size() / 4);
  }

  // Lengths, and the slots and the mask that follow from them.
  void draw_lengths() {
    int32_t token = 0;
    start.as<int32_t>()[0] = 0;
    std::fill_n(slots.as<int64_t>(), c.num_tokens, -1);
    for (int r = 0; r < c.num_reqs; ++r) {
      const int most = (c.num_tokens - token) / (c.num_reqs - r);
      const int query_len = c.below(8) ? c.below(most + 1) : 0;
      const int seq_len = std::min(query_len + c.below(1200), c.width * c.spec.page_size);
      lens.as<int32_t>()[r] = seq_len < query_len ? query_len : seq_len;
      causal.host[r] = static_cast<uint8_t>(c.below(2));
      for (int i = 0; i < query_len; ++i, ++token) {
        const int position = lens.as<int32_t>()[r] - query_len + i;
        const int32_t page = table.as<int32_t>()[r * c.width + position / c.spec.page_size];
        slots.as<int64_t>()[token] = int64_t{page} * c.spec.page_size + position % c.spec.page_size;
      }
      start.as<int32_t>()[r + 1] = token;
    }
    for (Both* both : {&start, &lens, &slots, &causal}) both->upload();
    if (c.spec.has_block_mask) draw_mask();
  }

  // The layer's tensors on one side.
  struct Views {
    Tensor keys, values, query, out, lse, key_scales, value_scales;
    Layer layer;
  };
  // One of the two caches and its scales.
  void make_cache_views(CacheFormat own, int64_t dim, void* cache, void* scale, Tensor& rows,
                        Tensor& scales) const {
    const int64_t pages = c.limits.num_pages, size = c.spec.page_size, heads = c.spec.num_kv_heads;
    const pagoda_dtype dtype = dtype_of(own, c.spec.dtype);
    rows = {cache, dtype, {pages, size, heads, dim}};
    if (own.scale == ScaleOf::head) scales = {scale, PAGODA_F32, {heads}};
    if (own.scale == ScaleOf::channel) scales = {scale, PAGODA_F32, {heads, dim}};
    if (own.scale == ScaleOf::token) scales = {scale, PAGODA_F32, {pages, size, heads}};
    if (!c.scales_behind_rows) return;
    const int64_t row = c.row_bytes(own, dim), floats = row / 4;
    rows = {cache, dtype, {pages, size, heads, dim}, {size * heads * row, heads * row, row, 1}};
    scales = {static_cast<uint8_t*>(cache) + dim,
              PAGODA_F32,
              {pages, size, heads},
              {size * heads * floats, heads * floats, floats}};
  }
  void make_views(bool on_device, Views& views) {
    const auto at = [&](Both& both) -> void* { return on_device ? both.device : both.host.data(); };
    const Spec& s = c.spec;
    const int64_t tokens = c.num_tokens;
    make_cache_views(c.format.key, s.head_dim, at(key_cache), at(key_scale), views.keys,
                     views.key_scales);
    make_cache_views(c.format.value, s.head_dim_v, at(value_cache), at(value_scale), views.values,
                     views.value_scales);
    if (c.format.key.scale != ScaleOf::none) views.layer.key_scale = &views.key_scales;
    if (c.format.value.scale != ScaleOf::none) views.layer.value_scale = &views.value_scales;
    views.query = {at(query), s.dtype, {tokens, s.num_heads, s.head_dim}};
    views.out = {at(out), s.dtype, {tokens, s.num_heads, s.head_dim_v}};
    views.lse = {at(lse), PAGODA_F32, {s.num_heads, tokens}};
    views.layer.key_cache = &views.keys, views.layer.value_cache = &views.values;
    if (s.alibi != PAGODA_ALIBI_NONE)
      views.layer.alibi_slopes = static_cast<const float*>(at(slopes));
    if (s.has_sinks) views.layer.sinks = static_cast<const float*>(at(sinks));
  }

  void run(Plan& plan, bool on_device, void* workspace, cudaStream_t stream) {
    const auto at = [&](Both& both) -> void* { return on_device ? both.device : both.host.data(); };
    const auto ints = [&](Both& both) { return static_cast<const int32_t*>(at(both)); };
    Batch batch;
    batch.num_reqs = c.num_reqs, batch.num_tokens = c.num_tokens;
    batch.query_start_loc = ints(start), batch.seq_lens = ints(lens);
    batch.page_table = ints(table);
    batch.page_table_stride = batch.page_table_width = c.width;
    batch.slot_mapping = static_cast<const int64_t*>(at(slots));
    batch.causal = static_cast<const uint8_t*>(at(causal));
    pagoda_block_mask mask{};
    if (c.spec.has_block_mask) {
      add_mask(on_device, mask);
      batch.block_mask = &mask;
    }
    const int64_t tokens = c.num_tokens, heads = c.spec.num_kv_heads;
    Views views;
    make_views(on_device, views);
    plan.prepare(batch, workspace, plan.workspace_size(), stream);
    plan.update_cache(views.layer, {at(key), c.spec.dtype, {tokens, heads, c.spec.head_dim}},
                      {at(value), c.spec.dtype, {tokens, heads, c.spec.head_dim_v}}, stream);
    plan.forward(views.layer, views.query, views.out, &views.lse, stream);
  }
  void forward(Plan& plan, cudaStream_t stream) {
    Views views;
    make_views(true, views);
    plan.forward(views.layer, views.query, views.out, &views.lse, stream);
  }
};

std::string compare(const Step& step) {
  const Bytes got = step.out.download(), got_lse = step.lse.download();
  if (step.key_cache.download() != step.key_cache.host) return "key cache differs";
  if (step.value_cache.download() != step.value_cache.host) return "value cache differs";
  if (step.key_scale.download() != step.key_scale.host) return "scales of keys differ";
  if (step.value_scale.download() != step.value_scale.host) return "scales of values differ";
  const pagoda_dtype dtype = step.c.spec.dtype;
  double error = 0, norm = 1e-6;
  for (size_t i = 0; i < got.size() / 2; ++i) {
    const double want = read_element(step.out.host, i, dtype);
    const double difference = read_element(got, i, dtype) - want;
    error += difference * difference, norm += want * want;
  }
  const double bound = dtype == PAGODA_BF16 ? 5e-3 : 1e-3;
  if (!(std::sqrt(error / norm) <= bound))
    return "out differs by " + std::to_string(std::sqrt(error / norm));
  for (size_t i = 0; i < got_lse.size() / 4; ++i) {
    float a, b;
    std::memcpy(&a, &got_lse[4 * i], 4);
    std::memcpy(&b, &step.lse.host[4 * i], 4);
    if (a != b && !(std::abs(a - b) <= 1e-4 + 1e-5 * std::abs(b)))
      return "lse " + std::to_string(a) + " instead of " + std::to_string(b);
  }
  return "";
}

std::string check_case(uint64_t seed, Context& gpu, Context& reference) {
  Case c(seed);
  Step step(c);
  Plan on_gpu(gpu, c.spec, c.limits, c.tuning_on_gpu()),
      oracle(reference, c.spec, c.limits, c.tuning);
  Both workspace(on_gpu.workspace_size() + 256);
  check_cuda(cudaMemset(workspace.device, 0xff, workspace.host.size()), "poisoning");
  Bytes host_workspace(oracle.workspace_size() + 512);
  const auto aligned = [](void* p) {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(p) + 255) / 256 * 256);
  };
  cudaStream_t stream;
  check_cuda(cudaStreamCreate(&stream), "creating a stream");
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  step.run(on_gpu, true, aligned(workspace.device), stream);
  check_cuda(cudaStreamEndCapture(stream, &graph), "capturing");
  check_cuda(cudaGraphInstantiate(&replay, graph, 0), "instantiating");
  std::string complaint;
  for (int round = 0; round < 3 && complaint.empty(); ++round) {
    if (round) step.draw_lengths();
    for (Both* both : {&step.out, &step.lse})
      check_cuda(cudaMemset(both->device, 0xff, both->host.size()), "poisoning");
    check_cuda(cudaGraphLaunch(replay, stream), "replaying");
    check_cuda(cudaStreamSynchronize(stream), "running");
    step.run(oracle, false, aligned(host_workspace.data()), nullptr);
    complaint = compare(step);
    const Bytes replayed = step.out.download();
    step.run(on_gpu, true, aligned(workspace.device), stream);
    check_cuda(cudaStreamSynchronize(stream), "running");
    if (complaint.empty() && replayed != step.out.download()) complaint = "replay and call differ";
    if (!complaint.empty()) complaint += " in round " + std::to_string(round);
  }
  cudaGraphExecDestroy(replay), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
  return complaint;
}

std::string check_merge(uint64_t seed, Context& gpu, Context& reference) {
  Case c(seed);
  const int64_t tokens = c.num_tokens, heads = c.spec.num_heads, dim = c.spec.head_dim_v;
  const size_t out_size = size_t(2 * tokens * heads * dim), lse_size = size_t(4 * tokens * heads);
  Both a(out_size), b(out_size), to(out_size), lse_a(lse_size), lse_b(lse_size), lse(lse_size);
  c.fill_normal(a), c.fill_normal(b);
  for (Both* both : {&lse_a, &lse_b}) {
    for (size_t i = 0; i < lse_size / 4; ++i)
      both->as<float>()[i] =
          c.below(5) ? float(c.below(100)) * 0.1f : (c.below(2) ? INFINITY : -INFINITY);
    both->upload();
  }
  for (const bool on_device : {false, true}) {
    const auto at = [&](Both& both) -> void* { return on_device ? both.device : both.host.data(); };
    const Tensor out_a(at(a), c.spec.dtype, {tokens, heads, dim});
    const Tensor out_b(at(b), c.spec.dtype, {tokens, heads, dim});
    const Tensor out(at(to), c.spec.dtype, {tokens, heads, dim});
    const Tensor l_a(at(lse_a), PAGODA_F32, {heads, tokens}),
        l_b(at(lse_b), PAGODA_F32, {heads, tokens});
    const Tensor l(at(lse), PAGODA_F32, {heads, tokens});
    Merge merge;
    merge.num_tokens_a = static_cast<int32_t>(tokens / 2);
    merge.out_a = &out_a, merge.lse_a = &l_a, merge.out_b = &out_b, merge.lse_b = &l_b;
    merge.out = &out, merge.lse = &l;
    (on_device ? gpu : reference).merge_states(merge);
  }
  check_cuda(cudaDeviceSynchronize(), "merging");
  const Bytes got = to.download();
  for (size_t i = 0; i < got.size() / 2; ++i) {
    const float x = read_element(got, i, c.spec.dtype), y = read_element(to.host, i, c.spec.dtype);
    if (!(std::abs(x - y) <= 0.01f * std::abs(y) + 1e-3f))
      return "merge: " + std::to_string(x) + " instead of " + std::to_string(y);
  }
  return "";
}

// Microseconds that a call of forward keeps the host, outside a graph: of a step whose longest
// query has max_query_len tokens.
double time_forward(Context& gpu, uint64_t seed, int32_t max_query_len) {
  Case c(seed);
  c.limits.max_query_len = max_query_len;
  Step step(c);
  Plan plan(gpu, c.spec, c.limits, c.tuning_on_gpu());
  Both workspace(plan.workspace_size() + 256);
  step.run(plan, true, workspace.device, nullptr);
  check_cuda(cudaDeviceSynchronize(), "running");
  constexpr int kCalls = 200, kRounds = 15;
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) step.forward(plan, nullptr);
    const auto end = std::chrono::steady_clock::now();
    check_cuda(cudaDeviceSynchronize(), "running");
    times.push_back(std::chrono::duration<double, std::micro>(end - begin).count() / kCalls);
  }
  std::sort(times.begin(), times.end());
  return times[kRounds / 2];
}

int run(int cases, uint64_t first) {
  ContextOptions options;
  options.backend = "cuda";
  Context gpu(options);
  options.backend = "reference";
  Context reference(options);
  std::printf("%s\n", doctor().c_str());
  std::printf("host time of a decode step's forward: %.2f us\n", time_forward(gpu, first, 1));
  std::printf("host time of a mixed step's forward: %.2f us\n", time_forward(gpu, first, 0));
  int failed = 0;
  for (int i = 0; i < cases && failed < 10; ++i) {
    const uint64_t seed = first + static_cast<uint64_t>(i);
    std::string complaint = check_case(seed, gpu, reference);
    if (complaint.empty()) complaint = check_merge(seed, gpu, reference);
    if (complaint.empty()) continue;
    ++failed;
    const Case c(seed);
    std::printf("seed %llu: %s (format %d%s, mask %d x %d, kernel %s)\n",
                static_cast<unsigned long long>(seed), complaint.c_str(), c.spec.kv_format,
                c.scales_behind_rows ? ", scales behind rows" : "", c.mask_tile_q, c.mask_tile_kv,
                c.kernel.c_str());
  }
  std::printf("%d cases, %d failed\n", cases, failed);
  return failed > 0;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  try {
    return pagoda::run(argc > 1 ? std::atoi(argv[1]) : 30,
                       argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
