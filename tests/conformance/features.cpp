#include "features.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "isas.h"

namespace pagoda::conformance {
namespace {

int class_of(int32_t value, std::initializer_list<int32_t> upper_bounds) {
  int index = 0;
  for (int32_t bound : upper_bounds) {
    if (value <= bound) return index;
    ++index;
  }
  return index;
}

template <class Predicate>
bool any_request(const Geometry& g, const Predicate& predicate) {
  return std::any_of(g.requests.begin(), g.requests.end(), predicate);
}

int scale_class(const Geometry& g) {
  return g.scale == 0 ? 0 : g.scale > 0 ? 1 : 2;
}

int page_class(const Geometry& g) {
  switch (g.page_size) {
    case 0:
      return 0;
    case 8:
      return 1;
    case 16:
      return 2;
    case 32:
      return 3;
    case 64:
      return 4;
    case 128:
      return 5;
    default:
      return 6;
  }
}

int isa_class(const Geometry& g) {
  const auto found = std::find(std::begin(kIsas), std::end(kIsas), std::string(g.isa));
  return static_cast<int>(found - std::begin(kIsas));
}

bool has_more_queries(const Geometry& g) {
  return any_request(g, [](const Request& r) { return r.seq_len > 0 && r.query_len > r.seq_len; });
}

bool has_context(const Geometry& g) {
  return any_request(g, [](const Request& r) { return r.seq_len > r.query_len; });
}

std::vector<Feature> make_features() {
  using G = const Geometry&;
  return {
      {"dtype", {"f32", "f16", "bf16"}, [](G g) { return static_cast<int>(g.dtype); }},
      {"head_dim",
       {"8-24", "32-64", "72-128", "136-256", "264-512"},
       [](G g) {
         return class_of(g.head_dim, {24, 64, 128, 256});
       }},
      {"head_dim_v",
       {"same", "smaller", "larger"},
       [](G g) { return g.head_dim_v == g.head_dim  ? 0
                        : g.head_dim_v < g.head_dim ? 1
                                                    : 2; }},
      {"group",
       {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"},
       [](G g) { return g.group - 1; }},
      {"kv_heads", {"1", "2", "3 or more"}, [](G g) { return std::min(g.num_kv_heads, 3) - 1; }},
      {"page_size", {"none", "8", "16", "32", "64", "128", "other"}, page_class},
      {"layout",
       {"call", "NHD", "HND", "K|V rows", "K,V slices", "padded", "cross-layer"},
       [](G g) { return static_cast<int>(g.layout); }},
      {"kv format",
       {"same", "fp8", "fp8 token", "int8 token", "int8 channel V", "int8 keys"},
       [](G g) { return static_cast<int>(g.kv_format); }},
      {"query format",
       {"same", "int8", "fp8"},
       [](G g) { return static_cast<int>(g.query_format); }},
      {"scales of tokens",
       {"none or plane", "in rows"},
       [](G g) { return g.scales_in_rows ? 1 : 0; }},
      {"singleton strides", {"canonical", "any"}, [](G g) { return g.degenerate_strides ? 1 : 0; }},
      {"causal",
       {"causal", "full", "per request"},
       [](G g) { return static_cast<int>(g.causal_kind); }},
      {"window",
       {"none", "0", "1", "left", "right", "both", "huge"},
       [](G g) { return static_cast<int>(g.window_kind); }},
      {"softcap",
       {"0", "5", "50"},
       [](G g) {
         return class_of(static_cast<int32_t>(g.softcap), {0, 5});
       }},
      {"alibi", {"none", "linear", "sqrt"}, [](G g) { return static_cast<int>(g.alibi); }},
      {"sinks", {"no", "yes"}, [](G g) { return g.sinks ? 1 : 0; }},
      {"scale", {"default", "positive", "negative"}, scale_class},
      {"splits",
       {"auto", "1", "2", "3", "4", "5", "6", "7", "8", "17"},
       [](G g) { return std::min(g.num_splits, 9); }},
      {"threads",
       {"1", "2", "3", "7"},
       [](G g) {
         return class_of(g.num_threads, {1, 2, 3});
       }},
      {"isa", {std::begin(kIsas), std::end(kIsas)}, isa_class},
      {"regime",
       {"gaussian", "zero query", "zero key", "coded values", "one hot", "ones", "large logits",
        "outlier channel", "sparse exact", "duplicated keys", "subnormal", "max finite",
        "non-finite"},
       [](G g) { return static_cast<int>(g.regime); }},
      {"queries", {"decode", "uniform", "mixed"}, [](G g) { return static_cast<int>(g.queries); }},
      {"more queries than keys", {"no", "yes"}, [](G g) { return has_more_queries(g) ? 1 : 0; }},
      {"context", {"no", "yes"}, [](G g) { return has_context(g) ? 1 : 0; }},
      {"no queries",
       {"no", "yes"},
       [](G g) {
         return any_request(g, [](const Request& r) { return r.query_len == 0; }) ? 1 : 0;
       }},
      {"no keys",
       {"no", "yes"},
       [](G g) { return any_request(g, [](const Request& r) { return r.seq_len == 0; }) ? 1 : 0; }},
      {"padded tokens", {"no", "yes"}, [](G g) { return g.padded_tokens > 0 ? 1 : 0; }},
      {"longest",
       {"up to 64", "up to 512", "longer"},
       [](G g) {
         return class_of(g.longest_seq(), {64, 512});
       }},
      {"query rows",
       {"packed", "sliced", "heads first", "expanded"},
       [](G g) { return static_cast<int>(g.query); }},
      {"key rows",
       {"packed", "sliced", "heads first", "expanded"},
       [](G g) { return static_cast<int>(g.key); }},
      {"out rows",
       {"packed", "sliced", "heads first"},
       [](G g) { return static_cast<int>(g.out); }},
      {"lse",
       {"absent", "packed", "transposed", "strided"},
       [](G g) { return static_cast<int>(g.lse); }},
      {"writing",
       {"call", "placed", "updated", "with holes"},
       [](G g) { return static_cast<int>(g.writing); }},
      {"sharing",
       {"no", "yes"},
       [](G g) {
         return any_request(g, [](const Request& r) { return r.shared_pages > 0; }) ? 1 : 0;
       }},
      {"table tail",
       {"none", "INT32_MAX", "-1", "random"},
       [](G g) { return static_cast<int>(g.tail); }},
  };
}

// Two values that cannot stand together in a case. Asked both ways round.
bool excludes(const std::string& a, int va, const std::string& b, int vb) {
  const auto cacheless = [](const std::string& name) {
    return name == "page_size" || name == "layout" || name == "writing" || name == "table tail";
  };
  if (cacheless(a) && cacheless(b)) return (va == 0) != (vb == 0);
  if (cacheless(a) && b == "sharing") return va == 0 && vb == 1;
  if (cacheless(a) && (b == "kv format" || b == "scales of tokens")) return va == 0 && vb > 0;
  if (a == "kv format" && b == "scales of tokens") return va <= 1 && vb == 1;
  if (a == "singleton strides" && b == "kv_heads") return va == 1 && vb > 0;
  if (a == "queries" && b == "more queries than keys") return va == 0 && vb == 1;
  // Sharing needs a context of at least a page of 8 tokens.
  if (a == "sharing" && b == "context") return va == 1 && vb == 0;
  return false;
}

bool is_legal(const std::string& a, int va, const std::string& b, int vb) {
  return !excludes(a, va, b, vb) && !excludes(b, vb, a, va);
}

}  // namespace

const std::vector<Feature>& all_features() {
  static const std::vector<Feature> features = make_features();
  return features;
}

PairCount::PairCount() {
  for (size_t f = 0; f < all_features().size(); ++f) {
    offsets_.push_back(values_.size());
    for (size_t v = 0; v < all_features()[f].values.size(); ++v)
      values_.push_back({f, static_cast<int>(v)});
  }
  counts_.assign(values_.size() * values_.size(), 0);
}

void PairCount::add(const Geometry& g) {
  std::vector<size_t> drawn;
  for (size_t f = 0; f < all_features().size(); ++f)
    drawn.push_back(offsets_[f] + static_cast<size_t>(all_features()[f].value_of(g)));
  for (size_t i = 0; i < drawn.size(); ++i)
    for (size_t j = i + 1; j < drawn.size(); ++j) ++counts_[drawn[i] * values_.size() + drawn[j]];
}

void PairCount::add(const PairCount& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

// visit(name of a, value of a, name of b, value of b, count, legal)
template <class Visit>
void PairCount::for_each_pair(const Visit& visit) const {
  for (size_t i = 0; i < values_.size(); ++i)
    for (size_t j = i + 1; j < values_.size(); ++j) {
      const Value &a = values_[i], &b = values_[j];
      if (a.feature == b.feature) continue;
      const Feature &fa = all_features()[a.feature], &fb = all_features()[b.feature];
      visit(std::string(fa.name) + " " + fa.values[static_cast<size_t>(a.value)] + " with " +
                fb.name + " " + fb.values[static_cast<size_t>(b.value)],
            counts_[i * values_.size() + j], is_legal(fa.name, a.value, fb.name, b.value));
    }
}

int64_t PairCount::legal_pairs() const {
  int64_t count = 0;
  for_each_pair([&](const std::string&, int64_t, bool legal) { count += legal; });
  return count;
}

int64_t PairCount::pairs_hit() const {
  int64_t count = 0;
  for_each_pair(
      [&](const std::string&, int64_t times, bool legal) { count += legal && times > 0; });
  return count;
}

std::vector<std::string> PairCount::missed() const {
  std::vector<std::string> names;
  for_each_pair([&](const std::string& name, int64_t times, bool legal) {
    if (legal && times == 0) names.push_back(name);
  });
  return names;
}

std::vector<std::string> PairCount::illegal_hit() const {
  std::vector<std::string> names;
  for_each_pair([&](const std::string& name, int64_t times, bool legal) {
    if (!legal && times > 0) names.push_back(name);
  });
  return names;
}

int64_t PairCount::fewest() const {
  int64_t least = INT64_MAX;
  for_each_pair([&](const std::string&, int64_t times, bool legal) {
    if (legal) least = std::min(least, times);
  });
  return least;
}

}  // namespace pagoda::conformance
