// The table from keys to pages, with keys that are made to collide.
#include "src/kv/page_index.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_map>
#include <vector>

namespace pagoda {
namespace {

// The bucket comes from the first bytes; these keys differ in the last ones alone.
PageKey colliding_key(uint8_t which) {
  Digest digest{};
  digest[31] = which;
  return page_key(digest, 0);
}

TEST(PageIndex, KeysOfOneBucketStayApart) {
  PageIndex index(64);
  for (int32_t page = 1; page < 64; ++page)
    index.insert(page, colliding_key(static_cast<uint8_t>(page)));
  for (int32_t page = 1; page < 64; ++page)
    EXPECT_EQ(index.find(colliding_key(static_cast<uint8_t>(page))), page);
  EXPECT_EQ(index.find(colliding_key(64)), 0);
}

TEST(PageIndex, GroupsOfOneDigestStayApart) {
  PageIndex index(8);
  const Digest digest{1, 2, 3};
  index.insert(3, page_key(digest, 0));
  index.insert(4, page_key(digest, 1));
  EXPECT_EQ(index.find(page_key(digest, 0)), 3);
  EXPECT_EQ(index.find(page_key(digest, 1)), 4);
  EXPECT_EQ(index.find(page_key(digest, 256)), 0);
}

TEST(PageIndex, DuplicatesLeaveOneByOne) {
  PageIndex index(8);
  const PageKey key = colliding_key(1);
  for (int32_t page : {2, 5, 7}) index.insert(page, key);
  EXPECT_EQ(index.find(key), 7);
  index.erase(5);
  EXPECT_EQ(index.find(key), 7);
  index.erase(7);
  EXPECT_EQ(index.find(key), 2);
  index.erase(2);
  EXPECT_EQ(index.find(key), 0);
}

// Few buckets and few keys, so that chains are long; against a list of the insertions.
TEST(PageIndex, AgreesWithAMap) {
  constexpr int32_t kPages = 40;
  PageIndex index(kPages);
  std::vector<int> key_of(kPages, -1);
  std::mt19937 random(7);
  for (int i = 0; i < 100000; ++i) {
    const auto page = static_cast<int32_t>(1 + random() % (kPages - 1));
    int& key = key_of[static_cast<size_t>(page)];
    ASSERT_EQ(index.contains(page), key >= 0);
    if (key >= 0) {
      index.erase(page);
      key = -1;
    } else {
      key = static_cast<int>(random() % 8);
      index.insert(page, colliding_key(static_cast<uint8_t>(key)));
    }
    const int asked = static_cast<int>(random() % 8);
    const int32_t found = index.find(colliding_key(static_cast<uint8_t>(asked)));
    if (found != 0)
      ASSERT_EQ(key_of[static_cast<size_t>(found)], asked);
    else
      ASSERT_EQ(std::count(key_of.begin(), key_of.end(), asked), 0);
  }
}

}  // namespace
}  // namespace pagoda
