// The scheduler over a real page cache and an imagined model: every token is computed once in its
// place, pages are never short without reason, and the same requests give the same steps.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "engine/error.h"
#include "engine/sched/scheduler.h"

namespace pagoda::engine {
namespace {

constexpr int32_t kPageSize = 8;

struct World {
  World(int64_t num_pages, const SchedulerOptions& options, bool prefix_cache = true)
      : cache(Cache::single(kPageSize, num_pages, prefix_cache)), scheduler(cache, 1, options) {}

  // Runs a step and checks it. The imagined model's next token is a function of those before.
  void step() {
    const std::vector<ScheduledTokens> parts = scheduler.next_step();
    ASSERT_FALSE(parts.empty());
    int32_t total = 0;
    uint64_t last = 0;
    for (const ScheduledTokens& part : parts) {
      EXPECT_GT(part.request->id, last) << "oldest first";
      last = part.request->id;
      EXPECT_GE(part.num_tokens, 1);
      EXPECT_LE(part.num_tokens, scheduler.options().prefill_chunk);
      EXPECT_LE(part.seq_len(), part.request->num_known());
      EXPECT_GE(cache.request(part.request->id).capacity, part.seq_len());
      total += part.num_tokens;
      log.push_back(part.request->id * 1000000 + static_cast<uint64_t>(part.seq_len()));
    }
    EXPECT_LE(total, scheduler.options().max_step_tokens);
    EXPECT_LE(parts.size(), static_cast<size_t>(scheduler.options().max_reqs));
    scheduler.step_done();
    for (const ScheduledTokens& part : parts) give_token(*part.request);
  }

  void give_token(Request& request) {
    if (request.num_computed < request.num_known()) return;
    int32_t next = 1;
    for (int32_t token : request.tokens) next = (next * 31 + token) % 1009;
    if (request.num_generated() + 1 == request.max_generated) {
      outputs[request.id].assign(request.tokens.begin() + request.num_prompt, request.tokens.end());
      outputs[request.id].push_back(next);
      scheduler.finish(request);
    } else {
      scheduler.append(request, next);
    }
  }

  void run() {
    while (scheduler.has_work()) {
      step();
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_EQ(cache.stats().num_used, 0) << "a page was kept";
    EXPECT_EQ(cache.stats().num_requests, 0);
  }

  Cache cache;
  Scheduler scheduler;
  std::map<uint64_t, std::vector<int32_t>> outputs;
  std::vector<uint64_t> log;
};

std::vector<int32_t> prompt_of(int32_t length, int32_t seed, int32_t common = 0) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < length; i++)
    tokens.push_back(i < common ? i : (seed * 97 + i * 13) % 900);
  return tokens;
}

void add_random_requests(World& world, int count, uint32_t seed) {
  std::mt19937 random(seed);
  for (int i = 0; i < count; i++) {
    const auto length = static_cast<int32_t>(1 + random() % 90);
    const auto common = static_cast<int32_t>(random() % 3 * 20);
    world.scheduler.add(prompt_of(length, i, std::min(length, common)),
                        static_cast<int32_t>(1 + random() % 60));
  }
}

std::string refusal(World& world, std::vector<int32_t> prompt, int32_t max_generated) {
  try {
    world.scheduler.add(std::move(prompt), max_generated);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(Scheduler, OutputsDoNotDependOnPagesChunksOrCompany) {
  std::map<uint64_t, std::vector<int32_t>> expected;
  for (const auto& [pages, chunk, max_reqs, prefix] :
       std::vector<std::tuple<int64_t, int32_t, int32_t, bool>>{{1000, 512, 1, false},
                                                                {1000, 512, 16, true},
                                                                {25, 7, 16, true},
                                                                {25, 16, 16, false},
                                                                {22, 1, 5, true}}) {
    World world(pages, {.max_reqs = max_reqs, .prefill_chunk = chunk, .max_seq_len = 200}, prefix);
    add_random_requests(world, 40, 3);
    world.run();
    if (expected.empty()) expected = world.outputs;
    EXPECT_EQ(world.outputs.size(), 40);
    EXPECT_EQ(world.outputs, expected) << pages << " pages, chunks of " << chunk;
    EXPECT_EQ(world.scheduler.stats().num_preemptions > 0, pages < 100);
  }
}

TEST(Scheduler, TheSameRequestsGiveTheSameSteps) {
  const SchedulerOptions options = {.max_reqs = 8, .prefill_chunk = 16, .max_seq_len = 200};
  World a(30, options), b(30, options);
  add_random_requests(a, 30, 4);
  add_random_requests(b, 30, 4);
  a.run();
  b.run();
  EXPECT_EQ(a.log, b.log);
}

TEST(Scheduler, TheOldestIsNeverPreempted) {
  World world(18, {.max_reqs = 16, .prefill_chunk = 16, .max_seq_len = 200}, false);
  const Request& oldest = world.scheduler.add(prompt_of(60, 0), 60);
  for (int i = 1; i < 12; i++) world.scheduler.add(prompt_of(30, i), 50);
  const uint64_t oldest_id = oldest.id;
  int32_t computed = 0;
  while (world.outputs.empty()) {
    EXPECT_EQ(oldest.num_preemptions, 0);
    EXPECT_GE(oldest.num_computed, computed);
    computed = oldest.num_computed;
    world.step();
  }
  EXPECT_EQ(world.outputs.begin()->first, oldest_id);
  EXPECT_GT(world.scheduler.stats().num_preemptions, 0);
  world.run();
}

TEST(Scheduler, ALongPromptDoesNotHoldUpThoseThatGenerate) {
  World world(200, {.max_reqs = 4, .prefill_chunk = 20, .max_seq_len = 800});
  world.scheduler.add(prompt_of(500, 0), 5);
  Request& quick = world.scheduler.add(prompt_of(3, 1), 20);
  world.step();
  for (int i = 0; i < 20 && world.outputs.empty(); i++) {
    const int32_t before = quick.num_computed;
    world.step();
    if (!world.outputs.empty()) break;  // quick is gone
    EXPECT_GT(quick.num_computed, before);
  }
  EXPECT_EQ(world.outputs.size(), 1);
  EXPECT_EQ(world.scheduler.running().size(), 1) << "the long prompt is still being read";
}

TEST(Scheduler, EqualBeginningsAreComputedOnce) {
  World world(100, {.max_reqs = 8, .prefill_chunk = 64, .max_seq_len = 200});
  world.scheduler.add(prompt_of(40, 1, 32), 4);
  world.run();
  const Request& second = world.scheduler.add(prompt_of(40, 2, 32), 4);
  world.step();
  EXPECT_EQ(second.num_cached, 32);
  world.run();
}

TEST(Scheduler, AFinishedRequestMayStillBeWaiting) {
  World world(100, {.max_reqs = 1, .prefill_chunk = 64, .max_seq_len = 200});
  world.scheduler.add(prompt_of(10, 1), 4);
  const Request& second = world.scheduler.add(prompt_of(10, 2), 4);
  world.step();
  world.scheduler.finish(second);
  world.run();
  EXPECT_EQ(world.outputs.size(), 1);
}

TEST(Scheduler, WhatCanNeverBeServedIsRefusedWithTheRemedy) {
  World world(10, {.max_reqs = 4, .prefill_chunk = 64, .max_seq_len = 100});
  EXPECT_EQ(refusal(world, prompt_of(60, 1), 13), "accepted");  // 72 tokens with keys: 9 pages
  const std::string pages = refusal(world, prompt_of(60, 1), 14);
  EXPECT_NE(pages.find("need 10 pages, the cache has 9"), std::string::npos) << pages;
  EXPECT_NE(pages.find("--num-pages 11"), std::string::npos) << pages;
  EXPECT_NE(refusal(world, prompt_of(60, 1), 41).find("limit of 100"), std::string::npos);
  EXPECT_NE(refusal(world, {}, 5).find("no tokens"), std::string::npos);
  EXPECT_NE(refusal(world, prompt_of(5, 1), 0).find("at least 1"), std::string::npos);
  world.run();
  EXPECT_EQ(world.outputs.size(), 1);
}

TEST(Scheduler, LimitsThatMakeNoSenseAreRefused) {
  EXPECT_THROW(World(10, {.max_reqs = 0}), Error);
  EXPECT_THROW(World(10, {.prefill_chunk = 0}), Error);
  EXPECT_THROW(World(10, {.max_reqs = 8, .max_step_tokens = 7}), Error);
}

// Windows give pages back while a request runs, so a sequence longer than the pool can be served.
TEST(Scheduler, AWindowServesSequencesLongerThanThePool) {
  CacheGroup group;
  group.page_size = kPageSize;
  group.window = 16;
  const int64_t num_pages = 8;
  CacheOptions options;
  options.num_groups = options.num_pools = 1;
  options.groups = &group;
  options.num_pages = &num_pages;
  Cache cache(options);
  Scheduler scheduler(cache, 1, {.max_reqs = 2, .prefill_chunk = 16, .max_seq_len = 400});
  Request& request = scheduler.add(prompt_of(200, 1), 100);
  while (request.num_generated() + 1 < request.max_generated) {
    scheduler.next_step();
    scheduler.step_done();
    if (request.num_computed == request.num_known()) scheduler.append(request, 7);
  }
  scheduler.finish(request);
  EXPECT_EQ(cache.stats().num_used, 0);
}

}  // namespace
}  // namespace pagoda::engine
