#include "mask_case.h"

#include <algorithm>
#include <limits>

#include "src/mask/evaluate.h"
#include "src/mask/program.h"
#include "tests/unit/mask/random_expr.h"

namespace pagoda::conformance {

MaskNames::MaskNames(uint64_t seed) : bindings_(mask::test_symbols()) {
  Random random(seed);
  n_ = random.between(-5, 60);
  m_ = random.between(0, 9);
  x_ = static_cast<float>(random.between(0, 100)) / 4;
  for (int i = 0; i < 700; ++i) a_.push_back(random.between(0, 15));
  if (random.chance(0.5)) std::sort(a_.begin(), a_.end());
  for (int i = 0; i < 600; ++i) b_.push_back(random.between(-10, 40));
  for (int i = 0; i < 120; ++i) c_.push_back(static_cast<int32_t>(random.bits()));
  for (int i = 0; i < 90; ++i) f_.push_back(static_cast<float>(random.between(-100, 100)) / 16);
  bindings_.set("n", n_);
  bindings_.set("m", m_);
  bindings_.set("x", x_);
  bindings_.set_table("a", a_.data(), {700}, -1);
  bindings_.set_table("b", b_.data(), {20, 30}, -3);
  bindings_.set_table("c", c_.data(), {4, 5, 6}, 7);
  bindings_.set_table("f", f_.data(), {90}, 0.5f);
}

std::vector<pagoda_name> MaskNames::declared() const {
  return {{"n", PAGODA_NAME_INT, 0},   {"m", PAGODA_NAME_INT, 0}, {"x", PAGODA_NAME_FLOAT, 0},
          {"a", PAGODA_NAME_INT, 1},   {"b", PAGODA_NAME_INT, 2}, {"c", PAGODA_NAME_INT, 3},
          {"f", PAGODA_NAME_FLOAT, 1}, {"e", PAGODA_NAME_INT, 1}};
}

void MaskNames::bind(pagoda_expr* expr) const {
  const int64_t a[] = {700}, b[] = {20, 30}, c[] = {4, 5, 6}, f[] = {90};
  check(pagoda_expr_set_int(expr, "n", n_));
  check(pagoda_expr_set_int(expr, "m", m_));
  check(pagoda_expr_set_float(expr, "x", x_));
  check(pagoda_expr_set_int_table(expr, "a", a_.data(), a, 1, -1));
  check(pagoda_expr_set_int_table(expr, "b", b_.data(), b, 2, -3));
  check(pagoda_expr_set_int_table(expr, "c", c_.data(), c, 3, 7));
  check(pagoda_expr_set_float_table(expr, "f", f_.data(), f, 1, 0.5f));
}

ShownPairs::ShownPairs(const Geometry& g, const mask::Expr& expr, const mask::Bindings& bindings)
    : geometry_(g) {
  const mask::Program program = mask::compile(expr);
  num_heads_ = program.uses(mask::Variable::head)      ? g.num_heads()
               : program.uses(mask::Variable::kv_head) ? g.num_kv_heads
                                                       : 1;
  std::vector<mask::Value> scratch(expr.nodes.size());
  for (size_t r = 0; r < g.requests.size(); ++r) {
    const Request& request = g.requests[r];
    std::vector<bool>& shown = shown_.emplace_back();
    mask::Point point;
    point[mask::Variable::request] = static_cast<int64_t>(r);
    point[mask::Variable::seq_len] = request.seq_len;
    point[mask::Variable::query_len] = request.query_len;
    for (int32_t h = 0; h < num_heads_; ++h) {
      const int32_t head = h * (g.num_heads() / num_heads_);
      point[mask::Variable::head] = head;
      point[mask::Variable::kv_head] = head / g.group;
      for (int32_t i = 0; i < request.query_len; ++i)
        for (int32_t j = 0; j < request.seq_len; ++j) {
          point[mask::Variable::query] = request.position(i);
          point[mask::Variable::key] = j;
          shown.push_back(mask::evaluate(expr, bindings, point, scratch.data()).i != 0);
        }
    }
  }
}

void ShownPairs::spoil_hidden(Values& values) const {
  const Geometry& g = geometry_;
  if (g.kv_format != PAGODA_KV_SAME) return;  // codes of a quantised cache have values of their own
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (size_t r = 0; r < g.requests.size(); ++r) {
    const Request& request = g.requests[r];
    // A page that another request shares holds that one's keys too.
    const bool is_shared = std::any_of(
        g.requests.begin(), g.requests.end(),
        [&](const auto& other) { return other.shares_with == static_cast<int32_t>(r); });
    if (is_shared || request.shared_pages > 0) continue;
    for (int32_t j = 0; j < request.seq_len; ++j) {
      bool seen = false;
      for (int32_t head = 0; head < g.num_heads() && !seen; ++head)
        for (int32_t i = 0; i < request.query_len && !seen; ++i)
          seen = shows(r, head, i, j) && sees(g, request, request.position(i), j);
      if (seen) continue;
      const auto spoil = [&](std::vector<float>& rows, int32_t dim) {
        const auto begin = static_cast<ptrdiff_t>(int64_t{j} * g.num_kv_heads * dim);
        std::fill_n(rows.begin() + begin, int64_t{g.num_kv_heads} * dim, nan);
      };
      spoil(values.requests[r].key, g.head_dim);
      spoil(values.requests[r].value, g.head_dim_v);
    }
  }
}

BuiltBlockMask::BuiltBlockMask(const std::string& text, pagoda_expr_kind kind,
                               const MaskNames& names) {
  const std::vector<pagoda_name> declared = names.declared();
  Sized<pagoda_expr_options> options;
  options.kind = kind;
  options.text = text.c_str();
  options.names = declared.data();
  options.num_names = static_cast<int32_t>(declared.size());
  check(pagoda_expr_create(&options, &expr_));
  names.bind(expr_);
}

BuiltBlockMask::~BuiltBlockMask() {
  pagoda_mask_destroy(mask_);
  pagoda_expr_destroy(expr_);
}

const pagoda_block_mask& BuiltBlockMask::build(const Step& step, int32_t tile_q, int32_t tile_kv) {
  Sized<pagoda_mask_options> options;
  options.tile_q = tile_q;
  options.tile_kv = tile_kv;
  options.num_heads = step.spec.num_heads;
  options.num_kv_heads = step.spec.num_kv_heads;
  return build(step.batch, step.limits, options);
}

const pagoda_block_mask& BuiltBlockMask::build(const Batch& batch, const Limits& limits,
                                               Sized<pagoda_mask_options> options) {
  options.max_reqs = limits.max_reqs;
  options.max_tokens = limits.max_tokens;
  options.max_seq_len = limits.max_seq_len;
  pagoda_mask_destroy(mask_);
  mask_ = nullptr;
  check(pagoda_mask_create(expr_, &options, &mask_));
  Sized<pagoda_mask_capacity> capacity;
  check(pagoda_mask_measure(mask_, &batch, &capacity));
  memory_.assign(pagoda_mask_bytes(&capacity) + 64, std::byte{0xa5});
  const auto address = reinterpret_cast<uintptr_t>(memory_.data());
  built_ = Sized<pagoda_block_mask>();
  check(pagoda_mask_build(mask_, &batch, &capacity, memory_.data() + (64 - address % 64) % 64,
                          &built_));
  return built_;
}

DenseBlockMask::DenseBlockMask(const ShownPairs& pairs, int32_t tile_q, int32_t tile_kv) {
  mask_.struct_size = sizeof mask_;
  mask_.tile_q = tile_q;
  mask_.tile_kv = tile_kv;
  mask_.num_heads = pairs.num_heads();
  const std::vector<Request>& requests = pairs.geometry().requests;
  for (int32_t head = 0; head < pairs.num_heads(); ++head)
    for (size_t r = 0; r < requests.size(); ++r)
      for (int32_t first = 0; first < requests[r].query_len; first += tile_q)
        add_list(pairs, r, head, first);
  for (const Request& request : requests)
    tile_start_.push_back(tile_start_.back() + (request.query_len + tile_q - 1) / tile_q);
  mask_.num_reqs = static_cast<int32_t>(requests.size());
  mask_.num_tiles_q = tile_start_.back();
  tile_.reserve(1), bits_at_.reserve(1), bits_.reserve(1);  // never NULL
  mask_.tile_start = tile_start_.data();
  mask_.row_start = row_start_.data();
  mask_.tile = tile_.data();
  mask_.bits_at = bits_at_.data();
  mask_.bits = bits_.data();
  mask_.num_entries = static_cast<int64_t>(tile_.size());
  mask_.num_words = static_cast<int64_t>(bits_.size());
}

void DenseBlockMask::add_list(const ShownPairs& pairs, size_t r, int32_t mask_head,
                              int32_t first_query) {
  const Geometry& g = pairs.geometry();
  const Request& request = g.requests[r];
  const int32_t head = mask_head * (g.num_heads() / pairs.num_heads());
  const int32_t end_query = std::min(first_query + mask_.tile_q, request.query_len);
  for (int32_t tile = 0; tile * mask_.tile_kv < request.seq_len; ++tile) {
    tile_.push_back(tile);
    bits_at_.push_back(static_cast<int32_t>(bits_.size()));
    for (int32_t i = first_query; i < end_query; ++i)
      for (int32_t w = 0; w < mask_.tile_kv / 32; ++w) {
        uint32_t word = 0;
        for (int32_t bit = 0; bit < 32; ++bit) {
          const int32_t j = tile * mask_.tile_kv + w * 32 + bit;
          if (j < request.seq_len && pairs.shows(r, head, i, j)) word |= 1u << bit;
        }
        bits_.push_back(word);
      }
  }
  row_start_.push_back(static_cast<int32_t>(tile_.size()));
}

}  // namespace pagoda::conformance
