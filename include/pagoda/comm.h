/*
 * comm.h - ranks that work on one model together.
 *
 * Context parallelism (pagoda_spec.shard) needs two collectives. They are two function pointers, so
 * that an engine can bring its own; here are those for the threads of one process, and pagoda/mpi.h
 * has those for processes.
 *
 * Every rank calls the same collectives in the same order. Whether a call communicates follows from
 * numbers that are the same on every rank, never from its own share of the keys.
 *
 * A rank that dies or stalls is an error with its number on every other rank: a collective that is
 * not complete within the timeout fails on all ranks that wait for it, with a sentence that names
 * the ranks that are missing. After that the communicator, and every context with it, refuses all
 * further work with the same sentence.
 */
#ifndef PAGODA_COMM_H_
#define PAGODA_COMM_H_

#include <pagoda/pagoda.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pagoda_comm {
  uint32_t struct_size;
  int32_t rank, num_ranks;
  void* user; /* the first argument of the functions below */

  /* recv[r] = send of rank r. send: [bytes], recv: [num_ranks, bytes]; they do not overlap. */
  pagoda_status (*all_gather)(void* user, const void* send, void* recv, size_t bytes,
                              pagoda_stream stream);

  /* recv = the sum of send[rank] of all ranks, added in the order of the ranks, so that it has the
   * same bits in every run. send: [num_ranks, count], recv: [count]; they do not overlap. */
  pagoda_status (*reduce_scatter)(void* user, const float* send, float* recv, size_t count,
                                  pagoda_stream stream);

  /* The sentence of the last failure of this rank; never NULL. */
  const char* (*last_error)(void* user);

  /* Called by pagoda_comm_destroy; may be NULL. */
  void (*destroy)(void* user);
};

/*
 * Communicators of `num_ranks` threads of this process: comms[r] is for the thread of rank r, which
 * alone uses it. timeout_ms: how long a collective waits for the other ranks; 0: 4000.
 * comms: [num_ranks], written; each is destroyed by pagoda_comm_destroy, in any order.
 */
PAGODA_API pagoda_status pagoda_comm_create_local(int32_t num_ranks, int32_t timeout_ms,
                                                  pagoda_comm* comms);

PAGODA_API void pagoda_comm_destroy(pagoda_comm* comm);

/*
 * The sum of all ranks' `values`, in place, the same bits on every rank: one all_gather and a sum
 * in the order of the ranks. values: [count]; scratch: [num_ranks, count].
 */
PAGODA_API pagoda_status pagoda_comm_all_reduce(const pagoda_comm* comm, float* values,
                                                float* scratch, size_t count, pagoda_stream stream);

/*
 * Where this rank keeps the tokens of a step. `slots` are as if one rank kept all keys, on pages of
 * page_size * num_ranks tokens: page * (page_size * num_ranks) + offset, or below 0. local_slots
 * are those of this rank's pages of page_size tokens, with the same page ids; -1 for tokens that
 * others keep. A rank keeps the tokens of positions p with (p / interleave) % num_ranks == rank;
 * page_size is a multiple of interleave, so the offset in the page alone tells. slots, local_slots:
 * [num_tokens], on the host; may be the same array.
 */
PAGODA_API pagoda_status pagoda_local_slots(int32_t rank, int32_t num_ranks, int32_t interleave,
                                            int32_t page_size, const int64_t* slots,
                                            int64_t* local_slots, int32_t num_tokens);

/* How many of the first seq_len tokens of a sequence a rank keeps. */
PAGODA_API int32_t pagoda_local_len(int32_t rank, int32_t num_ranks, int32_t interleave,
                                    int32_t seq_len);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PAGODA_COMM_H_ */
