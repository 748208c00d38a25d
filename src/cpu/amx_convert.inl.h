// Rows of 8-bit codes to bf16, which holds every code exactly: once per tile of keys, for all the
// rows that are multiplied with it. The numbers are those of kernels.h, so e4m3 is read 2^8 too
// small.
#pragma once

#include "amx_pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Each has two ways for 32 codes that lie in memory: `plain` for those of 64 codes that is_plain
// admits, and `any`.
//
// Two conversions of floats are as quick as parting words and joining them, and keep the order.
struct Int8ToHalves {
  [[gnu::always_inline]] static bool is_plain(const char*) { return true; }

  [[gnu::always_inline]] static __m512i plain(const char* codes) {
    return (__m512i)_mm512_cvtne2ps_pbh(floats(codes + 16), floats(codes));
  }
  [[gnu::always_inline]] static __m512i any(const char* codes) { return plain(codes); }

 private:
  [[gnu::always_inline]] static __m512 floats(const char* codes) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
};

// A code is sign, four bits of exponent, three of mantissa: those of bf16 but for the exponent's
// bias and width. That leaves zero and the numbers below 2^-6, which have no leading one, and NaN.
struct E4m3ToHalves {
  // Neither 0 .. 7 nor 127, signs aside.
  [[gnu::always_inline]] static bool is_plain(const char* codes) {
    const __m512i size = _mm512_and_si512(_mm512_loadu_si512(codes), _mm512_set1_epi8(0x7f));
    const __m512i above = _mm512_sub_epi8(size, _mm512_set1_epi8(8));
    return _mm512_cmpgt_epu8_mask(above, _mm512_set1_epi8(126 - 8)) == 0;
  }

  [[gnu::always_inline]] static __m512i plain(const char* codes) { return shifted(wide(codes)); }

  // The bits of the eight smallest sizes are turned into those of the numbers that they are.
  static __m512i any(const char* codes) {
    const __m512i code = wide(codes);
    const __m512i fix = _mm512_broadcast_i32x4(
        _mm_setr_epi16(0x3800, 0x0f10, 0x0fa0, 0x0ff0, 0x0040, 0x0070, 0x0020, 0x0010));
    const __mmask32 small = _mm512_testn_epi16_mask(code, _mm512_set1_epi16(0x78));
    const __m512i fixed =
        _mm512_xor_si512(shifted(code), _mm512_maskz_permutexvar_epi16(small, code, fix));
    const __m512i nan = _mm512_set1_epi16(0x7f);
    return _mm512_mask_mov_epi16(fixed, _mm512_cmpeq_epi16_mask(_mm512_and_si512(code, nan), nan),
                                 _mm512_set1_epi16(0x7fc0));
  }

 private:
  [[gnu::always_inline]] static __m512i wide(const char* codes) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
  }
  [[gnu::always_inline]] static __m512i shifted(__m512i code) {
    constexpr int kAndThenOr = 0xea;
    return _mm512_ternarylogic_epi32(_mm512_slli_epi16(code, 4),
                                     _mm512_set1_epi16(static_cast<short>(0x87f0)),
                                     _mm512_set1_epi16(0x3800), kAndThenOr);
  }
};

template <class Convert>
[[gnu::always_inline]] inline void convert_64(const char* codes, uint16_t* to) {
  const bool plain = __builtin_expect(Convert::is_plain(codes), true);
  _mm512_store_si512(to, plain ? Convert::plain(codes) : Convert::any(codes));
  _mm512_store_si512(to + 32, plain ? Convert::plain(codes + 32) : Convert::any(codes + 32));
}

// Bytes between rows that were converted.
inline int64_t converted_bytes(int dim) {
  return int64_t{round_up(dim, 64)} * 2;
}

// rows: [num_rows] of dim codes, which become the rows of bf16 that they are converted to, one
// after the other in `to`, with zeros behind their dimensions. Calls beside() after each row.
template <class Convert, class Beside>
inline void convert_rows(const char** rows, int num_rows, int dim, char* to, const Beside& beside) {
  for (int row = 0; row < num_rows; ++row, to += converted_bytes(dim)) {
    const char* from = rows[row];
    rows[row] = to;
    int d = 0;
    for (; d + 64 <= dim; d += 64)
      convert_64<Convert>(from + d, reinterpret_cast<uint16_t*>(to) + d);
    beside();
    if (d == dim) continue;
    alignas(64) char rest[64];
    _mm512_store_si512(rest, _mm512_maskz_loadu_epi8((1ull << (dim - d)) - 1, from + d));
    convert_64<Convert>(rest, reinterpret_cast<uint16_t*>(to) + d);
  }
}

// Whatever the element: rows of bf16 stay where they are.
template <class Beside>
inline void make_halves(Element element, const char** rows, int num_rows, int dim, char* to,
                      const Beside& beside) {
  if (element == Element::int8) convert_rows<Int8ToHalves>(rows, num_rows, dim, to, beside);
  if (element == Element::e4m3) convert_rows<E4m3ToHalves>(rows, num_rows, dim, to, beside);
}

}  // namespace pagoda::cpu::PAGODA_ISA
