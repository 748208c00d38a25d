#include "backend.h"

namespace pagoda::reference {

const Kernel kDirect{"reference.direct"}, kOnline{"reference.online"};

namespace {

std::vector<Reason> reasons_against(const Problem& problem) {
  std::vector<Reason> reasons;
  if (problem.kv_format != PAGODA_KV_SAME && !problem.has_cache())
    reasons.emplace_back(Aspect::kv_format,
                         "kv_format " + std::to_string(static_cast<int>(problem.kv_format)) +
                             " is of a cache, but the plan has none (page_size 0)");
  const std::string& wanted = problem.tuning.kernel;
  if (!wanted.empty() && wanted != kDirect.name && wanted != kOnline.name)
    reasons.emplace_back(Aspect::kernel, "there is no kernel \"" + wanted +
                                             "\" in backend reference; it has " + kDirect.name +
                                             " and " + kOnline.name);
  if (problem.tuning.num_splits > 1 && wanted == kDirect.name)
    reasons.emplace_back(
        Aspect::kernel,
        "reference.direct takes all keys at once and cannot honour tuning.num_splits " +
            std::to_string(problem.tuning.num_splits) + "; reference.online can");
  return reasons;
}

}  // namespace

Selection ReferenceBackend::select(const Problem& problem) const {
  Selection selection{.reasons = reasons_against(problem)};
  const bool online = problem.tuning.kernel == kOnline.name || problem.tuning.num_splits > 1;
  if (selection.reasons.empty()) selection.kernel = online ? &kOnline : &kDirect;
  return selection;
}

}  // namespace pagoda::reference
