// The small operations between matrix products, a row at a time. Each sums in one fixed order, so a
// row gives the same bits in any batch and with any vector length the compiler chooses.
#pragma once

#include <cstdint>

namespace pagoda::engine {

// out[i] = in[i] / sqrt(mean(in^2) + epsilon) * weight[i] (Zhang and Sennrich 2019).
//   in, weight, out: [size]; out may be in
void rms_norm(const float* in, const float* weight, float epsilon, int64_t size, float* out);

// out[i] = (in[i] - mean(in)) / sqrt(variance(in) + epsilon) * weight[i] + bias[i] (Ba et al.
// 2016).
//   in, weight, bias, out: [size]; out may be in
void layer_norm(const float* in, const float* weight, const float* bias, float epsilon,
                int64_t size, float* out);

// out[i] = in[i] / 2 * (1 + erf(in[i] / sqrt(2))) (Hendrycks and Gimpel 2016), not its tanh form.
//   in, out: [size]; out may be in
void gelu(const float* in, int64_t size, float* out);

// out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
//   gate, up, out: [size]; out may be gate or up
void silu_times(const float* gate, const float* up, int64_t size, float* out);

// exp(x) within 2 ulp for x in [-87, 88], the ends beyond; without branches, so that loops over it
// become vector code.
float fast_exp(float x);

}  // namespace pagoda::engine
