/* A request through the paged cache, from C. */
#include <pagoda/kv.h>

/* The slot of the last of six tokens on pages of four, or what went wrong, negative. */
int64_t kv_slot_in_c11(void) {
  const int64_t num_pages = 8;
  const int32_t tokens[6] = {1, 2, 3, 4, 5, 6};
  pagoda_cache_group group = PAGODA_INIT(pagoda_cache_group);
  group.page_size = 4;
  pagoda_cache_options options = PAGODA_INIT(pagoda_cache_options);
  options.num_groups = 1;
  options.groups = &group;
  options.num_pools = 1;
  options.num_pages = &num_pages;
  pagoda_cache_request request = PAGODA_INIT(pagoda_cache_request);
  request.id = 1;
  request.tokens = tokens;
  request.num_tokens = 6;
  pagoda_cache* cache = NULL;
  int32_t num_cached = -1;
  int64_t slot = -100;
  pagoda_status status = pagoda_cache_create(&options, &cache);
  if (status == PAGODA_OK) status = pagoda_cache_begin(cache, &request, &num_cached);
  if (status == PAGODA_OK) status = pagoda_cache_grow(cache, 1, 6);
  if (status == PAGODA_OK) status = pagoda_cache_slots(cache, 0, 1, 5, 1, &slot);
  pagoda_cache_destroy(cache);
  return status == PAGODA_OK && num_cached == 0 ? slot : -(int64_t)status;
}
