// The edge between exceptions inside and statuses outside. Nothing else in the library catches.
#pragma once

#include <pagoda/pagoda.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "../core/error.h"

namespace pagoda::capi {

// The sentence behind pagoda_last_error, of this thread.
std::string& last_error();

pagoda_status fail(pagoda_status status, const char* sentence) noexcept;

template <class Body>
pagoda_status guard(const Body& body) noexcept {
  try {
    body();
    return PAGODA_OK;
  } catch (const Failure& failure) {
    return fail(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    return fail(PAGODA_OUT_OF_MEMORY, "host memory is exhausted");
  } catch (const std::exception& error) {
    return fail(PAGODA_INTERNAL, error.what());
  } catch (...) {
    return fail(PAGODA_INTERNAL, "an exception of unknown type");
  }
}

// For functions that return text: its length, with as much of it as fits and a final zero.
template <class Body>
size_t guard_text(char* buffer, size_t capacity, const Body& body) noexcept {
  try {
    const std::string text = body();
    if (buffer != nullptr && capacity > 0) {
      const size_t kept = std::min(text.size(), capacity - 1);
      std::memcpy(buffer, text.data(), kept);
      buffer[kept] = '\0';
    }
    return text.size();
  } catch (const std::exception& error) {
    fail(PAGODA_INTERNAL, error.what());
    if (buffer != nullptr && capacity > 0) buffer[0] = '\0';
    return 0;
  }
}

// A copy of a struct that may come from an older or newer header: missing fields are zero, and
// fields that this version does not know must be.
template <class Struct>
Struct read_struct(const Struct* given, const char* name) {
  expect(given != nullptr, PAGODA_INVALID_ARGUMENT, name, " is NULL");
  uint32_t size = 0;
  std::memcpy(&size, given, sizeof size);
  expect(size >= sizeof(uint32_t) && size <= 4096, PAGODA_INVALID_ARGUMENT, name,
         ".struct_size is ", size, "; set it to sizeof(", name, "), ", sizeof(Struct),
         " in this header");
  Struct own{};
  if (size == sizeof(Struct)) [[likely]] {
    std::memcpy(&own, given, sizeof(Struct));
    return own;
  }
  std::memcpy(&own, given, std::min<size_t>(size, sizeof(Struct)));
  const char* bytes = reinterpret_cast<const char*>(given);
  for (size_t i = sizeof(Struct); i < size; ++i)
    expect(bytes[i] == 0, PAGODA_UNSUPPORTED, name, " of ", size, " bytes sets byte ", i,
           ", which this version of the library does not know; it knows ", sizeof(Struct));
  return own;
}

template <class Out>
void expect_out(const Out* out, const char* name) {
  expect(out != nullptr, PAGODA_INVALID_ARGUMENT, name, " is NULL");
}

// Fills a struct of the caller's, which may be shorter or longer than this version's.
template <class Struct>
void write_struct(Struct* out, Struct own, const char* name) {
  read_struct(out, name);
  uint32_t size = 0;
  std::memcpy(&size, out, sizeof size);
  own.struct_size = size;
  std::memcpy(out, &own, std::min<size_t>(size, sizeof(Struct)));
}

}  // namespace pagoda::capi
