// The list of backends, in order of preference: one line each. The factories are declared here
// because a backend sees the interface and never the other way round.
#include "backend.h"

namespace pagoda {

namespace reference {
std::unique_ptr<Backend> make_backend(const BackendOptions& options);
}
namespace cpu {
std::unique_ptr<Backend> make_backend(const BackendOptions& options);
}
#ifdef PAGODA_HAS_CUDA
namespace cuda {
std::unique_ptr<Backend> make_backend(const BackendOptions& options);
}
#endif

const std::vector<BackendEntry>& backend_entries() {
  static const std::vector<BackendEntry> entries{
#ifdef PAGODA_HAS_CUDA
      {"cuda", cuda::make_backend},
#endif
      {"cpu", cpu::make_backend},
      {"reference", reference::make_backend},
  };
  return entries;
}

}  // namespace pagoda
