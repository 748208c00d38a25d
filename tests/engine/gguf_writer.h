// Writes GGUF files for tests, right or wrong: every count, type and offset can be set to something
// that the format forbids.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::engine {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string gguf_string(std::string_view text) {
  return raw<uint64_t>(text.size()) + std::string(text);
}

enum GgufNumber : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

struct GgufEntry {
  std::string key;
  uint32_t type;
  std::string payload;
};

struct GgufTensor {
  std::string name;
  std::vector<uint64_t> dims;  // innermost first, as in the file
  uint32_t type = 0;
  std::string data;
  std::optional<uint64_t> offset = std::nullopt;  // where it claims to be, when that is elsewhere
};

struct GgufWriter {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> num_tensors;  // what the header claims, when that is not the truth
  std::optional<uint64_t> num_entries;
  uint64_t alignment = 32;  // with which the data is laid out
  std::vector<GgufEntry> entries;
  std::vector<GgufTensor> tensors;
  std::string trailing;

  void add(std::string key, uint32_t type, std::string payload) {
    entries.push_back({std::move(key), type, std::move(payload)});
  }
  void add_u32(std::string key, uint32_t value) { add(std::move(key), kU32, raw(value)); }
  void add_f32(std::string key, float value) { add(std::move(key), kF32, raw(value)); }
  void add_bool(std::string key, bool value) { add(std::move(key), kBool, raw<uint8_t>(value)); }
  void add_string(std::string key, std::string_view value) {
    add(std::move(key), kString, gguf_string(value));
  }
  void add_array(std::string key, uint32_t type, uint64_t count, const std::string& elements) {
    add(std::move(key), kArray, raw(type) + raw(count) + elements);
  }
  void add_strings(std::string key, const std::vector<std::string>& values) {
    std::string elements;
    for (const std::string& value : values) elements += gguf_string(value);
    add_array(std::move(key), kString, values.size(), elements);
  }
  template <class T>
  void add_numbers(std::string key, uint32_t type, const std::vector<T>& values) {
    std::string elements;
    for (T value : values) elements += raw(value);
    add_array(std::move(key), type, values.size(), elements);
  }

  GgufEntry& entry(std::string_view key) {
    for (GgufEntry& entry : entries)
      if (entry.key == key) return entry;
    throw std::runtime_error("the test names no entry: " + std::string(key));
  }
  GgufTensor& tensor(std::string_view name) {
    for (GgufTensor& tensor : tensors)
      if (tensor.name == name) return tensor;
    throw std::runtime_error("the test names no tensor: " + std::string(name));
  }
  void remove_entry(std::string_view key) {
    std::erase_if(entries, [&](const GgufEntry& entry) { return entry.key == key; });
  }
  void remove_tensor(std::string_view name) {
    std::erase_if(tensors, [&](const GgufTensor& tensor) { return tensor.name == name; });
  }

  // The file without its tensor data.
  std::string header() const {
    std::string bytes = magic + raw(version) + raw(num_tensors.value_or(tensors.size())) +
                        raw(num_entries.value_or(entries.size()));
    for (const GgufEntry& entry : entries)
      bytes += gguf_string(entry.key) + raw(entry.type) + entry.payload;
    uint64_t offset = 0;
    for (const GgufTensor& tensor : tensors) {
      bytes += gguf_string(tensor.name) + raw(static_cast<uint32_t>(tensor.dims.size()));
      for (uint64_t dim : tensor.dims) bytes += raw(dim);
      bytes += raw(tensor.type) + raw(tensor.offset.value_or(offset));
      offset = padded(offset + tensor.data.size());
    }
    return bytes;
  }

  std::string file() const {
    std::string bytes = header();
    if (!tensors.empty()) bytes.resize(padded(bytes.size()));
    const size_t start = bytes.size();
    for (const GgufTensor& tensor : tensors) {
      bytes += tensor.data;
      bytes.resize(start + padded(bytes.size() - start));
    }
    return bytes + trailing;
  }

 private:
  uint64_t padded(uint64_t size) const { return (size + alignment - 1) / alignment * alignment; }
};

}  // namespace pagoda::engine
