// Owned memory for numbers, aligned to 256 bytes, as workspaces of attention must be.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "engine/error.h"

namespace pagoda::engine {

// A hint, where the system takes it: fewer misses while weights stream by.
inline void prefer_large_pages([[maybe_unused]] void* bytes, [[maybe_unused]] size_t size) {
#ifdef MADV_HUGEPAGE
  madvise(bytes, size, MADV_HUGEPAGE);
#endif
}

// Memory straight from the system: zero, and without cost until it is touched. So a page cache can
// be sized for the worst case.
class SystemMemory {
 public:
  explicit SystemMemory(size_t size) : bytes_(nullptr, Unmap{size}) {
    if (size == 0) return;
    void* const bytes = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(bytes != MAP_FAILED, ErrorKind::kLimit, "the system refused ", size >> 20,
            " MiB of memory");
    prefer_large_pages(bytes, size);
    bytes_.reset(static_cast<std::byte*>(bytes));
  }

  std::byte* data() const { return bytes_.get(); }
  size_t size() const { return bytes_.get_deleter().size; }

 private:
  struct Unmap {
    size_t size;
    void operator()(std::byte* bytes) const { munmap(bytes, size); }
  };
  std::unique_ptr<std::byte, Unmap> bytes_;
};

// [size] elements, not initialised.
template <class T>
class Array {
 public:
  Array() = default;
  explicit Array(int64_t size)
      : elements_(static_cast<T*>(::operator new(static_cast<size_t>(size) * sizeof(T), kAlign))),
        size_(size) {}

  T* data() const { return elements_.get(); }
  int64_t size() const { return size_; }

 private:
  static constexpr std::align_val_t kAlign{256};
  struct Free {
    void operator()(T* elements) const { ::operator delete(elements, kAlign); }
  };
  std::unique_ptr<T, Free> elements_;
  int64_t size_ = 0;
};

}  // namespace pagoda::engine
