// A cache manager with short ways to say what a test does with it.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "src/core/error.h"
#include "src/kv/cache_manager.h"

namespace pagoda::test {

using Tokens = std::vector<int32_t>;

// first, first + 1, ...
inline Tokens run(int32_t count, int32_t first = 0) {
  Tokens tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

inline Bytes bytes(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

inline Group full(int32_t page_size, int32_t pool = 0) {
  return {.layout = {.page_size = page_size}, .pool = pool};
}

inline Group windowed(int32_t page_size, int32_t window, int32_t pool = 0) {
  return {.layout = {.page_size = page_size}, .window = window, .pool = pool};
}

inline CacheSettings settings(std::vector<Group> groups, std::vector<int64_t> num_pages) {
  return {.shape = make_shape(std::move(groups), std::move(num_pages)), .seed = bytes("test")};
}

template <class Call>
pagoda_status status_of(const Call& call) {
  try {
    call();
    return PAGODA_OK;
  } catch (const Failure& failure) {
    return failure.status;
  }
}

struct World : CacheManager {
  using CacheManager::CacheManager;
  World(std::vector<Group> groups, std::vector<int64_t> num_pages)
      : CacheManager(settings(std::move(groups), std::move(num_pages))) {}

  int32_t enter(uint64_t id, const Tokens& tokens, Domain domain = {}) {
    return begin({.id = id,
                  .tokens = tokens,
                  .num_tokens = static_cast<int32_t>(tokens.size()),
                  .domain = std::move(domain)});
  }

  int32_t look(const Tokens& tokens, Domain domain = {}) {
    return find({.tokens = tokens,
                 .num_tokens = static_cast<int32_t>(tokens.size()),
                 .domain = std::move(domain)});
  }

  // Computes all that is known of a request.
  void compute(uint64_t id) {
    grow(id, request(id).num_tokens);
    commit(id, request(id).num_tokens);
  }

  // A request from its prompt to its end.
  int32_t serve(uint64_t id, const Tokens& tokens, Domain domain = {}) {
    const int32_t cached = enter(id, tokens, std::move(domain));
    compute(id);
    free(id);
    return cached;
  }

  Tokens row(uint64_t id, size_t group = 0) const {
    const auto pages = request(id).groups[group].row.pages();
    return {pages.begin(), pages.end()};
  }
};

}  // namespace pagoda::test
