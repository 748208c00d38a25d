#include "step.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace pagoda::conformance {

Step::Step(const Geometry& geometry, const Values& values, const Placement& placement)
    : geometry_(geometry), values_(values), random_(stream_of(geometry.seed, 2)) {
  const Geometry& g = geometry_;
  set_spec();
  set_limits();
  if (g.has_cache()) {
    make_cache(placement);
    make_scales(values, placement.fill_seed);
  }
  make_batch(values);
  query = make_rows(g.stored_query().dtype, g.num_tokens(), g.num_heads(), g.head_dim, g.query,
                    placement.fill_seed, "query");
  make_query_scales(values, placement.fill_seed);
  for (int32_t t = 0; t < g.num_query_tokens(); ++t)
    for (int32_t head = 0; head < g.num_heads(); ++head)
      put(query, address(query, t, head),
          &values.query[static_cast<size_t>((t * g.num_heads() + head) * g.head_dim)], g.head_dim);
  if (g.has_cache())
    make_new_keys(values, placement);
  else
    make_call_keys(values, placement);
  make_outputs(placement);
  slopes_ = values.alibi_slopes;
  sinks_ = values.sinks;
  if (!slopes_.empty()) layer.alibi_slopes = slopes_.data();
  if (!sinks_.empty()) layer.sinks = sinks_.data();
  for (NamedBuffer& named : buffers_) named.buffer->snapshot();
}

void Step::set_spec() {
  const Geometry& g = geometry_;
  spec.num_heads = g.num_heads();
  spec.num_kv_heads = g.num_kv_heads;
  spec.head_dim = g.head_dim;
  spec.head_dim_v = g.head_dim_v == g.head_dim && random_.chance(0.5) ? 0 : g.head_dim_v;
  spec.dtype = g.dtype;
  spec.page_size = g.page_size;
  spec.kv_format = g.kv_format;
  spec.query_format = g.query_format;
  spec.softmax_scale = g.scale;
  spec.logit_softcap = g.softcap;
  spec.causal = g.spec_causal ? 1 : 0;
  if (g.window_kind != WindowKind::none) {
    spec.has_window = 1;
    spec.window_left = g.window_left;
    spec.window_right = g.window_right;
  }
  spec.alibi = g.alibi;
  spec.has_sinks = g.sinks ? 1 : 0;
}

void Step::set_limits() {
  const Geometry& g = geometry_;
  const auto spare = [&](int32_t most) {
    return random_.chance(0.5) ? 0 : random_.between(0, most);
  };
  limits.max_reqs = std::max(1, static_cast<int32_t>(g.requests.size()) + spare(4));
  limits.max_tokens = std::max(1, g.num_tokens() + spare(20));
  limits.max_query_len =
      random_.chance(0.3) ? 0
                          : std::min(limits.max_tokens, std::max(1, g.longest_query() + spare(5)));
  limits.max_seq_len = std::max(1, g.longest_seq() + spare(300));
}

void Step::put(const Tensor& tensor, std::byte* at, const float* from, int64_t count) {
  const size_t size = size_of(tensor.dtype);
  for (int64_t e = 0; e < count; ++e)
    store(tensor.dtype, at + static_cast<size_t>(e) * size, from[e]);
}

// Writes the keys and values of one position to where its page table says they are.
void Step::put_token(const RequestValues& from, size_t r, int32_t position) {
  const Geometry& g = geometry_;
  const int64_t page = pages_[r][static_cast<size_t>(position / g.page_size)];
  for (int32_t head = 0; head < g.num_kv_heads; ++head) {
    const auto row = static_cast<size_t>(position * g.num_kv_heads + head);
    put(key_cache_, address(key_cache_, page, position % g.page_size, head),
        &from.key[row * static_cast<size_t>(g.head_dim)], g.head_dim);
    put(value_cache_, address(value_cache_, page, position % g.page_size, head),
        &from.value[row * static_cast<size_t>(g.head_dim_v)], g.head_dim_v);
    const auto put_scale = [&](const Tensor& tensor, const Stored& stored,
                               const std::vector<float>& scales) {
      if (stored.scale == ScaleOf::token)
        store(PAGODA_F32, address(tensor, page, position % g.page_size, head), scales[row]);
    };
    put_scale(key_scale_, g.stored_key(), from.key_scale);
    put_scale(value_scale_, g.stored_value(), from.value_scale);
  }
}

void Step::make_batch(const Values& values) {
  const Geometry& g = geometry_;
  query_start_loc_.push_back(0);
  for (const Request& request : g.requests) {
    query_start_loc_.push_back(query_start_loc_.back() + request.query_len);
    seq_lens_.push_back(request.seq_len);
    causal_.push_back(request.causal ? 1 : 0);
  }
  seq_lens_.reserve(1);
  causal_.reserve(1);
  batch.num_reqs = static_cast<int32_t>(g.requests.size());
  batch.num_tokens = g.num_tokens();
  batch.max_query_len = random_.chance(0.5) ? 0 : std::max(g.longest_query(), 0);
  batch.max_seq_len = random_.chance(0.5) ? 0 : g.longest_seq();
  batch.query_start_loc = query_start_loc_.data();
  batch.seq_lens = seq_lens_.data();
  if (g.causal_kind == CausalKind::flags) batch.causal = causal_.data();
  if (!g.has_cache()) return;

  const int32_t width = (g.longest_seq() + g.page_size - 1) / g.page_size + random_.between(0, 3);
  const int32_t stride = width + random_.between(0, 3);
  page_table_.reserve(1);  // never NULL
  for (const std::vector<int64_t>& own : pages_)
    for (int32_t i = 0; i < stride; ++i) {
      const auto garbage = [&] {
        return g.tail == Tail::int_max     ? INT32_MAX
               : g.tail == Tail::minus_one ? -1
                                           : static_cast<int32_t>(random_.bits());
      };
      const auto at = static_cast<size_t>(i);
      page_table_.push_back(at < own.size() ? static_cast<int32_t>(own[at]) : garbage());
    }
  batch.page_table = page_table_.data();
  batch.page_table_stride = stride;
  batch.page_table_width = width;
  make_slots(values);
}

// Places what earlier steps wrote, and gives this step's tokens their slots.
void Step::make_slots(const Values& values) {
  const Geometry& g = geometry_;
  slots_.assign(static_cast<size_t>(std::max(g.num_tokens(), 1)), -1);  // never NULL
  size_t token = 0;
  for (size_t r = 0; r < g.requests.size(); ++r) {
    const Request& request = g.requests[r];
    const int32_t first_new = std::max(0, request.position(0));
    for (int32_t j = request.shared_pages * g.page_size; j < first_new; ++j)
      put_token(values.requests[r], r, j);
    for (int32_t i = 0; i < request.query_len; ++i, ++token) {
      const int32_t j = request.position(i);
      if (j < 0) continue;
      const bool by_call = g.writing == Writing::updated ||
                           (g.writing == Writing::updated_with_holes && random_.chance(0.6));
      if (!by_call) {
        put_token(values.requests[r], r, j);
        continue;
      }
      const int64_t page = pages_[r][static_cast<size_t>(j / g.page_size)];
      slots_[token] = page * g.page_size + j % g.page_size;
      written_.push_back({page, j % g.page_size, token, r, j});
    }
  }
  if (g.writing != Writing::placed || random_.chance(0.5)) batch.slot_mapping = slots_.data();
}

// The rows that update_cache is given; those without a slot stay garbage.
void Step::make_new_keys(const Values& values, const Placement& placement) {
  const Geometry& g = geometry_;
  key = make_rows(g.dtype, g.num_tokens(), g.num_kv_heads, g.head_dim, g.key, placement.fill_seed,
                  "key");
  value = make_rows(g.dtype, g.num_tokens(), g.num_kv_heads, g.head_dim_v, g.key,
                    placement.fill_seed, "value");
  int64_t token = 0;
  for (size_t r = 0; r < g.requests.size(); ++r)
    for (int32_t i = 0; i < g.requests[r].query_len; ++i, ++token) {
      if (slots_[static_cast<size_t>(token)] < 0) continue;
      const int32_t j = g.requests[r].position(i);
      for (int32_t head = 0; head < g.num_kv_heads; ++head) {
        const auto row = static_cast<size_t>(j * g.num_kv_heads + head);
        put(key, address(key, token, head),
            &values.requests[r].new_key()[row * static_cast<size_t>(g.head_dim)], g.head_dim);
        put(value, address(value, token, head),
            &values.requests[r].new_value()[row * static_cast<size_t>(g.head_dim_v)], g.head_dim_v);
      }
    }
}

// Keys that come with the call: the requests one behind the other, with gaps that belong to nobody
// unless key_start_loc is left to be query_start_loc.
void Step::make_call_keys(const Values& values, const Placement& placement) {
  const Geometry& g = geometry_;
  const bool same = std::all_of(g.requests.begin(), g.requests.end(),
                                [](const Request& r) { return r.seq_len == r.query_len; });
  const bool implied = same && random_.chance(0.5);
  int32_t rows = 0;
  for (const Request& request : g.requests) {
    if (!implied) rows += random_.between(0, 2);
    key_start_loc_.push_back(rows);
    rows += request.seq_len;
  }
  key_start_loc_.push_back(rows);
  if (!implied) batch.key_start_loc = key_start_loc_.data();
  rows += random_.between(0, 2);
  key = make_rows(g.dtype, rows, g.num_kv_heads, g.head_dim, g.key, placement.fill_seed, "key");
  value =
      make_rows(g.dtype, rows, g.num_kv_heads, g.head_dim_v, g.key, placement.fill_seed, "value");
  for (size_t r = 0; r < g.requests.size(); ++r)
    for (int32_t j = 0; j < g.requests[r].seq_len; ++j)
      for (int32_t head = 0; head < g.num_kv_heads; ++head) {
        const auto row = static_cast<size_t>(j * g.num_kv_heads + head);
        const int64_t at = key_start_loc_[r] + j;
        put(key, address(key, at, head),
            &values.requests[r].key[row * static_cast<size_t>(g.head_dim)], g.head_dim);
        put(value, address(value, at, head),
            &values.requests[r].value[row * static_cast<size_t>(g.head_dim_v)], g.head_dim_v);
      }
}

void Step::make_outputs(const Placement& placement) {
  const Geometry& g = geometry_;
  out = make_rows(g.dtype, g.num_tokens(), g.num_heads(), g.head_dim_v, g.out, placement.fill_seed,
                  "out");
  if (has_lse()) lse = make_lse(placement.fill_seed);
}

// Gives the plan exactly the workspace that it asks for, filled with garbage.
void Step::prepare(Plan& plan) {
  const size_t size = plan.workspace_size();
  buffers_.push_back({"workspace", std::make_unique<Buffer>(size, 0, random_.bits())});
  Buffer& workspace = *buffers_.back().buffer;
  workspace.snapshot();
  plan.prepare(batch, workspace.data(), size);
}

Result Step::run(const Context& context, const char* kernel) {
  Tuning tuning;
  tuning.num_splits = geometry_.num_splits;
  tuning.kernel = kernel;
  tuning.cascade = geometry_.cascade;
  try {
    Plan plan(context, spec, limits, tuning);
    prepare(plan);
    const StepInfo info = plan.step_info();
    if (geometry_.has_cache() && geometry_.writing != Writing::placed)
      plan.update_cache(layer, key, value);
    const Tensor* wanted_lse = has_lse() ? &lse : nullptr;
    if (geometry_.has_cache())
      plan.forward(layer, query, out, wanted_lse);
    else
      plan.forward(layer, query, key, value, out, wanted_lse);
    buffers_.back().buffer->forgive(0, plan.workspace_size());
    Result result = finish();
    result.info = info;
    return result;
  } catch (const Error& error) {
    return {.status = error.status(), .complaint = error.what()};
  }
}

Result Step::update(const Context& context) {
  try {
    Plan plan(context, spec, limits);
    prepare(plan);
    plan.update_cache(layer, key, value);
    buffers_.back().buffer->forgive(0, plan.workspace_size());
  } catch (const Error& error) {
    return {.status = error.status(), .complaint = error.what()};
  }
  Result result{.complaint = check_new_rows()};
  if (result.complaint.empty()) result.complaint = check_buffers();
  return result;
}

Result Step::finish() {
  const Geometry& g = geometry_;
  Result result;
  const size_t row = static_cast<size_t>(g.head_dim_v) * size_of(g.dtype);
  for (int32_t t = 0; t < g.num_tokens(); ++t)
    for (int32_t head = 0; head < g.num_heads(); ++head) {
      const std::byte* at = address(out, t, head);
      for (int32_t e = 0; e < g.head_dim_v; ++e)
        result.out.push_back(load(g.dtype, at + static_cast<size_t>(e) * size_of(g.dtype)));
      forgive("out", at, row);
    }
  for (int32_t head = 0; has_lse() && head < g.num_heads(); ++head)
    for (int32_t t = 0; t < g.num_tokens(); ++t) {
      result.lse.push_back(load(PAGODA_F32, address(lse, head, t)));
      forgive("lse", address(lse, head, t), sizeof(float));
    }
  result.complaint = check_new_rows();
  if (result.complaint.empty()) result.complaint = check_buffers();
  return result;
}

void Step::forgive(const char* name, const std::byte* at, size_t bytes) {
  for (NamedBuffer& named : buffers_)
    if (std::strcmp(named.name, name) == 0 && named.buffer->contains(at))
      named.buffer->forgive(static_cast<size_t>(at - named.buffer->data()), bytes);
}

// A quantised row holds the codes of what it was given; the sign of a NaN is nobody's promise.
bool Step::holds_quantised(const Side& side, const Written& row, int32_t head) const {
  const int64_t dim = side.cache.shape[3];
  const auto at = static_cast<size_t>(row.position * geometry_.num_kv_heads + head);
  const std::byte* bytes = address(side.cache, row.page, row.offset, head);
  for (int64_t e = 0; e < dim; ++e) {
    const auto byte = static_cast<uint8_t>(bytes[e]);
    const float wanted = side.numbers[at * static_cast<size_t>(dim) + static_cast<size_t>(e)];
    if (std::isnan(wanted) ? !std::isnan(number_of(side.stored.dtype, byte))
                           : byte != code_of(side.stored.dtype, wanted))
      return false;
  }
  return side.stored.scale != ScaleOf::token ||
         load(PAGODA_F32, address(side.scale, row.page, row.offset, head)) == side.scales[at];
}

bool Step::holds(const Side& side, const Written& row) {
  const size_t bytes = static_cast<size_t>(side.cache.shape[3]) * size_of(side.cache.dtype);
  for (int32_t head = 0; head < geometry_.num_kv_heads; ++head) {
    const std::byte* at = address(side.cache, row.page, row.offset, head);
    const std::byte* from = address(side.given, static_cast<int64_t>(row.token), head);
    if (side.stored.is_quantised() ? !holds_quantised(side, row, head)
                                   : std::memcmp(at, from, bytes) != 0)
      return false;
    for (const char* name : {side.name, "cache"}) forgive(name, at, bytes);
    if (side.stored.scale != ScaleOf::token) continue;
    const std::byte* scale = address(side.scale, row.page, row.offset, head);
    for (const char* name : {side.name, "cache", side.scale_name})
      forgive(name, scale, sizeof(float));
  }
  return true;
}

// The rows that update_cache was to write hold what it was given.
std::string Step::check_new_rows() {
  const Geometry& g = geometry_;
  for (const Written& row : written_) {
    const RequestValues& own = values_.requests[row.request];
    if (holds({"key_cache", "key_scale", key_cache_, key_scale_, key, g.stored_key(), own.key,
               own.key_scale},
              row) &&
        holds({"value_cache", "value_scale", value_cache_, value_scale_, value, g.stored_value(),
               own.value, own.value_scale},
              row))
      continue;
    std::ostringstream text;
    text << "token " << row.token << " was not written to page " << row.page << " offset "
         << row.offset;
    return text.str();
  }
  return {};
}

std::string Step::check_buffers() {
  for (const NamedBuffer& named : buffers_)
    if (!named.buffer->is_as_before())
      return std::string("bytes changed in or around ") + named.name + " that no call may write";
  return {};
}

}  // namespace pagoda::conformance
