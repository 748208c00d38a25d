#include "engine/cuda/step_shape.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace pagoda::engine::cuda {
namespace {

constexpr int64_t kAlignment = 16;

int32_t longest_query(const StepBatch& batch) {
  int32_t longest = 1;
  for (size_t i = 0; i + 1 < batch.query_start_loc.size(); i++)
    longest = std::max(longest, batch.query_start_loc[i + 1] - batch.query_start_loc[i]);
  return longest;
}

DrawParams params_of(const Draw& draw) {
  const SamplingOptions& options = *draw.options;
  return {.temperature = options.temperature,
          .top_k = options.top_k,
          .top_p = options.top_p,
          .min_p = options.min_p,
          .repetition_penalty = options.repetition_penalty,
          .seed = options.seed,
          .counter = draw.counter};
}

// [size] elements: those of `values`, then `padding`.
template <class T>
void write_padded(std::span<const T> values, int64_t size, T padding, std::byte* out) {
  std::memcpy(out, values.data(), values.size_bytes());
  auto* const elements = reinterpret_cast<T*>(out);
  std::fill(elements + values.size(), elements + size, padding);
}

void write_positions(const StepBatch& batch, int64_t num_tokens, std::byte* out) {
  auto* const positions = reinterpret_cast<int32_t*>(out);
  std::fill(positions, positions + num_tokens, 0);
  for (size_t request = 0; request < batch.seq_lens.size(); request++) {
    const int32_t end = batch.query_start_loc[request + 1];
    for (int32_t row = batch.query_start_loc[request]; row < end; row++)
      positions[row] = batch.seq_lens[request] - (end - row);
  }
}

void write_page_table(const StepBatch::Group& group, int64_t num_reqs, const StepShape& shape,
                      int64_t width, std::byte* out) {
  const int64_t columns = std::min(width, group.page_table_stride);
  auto* const rows = reinterpret_cast<int32_t*>(out);
  std::fill(rows, rows + shape.num_reqs * width, 0);
  for (int64_t row = 0; row < num_reqs; row++)
    std::copy_n(group.page_table + row * group.page_table_stride, columns, rows + row * width);
}

}  // namespace

int32_t padded(int32_t size) {
  if (size <= 8) return size;
  const auto step = static_cast<int32_t>(std::bit_floor(static_cast<uint32_t>(size)) / 8);
  return (size + step - 1) / step * step;
}

StepShape padded_shape(const StepBatch& batch, const DecoderOptions& options) {
  const auto num_tokens = static_cast<int32_t>(batch.tokens.size());
  const auto num_reqs = static_cast<int32_t>(batch.seq_lens.size());
  const auto longest = static_cast<uint32_t>(longest_query(batch));
  return {
      .num_reqs = std::min(padded(num_reqs), options.max_reqs),
      .num_tokens = std::min(padded(num_tokens), options.max_tokens),
      .max_query_len = std::min(static_cast<int32_t>(std::bit_ceil(longest)), options.max_tokens),
      .num_draws =
          std::min(padded(static_cast<int32_t>(batch.logit_rows.size())), options.max_tokens)};
}

StepLayout::StepLayout(const StepShape& shape, int64_t num_groups, int64_t width)
    : table_width(width), size(0) {
  const auto place = [this](int64_t bytes) {
    const int64_t at = size;
    size += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  };
  const int64_t num_tokens = shape.num_tokens, num_reqs = shape.num_reqs;
  tokens = place(num_tokens * 4);
  positions = place(num_tokens * 4);
  query_start_loc = place((num_reqs + 1) * 4);
  seq_lens = place(num_reqs * 4);
  draw_rows = place(int64_t{shape.num_draws} * 4);
  draws = place(shape.num_draws * static_cast<int64_t>(sizeof(DrawParams)));
  first_slots = place(num_tokens * 8);
  slots_size = size - first_slots;
  size = first_slots + num_groups * slots_size;
  first_page_table = place(num_reqs * width * 4);
  page_table_size = size - first_page_table;
  size = first_page_table + num_groups * page_table_size;
}

void write_step(const StepShape& shape, const StepLayout& layout, const StepBatch& batch,
                std::span<const Draw> draws, std::byte* out) {
  const auto num_reqs = static_cast<int64_t>(batch.seq_lens.size());
  write_padded(batch.tokens, shape.num_tokens, 0, out + layout.tokens);
  write_positions(batch, shape.num_tokens, out + layout.positions);
  write_padded(batch.query_start_loc, shape.num_reqs + 1, batch.query_start_loc.back(),
               out + layout.query_start_loc);
  write_padded(batch.seq_lens, shape.num_reqs, 0, out + layout.seq_lens);
  write_padded(batch.logit_rows, shape.num_draws, 0, out + layout.draw_rows);
  auto* const params = reinterpret_cast<DrawParams*>(out + layout.draws);
  std::fill(std::transform(draws.begin(), draws.end(), params, params_of), params + shape.num_draws,
            DrawParams{});
  for (size_t i = 0; i < batch.groups.size(); i++) {
    const auto group = static_cast<int64_t>(i);
    write_padded(std::span(batch.groups[i].slot_mapping, batch.tokens.size()), shape.num_tokens,
                 int64_t{-1}, out + layout.slots(group));
    write_page_table(batch.groups[i], num_reqs, shape, layout.table_width,
                     out + layout.page_table(group));
  }
}

void write_seen(const Draw& draw, int32_t vocab_size, std::span<uint32_t> bits) {
  std::fill(bits.begin(), bits.end(), 0);
  for (const std::span<const int32_t> tokens : {draw.tokens, draw.guesses})
    for (int32_t token : tokens)
      if (token >= 0 && token < vocab_size)
        bits[static_cast<size_t>(token) / 32] |= 1u << (token % 32);
}

}  // namespace pagoda::engine::cuda
