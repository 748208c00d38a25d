#include "range_index.h"

#include <algorithm>
#include <limits>
#include <type_traits>

namespace pagoda::mask {
namespace {

constexpr int64_t kGroup = 32;  // changes speed, never results

// The identity of `widen`: no element at all.
template <class T>
constexpr Extent<T> nothing() {
  if constexpr (std::is_floating_point_v<T>)
    return {std::numeric_limits<T>::infinity(), -std::numeric_limits<T>::infinity()};
  else
    return {std::numeric_limits<T>::max(), std::numeric_limits<T>::min()};
}

// The order of the comparisons leaves a NaN out.
template <class T>
void widen(Extent<T>& extent, T low, T high) {
  extent.low = low < extent.low ? low : extent.low;
  extent.high = high > extent.high ? high : extent.high;
}

template <class T>
Extent<T> scan(const T* data, int64_t begin, int64_t end) {
  Extent<T> found = nothing<T>();
  for (int64_t i = begin; i < end; ++i) widen(found, data[i], data[i]);
  return found;
}

}  // namespace

template <class T>
bool RangeIndex::build(const T* data, int64_t count) {
  const auto bound = [](T value) {
    Bound it;
    if constexpr (std::is_same_v<T, float>)
      it.f = value;
    else
      it.i = value;
    return it;
  };
  const auto value = [](Bound it) -> T {
    if constexpr (std::is_same_v<T, float>)
      return it.f;
    else
      return it.i;
  };
  leaves_ = (count + kGroup - 1) / kGroup;
  tree_.resize(std::max(tree_.size(), static_cast<size_t>(2 * leaves_)));
  Pair* tree = tree_.data();
  for (int64_t leaf = 0; leaf < leaves_; ++leaf) {
    const Extent<T> found = scan(data, leaf * kGroup, std::min(count, (leaf + 1) * kGroup));
    tree[leaves_ + leaf] = {bound(found.low), bound(found.high)};
  }
  for (int64_t node = leaves_ - 1; node > 0; --node) {
    Extent<T> both = nothing<T>();
    for (const Pair& child : {tree[2 * node], tree[2 * node + 1]})
      widen(both, value(child.low), value(child.high));
    tree[node] = {bound(both.low), bound(both.high)};
  }
  if constexpr (std::is_same_v<T, float>)
    return std::any_of(data, data + count, [](float it) { return it != it; });
  return false;
}

template <class T>
Extent<T> RangeIndex::extent(const T* data, int64_t begin, int64_t end) const {
  const int64_t first = (begin + kGroup - 1) / kGroup, last = end / kGroup;
  if (first >= last) return scan(data, begin, end);
  Extent<T> found = scan(data, begin, first * kGroup);
  const Extent<T> tail = scan(data, last * kGroup, end);
  widen(found, tail.low, tail.high);
  const auto take = [&](int64_t node) {
    const Pair& it = tree_[static_cast<size_t>(node)];
    if constexpr (std::is_same_v<T, float>)
      widen(found, it.low.f, it.high.f);
    else
      widen(found, it.low.i, it.high.i);
  };
  for (int64_t a = first + leaves_, b = last + leaves_; a < b; a /= 2, b /= 2) {
    if (a % 2 == 1) take(a++);
    if (b % 2 == 1) take(--b);
  }
  return found;
}

template bool RangeIndex::build(const int32_t*, int64_t);
template bool RangeIndex::build(const float*, int64_t);
template Extent<int32_t> RangeIndex::extent(const int32_t*, int64_t, int64_t) const;
template Extent<float> RangeIndex::extent(const float*, int64_t, int64_t) const;

}  // namespace pagoda::mask
