#include "prefix_hash.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <bit>
#include <string_view>

#include "../core/error.h"

namespace pagoda {
namespace {

// Bumped when the format of a message changes, so that stores of both never mix.
constexpr std::string_view kFormat = "pagoda prefix 1";

constexpr const char* kBroken = "libcrypto failed to compute a SHA-256";

// Numbers and tokens are hashed as they lie in memory; elsewhere they would have to be swapped.
static_assert(std::endian::native == std::endian::little);

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

enum class PrefixHasher::Tag : uint8_t {
  format = 0,
  seed = 1,
  parent = 2,
  page_size = 3,
  tokens = 4,
  salt = 5,
  adapter = 6,
  extra = 7,
};

int32_t PageKey::group() const {
  uint32_t group = 0;
  for (size_t i = 32; i < 36; ++i) group = group << 8 | bytes[i];
  return static_cast<int32_t>(group);
}

PageKey page_key(const Digest& digest, int32_t group) {
  PageKey key;
  std::copy(digest.begin(), digest.end(), key.bytes.begin());
  for (size_t i = 0; i < 4; ++i)
    key.bytes[32 + i] = static_cast<uint8_t>(static_cast<uint32_t>(group) >> (24 - 8 * i));
  return key;
}

void PrefixHasher::Release::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}
void PrefixHasher::Release::operator()(evp_md_st* algorithm) const {
  EVP_MD_free(algorithm);
}

PrefixHasher::PrefixHasher(std::span<const std::byte> seed)
    : sha256_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
  expect(sha256_ != nullptr && context_ != nullptr, PAGODA_INTERNAL,
         "libcrypto has no SHA-256 on this machine");
  std::array<std::byte, 32> random;
  if (seed.empty()) {
    const int ok = RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), random.size());
    expect(ok == 1, PAGODA_INTERNAL, "libcrypto has no random bytes for the seed; give one");
    seed = random;
  }
  start();
  add_field(Tag::format, bytes_of(kFormat));
  add_field(Tag::seed, seed);
  root_ = finish();
}

Digest PrefixHasher::hash_page(const Digest& parent, int32_t index, std::span<const int32_t> tokens,
                               const Domain& domain) {
  start();
  add_field(Tag::parent, std::as_bytes(std::span(parent)));
  add_header(Tag::page_size, sizeof(int64_t));
  add_number(static_cast<int64_t>(tokens.size()));
  add_field(Tag::tokens, std::as_bytes(tokens));
  if (index == 0) {  // later pages have these from their parent
    if (!domain.salt.empty()) add_field(Tag::salt, domain.salt);
    if (!domain.adapter.empty()) add_field(Tag::adapter, domain.adapter);
  }
  const int64_t begin = int64_t{index} * static_cast<int64_t>(tokens.size());
  const int64_t end = begin + static_cast<int64_t>(tokens.size());
  for (const Extra& extra : domain.extras)
    if (extra.start < end && int64_t{extra.start} + extra.length > begin) add_extra(extra, begin);
  return finish();
}

// Relative to its page: what lies before is the parent's business.
void PrefixHasher::add_extra(const Extra& extra, int64_t page_start) {
  add_header(Tag::extra, 2 * sizeof(int64_t) + extra.key.size());
  add_number(extra.start - page_start);
  add_number(extra.length);
  add_bytes(extra.key.data(), extra.key.size());
}

void PrefixHasher::add_field(Tag tag, std::span<const std::byte> bytes) {
  add_header(tag, bytes.size());
  add_bytes(bytes.data(), bytes.size());
}

void PrefixHasher::add_header(Tag tag, size_t size) {
  add_bytes(&tag, sizeof tag);
  add_number(static_cast<int64_t>(size));
}

void PrefixHasher::add_number(int64_t value) {
  add_bytes(&value, sizeof value);
}

void PrefixHasher::add_bytes(const void* data, size_t size) {
  const int ok = EVP_DigestUpdate(context_.get(), data, size);
  expect(ok == 1, PAGODA_INTERNAL, kBroken);
}

void PrefixHasher::start() {
  const int ok = EVP_DigestInit_ex(context_.get(), sha256_.get(), nullptr);
  expect(ok == 1, PAGODA_INTERNAL, kBroken);
}

Digest PrefixHasher::finish() {
  Digest digest;
  const int ok = EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
  expect(ok == 1, PAGODA_INTERNAL, kBroken);
  return digest;
}

}  // namespace pagoda
