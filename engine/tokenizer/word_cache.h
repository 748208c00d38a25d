// Encodings of words seen before. Text repeats its words, so most of the work of a tokenizer is
// done once. Bounded in entries and word length; safe to share between threads.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace pagoda::engine {

class WordCache {
 public:
  // Appends the encoding of `word` and returns true, or returns false.
  bool append_cached(std::string_view word, std::vector<TokenId>& ids) const {
    if (word.size() > kMaxWordBytes) return false;
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(word);
    if (found == entries_.end()) return false;
    ids.insert(ids.end(), found->second.begin(), found->second.end());
    return true;
  }

  void store(std::string_view word, const TokenId* first, const TokenId* last) const {
    if (word.size() > kMaxWordBytes) return;
    const std::lock_guard lock(mutex_);
    if (entries_.size() >= kMaxEntries) entries_.clear();
    entries_.try_emplace(std::string(word), first, last);
  }

 private:
  // These change speed and memory (a few MB), never results.
  static constexpr size_t kMaxWordBytes = 64;
  static constexpr size_t kMaxEntries = 32768;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>{}(word); }
  };

  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, std::vector<TokenId>, Hash, std::equal_to<>> entries_;
};

}  // namespace pagoda::engine
