#include "layer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <optional>
#include <pagoda/mask.hpp>
#include <stdexcept>

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
    if (dtype == PAGODA_F32) word = (word & 0x807fffff807fffffull) | 0x3f0000003f000000ull;
    std::memcpy(data + i, &word, 8);
  }
}

struct Buffer {
  uint8_t* data = nullptr;
  size_t size = 0;

  explicit Buffer(size_t bytes) : size((bytes + 4095) / 4096 * 4096) {
    data = static_cast<uint8_t*>(std::aligned_alloc(4096, std::max<size_t>(size, 4096)));
    if (data == nullptr) throw std::bad_alloc();
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
  int64_t tokens = 0, pages = 0, page_bytes = 0;
  std::vector<int32_t> query_start_loc{0}, seq_lens, page_table;
  std::vector<int64_t> slots;
  std::vector<float> slopes, sinks, lse;
  Buffer query, out, key, value, keys, values, workspace;
  pagoda_tensor query_tensor, out_tensor, key_tensor, value_tensor, key_cache, value_cache;
  pagoda_batch batch{};
  int32_t copies = 1, next = 0;

  Parts(size_t q, size_t kv, size_t cache)
      : query(q), out(q), key(kv), value(kv), keys(cache), values(cache), workspace(0) {}
};

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
                     static_cast<size_t>(copies * pages * page * element));
  Parts& p = *parts_;
  p.tokens = tokens;
  p.pages = pages;
  p.page_bytes = page * element;
  p.copies = copies;
  uint64_t seed = 1;
  for (Buffer* b : {&p.query, &p.key, &p.value, &p.keys, &p.values})
    fill(s.dtype, b->data, b->size, seed++);

  pagoda_context_options options = PAGODA_INIT(pagoda_context_options);
  options.backend = "cpu";
  options.num_threads = num_threads;
  options.isa = isa.empty() ? nullptr : isa.c_str();
  check(pagoda_context_create(&options, &p.context));
  pagoda_spec spec = PAGODA_INIT(pagoda_spec);
  spec.num_heads = s.num_heads;
  spec.num_kv_heads = s.num_kv_heads;
  spec.head_dim = s.head_dim;
  spec.dtype = s.dtype;
  spec.page_size = s.page_size;
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
  p.key_cache = tensor(s.dtype, p.keys.data, cache_shape, cache_stride);
  p.value_cache = tensor(s.dtype, p.values.data, cache_shape, cache_stride);

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

LayerRun::~LayerRun() {
  pagoda_plan_destroy(parts_->plan);
  pagoda_context_destroy(parts_->context);
  delete parts_;
}

void LayerRun::forward() {
  Parts& p = *parts_;
  const int64_t offset = p.next * p.pages * p.page_bytes;
  p.next = (p.next + 1) % p.copies;
  p.key_cache.data = p.keys.data + offset;
  p.value_cache.data = p.values.data + offset;
  pagoda_layer layer = PAGODA_INIT(pagoda_layer);
  layer.key_cache = &p.key_cache;
  layer.value_cache = &p.value_cache;
  if (shape_.alibi) layer.alibi_slopes = p.slopes.data();
  if (shape_.sinks) layer.sinks = p.sinks.data();
  check(pagoda_forward(p.plan, &layer, &p.query_tensor, nullptr, nullptr, &p.out_tensor, nullptr,
                       nullptr));
}

void LayerRun::update_cache() {
  Parts& p = *parts_;
  pagoda_layer layer = PAGODA_INIT(pagoda_layer);
  layer.key_cache = &p.key_cache;
  layer.value_cache = &p.value_cache;
  if (shape_.alibi) layer.alibi_slopes = p.slopes.data();
  if (shape_.sinks) layer.sinks = p.sinks.data();
  check(pagoda_update_cache(p.plan, &layer, &p.key_tensor, &p.value_tensor, nullptr));
}

double LayerRun::flops() const {
  double pairs = 0;
  for (int32_t i = shape_.seq_len - shape_.query_len; i < shape_.seq_len; ++i)
    pairs += shape_.window > 0 ? std::min(i + 1, shape_.window) : i + 1;
  return 4.0 * shape_.num_reqs * shape_.num_heads * shape_.head_dim * pairs;
}

double LayerRun::cache_bytes() const {
  const int64_t element = shape_.dtype == PAGODA_F32 ? 4 : 2;
  return 2.0 * static_cast<double>(element * shape_.num_reqs) * shape_.num_kv_heads *
         shape_.head_dim * shape_.seq_len;
}

double LayerRun::written_bytes() const {
  const int64_t element = shape_.dtype == PAGODA_F32 ? 4 : 2;
  return 2.0 * static_cast<double>(element * shape_.num_reqs) * shape_.num_kv_heads *
         shape_.head_dim * shape_.query_len;
}

}  // namespace pagoda::bench
