// A mask expression over a case of conformance: what it shows by its definition, pair by pair; the
// block mask that the library makes of it; and the same mask as data in which every tile is listed
// with its bits, which nothing skips and nothing takes for full.
#pragma once

#include <pagoda/mask.h>

#include <string>
#include <vector>

#include "oracle.h"
#include "src/mask/bindings.h"
#include "step.h"

namespace pagoda::conformance {

// The names of tests/unit/mask/random_expr.h, with random values, bound on both sides of the
// interface.
class MaskNames {
 public:
  explicit MaskNames(uint64_t seed);
  MaskNames(const MaskNames&) = delete;
  MaskNames& operator=(const MaskNames&) = delete;

  const mask::Bindings& bindings() const { return bindings_; }
  std::vector<pagoda_name> declared() const;
  void bind(pagoda_expr* expr) const;

 private:
  int64_t n_, m_;
  float x_;
  std::vector<int32_t> a_, b_, c_;
  std::vector<float> f_;
  mask::Bindings bindings_;
};

// Every pair of a case, by evaluation of the expression at each.
class ShownPairs {
 public:
  ShownPairs(const Geometry& geometry, const mask::Expr& expr, const mask::Bindings& bindings);

  bool shows(size_t r, int32_t head, int32_t i, int32_t j) const {
    const int32_t mask_head = head * num_heads_ / geometry_.num_heads();
    const Request& request = geometry_.requests[r];
    const int64_t at = (int64_t{mask_head} * request.query_len + i) * request.seq_len + j;
    return shown_[r][static_cast<size_t>(at)];
  }
  int32_t num_heads() const { return num_heads_; }
  const Geometry& geometry() const { return geometry_; }

  // Keys of a request that none of its queries sees under any head get NaN in key and value.
  void spoil_hidden(Values& values) const;

 private:
  const Geometry geometry_;
  int32_t num_heads_;
  std::vector<std::vector<bool>> shown_;  // of each request [num_heads, query_len, seq_len]
};

// The mask as pagoda.h takes it, in memory of exactly the size that was measured.
class BuiltBlockMask {
 public:
  BuiltBlockMask(const std::string& text, pagoda_expr_kind kind, const MaskNames& names);
  ~BuiltBlockMask();
  BuiltBlockMask(const BuiltBlockMask&) = delete;
  BuiltBlockMask& operator=(const BuiltBlockMask&) = delete;

  const pagoda_block_mask& build(const Step& step, int32_t tile_q, int32_t tile_kv);
  // `options` without the limits.
  const pagoda_block_mask& build(const Batch& batch, const Limits& limits,
                                 Sized<pagoda_mask_options> options);
  const pagoda_expr* expr() const { return expr_; }

 private:
  pagoda_expr* expr_ = nullptr;
  pagoda_mask* mask_ = nullptr;
  std::vector<std::byte> memory_;
  pagoda_block_mask built_{};
};

// All tiles with bits.
class DenseBlockMask {
 public:
  DenseBlockMask(const ShownPairs& pairs, int32_t tile_q, int32_t tile_kv);
  const pagoda_block_mask& get() const { return mask_; }

 private:
  void add_list(const ShownPairs& pairs, size_t r, int32_t mask_head, int32_t first_query);

  std::vector<int32_t> tile_start_{0}, row_start_{0}, tile_, bits_at_;
  std::vector<uint32_t> bits_;
  pagoda_block_mask mask_{};
};

}  // namespace pagoda::conformance
