// Attention computes on the engine's threads. With threads of its own, those of one would hold the
// cores while they look for work, and those of the other would wait for them.
#pragma once

#include <pagoda/pagoda.hpp>

#include "engine/math/threads.h"

namespace pagoda::engine {

// `threads` outlive the context.
inline void lend_threads(Threads& threads, ContextOptions& context) {
  context.num_threads = threads.size();
  context.host = &threads;
  context.run_tasks = [](void* host, int32_t count, void (*task)(void* argument, int32_t index),
                         void* argument) {
    static_cast<Threads*>(host)->for_each(
        count, [&](int64_t item, int) { task(argument, static_cast<int32_t>(item)); });
  };
}

}  // namespace pagoda::engine
