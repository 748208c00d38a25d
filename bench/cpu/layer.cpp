#include "layer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <optional>
#include <pagoda/mask.hpp>
#include <stdexcept>

#include "machine.h"

namespace pagoda::bench {
namespace {

void check(pagoda_status status) {
  if (status != PAGODA_OK) throw std::runtime_error(pagoda_last_error());
}

// Random numbers about 1 in size, as the type stores them; random bits of the mantissa matter,
// since the power that multipliers draw depends on the data.
void fill(pagoda_dtype dtype, uint8_t* data, size_t bytes, uint64_t seed) {
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    uint64_t word = state;
    if (dtype == PAGODA_BF16) word = (word & 0x807f807f807f807full) | 0x3f003f003f003f00ull;
    if (dtype == PAGODA_F16) word = (word & 0x83ff83ff83ff83ffull) | 0x3800380038003800ull;
    // Codes as calibrated scales make them: few are so small that they are subnormal.
    if (dtype == PAGODA_FP8_E4M3) word = (word & 0x8f8f8f8f8f8f8f8full) | 0x3030303030303030ull;
    if (dtype == PAGODA_F32) word = (word & 0x807fffff807fffffull) | 0x3f0000003f000000ull;
    std::memcpy(data + i, &word, 8);
  }
}

// Bytes of an element of keys and of values.
struct Elements {
  int64_t key, value;
};

Elements elements_of(const Shape& s) {
  const int64_t same = s.dtype == PAGODA_F32 ? 4 : 2;
  if (s.kv_format == PAGODA_KV_SAME) return {same, same};
  return {1, s.kv_format == PAGODA_KV_INT8_KEYS ? same : 1};
}

pagoda_dtype code_of(const Shape& s, bool is_value) {
  switch (s.kv_format) {
    case PAGODA_KV_SAME:
      return s.dtype;
    case PAGODA_KV_FP8_E4M3:
    case PAGODA_KV_FP8_E4M3_TOKEN:
      return PAGODA_FP8_E4M3;
    case PAGODA_KV_INT8_KEYS:
      return is_value ? s.dtype : PAGODA_INT8;
    default:
      return PAGODA_INT8;
  }
}

struct Buffer {
  uint8_t* data = nullptr;
  size_t size = 0;

  explicit Buffer(size_t bytes) : size((bytes + kHugePage - 1) / kHugePage * kHugePage) {
    data = static_cast<uint8_t*>(std::aligned_alloc(kHugePage, std::max(size, kHugePage)));
    if (data == nullptr) throw std::bad_alloc();
    ask_for_huge_pages(data, size);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

pagoda_tensor tensor(pagoda_dtype dtype, void* data, const std::vector<int64_t>& shape,
                     const std::vector<int64_t>& stride) {
  pagoda_tensor t = PAGODA_INIT(pagoda_tensor);
  t.dtype = dtype;
  t.data = data;
  t.num_dims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), t.shape);
  std::copy(stride.begin(), stride.end(), t.stride);
  return t;
}

}  // namespace

struct LayerRun::Parts {
  pagoda_context* context = nullptr;
  pagoda_plan* plan = nullptr;
  std::optional<Expression> mask, score;
  std::optional<MaskBuilder> masks;
  int64_t tokens = 0, pages = 0, key_page_bytes = 0, value_page_bytes = 0, scale_page = 0;
  std::vector<int32_t> query_start_loc{0}, seq_lens, page_table;
  std::vector<int64_t> slots;
  std::vector<float> slopes, sinks, lse;
  Buffer query, out, key, value, keys, values, workspace;
  std::vector<float> key_scales, value_scales;
  pagoda_tensor query_tensor, out_tensor, key_tensor, value_tensor, key_cache, value_cache;
  pagoda_batch batch{};
  pagoda_tensor key_scale, value_scale;
  int32_t copies = 1, next = 0;

  Parts(size_t q, size_t kv, size_t k_cache, size_t v_cache)
      : query(q), out(q), key(kv), value(kv), keys(k_cache), values(v_cache), workspace(0) {}

  pagoda_layer layer(const Shape& shape);
};

pagoda_layer LayerRun::Parts::layer(const Shape& shape) {
  pagoda_layer layer = PAGODA_INIT(pagoda_layer);
  layer.key_cache = &key_cache;
  layer.value_cache = &value_cache;
  if (shape.kv_format != PAGODA_KV_SAME) layer.key_scale = &key_scale;
  if (shape.kv_format != PAGODA_KV_SAME && shape.kv_format != PAGODA_KV_INT8_KEYS)
    layer.value_scale = &value_scale;
  if (shape.alibi) layer.alibi_slopes = slopes.data();
  if (shape.sinks) layer.sinks = sinks.data();
  return layer;
}

LayerRun::LayerRun(const Shape& s, int32_t num_threads, const std::string& isa, int32_t copies)
    : shape_(s) {
  const int64_t element = s.dtype == PAGODA_F32 ? 4 : 2;
  const int64_t tokens = int64_t{s.num_reqs} * s.query_len;
  const int32_t pages_of_request = (s.seq_len + s.page_size - 1) / s.page_size;
  const int32_t shared_pages = s.shared / s.page_size, own_pages = pages_of_request - shared_pages;
  const int64_t pages = shared_pages + int64_t{s.num_reqs} * own_pages;
  const int64_t row = int64_t{s.num_kv_heads} * s.head_dim, page = row * s.page_size;
  const int64_t query_row = int64_t{s.num_heads} * s.head_dim;
  parts_ = new Parts(static_cast<size_t>(tokens * query_row * element),
                     static_cast<size_t>(tokens * row * element),
                     static_cast<size_t>(copies * pages * page * elements_of(s).key),
                     static_cast<size_t>(copies * pages * page * elements_of(s).value));
  Parts& p = *parts_;
  p.tokens = tokens;
  p.pages = pages;
  p.key_page_bytes = page * elements_of(s).key;
  p.value_page_bytes = page * elements_of(s).value;
  p.scale_page = int64_t{s.num_kv_heads} * s.page_size;
  p.copies = copies;
  uint64_t seed = 1;
  for (Buffer* b : {&p.query, &p.key, &p.value}) fill(s.dtype, b->data, b->size, seed++);
  fill(code_of(s, false), p.keys.data, p.keys.size, seed++);
  fill(code_of(s, true), p.values.data, p.values.size, seed++);

  pagoda_context_options options = PAGODA_INIT(pagoda_context_options);
  options.backend = "cpu";
  options.num_threads = num_threads;
  const std::string& name = s.isa.empty() ? isa : s.isa;
  options.isa = name.empty() ? nullptr : name.c_str();
  check(pagoda_context_create(&options, &p.context));
  pagoda_spec spec = PAGODA_INIT(pagoda_spec);
  spec.num_heads = s.num_heads;
  spec.num_kv_heads = s.num_kv_heads;
  spec.head_dim = s.head_dim;
  spec.dtype = s.dtype;
  spec.page_size = s.page_size;
  spec.kv_format = s.kv_format;
  spec.causal = s.mask.empty() ? 1 : 0;
  spec.has_block_mask = s.mask.empty() ? 0 : 1;
  if (!s.score.empty()) spec.score_expr = p.score.emplace(Expression::score(s.score)).get();
  spec.logit_softcap = s.softcap;
  spec.alibi = s.alibi ? PAGODA_ALIBI_LINEAR : PAGODA_ALIBI_NONE;
  spec.has_sinks = s.sinks ? 1 : 0;
  spec.has_window = s.window > 0 ? 1 : 0;
  spec.window_left = s.window > 0 ? s.window - 1 : 0;
  pagoda_limits limits = PAGODA_INIT(pagoda_limits);
  limits.max_reqs = s.num_reqs;
  limits.max_tokens = static_cast<int32_t>(tokens);
  limits.max_query_len = s.query_len;
  limits.max_seq_len = s.seq_len;
  limits.num_pages = pages;
  pagoda_tuning tuning = PAGODA_INIT(pagoda_tuning);
  tuning.cascade = s.cascade;
  check(pagoda_plan_create(p.context, &spec, &limits, &tuning, &p.plan));

  // Pages in an order that no prefetcher of the machine can guess.
  std::vector<int32_t> ids(static_cast<size_t>(pages));
  std::iota(ids.begin(), ids.end(), 0);
  for (int64_t i = pages - 1; i > 0; --i) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    std::swap(ids[static_cast<size_t>(i)], ids[(seed >> 33) % static_cast<uint64_t>(i + 1)]);
  }
  for (int32_t r = 0; r < s.num_reqs; ++r) {
    const auto own = ids.begin() + shared_pages + int64_t{r} * own_pages;
    p.page_table.insert(p.page_table.end(), ids.begin(), ids.begin() + shared_pages);
    p.page_table.insert(p.page_table.end(), own, own + own_pages);
  }
  for (int32_t r = 0; r < s.num_reqs; ++r) {
    p.query_start_loc.push_back((r + 1) * s.query_len);
    p.seq_lens.push_back(s.seq_len);
    for (int32_t i = s.seq_len - s.query_len; i < s.seq_len; ++i)
      p.slots.push_back(
          int64_t{p.page_table[static_cast<size_t>(r * pages_of_request + i / s.page_size)]} *
              s.page_size +
          i % s.page_size);
  }
  p.slopes.assign(static_cast<size_t>(s.num_heads), 0.05f);
  p.sinks.assign(static_cast<size_t>(s.num_heads), 0.5f);
  p.lse.resize(static_cast<size_t>(s.num_heads * tokens));
  const std::vector<int64_t> rows{query_row, s.head_dim, 1}, kv_rows{row, s.head_dim, 1};
  const std::vector<int64_t> cache_stride =
      s.hnd ? std::vector<int64_t>{page, s.head_dim, int64_t{s.page_size} * s.head_dim, 1}
            : std::vector<int64_t>{page, row, s.head_dim, 1};
  p.query_tensor = tensor(s.dtype, p.query.data, {tokens, s.num_heads, s.head_dim}, rows);
  p.out_tensor = tensor(s.dtype, p.out.data, {tokens, s.num_heads, s.head_dim}, rows);
  p.key_tensor = tensor(s.dtype, p.key.data, {tokens, s.num_kv_heads, s.head_dim}, kv_rows);
  p.value_tensor = tensor(s.dtype, p.value.data, {tokens, s.num_kv_heads, s.head_dim}, kv_rows);
  const std::vector<int64_t> cache_shape{pages, s.page_size, s.num_kv_heads, s.head_dim};
  p.key_cache = tensor(code_of(s, false), p.keys.data, cache_shape, cache_stride);
  p.value_cache = tensor(code_of(s, true), p.values.data, cache_shape, cache_stride);
  make_scales(s);

  const size_t size = pagoda_plan_workspace_size(p.plan);
  p.workspace.~Buffer();
  new (&p.workspace) Buffer(size);
  pagoda_batch& batch = p.batch;
  batch = PAGODA_INIT(pagoda_batch);
  batch.num_reqs = s.num_reqs;
  batch.num_tokens = static_cast<int32_t>(tokens);
  batch.query_start_loc = p.query_start_loc.data();
  batch.seq_lens = p.seq_lens.data();
  batch.page_table = p.page_table.data();
  batch.page_table_stride = batch.page_table_width = pages_of_request;
  batch.slot_mapping = p.slots.data();
  if (!s.mask.empty()) {
    MaskOptions mask;
    mask.num_heads = s.num_heads;
    mask.num_kv_heads = s.num_kv_heads;
    mask.max_reqs = s.num_reqs;
    mask.max_tokens = static_cast<int32_t>(tokens);
    mask.max_seq_len = s.seq_len;
    p.masks.emplace(p.mask.emplace(Expression::mask(s.mask)), mask);
    Batch own;
    static_cast<pagoda_batch&>(own) = batch;
    batch.block_mask = &p.masks->build(own);
  }
  prepare();
}

void LayerRun::prepare() {
  Parts& p = *parts_;
  check(pagoda_plan_prepare(p.plan, &p.batch, p.workspace.data, p.workspace.size, nullptr));
}

// Of heads, of heads and channels, or of tokens: planes beside each copy of the cache, a head's of
// a page together.
void LayerRun::make_scales(const Shape& s) {
  Parts& p = *parts_;
  const auto all = static_cast<size_t>(p.copies * p.pages * p.scale_page);
  p.key_scales.assign(all, 0.01f);
  p.value_scales.assign(std::max(all, static_cast<size_t>(s.num_kv_heads * s.head_dim)), 0.01f);
  const std::vector<int64_t> plane{p.pages, s.page_size, s.num_kv_heads};
  const std::vector<int64_t> plane_stride{p.scale_page, 1, s.page_size};
  p.key_scale = tensor(PAGODA_F32, p.key_scales.data(), plane, plane_stride);
  p.value_scale = tensor(PAGODA_F32, p.value_scales.data(), plane, plane_stride);
  if (s.kv_format == PAGODA_KV_FP8_E4M3)
    p.key_scale = p.value_scale =
        tensor(PAGODA_F32, p.key_scales.data(), {s.num_kv_heads}, {int64_t{1}});
  if (s.kv_format == PAGODA_KV_INT8_CHANNEL_V)
    p.value_scale =
        tensor(PAGODA_F32, p.value_scales.data(), {s.num_kv_heads, s.head_dim}, {s.head_dim, 1});
}

LayerRun::~LayerRun() {
  pagoda_plan_destroy(parts_->plan);
  pagoda_context_destroy(parts_->context);
  delete parts_;
}

void LayerRun::forward() {
  Parts& p = *parts_;
  const int64_t page = p.next * p.pages;
  p.next = (p.next + 1) % p.copies;
  p.key_cache.data = p.keys.data + page * p.key_page_bytes;
  p.value_cache.data = p.values.data + page * p.value_page_bytes;
  if (p.key_scale.num_dims == 3) p.key_scale.data = p.key_scales.data() + page * p.scale_page;
  if (p.value_scale.num_dims == 3) p.value_scale.data = p.value_scales.data() + page * p.scale_page;
  const pagoda_layer layer = p.layer(shape_);
  check(pagoda_forward(p.plan, &layer, &p.query_tensor, nullptr, nullptr, &p.out_tensor, nullptr,
                       nullptr));
}

void LayerRun::update_cache() {
  Parts& p = *parts_;
  const pagoda_layer layer = p.layer(shape_);
  check(pagoda_update_cache(p.plan, &layer, &p.key_tensor, &p.value_tensor, nullptr));
}

double LayerRun::flops() const {
  double pairs = 0;
  for (int32_t i = shape_.seq_len - shape_.query_len; i < shape_.seq_len; ++i)
    pairs += shape_.window > 0 ? std::min(i + 1, shape_.window) : i + 1;
  return 4.0 * shape_.num_reqs * shape_.num_heads * shape_.head_dim * pairs;
}

// Of keys and values of one token, without scales.
int64_t LayerRun::token_bytes() const {
  const Elements elements = elements_of(shape_);
  return (elements.key + elements.value) * shape_.num_kv_heads * shape_.head_dim;
}

double LayerRun::cache_bytes() const {
  return static_cast<double>(token_bytes() * shape_.num_reqs) * shape_.seq_len;
}

double LayerRun::written_bytes() const {
  return static_cast<double>(token_bytes() * shape_.num_reqs) * shape_.query_len;
}

}  // namespace pagoda::bench
