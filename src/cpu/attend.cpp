#include "attend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "../core/error.h"
#include "../core/kv_format.h"
#include "../core/score.h"
#include "../core/state.h"
#include "element.h"
#include "float_mode.h"
#include "mask_rows.h"
#include "score_rows.h"

namespace pagoda::cpu {
namespace {

// The call's key tensor is a single page that is long enough for any sequence.
constexpr int32_t kOnlyPage = 0;
constexpr int32_t kEndlessPage = INT32_MAX;

struct Call {
  const Prepared& prepared;
  const Attend& step;
  const Layer& layer;
  const Operands& operands;
  const Kernels& kernels;
  const Geometry& geometry;
  const Schedule schedule;
  const Cascade cascade;

  const Problem& problem() const { return prepared.problem; }
  const Batch& batch() const { return prepared.batch; }
};

// The keys or the values of a layer: those in its cache, or those that came with the call.
struct Side {
  const TensorView &cache, &scale, &given;
  CacheFormat format;
  bool of_call;

  const TensorView& rows() const { return of_call ? given : cache; }
  float head_scale(int64_t kv_head) const {
    if (of_call || format.scale != ScaleOf::head) return 1;
    return static_cast<const float*>(scale.data)[kv_head * scale.stride[0]];
  }
  const float* channel_scale(int64_t kv_head) const {
    if (of_call || format.scale != ScaleOf::channel) return nullptr;
    return static_cast<const float*>(scale.data) + kv_head * scale.stride[0];
  }
};

Side keys_of(const Call& call) {
  return {call.layer.key_cache, call.layer.key_scale, call.operands.key,
          kv_format_of(call.problem().kv_format).key, call.step.keys == Keys::call};
}

Side values_of(const Call& call) {
  return {call.layer.value_cache, call.layer.value_scale, call.operands.value,
          kv_format_of(call.problem().kv_format).value, call.step.keys == Keys::call};
}

// Those of one request and one head.
PagedRows rows_of(const Call& call, const Side& side, int32_t r, int32_t kv_head) {
  const auto bytes = static_cast<int64_t>(size_of(side.rows().dtype));
  const Batch& batch = call.batch();
  if (side.of_call) {
    const TensorView& given = side.given;
    const char* base = static_cast<const char*>(given.data);
    const int64_t first = batch.key_start_loc[r] * given.stride[0] + kv_head * given.stride[1];
    return {.base = base + first * bytes,
            .pages = &kOnlyPage,
            .page_stride = 0,
            .token_stride = given.stride[0] * bytes,
            .page_size = kEndlessPage};
  }
  const TensorView &cache = side.cache, &scale = side.scale;
  PagedRows rows{.base = static_cast<const char*>(cache.data) + kv_head * cache.stride[2] * bytes,
                 .pages = batch.page_table + r * batch.page_table_stride,
                 .page_stride = cache.stride[0] * bytes,
                 .token_stride = cache.stride[1] * bytes,
                 .page_size = call.problem().page_size};
  if (side.format.scale != ScaleOf::token) return rows;
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  rows.scales = static_cast<const char*>(scale.data) + kv_head * scale.stride[2] * kFloat;
  rows.scale_page_stride = scale.stride[0] * kFloat;
  rows.scale_token_stride = scale.stride[1] * kFloat;
  return rows;
}

// One item for one head of keys, on one thread.
class ItemRun {
 public:
  ItemRun(const Call& call, const Scratch& scratch, ScoreRows& score, const Item& item,
          int32_t kv_head)
      : call_(call),
        scratch_(scratch),
        score_(score),
        item_(item),
        kv_head_(kv_head),
        group_(call.problem().group()),
        split_len_(split_len(split_rule(call.problem(), call.kernels),
                             local_len(call.problem().shard, call.batch().seq_lens[item.request]))),
        descends_(descends()),
        is_gentle_(has_slopes_up_to(kMostGentleSlope)) {}

  void run() {
    const State total = call_.geometry.state_at(scratch_.total, item_.num_rows);
    load_rows();
    if (batch_mask()) lists_ = lists_of(masked_rows(), scratch_);
    if (score_.function().apply != nullptr) set_score();
    if (item_.pieces == 1) {
      attend_all(total);
      finish(total, call_.geometry.state_at(scratch_.part, item_.num_rows));
      return;
    }
    for (int32_t split = item_.split_begin; split < item_.split_end; ++split)
      if (reaches(split)) attend_one(split, kept(split));
    if (!is_last()) return;
    merge_kept(total);
    finish(total, kept(item_.tile_end - 1));
  }

 private:
  int64_t group() const { return group_; }

  const mask::BlockMask& batch_mask() const { return call_.batch().block_mask; }
  MaskedRows masked_rows() const {
    return {.mask = batch_mask(),
            .request = item_.request,
            .group = call_.problem().group(),
            .num_kv_heads = call_.problem().num_kv_heads,
            .first_row = item_.first_row,
            .num_rows = item_.num_rows};
  }

  KeyRange keys_of_split(int32_t split) const {
    const int64_t start = split * split_len_;
    return {static_cast<int32_t>(std::max<int64_t>(start, item_.key_begin)),
            static_cast<int32_t>(std::min<int64_t>(start + split_len_, item_.key_end))};
  }

  void set_score() {
    mask::Point point;
    point[mask::Variable::request] = item_.request;
    point[mask::Variable::kv_head] = kv_head_;
    const Batch& batch = call_.batch();
    const int32_t r = item_.request;
    point[mask::Variable::seq_len] = batch.seq_lens[r];
    point[mask::Variable::query_len] = batch.query_start_loc[r + 1] - batch.query_start_loc[r];
    score_.set_item(point, static_cast<int32_t>(kv_head_ * group()), item_.first_row,
                    scratch_.position);
  }

  // Puts the lists of the block mask before the split. False: no row sees a key of it.
  bool reaches(int32_t split) const {
    if (!batch_mask()) return true;
    const KeyRange keys = keys_of_split(split);
    return narrow(masked_rows(), kv_head_, keys.begin, keys.end, lists_);
  }

  // Queries as floats, and what each row sees.
  void load_rows() {
    const SharedToken* tokens =
        item_.group < 0
            ? nullptr
            : call_.cascade.tokens + call_.cascade.memory.nodes[item_.group].first_token;
    const Batch& batch = call_.batch();
    const int32_t r = item_.request;
    const bool causal = batch.causal != nullptr ? batch.causal[r] != 0 : call_.step.mask.causal;
    const Mask mask = mask_of_request(call_.step.mask, causal);
    const TensorView &query = call_.operands.query, &out = call_.operands.out;
    query_head_bytes_ = query.stride[1] * static_cast<int64_t>(size_of(query.dtype));
    out_head_bytes_ = out.stride[1] * static_cast<int64_t>(size_of(out.dtype));
    query_has_scales_ = query_format_of(call_.problem().query_format).scale == ScaleOf::token;
    int64_t index = item_.first_row / group(), head = item_.first_row % group();
    for (int32_t row = 0; row < item_.num_rows; ++index, head = 0) {
      const SharedToken own{.request = r, .token = static_cast<int32_t>(index)};
      const TokenRows token = rows_of_token(tokens != nullptr ? tokens[index] : own, mask);
      const int64_t count = std::min(group() - head, int64_t{item_.num_rows} - row);
      load_heads(row, head, static_cast<int32_t>(count), token);
      row += static_cast<int32_t>(count);
    }
    if (call_.kernels.take_queries != nullptr)
      call_.kernels.take_queries({.num_rows = item_.num_rows,
                                  .head_dim = call_.geometry.head_dim,
                                  .element = element_of(call_.operands.query.dtype),
                                  .keys = element_of(keys_of(call_).rows().dtype),
                                  .rows = scratch_.query_rows},
                                 call_.geometry.head_dim_v, scratch_.own);
  }

  // What the rows of a query token have in common.
  struct TokenRows {
    KeyRange keys;
    int32_t position, token;  // token: of the step
    int64_t first_slot;
    const char* query;  // of the group's first head, as the next
    char* result;
  };

  TokenRows rows_of_token(const SharedToken& at, const Mask& mask) const {
    const Batch& batch = call_.batch();
    const int32_t seq_len = batch.seq_lens[at.request];
    const int32_t first = batch.query_start_loc[at.request];
    const int32_t query_len = batch.query_start_loc[at.request + 1] - first;
    const int32_t position = seq_len - query_len + at.token;
    const KeyRange keys = local_range(call_.problem().shard, visible_keys(mask, position, seq_len));
    TokenRows token{.keys = {std::clamp(keys.begin, item_.key_begin, item_.key_end),
                             std::clamp(keys.end, item_.key_begin, item_.key_end)},
                    .position = position,
                    .token = first + at.token,
                    .first_slot = 0,
                    .query = address_of(call_.operands.query, first + at.token),
                    .result = address_of(call_.operands.out, first + at.token)};
    if (item_.leaves() || item_.resumes())
      token.first_slot = (int64_t{call_.cascade.first_slot[at.request]} + at.token) * group();
    return token;
  }

  char* address_of(const TensorView& tensor, int64_t token) const {
    const int64_t first = token * tensor.stride[0] + kv_head_ * group() * tensor.stride[1];
    return static_cast<char*>(tensor.data) + first * static_cast<int64_t>(size_of(tensor.dtype));
  }

  // The heads [head, head + count) of a token's group, from a row on.
  void load_heads(int32_t row, int64_t head, int32_t count, const TokenRows& token) {
    std::fill_n(scratch_.visible_begin + row, count, token.keys.begin);
    std::fill_n(scratch_.visible_end + row, count, token.keys.end);
    std::fill_n(scratch_.position + row, count, token.position);
    std::fill_n(scratch_.token + row, count, token.token);
    const char** queries = scratch_.query_rows + row;
    void** results = scratch_.results + row;
    for (int32_t i = 0; i < count; ++i) {
      queries[i] = token.query + (head + i) * query_head_bytes_;
      results[i] = token.result + (head + i) * out_head_bytes_;
    }
    if (item_.leaves() || item_.resumes())
      for (int32_t i = 0; i < count; ++i) scratch_.slot[row + i] = token.first_slot + head + i;
    load_factors(row, kv_head_ * group() + head, count, token.token);
    if (scratch_.queries == nullptr) return;
    const int32_t dim = call_.geometry.head_dim;
    for (int32_t i = 0; i < count; ++i)
      call_.kernels.widen(element_of(call_.operands.query.dtype), queries[i],
                          scratch_.queries + int64_t{row + i} * dim, dim);
  }

  // Slopes and scales of the query heads from `head` on.
  void load_factors(int32_t row, int64_t head, int32_t count, int32_t token) {
    const float* slopes = call_.layer.alibi_slopes;
    if (slopes != nullptr)
      std::copy_n(slopes + head, count, scratch_.slope + row);
    else
      std::fill_n(scratch_.slope + row, count, 0.0f);
    if (!query_has_scales_) return;
    for (int32_t i = 0; i < count; ++i)
      scratch_.query_scale[row + i] = query_token_scale(token, head + i);
  }

  ScaleOf query_scale_kind() const { return query_format_of(call_.problem().query_format).scale; }
  float query_token_scale(int64_t token, int64_t head) const {
    const TensorView& scale = call_.layer.query_scale;
    return static_cast<const float*>(scale.data)[token * scale.stride[0] + head * scale.stride[1]];
  }

  // Of the products of queries and keys as the kernels read them, but for scales of tokens.
  float scale_of_products(const Side& keys) const {
    float scale = keys.head_scale(kv_head_) * unit_of(keys.rows().dtype) *
                  unit_of(call_.operands.query.dtype);
    const TensorView& own = call_.layer.query_scale;
    if (query_scale_kind() == ScaleOf::head)
      scale *= static_cast<const float*>(own.data)[kv_head_ * own.stride[0]];
    return call_.problem().score.scale * scale;
  }

  void attend_or_clear(int32_t split, State state) const {
    reaches(split) ? attend_one(split, state) : clear(state);
  }

  // Whether logits rise towards a row's own position, as far as the request's model says: one
  // answer for all rows of a head of keys.
  bool descends() const {
    const Problem& problem = call_.problem();
    if (!call_.kernels.may_descend) return false;
    if (problem.score_expr != nullptr && problem.score_expr->program.uses(mask::Variable::key))
      return true;
    return has_slopes_up_to(std::numeric_limits<float>::infinity());
  }

  // Whether there are slopes, and all of the head's are from 0 to `most`.
  bool has_slopes_up_to(float most) const {
    if (call_.problem().score.alibi == Alibi::none) return false;
    const float* slopes = call_.layer.alibi_slopes + kv_head_ * group();
    return std::all_of(slopes, slopes + group(),
                       [=](float slope) { return slope >= 0 && slope <= most; });
  }

  // Of a split that was just found to be reached. Goes on where the state was left if the item
  // begins within the split.
  void attend_one(int32_t split, State state) const {
    const Problem& problem = call_.problem();
    const KeyRange range = keys_of_split(split);
    const bool continues = range.begin > split * split_len_;
    if (continues) take_up(Left::open, state);
    const Side keys = keys_of(call_), values = values_of(call_);
    call_.kernels.attend(
        {.num_rows = item_.num_rows,
         .head_dim = problem.head_dim,
         .head_dim_v = problem.head_dim_v,
         .key_element = element_of(keys.rows().dtype),
         .value_element = element_of(values.rows().dtype),
         .bias = static_cast<Bias>(problem.score.alibi),
         .scale = scale_of_products(keys),
         .softcap = problem.score.softcap,
         .score = score_.function(),
         .rank = problem.shard.rank,
         .num_ranks = problem.shard.num_ranks,
         .interleave = problem.shard.interleave,
         .queries = scratch_.queries,
         .query_scale = query_scale_kind() == ScaleOf::token ? scratch_.query_scale : nullptr,
         .visible_begin = scratch_.visible_begin,
         .visible_end = scratch_.visible_end,
         .position = scratch_.position,
         .slope = scratch_.slope,
         .block_mask = batch_mask() ? &lists_ : nullptr,
         .keys = rows_of(call_, keys, item_.request, kv_head_),
         .values = rows_of(call_, values, item_.request, kv_head_),
         .key_begin = range.begin,
         .key_end = range.end,
         .descends = descends_,
         .is_gentle = is_gentle_,
         .state = state,
         .continues = continues,
         .seen = scratch_.seen,
         .rescale = scratch_.rescale,
         .scores = scratch_.scores,
         .packed_keys = scratch_.packed_keys,
         .packed_values = scratch_.packed_values,
         .own = scratch_.own});
  }

  // Whether the item ends within the split and others go on with it.
  bool stays_open(int32_t split) const {
    return item_.leaves() && (split + 1) * split_len_ > item_.key_end;
  }

  // The state of the splits that are complete before the item. Returns the first split to merge: a
  // first split of all is not merged into nothing, which would give the same bits.
  template <class First>
  int32_t begin_total(State total, const First& first) const {
    if (item_.resumes()) {
      take_up(Left::total, total);
    } else if (item_.tile_begin < item_.tile_end && !stays_open(item_.tile_begin)) {
      first();
      return item_.tile_begin + 1;
    } else {
      clear(total);
    }
    return item_.tile_begin;
  }

  void attend_all(State total) const {
    const State part = call_.geometry.state_at(scratch_.part, item_.num_rows);
    int32_t split = begin_total(total, [&] { attend_or_clear(item_.tile_begin, total); });
    for (; split < item_.tile_end; ++split) {
      if (!reaches(split)) continue;  // an empty state changes no bit of the total
      attend_one(split, part);
      if (!stays_open(split)) merge_into(total, part);
    }
  }

  void clear(State total) const {
    const int64_t rows = item_.num_rows;
    std::fill_n(total.m, rows, minus_infinity<float>());
    std::fill_n(total.l, rows, 0.0f);
    const Geometry& g = call_.geometry;
    std::fill_n(total.o, round_up(rows, g.row_group) * g.padded_dim_v, 0.0f);
  }

  void merge_into(State total, State part) const {
    call_.kernels.merge_states(total, part, item_.num_rows, call_.geometry.head_dim_v);
  }

  // Where the state of a split of this tile and head is kept until its siblings are done.
  State kept(int32_t split) const {
    const int64_t splits = item_.tile_end - item_.tile_begin;
    const int64_t index = kv_head_ * splits + (split - item_.tile_begin);
    const int64_t floats = call_.geometry.state_floats(item_.num_rows);
    return call_.geometry.state_at(call_.schedule.parts + item_.states + index * floats,
                                   item_.num_rows);
  }

  // Counts this item as finished; true for the last of the tile, which then sees the others'
  // states.
  bool is_last() const {
    std::atomic_ref ticket(call_.schedule.tickets[item_.ticket + kv_head_]);
    const auto last = static_cast<uint32_t>(item_.pieces - 1);
    if (ticket.fetch_add(1, std::memory_order_acq_rel) != last) return false;
    ticket.store(0, std::memory_order_relaxed);  // for the next layer
    return true;
  }

  void merge_kept(State total) const {
    const auto floats = static_cast<size_t>(call_.geometry.state_floats(item_.num_rows));
    int32_t split = begin_total(total, [&] {
      const State first = kept(item_.tile_begin);
      reaches(item_.tile_begin) ? void(std::memcpy(total.m, first.m, floats * sizeof(float)))
                                : clear(total);
    });
    for (; split < item_.tile_end; ++split)
      if (!stays_open(split) && reaches(split)) merge_into(total, kept(split));
  }

  void finish(State total, State open) const {
    if (item_.leaves()) {
      leave(Left::total, total);
      if (item_.key_end % split_len_ != 0) leave(Left::open, open);
      return;
    }
    const bool in_groups =
        call_.kernels.narrow_group != nullptr && call_.operands.out.dtype != PAGODA_F32;
    const Side values = values_of(call_);
    const bool is_scaled = !values.of_call && values.format.scale == ScaleOf::token;
    const float unit = values.head_scale(kv_head_) * unit_of(values.rows().dtype) *
                       (is_scaled ? call_.kernels.scaled_values_unit : 1.0f);
    const int64_t group = group_;
    int64_t head = item_.first_row % group;
    for (int32_t first = 0; first < item_.num_rows; first += kRowPadding) {
      Finished rows[kRowPadding];
      const int32_t count = std::min(kRowPadding, item_.num_rows - first);
      for (int32_t i = 0; i < count; ++i) {
        rows[i] = finish_state(total, first + i, kv_head_ * group + head);
        rows[i].weight *= unit;
        head = head + 1 == group ? 0 : head + 1;
        if (!in_groups) narrow_row(total, first + i, rows[i]);
      }
      if (in_groups) narrow_group(total, first, count, rows);
    }
  }

  // [kRowPadding] m and l of both states, then [2, padded_dim_v] their outputs
  float* slot_of(int32_t row) const {
    const Cascade& cascade = call_.cascade;
    const int64_t index = kv_head_ * cascade.rows_per_head + scratch_.slot[row];
    return cascade.states + index * left_floats(call_.geometry);
  }

  void leave(Left which, State state) const {
    const int64_t dim = call_.geometry.padded_dim_v, at = static_cast<int64_t>(which);
    for (int32_t row = 0; row < item_.num_rows; ++row) {
      float* slot = slot_of(row);
      slot[2 * at] = state.m[row];
      slot[2 * at + 1] = state.l[row];
      const float* o = state.o + call_.geometry.output_offset(row);
      float* to = slot + kRowPadding + at * dim;
      for (int64_t c = 0; c < dim; ++c) to[c] = o[c * call_.geometry.row_group];
    }
  }

  void take_up(Left which, State state) const {
    const int64_t dim = call_.geometry.padded_dim_v, at = static_cast<int64_t>(which);
    for (int32_t row = 0; row < item_.num_rows; ++row) {
      const float* slot = slot_of(row);
      state.m[row] = slot[2 * at];
      state.l[row] = slot[2 * at + 1];
      const float* from = slot + kRowPadding + at * dim;
      float* o = state.o + call_.geometry.output_offset(row);
      for (int64_t c = 0; c < dim; ++c) o[c * call_.geometry.row_group] = from[c];
    }
  }

  // What o of a row is multiplied by, but for what all rows share, and divided by, and where it
  // goes. Divisor 0: zeros.
  struct Finished {
    float weight, divisor;
    void* to;
  };

  // The sink joins here, once, as a state with m = sink, l = 1 and no output.
  Finished finish_state(State total, int32_t row, int64_t head) const {
    const TensorView& lse = call_.operands.lse;
    const int64_t token = scratch_.token[row];
    float m = total.m[row], l = total.l[row], weight = 1;
    if (call_.step.adds_sinks) {
      const float sink = call_.layer.sinks[head];
      const float larger = sink > m ? sink : m;
      weight = weight_of(m, larger);
      l = l * weight + weight_of(sink, larger);
      m = larger;
    }
    if (lse) {
      const float it = lse_of(m, l);
      lse_at(lse, head, token) = std::isnan(it) ? std::numeric_limits<float>::quiet_NaN() : it;
    }
    return {.weight = weight, .divisor = l, .to = scratch_.results[row]};
  }

  void narrow_row(State total, int32_t row, const Finished& it) const {
    const int32_t dim = call_.geometry.head_dim_v;
    const Dtype to = call_.operands.out.dtype;
    if (it.divisor == 0) {
      std::memset(it.to, 0, static_cast<size_t>(dim) * size_of(to));
      return;
    }
    const Side values = values_of(call_);
    Element order = element_of(values.rows().dtype);
    const int32_t step = call_.geometry.row_group;
    const float* o = total.o + call_.geometry.output_offset(row);
    float columns[kMaxHeadDim];
    if (step > 1) {
      order = Element::f32;  // whose columns stand in order
      for (int32_t c = 0; c < dim; ++c) columns[c] = o[c * step];
      o = columns;
    }
    call_.kernels.narrow(order, o, it.weight, it.divisor, values.channel_scale(kv_head_),
                         element_of(to), it.to, dim);
  }

  void narrow_group(State total, int32_t first, int32_t count, const Finished* rows) const {
    float weight[kRowPadding], divisor[kRowPadding];
    for (int32_t i = 0; i < kRowPadding; ++i) {
      const Finished& it = rows[i < count ? i : 0];
      weight[i] = it.divisor == 0 ? 0 : it.weight;
      divisor[i] = it.divisor == 0 ? 1 : it.divisor;
    }
    const int32_t coming = std::min(kRowPadding, item_.num_rows - first - count);
    call_.kernels.narrow_group(
        element_of(call_.operands.out.dtype), total.o + call_.geometry.output_offset(first), count,
        call_.geometry.head_dim_v, weight, divisor, values_of(call_).channel_scale(kv_head_),
        scratch_.results + first, coming);
  }

  const Call& call_;
  const Scratch& scratch_;
  ScoreRows& score_;
  const Item& item_;
  const int32_t kv_head_;
  const int64_t group_;  // divided for once, not for every row
  const int64_t split_len_;
  const bool descends_, is_gentle_;
  int64_t query_head_bytes_ = 0, out_head_bytes_ = 0;  // from head to head
  bool query_has_scales_ = false;                      // of tokens
  MaskLists lists_{};                                  // of a batch with a block mask
};

// Tokens behind the last request belong to none.
void clear_padding(const Call& call) {
  const TensorView &out = call.operands.out, &lse = call.operands.lse;
  const Batch& batch = call.batch();
  const size_t bytes = static_cast<size_t>(call.geometry.head_dim_v) * size_of(out.dtype);
  for (int64_t token = batch.query_start_loc[batch.num_reqs]; token < batch.num_tokens; ++token)
    for (int64_t head = 0; head < call.problem().num_heads; ++head) {
      std::memset(address(out, token * out.stride[0] + head * out.stride[1]), 0, bytes);
      if (lse) lse_at(lse, head, token) = minus_infinity<float>();
    }
}

// The items [begin, end) for all heads of keys.
void attend_items(const Call& call, int32_t begin, int32_t end, ThreadPool& pool) {
  const int64_t num_heads = call.problem().num_kv_heads;
  const int64_t last = end * num_heads;
  const size_t scratch_size = Scratch::size(call.geometry);
  const size_t score_size = ScoreRows::bytes(call.problem());
  const mask::BoundExpr* expr = call.problem().score_expr;
  const bool narrow = expr != nullptr && is_narrow(*expr, call.problem(), call.schedule.score);
  std::atomic<int64_t> next{begin * num_heads};
  pool.run([&](int thread) {
    const FloatMode mode;
    const auto offset = static_cast<size_t>(thread) * scratch_size;
    const Scratch scratch = Scratch::at(call.schedule.scratch + offset, call.geometry);
    ScoreRows score(call.problem(), call.kernels, narrow,
                    call.schedule.score + static_cast<size_t>(thread) * score_size);
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < last;)
      ItemRun(call, scratch, score, call.schedule.items[i / num_heads],
              static_cast<int32_t>(i % num_heads))
          .run();
  });
}

}  // namespace

void attend_step(const Prepared& prepared, const Attend& step, const Layer& layer,
                 const Operands& operands, const Kernels& kernels, const Geometry& geometry,
                 ThreadPool& pool) {
  expect(step.mask == prepared.problem.mask, PAGODA_INTERNAL,
         "a step's mask is not the one that the schedule was made for");
  const Call call{prepared,         step, layer, operands, kernels, geometry, Schedule(prepared),
                  Cascade(prepared)};
  clear_padding(call);
  const ScheduleHeader& header = *call.schedule.header;
  for (int32_t level = 0, begin = 0; level < header.num_levels; ++level) {
    attend_items(call, begin, header.level_end[level], pool);
    begin = header.level_end[level];
  }
}

}  // namespace pagoda::cpu
