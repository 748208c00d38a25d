#include "../core/state.h"
#include "backend.h"
#include "element.h"

namespace pagoda::reference {

void ReferenceBackend::merge(const MergeOperands& operands, Stream) {
  const TensorView &a = operands.out_a, &b = operands.out_b, &out = operands.out;
  for (int64_t token = 0; token < out.shape[0]; ++token) {
    for (int64_t head = 0; head < out.shape[1]; ++head) {
      const double lse_a = token < operands.num_tokens_a
                               ? load(operands.lse_a, offset(operands.lse_a, head, token))
                               : minus_infinity<double>();
      const double lse_b = load(operands.lse_b, offset(operands.lse_b, head, token));
      const MergeWeights<double> weights = merge_weights(lse_a, lse_b);
      for (int64_t e = 0; e < out.shape[2]; ++e) {
        const double from_a = weights.a != 0 ? weights.a * load(a, offset(a, token, head) + e) : 0;
        const double from_b = weights.b != 0 ? weights.b * load(b, offset(b, token, head) + e) : 0;
        store(out, offset(out, token, head) + e, from_a + from_b);
      }
      if (operands.lse) store(operands.lse, offset(operands.lse, head, token), weights.lse);
    }
  }
}

}  // namespace pagoda::reference
