#include "merge.h"

#include <cstring>

#include "../core/state.h"
#include "element.h"
#include "float_mode.h"

namespace pagoda::cpu {
namespace {

constexpr int64_t kElementsPerThread = 1 << 14;  // below, a second thread costs more than it saves

// A state of weight 0 is not read, since it may hold anything; the other then keeps its bits.
void merge_row(const MergeOperands& operands, const Kernels& kernels, int64_t token, int64_t head) {
  const auto row = [&](const TensorView& out) {
    return address(out, token * out.stride[0] + head * out.stride[1]);
  };
  const float lse_a =
      token < operands.num_tokens_a ? lse_at(operands.lse_a, head, token) : minus_infinity<float>();
  const auto weights = merge_weights(lse_a, lse_at(operands.lse_b, head, token));
  if (operands.lse) lse_at(operands.lse, head, token) = weights.lse;
  const auto dim = static_cast<int32_t>(operands.out.shape[2]);
  const size_t bytes = static_cast<size_t>(dim) * size_of(operands.out.dtype);
  char* to = row(operands.out);
  if (weights.a == 0 && weights.b == 0)
    std::memset(to, 0, bytes);
  else if (weights.b == 0)
    std::memmove(to, row(operands.out_a), bytes);
  else if (weights.a == 0)
    std::memmove(to, row(operands.out_b), bytes);
  else
    kernels.blend(element_of(operands.out.dtype), row(operands.out_a), weights.a,
                  row(operands.out_b), weights.b, to, dim);
}

}  // namespace

void merge_states(const MergeOperands& operands, const Kernels& kernels, ThreadPool& pool) {
  const int64_t tokens = operands.out.shape[0], heads = operands.out.shape[1];
  const auto merge_tokens = [&](int64_t begin, int64_t end) {
    const FloatMode mode;
    for (int64_t token = begin; token < end; ++token)
      for (int64_t head = 0; head < heads; ++head) merge_row(operands, kernels, token, head);
  };
  if (tokens * heads * operands.out.shape[2] < pool.num_threads() * kElementsPerThread)
    return merge_tokens(0, tokens);
  pool.run([&](int thread) {
    const int64_t threads = pool.num_threads();
    merge_tokens(tokens * thread / threads, tokens * (thread + 1) / threads);
  });
}

}  // namespace pagoda::cpu
