#include "engine/draft/draft_model.h"

#include <algorithm>
#include <set>

#include "engine/error.h"

namespace pagoda::engine {
namespace {

int32_t pages_of(const DecoderOptions& options) {
  return (options.max_seq_len + options.page_size - 1) / options.page_size;
}

DecoderOptions own_options(DecoderOptions options) {
  options.context_parallel = {};  // every rank makes the same guesses
  options.tensor_parallel = {};
  options.kv_statistics = nullptr;  // they are of the large model
  options.num_pages = int64_t{options.max_reqs} * pages_of(options) + 1;
  return options;
}

// Ids mean the same text in both, or what one drafts is noise to the other.
void require_same_vocabulary(const Tokenizer& small, const Tokenizer& large) {
  require(small.vocab_size() == large.vocab_size(), ErrorKind::kInvalidArgument,
          "the draft model's vocabulary has ", small.vocab_size(), " tokens, the model's ",
          large.vocab_size(), "; a draft model shares the vocabulary");
  for (TokenId id = 0; id < small.vocab_size(); ++id)
    require(small.piece(id) == large.piece(id), ErrorKind::kInvalidArgument, "token ", id,
            " of the draft model is not token ", id,
            " of the model; a draft model shares the vocabulary");
}

}  // namespace

DraftModel::DraftModel(const ModelFile& file, const Tokenizer& tokenizer,
                       const Tokenizer& large_tokenizer, const DecoderOptions& options,
                       const Progress& progress)
    : decoder_(file, own_options(options), progress),
      vocab_size_(static_cast<int32_t>(
          std::min<int64_t>(file.config().vocab_size, tokenizer.vocab_size()))),
      pages_per_row_(pages_of(options)) {
  require_same_vocabulary(tokenizer, large_tokenizer);
  for (int32_t row = options.max_reqs; row-- > 0;) free_rows_.push_back(row);
}

void DraftModel::forget_others(const std::vector<Request*>& requests) {
  std::set<uint64_t> named;
  for (const Request* request : requests) named.insert(request->id);
  std::erase_if(sequences_, [&](const auto& entry) {
    if (named.contains(entry.first)) return false;
    free_rows_.push_back(entry.second.row);
    return true;
  });
}

// What the large model took in place of a draft, and all behind it, is written anew.
DraftModel::Sequence& DraftModel::sequence_of(const Request& request) {
  auto found = sequences_.find(request.id);
  if (found == sequences_.end()) {
    found = sequences_.emplace(request.id, Sequence{.row = free_rows_.back(), .tokens = {}}).first;
    free_rows_.pop_back();
  }
  std::vector<int32_t>& held = found->second.tokens;
  const auto [end, unused] =
      std::mismatch(held.begin(), held.end(), request.tokens.begin(), request.tokens.end() - 1);
  held.erase(end, held.end());
  return found->second;
}

void DraftModel::propose(const std::vector<Request*>& requests) {
  forget_others(requests);
  std::vector<Work> all;
  for (Request* request : requests) {
    request->draft.clear();
    if (request->max_draft > 0) all.push_back({request, &sequence_of(*request), request->tokens});
  }
  while (advance(all)) {
  }
}

bool DraftModel::advance(std::vector<Work>& all) {
  tokens_.clear();
  query_start_loc_.assign(1, 0);
  seq_lens_.clear();
  page_table_.clear();
  logit_rows_.clear();
  slot_mapping_.clear();
  gets_token_.clear();
  for (Work& work : all) {
    const auto drafted = static_cast<int32_t>(work.request->draft.size());
    const auto missing = static_cast<int32_t>(work.tokens.size() - work.sequence->tokens.size());
    const int32_t room = decoder_.options().max_tokens - static_cast<int32_t>(tokens_.size());
    if (drafted < work.request->max_draft && room > 0) add_to_batch(work, std::min(missing, room));
  }
  if (tokens_.empty()) return false;
  const std::span<const float> logits = forward();
  const auto stride = static_cast<size_t>(decoder_.config().vocab_size);
  for (size_t i = 0; i < gets_token_.size(); ++i) {
    const auto row = logits.subspan(i * stride, static_cast<size_t>(vocab_size_));
    const auto token = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    gets_token_[i]->request->draft.push_back(token);
    gets_token_[i]->tokens.push_back(token);
  }
  return true;
}

void DraftModel::add_to_batch(Work& work, int32_t num_tokens) {
  std::vector<int32_t>& held = work.sequence->tokens;
  const int32_t first_page = 1 + work.sequence->row * pages_per_row_;
  const int32_t page_size = decoder_.options().page_size;
  for (int32_t i = 0; i < num_tokens; ++i) {
    const auto position = static_cast<int32_t>(held.size());
    slot_mapping_.push_back(int64_t{first_page} * page_size + position);
    tokens_.push_back(work.tokens[held.size()]);
    held.push_back(tokens_.back());
  }
  for (int32_t page = 0; page < pages_per_row_; ++page) page_table_.push_back(first_page + page);
  query_start_loc_.push_back(static_cast<int32_t>(tokens_.size()));
  seq_lens_.push_back(static_cast<int32_t>(held.size()));
  if (held.size() < work.tokens.size()) return;
  logit_rows_.push_back(query_start_loc_.back() - 1);
  gets_token_.push_back(&work);
}

std::span<const float> DraftModel::forward() {
  // Groups of layers have memory of their own, so the same page ids serve all of them.
  const std::vector<StepBatch::Group> groups(decoder_.groups().size(),
                                             {.page_table = page_table_.data(),
                                              .page_table_stride = pages_per_row_,
                                              .slot_mapping = slot_mapping_.data()});
  return decoder_.forward({.tokens = tokens_,
                           .query_start_loc = query_start_loc_,
                           .seq_lens = seq_lens_,
                           .groups = groups,
                           .logit_rows = logit_rows_});
}

}  // namespace pagoda::engine
