// The sizes of a step as the device sees them, and where its arrays lie in the one buffer that is
// copied there. Sizes are padded upwards, so that a few captured graphs serve all steps; what is
// padded is harmless: requests without queries, tokens that belong to none, slots below 0.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/cuda/sampling_rules.h"
#include "engine/model/executor.h"

namespace pagoda::engine::cuda {

struct StepShape {
  int32_t num_reqs = 0;
  int32_t num_tokens = 0;
  int32_t max_query_len = 0;  // a bound
  int32_t num_draws = 0;

  auto operator<=>(const StepShape&) const = default;
};

// The next size that steps are padded to: at most an eighth more. These sizes change speed, and
// results as far as products of other sizes sum in another order.
int32_t padded(int32_t size);

// Sizes stay within the limits of options, which `batch` keeps.
StepShape padded_shape(const StepBatch& batch, const DecoderOptions& options);

// Byte offsets, each a multiple of 16.
struct StepLayout {
  StepLayout(const StepShape& shape, int64_t num_groups, int64_t table_width);

  int64_t slots(int64_t group) const { return first_slots + group * slots_size; }
  int64_t page_table(int64_t group) const { return first_page_table + group * page_table_size; }

  int64_t tokens;            // int32 [num_tokens]
  int64_t positions;         // int32 [num_tokens]
  int64_t query_start_loc;   // int32 [num_reqs + 1]
  int64_t seq_lens;          // int32 [num_reqs]
  int64_t draw_rows;         // int32 [num_draws], the token behind which is drawn
  int64_t draws;             // DrawParams [num_draws]
  int64_t first_slots;       // int64 [num_tokens], of each group
  int64_t slots_size;        // bytes
  int64_t first_page_table;  // int32 [num_reqs, table_width], of each group
  int64_t page_table_size;   // bytes
  int64_t table_width;
  int64_t size;
};

// Writes a step's arrays, with their padding. out: [layout.size], aligned to 16.
void write_step(const StepShape& shape, const StepLayout& layout, const StepBatch& batch,
                std::span<const Draw> draws, std::byte* out);

// Sets the bit of every token that a draw's penalty sees. bits: [ceil(vocab_size / 32)]; ids
// beyond the vocabulary have no effect.
void write_seen(const Draw& draw, int32_t vocab_size, std::span<uint32_t> bits);

}  // namespace pagoda::engine::cuda
