// Attention with AMX tiles of bf16, and vectors of 16 floats for what lies between the products.
// Compiled with flags for AMX and AVX-512, so it includes no standard header but the intrinsics
// (see kernels.h).
#define PAGODA_ISA amx
#include "../amx_bf16.inl.h"
#include "../amx_table.inl.h"
