// The longest cached prefix on which all groups of a cache agree.
#pragma once

#include <cstdint>
#include <span>

#include "groups.h"
#include "page_pool.h"
#include "request.h"

namespace pagoda {

// Tokens; a multiple of shape.alignment and at most limit. Extends the request's chains.
// pools: [shape.num_pages.size()]
int32_t find_prefix(const CacheShape& shape, std::span<const PagePool> pools, Request& request,
                    int32_t limit, PrefixHasher& hasher);

}  // namespace pagoda
