// A file mapped read-only into memory, and what can be said about a file that is no model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace pagoda::engine {

class MappedFile {
 public:
  // Errors: kNotFound, kIo; kWrongFileType for anything but a regular file; kTruncated for an
  // empty one.
  static MappedFile open(const std::filesystem::path& path);

  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return static_cast<int64_t>(bytes_.size()); }
  std::span<const std::byte> bytes() const { return bytes_; }

  // The first min(size(), max_bytes) bytes, copied: parsing a header from memory of our own cannot
  // be disturbed by somebody who shortens the file meanwhile.
  std::vector<std::byte> read_front(int64_t max_bytes) const;

  // A mapped page behind the end of a file that was shortened is a signal, not an error, when
  // touched; so this is asked before each tensor is handed out. Errors: kTruncated.
  void require_not_shortened() const;

 private:
  MappedFile(std::filesystem::path path, int fd, std::span<const std::byte> bytes);
  void release();

  std::filesystem::path path_;
  int fd_ = -1;
  std::span<const std::byte> bytes_;
};

// Takes the memory behind these bytes of a mapped file out of this process; whoever looks at them
// again reads them from the file again.
void forget_mapped(std::span<const std::byte> bytes);

// Throws kWrongFileType with a remedy when the first bytes of a file belong to something that is
// often taken for a model file: a Git-LFS pointer, a pickle, an archive, a web page, an older
// format.
void require_no_lookalike(std::span<const std::byte> front, const std::filesystem::path& path);

}  // namespace pagoda::engine
