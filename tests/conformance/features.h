// The features of a case as small numbers, so that it can be counted which pairs of their values a
// run of cases has drawn, and whether any legal pair was missed.
#pragma once

#include <string>
#include <vector>

#include "geometry.h"

namespace pagoda::conformance {

struct Feature {
  const char* name;
  std::vector<const char*> values;
  int (*value_of)(const Geometry& geometry);
};

const std::vector<Feature>& all_features();

class PairCount {
 public:
  PairCount();
  void add(const Geometry& geometry);
  void add(const PairCount& other);

  int64_t legal_pairs() const;
  int64_t pairs_hit() const;
  std::vector<std::string> missed() const;  // "group 13 with splits 17"
  std::vector<std::string> illegal_hit() const;
  int64_t fewest() const;  // times that the rarest legal pair was drawn

 private:
  struct Value {
    size_t feature;
    int value;
  };
  std::vector<Value> values_;    // of all features, flat
  std::vector<size_t> offsets_;  // of each feature's first value
  std::vector<int64_t> counts_;  // [values, values]
  template <class Visit>
  void for_each_pair(const Visit& visit) const;
};

}  // namespace pagoda::conformance
