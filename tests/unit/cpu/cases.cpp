#include "cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <sstream>

#include "core/dtype.h"
#include "core/mask.h"
#include "core/score.h"

namespace pagoda::test {
namespace {

enum Kind : uint32_t { kQuery = 1, kKey, kValue, kSlope, kSink };

constexpr int32_t kSparePages = 3;

// A number of about the size of a normal deviate, as the dtype holds it.
float number(const Case& c, Kind kind, int32_t id, int32_t token, int32_t head, int32_t dim) {
  if (token == c.bad_token && kind != kQuery) return NAN;
  float sum = 0;
  const uint32_t h =
      hash_of(c.seed * 8 + kind, static_cast<uint32_t>(id), static_cast<uint32_t>(token),
              static_cast<uint32_t>(head), static_cast<uint32_t>(dim));
  for (int i = 0; i < 4; ++i) sum += static_cast<float>((h >> (8 * i)) & 255) / 255 - 0.5f;
  const float value = sum * 1.7f * (kind == kValue ? 1.0f : c.amplitude);
  uint8_t bytes[4];
  encode(c.dtype, value, bytes, 0);
  return decode(c.dtype, bytes, 0);
}

float slope_of(const Case& c, int32_t head) {
  return 0.5f / static_cast<float>(1 + hash_of(c.seed, kSlope, static_cast<uint32_t>(head)) % 16);
}
float sink_of(const Case& c, int32_t head) {
  return static_cast<float>(hash_of(c.seed, kSink, static_cast<uint32_t>(head)) % 64) / 16 - 2;
}

pagoda_tensor tensor(pagoda_dtype dtype, void* data, std::vector<int64_t> shape,
                     std::vector<int64_t> stride) {
  pagoda_tensor t = PAGODA_INIT(pagoda_tensor);
  t.dtype = dtype;
  t.data = data;
  t.num_dims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), t.shape);
  std::copy(stride.begin(), stride.end(), t.stride);
  return t;
}

void check(pagoda_status status) {
  if (status != PAGODA_OK) throw std::runtime_error(pagoda_last_error());
}

struct Destroy {
  void operator()(pagoda_context* it) const { pagoda_context_destroy(it); }
  void operator()(pagoda_plan* it) const { pagoda_plan_destroy(it); }
};

// Everything that a step reads, with poison in all that it must not use.
class Memory {
 public:
  Memory(const Case& c, const RunOptions& options) : c_(c), options_(options) {
    place_tokens();
    fill_queries();
    c.page_size > 0 ? fill_pages() : fill_rows();
    for (int32_t h = 0; h < c.num_heads; ++h) {
      slopes.push_back(slope_of(c, h));
      sinks.push_back(sink_of(c, h));
    }
  }

  pagoda_batch batch() const {
    pagoda_batch b = PAGODA_INIT(pagoda_batch);
    b.num_reqs = static_cast<int32_t>(c_.requests.size());
    b.num_tokens = c_.num_tokens();
    b.query_start_loc = query_start_loc.data();
    b.seq_lens = seq_lens.data();
    if (c_.page_size > 0) {
      b.page_table = page_table.data();
      b.page_table_stride = table_width;
      b.page_table_width = table_width;
    } else {
      b.key_start_loc = key_start_loc.data();
    }
    if (c_.per_request_causal) b.causal = causal.data();
    return b;
  }

  std::vector<int32_t> query_start_loc{0}, key_start_loc{0}, seq_lens, page_table;
  std::vector<uint8_t> causal, query, key, value;
  std::vector<float> slopes, sinks;
  pagoda_tensor key_tensor{}, value_tensor{};
  int32_t num_pages = 1, table_width = 1;

 private:
  std::vector<uint8_t> poisoned(int64_t elements) const {
    return std::vector<uint8_t>(static_cast<size_t>(elements) * element_size(c_.dtype),
                                options_.poison);
  }

  void place_tokens() {
    for (const Request& r : c_.requests) {
      query_start_loc.push_back(query_start_loc.back() + r.query_len);
      key_start_loc.push_back(key_start_loc.back() + r.seq_len);
      seq_lens.push_back(r.seq_len);
      causal.push_back(r.causal ? 1 : 0);
    }
  }

  void fill_queries() {
    const int64_t row = int64_t{c_.num_heads} * c_.head_dim;
    query = poisoned(row * c_.num_tokens());
    int64_t token = 0;
    for (const Request& r : c_.requests)
      for (int32_t i = 0; i < r.query_len; ++i, ++token)
        for (int32_t h = 0; h < c_.num_heads; ++h)
          for (int32_t d = 0; d < c_.head_dim; ++d)
            encode(c_.dtype, number(c_, kQuery, r.id, r.seq_len - r.query_len + i, h, d),
                   query.data(), token * row + h * c_.head_dim + d);
  }

  void fill_row(const Request& r, int32_t token, int64_t key_row, int64_t key_head,
                int64_t value_row, int64_t value_head) {
    for (int32_t h = 0; h < c_.num_kv_heads; ++h) {
      for (int32_t d = 0; d < c_.head_dim; ++d)
        encode(c_.dtype, number(c_, kKey, r.id, token, h, d), key.data(),
               key_row + h * key_head + d);
      for (int32_t d = 0; d < c_.head_dim_v; ++d)
        encode(c_.dtype, number(c_, kValue, r.id, token, h, d), value.data(),
               value_row + h * value_head + d);
    }
  }

  void fill_pages() {
    for (const Request& r : c_.requests) {
      const int32_t pages = (r.seq_len + c_.page_size - 1) / c_.page_size;
      table_width = std::max(table_width, pages + 2);
      num_pages += pages;
    }
    num_pages += kSparePages;
    std::vector<int32_t> order(static_cast<size_t>(num_pages - 1));
    std::iota(order.begin(), order.end(), 1);
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[hash_of(options_.page_seed, static_cast<uint32_t>(i)) % i]);
    set_cache_tensors();
    page_table.assign(c_.requests.size() * static_cast<size_t>(table_width), INT32_MIN);
    size_t used = 0;
    for (size_t i = 0; i < c_.requests.size(); ++i)
      for (int32_t token = 0; token < c_.requests[i].seq_len; ++token) {
        int32_t& page = page_table[i * static_cast<size_t>(table_width) +
                                   static_cast<size_t>(token / c_.page_size)];
        if (token % c_.page_size == 0) page = order[used++];
        const pagoda_tensor &k = key_tensor, &v = value_tensor;
        const int32_t offset = token % c_.page_size;
        fill_row(c_.requests[i], token, page * k.stride[0] + offset * k.stride[1], k.stride[2],
                 page * v.stride[0] + offset * v.stride[1] + value_shift_, v.stride[2]);
      }
    if (c_.layout == Layout::packed_kv) merge_packed();
  }

  // [num_pages, page_size, num_kv_heads, dim] in one of the orders that caches have.
  void set_cache_tensors() {
    const int64_t heads = c_.num_kv_heads, size = c_.page_size, dk = c_.head_dim,
                  dv = c_.head_dim_v;
    const auto strides = [&](int64_t dim, int64_t page_padding) -> std::vector<int64_t> {
      const int64_t page = size * heads * dim + page_padding;
      if (c_.layout == Layout::hnd) return {page, dim, size * dim, 1};
      return {page, heads * dim, dim, 1};
    };
    std::vector<int64_t> ks = strides(dk, 24), vs = strides(dv, 0);
    int64_t key_elements = num_pages * ks[0], value_elements = num_pages * vs[0];
    if (c_.layout == Layout::packed_kv) {
      ks = vs = strides(dk + dv, 0);
      key_elements = value_elements = num_pages * ks[0];
      value_shift_ = dk;
    }
    key = poisoned(key_elements);
    value = poisoned(value_elements);
    key_tensor = tensor(c_.dtype, key.data(), {num_pages, size, heads, dk}, ks);
    value_tensor = tensor(c_.dtype, value.data(), {num_pages, size, heads, dv}, vs);
  }

  // One buffer holds both: the values written into their own are moved over.
  void merge_packed() {
    const size_t element = element_size(c_.dtype);
    const auto dk = static_cast<size_t>(c_.head_dim), dv = static_cast<size_t>(c_.head_dim_v);
    for (size_t row = 0; row < key.size() / element / (dk + dv); ++row)
      std::memcpy(key.data() + (row * (dk + dv) + dk) * element,
                  value.data() + (row * (dk + dv) + dk) * element, dv * element);
    value_tensor.data = key.data() + dk * element;
  }

  void fill_rows() {
    const int64_t rows = key_start_loc.back() + 1;
    const int64_t dk = c_.head_dim, dv = c_.head_dim_v, heads = c_.num_kv_heads;
    key = poisoned(rows * heads * dk);
    value = poisoned(rows * heads * dv);
    for (size_t i = 0; i < c_.requests.size(); ++i)
      for (int32_t token = 0; token < c_.requests[i].seq_len; ++token) {
        const int64_t row = key_start_loc[i] + token;
        fill_row(c_.requests[i], token, row * heads * dk, dk, row * heads * dv, dv);
      }
    key_tensor = tensor(c_.dtype, key.data(), {rows, heads, dk}, {heads * dk, dk, 1});
    value_tensor = tensor(c_.dtype, value.data(), {rows, heads, dv}, {heads * dv, dv, 1});
  }

  const Case& c_;
  const RunOptions& options_;
  int64_t value_shift_ = 0;
};

pagoda_spec spec_of(const Case& c) {
  pagoda_spec spec = PAGODA_INIT(pagoda_spec);
  spec.num_heads = c.num_heads;
  spec.num_kv_heads = c.num_kv_heads;
  spec.head_dim = c.head_dim;
  spec.head_dim_v = c.head_dim_v;
  spec.dtype = c.dtype;
  spec.page_size = c.page_size;
  spec.softmax_scale = c.scale;
  spec.logit_softcap = c.softcap;
  spec.causal = c.causal ? 1 : 0;
  if (c.has_window()) {
    spec.has_window = 1;
    spec.window_left = std::max(c.window_left, -1);
    spec.window_right = std::max(c.window_right, -1);
  }
  spec.alibi = c.alibi;
  spec.has_sinks = c.sinks ? 1 : 0;
  return spec;
}

pagoda_limits limits_of(const Case& c, int64_t num_pages) {
  pagoda_limits limits = PAGODA_INIT(pagoda_limits);
  limits.max_reqs = std::max(1, static_cast<int32_t>(c.requests.size()));
  limits.max_tokens = std::max(1, c.num_tokens());
  limits.max_seq_len = 1;
  for (const Request& r : c.requests) limits.max_seq_len = std::max(limits.max_seq_len, r.seq_len);
  limits.num_pages = num_pages;
  return limits;
}

std::unique_ptr<pagoda_context, Destroy> make_context(const RunOptions& options) {
  pagoda_context_options context_options = PAGODA_INIT(pagoda_context_options);
  context_options.backend = options.backend.c_str();
  context_options.num_threads = options.num_threads;
  context_options.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  pagoda_context* context = nullptr;
  check(pagoda_context_create(&context_options, &context));
  return std::unique_ptr<pagoda_context, Destroy>(context);
}

Mask mask_of(const Case& c) {
  Mask mask{.causal = c.causal};
  if (c.has_window()) {
    mask.window_left = std::max(c.window_left, -1);
    mask.window_right = std::max(c.window_right, -1);
  }
  return mask;
}

// The attention of one query token and head by the formulas of pagoda.h.
Row formula_of_row(const Case& c, const Request& r, int32_t position, int32_t head) {
  const int32_t kv_head = head / (c.num_heads / c.num_kv_heads);
  const Mask mask = mask_of_request(mask_of(c), c.per_request_causal ? r.causal : c.causal);
  const KeyRange range = visible_keys(mask, position, r.seq_len);
  const float scale = c.scale != 0 ? c.scale : static_cast<float>(1 / std::sqrt(c.head_dim * 1.0));
  const Score score{scale, c.softcap, static_cast<Alibi>(c.alibi)};
  Row row{.out = std::vector<double>(static_cast<size_t>(c.head_dim_v)),
          .weight = std::vector<double>(static_cast<size_t>(c.head_dim_v))};
  row.keys = std::max(0, range.end - range.begin);
  std::vector<double> s;
  double m = c.sinks ? sink_of(c, head) : -INFINITY;
  std::vector<double> query;
  for (int32_t d = 0; d < c.head_dim; ++d)
    query.push_back(static_cast<double>(number(c, kQuery, r.id, position, head, d)));
  for (int32_t j = range.begin; j < range.end; ++j) {
    double dot = 0, size = 0;
    for (int32_t d = 0; d < c.head_dim; ++d) {
      const double product =
          query[static_cast<size_t>(d)] * static_cast<double>(number(c, kKey, r.id, j, kv_head, d));
      dot += product;
      size += std::fabs(product);
    }
    s.push_back(logit<double>(score, dot, slope_of(c, head), position, j));
    const double bias = std::fabs(alibi_bias<double>(score.alibi, slope_of(c, head), position, j));
    row.logit_error = std::max(row.logit_error, (c.head_dim + 8) * 0x1p-24 * scale * size +
                                                    0x1p-23 * (bias + std::fabs(s.back())) +
                                                    0x1p-22 * static_cast<double>(c.softcap));
    m = std::max(m, s.back());
  }
  double l = c.sinks ? std::exp(sink_of(c, head) - m) : 0;
  for (double logit : s) l += std::exp(logit - m);
  row.lse = l > 0 ? m + std::log(l) : -INFINITY;
  for (int32_t j = range.begin; j < range.end; ++j) {
    const double p = std::exp(s[static_cast<size_t>(j - range.begin)] - m) / l;
    for (int32_t d = 0; d < c.head_dim_v; ++d) {
      const double v = number(c, kValue, r.id, j, kv_head, d);
      row.out[static_cast<size_t>(d)] += p * v;
      row.weight[static_cast<size_t>(d)] += p * std::fabs(v);
    }
  }
  return row;
}

std::string compare_row(const Case& c, const Row& want, const Result& got, int64_t token,
                        int64_t head, double weight_error) {
  std::ostringstream text;
  const double unit = c.dtype == PAGODA_F32 ? 0x1p-24 : c.dtype == PAGODA_F16 ? 0x1p-11 : 0x1p-8;
  const double relative =
      2 * want.logit_error + (8 + 4 * std::sqrt(want.keys)) * 0x1p-24 + weight_error;
  const double lse = got.lse[static_cast<size_t>(head * c.num_tokens() + token)];
  const bool same = lse == want.lse;
  const double lse_bound = want.logit_error + 0x1p-20 * std::max(1.0, std::fabs(want.lse));
  if (!same && !(std::fabs(lse - want.lse) <= lse_bound))
    text << "token " << token << " head " << head << ": lse " << lse << ", want " << want.lse
         << "; ";
  for (int32_t d = 0; d < c.head_dim_v; ++d) {
    const double have =
        decode(c.dtype, got.out.data(), (token * c.num_heads + head) * c.head_dim_v + d);
    const double exact = want.out[static_cast<size_t>(d)];
    const double bound =
        relative * want.weight[static_cast<size_t>(d)] + unit * std::fabs(exact) * 1.01 + 0x1p-25;
    if (want.keys == 0 ? have != 0 || std::signbit(have) : !(std::fabs(have - exact) <= bound)) {
      text << "token " << token << " head " << head << " dim " << d << ": " << have << ", want "
           << exact << " within " << bound;
      break;
    }
  }
  return text.str();
}

}  // namespace

int32_t Case::num_tokens() const {
  int32_t tokens = padding_tokens;
  for (const Request& r : requests) tokens += r.query_len;
  return tokens;
}

uint32_t hash_of(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e) {
  uint64_t h = 0x9e3779b97f4a7c15ull;
  for (uint32_t x : {a, b, c, d, e}) {
    h = (h ^ x) * 0xbf58476d1ce4e5b9ull;
    h ^= h >> 29;
  }
  h *= 0x94d049bb133111ebull;
  return static_cast<uint32_t>(h >> 32);
}

size_t element_size(pagoda_dtype dtype) {
  return size_of(dtype);
}

float decode(pagoda_dtype dtype, const uint8_t* bytes, int64_t index) {
  if (dtype == PAGODA_F32) {
    float value;
    std::memcpy(&value, bytes + index * 4, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes + index * 2, 2);
  return dtype == PAGODA_F16 ? to_float(Half{bits}) : to_float(Bfloat16{bits});
}

void encode(pagoda_dtype dtype, float value, uint8_t* bytes, int64_t index) {
  if (dtype == PAGODA_F32) {
    std::memcpy(bytes + index * 4, &value, 4);
    return;
  }
  const uint16_t bits =
      dtype == PAGODA_F16 ? from_float<Half>(value).bits : from_float<Bfloat16>(value).bits;
  std::memcpy(bytes + index * 2, &bits, 2);
}

Result run(const Case& c, const RunOptions& options) {
  const Memory memory(c, options);
  const auto context = make_context(options);
  const pagoda_spec spec = spec_of(c);
  const pagoda_limits limits = limits_of(c, memory.num_pages);
  pagoda_tuning tuning = PAGODA_INIT(pagoda_tuning);
  tuning.num_splits = options.num_splits;
  pagoda_plan* raw_plan = nullptr;
  check(pagoda_plan_create(context.get(), &spec, &limits, &tuning, &raw_plan));
  const std::unique_ptr<pagoda_plan, Destroy> plan(raw_plan);
  const size_t size = pagoda_plan_workspace_size(plan.get());
  const std::unique_ptr<void, decltype(&std::free)> workspace(
      std::aligned_alloc(256, (size + 511) / 256 * 256), std::free);
  std::memset(workspace.get(), options.poison, size);

  Result result;
  const int64_t tokens = c.num_tokens(), heads = c.num_heads, dim = c.head_dim_v;
  result.out.assign(static_cast<size_t>(tokens * heads * dim) * element_size(c.dtype),
                    options.poison);
  result.lse.assign(static_cast<size_t>(tokens * heads), NAN);
  const pagoda_batch batch = memory.batch();
  check(pagoda_plan_prepare(plan.get(), &batch, workspace.get(), size, nullptr));
  pagoda_layer layer = PAGODA_INIT(pagoda_layer);
  if (c.alibi != PAGODA_ALIBI_NONE) layer.alibi_slopes = memory.slopes.data();
  if (c.sinks) layer.sinks = memory.sinks.data();
  const bool paged = c.page_size > 0;
  if (paged) {
    layer.key_cache = &memory.key_tensor;
    layer.value_cache = &memory.value_tensor;
  }
  const int64_t dk = c.head_dim;
  const pagoda_tensor query = tensor(c.dtype, const_cast<uint8_t*>(memory.query.data()),
                                     {tokens, heads, dk}, {heads * dk, dk, 1});
  const pagoda_tensor out =
      tensor(c.dtype, result.out.data(), {tokens, heads, dim}, {heads * dim, dim, 1});
  const pagoda_tensor lse =
      tensor(PAGODA_F32, result.lse.data(), {heads, tokens}, {std::max<int64_t>(tokens, 1), 1});
  check(pagoda_forward(plan.get(), &layer, &query, paged ? nullptr : &memory.key_tensor,
                       paged ? nullptr : &memory.value_tensor, &out, &lse, nullptr));
  return result;
}

Result tokens_of(const Case& c, const Result& result, int32_t begin, int32_t end) {
  const size_t row = static_cast<size_t>(c.num_heads * c.head_dim_v) * element_size(c.dtype);
  Result part;
  part.out.assign(result.out.begin() + static_cast<std::ptrdiff_t>(row) * begin,
                  result.out.begin() + static_cast<std::ptrdiff_t>(row) * end);
  for (int32_t h = 0; h < c.num_heads; ++h)
    for (int32_t t = begin; t < end; ++t)
      part.lse.push_back(result.lse[static_cast<size_t>(h * c.num_tokens() + t)]);
  return part;
}

Result rows_of_request(const Case& c, const Result& result, size_t request) {
  int32_t begin = 0;
  for (size_t i = 0; i < request; ++i) begin += c.requests[i].query_len;
  return tokens_of(c, result, begin, begin + c.requests[request].query_len);
}

std::vector<Row> formula(const Case& c) {
  std::vector<Row> rows;
  for (const Request& r : c.requests)
    for (int32_t i = 0; i < r.query_len; ++i)
      for (int32_t h = 0; h < c.num_heads; ++h)
        rows.push_back(formula_of_row(c, r, r.seq_len - r.query_len + i, h));
  const auto dim = static_cast<size_t>(c.head_dim_v);
  const Row none{
      .out = std::vector<double>(dim), .weight = std::vector<double>(dim), .lse = -INFINITY};
  for (int32_t i = 0; i < c.padding_tokens * c.num_heads; ++i) rows.push_back(none);
  return rows;
}

double weight_error(const Case& c, const std::string& isa) {
  if (isa == "amx_fp16" && c.dtype == PAGODA_F16) return 0x1p-11;
  return (isa == "amx" || isa == "amx_fp16") && c.dtype == PAGODA_BF16 ? 0x1p-8 : 0;
}

std::string compare_with_formula(const Case& c, const std::vector<Row>& formula,
                                 const Result& result, double weight_error) {
  for (size_t i = 0; i < formula.size(); ++i) {
    const auto heads = static_cast<size_t>(c.num_heads);
    const std::string wrong = compare_row(c, formula[i], result, static_cast<int64_t>(i / heads),
                                          static_cast<int64_t>(i % heads), weight_error);
    if (!wrong.empty()) return wrong;
  }
  return {};
}

std::string compare_bits(const Result& a, const Result& b) {
  std::ostringstream text;
  if (a.out.size() != b.out.size() || a.lse.size() != b.lse.size()) return "different sizes";
  for (size_t i = 0; i < a.out.size(); ++i)
    if (a.out[i] != b.out[i]) {
      text << "out byte " << i << ": " << int{a.out[i]} << " and " << int{b.out[i]};
      return text.str();
    }
  if (std::memcmp(a.lse.data(), b.lse.data(), a.lse.size() * sizeof(float)) == 0) return {};
  for (size_t i = 0; i < a.lse.size(); ++i)
    if (std::memcmp(&a.lse[i], &b.lse[i], sizeof(float)) != 0) {
      text << "lse " << i << ": " << a.lse[i] << " and " << b.lse[i];
      break;
    }
  return text.str();
}

Case random_case(uint32_t seed) {
  uint32_t count = 0;
  const auto draw = [&](uint32_t n) { return static_cast<int32_t>(hash_of(seed, ++count) % n); };
  Case c{.seed = seed};
  constexpr int32_t kGroups[] = {1, 2, 3, 4, 5, 7, 8, 12};
  c.num_kv_heads = 1 + draw(3);
  c.num_heads = c.num_kv_heads * kGroups[draw(8)];
  c.head_dim = 8 * (1 + draw(draw(8) == 0 ? 64 : 16));
  c.head_dim_v = draw(3) == 0 ? 8 * (1 + draw(draw(8) == 0 ? 64 : 16)) : c.head_dim;
  c.dtype = static_cast<pagoda_dtype>(draw(3));
  c.page_size = 8 * draw(9);
  c.layout = static_cast<Layout>(draw(3));
  c.softcap = draw(4) == 0 ? 5.0f * static_cast<float>(1 + draw(6)) : 0;
  c.scale = draw(4) == 0 ? 0.1f * static_cast<float>(1 + draw(9)) : 0;
  c.causal = draw(4) != 0;
  if (draw(3) == 0) {
    c.window_left = draw(3) == 0 ? -1 : draw(100);
    c.window_right = draw(3) == 0 ? -1 : draw(60);
  }
  c.alibi = static_cast<pagoda_alibi>(std::max(0, draw(6) - 3));
  c.sinks = draw(4) == 0;
  c.per_request_causal = draw(6) == 0;
  c.padding_tokens = draw(3) == 0 ? draw(5) : 0;
  c.amplitude = draw(6) == 0 ? 4.0f : 1.0f;
  const int32_t num_requests = 1 + draw(4);
  for (int32_t i = 0; i < num_requests; ++i) {
    Request r{.id = i, .causal = draw(2) == 0};
    r.query_len = draw(3) == 0 ? 1 + draw(40) : draw(3);
    r.seq_len = draw(8) == 0 ? draw(4) : r.query_len + draw(draw(4) == 0 ? 700 : 90);
    c.requests.push_back(r);
  }
  return c;
}

std::string text_of(const Case& c) {
  std::ostringstream text;
  text << "seed " << c.seed << ": heads " << c.num_heads << "/" << c.num_kv_heads << " dims "
       << c.head_dim << "/" << c.head_dim_v << " " << name_of(c.dtype) << " page " << c.page_size
       << " layout " << static_cast<int>(c.layout) << " scale " << c.scale << " cap " << c.softcap
       << " causal " << c.causal << " window " << c.window_left << "," << c.window_right
       << " alibi " << c.alibi << " sinks " << c.sinks << " own causal " << c.per_request_causal
       << " padding " << c.padding_tokens << " requests";
  for (const Request& r : c.requests)
    text << " " << r.query_len << "/" << r.seq_len << (r.causal ? "" : "n");
  return text.str();
}

std::vector<std::string> isas_here() {
  std::vector<std::string> found;
  for (const char* isa : {"scalar", "avx2", "avx512", "amx", "amx_fp16", "neon"}) {
    pagoda_context_options options = PAGODA_INIT(pagoda_context_options);
    options.backend = "cpu";
    options.num_threads = 1;
    options.isa = isa;
    pagoda_context* context = nullptr;
    if (pagoda_context_create(&options, &context) == PAGODA_OK) found.emplace_back(isa);
    pagoda_context_destroy(context);
  }
  return found;
}

}  // namespace pagoda::test
