// How far something that takes a while has come.
#pragma once

#include <functional>

namespace pagoda::engine {

// Called with the share that is done, in [0, 1].
using Progress = std::function<void(double)>;

}  // namespace pagoda::engine
