// Who works on a loop: all threads together, or one that has some rows to itself. Rows by the dozen
// go faster the second way, each thread with its own from product to product: what it computes
// stays in its caches, and nobody waits.
#pragma once

#include <cstdint>

#include "engine/math/threads.h"

namespace pagoda::engine {

class Team {
 public:
  explicit Team(Threads& threads) : threads_(&threads) {}

  // One thread of a loop that runs already.
  static Team alone(int thread) {
    Team team;
    team.thread_ = thread;
    return team;
  }

  int size() const { return threads_ != nullptr ? threads_->size() : 1; }

  // Whose memory the caller may use.
  int thread() const { return thread_; }

  // As Threads::for_each; alone, the items follow each other.
  template <class Body>
  void for_each(int64_t num_items, const Body& body) const {
    if (threads_ != nullptr) return threads_->for_each(num_items, body);
    for (int64_t item = 0; item < num_items; item++) body(item, thread_);
  }

 private:
  Team() = default;

  Threads* threads_ = nullptr;  // null: alone
  int thread_ = 0;
};

}  // namespace pagoda::engine
