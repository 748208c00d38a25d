// See mapped_file.h. POSIX only: open, fstat, mmap.
#include "engine/formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "engine/error.h"

namespace pagoda::engine {
namespace {

struct Lookalike {
  std::string_view front;
  const char* sentence;
};

// Checked in this order; the first whose bytes match wins.
constexpr Lookalike kLookalikes[] = {
    {"version https://git-lfs",
     "is a Git-LFS pointer, not the model itself; fetch the content with 'git lfs pull'"},
    {std::string_view("PK\3\4"),
     "is a zip archive, as PyTorch writes it; its pickle can run code and is not read, convert it "
     "to safetensors"},
    {"\x80\x02",
     "is a Python pickle, which can run code and is not read; convert it to safetensors"},
    {"\x80\x03",
     "is a Python pickle, which can run code and is not read; convert it to safetensors"},
    {"\x80\x04",
     "is a Python pickle, which can run code and is not read; convert it to safetensors"},
    {"\x80\x05",
     "is a Python pickle, which can run code and is not read; convert it to safetensors"},
    {"lmgg", "is a GGML file, older than GGUF; convert the model anew"},
    {"fmgg", "is a GGMF file, older than GGUF; convert the model anew"},
    {"tjgg", "is a GGJT file, older than GGUF; convert the model anew"},
    {"\x1f\x8b", "is gzip-compressed; unpack it first"},
    {"\x89HDF", "is an HDF5 file; convert it to safetensors"},
    {"<!DOCTYPE", "is a web page, so the download went wrong"},
    {"<!doctype", "is a web page, so the download went wrong"},
    {"<html", "is a web page, so the download went wrong"},
};

}  // namespace

MappedFile::MappedFile(std::filesystem::path path, int fd, std::span<const std::byte> bytes)
    : path_(std::move(path)), fd_(fd), bytes_(bytes) {}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  release();
  path_ = std::move(other.path_);
  fd_ = std::exchange(other.fd_, -1);
  bytes_ = std::exchange(other.bytes_, {});
  return *this;
}

MappedFile::~MappedFile() {
  release();
}

void MappedFile::release() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (fd_ >= 0) close(fd_);
  bytes_ = {};
  fd_ = -1;
}

MappedFile MappedFile::open(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const int open_error = errno;
  require(fd >= 0 || open_error != ENOENT, ErrorKind::kNotFound, "there is no file ",
          path.string());
  require(fd >= 0, ErrorKind::kIo, "cannot open ", path.string(), ": ", std::strerror(open_error));
  MappedFile file(path, fd, {});  // owns fd from here on

  struct stat info = {};
  require(fstat(fd, &info) == 0, ErrorKind::kIo, "cannot read the size of ", path.string(), ": ",
          std::strerror(errno));
  require(S_ISREG(info.st_mode), ErrorKind::kWrongFileType, path.string(),
          " is not a regular file");
  require(info.st_size > 0, ErrorKind::kTruncated, path.string(), " is empty");

  const auto size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  require(data != MAP_FAILED, ErrorKind::kIo, "cannot map ", path.string(), " (", size,
          " bytes): ", std::strerror(errno));
  file.bytes_ = {static_cast<const std::byte*>(data), size};
  return file;
}

std::vector<std::byte> MappedFile::read_front(int64_t max_bytes) const {
  std::vector<std::byte> front(static_cast<size_t>(std::min(size(), max_bytes)));
  size_t done = 0;
  while (done < front.size()) {
    const ssize_t got =
        pread(fd_, front.data() + done, front.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    require(got >= 0, ErrorKind::kIo, "cannot read ", path_.string(), ": ", std::strerror(errno));
    require(got > 0, ErrorKind::kTruncated, path_.string(), " became shorter while it was read");
    done += static_cast<size_t>(got);
  }
  return front;
}

void MappedFile::require_not_shortened() const {
  struct stat info = {};
  require(fstat(fd_, &info) == 0, ErrorKind::kIo, "cannot read the size of ", path_.string(), ": ",
          std::strerror(errno));
  require(info.st_size >= size(), ErrorKind::kTruncated, path_.string(), " had ", size(),
          " bytes when it was opened and has ", info.st_size, " now");
}

void forget_mapped(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (address + page - 1) / page * page;
  const uintptr_t end = (address + bytes.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void require_no_lookalike(std::span<const std::byte> front, const std::filesystem::path& path) {
  const std::string_view text(reinterpret_cast<const char*>(front.data()), front.size());
  for (const Lookalike& lookalike : kLookalikes)
    require(!text.starts_with(lookalike.front), ErrorKind::kWrongFileType, path.string(), " ",
            lookalike.sentence);
}

}  // namespace pagoda::engine
