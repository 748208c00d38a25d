#include "engine/step_arrays.h"

namespace pagoda::engine {

StepArrays::StepArrays(int32_t num_groups, int32_t table_width)
    : table_width_(table_width),
      page_tables_(static_cast<size_t>(num_groups)),
      slot_mappings_(static_cast<size_t>(num_groups)),
      groups_(static_cast<size_t>(num_groups)) {}

StepBatch StepArrays::fill(const Cache& cache, const std::vector<ScheduledTokens>& step) {
  ids_.clear();
  tokens_.clear();
  seq_lens_.clear();
  logit_rows_.clear();
  query_start_loc_.assign(1, 0);
  for (const ScheduledTokens& part : step) {
    const auto first = part.request->tokens.begin() + part.request->num_computed;
    const auto draft = part.request->draft.begin();
    ids_.push_back(part.request->id);
    tokens_.insert(tokens_.end(), first, first + part.num_tokens);
    tokens_.insert(tokens_.end(), draft, draft + part.num_draft);
    seq_lens_.push_back(part.seq_len());
    query_start_loc_.push_back(static_cast<int32_t>(tokens_.size()));
    if (!part.gives_token()) continue;
    const int32_t end = query_start_loc_.back();
    for (int32_t row = end - 1 - part.num_draft; row < end; row++) logit_rows_.push_back(row);
  }

  CacheStep arrays;
  arrays.num_reqs = static_cast<int32_t>(ids_.size());
  arrays.num_tokens = static_cast<int32_t>(tokens_.size());
  arrays.ids = ids_.data();
  arrays.query_start_loc = query_start_loc_.data();
  arrays.seq_lens = seq_lens_.data();
  arrays.page_table_stride = table_width_;
  arrays.page_table_width = table_width_;
  for (size_t group = 0; group < groups_.size(); group++) {
    page_tables_[group].resize(ids_.size() * static_cast<size_t>(table_width_));
    slot_mappings_[group].resize(tokens_.size());
    arrays.page_table = page_tables_[group].data();
    arrays.slot_mapping = slot_mappings_[group].data();
    cache.fill(static_cast<int32_t>(group), arrays);
    groups_[group] = {.page_table = arrays.page_table,
                      .page_table_stride = table_width_,
                      .slot_mapping = arrays.slot_mapping};
  }
  return {.tokens = tokens_,
          .query_start_loc = query_start_loc_,
          .seq_lens = seq_lens_,
          .groups = groups_,
          .logit_rows = logit_rows_};
}

}  // namespace pagoda::engine
