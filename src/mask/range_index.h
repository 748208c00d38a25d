// The smallest and largest element of any stretch of an array, in logarithmic time: a binary tree
// over groups of 32 elements. This is what makes a lookup as cheap to bound as a sum.
#pragma once

#include <cstdint>
#include <vector>

namespace pagoda::mask {

template <class T>
struct Extent {
  T low, high;
};

class RangeIndex {
 public:
  // Reads `data` [count] once. Allocates only if `count` exceeds every earlier one. NaN elements
  // are left out of the extents; returns whether there are any.
  template <class T>
  bool build(const T* data, int64_t count);

  // Over the elements [begin, end), which are in the array and not none. The array is the one of
  // the last build.
  template <class T>
  Extent<T> extent(const T* data, int64_t begin, int64_t end) const;

 private:
  union Bound {
    int32_t i;
    float f;
  };
  struct Pair {
    Bound low, high;
  };
  std::vector<Pair> tree_;  // [2 * leaves_], node n over 2n and 2n + 1, leaves last
  int64_t leaves_ = 0;
};

extern template bool RangeIndex::build(const int32_t*, int64_t);
extern template bool RangeIndex::build(const float*, int64_t);
extern template Extent<int32_t> RangeIndex::extent(const int32_t*, int64_t, int64_t) const;
extern template Extent<float> RangeIndex::extent(const float*, int64_t, int64_t) const;

}  // namespace pagoda::mask
