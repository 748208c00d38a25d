/* The public headers in C11, used and not only included. */
#include <pagoda/kv.h>
#include <pagoda/pagoda.h>

_Static_assert(PAGODA_OK == 0, "success is zero");

uint32_t size_of_batch_in_c11(void) {
  pagoda_batch batch = PAGODA_INIT(pagoda_batch);
  return batch.struct_size;
}
