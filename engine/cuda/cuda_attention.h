// Attention of the decoder on the device: a plan per group of layers with its workspace, and the
// pages of the cache.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <pagoda/pagoda.hpp>
#include <string>
#include <vector>

#include "engine/cuda/device_memory.h"
#include "engine/cuda/step_shape.h"
#include "engine/model/decoder.h"

namespace pagoda::engine::cuda {

class CudaAttention {
 public:
  // Errors: pagoda::Error where no kernel serves, with every reason; kLimit when the device has too
  // little memory for the cache.
  CudaAttention(const ModelConfig& config, const DecoderOptions& options);

  const std::vector<LayerGroup>& groups() const { return groups_; }
  std::string describe() const;

  // Once per step, on the stream. arrays: those of the layout, on the device.
  void prepare(const StepShape& shape, const StepLayout& layout, std::byte* arrays,
               cudaStream_t stream);

  // Writes keys and values of this step to their pages, then attends.
  //   qkv  typed [num_tokens, num_heads + 2 * num_kv_heads, head_dim], rotated
  //   out  typed [num_tokens, num_heads, head_dim]
  void queue(int layer, void* qkv, void* out, int64_t num_tokens, cudaStream_t stream);

 private:
  const ModelConfig& config_;
  const pagoda_dtype dtype_;
  const std::vector<LayerGroup> groups_;
  std::vector<size_t> group_of_layer_;  // [layers]
  DeviceArray<float> scales_;           // of heads and channels, of every layer
  DeviceArray<std::byte> memory_;       // of all pages
  KvMemory caches_;
  Context context_;
  std::vector<Plan> plans_;                         // [groups]
  std::vector<DeviceArray<std::byte>> workspaces_;  // [groups]
};

}  // namespace pagoda::engine::cuda
