// Continuous batching: decides which tokens of which requests a step computes, and which request
// gives its pages up when there are too few. It knows no model and no text.
//
//   waiting --admit--> running --finish-->
//      ^                  |
//      +----- preempt ----+
//
// Both queues are in order of arrival, so that the same requests always give the same steps. A
// preempted request loses its pages and computes its tokens anew; the oldest request is never
// preempted for a younger one, so it always gets on, and none waits for ever.
#pragma once

#include <cstdint>
#include <memory>
#include <pagoda/kv.hpp>
#include <span>
#include <vector>

#include "engine/sched/request.h"

namespace pagoda::engine {

struct SchedulerOptions {
  int32_t max_reqs = 16;        // running at a time
  int32_t max_step_tokens = 0;  // computed in one step; at least max_reqs. 0: what fits both below
  int32_t prefill_chunk = 512;  // of one request's tokens, computed in one step
  int32_t max_seq_len = 0;      // tokens of prompt and output together
};

// Tokens num_computed .. num_computed + num_tokens - 1 of a request, and the first of its draft
// behind them.
struct ScheduledTokens {
  Request* request = nullptr;
  int32_t num_tokens = 0;
  int32_t num_draft = 0;  // only with gives_token()

  int32_t seq_len() const { return request->num_computed + num_tokens + num_draft; }
  bool gives_token() const { return request->num_computed + num_tokens == request->num_known(); }
};

struct SchedulerStats {
  int64_t num_steps = 0;
  int64_t num_preemptions = 0;
  int64_t num_computed_tokens = 0;  // recomputed ones included
};

class Scheduler {
 public:
  // num_pools of the cache; it and the options' limits are those of the decoder.
  Scheduler(Cache& cache, int32_t num_pools, const SchedulerOptions& options);

  // Errors: kInvalidArgument for a request that could not be served even alone, with what to
  // change.
  Request& add(std::vector<int32_t> prompt, int32_t max_generated);

  bool has_work() const { return !running_.empty() || !waiting_.empty(); }

  // The next step, oldest request first. Pages for its tokens are taken. Not empty while there is
  // work.
  const std::vector<ScheduledTokens>& next_step();

  // The step's keys and values are written. Those of drafts count when they are accepted.
  void step_done();

  // The token that was appended last is the next of the draft: its keys and values are there.
  void accept_draft(Request& request);

  // Of this step's draft no more is accepted: pages that it alone needed are given back.
  void end_draft(Request& request);

  // What followed a request's known tokens.
  void append(Request& request, int32_t token);

  // Ends a request, running or waiting; the reference is no longer valid.
  void finish(const Request& request);

  const SchedulerOptions& options() const { return options_; }
  const SchedulerStats& stats() const { return stats_; }
  std::span<const std::unique_ptr<Request>> running() const { return running_; }
  std::span<const std::unique_ptr<Request>> waiting() const { return waiting_; }

 private:
  using Queue = std::vector<std::unique_ptr<Request>>;  // in order of arrival

  void require_servable(int32_t num_prompt, int32_t max_generated) const;
  void schedule_running();
  void admit_waiting();
  void schedule_drafts();
  bool grow_or_preempt(size_t index, int32_t num_tokens);
  bool has_room_for(const Request& request) const;
  int32_t chunk_of(const Request& request, int32_t tokens_left) const;
  void preempt_youngest();

  Cache& cache_;
  int32_t num_pools_;
  SchedulerOptions options_;
  Queue waiting_, running_;
  std::vector<ScheduledTokens> step_;
  int32_t tokens_left_ = 0;  // of the step being made
  uint64_t next_id_ = 1;
  SchedulerStats stats_;
};

}  // namespace pagoda::engine
