// Host and device. How keys and values become bytes of the cache and back, and queries bytes: one
// rule per format, so that every writer produces the same bytes and every reader the same numbers.
//
//   scale of a row   max(absmax / largest, 1e-6) with largest 127 (int8) or 448 (e4m3)
//   stored           x * (1 / scale), int8 rounded half away from zero and clamped, e4m3 rounded to
//                    nearest even and clamped
//   restored         stored * scale
//
// A NaN has no place in absmax and is stored as 0 in int8, as NaN in e4m3. An infinity counts as
// the largest float: it is stored as the largest code, and what stands beside it becomes 0.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "e4m3.h"

namespace pagoda {

// What one of the two caches holds. A pagoda_kv_format names a pair.
enum class Code : uint8_t { same, e4m3, int8 };

// Who a scale belongs to: nobody (no scale), a tensor or head (static), a token and head (made by
// the writer and stored beside the row), a head and channel (static).
enum class ScaleOf : uint8_t { none, head, token, channel };

struct CacheFormat {
  Code code = Code::same;
  ScaleOf scale = ScaleOf::none;
  constexpr bool operator==(const CacheFormat&) const = default;
};

struct KvFormat {
  CacheFormat key, value;
};

constexpr KvFormat kv_format_of(pagoda_kv_format format) {
  switch (format) {
    case PAGODA_KV_SAME:
      return {};
    case PAGODA_KV_FP8_E4M3:
      return {{Code::e4m3, ScaleOf::head}, {Code::e4m3, ScaleOf::head}};
    case PAGODA_KV_FP8_E4M3_TOKEN:
      return {{Code::e4m3, ScaleOf::token}, {Code::e4m3, ScaleOf::token}};
    case PAGODA_KV_INT8_TOKEN:
      return {{Code::int8, ScaleOf::token}, {Code::int8, ScaleOf::token}};
    case PAGODA_KV_INT8_CHANNEL_V:
      return {{Code::int8, ScaleOf::token}, {Code::int8, ScaleOf::channel}};
    case PAGODA_KV_INT8_KEYS:
      return {{Code::int8, ScaleOf::token}, {}};
  }
  return {};
}

constexpr CacheFormat query_format_of(pagoda_query_format format) {
  switch (format) {
    case PAGODA_QUERY_SAME:
      return {};
    case PAGODA_QUERY_INT8:
      return {Code::int8, ScaleOf::token};
    case PAGODA_QUERY_FP8_E4M3:
      return {Code::e4m3, ScaleOf::head};
  }
  return {};
}

// The type of what is stored in a format, where `same` is the caller's.
constexpr pagoda_dtype dtype_of(CacheFormat format, pagoda_dtype same) {
  return format.code == Code::int8   ? PAGODA_INT8
         : format.code == Code::e4m3 ? PAGODA_FP8_E4M3
                                     : same;
}

PAGODA_HD constexpr float largest_code(Code code) {
  return code == Code::int8 ? 127.0f : kMaxE4m3;
}

// The larger magnitude of a row so far and one more element.
PAGODA_HD inline float grow_absmax(float absmax, float x) {
  const float magnitude = std::fabs(x);
  if (!(magnitude > absmax)) return absmax;  // NaN too
  return magnitude > std::numeric_limits<float>::max() ? std::numeric_limits<float>::max()
                                                       : magnitude;
}

PAGODA_HD inline float scale_of_row(Code code, float absmax) {
  const float scale = absmax / largest_code(code);
  return scale > 1e-6f ? scale : 1e-6f;
}

PAGODA_HD inline int8_t encode_int8(float x, float inverse_scale) {
  const float y = x * inverse_scale;
  if (!(y == y)) return 0;
  const float rounded = std::round(y);
  const float clamped = rounded > 127 ? 127.0f : rounded < -128 ? -128.0f : rounded;
  return static_cast<int8_t>(clamped);
}

PAGODA_HD inline E4m3 encode_e4m3(float x, float inverse_scale) {
  return from_float<E4m3>(x * inverse_scale);
}

}  // namespace pagoda
