// Ranks that are processes. Collectives are made of messages between pairs, because those tell
// which rank is missing, where a collective of MPI would wait for it forever.
#include <mpi.h>
#include <pagoda/mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "communicator.h"

namespace pagoda::parallel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAbortTag = 1, kFirstTag = 2, kNumTags = 1 << 14;
constexpr size_t kMaxMessage = size_t{1} << 30;  // MPI counts in int
constexpr int kPollsBeforeSleep = 2000;
constexpr useconds_t kSleepUs = 50;

void check_mpi(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Failure(PAGODA_COMM_ERROR, std::string(what) + ": " + text, Where::here());
}

class MpiRank final : public Communicator {
 public:
  MpiRank(MPI_Comm comm, int32_t timeout_ms, bool owns_mpi)
      : comm_(comm), timeout_(timeout_ms), owns_mpi_(owns_mpi) {
    check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(comm_, &num_ranks_), "MPI_Comm_size");
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }

  // After a failure messages may still be on their way into the buffers, and MPI_Finalize would
  // wait for ranks that do not come: both are left as they are.
  ~MpiRank() override {
    if (!failure_.empty()) {
      new std::vector<char>(std::move(send_));
      new std::vector<char>(std::move(recv_));
    } else if (owns_mpi_) {
      MPI_Finalize();
    }
  }
  MpiRank(const MpiRank&) = delete;
  MpiRank& operator=(const MpiRank&) = delete;

  int32_t rank() const { return rank_; }
  int32_t num_ranks() const { return num_ranks_; }

  void all_gather(const void* send, void* recv, size_t bytes) override {
    exchange([&](int32_t) { return static_cast<const char*>(send); }, bytes);
    std::memcpy(recv, recv_.data(), bytes * static_cast<size_t>(num_ranks_));
  }

  void reduce_scatter(const float* send, float* recv, size_t count) override {
    const size_t bytes = count * sizeof(float);
    exchange([&](int32_t r) { return reinterpret_cast<const char*>(send) + place(r, bytes); },
             bytes);
    sum_in_order(
        num_ranks_,
        [&](int32_t r) { return reinterpret_cast<const float*>(recv_.data() + place(r, bytes)); },
        recv, count);
  }

 private:
  static size_t place(int32_t r, size_t bytes) { return static_cast<size_t>(r) * bytes; }

  // part(r), [bytes], goes to rank r; what rank r sent here lies at place(r, bytes) of recv_. The
  // messages lie in buffers of this object, which grow with the largest collective.
  template <class Part>
  void exchange(const Part& part, size_t bytes) {
    throw_if_failed();
    const size_t all = place(num_ranks_, bytes);
    if (send_.size() < all) send_.resize(all);
    if (recv_.size() < all) recv_.resize(all);
    for (int32_t r = 0; r < num_ranks_; ++r)
      std::memcpy((r == rank_ ? recv_ : send_).data() + place(r, bytes), part(r), bytes);
    const auto deadline = Clock::now() + timeout_;
    for (size_t from = 0; from == 0 || from < bytes; from += kMaxMessage)
      exchange_stretch(from, std::min(kMaxMessage, bytes - from), bytes, deadline);
  }

  void exchange_stretch(size_t from, size_t length, size_t bytes, Clock::time_point deadline) {
    const int tag = kFirstTag + next_tag_++ % kNumTags;
    const auto count = static_cast<int>(length);
    requests_.clear();
    peers_.clear();
    for (int32_t r = 0; r < num_ranks_; ++r) {
      if (r == rank_) continue;
      MPI_Request receive, send;
      check_mpi(MPI_Irecv(recv_.data() + place(r, bytes) + from, count, MPI_BYTE, r, tag, comm_,
                          &receive),
                "MPI_Irecv");
      check_mpi(
          MPI_Isend(send_.data() + place(r, bytes) + from, count, MPI_BYTE, r, tag, comm_, &send),
          "MPI_Isend");
      requests_.insert(requests_.end(), {receive, send});
      peers_.insert(peers_.end(), {r, r});
    }
    wait(deadline);
  }

  void wait(Clock::time_point deadline) {
    for (int polls = 0;; ++polls) {
      int done = 0;
      check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                            MPI_STATUSES_IGNORE),
                "MPI_Testall");
      if (done != 0) return;
      if (polls < kPollsBeforeSleep) {
        sched_yield();
        continue;
      }
      hear_of_failure();
      if (Clock::now() >= deadline) fail(sentence_of_missing(missing(), timeout_.count()));
      usleep(kSleepUs);
    }
  }

  // Ranks whose message has not come; if all have, those that do not take this rank's.
  std::vector<int32_t> missing() {
    for (const size_t parity : {0, 1}) {
      std::vector<int32_t> ranks;
      for (size_t i = parity; i < requests_.size(); i += 2) {
        int done = 0;
        if (requests_[i] != MPI_REQUEST_NULL)
          MPI_Request_get_status(requests_[i], &done, MPI_STATUS_IGNORE);
        if (requests_[i] != MPI_REQUEST_NULL && done == 0) ranks.push_back(peers_[i]);
      }
      if (!ranks.empty()) return ranks;
    }
    return {rank_};
  }

  // The sentence goes to all others first: a rank that stalled in the middle of a collective may
  // have answered some of them, which then would wait for those that it did not answer.
  [[noreturn]] void fail(const std::string& sentence) {
    failure_ = sentence;
    auto& last_words = *new std::string(sentence);  // sent after this returns
    for (int32_t r = 0; r < num_ranks_; ++r) {
      MPI_Request request;
      if (r != rank_)
        MPI_Isend(last_words.data(), static_cast<int>(last_words.size()), MPI_CHAR, r, kAbortTag,
                  comm_, &request);
    }
    throw_if_failed();
    __builtin_unreachable();
  }

  void hear_of_failure() {
    int there = 0;
    MPI_Status status;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kAbortTag, comm_, &there, &status), "MPI_Iprobe");
    if (there == 0) return;
    int length = 0;
    MPI_Get_count(&status, MPI_CHAR, &length);
    std::string sentence(static_cast<size_t>(length), ' ');
    MPI_Recv(sentence.data(), length, MPI_CHAR, status.MPI_SOURCE, kAbortTag, comm_,
             MPI_STATUS_IGNORE);
    failure_ = sentence;
    throw_if_failed();
  }

  void throw_if_failed() const {
    if (!failure_.empty()) throw Failure(PAGODA_COMM_ERROR, failure_, Where::here());
  }

  const MPI_Comm comm_;
  const std::chrono::milliseconds timeout_;
  const bool owns_mpi_;
  int rank_ = 0, num_ranks_ = 1, next_tag_ = 0;
  std::vector<char> send_, recv_;  // [num_ranks, bytes]
  std::vector<MPI_Request> requests_;
  std::vector<int32_t> peers_;  // of each request
  std::string failure_;
};

thread_local std::string last_error;

std::unique_ptr<MpiRank> make_mpi(int32_t timeout_ms) {
  expect(timeout_ms >= 0, PAGODA_INVALID_ARGUMENT, "timeout_ms is ", timeout_ms,
         "; it is a time in milliseconds, or 0 for ", kTimeoutMs);
  int is_up = 0, provided = 0;
  MPI_Initialized(&is_up);
  if (is_up == 0)
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided),
              "MPI_Init_thread");
  return std::make_unique<MpiRank>(MPI_COMM_WORLD, timeout_ms > 0 ? timeout_ms : kTimeoutMs,
                                   is_up == 0);
}

}  // namespace
}  // namespace pagoda::parallel

pagoda_status pagoda_comm_create_mpi(int32_t timeout_ms, pagoda_comm* comm) {
  using namespace pagoda;
  try {
    expect(comm != nullptr, PAGODA_INVALID_ARGUMENT, "comm is NULL");
    auto rank = parallel::make_mpi(timeout_ms);
    const int32_t number = rank->rank(), num_ranks = rank->num_ranks();
    *comm = parallel::expose(std::move(rank), number, num_ranks);
    return PAGODA_OK;
  } catch (const Failure& failure) {
    parallel::last_error = failure.what();
    return failure.status;
  } catch (const std::exception& error) {
    parallel::last_error = error.what();
    return PAGODA_INTERNAL;
  }
}

const char* pagoda_mpi_last_error(void) {
  return pagoda::parallel::last_error.c_str();
}
