// Random numbers by counter: number n of a seed is a function of both and of nothing else. So a
// request draws the same numbers alone, in a batch, and again after a preemption.
#pragma once

#include <array>
#include <cstdint>

namespace pagoda::engine {

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// In [0, 1), 53 random bits.
double uniform(uint64_t seed, uint64_t counter);

}  // namespace pagoda::engine
