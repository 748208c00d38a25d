// What a communicator is inside the library, and how one becomes a pagoda_comm.
#pragma once

#include <pagoda/comm.h>

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "../core/error.h"

namespace pagoda::parallel {

// How long a collective waits for the other ranks where the caller does not say.
constexpr int32_t kTimeoutMs = 4000;

// The collectives of pagoda_comm. They throw Failure with PAGODA_COMM_ERROR and a sentence that
// names the ranks that did not take part.
class Communicator {
 public:
  virtual ~Communicator() = default;
  // send: [bytes], recv: [num_ranks, bytes]
  virtual void all_gather(const void* send, void* recv, size_t bytes) = 0;
  // send: [num_ranks, count], recv: [count]
  virtual void reduce_scatter(const float* send, float* recv, size_t count) = 0;
};

namespace detail {

struct Exposed {
  std::unique_ptr<Communicator> communicator;
  std::string last_error;

  template <class Body>
  pagoda_status run(pagoda_stream stream, const Body& body) noexcept {
    try {
      expect(stream == nullptr, PAGODA_INVALID_ARGUMENT,
             "a stream was given to a communicator of the host; pass NULL");
      body(*communicator);
      return PAGODA_OK;
    } catch (const Failure& failure) {
      return failed(failure.status, failure.what());
    } catch (const std::exception& error) {
      return failed(PAGODA_INTERNAL, error.what());
    }
  }

  pagoda_status failed(pagoda_status status, const char* sentence) noexcept {
    try {
      last_error = sentence;
    } catch (...) {
      last_error.clear();  // no memory for the sentence: the status must do
    }
    return status;
  }
};

}  // namespace detail

// The pagoda_comm whose functions call `communicator`, which pagoda_comm_destroy then deletes.
inline pagoda_comm expose(std::unique_ptr<Communicator> communicator, int32_t rank,
                          int32_t num_ranks) {
  using detail::Exposed;
  pagoda_comm comm = PAGODA_INIT(pagoda_comm);
  comm.rank = rank;
  comm.num_ranks = num_ranks;
  comm.all_gather = [](void* user, const void* send, void* recv, size_t bytes,
                       pagoda_stream stream) {
    return static_cast<Exposed*>(user)->run(
        stream, [&](Communicator& it) { it.all_gather(send, recv, bytes); });
  };
  comm.reduce_scatter = [](void* user, const float* send, float* recv, size_t count,
                           pagoda_stream stream) {
    return static_cast<Exposed*>(user)->run(
        stream, [&](Communicator& it) { it.reduce_scatter(send, recv, count); });
  };
  comm.last_error = [](void* user) { return static_cast<Exposed*>(user)->last_error.c_str(); };
  comm.destroy = [](void* user) { delete static_cast<Exposed*>(user); };
  comm.user = new Exposed{std::move(communicator), {}};
  return comm;
}

inline std::string sentence_of_missing(const std::vector<int32_t>& ranks, int64_t timeout_ms) {
  std::string names;
  for (const int32_t r : ranks) names += (names.empty() ? "" : ", ") + std::to_string(r);
  return (ranks.size() == 1 ? "rank " : "ranks ") + names +
         " did not take part in a collective within " + std::to_string(timeout_ms) +
         " ms; this context cannot be used any more";
}

// recv = the sum over ranks r, in their order, of part(r): [count]. One order, so one result.
template <class Part>
void sum_in_order(int32_t num_ranks, const Part& part, float* recv, size_t count) {
  for (size_t i = 0; i < count; ++i) recv[i] = part(0)[i];
  for (int32_t r = 1; r < num_ranks; ++r) {
    const float* from = part(r);
    for (size_t i = 0; i < count; ++i) recv[i] += from[i];
  }
}

}  // namespace pagoda::parallel
