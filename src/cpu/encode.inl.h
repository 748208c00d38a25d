// Rows of floats to codes of one byte by the rules of core/kv_format.h, which is not included here.
// An instruction set may have a quicker way for finite rows of 16-bit elements (kEncodesWords).
#pragma once

#include "pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

template <class E>
struct WordRow;
template <class E, class Code>
class WordEncoder;

template <class E>
constexpr bool kHasWords = kEncodesWords&& E::kBytes == 2;

// The largest size, passing over NaN.
template <class E>
inline float absmax_of_row(const char* from, int n) {
  if constexpr (kHasWords<E>)
    if (float most; WordRow<E>::absmax(from, n, most)) return most;
  F32 most = broadcast(0.0f);
  for (int i = 0; i < n; i += kWidth) {
    const F32 x = E::load(from + i * E::kBytes, first_lanes(n - i));
    most = max(max(x, broadcast(0.0f) - x), most);
  }
  return reduce_max(most);
}

// inverse: [n] of columns, or a single one for all of them
template <class E, class Code>
inline void encode_row(const float* inverse, bool of_columns, const char* from, char* to, int n) {
  F32 factor = broadcast(inverse[0]);
  for (int i = 0; i < n; i += kWidth) {
    const Lanes lanes = first_lanes(n - i);
    if (of_columns) factor = AsF32::load(reinterpret_cast<const char*>(inverse + i), lanes);
    Code::store(to + i, lanes, E::load(from + i * E::kBytes, lanes) * factor);
  }
}

template <class E, class Code, class Rows>
inline void encode_each(const EncodeTask& task, float* inverse, const Rows& quick) {
  const bool of_columns = task.scale_of == EncodeTask::Of::column;
  const bool of_rows = task.scale_of == EncodeTask::Of::row;
  for (int row = 0; row < task.num_rows; ++row) {
    if (of_rows) inverse[0] = 1.0f / task.scale[row];
    const char* from = static_cast<const char*>(task.from[row]);
    char* to = static_cast<char*>(task.to[row]);
    if (!quick(inverse[0], from, to)) encode_row<E, Code>(inverse, of_columns, from, to, task.dim);
  }
}

template <class E, class Code>
inline void encode_all(const EncodeTask& task) {
  float inverse[kMaxHeadDim];
  const bool of_columns = task.scale_of == EncodeTask::Of::column;
  const int scales = of_columns ? task.dim : 1;
  for (int c = 0; c < scales; ++c) inverse[c] = 1.0f / task.scale[c];
  if constexpr (kHasWords<E>) {
    const WordEncoder<E, Code> words(inverse, of_columns, task.dim);
    encode_each<E, Code>(task, inverse, [&](float own, const char* from, char* to) {
      return words.row(own, from, to);
    });
  } else {
    encode_each<E, Code>(task, inverse, [](float, const char*, char*) { return false; });
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA
