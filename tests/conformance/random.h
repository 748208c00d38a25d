// Random numbers that are the same on every machine (the distributions of the standard library are
// not), so that a case is two numbers wherever it runs.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace pagoda::conformance {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // In [low, high].
  template <class Int>
  Int between(Int low, Int high) {
    const uint64_t span = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
    return static_cast<Int>(static_cast<uint64_t>(low) + bits() % span);
  }

  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }  // in [0, 1)
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  bool chance(double probability) { return uniform() < probability; }

  // Sum of four uniforms: bell-shaped, variance 1, within +-3.5, and cheap.
  double gaussian() { return (uniform() + uniform() + uniform() + uniform() - 2) * 1.7320508; }

  template <class T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[bits() % values.size()];
  }

  template <class T>
  T weighted(std::initializer_list<std::pair<T, double>> choices) {
    double total = 0;
    for (const auto& choice : choices) total += choice.second;
    double at = uniform() * total;
    for (const auto& choice : choices)
      if ((at -= choice.second) < 0) return choice.first;
    return choices.begin()->first;
  }

  template <class T>
  void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[bits() % i]);
  }

 private:
  uint64_t state_;
};

// An independent stream for each purpose of one seed.
inline Random stream_of(uint64_t seed, uint64_t purpose) {
  return Random(Random(seed * 0x2545f4914f6cdd1du + purpose).bits());
}

}  // namespace pagoda::conformance
