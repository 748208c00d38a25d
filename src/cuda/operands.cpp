#include "operands.h"

#include <algorithm>

#include "../core/error.h"
#include "kernels/prefill_keys.h"
#include "step_memory.h"
#include "tensor_map.h"

namespace pagoda::cuda {
namespace {

int64_t bytes_of(const TensorView& view, int dim) {
  return view.stride[dim] * static_cast<int64_t>(size_of(view.dtype));
}

void check_alignment(const TensorView& view, const char* name) {
  if (!view) return;
  expect(reinterpret_cast<uintptr_t>(view.data) % 16 == 0, PAGODA_UNSUPPORTED, name, " starts at ",
         view.data, "; the cuda backend needs a multiple of 16 bytes");
  for (int i = 0; i + 1 < view.num_dims; ++i)
    expect(bytes_of(view, i) % 16 == 0, PAGODA_UNSUPPORTED, name, " has a stride of ",
           bytes_of(view, i), " bytes in dimension ", i,
           "; the cuda backend needs multiples of 16 bytes");
}

// view: [num_pages, page_size, num_kv_heads, head_dim]
KeyView key_view_of_cache(const TensorView& view) {
  return {.data = view.data,
          .num_pages = view.shape[0],
          .page_size = view.shape[1],
          .num_kv_heads = view.shape[2],
          .head_dim = view.shape[3],
          .page_stride = bytes_of(view, 0),
          .token_stride = bytes_of(view, 1),
          .head_stride = bytes_of(view, 2)};
}

// view: [num_keys, num_kv_heads, head_dim], as one page. A call without keys has a page of one row,
// which is never read.
KeyView key_view_of_call(const TensorView& view, const void* instead) {
  const bool empty = view.shape[0] == 0 || view.data == nullptr;
  const int64_t rows = std::max<int64_t>(view.shape[0], 1);
  return {.data = empty ? instead : view.data,
          .num_pages = 1,
          .page_size = rows,
          .num_kv_heads = view.shape[1],
          .head_dim = view.shape[2],
          .page_stride = rows * bytes_of(view, 0),
          .token_stride = bytes_of(view, 0),
          .head_stride = bytes_of(view, 1)};
}

MergeSide merge_side_of(const TensorView& out, const TensorView& lse) {
  return {.out = out.data,
          .out_token_stride = bytes_of(out, 0),
          .out_head_stride = bytes_of(out, 1),
          .lse = static_cast<float*>(lse.data),
          .lse_head_stride = lse ? lse.stride[0] : 0,
          .lse_token_stride = lse ? lse.stride[1] : 0};
}

CacheWriteSide write_side_of(const TensorView& source, const TensorView& cache) {
  return {.source = source.data,
          .source_token_stride = bytes_of(source, 0),
          .source_head_stride = bytes_of(source, 1),
          .cache = key_view_of_cache(cache)};
}

}  // namespace

AttendParams attend_params_of(const Prepared& prepared, const Attend& step, const Layer& layer,
                              const Operands& operands) {
  const Problem& problem = prepared.problem;
  const Batch& batch = prepared.batch;
  const bool cached = step.keys == Keys::cache;
  check_alignment(operands.query, "query");
  check_alignment(operands.out, "out");
  check_alignment(cached ? layer.key_cache : operands.key, cached ? "layer.key_cache" : "key");
  check_alignment(cached ? layer.value_cache : operands.value,
                  cached ? "layer.value_cache" : "value");

  AttendParams params;
  params.query = operands.query.data;
  params.query_token_stride = bytes_of(operands.query, 0);
  params.query_head_stride = bytes_of(operands.query, 1);
  params.key = cached ? key_view_of_cache(layer.key_cache)
                      : key_view_of_call(operands.key, prepared.workspace);
  params.value = cached ? key_view_of_cache(layer.value_cache)
                        : key_view_of_call(operands.value, prepared.workspace);
  params.out = operands.out.data;
  params.out_token_stride = bytes_of(operands.out, 0);
  params.out_head_stride = bytes_of(operands.out, 1);
  if (operands.lse) {
    params.lse = static_cast<float*>(operands.lse.data);
    params.lse_head_stride = operands.lse.stride[0];
    params.lse_token_stride = operands.lse.stride[1];
  }
  params.page_table = cached ? batch.page_table : nullptr;
  params.page_table_stride = batch.page_table_stride;
  params.key_start_loc = batch.key_start_loc;
  params.page_size = cached ? problem.page_size : 0;
  params.num_kv_heads = problem.num_kv_heads;
  params.group = Divisor(problem.group());
  params.mask = step.mask;
  params.score = Score2::from(problem.score);
  params.alibi_slopes = problem.score.alibi == Alibi::none ? nullptr : layer.alibi_slopes;
  params.sinks = step.adds_sinks ? layer.sinks : nullptr;
  fill_step_pointers(prepared, params);
  params.next_tile = next_tile_of(prepared);
  return params;
}

PrefillParams prefill_params_of(const AttendParams& params, const Problem& problem, KeyMaps& maps) {
  const int32_t tile_keys = prefill::keys_per_tile(problem.head_dim, problem.head_dim_v);
  const int32_t box_rows = box_rows_of(params.page_size, tile_keys);
  return {.attend = params,
          .key_map = maps.find(params.key, problem.dtype, box_rows),
          .value_map = maps.find(params.value, problem.dtype, box_rows),
          .box_rows = box_rows,
          .beside_decode = true};
}

CacheWriteParams cache_write_params_of(const Prepared& prepared, const Layer& layer,
                                       const TensorView& key, const TensorView& value) {
  return {.key = write_side_of(key, layer.key_cache),
          .value = write_side_of(value, layer.value_cache),
          .slot_mapping = prepared.batch.slot_mapping,
          .num_tokens = prepared.batch.num_tokens};
}

MergeParams merge_params_of(const MergeOperands& operands) {
  return {.a = merge_side_of(operands.out_a, operands.lse_a),
          .b = merge_side_of(operands.out_b, operands.lse_b),
          .to = merge_side_of(operands.out, operands.lse),
          .num_tokens = static_cast<int32_t>(operands.out.shape[0]),
          .num_tokens_a = operands.num_tokens_a,
          .num_heads = static_cast<int32_t>(operands.out.shape[1]),
          .head_dim_v = static_cast<int32_t>(operands.out.shape[2])};
}

}  // namespace pagoda::cuda
