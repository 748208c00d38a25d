// Host and device. The one macro that lets a header be compiled for both.
#pragma once

#ifdef __CUDACC__
#define PAGODA_HD __host__ __device__
#else
#define PAGODA_HD
#endif
