// Why a backend does not serve a problem: what part of it, and a sentence. The order of the parts
// is the order in which reasons are told, so that backends can be compared line by line.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace pagoda {

enum class Aspect {
  head_dim,
  dtype,
  kv_format,
  page_size,
  block_mask,
  score,  // soft-cap, ALiBi, expressions
  sinks,
  query_format,
  device,
  keys,  // of a cache or of the call: the type of attention
  window,
  causal,
  shard,
  combination,  // of parts that are served one by one
  kernel,       // that the tuning names
};

struct Reason {
  Aspect aspect;
  std::string sentence;

  Reason(Aspect part, std::string text) : aspect(part), sentence(std::move(text)) {}
  // A reason that concerns no part alone.
  Reason(std::string text) : Reason(Aspect::combination, std::move(text)) {}
  Reason(const char* text) : Reason(std::string(text)) {}
};

// The sentences, in the order of what they are about.
inline std::vector<std::string> sentences_of(std::vector<Reason> reasons) {
  std::stable_sort(reasons.begin(), reasons.end(),
                   [](const Reason& a, const Reason& b) { return a.aspect < b.aspect; });
  std::vector<std::string> sentences;
  sentences.reserve(reasons.size());
  for (Reason& reason : reasons) sentences.push_back(std::move(reason.sentence));
  return sentences;
}

}  // namespace pagoda
