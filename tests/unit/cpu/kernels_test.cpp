// The functions of each instruction set one by one, against libm, core/dtype.h and plain loops.
#include "cpu/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cases.h"
#include "core/kv_format.h"
#include "cpu/element.h"
#include "cpu/select.h"

namespace pagoda::cpu {
namespace {

using test::decode;
using test::encode;
using test::hash_of;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Element kFloats[] = {Element::f32, Element::f16, Element::bf16};
constexpr Element kBytes[] = {Element::int8, Element::e4m3};

pagoda_dtype dtype_of(Element element) {
  for (pagoda_dtype dtype : {PAGODA_F32, PAGODA_F16, PAGODA_BF16, PAGODA_INT8})
    if (element_of(dtype) == element) return dtype;
  return PAGODA_FP8_E4M3;
}

// A code of one of kBytes as the kernels read it.
float number_of(Element element, uint8_t code) {
  if (element == Element::int8) return static_cast<int8_t>(code);
  return to_float(E4m3{code}) / unit_of(PAGODA_FP8_E4M3);
}

class CpuKernels : public testing::TestWithParam<std::string> {
 protected:
  const Kernels& kernels() const { return *available_kernels(GetParam()).front().functions; }
};
INSTANTIATE_TEST_SUITE_P(Isa, CpuKernels, testing::ValuesIn(test::isas_here()),
                         [](const auto& info) { return info.param; });

float apply(void (*function)(const float*, float*, int32_t), float x) {
  float in[16], out[16];
  for (float& lane : in) lane = x;
  function(in, out, 16);
  return out[0];
}

double ulps(float have, double want) {
  const float near = static_cast<float>(want);
  const double unit = static_cast<double>(std::nextafter(std::fabs(near), kInfinity)) -
                      static_cast<double>(std::fabs(near));
  return std::fabs(static_cast<double>(have) - want) / unit;
}

// The largest error of `function` over [first, last] in steps of `step`.
double worst(void (*function)(const float*, float*, int32_t), double (*exact)(double), float first,
             float last, float step) {
  double most = 0;
  std::vector<float> x(16), y(16);
  for (float base = first; base < last; base += 16 * step) {
    for (size_t i = 0; i < 16; ++i) x[i] = base + static_cast<float>(i) * step;
    function(x.data(), y.data(), 16);
    for (size_t i = 0; i < 16; ++i)
      most = std::max(most, ulps(y[i], exact(static_cast<double>(x[i]))));
  }
  return most;
}

TEST_P(CpuKernels, ExpIsWithinTwoUlp) {
  EXPECT_LE(worst(kernels().exp, std::exp, -87, 0, 1e-4f), 2.0);
  EXPECT_LE(worst(kernels().exp, std::exp, -1e-2f, 1e-2f, 1e-7f), 2.0);
}

TEST_P(CpuKernels, ExpAtTheEnds) {
  EXPECT_EQ(apply(kernels().exp, 0.0f), 1.0f);
  EXPECT_EQ(apply(kernels().exp, -kInfinity), 0.0f);
  EXPECT_EQ(apply(kernels().exp, -1e30f), 0.0f);
  EXPECT_EQ(apply(kernels().exp, -87.01f), 0.0f);
  EXPECT_GT(apply(kernels().exp, -87.0f), 0.0f);
  EXPECT_TRUE(std::isnan(apply(kernels().exp, NAN)));
}

TEST_P(CpuKernels, TanhIsWithinSixUlp) {
  EXPECT_LE(worst(kernels().tanh, std::tanh, -12, 12, 1e-4f), 6.0);
  EXPECT_LE(worst(kernels().tanh, std::tanh, -1e-2f, 1e-2f, 1e-7f), 6.0);
}

TEST_P(CpuKernels, TanhSaturates) {
  for (float x : {9.1f, 89.0f, 1e10f, kInfinity}) {
    EXPECT_EQ(apply(kernels().tanh, x), 1.0f) << x;
    EXPECT_EQ(apply(kernels().tanh, -x), -1.0f) << x;
  }
  EXPECT_EQ(apply(kernels().tanh, 0.0f), 0.0f);
  EXPECT_EQ(apply(kernels().tanh, 1e-30f), 1e-30f);
  EXPECT_TRUE(std::isnan(apply(kernels().tanh, NAN)));
}

// All 65536 patterns of both 16-bit types.
TEST_P(CpuKernels, WideningIsThatOfDtype) {
  for (Element element : {Element::f16, Element::bf16}) {
    std::vector<uint16_t> bits(1 << 16);
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
    std::vector<float> wide(bits.size());
    kernels().widen(element, bits.data(), wide.data(), 1 << 16);
    for (size_t i = 0; i < bits.size(); ++i) {
      const float want =
          element == Element::f16 ? to_float(Half{bits[i]}) : to_float(Bfloat16{bits[i]});
      if (std::isnan(want))
        ASSERT_TRUE(std::isnan(wide[i])) << i;
      else
        ASSERT_EQ(bits_of_float(wide[i]), bits_of_float(want)) << i;
    }
  }
}

TEST_P(CpuKernels, WideningOfBytesIsThatOfDtype) {
  for (Element element : kBytes) {
    uint8_t codes[256];
    float wide[256];
    for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(i);
    kernels().widen(element, codes, wide, 256);
    for (int i = 0; i < 256; ++i) {
      const float want = number_of(element, codes[i]);
      if (std::isnan(want))
        ASSERT_TRUE(std::isnan(wide[i])) << i;
      else
        ASSERT_EQ(bits_of_float(wide[i]), bits_of_float(want)) << i;
    }
  }
}

// Rows of `dim` elements one after the other, encoded by one call. scales: one for each row, or for
// each column.
std::vector<uint8_t> encode_rows(const Kernels& kernels, Element element, Element code,
                                 const std::vector<uint8_t>& bytes, int32_t dim,
                                 const std::vector<float>& scales, bool of_columns) {
  const size_t row_bytes = static_cast<size_t>(dim) * size_of(dtype_of(element));
  const size_t rows = bytes.size() / row_bytes;
  std::vector<uint8_t> codes(rows * static_cast<size_t>(dim));
  std::vector<const void*> from;
  std::vector<void*> to;
  for (size_t row = 0; row < rows; ++row) {
    from.push_back(bytes.data() + row * row_bytes);
    to.push_back(codes.data() + row * static_cast<size_t>(dim));
  }
  kernels.encode({.element = element,
                  .code = code,
                  .num_rows = static_cast<int32_t>(rows),
                  .dim = dim,
                  .from = from.data(),
                  .to = to.data(),
                  .scale = scales.data(),
                  .scale_of = of_columns ? EncodeTask::Of::column : EncodeTask::Of::row});
  return codes;
}

// Every element by core/kv_format.h; the sign of a NaN is nobody's.
void expect_codes(const Kernels& kernels, Element element, const std::vector<uint8_t>& bytes,
                  int32_t dim, const std::vector<float>& scales, bool of_columns) {
  for (Element code : kBytes) {
    const std::vector<uint8_t> have =
        encode_rows(kernels, element, code, bytes, dim, scales, of_columns);
    for (size_t i = 0; i < have.size(); ++i) {
      const size_t row = i / static_cast<size_t>(dim), column = i % static_cast<size_t>(dim);
      const float x = decode(dtype_of(element), bytes.data(), static_cast<int64_t>(i));
      const float inverse = 1 / scales[of_columns ? column : row];
      if (code == Element::int8) {
        ASSERT_EQ(static_cast<int8_t>(have[i]), encode_int8(x, inverse)) << x << " * " << inverse;
        continue;
      }
      const uint8_t want = encode_e4m3(x, inverse).bits;
      const uint8_t sign = (want & 0x7f) == 0x7f ? 0x7f : 0xff;
      ASSERT_EQ(have[i] & sign, want & sign) << x << " * " << inverse;
    }
  }
}

// Numbers where rounding turns, on both sides of them.
std::vector<float> turning_points() {
  std::vector<float> x;
  for (int i = -2600; i <= 2600; ++i) x.push_back(static_cast<float>(i) / 20);  // middles of int8
  for (uint32_t code = 0; code < 0x7e; ++code) {  // and of e4m3, with their neighbours
    const float low = to_float(E4m3{static_cast<uint8_t>(code)});
    const float high = to_float(E4m3{static_cast<uint8_t>(code + 1)});
    const float middle = (low + high) / 2;
    for (float y : {low, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
      x.insert(x.end(), {y, -y});
  }
  for (float y : {0.49999997f, 126.49999f, 127.5f, 1e30f, 1e-45f, NAN, kInfinity})
    x.insert(x.end(), {y, -y});
  for (uint32_t i = 0; i < 4000; ++i) x.push_back(float_from_bits(hash_of(i, 9)));
  return x;
}

TEST_P(CpuKernels, EncodingIsThatOfTheFormat) {
  std::vector<float> x = turning_points();
  for (int32_t dim : {8, 24, 64}) {
    x.resize(x.size() / static_cast<size_t>(dim) * static_cast<size_t>(dim));
    std::vector<uint8_t> bytes(x.size() * 4);
    std::memcpy(bytes.data(), x.data(), bytes.size());
    for (float scale : {1.0f, 0.037f, 1e-6f})
      for (bool of_columns : {false, true}) {
        expect_codes(kernels(), Element::f32, bytes, dim, std::vector<float>(x.size(), scale),
                     of_columns);
        if (HasFatalFailure()) return;
      }
  }
}

// All elements of 16 bits, in rows of every shape and with scales that reach every exponent.
TEST_P(CpuKernels, EncodingOfWordsIsThatOfTheFormat) {
  std::vector<uint8_t> bytes(65536 * 2);
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    std::memcpy(bytes.data() + 2 * static_cast<size_t>(i), &bits, 2);
  }
  for (Element element : {Element::f16, Element::bf16})
    for (int32_t dim : {8, 32, 40, 64, 128, 200, 512})
      for (bool of_columns : {false, true})
        for (float scale : {1.0f, 0.01f, 3e-5f, 7e20f, 2.5e-39f, 0.0f, -0.3f}) {
          std::vector<float> scales;
          for (uint32_t i = 0; i < 8192; ++i)
            scales.push_back(scale * (1 + static_cast<float>(hash_of(i, 5) % 1000) / 999));
          expect_codes(kernels(), element, bytes, dim, scales, of_columns);
          if (HasFatalFailure()) return;
        }
}

TEST_P(CpuKernels, AbsmaxPassesOverNan) {
  for (Element element : kFloats)
    for (int32_t n : {8, 24, 72, 512})
      for (int32_t at = 0; at < n; ++at)
        for (bool has_nan : {false, true}) {
          std::vector<uint8_t> row(static_cast<size_t>(n) * 4);
          for (int32_t i = 0; i < n; ++i)
            encode(dtype_of(element), i % 3 || !has_nan ? -1 : NAN, row.data(), i);
          encode(dtype_of(element), -2, row.data(), at);
          const void* from[] = {row.data(), row.data()};
          float most[2] = {};
          kernels().absmax(element, from, 2, n, most);
          ASSERT_EQ(most[0], 2) << n << " " << at;
          ASSERT_EQ(most[1], 2) << n << " " << at;
        }
}

TEST_P(CpuKernels, NarrowingIsThatOfDtype) {
  std::vector<float> special{0.0f,       1.0f,   65504.0f,    65519.9f,   65520.0f, 1e-8f,
                             2.98e-8f,   6e-8f,  -6.1e-5f,    3.4e38f,    NAN,      kInfinity,
                             -kInfinity, 1e-40f, 1.00390625f, 1.01171875f};
  for (uint32_t i = 0; i < 4000; ++i) special.push_back(float_from_bits(hash_of(i, 7)));
  for (Element element : kFloats)
    for (float x : special) {
      uint8_t have[32], want[32];
      std::vector<float> row(16, x);
      kernels().narrow(element, row.data(), 1, 1, nullptr, element, have, 8);
      encode(dtype_of(element), x + 0.0f, want, 0);
      const float a = decode(dtype_of(element), have, 0), b = decode(dtype_of(element), want, 0);
      if (std::isnan(b))
        ASSERT_TRUE(std::isnan(a)) << x;
      else
        ASSERT_EQ(bits_of_float(a), bits_of_float(b)) << x;
    }
}

// Rows of random numbers, each in memory of its own size, so that a sanitizer sees what is read
// beyond them.
struct Rows {
  std::vector<std::vector<uint8_t>> memory;
  std::vector<const void*> pointers;

  Rows(Element element, int32_t dim) {
    const pagoda_dtype dtype = dtype_of(element);
    for (uint32_t key = 0; key < kTileKeys; ++key) {
      std::vector<uint8_t> row(static_cast<size_t>(dim) * size_of(dtype));
      for (int32_t d = 0; d < dim; ++d)
        if (size_of(dtype) == 1)
          row[static_cast<size_t>(d)] =
              static_cast<uint8_t>(hash_of(key, static_cast<uint32_t>(d)));
        else
          encode(dtype, static_cast<float>(hash_of(key, static_cast<uint32_t>(d)) % 2001) - 1000,
                 row.data(), d);
      memory.push_back(std::move(row));
      pointers.push_back(memory.back().data());
    }
  }
};

using Pack = void (*)(Element, const void* const*, int32_t, float*, float*);

void expect_packed(Pack pack, Element element, int32_t dim) {
  const Rows rows(element, dim);
  std::vector<float> packed(kTileKeys * (kMaxHeadDim + 16)), unpacked(kTileKeys * kMaxHeadDim);
  pack(element, rows.pointers.data(), dim, packed.data(), unpacked.data());
  for (int64_t key = 0; key < kTileKeys; ++key)
    for (int64_t d = 0; d < dim; ++d) {
      const uint8_t* row = rows.memory[static_cast<size_t>(key)].data();
      const float want = size_of(dtype_of(element)) == 1 ? number_of(element, row[d])
                                                         : decode(dtype_of(element), row, d);
      const float have = unpacked[static_cast<size_t>(key * dim + d)];
      ASSERT_TRUE(std::isnan(want) ? std::isnan(have) : want == have)
          << "key " << key << " dim " << d << " of " << dim << " is " << have << ", not " << want;
    }
}

TEST_P(CpuKernels, PacksOfEveryHeadDim) {
  for (Element element : {Element::f32, Element::f16, Element::bf16, Element::int8, Element::e4m3})
    for (int32_t dim = 8; dim <= kMaxHeadDim; dim += 8) {
      expect_packed(kernels().pack_keys_and_back, element, dim);
      expect_packed(kernels().pack_values_and_back, element, dim);
      if (HasFatalFailure()) return;
    }
}

TEST_P(CpuKernels, MergeWithAnEmptyStateKeepsEveryBit) {
  constexpr int32_t kRows = 5, kDim = 24;
  const auto stride = static_cast<size_t>(kernels().padded_dim(kDim));
  const auto group = static_cast<size_t>(kernels().row_group);
  std::vector<float> m(kRowPadding, -kInfinity), l(kRowPadding, 0.0f);
  std::vector<float> o((kRows + group - 1) / group * group * stride, 0.0f);
  std::vector<float> em = m, el = l, eo = o;
  for (size_t r = 0; r < kRows; ++r) {
    m[r] = static_cast<float>(r) - 2.5f;
    l[r] = 1 + static_cast<float>(r) / 3;
    for (size_t c = 0; c < kDim; ++c)
      o[(r / group * stride + c) * group + r % group] =
          static_cast<float>(hash_of(static_cast<uint32_t>(r * 99 + c), 3)) / 7e8f;
  }
  std::vector<float> am = m, al = l, ao = o, bm = em, bl = el, bo = eo;
  kernels().merge_states({am.data(), al.data(), ao.data()}, {em.data(), el.data(), eo.data()},
                         kRows, kDim);
  EXPECT_EQ(am, m);
  EXPECT_EQ(al, l);
  EXPECT_EQ(ao, o);
  kernels().merge_states({bm.data(), bl.data(), bo.data()}, {m.data(), l.data(), o.data()}, kRows,
                         kDim);
  EXPECT_EQ(bm, m);
  EXPECT_EQ(bl, l);
  EXPECT_EQ(bo, o);
}

}  // namespace
}  // namespace pagoda::cpu
