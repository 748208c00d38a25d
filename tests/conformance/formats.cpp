#include "formats.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace pagoda::conformance {
namespace {

// The 127 numbers of e4m3 that are not negative, by code.
const std::array<float, 127>& e4m3_numbers() {
  static const std::array<float, 127> numbers = [] {
    std::array<float, 127> all{};
    for (int code = 0; code < 127; ++code) {
      const int e = code >> 3, m = code & 7;
      all[static_cast<size_t>(code)] =
          static_cast<float>(e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10));
    }
    return all;
  }();
  return numbers;
}

// The nearest of them, ties to the even code.
int nearest_e4m3(double size) {
  const auto& numbers = e4m3_numbers();
  if (size >= double{numbers.back()}) return 126;
  const auto above = std::upper_bound(numbers.begin(), numbers.end(), size);
  const int high = static_cast<int>(above - numbers.begin()), low = high - 1;
  const double to_low = size - double{numbers[static_cast<size_t>(low)]};
  const double to_high = double{*above} - size;
  if (to_low != to_high) return to_low < to_high ? low : high;
  return low % 2 == 0 ? low : high;
}

}  // namespace

Stored stored_keys(pagoda_kv_format format, pagoda_dtype same) {
  switch (format) {
    case PAGODA_KV_FP8_E4M3:
      return {PAGODA_FP8_E4M3, ScaleOf::head};
    case PAGODA_KV_FP8_E4M3_TOKEN:
      return {PAGODA_FP8_E4M3, ScaleOf::token};
    case PAGODA_KV_INT8_TOKEN:
    case PAGODA_KV_INT8_CHANNEL_V:
    case PAGODA_KV_INT8_KEYS:
      return {PAGODA_INT8, ScaleOf::token};
    default:
      return {same, ScaleOf::none};
  }
}

Stored stored_values(pagoda_kv_format format, pagoda_dtype same) {
  if (format == PAGODA_KV_INT8_CHANNEL_V) return {PAGODA_INT8, ScaleOf::channel};
  if (format == PAGODA_KV_INT8_KEYS) return {same, ScaleOf::none};
  return stored_keys(format, same);
}

Stored stored_queries(pagoda_query_format format, pagoda_dtype same) {
  if (format == PAGODA_QUERY_INT8) return {PAGODA_INT8, ScaleOf::token};
  if (format == PAGODA_QUERY_FP8_E4M3) return {PAGODA_FP8_E4M3, ScaleOf::head};
  return {same, ScaleOf::none};
}

float scale_of_row(const Stored& stored, const float* row, int64_t dim) {
  float absmax = 0;
  for (int64_t e = 0; e < dim; ++e)
    if (!std::isnan(row[e]))
      absmax = std::max(absmax, std::min(std::fabs(row[e]), std::numeric_limits<float>::max()));
  return std::max(absmax / (stored.dtype == PAGODA_INT8 ? 127.0f : 448.0f), 1e-6f);
}

float coded(pagoda_dtype code, float x, float scale) {
  const double y = double{x * (1 / scale)};
  if (code == PAGODA_INT8) {
    if (std::isnan(y)) return 0;
    return static_cast<float>(std::trunc(std::clamp(y, -128.0, 127.0) + std::copysign(0.5, y)));
  }
  if (std::isnan(y)) return std::numeric_limits<float>::quiet_NaN();
  const float size = e4m3_numbers()[static_cast<size_t>(nearest_e4m3(std::fabs(y)))];
  return std::signbit(y) ? -size : size;
}

uint8_t code_of(pagoda_dtype code, float number) {
  if (code == PAGODA_INT8) return static_cast<uint8_t>(static_cast<int8_t>(number));
  const int sign = std::signbit(number) ? 0x80 : 0;
  const int size = std::isnan(number) ? 0x7f : nearest_e4m3(double{std::fabs(number)});
  return static_cast<uint8_t>(sign | size);
}

float number_of(pagoda_dtype code, uint8_t byte) {
  if (code == PAGODA_INT8) return static_cast<int8_t>(byte);
  const float size =
      (byte & 0x7f) == 0x7f ? std::numeric_limits<float>::quiet_NaN() : e4m3_numbers()[byte & 0x7f];
  return byte & 0x80 ? -size : size;
}

}  // namespace pagoda::conformance
