// What a backend is: the functions that every implementation of attention provides. A backend is
// handed checked, canonical arguments and decides nothing but how; what is to be done is the
// plan's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../core/error.h"
#include "../core/tensor.h"
#include "../mask/block_mask.h"
#include "../plan/plan.h"
#include "reason.h"

namespace pagoda {

using Stream = pagoda_stream;

// A way to run attention that can be named: by pagoda_explain, and to force it.
struct Kernel {
  std::string name;
};

// The kernel that serves a problem, or every reason why none does.
struct Selection {
  const Kernel* kernel = nullptr;
  std::vector<Reason> reasons;
  std::string note;  // why a kernel that comes before does not serve it; may be empty
};

// The requests of one step. Arrays lie where the backend computes; see pagoda_batch for the rules.
struct Batch {
  int32_t num_reqs = 0, num_tokens = 0;
  int32_t max_query_len = 0, max_seq_len = 0;  // upper bounds, never 0
  const int32_t* query_start_loc = nullptr;    // [num_reqs + 1]
  const int32_t* seq_lens = nullptr;           // [num_reqs]
  const int32_t* page_table = nullptr;  // [num_reqs, page_table_stride], null without a cache
  int64_t page_table_stride = 0;
  int32_t page_table_width = 0;
  const int64_t* slot_mapping = nullptr;   // [num_tokens] or null
  const int32_t* key_start_loc = nullptr;  // [num_reqs + 1], null with a cache
  const uint8_t* causal = nullptr;         // [num_reqs] or null
  mask::BlockMask block_mask;              // of a problem that has one
};

// What belongs to one layer; pagoda_layer has the shapes.
struct Layer {
  TensorView key_cache, value_cache;
  TensorView key_scale, value_scale;
  TensorView query_scale;               // absent outside forward
  const float* alibi_slopes = nullptr;  // [num_heads] or null
  const float* sinks = nullptr;         // [num_heads] or null
};

struct Operands {
  TensorView query;  // [num_tokens, num_heads, head_dim], in problem.query_format
  TensorView key;    // [num_keys, num_kv_heads, head_dim], absent with a cache
  TensorView value;  // [num_keys, num_kv_heads, head_dim_v], absent with a cache
  TensorView out;    // [num_tokens, num_heads, head_dim_v]
  TensorView lse;    // [num_heads, num_tokens] float; may be absent
};

struct MergeOperands {
  int32_t num_tokens_a = 0;  // tokens at and after this have state b alone
  TensorView out_a, lse_a;   // [num_tokens, num_heads, head_dim_v], [num_heads, num_tokens] float
  TensorView out_b, lse_b;   // as a
  TensorView out, lse;       // as a; lse may be absent
};

struct QueryCodes {
  TensorView query;  // [num_tokens, num_heads, head_dim]
  TensorView codes;  // as query, int8 or e4m3
  TensorView scale;  // int8: [num_tokens, num_heads], written; e4m3: [num_kv_heads], read
};

// What was decided before a call: valid from prepare to the next prepare.
struct Prepared {
  const Problem& problem;
  const Kernel& kernel;
  const WorkspaceMap& map;
  std::byte* workspace;  // [map.size()]
  Batch batch;
  Stream stream;

  template <class T>
  T* region(const char* name) const {
    return reinterpret_cast<T*>(workspace + map.find(name).offset);
  }
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;

  // Whether work is queued on a stream. If not it is done in the call, and a stream is refused at
  // the interface.
  virtual bool takes_streams() const = 0;

  // Whether requests that share pages may be attended together (cascade).
  virtual bool groups_requests() const { return false; }

  // What this backend found on the machine, one line.
  virtual std::string machine() const = 0;

  // Called once, when a plan is created. Serves the kernel that problem.tuning names, if it names
  // one.
  virtual Selection select(const Problem& problem) const = 0;

  // Adds the regions that the functions below will look for. From limits alone, not from any batch.
  virtual void add_workspace(const Problem& problem, const Kernel& kernel,
                             WorkspaceMap& map) const = 0;

  // Turns the batch's lengths into a schedule in the workspace. Once per step.
  virtual void schedule(const Prepared& prepared) = 0;

  // What a step that schedule() has prepared does, as far as the host knows it; and about shared
  // pages in words.
  virtual pagoda_step_info step_info(const Prepared&) const { return {}; }
  virtual std::string describe_cascade(const Prepared&) const {
    return "none: this backend attends every request on its own";
  }

  // key: [num_tokens, num_kv_heads, head_dim], value: [num_tokens, num_kv_heads, head_dim_v]
  virtual void update_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                            const TensorView& value) = 0;

  virtual void attend(const Prepared& prepared, const Attend& step, const Layer& layer,
                      const Operands& operands) = 0;

  virtual void merge(const MergeOperands& operands, Stream stream) = 0;

  // For a backend that selects plans with quantised queries.
  virtual void quantise_query(const QueryCodes&, Stream) {
    expect(false, PAGODA_UNSUPPORTED, "backend ", name(),
           " has no quantised queries; quantise them on the host, or leave spec.query_format SAME");
  }
};

struct BackendOptions {
  int32_t device = 0;
  int32_t num_threads = 0;  // 0: all cores that the process may use
  std::string isa;          // empty: the best of the machine
};

// One line of the list of backends.
struct BackendEntry {
  const char* name;
  std::unique_ptr<Backend> (*create)(const BackendOptions& options);  // throws Failure
};

// In order of preference; those that this build contains.
const std::vector<BackendEntry>& backend_entries();

}  // namespace pagoda
