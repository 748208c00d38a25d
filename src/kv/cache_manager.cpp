#include "cache_manager.h"

#include <algorithm>
#include <limits>

#include "../core/error.h"
#include "prefix_search.h"

namespace pagoda {

CacheManager::CacheManager(CacheSettings settings)
    : settings_(std::move(settings)),
      hasher_(settings_.seed),
      requests_(shape().chain_spans.size(), shape().groups.size()),
      wanted_(shape().num_pages.size()) {
  pools_.reserve(shape().num_pages.size());
  for (int64_t num_pages : shape().num_pages) pools_.emplace_back(num_pages, settings_.events);
  make_room();
}

void CacheManager::make_room() {
  std::vector<RequestTable::Draft> drafts;
  for (int32_t i = 0; i < settings_.max_reqs; ++i) {
    drafts.push_back(requests_.draft(static_cast<uint64_t>(i)));
    reserve(*drafts.back(), settings_.max_seq_len);
    if (settings_.prefix_cache)
      drafts.back()->tokens.reserve(static_cast<size_t>(settings_.max_seq_len));
  }
  for (RequestTable::Draft& draft : drafts) requests_.insert(std::move(draft));
  for (int32_t i = 0; i < settings_.max_reqs; ++i) requests_.erase(static_cast<uint64_t>(i));
}

// Room for the rows and digests of num_tokens tokens.
void CacheManager::reserve(Request& request, int32_t num_tokens) const {
  for (size_t g = 0; g < request.groups.size(); ++g)
    request.groups[g].row.reserve(pages_of(group_at(g).layout, num_tokens));
  if (!settings_.prefix_cache) return;
  for (size_t c = 0; c < request.chains.size(); ++c)
    request.chains[c].digests.reserve(static_cast<size_t>(num_tokens / shape().chain_spans[c]));
}

RequestTable::Draft CacheManager::draft(const Prompt& prompt) {
  RequestTable::Draft draft = requests_.draft(prompt.id);
  draft->num_tokens = prompt.num_tokens;
  draft->sharing = shares(prompt);
  if (draft->sharing) {
    draft->tokens.assign(prompt.tokens.begin(), prompt.tokens.end());
    draft->domain = prompt.domain;
  }
  return draft;
}

int32_t CacheManager::find(const Prompt& prompt) {
  if (!shares(prompt)) return 0;
  RequestTable::Draft probe = draft(prompt);
  const int32_t cached = find_prefix(shape(), pools_, *probe, prompt.num_tokens - 1, hasher_);
  requests_.recycle(std::move(probe));
  return cached;
}

int32_t CacheManager::begin(const Prompt& prompt) {
  expect(!requests_.contains(prompt.id), PAGODA_INVALID_ARGUMENT, "request ", prompt.id,
         " is in the cache already; free it first, or give this one another id");
  RequestTable::Draft fresh = draft(prompt);
  // The last token is computed even if it is cached: its logits are what the request is for.
  const int32_t cached =
      fresh->sharing ? find_prefix(shape(), pools_, *fresh, prompt.num_tokens - 1, hasher_) : 0;
  reserve(*fresh, cached);
  Request& request = requests_.insert(std::move(fresh));
  // Nothing below takes memory, so nothing below fails.
  hold_prefix(request, cached);
  if (request.sharing) {
    ++lookups_.queries;
    lookups_.query_tokens += prompt.num_tokens;
    lookups_.hit_tokens += cached;
  }
  return cached;
}

void CacheManager::hold_prefix(Request& request, int32_t num_tokens) {
  request.num_cached = request.num_computed = request.capacity = num_tokens;
  for (size_t g = 0; g < request.groups.size(); ++g) {
    const Group& group = group_at(g);
    const Chain& chain = request.chains[static_cast<size_t>(group.chain)];
    GroupState& state = request.groups[g];
    const int32_t end = num_tokens / group.layout.span();
    state.num_published = end;
    state.row.skip(end - pages_needed(group, num_tokens));
    for (int32_t i = state.row.size(); i < end; ++i) {
      const Digest& digest = chain.digests[static_cast<size_t>(i)];
      const int32_t page = pool_of(g).find(page_key(digest, static_cast<int32_t>(g)));
      pool_of(g).hold(page);
      state.row.append(page);
    }
  }
}

void CacheManager::grow(uint64_t id, int32_t num_tokens) {
  Request& request = requests_.at(id);
  if (num_tokens <= request.capacity) return;
  std::fill(wanted_.begin(), wanted_.end(), 0);
  for (size_t g = 0; g < request.groups.size(); ++g) {
    const Group& group = group_at(g);
    PageRow& row = request.groups[g].row;
    const int32_t pages = pages_of(group.layout, num_tokens);
    wanted_[static_cast<size_t>(group.pool)] += std::max(0, pages - row.size());
    row.reserve(pages);
  }
  for (size_t p = 0; p < pools_.size(); ++p)
    expect(wanted_[p] <= pools_[p].num_available(), PAGODA_OUT_OF_PAGES, "request ", id, " needs ",
           wanted_[p], " more pages of pool ", p, " for ", num_tokens, " tokens; ",
           pools_[p].num_available(), " of ", pools_[p].num_pages() - 1,
           " are left; free or preempt a request, or create the cache with more pages");
  for (size_t g = 0; g < request.groups.size(); ++g)
    request.groups[g].row.take(pages_of(group_at(g).layout, num_tokens), pool_of(g),
                               {.request = id, .group = static_cast<int32_t>(g)});
  request.capacity = num_tokens;
}

void CacheManager::shrink(uint64_t id, int32_t num_tokens) {
  Request& request = requests_.at(id);
  expect(num_tokens >= request.num_computed, PAGODA_INVALID_ARGUMENT, "request ", id, " has ",
         request.num_computed, " computed tokens; pages for ", num_tokens, " would not hold them");
  if (num_tokens >= request.capacity) return;
  for (size_t g = 0; g < request.groups.size(); ++g)
    request.groups[g].row.drop_back(pages_of(group_at(g).layout, num_tokens), pool_of(g));
  request.capacity = num_tokens;
}

void CacheManager::append(uint64_t id, const int32_t* tokens, int32_t num_tokens) {
  Request& request = requests_.at(id);
  expect(num_tokens <= std::numeric_limits<int32_t>::max() - request.num_tokens,
         PAGODA_INVALID_ARGUMENT, "request ", id, " has ", request.num_tokens, " tokens; ",
         num_tokens, " more do not fit 32 bits");
  if (request.sharing) request.tokens.insert(request.tokens.end(), tokens, tokens + num_tokens);
  request.num_tokens += num_tokens;
}

void CacheManager::commit(uint64_t id, int32_t num_computed) {
  Request& request = requests_.at(id);
  expect(num_computed >= request.num_computed, PAGODA_INVALID_ARGUMENT, "request ", id, " has ",
         request.num_computed, " computed tokens; ", num_computed, " would be a step back");
  expect(num_computed <= request.num_tokens, PAGODA_INVALID_ARGUMENT, "request ", id, " has ",
         request.num_tokens, " known tokens, so ", num_computed,
         " cannot be computed; tell them with pagoda_cache_append first");
  expect(num_computed <= request.capacity, PAGODA_INVALID_ARGUMENT, "request ", id,
         " has pages for ", request.capacity, " tokens, so ", num_computed,
         " cannot be computed; pagoda_cache_grow makes them");
  if (request.sharing)
    for (size_t c = 0; c < request.chains.size(); ++c)
      extend(request.chains[c], request, shape().chain_spans[c],
             num_computed / shape().chain_spans[c], hasher_);
  request.num_computed = num_computed;
  for (size_t g = 0; g < request.groups.size(); ++g) {
    if (request.sharing) publish(request, g, num_computed / group_at(g).layout.span());
    request.groups[g].row.drop_front(pages_out_of_window(group_at(g), num_computed), pool_of(g));
  }
}

void CacheManager::publish(Request& request, size_t g, int32_t num_pages) {
  GroupState& state = request.groups[g];
  const Chain& chain = request.chains[static_cast<size_t>(group_at(g).chain)];
  for (int32_t i = state.num_published; i < num_pages; ++i) {
    const auto index = static_cast<size_t>(i);
    const PageKey key = page_key(chain.digests[index], static_cast<int32_t>(g));
    pool_of(g).publish(state.row.pages()[index], key);
    send_stored(request, g, i, key);
  }
  state.num_published = std::max(state.num_published, num_pages);
}

void CacheManager::send_stored(const Request& request, size_t g, int32_t index,
                               const PageKey& key) const {
  if (settings_.events.function == nullptr) return;
  const Group& group = group_at(g);
  const Chain& chain = request.chains[static_cast<size_t>(group.chain)];
  PageKey parent{};
  if (index > 0)
    parent = page_key(chain.digests[static_cast<size_t>(index - 1)], static_cast<int32_t>(g));
  pagoda_cache_event event = PAGODA_INIT(pagoda_cache_event);
  event.kind = PAGODA_CACHE_STORED;
  event.group = static_cast<int32_t>(g);
  event.page = request.groups[g].row.pages()[static_cast<size_t>(index)];
  event.key = key.bytes.data();
  event.parent = index > 0 ? parent.bytes.data() : nullptr;
  event.num_tokens = group.layout.span();
  event.tokens = request.tokens.data() + static_cast<ptrdiff_t>(index) * event.num_tokens;
  event.request = request.id;
  settings_.events.send(event);
}

void CacheManager::free(uint64_t id) {
  Request& request = requests_.at(id);
  for (size_t g = 0; g < request.groups.size(); ++g) request.groups[g].row.release(pool_of(g));
  requests_.erase(id);
}

void CacheManager::reset() {
  for (const PagePool& pool : pools_) pool.expect_idle();
  for (PagePool& pool : pools_) pool.reset();
  for (int32_t g = 0; g < num_groups(); ++g) {
    pagoda_cache_event event = PAGODA_INIT(pagoda_cache_event);
    event.kind = PAGODA_CACHE_CLEARED;
    event.group = g;
    settings_.events.send(event);
  }
}

uint64_t CacheManager::step_begin() {
  ++steps_begun_;
  for (PagePool& pool : pools_) pool.step_begin(steps_begun_);
  return steps_begun_;
}

void CacheManager::step_done(uint64_t step) {
  expect(step <= steps_begun_, PAGODA_INVALID_ARGUMENT, "step ", step, " is done, but only ",
         steps_begun_, " have begun (pagoda_cache_step_begin)");
  steps_done_ = std::max(steps_done_, step);
  for (PagePool& pool : pools_) pool.step_done(steps_done_);
}

const Group& CacheManager::group(int32_t group) const {
  expect(group >= 0 && group < num_groups(), PAGODA_INVALID_ARGUMENT, "group is ", group,
         "; this cache has ", num_groups());
  return group_at(static_cast<size_t>(group));
}

const PagePool& CacheManager::pool(int32_t pool) const {
  expect(pool >= 0 && pool < num_pools(), PAGODA_INVALID_ARGUMENT, "pool is ", pool,
         "; this cache has ", num_pools());
  return pools_[static_cast<size_t>(pool)];
}

int32_t CacheManager::common_prefix(int32_t group, std::span<const uint64_t> ids) const {
  const int32_t span = this->group(group).layout.span();
  if (ids.empty()) return 0;
  const auto pages_of_request = [&](uint64_t id) {
    const Request& request = requests_.at(id);
    const PageRow& row = request.groups[static_cast<size_t>(group)].row;
    // Null pages at the front of a row are nobody's, so they are not shared.
    const int32_t written = row.first_live() > 0 ? 0 : request.num_computed / span;
    return row.pages().first(static_cast<size_t>(written));
  };
  std::span<const int32_t> common = pages_of_request(ids.front());
  for (uint64_t id : ids.subspan(1)) {
    const std::span<const int32_t> other = pages_of_request(id);
    const auto [end, unused] = std::ranges::mismatch(common, other);
    common = common.first(static_cast<size_t>(end - common.begin()));
  }
  return static_cast<int32_t>(common.size()) * span;
}

int64_t CacheManager::pages_for(int32_t pool, int32_t num_tokens, int32_t max_ahead) const {
  this->pool(pool);
  int64_t pages = 0;
  for (const Group& group : shape().groups)
    if (group.pool == pool) pages += max_pages_held(group, num_tokens, max_ahead);
  return pages;
}

}  // namespace pagoda
