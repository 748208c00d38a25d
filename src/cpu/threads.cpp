#include "threads.h"

#include <system_error>

#include "../core/error.h"

namespace pagoda::cpu {
namespace {

// Some tens of microseconds: longer than the gap between two layers of a decode step.
constexpr int kSpins = 1000;

void relax() {
#ifdef PAGODA_CPU_X86
  __builtin_ia32_pause();
#elif defined(PAGODA_CPU_ARM64)
  // Waits about as long as the above; the instruction named yield does nothing on most processors.
  __asm__ volatile("isb");
#endif
}

// Returns the first value of `word` that is not `old`.
uint32_t await_change(const std::atomic<uint32_t>& word, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = word.load(std::memory_order_acquire);
    if (now != old) return now;
    relax();
  }
  word.wait(old, std::memory_order_acquire);
  return word.load(std::memory_order_acquire);
}

int default_threads() {
  const unsigned cores = std::thread::hardware_concurrency();
  return cores == 0 ? 1 : static_cast<int>(cores);
}

}  // namespace

ThreadPool::ThreadPool(int num_threads, HostThreads host) : host_(host) {
  expect(num_threads <= kMaxThreads, PAGODA_INVALID_ARGUMENT, "options.num_threads is ",
         num_threads, "; at most ", kMaxThreads, " are possible");
  num_threads_ = num_threads == 0 ? default_threads() : num_threads;
  if (host_.run_tasks != nullptr) return;
  try {
    workers_.reserve(static_cast<size_t>(num_threads_ - 1));
    for (int thread = 1; thread < num_threads_; ++thread)
      workers_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error& error) {
    const size_t started = workers_.size() + 1;
    stop();
    throw Failure(PAGODA_OUT_OF_MEMORY,
                  "the system gave " + std::to_string(started) + " of " +
                      std::to_string(num_threads_) + " threads (" + error.what() +
                      "); lower options.num_threads",
                  Where::here());
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() {
  job_ = {};
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Job job) {
  if (num_threads_ == 1) return job.call(job.task, 0);
  const std::lock_guard lock(turn_);
  if (host_.run_tasks != nullptr) return run_on_host(job);
  job_ = job;
  unfinished_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  job.call(job.task, 0);
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;)
    left = await_change(unfinished_, left);
}

void ThreadPool::run_on_host(Job job) {
  const auto task = [](void* argument, int32_t thread) {
    const Job& lent = *static_cast<const Job*>(argument);
    lent.call(lent.task, thread);
  };
  host_.run_tasks(host_.host, num_threads_, task, &job);
}

void ThreadPool::work(int thread) {
  for (uint32_t round = 0;;) {
    round = await_change(round_, round);
    if (job_.call == nullptr) return;
    job_.call(job_.task, thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

}  // namespace pagoda::cpu
