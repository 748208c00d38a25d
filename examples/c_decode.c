/*
 * One decode step in C: a request with three tokens in the cache attends with its last one.
 *
 * All keys are equal, so every visible key has the same weight and the output is the mean of the
 * three values, 1, 2 and 6: 3. The log-sum-exp is ln 3, since the query is zero and every logit is
 * 0.
 */
#include <math.h>
#include <pagoda/pagoda.h>
#include <stdio.h>
#include <stdlib.h>

enum { kHeads = 4, kKvHeads = 2, kDim = 8, kPageSize = 8, kPages = 4 };

static void check(pagoda_status status) {
  if (status == PAGODA_OK) return;
  fprintf(stderr, "%s: %s\n", pagoda_status_name(status), pagoda_last_error());
  exit(1);
}

/* A packed float array. shape: [num_dims] */
static pagoda_tensor tensor(void* data, int32_t num_dims, const int64_t* shape) {
  pagoda_tensor t = PAGODA_INIT(pagoda_tensor);
  int64_t step = 1;
  t.data = data;
  t.dtype = PAGODA_F32;
  t.num_dims = num_dims;
  for (int32_t i = num_dims; i-- > 0; step *= shape[i]) {
    t.shape[i] = shape[i];
    t.stride[i] = step;
  }
  return t;
}

int main(void) {
  static float keys[kPages * kPageSize * kKvHeads * kDim], values[sizeof keys / sizeof *keys];
  static float key[3 * kKvHeads * kDim], value[3 * kKvHeads * kDim];
  static float query[3 * kHeads * kDim], out[3 * kHeads * kDim], lse[kHeads * 3];
  const float token_value[3] = {1, 2, 6};
  for (int t = 0; t < 3; ++t)
    for (int i = 0; i < kKvHeads * kDim; ++i) value[t * kKvHeads * kDim + i] = token_value[t];

  pagoda_context* context;
  pagoda_plan* plan;
  pagoda_context_options options = PAGODA_INIT(pagoda_context_options);
  options.backend = "cpu"; /* the arrays below lie in host memory */
  check(pagoda_context_create(&options, &context));

  pagoda_spec spec = PAGODA_INIT(pagoda_spec);
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_dim = kDim;
  spec.dtype = PAGODA_F32;
  spec.page_size = kPageSize;
  spec.causal = 1;
  pagoda_limits limits = PAGODA_INIT(pagoda_limits);
  limits.max_reqs = 1;
  limits.max_tokens = 3;
  limits.max_seq_len = 64;
  limits.num_pages = kPages;
  check(pagoda_plan_create(context, &spec, &limits, NULL, &plan));

  /* Three tokens of one request, on page 2; page 0 is never a request's own. */
  const int32_t query_start_loc[2] = {0, 3}, seq_lens[1] = {3}, page_table[1] = {2};
  const int64_t slots[3] = {2 * kPageSize, 2 * kPageSize + 1, 2 * kPageSize + 2};
  pagoda_batch batch = PAGODA_INIT(pagoda_batch);
  batch.num_reqs = 1;
  batch.num_tokens = 3;
  batch.query_start_loc = query_start_loc;
  batch.seq_lens = seq_lens;
  batch.page_table = page_table;
  batch.page_table_stride = batch.page_table_width = 1;
  batch.slot_mapping = slots;
  const size_t size = pagoda_plan_workspace_size(plan);
  void* workspace = aligned_alloc(256, size > 0 ? size : 256);
  check(pagoda_plan_prepare(plan, &batch, workspace, size, NULL));

  const int64_t cache_shape[4] = {kPages, kPageSize, kKvHeads, kDim};
  const pagoda_tensor key_cache = tensor(keys, 4, cache_shape);
  const pagoda_tensor value_cache = tensor(values, 4, cache_shape);
  pagoda_layer layer = PAGODA_INIT(pagoda_layer);
  layer.key_cache = &key_cache;
  layer.value_cache = &value_cache;
  const int64_t kv_shape[3] = {3, kKvHeads, kDim};
  const pagoda_tensor k = tensor(key, 3, kv_shape), v = tensor(value, 3, kv_shape);
  check(pagoda_update_cache(plan, &layer, &k, &v, NULL));

  const int64_t query_shape[3] = {3, kHeads, kDim}, lse_shape[2] = {kHeads, 3};
  const pagoda_tensor q = tensor(query, 3, query_shape), o = tensor(out, 3, query_shape);
  const pagoda_tensor l = tensor(lse, 2, lse_shape);
  check(pagoda_forward(plan, &layer, &q, NULL, NULL, &o, &l, NULL));

  const float last = out[2 * kHeads * kDim], last_lse = lse[2];
  printf("out %.4f (3 expected), lse %.4f (%.4f expected)\n", last, last_lse, log(3.0));
  free(workspace);
  pagoda_plan_destroy(plan);
  pagoda_context_destroy(context);
  return fabs(last - 3) < 1e-6 && fabs(last_lse - log(3.0)) < 1e-6 ? 0 : 1;
}
