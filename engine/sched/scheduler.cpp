#include "engine/sched/scheduler.h"

#include <algorithm>
#include <utility>

#include "engine/error.h"

namespace pagoda::engine {
namespace {

void insert_by_id(std::vector<std::unique_ptr<Request>>& queue, std::unique_ptr<Request> request) {
  const auto later = [&](const auto& other) { return other->id > request->id; };
  queue.insert(std::find_if(queue.begin(), queue.end(), later), std::move(request));
}

SchedulerOptions resolve(SchedulerOptions options) {
  require(options.max_reqs >= 1, ErrorKind::kInvalidArgument, options.max_reqs,
          " requests at a time; at least 1 is needed");
  require(options.prefill_chunk >= 1, ErrorKind::kInvalidArgument, "a prefill chunk of ",
          options.prefill_chunk, " tokens; at least 1 is needed");
  if (options.max_step_tokens == 0)
    options.max_step_tokens = options.prefill_chunk + options.max_reqs - 1;
  require(options.max_step_tokens >= options.max_reqs, ErrorKind::kInvalidArgument,
          options.max_step_tokens, " tokens a step are too few for ", options.max_reqs,
          " requests at a time");
  return options;
}

}  // namespace

Scheduler::Scheduler(Cache& cache, int32_t num_pools, const SchedulerOptions& options)
    : cache_(cache), num_pools_(num_pools), options_(resolve(options)) {}

void Scheduler::require_servable(int32_t num_prompt, int32_t max_generated) const {
  require(num_prompt > 0, ErrorKind::kInvalidArgument,
          "the prompt has no tokens, and this vocabulary has no token to begin a text with; give a "
          "prompt");
  require(max_generated > 0, ErrorKind::kInvalidArgument, max_generated,
          " tokens were asked for; ask for at least 1");
  require(num_prompt + max_generated <= options_.max_seq_len, ErrorKind::kInvalidArgument,
          "a prompt of ", num_prompt, " tokens and ", max_generated,
          " to generate exceed the limit of ", options_.max_seq_len, " tokens for one sequence");
  for (int32_t pool = 0; pool < num_pools_; pool++) {
    const int64_t available = cache_.stats(pool).num_pages - 1;
    const int64_t needed =
        cache_.pages_for(pool, num_prompt + max_generated - 1, options_.prefill_chunk);
    require(needed <= available, ErrorKind::kInvalidArgument, "a prompt of ", num_prompt,
            " tokens and ", max_generated, " to generate need ", needed, " pages, the cache has ",
            available, " to give; ask for fewer tokens or give it more pages (--num-pages ",
            needed + 1, ")");
  }
}

Request& Scheduler::add(std::vector<int32_t> prompt, int32_t max_generated) {
  const auto num_prompt = static_cast<int32_t>(prompt.size());
  require_servable(num_prompt, max_generated);
  auto request = std::make_unique<Request>();
  request->id = next_id_++;
  request->tokens = std::move(prompt);
  request->num_prompt = num_prompt;
  request->max_generated = max_generated;
  waiting_.push_back(std::move(request));
  return *waiting_.back();
}

const std::vector<ScheduledTokens>& Scheduler::next_step() {
  step_.clear();
  tokens_left_ = options_.max_step_tokens;
  const int64_t preemptions = stats_.num_preemptions;
  schedule_running();
  // Pages that were just taken from a request would not do for another.
  if (stats_.num_preemptions == preemptions || running_.empty()) admit_waiting();
  schedule_drafts();
  require(!step_.empty() || !has_work(), ErrorKind::kLimit,
          "no request can go on: pages are missing although none is running");
  return step_;
}

// Each request behind the current one is sure of a token, so that a long prompt does not hold up
// those that already generate.
void Scheduler::schedule_running() {
  for (size_t i = 0; i < running_.size(); i++) {
    const auto behind = static_cast<int32_t>(running_.size() - i - 1);
    const int32_t count = chunk_of(*running_[i], tokens_left_ - behind);
    if (!grow_or_preempt(i, running_[i]->num_computed + count)) return;
    step_.push_back({.request = running_[i].get(), .num_tokens = count});
    tokens_left_ -= count;
  }
}

int32_t Scheduler::chunk_of(const Request& request, int32_t tokens_left) const {
  return std::min(
      {request.num_known() - request.num_computed, options_.prefill_chunk, tokens_left});
}

// False if running_[index] itself had to give its pages up.
bool Scheduler::grow_or_preempt(size_t index, int32_t num_tokens) {
  while (!cache_.grow(running_[index]->id, num_tokens)) {
    preempt_youngest();
    if (index == running_.size()) return false;
  }
  return true;
}

void Scheduler::preempt_youngest() {
  std::unique_ptr<Request> request = std::move(running_.back());
  running_.pop_back();
  cache_.free(request->id);
  request->num_computed = 0;
  request->draft.clear();
  request->num_preemptions++;
  stats_.num_preemptions++;
  insert_by_id(waiting_, std::move(request));
}

// Whether all of its known tokens would find pages, and a page more for each running request: else
// it would soon be preempted again, having computed for nothing.
bool Scheduler::has_room_for(const Request& request) const {
  if (running_.empty()) return true;
  for (int32_t pool = 0; pool < num_pools_; pool++) {
    const CacheStats stats = cache_.stats(pool);
    const int64_t needed = cache_.pages_for(pool, request.num_known(), options_.prefill_chunk) +
                           static_cast<int64_t>(running_.size());
    if (needed > stats.num_free + stats.num_cached) return false;
  }
  return true;
}

void Scheduler::admit_waiting() {
  while (!waiting_.empty() && tokens_left_ > 0 &&
         running_.size() < static_cast<size_t>(options_.max_reqs)) {
    Request& request = *waiting_.front();
    if (!has_room_for(request)) return;
    request.num_computed = cache_.begin(CacheRequest(request.id, request.tokens));
    const int32_t count = chunk_of(request, tokens_left_);
    if (!cache_.grow(request.id, request.num_computed + count)) {
      cache_.free(request.id);
      request.num_computed = 0;
      return;
    }
    if (!std::exchange(request.has_begun, true)) request.num_cached = request.num_computed;
    step_.push_back({.request = &request, .num_tokens = count});
    tokens_left_ -= count;
    insert_by_id(running_, std::move(waiting_.front()));
    waiting_.erase(waiting_.begin());
  }
}

// Last, with what is left: a guess takes neither tokens nor pages from anybody who needs them.
void Scheduler::schedule_drafts() {
  for (ScheduledTokens& part : step_) {
    const auto wanted = static_cast<int32_t>(part.request->draft.size());
    const int32_t count = part.gives_token() ? std::min(wanted, tokens_left_) : 0;
    if (count == 0 || !cache_.grow(part.request->id, part.seq_len() + count)) continue;
    part.num_draft = count;
    tokens_left_ -= count;
  }
}

void Scheduler::accept_draft(Request& request) {
  cache_.commit(request.id, ++request.num_computed);
}

void Scheduler::end_draft(Request& request) {
  cache_.shrink(request.id, request.num_known());
}

void Scheduler::step_done() {
  for (const ScheduledTokens& part : step_) {
    part.request->num_computed += part.num_tokens;
    cache_.commit(part.request->id, part.request->num_computed);
    stats_.num_computed_tokens += part.num_tokens;
  }
  stats_.num_steps++;
}

void Scheduler::append(Request& request, int32_t token) {
  cache_.append(request.id, token);
  request.tokens.push_back(token);
}

void Scheduler::finish(const Request& request) {
  const auto same = [&](const auto& other) { return other.get() == &request; };
  if (const auto at = std::find_if(running_.begin(), running_.end(), same); at != running_.end()) {
    cache_.free(request.id);
    running_.erase(at);
    return;
  }
  std::erase_if(waiting_, same);
}

}  // namespace pagoda::engine
