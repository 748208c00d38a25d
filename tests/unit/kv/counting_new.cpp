#include "counting_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<int64_t> count{0};
std::atomic<int64_t> until_failure{-1};
}  // namespace

namespace pagoda::test {

int64_t num_allocations() {
  return count;
}

void fail_allocation_after(int64_t allowed) {
  until_failure = allowed;
}

}  // namespace pagoda::test

// Not inline: otherwise the compiler sees free() meet memory of operator new, and warns.
[[gnu::noinline]] void* operator new(size_t size) {
  ++count;
  if (until_failure >= 0 && until_failure-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
