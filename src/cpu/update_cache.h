// Writes new keys and values into their pages.
#pragma once

#include "../backend/backend.h"
#include "threads.h"

namespace pagoda::cpu {

void write_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                 const TensorView& value, ThreadPool& pool);

}  // namespace pagoda::cpu
