// Layers that read the keys and values of another layer.
#pragma once

#include <pagoda/batch.h>

#include <cstdint>
#include <vector>

namespace pagoda {

// The index of the layer whose cache each one reads. Errors: a target that cannot be one.
std::vector<int32_t> check_sharing(const std::vector<pagoda_shared_layer>& layers);

}  // namespace pagoda
