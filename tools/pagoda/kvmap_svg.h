// The pages of a cache over the steps of a run, and their picture.
#pragma once

#include <cstdint>
#include <pagoda/kv.hpp>
#include <string>
#include <vector>

namespace pagoda::cli {

// What a page held after a step: nothing, a cached prefix, or keys of the request `owner`.
struct PageCell {
  enum Kind : uint8_t { kFree, kCached, kOwned, kShared };
  Kind kind = kFree;
  uint32_t owner = 0;  // counts for kOwned alone

  bool operator==(const PageCell&) const = default;
};

class PageHistory {
 public:
  // Notes the pages of the first group of layers and its pool after a step; `running` are the
  // requests that hold pages.
  void note(const Cache& cache, const std::vector<uint64_t>& running);

  int64_t num_steps() const { return static_cast<int64_t>(steps_.size()); }
  int64_t num_pages() const { return steps_.empty() ? 0 : static_cast<int64_t>(steps_[0].size()); }
  const PageCell& at(int64_t step, int64_t page) const {
    return steps_[static_cast<size_t>(step)][static_cast<size_t>(page)];
  }

 private:
  std::vector<std::vector<PageCell>> steps_;  // [steps][pages], without the null page
};

// An SVG with a row for each page and time from left to right.
std::string draw_page_history(const PageHistory& history, const std::string& title,
                              const std::string& subtitle);

}  // namespace pagoda::cli
