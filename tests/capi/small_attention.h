// Attention over small random tensors through the public interface, on any backend, beside the same
// formula in double: for tests of how features are put together from plans and batches.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <pagoda/batch.hpp>
#include <random>
#include <string>
#include <vector>

#include "world.h"

namespace pagoda::test {

inline constexpr int kHeads = 4, kKvHeads = 2, kDim = 16, kPageSize = 8;

// [rows, heads, kDim]
struct Rows {
  int64_t heads;
  std::vector<float> values;

  Rows(int64_t num_rows, int64_t num_heads)
      : heads(num_heads), values(static_cast<size_t>(num_rows * num_heads * kDim)) {}
  Rows(int64_t num_rows, int64_t num_heads, unsigned seed) : Rows(num_rows, num_heads) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (float& value : values) value = uniform(random);
  }
  int64_t size() const { return static_cast<int64_t>(values.size()) / heads / kDim; }
  const float* row(int64_t r, int64_t head) const {
    return values.data() + (r * heads + head) * kDim;
  }
  Tensor tensor() const {
    return Tensor(const_cast<float*>(values.data()), PAGODA_F32, {size(), heads, kDim});
  }
};

struct Attended {
  std::vector<float> out;  // [tokens, kHeads, kDim]
  std::vector<float> lse;  // [kHeads, tokens]
  bool operator==(const Attended&) const = default;
};

inline Spec small_spec(int32_t page_size) {
  Spec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_dim = kDim;
  spec.page_size = page_size;
  spec.causal = 1;
  return spec;
}

inline Limits small_limits() {
  Limits limits;
  limits.max_reqs = 16;
  limits.max_tokens = 64;
  limits.max_seq_len = 64;
  limits.num_pages = 32;
  return limits;
}

// A context, a plan and its workspace.
class SmallPlan {
 public:
  SmallPlan(const std::string& backend, const Spec& spec)
      : context_([&] {
          ContextOptions options;
          options.backend = backend.c_str();
          options.num_threads = 2;
          return Context(options);
        }()),
        plan_(context_, spec, small_limits()),
        workspace_(aligned_bytes(plan_.workspace_size())) {}

  void prepare(const Batch& batch) {
    plan_.prepare(batch, workspace_.get(), plan_.workspace_size());
  }
  void update(const Layer& layer, const Rows& key, const Rows& value) {
    plan_.update_cache(layer, key.tensor(), value.tensor());
  }
  Attended forward(const Layer& layer, const Rows& query, const Rows* key = nullptr,
                   const Rows* value = nullptr) {
    const auto tokens = static_cast<size_t>(query.size());
    Attended result{std::vector<float>(tokens * kHeads * kDim, 99),
                    std::vector<float>(tokens * kHeads, 99)};
    const Tensor out(result.out.data(), PAGODA_F32, {query.size(), kHeads, kDim});
    const Tensor lse(result.lse.data(), PAGODA_F32, {kHeads, query.size()});
    if (key == nullptr)
      plan_.forward(layer, query.tensor(), out, &lse);
    else
      plan_.forward(layer, query.tensor(), key->tensor(), value->tensor(), out, &lse);
    return result;
  }

 private:
  Context context_;
  Plan plan_;
  AlignedBytes workspace_;
};

// The keys and values of one layer on pages.
struct SmallCache {
  Rows keys{int64_t{32} * kPageSize, kKvHeads}, values{int64_t{32} * kPageSize, kKvHeads};
  Tensor key_tensor{keys.values.data(), PAGODA_F32, {32, kPageSize, kKvHeads, kDim}};
  Tensor value_tensor{values.values.data(), PAGODA_F32, {32, kPageSize, kKvHeads, kDim}};
  Layer layer;

  SmallCache() {
    layer.key_cache = &key_tensor;
    layer.value_cache = &value_tensor;
  }
  SmallCache(const SmallCache&) = delete;
  SmallCache& operator=(const SmallCache&) = delete;
};

// What one query sees, in double. `sees(j)` for key j of `num_keys`, whose rows begin at `first`.
struct Expected {
  const Rows &key, &value;
  int64_t first = 0;
  int32_t num_keys = 0;
  std::function<bool(int32_t)> sees;
  std::function<double(double, int32_t)> score = [](double s, int32_t) { return s; };
  double sink = -std::numeric_limits<double>::infinity();
};

inline void expect_row(const Attended& result, const Rows& query, int64_t token, int64_t head,
                       const Expected& e) {
  const int64_t kv_head = head / (kHeads / kKvHeads);
  std::vector<double> out(kDim);
  double sum = std::exp(e.sink);
  for (int32_t j = 0; j < e.num_keys; ++j) {
    if (!e.sees(j)) continue;
    const float* const q = query.row(token, head);
    const double dot = std::inner_product(q, q + kDim, e.key.row(e.first + j, kv_head), 0.0);
    const double weight = std::exp(e.score(dot / std::sqrt(double{kDim}), j));
    sum += weight;
    for (int d = 0; d < kDim; ++d)
      out[static_cast<size_t>(d)] += weight * e.value.row(e.first + j, kv_head)[d];
  }
  const auto tokens = static_cast<size_t>(query.size());
  const auto at = static_cast<size_t>(token), h = static_cast<size_t>(head);
  for (size_t d = 0; d < kDim; ++d)
    EXPECT_NEAR(result.out[(at * kHeads + h) * kDim + d], sum > 0 ? out[d] / sum : 0.0, 2e-6)
        << "token " << token << ", head " << head << ", element " << d;
  if (sum > 0)
    EXPECT_NEAR(result.lse[h * tokens + at], std::log(sum), 4e-6) << "token " << token;
  else
    EXPECT_EQ(result.lse[h * tokens + at], -std::numeric_limits<float>::infinity());
}

}  // namespace pagoda::test
