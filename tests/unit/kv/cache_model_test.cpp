// A million random operations on the cache manager and on a naive model of it, side by side. Pages
// have contents here: every computed token leaves its tag in its slot, and every step checks that
// it finds the tags of its own prefix in all slots that it reads, also when it is still running
// while other requests come and go.
#include "cache_model.h"

#include <cstdio>
#include <random>

#include "cache_world.h"
#include "src/kv/step_arrays.h"

namespace pagoda::test {
namespace {

struct Case {
  const char* name;
  std::vector<Group> groups;
  std::vector<int64_t> num_pages;
};

// Where a step reads, and what it must find there.
struct Read {
  size_t pool;
  size_t place;
  Tag tag;
};

class Play {
 public:
  Play(const Case& that, uint32_t seed)
      : world_(that.groups, that.num_pages), model_(that.groups, that.num_pages), random_(seed) {
    for (int64_t num_pages : that.num_pages)
      memory_.emplace_back(static_cast<size_t>(num_pages * kPlaces), 0);
  }

  void run(int operations) {
    for (int i = 0; i < operations && !::testing::Test::HasFatalFailure(); ++i) {
      operate();
      if (i % 8 == 0) audit();
    }
    finish();
  }

  struct Seen {
    int64_t hits = 0, refusals = 0, preemptions = 0, reads = 0, late_reads = 0;
  } seen;
  int64_t evictions() const { return world_.pool(0).counts().evictions; }

 private:
  // Places of a page in memory_; groups of one pool may divide a page into fewer tokens.
  static constexpr int32_t kPlaces = 4;

  static size_t place_of(int32_t page, int32_t offset) {
    return static_cast<size_t>(page * kPlaces + offset);
  }

  int32_t draw(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }

  // Of few kinds, so that prefixes are often shared, and part ways at every offset of a page.
  Tokens draw_tokens() {
    Tokens tokens(static_cast<size_t>(draw(1, 30)), draw(0, 1));
    if (draw(0, 2) == 0) tokens[static_cast<size_t>(draw(0, 29)) % tokens.size()] = 2;
    return tokens;
  }

  uint64_t draw_id() {
    auto it = tokens_.begin();
    std::advance(it, draw(0, static_cast<int32_t>(tokens_.size()) - 1));
    return it->first;
  }

  void operate() {
    const int32_t kind = draw(0, 99);
    if (tokens_.empty() || (kind < 12 && tokens_.size() < 12)) return begin();
    if (kind < 60) return step(draw_id());
    if (kind < 72) return append(draw_id());
    if (kind < 80) return stop(draw_id());
    if (kind < 88) return launch();
    if (kind < 96) return land();
    find();
  }

  static Domain domain_of(int32_t salt) {
    return salt == 0 ? Domain{} : Domain{.salt = bytes(salt == 1 ? "one" : "two")};
  }

  void begin() {
    const uint64_t id = ++last_id_;
    const int32_t salt = draw(0, 2);
    enter(id, salt, draw_tokens());
  }

  void enter(uint64_t id, int32_t salt, const Tokens& tokens) {
    const int32_t cached = world_.enter(id, tokens, domain_of(salt));
    ASSERT_EQ(cached, model_.begin(id, tags_of(tokens, salt)));
    seen.hits += cached;
    tokens_[id] = {salt, tokens};
    compare(id);
  }

  void find() {
    const int32_t salt = draw(0, 2);
    const Tokens tokens = draw_tokens();
    ASSERT_EQ(world_.look(tokens, domain_of(salt)), model_.find(tags_of(tokens, salt)));
  }

  void append(uint64_t id) {
    auto& [salt, tokens] = tokens_[id];
    const int32_t token = draw(0, 1);
    world_.append(id, &token, 1);
    tokens.push_back(token);
    model_.requests.at(id).tags = tags_of(tokens, salt);
  }

  // Some tokens that are known: takes pages, reads, writes, commits. Without pages, somebody goes.
  void step(uint64_t id) {
    const ModelRequest& request = model_.requests.at(id);
    const auto known = static_cast<int32_t>(request.tags.size());
    if (request.computed == known) return;
    const int32_t end = std::min(known, request.computed + draw(1, 9));
    const bool took = model_.grow(id, end);
    ASSERT_EQ(status_of([&] { world_.grow(id, end); }), took ? PAGODA_OK : PAGODA_OUT_OF_PAGES);
    compare(id);
    if (!took) {
      ++seen.refusals;
      return preempt(draw_id());
    }
    write(id, request.computed, end);
    read(id, end);
    if (draw(0, 9) == 0) return;  // the step was lost; it comes again
    world_.commit(id, end);
    model_.commit(id, end);
    compare(id);
  }

  void write(uint64_t id, int32_t begin, int32_t end) {
    const ModelRequest& request = model_.requests.at(id);
    for (int32_t g = 0; g < world_.num_groups(); ++g) {
      const int32_t size = world_.group(g).layout.page_size;
      std::vector<int64_t> slots(static_cast<size_t>(end - begin));
      fill_slots(world_, g, id, begin, slots);
      for (size_t i = 0; i < slots.size(); ++i) {
        const auto page = static_cast<int32_t>(slots[i] / size);
        memory_[pool_index(g)].at(place_of(page, static_cast<int32_t>(slots[i] % size))) =
            request.tags[static_cast<size_t>(begin) + i] + static_cast<Tag>(g);
      }
    }
  }

  // Everything that the token at position end - 1 sees.
  void read(uint64_t id, int32_t end) {
    const ModelRequest& request = model_.requests.at(id);
    for (int32_t g = 0; g < world_.num_groups(); ++g) {
      const int32_t size = world_.group(g).layout.page_size;
      const auto& row = request.rows[static_cast<size_t>(g)];
      for (int32_t p = model_.oldest_seen(static_cast<size_t>(g), end - 1); p < end; ++p) {
        const int32_t page = row[static_cast<size_t>(p / size)];
        ASSERT_NE(page, 0);
        check({pool_index(g), place_of(page, p % size),
               request.tags[static_cast<size_t>(p)] + static_cast<Tag>(g)});
        ++seen.reads;
      }
    }
  }

  void check(const Read& read) {
    ASSERT_EQ(memory_[read.pool].at(read.place), read.tag) << "place " << read.place;
  }

  // A step over all that is computed begins to run; it reads when it ends.
  void launch() {
    std::vector<Read> reads;
    for (const auto& [id, request] : model_.requests)
      for (int32_t g = 0; g < world_.num_groups(); ++g) {
        const int32_t size = world_.group(g).layout.page_size;
        const auto& row = request.rows[static_cast<size_t>(g)];
        for (int32_t p = model_.oldest_seen(static_cast<size_t>(g), request.computed);
             p < request.computed; ++p)
          reads.push_back({pool_index(g), place_of(row[static_cast<size_t>(p / size)], p % size),
                           request.tags[static_cast<size_t>(p)] + static_cast<Tag>(g)});
      }
    const uint64_t step = world_.step_begin();
    for (ModelPool& pool : model_.pools) pool.begun = step;
    running_.emplace_back(step, std::move(reads));
    if (running_.size() > 2) land();
  }

  void land() {
    if (running_.empty()) return;
    const auto [step, reads] = std::move(running_.front());
    running_.pop_front();
    for (const Read& read : reads) check(read);
    seen.late_reads += static_cast<int64_t>(reads.size());
    world_.step_done(step);
    for (ModelPool& pool : model_.pools) pool.finish(step);
  }

  void stop(uint64_t id) {
    world_.free(id);
    model_.free(id);
    tokens_.erase(id);
  }

  void preempt(uint64_t id) {
    const auto [salt, tokens] = tokens_[id];
    ++seen.preemptions;
    stop(id);
    if (draw(0, 1) == 0) enter(id, salt, tokens);
  }

  size_t pool_index(int32_t g) const { return static_cast<size_t>(world_.group(g).pool); }

  void compare(uint64_t id) {
    const ModelRequest& request = model_.requests.at(id);
    ASSERT_EQ(world_.request(id).num_computed, request.computed);
    for (size_t g = 0; g < request.rows.size(); ++g)
      ASSERT_EQ(world_.row(id, g), request.rows[g]) << "request " << id << " group " << g;
  }

  // Every page of every pool, its holders counted from the rows.
  void audit() {
    for (size_t p = 0; p < model_.pools.size(); ++p) {
      const PagePool& pool = world_.pool(static_cast<int32_t>(p));
      std::vector<int> holders(static_cast<size_t>(pool.num_pages()), 0);
      for (const auto& [id, request] : model_.requests)
        for (size_t g = 0; g < request.rows.size(); ++g)
          if (pool_index(static_cast<int32_t>(g)) == p)
            for (int32_t page : world_.row(id, g)) holders[static_cast<size_t>(page)] += page != 0;
      PoolCounts counts;
      for (int32_t page = 1; page < pool.num_pages(); ++page) {
        const auto at = static_cast<size_t>(page);
        ASSERT_EQ(pool.num_holders(page), holders[at]) << "page " << page;
        ASSERT_EQ(pool.has_key(page), model_.pools[p].keys[at].has_value()) << "page " << page;
        const pagoda_page_state state = pool.state(page);
        counts.used += state == PAGODA_PAGE_USED;
        counts.shared += holders[at] > 1;
        counts.cached += state == PAGODA_PAGE_CACHED;
        counts.free += state == PAGODA_PAGE_FREE;
        counts.fenced += state == PAGODA_PAGE_FENCED;
      }
      ASSERT_EQ(pool.counts().used, counts.used);
      ASSERT_EQ(pool.counts().shared, counts.shared);
      ASSERT_EQ(pool.counts().cached, counts.cached);
      ASSERT_EQ(pool.counts().free, counts.free);
      ASSERT_EQ(pool.counts().fenced, counts.fenced);
      ASSERT_EQ(pool.counts().evictions, model_.pools[p].evictions);
      ASSERT_EQ(counts.fenced, static_cast<int64_t>(model_.pools[p].fenced.size()));
      ASSERT_EQ(counts.used + counts.cached + counts.free + counts.fenced, pool.num_pages() - 1);
    }
  }

  // Nothing leaks.
  void finish() {
    while (!running_.empty()) land();
    while (!tokens_.empty()) stop(tokens_.begin()->first);
    audit();
    EXPECT_EQ(world_.num_requests(), 0);
    for (int32_t p = 0; p < world_.num_pools(); ++p) EXPECT_EQ(world_.pool(p).counts().used, 0);
    world_.reset();
    for (int32_t p = 0; p < world_.num_pools(); ++p)
      EXPECT_EQ(world_.pool(p).counts().free, world_.pool(p).num_pages() - 1);
  }

  World world_;
  Model model_;
  std::mt19937 random_;
  std::vector<std::vector<Tag>> memory_;  // [pools][num_pages * kPlaces]
  std::map<uint64_t, std::pair<int32_t, Tokens>> tokens_;
  std::deque<std::pair<uint64_t, std::vector<Read>>> running_;
  uint64_t last_id_ = 0;
};

TEST(CacheModel, AMillionRandomOperations) {
  const std::vector<Case> cases{
      {"one group", {full(4)}, {24}},
      {"window", {windowed(2, 5)}, {20}},
      {"two groups, one pool", {full(4), windowed(4, 6)}, {48}},
      {"two page sizes, two pools", {full(4, 0), windowed(2, 7, 1)}, {30, 24}},
      {"three groups", {windowed(2, 3, 1), full(2, 0), windowed(4, 9, 0)}, {60, 16}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(cases[i].name);
    Play play(cases[i], static_cast<uint32_t>(i));
    play.run(200000);
    ASSERT_FALSE(HasFatalFailure());
    std::printf("%-26s %8ld tokens hit %7ld refusals %7ld preemptions %8ld evictions %10ld reads\n",
                cases[i].name, play.seen.hits, play.seen.refusals, play.seen.preemptions,
                play.evictions(), play.seen.reads + play.seen.late_reads);
    EXPECT_GT(play.seen.hits, 10000);
    EXPECT_GT(play.seen.refusals, 100);
    EXPECT_GT(play.seen.preemptions, 100);
    EXPECT_GT(play.seen.late_reads, 100000);
    EXPECT_GT(play.evictions(), 1000);
  }
}

}  // namespace
}  // namespace pagoda::test
