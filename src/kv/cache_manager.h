// The paged cache: requests, the pages they hold in each group, and what can be found again. What
// the calls mean stands in pagoda/kv.h; here they take values that the edge has checked for shape.
// Each call either does its work or throws and changes nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "groups.h"
#include "page_pool.h"
#include "prefix_hash.h"
#include "request_table.h"

namespace pagoda {

struct CacheSettings {
  CacheShape shape;
  bool prefix_cache = true;
  Bytes seed;            // empty: random
  int32_t max_reqs = 0;  // room to make, not limits
  int32_t max_seq_len = 0;
  EventSink events;
};

struct LookupCounts {
  int64_t queries = 0;
  int64_t query_tokens = 0;
  int64_t hit_tokens = 0;
};

class CacheManager {
 public:
  explicit CacheManager(CacheSettings settings);

  // Both return the number of tokens that are cached.
  int32_t begin(const Prompt& prompt);
  int32_t find(const Prompt& prompt);

  // Throws PAGODA_OUT_OF_PAGES.
  void grow(uint64_t id, int32_t num_tokens);

  void shrink(uint64_t id, int32_t num_tokens);

  // tokens: [num_tokens], not read if the request shares nothing
  void append(uint64_t id, const int32_t* tokens, int32_t num_tokens);
  void commit(uint64_t id, int32_t num_computed);
  void free(uint64_t id);
  void reset();

  uint64_t step_begin();
  void step_done(uint64_t step);

  const Request& request(uint64_t id) const { return requests_.at(id); }
  int32_t num_requests() const { return requests_.size(); }
  const LookupCounts& lookups() const { return lookups_; }
  int32_t num_groups() const { return static_cast<int32_t>(shape().groups.size()); }
  int32_t num_pools() const { return static_cast<int32_t>(pools_.size()); }

  // Throw PAGODA_INVALID_ARGUMENT if there is none of that number.
  const Group& group(int32_t group) const;
  const PagePool& pool(int32_t pool) const;

  // Leading tokens whose pages are the same and written in all of these requests.
  int32_t common_prefix(int32_t group, std::span<const uint64_t> ids) const;

  // Pages of a pool that one request holds at most; see max_pages_held.
  int64_t pages_for(int32_t pool, int32_t num_tokens, int32_t max_ahead) const;

  bool keeps_tokens() const { return settings_.prefix_cache; }

 private:
  bool shares(const Prompt& prompt) const { return settings_.prefix_cache && prompt.sharing; }
  const CacheShape& shape() const { return settings_.shape; }
  const Group& group_at(size_t g) const { return shape().groups[g]; }
  PagePool& pool_of(size_t g) { return pools_[static_cast<size_t>(group_at(g).pool)]; }
  RequestTable::Draft draft(const Prompt& prompt);
  void make_room();
  void reserve(Request& request, int32_t num_tokens) const;
  void hold_prefix(Request& request, int32_t num_tokens);
  void publish(Request& request, size_t g, int32_t num_pages);
  void send_stored(const Request& request, size_t g, int32_t index, const PageKey& key) const;

  CacheSettings settings_;
  PrefixHasher hasher_;
  std::vector<PagePool> pools_;
  RequestTable requests_;
  LookupCounts lookups_;
  uint64_t steps_begun_ = 0;
  uint64_t steps_done_ = 0;
  std::vector<int64_t> wanted_;  // [pools] kept for its memory
};

}  // namespace pagoda
