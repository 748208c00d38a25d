// The forward pass of a decoder model over a packed batch. Attention is Pagoda's; the rest is
// matrix products and small operations, each of which treats a row alone, so a token's logits do
// not depend on the batch around it.
#pragma once

#include <pagoda/comm.h>

#include <cstdint>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/formats/model_file.h"
#include "engine/math/threads.h"
#include "engine/model/kv_memory.h"
#include "engine/model/step_mask.h"
#include "engine/model/tensor_share.h"
#include "engine/progress.h"

namespace pagoda::engine {

// Ranks that run the same model on the same requests, each keeping a share of every sequence's
// keys.
struct ContextParallel {
  std::shared_ptr<const pagoda_comm> comm;  // null: this process has all keys
  int32_t interleave = 1;                   // tokens

  int32_t num_ranks() const { return comm ? comm->num_ranks : 1; }
};

struct DecoderOptions {
  int num_threads = 0;                    // 0: all usable cores
  std::string backend = "cpu";            // one whose memory is the host's: cpu or reference
  std::string isa;                        // of attention; empty: the best of the machine
  std::string product_isa;                // of products; empty: the best of the machine
  bool expand_weights = false;            // multiply weights of 4 to 8 bits as floats
  pagoda_dtype dtype = PAGODA_F32;        // of attention and of the cache: F32, F16 or BF16
  KvChoice kv;                            // what the cache holds instead
  KvStatistics* kv_statistics = nullptr;  // sees every key and value; outlives the decoder
  int32_t page_size = 16;
  int64_t num_pages = 0;    // of each group, the null page included
  int32_t max_reqs = 1;     // in one step
  int32_t max_tokens = 1;   // in one step
  int32_t max_seq_len = 0;  // at most the model's context length; 0: that
  MaskText mask;            // of every layer, besides its own
  ContextParallel context_parallel = {};
  TensorShare tensor_parallel = {};
  int32_t cascade = 0;  // pages that requests share: 0 read once where it pays, 1 always, -1 never

  // Tokens of a page of all ranks together: what page tables and slots count in.
  int32_t shared_page_size() const { return page_size * context_parallel.num_ranks(); }
};

// The options with max_seq_len resolved. Errors: kInvalidArgument for more than the model's
// context.
DecoderOptions resolve_options(DecoderOptions options, const ModelConfig& config);

// Keys and values that attention read since the decoder was made, all layers together.
struct KeyReads {
  int64_t bytes = 0;
  int64_t bytes_flat = 0;     // the same if no request had shared a reading
  int64_t cascade_steps = 0;  // steps in which some did
  int32_t max_cascade_reqs = 0;
};

// One step: the new tokens of each request, one request behind the other, the request's last ones.
struct StepBatch {
  struct Group {
    const int32_t* page_table = nullptr;  // [num_reqs, page_table_stride]
    int64_t page_table_stride = 0;
    const int64_t* slot_mapping = nullptr;  // [num_tokens]
  };

  std::span<const int32_t> tokens;           // [num_tokens]
  std::span<const int32_t> query_start_loc;  // [num_reqs + 1]
  std::span<const int32_t> seq_lens;         // [num_reqs], this step's tokens included
  std::span<const Group> groups;             // [groups of the decoder]
  std::span<const int32_t> logit_rows;       // indices of tokens whose logits are wanted
};

class Decoder {
 public:
  // `file` outlives the decoder. Errors: those of load_weights; pagoda::Error where no kernel
  // serves the model.
  Decoder(const ModelFile& file, const DecoderOptions& options, const Progress& progress = {});
  ~Decoder();

  const ModelConfig& config() const;              // as this rank computes it
  const DecoderOptions& options() const;          // max_seq_len and num_threads as resolved
  const std::vector<LayerGroup>& groups() const;  // each has a page table of its own
  std::string describe() const;                   // the plans, as text
  const KeyReads& key_reads() const;
  Threads& threads();
  std::string mask_picture() const;  // of the largest step so far; empty without a mask

  // Writes this step's keys and values to their pages.
  // Returns [batch.logit_rows.size(), vocab_size], valid until the next call.
  std::span<float> forward(const StepBatch& batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pagoda::engine
