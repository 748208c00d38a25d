// The keys under which full pages are found again. The digest of a page covers its tokens and, by
// the digest of the page before, everything ahead of them, so equal keys mean equal prefixes. It is
// SHA-256 over fields that carry a tag and a length: no two different inputs have the same bytes,
// whatever a tenant puts into a salt or a name. The format is drawn in docs/design/prefix-hash.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

struct evp_md_ctx_st;
struct evp_md_st;

namespace pagoda {

using Bytes = std::vector<std::byte>;
using Digest = std::array<uint8_t, 32>;

// A digest and the group whose pages it stands for, 4 bytes big-endian.
struct PageKey {
  std::array<uint8_t, 36> bytes;
  bool operator==(const PageKey&) const = default;

  int32_t group() const;
};

PageKey page_key(const Digest& digest, int32_t group);

// What else than token ids the keys at positions start .. start + length - 1 depend on.
struct Extra {
  int32_t start;
  int32_t length;
  Bytes key;
  auto operator<=>(const Extra&) const = default;
};

// What a prefix depends on besides its tokens. Empty is absent.
struct Domain {
  Bytes salt;                 // who may share
  Bytes adapter;              // what changes every layer's keys
  std::vector<Extra> extras;  // ascending
};

class PrefixHasher {
 public:
  // An empty seed is replaced by 32 random bytes.
  explicit PrefixHasher(std::span<const std::byte> seed);

  // The parent of every first page.
  const Digest& root() const { return root_; }

  // The digest of page number `index` of a prefix.
  // tokens: [page_size] of this page; parent: digest of page index - 1, or root()
  Digest hash_page(const Digest& parent, int32_t index, std::span<const int32_t> tokens,
                   const Domain& domain);

 private:
  struct Release {
    void operator()(evp_md_ctx_st* context) const;
    void operator()(evp_md_st* algorithm) const;
  };
  enum class Tag : uint8_t;

  void start();
  void add_field(Tag tag, std::span<const std::byte> bytes);
  void add_header(Tag tag, size_t size);
  void add_number(int64_t value);
  void add_bytes(const void* data, size_t size);
  void add_extra(const Extra& extra, int64_t page_start);
  Digest finish();

  std::unique_ptr<evp_md_st, Release> sha256_;
  std::unique_ptr<evp_md_ctx_st, Release> context_;
  Digest root_;
};

}  // namespace pagoda
