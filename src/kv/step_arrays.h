// The arrays that a step's pagoda_batch points to, written for one group.
#pragma once

#include <pagoda/kv.h>

#include <cstdint>
#include <span>

#include "cache_manager.h"

namespace pagoda {

// Checks everything before it writes anything.
void fill_step(const CacheManager& cache, int32_t group, const pagoda_cache_step& step);

// slots: one for each position from first_position on
void fill_slots(const CacheManager& cache, int32_t group, uint64_t id, int32_t first_position,
                std::span<int64_t> slots);

}  // namespace pagoda
