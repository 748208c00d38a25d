// The table of kernels.h for one instruction set: each entry finds its body by the type of element.
//
// An isa/*.cpp file defines the vector types and operations in namespace pagoda::cpu::PAGODA_ISA
// and then includes this file once. Nothing in the bodies may come from the standard library or
// from a header that other code compiles too: see kernels.h. tools/check_isa_objects.py holds the
// object files to it.
#pragma once

#include "attend.inl.h"
#include "encode.inl.h"
#include "math.inl.h"
#include "pack.inl.h"
#include "rows.inl.h"

namespace pagoda::cpu::PAGODA_ISA {

// Calls body(E{}) for the element's type, one that callers give and take.
template <class Body>
inline void with_float(Element element, const Body& body) {
  if (element == Element::f32) return body(AsF32{});
  if (element == Element::f16) return body(AsF16{});
  body(AsBf16{});
}

// Whether the columns of o lie even ones first.
inline bool is_parted(Element values) {
  bool parted = false;
  with_element(values, [&]<class E>(E) { parted = E::kParted; });
  return parted;
}

inline int32_t padded_dim(int32_t head_dim_v) {
  return Panels(head_dim_v).vectors * kWidth;
}

inline void attend(const AttendTask& task) {
  attend_split(task);
}

inline void widen(Element element, const void* from, float* to, int32_t n) {
  with_element(element, [&]<class E>(E) { widen_row<E>(static_cast<const char*>(from), to, n); });
}

inline void narrow(Element values, const float* from, float weight, float divisor,
                   const float* column_scale, Element element, void* to, int32_t n) {
  with_float(element, [&]<class E>(E) {
    narrow_row<E>(is_parted(values), from, weight, divisor, column_scale, static_cast<char*>(to),
                  n);
  });
}

inline void blend(Element element, const void* a, float weight_a, const void* b, float weight_b,
                  void* to, int32_t n) {
  with_float(element, [&]<class E>(E) {
    blend_row<E>(static_cast<const char*>(a), weight_a, static_cast<const char*>(b), weight_b,
                 static_cast<char*>(to), n);
  });
}

inline void absmax(Element element, const void* const* from, int32_t num_rows, int32_t dim,
                   float* most) {
  with_float(element, [&]<class E>(E) {
    for (int row = 0; row < num_rows; ++row)
      most[row] = absmax_of_row<E>(static_cast<const char*>(from[row]), dim);
  });
}

inline void encode(const EncodeTask& task) {
  with_float(task.element, [&]<class E>(E) {
    task.code == Element::int8 ? encode_all<E, AsInt8>(task) : encode_all<E, AsE4m3>(task);
  });
}

inline void exp_of(const float* x, float* y, int32_t n) {
  for (int i = 0; i < n; i += kWidth) store(y + i, exp(load(x + i)));
}

inline void tanh_of(const float* x, float* y, int32_t n) {
  for (int i = 0; i < n; i += kWidth) store(y + i, tanh(load(x + i)));
}

inline void pack_keys_and_back(Element element, const void* const* rows, int32_t head_dim,
                               float* packed, float* unpacked) {
  RowPointers pointers;
  Ahead ahead(nullptr);
  for (int i = 0; i < kTileKeys; ++i) pointers[i] = static_cast<const char*>(rows[i]);
  with_element(element,
               [&]<class E>(E) { pack_keys<E>(pointers, ahead, kTileKeys, head_dim, packed); });
  for (int key = 0; key < kTileKeys; ++key)
    for (int d = 0; d < head_dim; ++d)
      unpacked[key * head_dim + d] =
          packed[key / kPanel * kPanel * head_dim + d * kPanel + key % kPanel];
}

// The columns of a row of o or of packed values in the caller's order.
inline void in_order(bool parted, const float* row, int n, float* to) {
  const Panels panels(n);
  for (int p = 0; p < panels.count; ++p) {
    const Panel panel = panels.panel(p);
    for (int c = 0; c < panel.vectors * kWidth && panel.first * kWidth + c < n; ++c) {
      const int pair = c / (2 * kWidth) * 2 * kWidth;
      const bool single = pair / kWidth + 1 >= panel.vectors;
      const int place = parted && !single ? pair + (c - pair) / 2 + c % 2 * kWidth : c;
      to[panel.first * kWidth + c] = row[panel.first * kWidth + place];
    }
  }
}

inline void pack_values_and_back(Element element, const void* const* rows, int32_t head_dim_v,
                                 float* packed, float* unpacked) {
  RowPointers pointers;
  Ahead ahead(nullptr);
  for (int i = 0; i < kTileKeys; ++i) pointers[i] = static_cast<const char*>(rows[i]);
  with_element(element, [&]<class E>(E) {
    pack_values<E>(pointers, ahead, 0, kTileKeys, head_dim_v, packed);
  });
  const Panels panels(head_dim_v);
  for (int key = 0; key < kTileKeys; ++key) {
    float row[kMaxHeadDim];
    for (int p = 0; p < panels.count; ++p) {
      const Panel panel = panels.panel(p);
      const int width = panel.vectors * kWidth;
      for (int c = 0; c < width; ++c)
        row[panel.first * kWidth + c] = panel_of(packed, panel)[key * width + c];
    }
    in_order(is_parted(element), row, head_dim_v, unpacked + key * head_dim_v);
  }
}

extern const Kernels kKernels;
const Kernels kKernels{.padded_dim = padded_dim,
                       .attend = attend,
                       .merge_states = merge_rows,
                       .widen = widen,
                       .narrow = narrow,
                       .blend = blend,
                       .absmax = absmax,
                       .encode = encode,
                       .exp = exp_of,
                       .tanh = tanh_of,
                       .pack_keys_and_back = pack_keys_and_back,
                       .pack_values_and_back = pack_values_and_back,
                       .max_rows = kTileRows};

}  // namespace pagoda::cpu::PAGODA_ISA
