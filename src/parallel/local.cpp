#include "local.h"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>

namespace pagoda::parallel {
namespace {

// Where the ranks meet. A collective has two meetings: all have said where their data lies, and all
// have read what they need of it.
class Board {
 public:
  Board(int32_t num_ranks, int32_t timeout_ms)
      : timeout_(timeout_ms),
        send_(static_cast<size_t>(num_ranks)),
        met_(static_cast<size_t>(num_ranks)) {}

  int32_t num_ranks() const { return static_cast<int32_t>(send_.size()); }

  // Between the meetings of a collective only: what rank r shows.
  const void* shown_by(int32_t r) const { return send_[static_cast<size_t>(r)]; }

  void show(int32_t rank, const void* send) {
    std::lock_guard lock(mutex_);
    send_[static_cast<size_t>(rank)] = send;
  }

  // Returns when every rank has come to as many meetings as this one.
  void meet(int32_t rank) {
    std::unique_lock lock(mutex_);
    throw_if_failed();
    const uint64_t meeting = ++met_[static_cast<size_t>(rank)];
    changed_.notify_all();
    const bool done = changed_.wait_for(
        lock, timeout_, [&] { return !failure_.empty() || missing(meeting).empty(); });
    if (!done && failure_.empty()) {
      failure_ = sentence_of(missing(meeting));
      changed_.notify_all();
    }
    throw_if_failed();
  }

 private:
  std::vector<int32_t> missing(uint64_t meeting) const {
    std::vector<int32_t> ranks;
    for (size_t r = 0; r < met_.size(); ++r)
      if (met_[r] < meeting) ranks.push_back(static_cast<int32_t>(r));
    return ranks;
  }

  std::string sentence_of(const std::vector<int32_t>& ranks) const {
    return sentence_of_missing(ranks, timeout_.count());
  }

  void throw_if_failed() const {
    if (!failure_.empty()) throw Failure(PAGODA_COMM_ERROR, failure_, Where::here());
  }

  const std::chrono::milliseconds timeout_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<const void*> send_;  // [num_ranks]
  std::vector<uint64_t> met_;      // [num_ranks] meetings that the rank came to
  std::string failure_;            // not empty: nobody meets here any more
};

class LocalRank final : public Communicator {
 public:
  LocalRank(std::shared_ptr<Board> board, int32_t rank) : board_(std::move(board)), rank_(rank) {}

  void all_gather(const void* send, void* recv, size_t bytes) override {
    board_->show(rank_, send);
    board_->meet(rank_);
    for (int32_t r = 0; r < board_->num_ranks(); ++r)
      std::memcpy(static_cast<char*>(recv) + static_cast<size_t>(r) * bytes, board_->shown_by(r),
                  bytes);
    board_->meet(rank_);
  }

  void reduce_scatter(const float* send, float* recv, size_t count) override {
    board_->show(rank_, send);
    board_->meet(rank_);
    sum_in_order(
        board_->num_ranks(),
        [&](int32_t r) {
          return static_cast<const float*>(board_->shown_by(r)) +
                 static_cast<size_t>(rank_) * count;
        },
        recv, count);
    board_->meet(rank_);
  }

 private:
  const std::shared_ptr<Board> board_;
  const int32_t rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local(int32_t num_ranks, int32_t timeout_ms) {
  expect(num_ranks > 0, PAGODA_INVALID_ARGUMENT, "num_ranks is ", num_ranks, "; it is at least 1");
  expect(timeout_ms >= 0, PAGODA_INVALID_ARGUMENT, "timeout_ms is ", timeout_ms,
         "; it is a time in milliseconds, or 0 for ", kTimeoutMs);
  const auto board = std::make_shared<Board>(num_ranks, timeout_ms > 0 ? timeout_ms : kTimeoutMs);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int32_t r = 0; r < num_ranks; ++r) ranks.push_back(std::make_unique<LocalRank>(board, r));
  return ranks;
}

}  // namespace pagoda::parallel
