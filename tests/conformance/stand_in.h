// An attention over pages of its own, with switches: each a mistake that some library of this field
// has made. With no switch it is right, and the harness must say so; with any, the harness must
// notice within a few cases.
#pragma once

#include "step.h"

namespace pagoda::conformance {

// clang-format off
enum class Fault {
  none,
  // masks
  window_one_more, window_one_less, window_right_one_more, window_dropped_in_decode, causal_top_left,
  causal_flag_ignored, window_not_symmetric, early_queries_clamped, last_key_dropped,
  // scores
  softcap_after_mask, softcap_dropped, softcap_by_exponentials, softcap_after_alibi, alibi_sign, alibi_absolute,
  alibi_dropped_in_decode, alibi_sqrt_mirrored, alibi_of_kv_head, scale_ignored, scale_of_head_dim_v,
  // sinks and log-sum-exps
  sink_twice, sink_scaled, sink_of_kv_head, sink_missing_in_lse, lse_base_two, lse_without_maximum, lse_transposed,
  finite_minus_infinity,
  // rows of nothing
  empty_row_infinity, empty_row_untouched, empty_row_is_mean, padded_tokens_untouched,
  // unused memory
  tail_times_zero, tail_read, null_page_times_zero, hidden_times_zero, nan_ignored,
  // splits
  last_split_dropped, split_remainder_dropped, splits_averaged, sink_in_every_split,
  // heads and dimensions
  heads_modulo, group_to_power_of_two, value_dim_of_key, last_dims_dropped,
  // addresses
  table_stride_is_width, page_stride_dense, head_stride_dense, value_strides_of_key, query_stride_dense,
  out_stride_dense, key_start_ignored, query_start_by_uniform_len,
  // the cache writer
  negative_slot_wraps, slot_off_by_one, slots_skipped, value_not_written, pad_slot_to_null_page,
  // arithmetic
  sums_in_output_type, weights_in_bfloat16,
  count
};
// clang-format on

const char* name_of(Fault fault);

// Runs the step with the stand-in where the library would be.
Result run_stand_in(Step& step, Fault fault);

}  // namespace pagoda::conformance
