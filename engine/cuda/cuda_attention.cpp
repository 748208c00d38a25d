#include "engine/cuda/cuda_attention.h"

#include <algorithm>

#include "engine/model/attention.h"

namespace pagoda::engine::cuda {
namespace {

Context make_context(const DecoderOptions& options) {
  ContextOptions context;
  context.backend = "cuda";
  context.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  return Context(context);
}

Limits limits_of(const DecoderOptions& options) {
  Limits limits;
  limits.max_reqs = options.max_reqs;
  limits.max_tokens = options.max_tokens;
  limits.max_seq_len = options.max_seq_len;
  limits.num_pages = options.num_pages;
  return limits;
}

// Floats of a layer: of key heads, of value heads, of value channels.
int64_t scales_of_layer(const ModelConfig& config) {
  return config.num_kv_heads * (2 + config.head_dim);
}

// [layers, scales_of_layer], 1 where a layer has none.
DeviceArray<float> scales_to_device(const ModelConfig& config, const KvChoice& kv) {
  const int64_t heads = config.num_kv_heads, size = scales_of_layer(config);
  std::vector<float> all(config.layers.size() * static_cast<size_t>(size), 1.0f);
  auto next = all.begin();
  for (const LayerScales& layer : scales_of(config, kv)) {
    std::ranges::copy(layer.key_head, next);
    std::ranges::copy(layer.value_head, next + heads);
    std::ranges::copy(layer.value_channel, next + 2 * heads);
    next += size;
  }
  return to_device<float>(all);
}

std::vector<ScaleViews> views_in(float* scales, const ModelConfig& config) {
  const int64_t heads = config.num_kv_heads;
  std::vector<ScaleViews> views;
  for (size_t i = 0; i < config.layers.size(); i++, scales += scales_of_layer(config))
    views.push_back({scales, scales + heads, scales + 2 * heads});
  return views;
}

}  // namespace

CudaAttention::CudaAttention(const ModelConfig& config, const DecoderOptions& options)
    : config_(config),
      dtype_(options.dtype),
      groups_(group_layers(config, options.kv)),
      group_of_layer_(config.layers.size()),
      scales_(scales_to_device(config, options.kv)),
      memory_(cache_bytes(config, groups_, options.page_size, options.num_pages, options.dtype)),
      caches_(config, groups_, options.page_size, options.num_pages, options.dtype, memory_.data(),
              views_in(scales_.data(), config)),
      context_(make_context(options)) {
  Tuning tuning;
  tuning.cascade = options.cascade;
  for (const LayerGroup& group : groups_) {
    plans_.emplace_back(context_, layer_spec(config, group, options), limits_of(options), tuning);
    for (int layer : group.layers) group_of_layer_[static_cast<size_t>(layer)] = plans_.size() - 1;
  }
  for (const Plan& plan : plans_)
    workspaces_.emplace_back(static_cast<int64_t>(plan.workspace_size()));
}

std::string CudaAttention::describe() const {
  std::string text;
  for (const Plan& plan : plans_) text += plan.describe();
  return text;
}

void CudaAttention::prepare(const StepShape& shape, const StepLayout& layout, std::byte* arrays,
                            cudaStream_t stream) {
  const auto ints = [&](int64_t at) { return reinterpret_cast<const int32_t*>(arrays + at); };
  for (size_t i = 0; i < plans_.size(); i++) {
    const auto group = static_cast<int64_t>(i);
    Batch batch;
    batch.num_reqs = shape.num_reqs;
    batch.num_tokens = shape.num_tokens;
    batch.max_query_len = shape.max_query_len;
    batch.query_start_loc = ints(layout.query_start_loc);
    batch.seq_lens = ints(layout.seq_lens);
    batch.page_table = ints(layout.page_table(group));
    batch.page_table_stride = layout.table_width;
    batch.page_table_width = static_cast<int32_t>(layout.table_width);
    batch.slot_mapping = reinterpret_cast<const int64_t*>(arrays + layout.slots(group));
    plans_[i].prepare(batch, workspaces_[i].data(), static_cast<size_t>(workspaces_[i].size()),
                      stream);
  }
}

void CudaAttention::queue(int layer, void* qkv, void* out, int64_t num_tokens,
                          cudaStream_t stream) {
  const int64_t dim = config_.head_dim, heads = config_.num_heads, kv_heads = config_.num_kv_heads;
  const int64_t row = (heads + 2 * kv_heads) * dim;
  const auto part = [&](int64_t first_head, int64_t num_heads) {
    return Tensor(static_cast<uint16_t*>(qkv) + first_head * dim, dtype_,
                  {num_tokens, num_heads, dim}, {row, dim, 1});
  };
  const Layer caches = caches_.layer(layer);
  Plan& plan = plans_[group_of_layer_[static_cast<size_t>(layer)]];
  plan.update_cache(caches, part(heads, kv_heads), part(heads + kv_heads, kv_heads), stream);
  plan.forward(caches, part(0, heads), Tensor(out, dtype_, {num_tokens, heads, dim}), nullptr,
               stream);
}

}  // namespace pagoda::engine::cuda
