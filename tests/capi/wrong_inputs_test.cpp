// Wrong inputs to the C interface, each with its own status and a part of its sentence that tells
// it from the others. Every case spoils one thing of a step that works.
#include <cmath>
#include <limits>

#include "world.h"

namespace pagoda::test {
namespace {

struct WrongInput {
  const char* name;
  void (*spoil)(World& world);
  pagoda_status status;
  const char* sentence;  // a part of it
};

constexpr pagoda_status kInvalid = PAGODA_INVALID_ARGUMENT, kLimits = PAGODA_OUT_OF_LIMITS,
                        kUnsupported = PAGODA_UNSUPPORTED;

// clang-format off
const WrongInput kCases[] = {
  // context
  {"unknown_backend", [](World& w) { w.options.backend = "tpu"; }, kUnsupported, "no backend \"tpu\""},
  {"negative_threads", [](World& w) { w.options.num_threads = -2; }, kInvalid, "num_threads is -2"},
  {"options_without_size", [](World& w) { w.options.struct_size = 0; }, kInvalid, "pagoda_context_options.struct_size is 0"},
  // spec
  {"spec_without_size", [](World& w) { w.spec.struct_size = 0; }, kInvalid, "pagoda_spec.struct_size is 0"},
  {"spec_of_absurd_size", [](World& w) { w.spec.struct_size = 1u << 30; }, kInvalid, "struct_size is 1073741824"},
  {"no_heads", [](World& w) { w.spec.num_heads = 0; }, kInvalid, "spec.num_heads is 0"},
  {"negative_kv_heads", [](World& w) { w.spec.num_kv_heads = -1; }, kInvalid, "spec.num_kv_heads is -1"},
  {"ragged_group", [](World& w) { w.spec.num_heads = 5; }, kInvalid, "no multiple of spec.num_kv_heads"},
  {"too_many_heads", [](World& w) { w.spec.num_heads = 1 << 20; }, kInvalid, "at most 65536 heads"},
  {"head_dim_not_of_8", [](World& w) { w.spec.head_dim = 12; }, kInvalid, "spec.head_dim is 12"},
  {"head_dim_zero", [](World& w) { w.spec.head_dim = 0; }, kInvalid, "spec.head_dim is 0"},
  {"head_dim_too_large", [](World& w) { w.spec.head_dim = 520; }, kInvalid, "spec.head_dim is 520"},
  {"head_dim_v_not_of_8", [](World& w) { w.spec.head_dim_v = 4; }, kInvalid, "spec.head_dim_v is 4"},
  {"head_dim_v_negative", [](World& w) { w.spec.head_dim_v = -8; }, kInvalid, "spec.head_dim_v is -8"},
  {"dtype_of_bytes", [](World& w) { w.spec.dtype = PAGODA_INT8; }, kInvalid, "spec.dtype is int8"},
  {"dtype_unknown", [](World& w) { w.spec.dtype = static_cast<pagoda_dtype>(77); }, kInvalid, "(77)"},
  {"kv_format_unknown", [](World& w) { w.spec.kv_format = static_cast<pagoda_kv_format>(9); }, kInvalid, "spec.kv_format is 9"},
  {"kv_format_without_cache", [](World& w) { w.spec.kv_format = PAGODA_KV_INT8_TOKEN; w.spec.page_size = 0; }, kUnsupported, "kv_format"},
  {"page_size_not_of_8", [](World& w) { w.spec.page_size = 12; }, kInvalid, "spec.page_size is 12"},
  {"page_size_negative", [](World& w) { w.spec.page_size = -8; }, kInvalid, "spec.page_size is -8"},
  {"scale_not_a_number", [](World& w) { w.spec.softmax_scale = std::nanf(""); }, kInvalid, "spec.softmax_scale is nan"},
  {"scale_infinite", [](World& w) { w.spec.softmax_scale = INFINITY; }, kInvalid, "spec.softmax_scale is inf"},
  {"softcap_negative", [](World& w) { w.spec.logit_softcap = -30; }, kInvalid, "spec.logit_softcap is -30"},
  {"softcap_not_a_number", [](World& w) { w.spec.logit_softcap = std::nanf(""); }, kInvalid, "spec.logit_softcap is nan"},
  {"causal_is_no_flag", [](World& w) { w.spec.causal = 2; }, kInvalid, "spec.causal is 2"},
  {"has_window_is_no_flag", [](World& w) { w.spec.has_window = -1; }, kInvalid, "spec.has_window is -1"},
  {"window_without_flag", [](World& w) { w.spec.window_left = 9; }, kInvalid, "spec.has_window is 0"},
  {"window_left_below", [](World& w) { w.spec.has_window = 1; w.spec.window_left = -2; }, kInvalid, "spec.window_left is -2"},
  {"window_right_below", [](World& w) { w.spec.has_window = 1; w.spec.window_right = -7; }, kInvalid, "spec.window_right is -7"},
  {"alibi_unknown", [](World& w) { w.spec.alibi = static_cast<pagoda_alibi>(3); }, kInvalid, "spec.alibi is 3"},
  {"has_sinks_is_no_flag", [](World& w) { w.spec.has_sinks = 8; }, kInvalid, "spec.has_sinks is 8"},
  // limits
  {"limits_without_size", [](World& w) { w.limits.struct_size = 0; }, kInvalid, "pagoda_limits.struct_size"},
  {"no_requests", [](World& w) { w.limits.max_reqs = 0; }, kInvalid, "limits.max_reqs is 0"},
  {"negative_tokens", [](World& w) { w.limits.max_tokens = -1; }, kInvalid, "limits.max_tokens is -1"},
  {"no_seq_len", [](World& w) { w.limits.max_seq_len = 0; }, kInvalid, "limits.max_seq_len is 0"},
  {"query_len_over_tokens", [](World& w) { w.limits.max_query_len = 9; }, kInvalid, "limits.max_query_len is 9"},
  {"no_pages", [](World& w) { w.limits.num_pages = 0; }, kInvalid, "limits.num_pages is 0"},
  // tuning
  {"negative_splits", [](World& w) { w.tuning.num_splits = -1; }, kInvalid, "tuning.num_splits is -1"},
  {"cascade_beyond", [](World& w) { w.tuning.cascade = 2; }, kInvalid, "tuning.cascade is 2"},
  {"cascade_below", [](World& w) { w.tuning.cascade = -2; }, kInvalid, "tuning.cascade is -2"},
  {"unknown_kernel", [](World& w) { w.tuning.kernel = "warp9"; }, kUnsupported, "warp9"},
  // prepare
  {"workspace_unaligned", [](World& w) { w.workspace_shift = 8; }, kInvalid, "not aligned to 256"},
  {"batch_without_size", [](World& w) { w.batch.struct_size = 0; }, kInvalid, "pagoda_batch.struct_size"},
  {"negative_reqs", [](World& w) { w.batch.num_reqs = -1; }, kInvalid, "batch.num_reqs is -1"},
  {"too_many_reqs", [](World& w) { w.batch.num_reqs = 3; }, kLimits, "batch.num_reqs is 3"},
  {"negative_num_tokens", [](World& w) { w.batch.num_tokens = -5; }, kInvalid, "batch.num_tokens is -5"},
  {"too_many_tokens", [](World& w) { w.batch.num_tokens = 9; }, kLimits, "batch.num_tokens is 9"},
  {"query_bound_over_limit", [](World& w) { w.batch.max_query_len = 7; }, kLimits, "batch.max_query_len is 7"},
  {"seq_bound_over_limit", [](World& w) { w.batch.max_seq_len = 65; }, kLimits, "batch.max_seq_len is 65"},
  {"no_query_start_loc", [](World& w) { w.batch.query_start_loc = nullptr; }, kInvalid, "batch.query_start_loc is NULL"},
  {"no_seq_lens", [](World& w) { w.batch.seq_lens = nullptr; }, kInvalid, "batch.seq_lens is NULL"},
  {"no_page_table", [](World& w) { w.batch.page_table = nullptr; }, kInvalid, "batch.page_table is NULL"},
  {"table_stride_below_width", [](World& w) { w.batch.page_table_stride = 1; }, kInvalid, "batch.page_table_stride is 1"},
  {"key_start_with_cache", [](World& w) { w.batch.key_start_loc = w.query_start_loc.data(); }, kInvalid, "batch.key_start_loc is set"},
  {"start_not_zero", [](World& w) { w.query_start_loc[0] = 1; }, kInvalid, "query_start_loc[0] is 1"},
  {"start_falls", [](World& w) { w.query_start_loc[2] = 2; }, kInvalid, "query_start_loc[2] is 2"},
  {"start_past_tokens", [](World& w) { w.query_start_loc[2] = 6; }, kInvalid, "but the batch has 5 tokens"},
  {"query_longer_than_bound", [](World& w) { w.batch.max_query_len = 2; }, kLimits, "request 0 has 3 query tokens"},
  {"negative_seq_len", [](World& w) { w.seq_lens[1] = -3; }, kInvalid, "seq_lens[1] is -3"},
  {"seq_len_over_bound", [](World& w) { w.seq_lens[0] = 65; }, kLimits, "seq_lens[0] is 65"},
  {"table_too_narrow", [](World& w) { w.seq_lens[0] = 17; }, kInvalid, "on 3 pages, but the page table has 2 columns"},
  {"page_negative", [](World& w) { w.page_table[1] = -1; }, kInvalid, "page_table[0][1] is -1"},
  {"page_past_cache", [](World& w) { w.page_table[2] = 8; }, kInvalid, "page_table[1][0] is 8"},
  {"slot_past_cache", [](World& w) { w.slots[4] = 64; }, kInvalid, "slot_mapping[4] is 64"},
  {"stream_on_the_host", [](World& w) { w.stream = &w; }, kInvalid, "stream"},
  // update_cache and forward
  {"not_prepared", [](World& w) { w.skip_prepare = true; }, kInvalid, "not prepared"},
  {"no_slots_for_update", [](World& w) { w.batch.slot_mapping = nullptr; }, kInvalid, "slot_mapping was NULL"},
  {"layer_without_size", [](World& w) { w.layer.struct_size = 0; }, kInvalid, "pagoda_layer.struct_size"},
  {"no_key_cache", [](World& w) { w.layer.key_cache = nullptr; }, kInvalid, "layer.key_cache is NULL"},
  {"no_value_cache", [](World& w) { w.layer.value_cache = nullptr; }, kInvalid, "layer.value_cache is NULL"},
  {"cache_of_other_pages", [](World& w) { w.key_cache.shape[0] = 7; }, kInvalid, "layer.key_cache has shape [7, 8, 2, 16]"},
  {"cache_of_other_type", [](World& w) { w.value_cache.dtype = PAGODA_F16; }, kInvalid, "layer.value_cache is f16"},
  {"cache_of_three_dims", [](World& w) { w.key_cache.num_dims = 3; }, kInvalid, "layer.key_cache has 3 dimensions"},
  {"cache_not_dense_inside", [](World& w) { w.key_cache.stride[3] = 2; }, kInvalid, "layer.key_cache.stride[3] is 2"},
  {"cache_stride_negative", [](World& w) { w.value_cache.stride[1] = -32; }, kInvalid, "layer.value_cache.stride[1] is -32"},
  {"cache_stride_too_far", [](World& w) { w.key_cache.stride[0] = INT64_MAX / 4; }, kInvalid, "leaves the address space"},
  {"cache_written_in_one_place", [](World& w) { w.key_cache.stride[1] = 0; }, kInvalid, "stride[1] is 0"},
  {"quantised_cache_of_floats", [](World& w) { w.spec.kv_format = PAGODA_KV_INT8_TOKEN; }, kInvalid, "layer.key_cache is f32; this call needs int8"},
  {"quantised_values_of_floats", [](World& w) { w.spec.kv_format = PAGODA_KV_FP8_E4M3; w.key_cache.dtype = PAGODA_FP8_E4M3; }, kInvalid, "layer.value_cache is f32; this call needs fp8_e4m3"},
  {"quantised_keys_without_scales", [](World& w) { w.spec.kv_format = PAGODA_KV_INT8_KEYS; w.key_cache.dtype = PAGODA_INT8; }, kInvalid, "layer.key_scale is NULL"},
  {"token_scales_of_other_shape", [](World& w) { w.spec.kv_format = PAGODA_KV_INT8_KEYS; w.key_cache.dtype = PAGODA_INT8; w.layer.key_scale = &w.key; }, kInvalid, "layer.key_scale has shape [5, 2, 16]; this call needs [8, 8, 2]"},
  {"unquantised_values_with_scales", [](World& w) { w.spec.kv_format = PAGODA_KV_INT8_KEYS; w.key_cache.dtype = PAGODA_INT8; w.key.shape[0] = w.key.shape[1] = 8; w.key.shape[2] = 2; w.layer.key_scale = w.layer.value_scale = &w.key; }, kInvalid, "layer.value_scale is set"},
  {"scales_without_format", [](World& w) { w.layer.key_scale = &w.key; }, kInvalid, "layer.key_scale"},
  {"slopes_without_alibi", [](World& w) { w.layer.alibi_slopes = w.alibi_slopes.data(); }, kInvalid, "layer.alibi_slopes is set"},
  {"alibi_without_slopes", [](World& w) { w.spec.alibi = PAGODA_ALIBI_LINEAR; }, kInvalid, "layer.alibi_slopes is NULL"},
  {"sinks_without_spec", [](World& w) { w.layer.sinks = w.sinks.data(); }, kInvalid, "layer.sinks is set"},
  {"spec_without_sinks", [](World& w) { w.spec.has_sinks = 1; }, kInvalid, "layer.sinks is NULL"},
  {"key_too_short", [](World& w) { w.key.shape[0] = 4; }, kInvalid, "key has shape [4, 2, 16]"},
  {"value_of_other_heads", [](World& w) { w.value.shape[1] = 4; }, kInvalid, "value has shape [5, 4, 16]"},
  {"query_data_null", [](World& w) { w.query.data = nullptr; }, kInvalid, "query.data is NULL"},
  {"query_unaligned", [](World& w) { w.query.data = reinterpret_cast<char*>(w.q.data()) + 1; }, kInvalid, "query.data is not aligned"},
  {"query_without_size", [](World& w) { w.query.struct_size = 0; }, kInvalid, "query.struct_size is 0"},
  {"query_of_other_dim", [](World& w) { w.query.shape[2] = 8; }, kInvalid, "query has shape [5, 4, 8]"},
  {"out_of_other_type", [](World& w) { w.out.dtype = PAGODA_BF16; }, kInvalid, "out is bf16"},
  {"out_in_one_place", [](World& w) { w.out.stride[0] = 0; }, kInvalid, "out.stride[0] is 0"},
  {"lse_of_other_type", [](World& w) { w.lse.dtype = PAGODA_F16; }, kInvalid, "lse is f16"},
  {"lse_transposed_shape", [](World& w) { w.lse.shape[0] = 5; w.lse.shape[1] = 4; }, kInvalid, "lse has shape [5, 4]"},
  {"key_given_beside_cache", [](World& w) { w.key_of_forward = &w.key; }, kInvalid, "attends to its cache"},
};
// clang-format on

class WrongInputs : public ::testing::TestWithParam<const char*> {};

TEST_P(WrongInputs, TheStepThatTheCasesSpoilWorks) {
  World world(GetParam());
  const Result result = world.run();
  EXPECT_EQ(result.status, PAGODA_OK) << result.sentence;
}

TEST_P(WrongInputs, EachHasItsStatusAndSentence) {
  for (const WrongInput& wrong : kCases) {
    SCOPED_TRACE(wrong.name);
    World world(GetParam());
    wrong.spoil(world);
    const Result result = world.run();
    EXPECT_EQ(result.status, wrong.status) << result.sentence;
    EXPECT_NE(result.sentence.find(wrong.sentence), std::string::npos)
        << "the sentence is: " << result.sentence;
  }
}

// A refused step leaves no trace: the same plan serves a right one afterwards.
TEST_P(WrongInputs, ARefusedStepDoesNotHarmThePlan) {
  World world(GetParam());
  ASSERT_EQ(world.run().status, PAGODA_OK);
  const std::vector<float> expected = world.o;
  world.seq_lens[0] = 65;
  EXPECT_EQ(world.step().status, PAGODA_OUT_OF_LIMITS);
  world.skip_prepare = true;
  EXPECT_EQ(world.step().status, PAGODA_INVALID_ARGUMENT);  // the failed prepare left no old step
  world.skip_prepare = false;
  world.seq_lens[0] = 11;
  ASSERT_EQ(world.step().status, PAGODA_OK);
  EXPECT_EQ(world.o, expected);
}

TEST(WrongInputList, HasAtLeastSixtyCasesWithDistinctNames) {
  std::vector<std::string> names;
  for (const WrongInput& wrong : kCases) names.push_back(wrong.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  EXPECT_GE(names.size(), 60u);
}

INSTANTIATE_TEST_SUITE_P(Backends, WrongInputs, ::testing::Values("cpu", "reference"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace pagoda::test
