#include "backend.h"

#include "../core/error.h"

namespace pagoda::reference {

std::string ReferenceBackend::machine() const {
  return "double precision, one thread, in two forms (direct, online)";
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  expect(options.isa.empty(), PAGODA_INVALID_ARGUMENT, "options.isa is \"", options.isa,
         "\", but backend reference has no instruction sets to choose from; leave it NULL");
  return std::make_unique<ReferenceBackend>();
}

}  // namespace pagoda::reference
