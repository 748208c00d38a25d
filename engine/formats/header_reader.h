// Reads little-endian fields from the copied front of a file, never past its end. The caller says
// what it is reading, so that a file that ends too early is reported by the place where it ends.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>
#include <type_traits>

#include "engine/error.h"

namespace pagoda::engine {

static_assert(std::endian::native == std::endian::little, "model files are read in place");

class HeaderReader {
 public:
  // `front` is the beginning of a file of `file_size` bytes; the reader gives views into it.
  HeaderReader(std::span<const std::byte> front, int64_t file_size,
               const std::filesystem::path& path)
      : front_(front), file_size_(file_size), path_(path) {}

  int64_t position() const { return static_cast<int64_t>(position_); }
  int64_t remaining() const { return static_cast<int64_t>(front_.size() - position_); }

  template <class T>
  T read(const char* what) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  // Errors: kTruncated when the file ends first, kLimit when only the front does.
  std::span<const std::byte> take(uint64_t count, const char* what) {
    if (count > front_.size() - position_) refuse(count, what);
    const auto taken = front_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  // A 64-bit length and so many bytes.
  std::string_view read_string(uint64_t max_bytes, const char* what) {
    const auto length = read<uint64_t>(what);
    require(length <= max_bytes, ErrorKind::kLimit, path_.string(), ": ", what, " at byte ",
            position_ - sizeof(length), " claims ", length, " bytes, the limit is ", max_bytes);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  [[noreturn]] void refuse(uint64_t count, const char* what) const {
    if (front_.size() < static_cast<size_t>(file_size_) &&
        count <= static_cast<size_t>(file_size_) - position_)
      fail(ErrorKind::kLimit, path_.string(), ": the header reaches beyond ", front_.size(),
           " bytes, the limit of this reader (at ", what, ")");
    fail(ErrorKind::kTruncated, path_.string(), " ends inside its header: ", what, " at byte ",
         position_, " needs ", count, " bytes, ", static_cast<size_t>(file_size_) - position_,
         " are left");
  }

  std::span<const std::byte> front_;
  size_t position_ = 0;
  int64_t file_size_;
  const std::filesystem::path& path_;
};

}  // namespace pagoda::engine
