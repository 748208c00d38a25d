// Attention with AMX tiles of f16 (AMX-FP16), for tensors of f16 and caches of 8-bit codes: what
// amx.cpp is for bf16. The same rules hold for what it includes.
#define PAGODA_ISA amx_fp16
#include "../amx_f16.inl.h"
#include "../amx_table.inl.h"
