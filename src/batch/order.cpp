#include "order.h"

#include <algorithm>
#include <array>
#include <vector>

#include "../core/error.h"

namespace pagoda {
namespace {

constexpr int kKinds = PAGODA_PREFILL + 1;

void check_at_least(int32_t value, int32_t least, const char* field) {
  expect(value >= least, PAGODA_INVALID_ARGUMENT, field, " is ", value, "; it is at least ", least);
}

}  // namespace

int32_t decode_threshold(const pagoda_threshold_options& options) {
  check_at_least(options.threshold, 0, "options.threshold");
  check_at_least(options.num_speculative, 0, "options.num_speculative");
  check_at_least(options.num_ranks, 0, "options.num_ranks");
  if (options.num_ranks > 1 && options.single_token_on_ranks != 0) return 1;
  const int64_t own = std::max(options.threshold, 1);
  if (options.num_speculative == 0 || options.uniform_decodes_only != 0)
    return static_cast<int32_t>(own);
  const int64_t rows = options.parallel_drafting != 0 ? 2 : 1;
  const int64_t verified = 1 + rows * options.num_speculative;
  expect(verified <= INT32_MAX, PAGODA_INVALID_ARGUMENT, "options.num_speculative is ",
         options.num_speculative, "; a step cannot verify that many tokens");
  return static_cast<int32_t>(std::max(own, verified));
}

pagoda_request_kind kind_of(const pagoda_step_requests& requests, int32_t r, int32_t threshold) {
  const int32_t query_len = requests.query_lens[r], computed = requests.num_computed[r];
  check_at_least(query_len, 0, "query_lens of a request");
  check_at_least(computed, 0, "num_computed of a request");
  if (computed == 0) return PAGODA_PREFILL;
  if (query_len > threshold) return PAGODA_LONG_EXTEND;
  return computed < requests.num_prompt[r] ? PAGODA_SHORT_EXTEND : PAGODA_DECODE;
}

bool order_batch(const pagoda_step_requests& requests, int32_t threshold, int32_t* order) {
  check_at_least(threshold, 1, "threshold");
  const auto num_reqs = static_cast<size_t>(requests.num_reqs);
  std::vector<pagoda_request_kind> kinds(num_reqs);
  std::array<int32_t, kKinds> count{};
  for (size_t r = 0; r < num_reqs; ++r) {
    kinds[r] = kind_of(requests, static_cast<int32_t>(r), threshold);
    ++count[static_cast<size_t>(kinds[r])];
  }
  std::vector<int32_t> misplaced;  // in order of place, which is also the places to fill
  size_t place = 0;
  for (int kind = 0; kind < kKinds; ++kind)
    for (int32_t i = 0; i < count[static_cast<size_t>(kind)]; ++i, ++place) {
      order[place] = static_cast<int32_t>(place);
      if (kinds[place] != kind) misplaced.push_back(static_cast<int32_t>(place));
    }
  std::vector<int32_t> movers = misplaced;
  std::stable_sort(movers.begin(), movers.end(), [&](int32_t a, int32_t b) {
    return kinds[static_cast<size_t>(a)] < kinds[static_cast<size_t>(b)];
  });
  for (size_t i = 0; i < movers.size(); ++i) order[misplaced[i]] = movers[i];
  return !misplaced.empty();
}

void apply_order(const int32_t* order, int32_t num_reqs, std::byte* rows, size_t row_size,
                 size_t stride) {
  expect(stride >= row_size, PAGODA_INVALID_ARGUMENT, "stride is ", stride,
         " bytes; it is at least row_size, ", row_size);
  std::vector<bool> seen(static_cast<size_t>(num_reqs));
  for (int32_t i = 0; i < num_reqs; ++i) {
    const int32_t from = order[i];
    expect(from >= 0 && from < num_reqs && !seen[static_cast<size_t>(from)],
           PAGODA_INVALID_ARGUMENT, "order[", i, "] is ", from, "; order holds each of 0 to ",
           num_reqs - 1, " once");
    seen[static_cast<size_t>(from)] = true;
  }
  const auto row = [&](int32_t i) { return rows + static_cast<size_t>(i) * stride; };
  for (int32_t i = 0; i < num_reqs; ++i) {
    // Swaps before i have moved what was wanted here to where that place's own row came from.
    int32_t from = order[i];
    while (from < i) from = order[from];
    if (from != i) std::swap_ranges(row(i), row(i) + row_size, row(from));
  }
}

}  // namespace pagoda
