#include "split.h"

#include <algorithm>

#include "../core/error.h"

namespace pagoda {
namespace {

// Tokens up to request r; those of padding belong to the last part.
int32_t tokens_before(const SplitInput& input, int32_t r) {
  return r == input.num_reqs ? input.num_tokens : input.query_start_loc[r];
}

pagoda_split cut_at(const SplitInput& input, int32_t num_decodes, int32_t num_extends) {
  const int32_t prefills_from = num_decodes + num_extends;
  pagoda_split split = PAGODA_INIT(pagoda_split);
  split.num_decodes = num_decodes;
  split.num_extends = num_extends;
  split.num_prefills = input.num_reqs - prefills_from;
  split.num_decode_tokens = tokens_before(input, num_decodes);
  split.num_extend_tokens = tokens_before(input, prefills_from) - split.num_decode_tokens;
  split.num_prefill_tokens = input.num_tokens - tokens_before(input, prefills_from);
  return split;
}

template <class Predicate>
int32_t first_request(const SplitInput& input, const Predicate& is_it) {
  for (int32_t r = 0; r < input.num_reqs; ++r)
    if (is_it(r)) return r;
  return input.num_reqs;
}

bool is_padded_uniform(const SplitInput& input) {
  const int32_t len = input.query_len(0);
  const auto differs = [&](int32_t r) {
    return input.query_len(r) != len && input.query_len(r) != 0;
  };
  return first_request(input, differs) == input.num_reqs;
}

}  // namespace

void check_split_input(const SplitInput& input) {
  expect(input.num_reqs >= 0, PAGODA_INVALID_ARGUMENT, "num_reqs is ", input.num_reqs,
         "; it is at least 0");
  expect(input.query_start_loc != nullptr, PAGODA_INVALID_ARGUMENT,
         "query_start_loc is NULL; it has num_reqs + 1 entries");
  expect(input.query_start_loc[0] == 0, PAGODA_INVALID_ARGUMENT, "query_start_loc[0] is ",
         input.query_start_loc[0], "; it is 0");
  for (int32_t r = 0; r < input.num_reqs; ++r)
    expect(input.query_start_loc[r + 1] >= input.query_start_loc[r], PAGODA_INVALID_ARGUMENT,
           "query_start_loc[", r + 1, "] is ", input.query_start_loc[r + 1],
           ", below the entry before it; it never falls");
  const int32_t total = input.query_start_loc[input.num_reqs];
  expect(input.num_tokens >= total, PAGODA_INVALID_ARGUMENT, "num_tokens is ", input.num_tokens,
         "; the requests have ", total);
}

pagoda_split split_decodes(const SplitInput& input, const pagoda_split_options& options) {
  const int32_t threshold = std::max(options.threshold, 1);
  const bool short_extends_decode = options.short_extends_are_prefills == 0;
  if (input.num_reqs == 0) return cut_at(input, 0, 0);
  const bool uniform = options.uniform != 0;
  const auto is_long = [&](int32_t r) { return input.query_len(r) > threshold; };
  const bool all_short = first_request(input, is_long) == input.num_reqs;
  if (all_short && short_extends_decode && (!uniform || threshold == 1))
    return cut_at(input, input.num_reqs, 0);
  if (is_long(0)) return cut_at(input, 0, 0);
  if (uniform && short_extends_decode && is_padded_uniform(input))
    return cut_at(input, input.num_reqs, 0);
  const auto is_prefill = [&](int32_t r) {
    if (!short_extends_decode && options.prefilling[r] != 0) return true;
    return uniform ? input.query_len(r) != input.query_len(0) : is_long(r);
  };
  return cut_at(input, first_request(input, is_prefill), 0);
}

pagoda_split split_extends(const SplitInput& input, const int32_t* seq_lens, int32_t threshold) {
  const auto is_long = [&](int32_t r) { return input.query_len(r) > threshold; };
  const auto is_prefill = [&](int32_t r) {
    return is_long(r) && seq_lens[r] == input.query_len(r);
  };
  const int32_t extends_from = first_request(input, is_long);
  return cut_at(input, extends_from, first_request(input, is_prefill) - extends_from);
}

}  // namespace pagoda
