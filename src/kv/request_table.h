// The requests of a cache by their ids. The entries of requests that ended are kept for new ones,
// with the memory of their vectors, so that a cache in steady state allocates nothing.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "request.h"

namespace pagoda {

class RequestTable {
  using Map = std::unordered_map<uint64_t, Request>;

 public:
  // A request that is not in the table yet, or not any more.
  class Draft {
   public:
    Request& operator*() { return node_.mapped(); }
    Request* operator->() { return &node_.mapped(); }

   private:
    friend class RequestTable;
    explicit Draft(Map::node_type node) : node_(std::move(node)) {}
    Map::node_type node_;
  };

  RequestTable(size_t num_chains, size_t num_groups)
      : num_chains_(num_chains), num_groups_(num_groups) {}

  int32_t size() const { return static_cast<int32_t>(requests_.size()); }
  bool contains(uint64_t id) const { return requests_.contains(id); }

  // Throws PAGODA_INVALID_ARGUMENT if there is none.
  const Request& at(uint64_t id) const;
  Request& at(uint64_t id);

  // An empty request. There is room to erase it once it has been inserted.
  Draft draft(uint64_t id);
  Request& insert(Draft draft);

  // Its rows are empty.
  void erase(uint64_t id);

  // Puts a draft aside for the next request.
  void recycle(Draft draft);

 private:
  size_t num_chains_, num_groups_;
  Map requests_;
  std::vector<Map::node_type> spare_;
};

}  // namespace pagoda
