/*
 * mpi.h - a communicator of processes, over MPI. In a library of its own, pagoda_mpi, so that
 * nothing else depends on MPI.
 *
 *     mpirun -n 4 program        each process: pagoda_comm_create_mpi, then a context with the comm
 *
 * By default mpirun ends all processes when one dies; with `mpirun --enable-recovery` the others
 * live on, and each gets the error that names the lost rank.
 */
#ifndef PAGODA_MPI_H_
#define PAGODA_MPI_H_

#include <pagoda/comm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The ranks of MPI_COMM_WORLD. Initialises MPI if nobody has; then pagoda_comm_destroy ends it,
 * unless a rank was lost, since MPI would wait for it. One thread of the process at a time calls
 * the comm. timeout_ms: how long a collective waits for the other ranks; 0: 4000. Errors:
 * PAGODA_INVALID_ARGUMENT, PAGODA_COMM_ERROR; pagoda_mpi_last_error has the sentence.
 */
PAGODA_API pagoda_status pagoda_comm_create_mpi(int32_t timeout_ms, pagoda_comm* comm);

/* The last failure of the function above on this thread. Never NULL. */
PAGODA_API const char* pagoda_mpi_last_error(void);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PAGODA_MPI_H_ */
