// A case laid out in memory and run through pagoda.hpp. Every byte that the contract does not give
// a meaning is garbage: page tails, pages of nobody, table tails, padded rows, gaps between rows,
// the workspace, outputs before the call. After the call every byte outside the declared outputs is
// compared with what it was.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "memory.h"
#include "values.h"

namespace pagoda::conformance {

struct Placement {
  uint64_t pages_seed = 1;  // which physical pages the requests get
  uint64_t fill_seed = 0;   // what the garbage is
};

struct Result {
  Status status = PAGODA_OK;
  std::string complaint;   // of the library, or which memory changed that may not; empty: none
  std::vector<float> out;  // [num_tokens, num_heads, head_dim_v]
  std::vector<float> lse;  // [num_heads, num_tokens]; empty if not asked for
  pagoda_step_info info{};
};

class Step {
 public:
  // The values outlive the step.
  Step(const Geometry& geometry, const Values& values, const Placement& placement);

  // kernel: NULL, or a name that tuning forces.
  Result run(const Context& context, const char* kernel = nullptr);

  // update_cache alone: the result holds a complaint or nothing.
  Result update(const Context& context);

  // What run() hands to the library, for code that stands in for it.
  Spec spec;
  Limits limits;
  Batch batch;
  Layer layer;
  Tensor query, key, value, out, lse;
  bool has_lse() const { return geometry_.lse != LseKind::absent; }
  const Geometry& geometry() const { return geometry_; }

  // Collects the outputs and checks all other memory. The step is used up after this.
  Result finish();

 private:
  void set_spec();
  void set_limits();
  void make_cache(const Placement& placement);
  void place_pages(const Placement& placement);
  void make_batch(const Values& values);
  void make_slots(const Values& values);
  void make_call_keys(const Values& values, const Placement& placement);
  void make_new_keys(const Values& values, const Placement& placement);
  void make_outputs(const Placement& placement);

  Tensor make_rows(pagoda_dtype dtype, int64_t rows, int64_t heads, int64_t dim,
                   Arrangement arrangement, uint64_t fill_seed, const char* name);
  void make_scales(const Values& values, uint64_t fill_seed);
  Tensor make_token_scales(int64_t first, int64_t second, int64_t third, uint64_t fill_seed,
                           const char* name);
  Tensor make_head_scales(const std::vector<float>& scales, uint64_t fill_seed, const char* name);
  Tensor make_channel_scales(const std::vector<float>& scales, uint64_t fill_seed);
  void make_query_scales(const Values& values, uint64_t fill_seed);
  Tensor make_lse(uint64_t fill_seed);
  Buffer& new_buffer(int64_t elements, pagoda_dtype dtype, uint64_t fill_seed, const char* name);
  void spoil_singletons(Tensor& tensor);
  void put(const Tensor& tensor, std::byte* at, const float* from, int64_t count);
  void put_token(const RequestValues& from, size_t r, int32_t position);
  void forgive(const char* name, const std::byte* at, size_t bytes);
  void prepare(Plan& plan);
  std::string check_new_rows();
  std::string check_buffers();

  struct NamedBuffer {
    const char* name;
    std::unique_ptr<Buffer> buffer;
  };
  // A row that update_cache has to write.
  struct Written {
    int64_t page, offset;
    size_t token, request;
    int32_t position;
  };
  // Keys or values of the cache, to be checked.
  struct Side {
    const char *name, *scale_name;
    const Tensor &cache, &scale, &given;
    Stored stored;
    const std::vector<float>&numbers, &scales;  // of the row's request
  };
  bool holds(const Side& side, const Written& row);
  bool holds_quantised(const Side& side, const Written& row, int32_t head) const;

  Geometry geometry_;
  const Values& values_;
  Random random_;
  std::vector<NamedBuffer> buffers_;
  std::vector<std::vector<int64_t>> pages_;  // of each request
  std::vector<int32_t> query_start_loc_, seq_lens_, page_table_, key_start_loc_;
  std::vector<int64_t> slots_;
  std::vector<uint8_t> causal_;
  std::vector<float> slopes_, sinks_;
  std::vector<Written> written_;
  Tensor key_cache_, value_cache_, key_scale_, value_scale_, query_scale_;
};

}  // namespace pagoda::conformance
