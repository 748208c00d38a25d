/* The public headers in C99, used and not only included. */
#include <pagoda/batch.h>
#include <pagoda/kv.h>
#include <pagoda/pagoda.h>
#include <pagoda/select.h>

uint32_t size_of_spec_in_c99(void) {
  pagoda_spec spec = PAGODA_INIT(pagoda_spec);
  return spec.struct_size;
}
