// The numbers that GGUF files use for types: of metadata values, and of tensor elements.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/formats/tensor_view.h"

namespace pagoda::engine {

enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};
inline constexpr uint32_t kNumGgufTypes = 13;

constexpr const char* name_of(GgufType type) {
  constexpr const char* names[kNumGgufTypes] = {"UINT8",  "INT8",    "UINT16", "INT16",  "UINT32",
                                                "INT32",  "FLOAT32", "BOOL",   "STRING", "ARRAY",
                                                "UINT64", "INT64",   "FLOAT64"};
  return names[static_cast<uint32_t>(type)];
}

// Bytes of a value; of a string the least it can have, its length field. Not for arrays.
constexpr int64_t size_of(GgufType type) {
  constexpr int64_t sizes[kNumGgufTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
  return sizes[static_cast<uint32_t>(type)];
}

constexpr bool is_float(GgufType type) {
  return type == GgufType::kFloat32 || type == GgufType::kFloat64;
}
constexpr bool is_string(GgufType type) {
  return type == GgufType::kString;
}
constexpr bool is_integer(GgufType type) {
  return !is_float(type) && !is_string(type) && type != GgufType::kBool && type != GgufType::kArray;
}

inline constexpr const char* kReadableGgmlTypes =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K";

// Nothing for an element type that exists but is not read here, and for one that does not exist.
constexpr std::optional<TensorType> tensor_type_of_ggml(uint32_t number) {
  switch (number) {
    case 0:
      return TensorType::kF32;
    case 1:
      return TensorType::kF16;
    case 2:
      return TensorType::kQ4_0;
    case 3:
      return TensorType::kQ4_1;
    case 6:
      return TensorType::kQ5_0;
    case 7:
      return TensorType::kQ5_1;
    case 8:
      return TensorType::kQ8_0;
    case 12:
      return TensorType::kQ4_K;
    case 13:
      return TensorType::kQ5_K;
    case 14:
      return TensorType::kQ6_K;
    case 30:
      return TensorType::kBf16;
    default:
      return std::nullopt;
  }
}

// For messages about types that are not read.
constexpr const char* ggml_type_name(uint32_t number) {
  constexpr const char* names[] = {
      "F32",     "F16",    "Q4_0",    "Q4_1",  "Q4_2",   "Q4_3",  "Q5_0",  "Q5_1",
      "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
      "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
      "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16"};
  return number < std::size(names) ? names[number] : "unknown";
}

}  // namespace pagoda::engine
