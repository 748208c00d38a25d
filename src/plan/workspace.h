// The map of a workspace: named regions, one behind the other. The same object answers how large
// the workspace is and where each region lies, so that the two cannot disagree.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace pagoda {

struct Region {
  std::string name;
  size_t offset = 0, size = 0;  // bytes
};

class WorkspaceMap {
 public:
  // Regions and the workspace itself start at multiples of this: a GPU memory transaction.
  static constexpr size_t kAlignment = 256;

  // Appends a region. Throws Failure if the sum leaves 63 bits, or the name is taken.
  void add(const std::string& name, size_t size);

  // size = count * element, checked.
  void add_array(const std::string& name, size_t count, size_t element_size);

  const Region& find(const std::string& name) const;
  const std::vector<Region>& regions() const { return regions_; }
  size_t size() const { return size_; }

 private:
  std::vector<Region> regions_;
  size_t size_ = 0;
};

}  // namespace pagoda
