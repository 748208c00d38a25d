// One plan and one step through the C interface, with numbers that may be wrong anywhere. Whatever
// is asked: an error with a sentence, or a result in which every element was written. Tensors are
// exactly as large as they claim, so that any access beyond them is seen by AddressSanitizer.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <vector>

#include "bytes.h"

namespace {

using pagoda::fuzz::Bytes;

constexpr int64_t kMaxBytes = 1 << 22;  // larger requests are legal but waste the fuzzer's time

struct Workspace {
  explicit Workspace(size_t size)
      : data(static_cast<std::byte*>(std::aligned_alloc(256, (size + 255) / 256 * 256))) {
    std::memset(data, 0xff, (size + 255) / 256 * 256);
  }
  ~Workspace() { std::free(data); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  std::byte* data;
};

// Storage of a packed tensor, filled with 0x11 bytes: small numbers in every element type.
struct Storage {
  Storage(pagoda_dtype dtype, std::initializer_list<int64_t> shape, uint8_t fill = 0x11) {
    int64_t count = dtype == PAGODA_F32 ? 4 : 2;
    for (int64_t size : shape) count *= size;
    bytes.assign(static_cast<size_t>(count), fill);
    tensor = pagoda::Tensor(bytes.data(), dtype, shape);
  }
  std::vector<uint8_t> bytes;
  pagoda::Tensor tensor;
};

void must_have_sentence(pagoda_status status) {
  if (status == PAGODA_OK) return;
  if (status == PAGODA_INTERNAL || std::strlen(pagoda_last_error()) < 10) std::abort();
}

pagoda::Spec draw_spec(Bytes& in) {
  pagoda::Spec spec;
  spec.num_kv_heads = in.number(1, 3);
  spec.num_heads = spec.num_kv_heads * in.number(1, 5);
  spec.head_dim = 8 * in.number(1, 9);
  spec.head_dim_v = in.flag() ? 0 : 8 * in.number(1, 9);
  spec.dtype = static_cast<pagoda_dtype>(in.number(0, 2));
  spec.kv_format = static_cast<pagoda_kv_format>(in.byte() % 8 == 7 ? in.number(0, 6) : 0);
  spec.page_size = 8 * in.number(0, 4);
  spec.softmax_scale = static_cast<float>(in.number(0, 3));
  spec.logit_softcap = static_cast<float>(in.number(0, 2));
  spec.causal = in.number(0, 1);
  spec.has_window = in.number(0, 1);
  if (spec.has_window == 1) {
    spec.window_left = in.number(-1, 40);
    spec.window_right = in.number(-1, 40);
  }
  spec.alibi = static_cast<pagoda_alibi>(in.number(0, 2));
  spec.has_sinks = in.number(0, 1);
  return spec;
}

bool too_large(const pagoda::Spec& spec, const pagoda::Limits& limits) {
  const int64_t heads = spec.num_heads, dim = 512;
  return heads > 64 || limits.max_tokens > 256 || limits.num_pages > 64 || spec.page_size > 256 ||
         limits.max_seq_len > 4096 || limits.max_reqs > 64 ||
         limits.max_tokens * heads * dim > kMaxBytes;
}

void run_step(pagoda_plan* plan, const pagoda::Spec& spec, const pagoda::Limits& limits,
              Bytes& in) {
  const int32_t num_reqs = in.number(0, 4), num_tokens = in.number(0, 40);
  if (num_reqs < 0 || num_reqs > 64 || num_tokens < 0 || num_tokens > 256) return;
  const int32_t width = in.number(1, 6) & 63;
  std::vector<int32_t> starts(static_cast<size_t>(num_reqs) + 1),
      lens(static_cast<size_t>(num_reqs));
  std::vector<int32_t> table(static_cast<size_t>(num_reqs) * static_cast<size_t>(width));
  std::vector<int64_t> slots(static_cast<size_t>(num_tokens));
  std::vector<uint8_t> causal(static_cast<size_t>(num_reqs));
  for (size_t r = 1; r < starts.size(); ++r) starts[r] = starts[r - 1] + in.number(0, 9);
  for (int32_t& len : lens) len = in.number(0, 60);
  for (int32_t& page : table) page = in.number(0, 7);
  for (int64_t& slot : slots) slot = in.number(-1, 100);
  for (uint8_t& flag : causal) flag = in.byte() % 64 == 63 ? 2 : in.byte() & 1;

  pagoda::Batch batch;
  batch.num_reqs = num_reqs;
  batch.num_tokens = num_tokens;
  batch.query_start_loc = starts.data();
  batch.seq_lens = lens.data();
  if (spec.page_size > 0) {
    batch.page_table = table.data();
    batch.page_table_stride = batch.page_table_width = width;
    batch.slot_mapping = slots.data();
  }
  batch.causal = in.flag() ? causal.data() : nullptr;
  const size_t size = pagoda_plan_workspace_size(plan);
  if (size > static_cast<size_t>(64 * kMaxBytes)) return;
  const Workspace workspace(size);
  const pagoda_status prepared = pagoda_plan_prepare(plan, &batch, workspace.data, size, nullptr);
  must_have_sentence(prepared);
  if (prepared != PAGODA_OK) return;

  const int64_t dim_v = spec.head_dim_v != 0 ? spec.head_dim_v : spec.head_dim;
  const int64_t num_keys = in.number(0, 100) & 127;
  const bool cached = spec.page_size > 0;
  const int64_t rows = cached ? num_tokens : num_keys;
  Storage key_cache(spec.dtype,
                    {limits.num_pages, spec.page_size, spec.num_kv_heads, spec.head_dim});
  Storage value_cache(spec.dtype, {limits.num_pages, spec.page_size, spec.num_kv_heads, dim_v});
  Storage key(spec.dtype, {rows, spec.num_kv_heads, spec.head_dim});
  Storage value(spec.dtype, {rows, spec.num_kv_heads, dim_v});
  Storage query(spec.dtype, {num_tokens, spec.num_heads, spec.head_dim});
  Storage out(spec.dtype, {num_tokens, spec.num_heads, dim_v},
              0xff);  // NaN where it is not written
  Storage lse(PAGODA_F32, {spec.num_heads, num_tokens}, 0xff);
  const std::vector<float> slopes(static_cast<size_t>(spec.num_heads), 0.25f);
  const std::vector<float> sinks(static_cast<size_t>(spec.num_heads), 1.5f);
  pagoda::Layer layer;
  if (cached) layer.key_cache = &key_cache.tensor;
  if (cached) layer.value_cache = &value_cache.tensor;
  if (spec.alibi != PAGODA_ALIBI_NONE) layer.alibi_slopes = slopes.data();
  if (spec.has_sinks == 1) layer.sinks = sinks.data();
  if (cached)
    must_have_sentence(pagoda_update_cache(plan, &layer, &key.tensor, &value.tensor, nullptr));
  const pagoda_status done =
      pagoda_forward(plan, &layer, &query.tensor, cached ? nullptr : &key.tensor,
                     cached ? nullptr : &value.tensor, &out.tensor, &lse.tensor, nullptr);
  must_have_sentence(done);
  if (done != PAGODA_OK) return;
  // 0xffff is a NaN that no rounding of a result produces.
  for (size_t i = 0; i + 1 < out.bytes.size(); i += 2)
    if (out.bytes[i] == 0xff && out.bytes[i + 1] == 0xff) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes in(data, size);
  static pagoda_context* contexts[2] = {};
  const int which = in.byte() % 2;
  if (contexts[which] == nullptr) {
    pagoda::ContextOptions options;
    options.backend = which == 0 ? "cpu" : "reference";
    options.num_threads = 1;
    must_have_sentence(pagoda_context_create(&options, &contexts[which]));
  }
  const pagoda::Spec spec = draw_spec(in);
  pagoda::Limits limits;
  limits.max_reqs = in.number(1, 4);
  limits.max_tokens = in.number(1, 40);
  limits.max_query_len = in.number(0, 20);
  limits.max_seq_len = in.number(1, 200);
  limits.num_pages = in.number(1, 8);
  pagoda::Tuning tuning;
  tuning.num_splits = in.number(0, 5);
  if (too_large(spec, limits)) return 0;
  pagoda_plan* plan = nullptr;
  const pagoda_status status = pagoda_plan_create(contexts[which], &spec, &limits, &tuning, &plan);
  must_have_sentence(status);
  if (status == PAGODA_OK) run_step(plan, spec, limits, in);
  pagoda_plan_destroy(plan);
  return 0;
}
