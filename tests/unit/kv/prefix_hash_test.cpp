// Prefix keys against an independent computation, and inputs that are made to look alike.
#include "src/kv/prefix_hash.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <string>

namespace pagoda {
namespace {

Bytes bytes(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

template <class Container>
std::string hex(const Container& bytes) {
  std::string text;
  for (uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

class PrefixHash : public ::testing::Test {
 protected:
  Digest first(const Domain& domain, std::vector<int32_t> tokens = {1, 2, 3, 4}) {
    return hasher.hash_page(hasher.root(), 0, tokens, domain);
  }

  const Bytes seed = bytes("pagoda");
  PrefixHasher hasher{seed};
};

TEST_F(PrefixHash, EqualsHashlib) {
  std::map<std::string, std::string> golden;
  std::ifstream file(PAGODA_SOURCE_DIR "/tests/unit/kv/prefix_hash_golden.txt");
  for (std::string name, digest; file >> name >> digest;) golden[name] = digest;
  ASSERT_EQ(golden.size(), 13u);

  EXPECT_EQ(hex(hasher.root()), golden["root"]);
  const Digest plain = first({});
  EXPECT_EQ(hex(plain), golden["first_page"]);
  const std::vector<int32_t> next{5, 6, 7, 8}, last{9, 10, 11, 12};
  EXPECT_EQ(hex(hasher.hash_page(plain, 1, next, {})), golden["second_page"]);
  std::vector<int32_t> sixteen(16);
  std::iota(sixteen.begin(), sixteen.end(), 1);
  EXPECT_EQ(hex(first({}, sixteen)), golden["other_page_size"]);
  EXPECT_EQ(hex(first({}, {-1, INT32_MAX, INT32_MIN, 0})), golden["extreme_tokens"]);
  EXPECT_EQ(hex(first({.salt = bytes("blue")})), golden["salt"]);
  EXPECT_EQ(hex(first({.adapter = bytes("blue")})), golden["adapter"]);
  EXPECT_EQ(hex(first({.salt = bytes("blue"), .adapter = bytes("green")})),
            golden["salt_and_adapter"]);
  const Domain image{.extras = {{2, 4, bytes("image")}}};
  const Digest with_image = first(image);
  EXPECT_EQ(hex(with_image), golden["extra_begins"]);
  EXPECT_EQ(hex(hasher.hash_page(with_image, 1, next, image)), golden["extra_continues"]);
  EXPECT_EQ(hex(hasher.hash_page(with_image, 2, last, image)), golden["extra_is_over"]);
  EXPECT_EQ(hex(first({.extras = {{0, 2, bytes("a")}, {2, 1, bytes("b")}}})), golden["two_extras"]);
  EXPECT_EQ(hex(page_key(plain, 16909060).bytes), golden["key_of_group_16909060"]);
  EXPECT_EQ(page_key(plain, 16909060).group(), 16909060);
}

// Each pair would have equal bytes if fields had no tags, or no lengths.
TEST_F(PrefixHash, NoFieldPassesForAnother) {
  const std::vector<Domain> look_alikes{
      {},
      {.salt = bytes("ab")},
      {.adapter = bytes("ab")},
      {.salt = bytes("a"), .adapter = bytes("b")},
      {.salt = bytes("b"), .adapter = bytes("a")},
      {.extras = {{0, 1, bytes("ab")}}},
      {.extras = {{0, 1, bytes("a")}, {0, 1, bytes("b")}}},
      {.extras = {{0, 2, bytes("ab")}}},
      {.extras = {{1, 1, bytes("ab")}}},
      {.salt = bytes(std::string_view("ab\0", 3))},
      {.salt = bytes(std::string_view("\6\0\0\0\0\0\0\0\0", 9))},  // an adapter's header
  };
  std::set<Digest> digests;
  for (const Domain& domain : look_alikes) digests.insert(first(domain));
  EXPECT_EQ(digests.size(), look_alikes.size());
}

// A salt that spells out the field of the other tenant's adapter, byte for byte.
TEST_F(PrefixHash, SaltCannotSpellAnAdapter) {
  Bytes spelled = bytes("x");
  spelled.push_back(std::byte{6});
  for (int i = 0; i < 8; ++i) spelled.push_back(std::byte{i == 0 ? uint8_t{1} : uint8_t{0}});
  spelled.push_back(std::byte{'y'});
  EXPECT_NE(first({.salt = spelled}), first({.salt = bytes("x"), .adapter = bytes("y")}));
}

TEST_F(PrefixHash, PagesOfOneRunDifferFromOnePage) {
  const std::vector<int32_t> all{1, 2, 3, 4}, front{1, 2}, back{3, 4};
  const Digest halves =
      hasher.hash_page(hasher.hash_page(hasher.root(), 0, front, {}), 1, back, {});
  EXPECT_NE(first({}, all), halves);
}

TEST_F(PrefixHash, DependsOnTheSeed) {
  PrefixHasher same(seed), other(bytes("pagodb")), random({}), random_too({});
  EXPECT_EQ(same.root(), hasher.root());
  EXPECT_NE(other.root(), hasher.root());
  EXPECT_NE(random.root(), random_too.root());
}

}  // namespace
}  // namespace pagoda
