// A small pool of threads that stays for the life of a backend. Attention layers follow each other
// within microseconds, so a thread that has finished looks for new work for a while before it
// sleeps. A host may lend its own threads instead: then there is nothing here that could compete
// with them for the cores.
#pragma once

#include <pagoda/pagoda.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace pagoda::cpu {

// Null: none are lent.
struct HostThreads {
  pagoda_run_tasks run_tasks = nullptr;
  void* host = nullptr;
};

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 1024;

  // num_threads counts the caller of run; 0: all cores that the process may use. Throws Failure if
  // there are more than kMaxThreads, or the system refuses one.
  explicit ThreadPool(int num_threads, HostThreads host = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls task(thread) once for each thread, and returns when all have returned. The task does not
  // throw, and does not wait for that of another thread: a host may run several on one. Callers on
  // different threads take turns. Allocates nothing.
  template <class Task>
  void run(const Task& task) {
    run({[](const void* it, int thread) noexcept { (*static_cast<const Task*>(it))(thread); },
         &task});
  }

 private:
  struct Job {
    void (*call)(const void* task, int thread) noexcept = nullptr;
    const void* task = nullptr;
  };

  void run(Job job);
  void run_on_host(Job job);
  void work(int thread);
  void stop();

  HostThreads host_;
  int num_threads_;
  std::vector<std::thread> workers_;  // none where a host lends its own
  std::mutex turn_;
  Job job_;                              // null call: end; written before round_ changes
  std::atomic<uint32_t> round_{0};       // grows with every job
  std::atomic<uint32_t> unfinished_{0};  // workers that have not finished the job
};

}  // namespace pagoda::cpu
