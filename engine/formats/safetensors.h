// The safetensors container: a JSON directory in front of raw little-endian tensors, in one file or
// in several with an index. As hostile as GGUF files and checked as strictly: every byte of the
// data part belongs to exactly one tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/tensor_view.h"

namespace pagoda::engine {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = uint64_t{16} << 20;
inline constexpr int64_t kMaxSafetensorsTensors = 65536;
inline constexpr int64_t kMaxSafetensorsNameBytes = 256;
inline constexpr int64_t kMaxSafetensorsRank = 8;
inline constexpr int64_t kMaxSafetensorsDim = int64_t{1} << 40;
inline constexpr int kMaxSafetensorsShards = 1024;

class SafetensorsFile {
 public:
  // One file. Errors: kNotFound, kIo, kWrongFileType, kTruncated, kMalformed, kLimit, kUnsupported.
  static SafetensorsFile open(const std::filesystem::path& path);

  // A folder with model.safetensors, or with model.safetensors.index.json and the files it names.
  // Errors also: kMalformed when index and files do not list the same tensors.
  static SafetensorsFile open_folder(const std::filesystem::path& folder);

  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  // Ordered by name. The bytes are those of the mapped files; they may be unaligned.
  std::span<const TensorView> tensors() const;
  const TensorView* find_tensor(std::string_view name) const;  // nullptr when absent

  // Errors: kTruncated when a file has shrunk since it was opened.
  void require_not_shortened() const;

 private:
  struct State;
  explicit SafetensorsFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace pagoda::engine
