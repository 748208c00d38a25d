// The Mooncake conversation trace through the cache manager: how much of it is found again. The
// trace names each block of 512 tokens of each prompt by an id that stands for the block and all
// before it; tokens are made up so that they differ exactly where the ids do.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "cache_world.h"

namespace pagoda::test {
namespace {

constexpr const char* kTrace = PAGODA_SHARED_DIR "/data/traces/mooncake_conversation_trace.jsonl";

// The "hash_ids" of each line.
std::vector<std::vector<int32_t>> read_trace() {
  std::vector<std::vector<int32_t>> requests;
  std::ifstream file(kTrace);
  for (std::string line; std::getline(file, line);) {
    auto& ids = requests.emplace_back();
    const char* at = line.c_str() + line.find('[');
    while (*at == '[' || *at == ',') {
      char* end = nullptr;
      ids.push_back(static_cast<int32_t>(std::strtol(at + 1, &end, 10)));
      at = end;
    }
  }
  return requests;
}

struct Replay {
  int64_t blocks = 0;
  int64_t hits = 0;
  int64_t evictions = 0;
};

// Requests come one after the other. Each has one more token, which it computes even if all its
// blocks are found.
Replay replay(const std::vector<std::vector<int32_t>>& requests, int32_t page_size,
              int64_t num_pages) {
  World world({full(page_size)}, {num_pages});
  Replay result;
  uint64_t id = 0;
  Tokens tokens;
  for (const std::vector<int32_t>& blocks : requests) {
    tokens.clear();
    for (int32_t block : blocks)
      for (int32_t i = 0; i < page_size; ++i) tokens.push_back(block * page_size + i);
    tokens.push_back(-1);
    result.blocks += static_cast<int64_t>(blocks.size());
    result.hits += world.serve(++id, tokens) / page_size;
  }
  result.evictions = world.pool(0).counts().evictions;
  EXPECT_EQ(world.pool(0).counts().used, 0);
  return result;
}

void print(const char* pages, const Replay& result) {
  std::printf("%9s pages: %6ld of %ld blocks hit, %4.1f %%, %6ld evictions\n", pages, result.hits,
              result.blocks,
              100.0 * static_cast<double>(result.hits) / static_cast<double>(result.blocks),
              result.evictions);
}

TEST(Mooncake, HitsWithUnlimitedPages) {
  const auto requests = read_trace();
  if (requests.empty()) GTEST_SKIP() << "the Mooncake trace is not at " << kTrace;
  ASSERT_EQ(requests.size(), 12031u);
  const Replay result = replay(requests, 512, 200000);
  print("unlimited", result);
  EXPECT_EQ(result.blocks, 288500);
  EXPECT_EQ(result.hits, 105710);  // 36.6 %; 182790 blocks of the trace are new
  EXPECT_EQ(result.evictions, 0);
}

// With one token per page the same prefixes are found at a fraction of the hashing.
TEST(Mooncake, HitsByPoolSize) {
  const auto requests = read_trace();
  if (requests.empty()) GTEST_SKIP() << "the Mooncake trace is not at " << kTrace;
  int64_t last = 0;
  for (int64_t pages : {1000, 5000, 10000, 20000, 50000, 100000, 200000}) {
    const Replay result = replay(requests, 1, pages + 1);
    print(std::to_string(pages).c_str(), result);
    EXPECT_GT(result.hits, last) << "a larger pool finds less";
    last = result.hits;
  }
  EXPECT_EQ(last, 105710);
}

}  // namespace
}  // namespace pagoda::test
