#include "../backend/check_batch.h"
#include "backend.h"

namespace pagoda::reference {

// Every call walks the requests in order: there is nothing to decide ahead and nothing to keep.
void ReferenceBackend::add_workspace(const Problem&, const Kernel&, WorkspaceMap&) const {}

void ReferenceBackend::schedule(const Prepared& prepared) {
  check_batch_on_host(prepared.problem, prepared.batch);
}

}  // namespace pagoda::reference
