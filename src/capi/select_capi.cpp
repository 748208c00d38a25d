// select.h: asks backends without a context.
#include <pagoda/select.h>

#include <memory>

#include "../backend/backend.h"
#include "about.h"
#include "guard.h"

using namespace pagoda;
using namespace pagoda::capi;

namespace {

struct Verdict {
  pagoda_verdict verdict;
  std::string text;
};

const BackendEntry* find_backend(const std::string& name) {
  for (const BackendEntry& entry : backend_entries())
    if (name == entry.name) return &entry;
  return nullptr;
}

Verdict ask(const BackendEntry& entry, const Problem& problem) {
  try {
    const std::unique_ptr<Backend> backend = entry.create({.num_threads = 1});
    const Selection selection = backend->select(problem);
    if (selection.kernel != nullptr) return {PAGODA_SERVES, selection.kernel->name};
    return {PAGODA_REFUSES, join(sentences_of(selection.reasons), "\n")};
  } catch (const Failure& failure) {
    return {PAGODA_NOT_USABLE, failure.what()};
  }
}

Verdict select(const char* backend, const pagoda_spec* spec, const pagoda_limits* limits,
               const pagoda_tuning* tuning) {
  if (backend == nullptr) return {PAGODA_NOT_LEGAL, "backend is NULL"};
  const BackendEntry* const entry = find_backend(backend);
  if (entry == nullptr)
    return {PAGODA_NOT_USABLE, std::string("there is no backend \"") + backend +
                                   "\" in this build (pagoda_backend_name)"};
  try {
    return ask(*entry, read_question(spec, limits, tuning));
  } catch (const Failure& failure) {
    return {PAGODA_NOT_LEGAL, failure.what()};
  }
}

}  // namespace

const char* pagoda_backend_name(int32_t index) {
  const auto& entries = backend_entries();
  const bool is_one = index >= 0 && static_cast<size_t>(index) < entries.size();
  return is_one ? entries[static_cast<size_t>(index)].name : nullptr;
}

size_t pagoda_select(const char* backend, const pagoda_spec* spec, const pagoda_limits* limits,
                     const pagoda_tuning* tuning, pagoda_verdict* verdict, char* buffer,
                     size_t capacity) {
  if (verdict != nullptr) *verdict = PAGODA_NOT_LEGAL;
  return guard_text(buffer, capacity, [&] {
    const Verdict found = select(backend, spec, limits, tuning);
    if (verdict != nullptr) *verdict = found.verdict;
    return found.text;
  });
}
