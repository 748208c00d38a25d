// Attention with AMX tiles. Compiled with flags for AMX and AVX-512, so it includes no standard
// header but the intrinsics (see kernels.h).
#include <immintrin.h>

#include "../kernels.h"

#define PAGODA_ISA amx
#include "../amx_tile.inl.h"

namespace pagoda::cpu::amx {

void multiply_tiles(const void* a, const void* b, float* c) {
  const TileConfig config;
  load_tile<0>(c);
  load_tile<1>(a);
  load_tile<2>(b);
  product_bf16<0, 1, 2>();
  store_tile<0>(c);
}

}  // namespace pagoda::cpu::amx
