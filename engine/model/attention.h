// Attention of the decoder: a plan per group of layers, their workspaces, and the rows in the type
// that attention works in.
#pragma once

#include <cstdint>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <string>
#include <vector>

#include "engine/math/array.h"
#include "engine/math/products.h"
#include "engine/model/decoder.h"
#include "engine/model/kv_memory.h"

namespace pagoda::engine {

// What attention computes in the layers of a group.
Spec layer_spec(const ModelConfig& config, const LayerGroup& group, const DecoderOptions& options);

class Attention {
 public:
  // Errors: pagoda::Error where no kernel serves, with every reason.
  Attention(const ModelConfig& config, const DecoderOptions& options, Products& products);

  const std::vector<LayerGroup>& groups() const { return groups_; }
  std::string describe() const;
  const KeyReads& key_reads() const { return reads_; }
  std::string mask_picture() const { return mask_ ? mask_->picture() : ""; }

  // Once per step. The batch's arrays stay as they are until the step is done.
  void prepare(const StepBatch& batch);

  // Hands in rows [first, first + count) of a step; different ones at the same time if need be.
  //   qkv [count, num_heads + 2 * num_kv_heads, head_dim], rotated
  void put_rows(const float* qkv, int64_t first, int64_t count);

  // All rows of a layer at once, for who measures keys and values.
  void observe(int layer, const float* qkv, int64_t num_tokens);

  // Writes keys and values of this step to their pages, then attends.
  void attend(int layer, int64_t num_tokens);

  // What attention gave for rows [first, first + count): [count, num_heads, head_dim]. Perhaps in
  // the buffer, which has that size.
  const float* out_rows(int64_t first, int64_t count, float* buffer) const;

 private:
  const int64_t* local_slots(const int64_t* slots, int64_t num_tokens);
  void count_reads();

  const ModelConfig& config_;
  pagoda_dtype dtype_;
  int32_t page_size_;
  ContextParallel ranks_;
  std::vector<std::vector<int64_t>> local_slots_;  // [groups][num_tokens] of this step
  const MathKernels& kernels_;
  KvStatistics* statistics_;  // null: nothing is measured
  std::vector<LayerGroup> groups_;
  std::vector<int> group_of_layer_;  // [layers]
  std::vector<LayerScales> scales_;  // [layers]
  SystemMemory memory_;              // of all pages
  KvMemory caches_;
  Context context_;
  std::vector<Plan> plans_;                   // [groups]
  std::vector<Array<std::byte>> workspaces_;  // [groups]
  KeyReads reads_;
  std::unique_ptr<StepMask> mask_;  // null: none
  int64_t qkv_size_, out_size_;     // elements of a row
  Array<std::byte> qkv_, out_;      // [max_tokens, qkv_size_], [max_tokens, out_size_]
};

}  // namespace pagoda::engine
