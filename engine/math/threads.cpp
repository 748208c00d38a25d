#include "engine/math/threads.h"

#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <utility>

namespace pagoda::engine {
namespace {

// Some tens of microseconds: longer than what the caller does between two loops of a step.
constexpr int kSpins = 1000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  // Waits about as long; the instruction named yield does nothing on most processors.
  __asm__ volatile("isb");
#endif
}

// Loops follow each other within microseconds while a model runs, so a thread looks for the next
// one before it sleeps.
template <class Changed>
bool spin_until(const Changed& changed) {
  for (int i = 0; i < kSpins; i++) {
    if (changed()) return true;
    relax();
  }
  return false;
}

}  // namespace

int num_usable_cores() {
#ifdef __linux__
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return std::max(1, CPU_COUNT(&cores));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Threads::Threads(int num_threads) {
  const int size = num_threads > 0 ? num_threads : num_usable_cores();
  workers_.reserve(static_cast<size_t>(size) - 1);
  for (int thread = 1; thread < size; thread++)
    workers_.emplace_back([this, thread] { work(thread); });
}

Threads::~Threads() {
  stop_ = true;
  generation_++;
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Threads::run(const Loop& loop) {
  if (loop.num_items <= 0) return;
  if (workers_.empty() || loop.num_items == 1) {
    for (int64_t item = 0; item < loop.num_items; item++) loop.call(loop.body, item, 0);
    return;
  }
  loop_ = loop;
  next_item_ = 0;
  num_working_ = static_cast<int>(workers_.size());
  generation_++;
  generation_.notify_all();
  take_items(0);

  const auto done = [this] { return num_working_ == 0; };
  if (!spin_until(done))
    for (int left = num_working_; left != 0; left = num_working_) num_working_.wait(left);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Threads::take_items(int thread) {
  try {
    for (int64_t item = next_item_++; item < loop_.num_items; item = next_item_++)
      loop_.call(loop_.body, item, thread);
  } catch (...) {
    next_item_ = loop_.num_items;
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void Threads::work(int thread) {
  uint32_t seen = 0;
  while (true) {
    if (!spin_until([&] { return generation_ != seen; })) generation_.wait(seen);
    seen = generation_;
    if (stop_) return;
    take_items(thread);
    if (--num_working_ == 0) num_working_.notify_one();
  }
}

}  // namespace pagoda::engine
