// One rank of a case whose sequences are dealt out: its pages hold its own tokens only, everything
// else is garbage, and it is run through pagoda.hpp like any other step.
#pragma once

#include <pagoda/comm.h>

#include <vector>

#include "compare.h"
#include "step.h"

namespace pagoda::conformance {

struct Ranks {
  int32_t num_ranks = 1, interleave = 1;
  bool copies = false;  // PAGODA_SHARD_KEYS_COPIES

  // The head of the case that head `own` of rank r is. Ranks with heads of their own share key
  // heads.
  int32_t head(const Geometry& g, int32_t r, int32_t own) const {
    if (copies) return own;
    const int32_t own_group = g.group / num_ranks;
    return (own / own_group * num_ranks + r) * own_group + own % own_group;
  }
  int32_t own_heads(const Geometry& g) const {
    return copies ? g.num_heads() : g.num_heads() / num_ranks;
  }
};

class RankWorld {
 public:
  RankWorld(const Geometry& geometry, const Values& values, const Ranks& ranks, int32_t rank,
            uint64_t fill_seed);

  // Its share of the keys is written by update_cache, those of earlier steps in a step before.
  // `out` and `lse` of the result are this rank's heads.
  Result run(const Context& context, const char* kernel = nullptr);

  Spec spec;
  Limits limits;
  Batch batch;
  Layer layer;

 private:
  void make_spec();
  void make_requests(uint64_t fill_seed);
  void make_scales(const Values& values, uint64_t fill_seed);
  void make_history(const Values& values);
  void write_history(const Context& context);
  void set_row(Tensor& tensor, int64_t token, int32_t head, const std::vector<float>& from,
               size_t row) const;
  void make_inputs(const Values& values, uint64_t fill_seed);
  Tensor make(std::initializer_list<int64_t> shape, pagoda_dtype dtype, uint64_t fill_seed);
  void put(const Tensor& tensor, std::byte* at, const float* from, int32_t count) const;
  int64_t global_slot(size_t r, int32_t position) const;
  void collect(Result& result) const;

  Geometry g_;
  Ranks ranks_;
  int32_t rank_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<int32_t> query_start_loc_, seq_lens_, page_table_;
  int32_t table_stride_ = 1;
  std::vector<int64_t> slots_;
  std::vector<uint8_t> causal_;
  std::vector<float> slopes_, sinks_;
  std::vector<int64_t> history_slots_;  // of keys of earlier steps
  Tensor history_key_, history_value_;
  Tensor key_scale_, value_scale_, query_scale_;
  Tensor key_cache_, value_cache_, query_, key_, value_, out_, lse_;
};

// A drawn case that ranks can share: with a cache, and with as many heads per key head as there are
// ranks to deal them out to.
Geometry draw_shared(uint64_t seed, const Ranks& ranks);

// The heads of all ranks in the order of the case; the first complaint, if there is one.
Result join(const Geometry& g, const Ranks& ranks, const std::vector<Result>& results);

// The bound for a case that ranks share.
Arithmetic arithmetic_of(Geometry g, const Values& values, const Ranks& ranks);

}  // namespace pagoda::conformance
