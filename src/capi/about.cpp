// What the library says about itself: pagoda_doctor and pagoda_explain.
#include "about.h"

#include <memory>
#include <sstream>

#include "../backend/backend.h"
#include "../core/error.h"

namespace pagoda::capi {

std::string join(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

std::string explain(const Problem& problem) {
  std::ostringstream text;
  for (const BackendEntry& entry : backend_entries()) {
    text << entry.name << ": ";
    try {
      const std::unique_ptr<Backend> backend = entry.create({});  // owns the kernel that it names
      const Selection selection = backend->select(problem);
      if (selection.kernel != nullptr)
        text << "serves with kernel " << selection.kernel->name
             << (selection.note.empty() ? "" : "; " + selection.note) << "\n";
      else
        text << "refuses: " << join(sentences_of(selection.reasons), "; ") << "\n";
    } catch (const Failure& failure) {
      text << "is not available: " << failure.what() << "\n";
    }
  }
  return text.str();
}

std::string doctor() {
  std::ostringstream text;
  text << "pagoda " << PAGODA_VERSION_MAJOR << "." << PAGODA_VERSION_MINOR << ", ABI "
       << PAGODA_ABI_VERSION << "\n";
  for (const BackendEntry& entry : backend_entries()) {
    text << entry.name << ": ";
    try {
      text << entry.create({})->machine() << "\n";
    } catch (const Failure& failure) {
      text << "not available: " << failure.what() << "\n";
    }
  }
#ifndef PAGODA_HAS_CUDA
  text << "cuda: not in this build (built without nvcc)\n";
#endif
  return text.str();
}

}  // namespace pagoda::capi
