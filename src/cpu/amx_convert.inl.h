// Rows of 8-bit codes to the tiles' element, which holds every code exactly: once per tile of keys,
// for all the rows that are multiplied with it. The numbers are those of kernels.h, so e4m3 is read
// 2^8 too small.
#pragma once

#include "amx_pack.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// A conversion, Int8ToHalves or E4m3ToHalves of the unit, has two ways for 32 codes that lie in
// memory: `plain` and `any`. Plain codes are those of which no byte of `strangeness`, of 64 codes,
// is above kMostPlain.
template <class Convert>
[[gnu::always_inline]] inline bool are_plain(__m512i strangeness) {
  const __m512i most = _mm512_set1_epi8(static_cast<char>(Convert::kMostPlain));
  return __builtin_expect(_mm512_cmpgt_epu8_mask(strangeness, most) == 0, true);
}

template <class Convert>
[[gnu::always_inline]] inline void convert_64(const char* codes, uint16_t* to) {
  const bool plain = are_plain<Convert>(Convert::strangeness(codes));
  _mm512_store_si512(to, plain ? Convert::plain(codes) : Convert::any(codes));
  _mm512_store_si512(to + 32, plain ? Convert::plain(codes + 32) : Convert::any(codes + 32));
}

// Bytes between rows that were converted.
inline int64_t converted_bytes(int dim) {
  return int64_t{round_up(dim, 64)} * 2;
}

// rows: [num_rows] of dim codes, which become the rows that they are converted to, one
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

// Whatever the element: rows of the tiles' own stay where they are.
template <class Beside>
inline void make_halves(Element element, const char** rows, int num_rows, int dim, char* to,
                        const Beside& beside) {
  if (element == Element::int8) convert_rows<Int8ToHalves>(rows, num_rows, dim, to, beside);
  if (element == Element::e4m3) convert_rows<E4m3ToHalves>(rows, num_rows, dim, to, beside);
}

}  // namespace pagoda::cpu::PAGODA_ISA
