// The GGUF container, versions 2 and 3: metadata and a directory of tensors. Only the container is
// understood here; what the keys mean is said in gguf_config.cpp and in the tokenizer.
//
// The file is treated as hostile. Everything is checked when it is opened: counts and lengths
// against limits before anything is allocated, products without overflow, every span against the
// length of the file, no two tensors over the same bytes, no name twice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/formats/tensor_view.h"

namespace pagoda::engine {

// Limits of the reader. Real files stay far below: a header with 150,000 tokens has 6 MiB.
inline constexpr int64_t kMaxGgufHeaderBytes = int64_t{16} << 20;
inline constexpr uint64_t kMaxGgufEntries = 65536;  // metadata keys, and tensors
inline constexpr uint64_t kMaxGgufNameBytes = 256;
inline constexpr uint64_t kMaxGgufStringBytes = uint64_t{1} << 20;
inline constexpr uint32_t kMaxGgufRank = 8;
inline constexpr uint64_t kMaxGgufDim = uint64_t{1} << 40;
inline constexpr uint32_t kMaxGgufAlignment = 65536;

class GgufFile {
 public:
  // Errors: kNotFound, kIo, kWrongFileType, kTruncated, kMalformed, kLimit, kUnsupported.
  static GgufFile open(const std::filesystem::path& path);

  ~GgufFile();
  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;

  const std::filesystem::path& path() const;
  uint32_t version() const;
  int64_t num_metadata() const;

  // Metadata by key: nothing when the key is absent. Integers of any width and sign are widened.
  // Errors: kMalformed when the value has another type.
  std::optional<int64_t> find_int(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_ints(std::string_view key) const;
  std::optional<std::vector<float>> find_floats(std::string_view key) const;
  std::optional<std::vector<std::string_view>> find_strings(std::string_view key) const;
  bool is_array(std::string_view key) const;  // false when absent

  // In file order. The bytes are those of the mapped file.
  std::span<const TensorView> tensors() const;
  const TensorView* find_tensor(std::string_view name) const;  // nullptr when absent

  // Errors: kTruncated when the file has shrunk since it was opened.
  void require_not_shortened() const;

 private:
  struct State;
  explicit GgufFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace pagoda::engine
