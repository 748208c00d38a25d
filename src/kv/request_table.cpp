#include "request_table.h"

#include <algorithm>
#include <utility>

#include "../core/error.h"

namespace pagoda {

const Request& RequestTable::at(uint64_t id) const {
  const auto found = requests_.find(id);
  expect(found != requests_.end(), PAGODA_INVALID_ARGUMENT, "request ", id,
         " is not in the cache; pagoda_cache_begin enters it");
  return found->second;
}

Request& RequestTable::at(uint64_t id) {
  return const_cast<Request&>(std::as_const(*this).at(id));
}

RequestTable::Draft RequestTable::draft(uint64_t id) {
  spare_.reserve(requests_.size() + std::max<size_t>(spare_.size(), 1));
  if (spare_.empty()) {
    Map one;
    Request& request = one[id];
    request.chains.resize(num_chains_);
    request.groups.resize(num_groups_);
    spare_.push_back(one.extract(id));
  }
  Draft draft(std::move(spare_.back()));
  spare_.pop_back();
  draft.node_.key() = id;
  draft->id = id;
  draft->tokens.clear();
  for (Chain& chain : draft->chains) chain.digests.clear();
  draft->num_tokens = draft->num_computed = draft->num_cached = draft->capacity = 0;
  return draft;
}

Request& RequestTable::insert(Draft draft) {
  return requests_.insert(std::move(draft.node_)).position->second;
}

void RequestTable::erase(uint64_t id) {
  spare_.push_back(requests_.extract(id));
}

void RequestTable::recycle(Draft draft) {
  spare_.push_back(std::move(draft.node_));
}

}  // namespace pagoda
