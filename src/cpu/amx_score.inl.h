// Score expressions over units of 32 keys by 16 rows, one step after the other, each a loop over
// the unit's 32 vectors. A word is a float, an integer, or a truth: all ones or 0.
#pragma once

#include "amx_pack.inl.h"
#include "math.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// tanh x as in math.inl.h, with the quotient by a reciprocal that is refined once: a division of
// sixteen floats takes as long as everything else here.
[[gnu::always_inline]] inline F32 fast_tanh(F32 x) {
  const F32 y = max(broadcast(-9.02f), min(broadcast(9.02f), x)), z = y * y;
  F32 p = broadcast(-1.2203493796926074e-11f);
  p = fma(p, z, broadcast(3.058506055405747e-08f));
  p = fma(p, z, broadcast(2.8007474614595236e-05f));
  p = fma(p, z, broadcast(0.003868328510529826f));
  p = fma(p, z, broadcast(0.13679915672687604f));
  p = fma(p, z, broadcast(1.0f));
  F32 q = broadcast(1.2873677056642968e-06f);
  q = fma(q, z, broadcast(0.0003938632476979248f));
  q = fma(q, z, broadcast(0.027245841583148297f));
  q = fma(q, z, broadcast(0.47013247733287694f));
  q = fma(q, z, broadcast(1.0f));
  const F32 near = inverse_near(q);
  const F32 inverse = fma(near, fnma(q, near, broadcast(1.0f)), near);
  return y * p * inverse;
}

// z p(z) of tanh x = x (1 + z p(z)) with z = x^2, within 2^-24 for z up to kMostNear.
constexpr float kMostNear = 0.5625f;

[[gnu::always_inline]] inline F32 tanh_excess(F32 z) {
  F32 p = broadcast(-0x1.3892bap-8f);
  p = fma(p, z, broadcast(0x1.42309cp-6f));
  p = fma(p, z, broadcast(-0x1.b55f7cp-5f));
  p = fma(p, z, broadcast(0x1.10ed5ap-3f));
  p = fma(p, z, broadcast(-0x1.5554a4p-2f));
  return p * z;
}

// Never beyond 1, whatever its last bit is: expressions may take the root of what is left.
[[gnu::always_inline]] inline F32 bounded_tanh(F32 x) {
  const F32 z = x * x, near = fma(x, tanh_excess(z), x);
  const Lanes far = less(broadcast(kMostNear), z);
  if (far.bits == 0) return near;
  return select(far, max(broadcast(-1.0f), min(broadcast(1.0f), fast_tanh(x))), near);
}

// The words of one operand, key by key: a vector of rows at a distance, 0 for what depends on rows
// alone, or one word for all rows.
struct RowWords {
  const uint32_t* at;
  int64_t step;
  [[gnu::always_inline]] __m512i operator()(int key) const {
    return _mm512_loadu_si512(at + key * step);
  }
};
struct KeyWords {
  const uint32_t* at;
  [[gnu::always_inline]] __m512i operator()(int key) const {
    return _mm512_set1_epi32(static_cast<int>(at[key]));
  }
};

inline F32 as_floats(__m512i a) {
  return {_mm512_castsi512_ps(a)};
}
inline __m512i as_words(F32 a) {
  return _mm512_castps_si512(a.v);
}
inline __m512i truths(__mmask16 lanes) {
  return _mm512_movm_epi32(lanes);
}

// Quotients of integers, rounded down; 0 where the divisor is 0. Doubles hold both exactly, and
// their quotient is as near to the next integer as a 32-bit divisor lets it be.
inline __m256i floor_quotients(__m256i a, __m256i b) {
  const __m512d quotient = _mm512_div_pd(_mm512_cvtepi32_pd(a), _mm512_cvtepi32_pd(b));
  const __m512d floor = _mm512_roundscale_pd(quotient, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const __m256i zero = _mm256_setzero_si256();
  return _mm256_maskz_mov_epi32(_mm256_cmpneq_epi32_mask(b, zero), _mm512_cvtpd_epi32(floor));
}
inline __m512i floor_divide(__m512i a, __m512i b) {
  const __m256i low = floor_quotients(_mm512_castsi512_si256(a), _mm512_castsi512_si256(b));
  const __m256i high =
      floor_quotients(_mm512_extracti64x4_epi64(a, 1), _mm512_extracti64x4_epi64(b, 1));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// e^x for every x: beyond 89 it is infinite, which the function itself is not made for.
inline F32 whole_exp(F32 x) {
  return exp(min(broadcast(89.0f), x));
}

// a / b for a divisor that stands still, given 1 / b. The rest of the first quotient makes it right
// but for one case in millions, where it is the other neighbour; what is so large or small that the
// rest may not be a float is divided.
struct Divisor {
  F32 b, inverse;
  bool is_tame;

  explicit Divisor(F32 b) : b(b), inverse(broadcast(1.0f) / b), is_tame(all_within(b, 64)) {}

  static bool all_within(F32 a, int binades) {
    const __m512i exponent =
        _mm512_and_si512(_mm512_srli_epi32(as_words(a), 23), _mm512_set1_epi32(0xff));
    const __m512i from = _mm512_sub_epi32(exponent, _mm512_set1_epi32(127 - binades / 2));
    return _mm512_cmplt_epu32_mask(from, _mm512_set1_epi32(binades)) == 0xffff;
  }

  [[gnu::always_inline]] F32 divide(F32 a) const {
    if (__builtin_expect(!is_tame || !all_within(a, 128), false)) return a / b;
    const F32 near = a * inverse;
    return fma(fnma(near, b, a), inverse, near);
  }
};

// One step over one unit.
class ScoreRunner {
 public:
  // of_rows: [values, 16]; of_keys: [values, kTileKeys], of which the unit's keys are those from
  // `key` on; scores: [32, 16]
  ScoreRunner(const ScoreSteps& steps, const uint32_t* of_rows, const uint32_t* of_keys, int key,
              float* scores)
      : steps_(steps), of_rows_(of_rows), of_keys_(of_keys), key_(key), scores_(scores) {}

  void run(const ScoreStep& step) {
    switch (step.op) {
      case ScoreOp::to_float:
        return one(step, [](__m512i a) { return _mm512_castps_si512(_mm512_cvtepi32_ps(a)); });
      case ScoreOp::negate_f:
        return one(step, [](__m512i a) {
          return _mm512_xor_si512(a, _mm512_set1_epi32(static_cast<int>(0x80000000u)));
        });
      case ScoreOp::absolute_f:
        return one(step,
                   [](__m512i a) { return _mm512_and_si512(a, _mm512_set1_epi32(0x7fffffff)); });
      case ScoreOp::sqrt_f:
        return one_float(step, [](F32 a) { return sqrt(a); });
      case ScoreOp::tanh_f:
        return one_float(step, [](F32 a) { return bounded_tanh(a); });
      case ScoreOp::exp_f:
        return one_float(step, [](F32 a) { return whole_exp(a); });
      case ScoreOp::negate_i:
        return one(step, [](__m512i a) { return _mm512_sub_epi32(_mm512_setzero_si512(), a); });
      case ScoreOp::absolute_i:
        return one(step, [](__m512i a) { return _mm512_abs_epi32(a); });
      case ScoreOp::not_b:
        return one(step, [](__m512i a) { return _mm512_xor_si512(a, _mm512_set1_epi32(-1)); });
      case ScoreOp::divide_f:
        return divide(step);
      case ScoreOp::select:
        return select(step);
      case ScoreOp::lookup:
        return look_up(step);
      default:
        return step.op < ScoreOp::negate_i ? run_floats(step) : run_words(step);
    }
  }

 private:
  void run_floats(const ScoreStep& step) {
    switch (step.op) {
      case ScoreOp::add_f:
        return two_floats(step, [](F32 a, F32 b) { return a + b; });
      case ScoreOp::subtract_f:
        return two_floats(step, [](F32 a, F32 b) { return a - b; });
      case ScoreOp::multiply_f:
        return two_floats(step, [](F32 a, F32 b) { return a * b; });
      case ScoreOp::minimum_f:
        return two_floats(step, [](F32 a, F32 b) { return min(a, b); });
      case ScoreOp::maximum_f:
        return two_floats(step, [](F32 a, F32 b) { return max(a, b); });
      case ScoreOp::less_f:
        return compare<_CMP_LT_OQ>(step);
      case ScoreOp::less_equal_f:
        return compare<_CMP_LE_OQ>(step);
      case ScoreOp::equal_f:
        return compare<_CMP_EQ_OQ>(step);
      default:
        return compare<_CMP_NEQ_UQ>(step);
    }
  }

  void run_words(const ScoreStep& step) {
    switch (step.op) {
      case ScoreOp::add_i:
        return two(step, [](__m512i a, __m512i b) { return _mm512_add_epi32(a, b); });
      case ScoreOp::subtract_i:
        return two(step, [](__m512i a, __m512i b) { return _mm512_sub_epi32(a, b); });
      case ScoreOp::multiply_i:
        return two(step, [](__m512i a, __m512i b) { return _mm512_mullo_epi32(a, b); });
      case ScoreOp::floor_divide_i:
        return two(step, [](__m512i a, __m512i b) { return floor_divide(a, b); });
      case ScoreOp::modulo_i:
        return two(step, [](__m512i a, __m512i b) {
          return _mm512_sub_epi32(a, _mm512_mullo_epi32(floor_divide(a, b), b));
        });
      case ScoreOp::minimum_i:
        return two(step, [](__m512i a, __m512i b) { return _mm512_min_epi32(a, b); });
      case ScoreOp::maximum_i:
        return two(step, [](__m512i a, __m512i b) { return _mm512_max_epi32(a, b); });
      case ScoreOp::less_i:
        return two(step,
                   [](__m512i a, __m512i b) { return truths(_mm512_cmplt_epi32_mask(a, b)); });
      case ScoreOp::less_equal_i:
        return two(step,
                   [](__m512i a, __m512i b) { return truths(_mm512_cmple_epi32_mask(a, b)); });
      case ScoreOp::equal_i:
      case ScoreOp::equal_b:
        return two(step,
                   [](__m512i a, __m512i b) { return truths(_mm512_cmpeq_epi32_mask(a, b)); });
      case ScoreOp::and_b:
        return two(step, [](__m512i a, __m512i b) { return _mm512_and_si512(a, b); });
      case ScoreOp::or_b:
        return two(step, [](__m512i a, __m512i b) { return _mm512_or_si512(a, b); });
      default:
        return two(step,
                   [](__m512i a, __m512i b) { return truths(_mm512_cmpneq_epi32_mask(a, b)); });
    }
  }

  uint32_t* unit(int index) const {
    if (index == 0) return reinterpret_cast<uint32_t*>(scores_);
    return steps_.units + int64_t{index} * kUnitKeys * kGroupRows;
  }

  // work(words) with the operand as the kind of words that it is.
  template <class Work>
  [[gnu::always_inline]] void with(const ScoreOperand& operand, const Work& work) const {
    switch (operand.from) {
      case ScoreOperand::From::keys:
        return work(KeyWords{of_keys_ + operand.index * kTileKeys + key_});
      case ScoreOperand::From::rows:
        return work(RowWords{of_rows_ + operand.index * kGroupRows, 0});
      default:
        return work(RowWords{unit(operand.index), kGroupRows});
    }
  }

  template <class F>
  [[gnu::always_inline]] void each(const ScoreStep& step, const F& f) const {
    uint32_t* to = unit(step.to);
#pragma GCC unroll 4
    for (int key = 0; key < kUnitKeys; ++key) _mm512_storeu_si512(to + key * kGroupRows, f(key));
  }
  template <class F>
  [[gnu::always_inline]] void one(const ScoreStep& step, const F& f) const {
    with(
        step.args[0], [&](auto a) __attribute__((always_inline)) {
          each(
              step, [&](int key) __attribute__((always_inline)) { return f(a(key)); });
        });
  }
  template <class F>
  [[gnu::always_inline]] void two(const ScoreStep& step, const F& f) const {
    with(
        step.args[0], [&](auto a) __attribute__((always_inline)) {
          with(
              step.args[1], [&](auto b) __attribute__((always_inline)) {
                each(
                    step, [&](int key)
                              __attribute__((always_inline)) { return f(a(key), b(key)); });
              });
        });
  }
  template <class F>
  [[gnu::always_inline]] void one_float(const ScoreStep& step, const F& f) const {
    one(
        step, [&](__m512i a) __attribute__((always_inline)) { return as_words(f(as_floats(a))); });
  }
  template <class F>
  [[gnu::always_inline]] void two_floats(const ScoreStep& step, const F& f) const {
    two(
        step, [&](__m512i a, __m512i b) __attribute__((always_inline)) {
          return as_words(f(as_floats(a), as_floats(b)));
        });
  }
  template <int kComparison>
  void compare(const ScoreStep& step) const {
    two(step, [](__m512i a, __m512i b) {
      return truths(_mm512_cmp_ps_mask(as_floats(a).v, as_floats(b).v, kComparison));
    });
  }

  void divide(const ScoreStep& step) const {
    if (step.args[1].from != ScoreOperand::From::rows)
      return two_floats(step, [](F32 a, F32 b) { return a / b; });
    const Divisor divisor(
        as_floats(_mm512_loadu_si512(of_rows_ + step.args[1].index * kGroupRows)));
    one_float(step, [&](F32 a) { return divisor.divide(a); });
  }

  void select(const ScoreStep& step) const {
    with(step.args[0], [&](auto condition) {
      with(step.args[1], [&](auto yes) {
        with(step.args[2], [&](auto no) {
          each(step, [&](int key) {
            const __m512i chosen = condition(key);
            return _mm512_mask_mov_epi32(no(key), _mm512_test_epi32_mask(chosen, chosen), yes(key));
          });
        });
      });
    });
  }

  // Elements in row-major order; an index that is out of range gives what is outside.
  void look_up(const ScoreStep& step) const {
    for (int key = 0; key < kUnitKeys; ++key) {
      __m512i at = _mm512_setzero_si512();
      __mmask16 inside = 0xffff;
      for (int d = 0; d < 3; ++d) {
        const __m512i size = _mm512_set1_epi32(step.shape[d]);
        at = _mm512_mullo_epi32(at, size);
        if (step.args[d].from == ScoreOperand::From::none) continue;
        with(step.args[d], [&](auto index) {
          const __m512i i = index(key);
          inside &= _mm512_cmplt_epu32_mask(i, size);
          at = _mm512_add_epi32(at, i);
        });
      }
      _mm512_storeu_si512(
          unit(step.to) + key * kGroupRows,
          _mm512_mask_i32gather_epi32(_mm512_set1_epi32(static_cast<int>(step.outside)), inside, at,
                                      step.table, sizeof(uint32_t)));
    }
  }

  const ScoreSteps& steps_;
  const uint32_t* const of_rows_;
  const uint32_t* const of_keys_;
  const int key_;
  float* const scores_;
};

// In place of the logits of some units of a tile, from key `first_key` on. scores: [units, 32, 16]
inline void run_steps(const ScoreSteps& steps, int first_row, int num_rows, int first_key,
                      int units, float* scores) {
  const uint32_t* of_rows = steps.of_rows(steps.context, first_row, num_rows);
  const int tile = first_key / kTileKeys * kTileKeys;
  const uint32_t* of_keys = steps.of_keys(steps.context, tile);
  for (int unit = 0; unit < units; ++unit, scores += kUnitKeys * kGroupRows) {
    ScoreRunner runner(steps, of_rows, of_keys, first_key - tile + unit * kUnitKeys, scores);
    for (int i = 0; i < steps.count; ++i) runner.run(steps.steps[i]);
  }
}

}  // namespace pagoda::cpu::PAGODA_ISA
