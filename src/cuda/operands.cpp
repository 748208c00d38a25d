#include "operands.h"

#include <algorithm>

#include "../core/error.h"
#include "../core/kv_format.h"
#include "kernels/prefill_keys.h"
#include "select.h"
#include "step_memory.h"
#include "tensor_map.h"

namespace pagoda::cuda {
namespace {

int64_t bytes_of(const TensorView& view, int dim) {
  return view.stride[dim] * static_cast<int64_t>(size_of(view.dtype));
}

// The decode kernel counts places in units of 16 bytes, in 32 bits.
void check_extent(const KeyView& view, const char* name) {
  constexpr int64_t kMost = int64_t{1} << 36;
  expect(view.num_pages * view.page_stride <= kMost, PAGODA_UNSUPPORTED, name, " spans ",
         view.num_pages * view.page_stride, " bytes; the cuda backend addresses at most ", kMost);
}

// unit: 16 bytes, or 4 for codes that the general kernel reads. A power of two: a forward has no
// time for a dozen divisions.
void check_alignment(const TensorView& view, const char* name, int64_t unit = 16) {
  if (!view) return;
  const auto is_multiple = [unit](int64_t bytes) { return (bytes & (unit - 1)) == 0; };
  expect(is_multiple(static_cast<int64_t>(reinterpret_cast<uintptr_t>(view.data))),
         PAGODA_UNSUPPORTED, name, " starts at ", view.data,
         "; this kernel of the cuda backend needs a multiple of ", unit, " bytes");
  for (int i = 0; i + 1 < view.num_dims; ++i)
    expect(
        is_multiple(bytes_of(view, i)), PAGODA_UNSUPPORTED, name, " has a stride of ",
        bytes_of(view, i), " bytes in dimension ", i,
        "; this kernel of the cuda backend needs multiples of ", unit, " bytes",
        unit == 16 && size_of(view.dtype) == 1 ? " (tuning.kernel sm80 takes multiples of 4)" : "");
}

// Scales that belong to tokens, or to heads for all tokens alike.
KeyScales key_scales_of(const TensorView& scale, ScaleOf owner) {
  KeyScales scales;
  scales.data = static_cast<const float*>(scale.data);
  if (owner == ScaleOf::head) {
    scales.head_stride = scale.stride[0];
  } else {
    scales.page_stride = scale.stride[0], scales.token_stride = scale.stride[1];
    scales.head_stride = scale.stride[2];
  }
  return scales;
}
// Scales of heads, or of heads and channels.
OutScales out_scales_of(const TensorView& scale, ScaleOf owner) {
  return {.data = static_cast<const float*>(scale.data),
          .head_stride = scale.stride[0],
          .channel_stride = owner == ScaleOf::channel ? scale.stride[1] : 0};
}

void add_formats(const KvFormat& format, const Layer& layer, AttendParams& params) {
  params.key_format = format.key, params.value_format = format.value;
  if (format.key.scale != ScaleOf::none)
    params.key_scale = key_scales_of(layer.key_scale, format.key.scale);
  if (format.value.scale == ScaleOf::token)
    params.value_scale = key_scales_of(layer.value_scale, format.value.scale);
  else if (format.value.scale != ScaleOf::none)
    params.out_scale = out_scales_of(layer.value_scale, format.value.scale);
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

BlockTiles block_tiles_of(const Batch& batch) {
  const auto& mask = batch.block_mask;
  return {.tile_q = mask.tile_q,
          .tile_kv = mask.tile_kv,
          .num_reqs = mask.num_reqs,
          .num_heads = mask.num_heads,
          .tile_start = mask.tile_start,
          .row_start = mask.row_start,
          .tile = mask.tile,
          .bits_at = mask.bits_at,
          .bits = mask.bits};
}

MergeSide merge_side_of(const TensorView& out, const TensorView& lse) {
  return {.out = out.data,
          .out_token_stride = bytes_of(out, 0),
          .out_head_stride = bytes_of(out, 1),
          .lse = static_cast<float*>(lse.data),
          .lse_head_stride = lse ? lse.stride[0] : 0,
          .lse_token_stride = lse ? lse.stride[1] : 0};
}

CacheWriteSide write_side_of(const TensorView& source, const TensorView& cache,
                             const TensorView& scale, CacheFormat format) {
  CacheWriteSide side;
  side.source = source.data;
  side.source_token_stride = bytes_of(source, 0);
  side.source_head_stride = bytes_of(source, 1);
  side.cache = key_view_of_cache(cache);
  side.format = format;
  if (format.scale == ScaleOf::token)
    side.made = key_scales_of(scale, format.scale);
  else if (format.scale != ScaleOf::none)
    side.given = out_scales_of(scale, format.scale);
  return side;
}

// The call's queries or outputs as tensor_map.h has them. Strides in bytes.
KeyView rows_of_call(const void* data, const Prepared& prepared, int32_t head_dim,
                     int64_t token_stride, int64_t head_stride) {
  return {.data = data,
          .num_pages = 1,
          .page_size = prepared.batch.num_tokens,
          .num_kv_heads = prepared.problem.num_heads,
          .head_dim = head_dim,
          .page_stride = prepared.batch.num_tokens * token_stride,
          .token_stride = token_stride,
          .head_stride = head_stride};
}

void add_row_maps(const Prepared& prepared, PackedMaps& maps, PrefillParams& params) {
  const Problem& problem = prepared.problem;
  const AttendParams& attend = params.attend;
  const auto query = maps.find(rows_of_call(attend.query, prepared, problem.head_dim,
                                            attend.query_token_stride, attend.query_head_stride),
                               problem.dtype, problem.group());
  const auto out = maps.find(rows_of_call(attend.out, prepared, problem.head_dim_v,
                                          attend.out_token_stride, attend.out_head_stride),
                             problem.dtype, problem.group());
  params.has_row_maps = query && out;
  if (params.has_row_maps) params.query_map = *query, params.out_map = *out;
}

}  // namespace

AttendParams attend_params_of(const Prepared& prepared, const Attend& step, const Layer& layer,
                              const Operands& operands) {
  const Problem& problem = prepared.problem;
  const Batch& batch = prepared.batch;
  const bool cached = step.keys == Keys::cache;
  check_alignment(operands.query, "query");
  check_alignment(operands.out, "out");
  const bool is_general = static_cast<const CudaKernel&>(prepared.kernel).is_general();
  const auto check_keys = [&](const TensorView& view, const char* name) {
    check_alignment(view, name, is_general && size_of(view.dtype) == 1 ? 4 : 16);
  };
  check_keys(cached ? layer.key_cache : operands.key, cached ? "layer.key_cache" : "key");
  check_keys(cached ? layer.value_cache : operands.value, cached ? "layer.value_cache" : "value");

  AttendParams params;
  params.query = operands.query.data;
  params.query_token_stride = bytes_of(operands.query, 0);
  params.query_head_stride = bytes_of(operands.query, 1);
  params.key = cached ? key_view_of_cache(layer.key_cache)
                      : key_view_of_call(operands.key, prepared.workspace);
  params.value = cached ? key_view_of_cache(layer.value_cache)
                        : key_view_of_call(operands.value, prepared.workspace);
  check_extent(params.key, cached ? "layer.key_cache" : "key");
  check_extent(params.value, cached ? "layer.value_cache" : "value");
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
  if (cached) add_formats(kv_format_of(problem.kv_format), layer, params);
  params.mask = step.mask;
  params.block_mask = block_tiles_of(batch);
  params.num_heads = problem.num_heads;
  params.score = Score2::from(problem.score);
  params.alibi_slopes = problem.score.alibi == Alibi::none ? nullptr : layer.alibi_slopes;
  params.sinks = step.adds_sinks ? layer.sinks : nullptr;
  fill_step_pointers(prepared, params);
  params.next_tile = next_tile_of(prepared);
  return params;
}

PrefillParams prefill_params_of(const AttendParams& params, const Prepared& prepared, KeyMaps& maps,
                                PackedMaps& row_maps) {
  const Problem& problem = prepared.problem;
  const int32_t tile_keys = prefill::keys_per_tile(problem.head_dim, problem.head_dim_v);
  const int32_t box_rows = box_rows_of(params.page_size, tile_keys);
  PrefillParams all{.attend = params,
                    .key_map = maps.find(params.key, problem.dtype, box_rows),
                    .value_map = maps.find(params.value, problem.dtype, box_rows),
                    .box_rows = box_rows,
                    .beside_decode = params.mixed == nullptr};
  if (params.mixed) {
    all.decode_box_rows = box_rows_of(params.page_size, mixed::kTileKeys);
    all.decode_key_map = maps.find_rows(params.key, problem.dtype, all.decode_box_rows);
    all.decode_value_map = maps.find_rows(params.value, problem.dtype, all.decode_box_rows);
  }
  add_row_maps(prepared, row_maps, all);
  return all;
}

CacheWriteParams cache_write_params_of(const Prepared& prepared, const Layer& layer,
                                       const TensorView& key, const TensorView& value) {
  const KvFormat format = kv_format_of(prepared.problem.kv_format);
  return {.key = write_side_of(key, layer.key_cache, layer.key_scale, format.key),
          .value = write_side_of(value, layer.value_cache, layer.value_scale, format.value),
          .slot_mapping = prepared.batch.slot_mapping,
          .num_tokens = prepared.batch.num_tokens,
          .dtype = prepared.problem.dtype};
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
