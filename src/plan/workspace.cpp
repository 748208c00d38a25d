#include "workspace.h"

#include <cstdint>

#include "../core/error.h"

namespace pagoda {

void WorkspaceMap::add(const std::string& name, size_t size) {
  for (const Region& region : regions_)
    expect(region.name != name, PAGODA_INTERNAL, "the workspace has a region ", name, " already");
  constexpr size_t limit = static_cast<size_t>(INT64_MAX) - kAlignment;
  expect(size <= limit && size_ <= limit - size, PAGODA_OUT_OF_LIMITS, "the workspace region ",
         name, " would take ", size, " bytes; lower the limits of the plan");
  regions_.push_back({name, size_, size});
  size_ = (size_ + size + kAlignment - 1) / kAlignment * kAlignment;
}

void WorkspaceMap::add_array(const std::string& name, size_t count, size_t element_size) {
  size_t size = 0;
  const bool overflow = __builtin_mul_overflow(count, element_size, &size);
  expect(!overflow, PAGODA_OUT_OF_LIMITS, "the workspace region ", name, " would have ", count,
         " elements of ", element_size, " bytes; lower the limits of the plan");
  add(name, size);
}

const Region& WorkspaceMap::find(const std::string& name) const {
  for (const Region& region : regions_)
    if (region.name == name) return region;
  throw Failure(PAGODA_INTERNAL, "the workspace has no region " + name, Where::here());
}

}  // namespace pagoda
