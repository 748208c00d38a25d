// The small operations of kernels.h in plain loops that a compiler turns into vector code. Sums
// have sixteen lanes however wide the vectors are. Included inside the namespace of an instruction
// set.

constexpr int64_t kLanes = 16;

inline float square_sum(const float* in, int64_t size) {
  float lanes[kLanes] = {};
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; lane++) lanes[lane] += in[i + lane] * in[i + lane];
  for (int64_t i = whole; i < size; i++) lanes[i - whole] += in[i] * in[i];
  for (int64_t step = kLanes / 2; step > 0; step /= 2)
    for (int64_t lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
  return lanes[0];
}

void rms_norm(const float* in, const float* weight, float epsilon, int64_t size, float* out) {
  const float mean = square_sum(in, size) / static_cast<float>(size);
  const float scale = 1.0f / __builtin_sqrtf(mean + epsilon);
  for (int64_t i = 0; i < size; i++) out[i] = in[i] * scale * weight[i];
}

constexpr float kLog2e = 1.44269504f;
constexpr float kLn2High = 0.693359375f;
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kRoundToInt = 12582912.0f;  // 1.5 * 2^23: adding it leaves no fraction bits
constexpr int32_t kRoundToIntBits = 0x4b400000;

// exp(x) = 2^n * exp(r) with |r| <= ln(2) / 2; exp(r) by its series to the 7th power, whose
// remainder is below 2^-27. ln(2) is taken away in two parts, so that r is exact to the last bit.
inline float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * kLog2e + kRoundToInt;
  const float n = shifted - kRoundToInt;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  // The difference fits in ten bits for numbers; of a NaN only that it stays one matters.
  const uint32_t exponent =
      (__builtin_bit_cast(uint32_t, shifted) - static_cast<uint32_t>(kRoundToIntBits)) << 23;
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, p) + exponent);
}

void silu_times(const float* gate, const float* up, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i++) out[i] = gate[i] / (1.0f + exp_of(-gate[i])) * up[i];
}

inline void rotate_pair(float& x, float& y, float cosine, float sine) {
  const float a = x, b = y;
  x = a * cosine - b * sine;
  y = a * sine + b * cosine;
}

void rotate(float* heads, int64_t num_heads, int64_t head_dim, const float* cosines,
            const float* sines, int64_t num_pairs, bool interleaved) {
  for (int64_t head = 0; head < num_heads; head++) {
    float* const x = heads + head * head_dim;
    if (interleaved)
      for (int64_t i = 0; i < num_pairs; i++)
        rotate_pair(x[2 * i], x[2 * i + 1], cosines[i], sines[i]);
    else
      for (int64_t i = 0; i < num_pairs; i++)
        rotate_pair(x[i], x[i + num_pairs], cosines[i], sines[i]);
  }
}

void to_bfloats(const float* in, int64_t size, uint16_t* out) {
  for (int64_t i = 0; i < size; i++) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, in[i]);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    out[i] =
        static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40 : rounded);
  }
}

void from_bfloats(const uint16_t* in, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i++)
    out[i] = __builtin_bit_cast(float, static_cast<uint32_t>(in[i]) << 16);
}

// Below this no quotient by the largest code is taken: the group counts as zeros.
constexpr float kSmallest = 1e-30f;
constexpr float kLargestCode = 127.0f;

inline void code_group(const float* in, int8_t* codes, float* scale, float* sum,
                       int32_t* code_sums) {
  // As whole numbers magnitudes stand in their order, infinity and NaN above all others.
  uint32_t most = 0;
  for (int i = 0; i < kGroupInputs; i++) {
    const uint32_t magnitude = __builtin_bit_cast(uint32_t, in[i]) & 0x7fffffffu;
    most = magnitude > most ? magnitude : most;
  }
  const float largest_in = __builtin_bit_cast(float, most);
  const bool is_zero = largest_in < kSmallest;
  const float inverse = is_zero ? 0.0f : kLargestCode / largest_in;
  int32_t rounded[kGroupInputs];
  for (int i = 0; i < kGroupInputs; i++)
    rounded[i] = static_cast<int32_t>(__builtin_bit_cast(uint32_t, in[i] * inverse + kRoundToInt) &
                                      0x7fffffu) -
                 0x400000;
  for (int i = 0; i < kGroupInputs; i++) codes[i] = static_cast<int8_t>(rounded[i]);
  for (int half = 0; half < 2; half++) {
    int32_t total = 0;
    for (int i = 0; i < kGroupInputs / 2; i++) total += codes[half * kGroupInputs / 2 + i];
    code_sums[half] = total;
  }
  *scale = is_zero ? 0.0f : largest_in / kLargestCode;
  *sum = *scale * static_cast<float>(code_sums[0] + code_sums[1]);
}

void code_row(const float* in, int64_t num_groups, int8_t* codes, float* scales, float* sums,
              int32_t* code_sums) {
  for (int64_t group = 0; group < num_groups; group++)
    code_group(in + group * kGroupInputs, codes + group * kGroupInputs, scales + group,
               sums + group, code_sums + 2 * group);
}
