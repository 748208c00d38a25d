// kv.hpp - kv.h in C++20: an owning cache, spans, exceptions. Header-only.
#pragma once

#include <pagoda/kv.h>

#include <cstdint>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <span>
#include <string_view>
#include <vector>

namespace pagoda {
inline namespace v1 {

using CacheGroup = Sized<pagoda_cache_group>;
using CacheOptions = Sized<pagoda_cache_options>;
using CacheExtra = Sized<pagoda_cache_extra>;
using CacheRequestInfo = Sized<pagoda_cache_request_info>;
using CacheStep = Sized<pagoda_cache_step>;
using CacheStats = Sized<pagoda_cache_stats>;
using CachePageInfo = Sized<pagoda_cache_page_info>;

// Borrows what it is given; the cache copies it.
struct CacheRequest : Sized<pagoda_cache_request> {
  CacheRequest() = default;

  CacheRequest(uint64_t request_id, std::span<const int32_t> prompt, std::string_view tenant = {},
               std::string_view lora = {}) {
    id = request_id;
    tokens = prompt.data();
    num_tokens = static_cast<int32_t>(prompt.size());
    salt = tenant.data();
    salt_size = tenant.size();
    adapter = lora.data();
    adapter_size = lora.size();
  }
};

class Cache {
 public:
  explicit Cache(const CacheOptions& options) {
    pagoda_cache* raw = nullptr;
    check(pagoda_cache_create(&options, &raw));
    handle_.reset(raw);
  }

  // One group of layers with a pool of its own, the most common case.
  static Cache single(int32_t page_size, int64_t num_pages, bool prefix_cache = true) {
    CacheGroup group;
    group.page_size = page_size;
    CacheOptions options;
    options.num_groups = 1;
    options.groups = &group;
    options.num_pools = 1;
    options.num_pages = &num_pages;
    options.no_prefix_cache = prefix_cache ? 0 : 1;
    return Cache(options);
  }

  pagoda_cache* get() const noexcept { return handle_.get(); }

  // Returns how many of the request's tokens are cached.
  int32_t begin(const CacheRequest& request) {
    int32_t cached = 0;
    check(pagoda_cache_begin(get(), &request, &cached));
    return cached;
  }

  int32_t find(const CacheRequest& request) const {
    int32_t cached = 0;
    check(pagoda_cache_find(get(), &request, &cached));
    return cached;
  }

  // False, with nothing taken, if too few pages are left: preempt a request, or wait.
  [[nodiscard]] bool grow(uint64_t id, int32_t num_tokens) {
    const Status status = pagoda_cache_grow(get(), id, num_tokens);
    if (status == PAGODA_OUT_OF_PAGES) return false;
    check(status);
    return true;
  }

  void shrink(uint64_t id, int32_t num_tokens) {
    check(pagoda_cache_shrink(get(), id, num_tokens));
  }

  void append(uint64_t id, std::span<const int32_t> tokens) {
    check(pagoda_cache_append(get(), id, tokens.data(), static_cast<int32_t>(tokens.size())));
  }
  void append(uint64_t id, int32_t token) { check(pagoda_cache_append(get(), id, &token, 1)); }

  void commit(uint64_t id, int32_t num_computed_tokens) {
    check(pagoda_cache_commit(get(), id, num_computed_tokens));
  }

  void free(uint64_t id) { check(pagoda_cache_free(get(), id)); }
  void reset() { check(pagoda_cache_reset(get())); }

  void fill(int32_t group, const CacheStep& step) const {
    check(pagoda_cache_fill(get(), group, &step));
  }

  std::vector<int32_t> page_row(int32_t group, uint64_t id) const {
    int32_t count = 0;
    check(pagoda_cache_page_row(get(), group, id, 0, nullptr, 0, &count));
    std::vector<int32_t> row(static_cast<size_t>(count));
    check(pagoda_cache_page_row(get(), group, id, 0, row.data(), count, &count));
    return row;
  }

  // slots: one for each position from first_position on
  void slots(int32_t group, uint64_t id, int32_t first_position, std::span<int64_t> slots) const {
    check(pagoda_cache_slots(get(), group, id, first_position, static_cast<int32_t>(slots.size()),
                             slots.data()));
  }

  int32_t common_prefix(int32_t group, std::span<const uint64_t> ids) const {
    int32_t tokens = 0;
    check(pagoda_cache_common_prefix(get(), group, ids.data(), static_cast<int32_t>(ids.size()),
                                     &tokens));
    return tokens;
  }

  uint64_t step_begin() {
    uint64_t step = 0;
    check(pagoda_cache_step_begin(get(), &step));
    return step;
  }
  void step_done(uint64_t step) { check(pagoda_cache_step_done(get(), step)); }

  CacheRequestInfo request(uint64_t id) const {
    CacheRequestInfo info;
    check(pagoda_cache_get_request(get(), id, &info));
    return info;
  }

  CacheStats stats(int32_t pool = -1) const {
    CacheStats stats;
    check(pagoda_cache_get_stats(get(), pool, &stats));
    return stats;
  }

  CachePageInfo page(int32_t pool, int64_t page) const {
    CachePageInfo info;
    check(pagoda_cache_get_page(get(), pool, page, &info));
    return info;
  }

  int64_t pages_for(int32_t pool, int32_t num_tokens, int32_t max_query_len) const {
    int64_t pages = 0;
    check(pagoda_cache_pages_for(get(), pool, num_tokens, max_query_len, &pages));
    return pages;
  }

 private:
  struct Destroy {
    void operator()(pagoda_cache* cache) const { pagoda_cache_destroy(cache); }
  };
  std::unique_ptr<pagoda_cache, Destroy> handle_;
};

}  // namespace v1
}  // namespace pagoda
