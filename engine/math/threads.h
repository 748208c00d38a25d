// Threads that share the items of a loop. They exist because oneDNN's own (OpenMP) would cut a
// product differently for each thread count; here the cut is ours, and bits do not depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace pagoda::engine {

class Threads {
 public:
  // num_threads counts the caller; 0: every core this process may use.
  explicit Threads(int num_threads);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(item, thread) once for each item in [0, num_items), with thread in [0, size()).
  // Returns when all have run; rethrows the first exception. One loop at a time.
  template <class Body>
  void for_each(int64_t num_items, const Body& body) {
    run({.call = [](const void* object, int64_t item,
                    int thread) { (*static_cast<const Body*>(object))(item, thread); },
         .body = &body,
         .num_items = num_items});
  }

 private:
  struct Loop {
    void (*call)(const void* body, int64_t item, int thread) = nullptr;
    const void* body = nullptr;
    int64_t num_items = 0;
  };

  void run(const Loop& loop);
  void take_items(int thread);
  void work(int thread);

  std::vector<std::thread> workers_;
  Loop loop_;                            // written while no worker is in a loop
  std::atomic<uint32_t> generation_{0};  // a new value starts a loop, or ends the workers
  std::atomic<int64_t> next_item_{0};
  std::atomic<int> num_working_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // guards error_
  std::exception_ptr error_;
};

// Cores that this process may use, at least 1.
int num_usable_cores();

}  // namespace pagoda::engine
