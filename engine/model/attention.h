// Attention of the decoder: a plan per group of layers, their workspaces, and the rows in the type
// that attention works in.
#pragma once

#include <cstdint>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <string>
#include <vector>

#include "engine/math/array.h"
#include "engine/math/threads.h"
#include "engine/model/decoder.h"
#include "engine/model/kv_memory.h"

namespace pagoda::engine {

// What attention computes in the layers of a group.
Spec layer_spec(const ModelConfig& config, const LayerGroup& group, const DecoderOptions& options);

class Attention {
 public:
  // Errors: pagoda::Error where no kernel serves, with every reason.
  Attention(const ModelConfig& config, const DecoderOptions& options, Threads& threads);

  const std::vector<LayerGroup>& groups() const { return groups_; }
  std::string describe() const;
  const KeyReads& key_reads() const { return reads_; }
  std::string mask_picture() const { return mask_ ? mask_->picture() : ""; }

  // Once per step. The batch's arrays stay as they are until the step is done.
  void prepare(const StepBatch& batch);

  // Writes keys and values of this step to their pages, then attends.
  //   qkv  [num_tokens, num_heads + 2 * num_kv_heads, head_dim], rotated
  //   out  [num_tokens, num_heads, head_dim]
  void attend(int layer, float* qkv, int64_t num_tokens, float* out);

 private:
  const int64_t* local_slots(const int64_t* slots, int64_t num_tokens);
  void count_reads();
  void* in_attention_type(float* rows, int64_t num_tokens);

  const ModelConfig& config_;
  pagoda_dtype dtype_;
  int32_t page_size_;
  ContextParallel ranks_;
  std::vector<std::vector<int64_t>> local_slots_;  // [groups][num_tokens] of this step
  Threads& threads_;
  KvStatistics* statistics_;  // null: nothing is measured
  std::vector<LayerGroup> groups_;
  std::vector<int> group_of_layer_;  // [layers]
  KvMemory memory_;
  Context context_;
  std::vector<Plan> plans_;                   // [groups]
  std::vector<Array<std::byte>> workspaces_;  // [groups]
  KeyReads reads_;
  std::unique_ptr<StepMask> mask_;         // null: none
  Array<uint16_t> typed_qkv_, typed_out_;  // empty for F32
};

}  // namespace pagoda::engine
