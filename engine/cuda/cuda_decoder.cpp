#include "engine/cuda/cuda_decoder.h"

#include <algorithm>

#include "engine/math/rope.h"

namespace pagoda::engine::cuda {
namespace {

std::unique_ptr<DeviceWeights> load(const ModelFile& file, const DecoderOptions& options,
                                    const Progress& progress) {
  Threads threads(options.num_threads);
  return std::make_unique<DeviceWeights>(file, options.dtype, threads, progress);
}

}  // namespace

CudaDecoder::Activations::Activations(const ModelConfig& config, int64_t max_tokens)
    : residual(max_tokens * config.hidden_size),
      normed(max_tokens * config.hidden_size),
      wide(max_tokens * std::max((config.num_heads + 2 * config.num_kv_heads) * config.head_dim,
                                 2 * config.ffn_size)),
      narrow(max_tokens * std::max(config.num_heads * config.head_dim, config.ffn_size)) {}

// Plans come before weights: a model that no kernel serves is refused before it is read.
CudaDecoder::CudaDecoder(const ModelFile& file, const ModelConfig& config,
                         const DecoderOptions& options, int32_t num_drawable,
                         const Progress& progress)
    : config_(config),
      dtype_(options.dtype),
      num_drawable_(num_drawable),
      attention_(config, options),
      activations_(config, options.max_tokens),
      products_(options.dtype) {
  const Rope rope(config.rope, options.max_seq_len);
  cosines_ = to_device(rope.cosines());
  sines_ = to_device(rope.sines());
  weights_ = load(file, options, progress);
}

NormRows CudaDecoder::norm_of(const float* weight, int64_t num_rows) const {
  return {.residual = activations_.residual.data(),
          .rows = nullptr,
          .weight = weight,
          .out = activations_.normed.data(),
          .num_rows = num_rows,
          .size = config_.hidden_size,
          .epsilon = config_.norm_epsilon,
          .dtype = dtype_};
}

// Reads the normed rows; the next norm is the feed-forward network's.
void CudaDecoder::queue_attention_part(int layer, int64_t num_tokens, const int32_t* positions,
                                       cudaStream_t stream) {
  const DeviceLayer& w = weights_->layers()[static_cast<size_t>(layer)];
  const bool use_rope = config_.layers[static_cast<size_t>(layer)].use_rope;
  uint16_t* const qkv = activations_.wide.data();
  uint16_t* const out = activations_.narrow.data();
  float* const residual = activations_.residual.data();
  products_.queue(w.qkv, activations_.normed.data(), num_tokens, qkv, ProductOut::kTyped, stream);
  queue_rotate({.qkv = qkv,
                .bias = w.qkv_bias,
                .query_norm = w.query_norm,
                .key_norm = w.key_norm,
                .cosines = use_rope ? cosines_.data() : nullptr,
                .sines = sines_.data(),
                .positions = positions,
                .num_rows = num_tokens,
                .num_heads = static_cast<int32_t>(config_.num_heads),
                .num_kv_heads = static_cast<int32_t>(config_.num_kv_heads),
                .head_dim = static_cast<int32_t>(config_.head_dim),
                .num_pairs = static_cast<int32_t>(config_.rope.num_dims / 2),
                .interleaved = config_.rope.style == RopeStyle::kInterleaved,
                .epsilon = config_.norm_epsilon,
                .dtype = dtype_},
               stream);
  attention_.queue(layer, qkv, out, num_tokens, stream);
  products_.queue(w.attention_out, out, num_tokens, residual, ProductOut::kAddFloat, stream);
  if (w.attention_out_bias != nullptr)
    queue_add_bias(w.attention_out_bias, residual, num_tokens, config_.hidden_size, stream);
}

void CudaDecoder::queue_ffn_part(int layer, int64_t num_tokens, cudaStream_t stream) {
  const DeviceLayer& w = weights_->layers()[static_cast<size_t>(layer)];
  uint16_t* const gate_up = activations_.wide.data();
  uint16_t* const gated = activations_.narrow.data();
  queue_norm(norm_of(w.ffn_norm, num_tokens), stream);
  products_.queue(w.gate_up, activations_.normed.data(), num_tokens, gate_up, ProductOut::kTyped,
                  stream);
  queue_silu_times(gate_up, gated, num_tokens, config_.ffn_size, dtype_, stream);
  products_.queue(w.down, gated, num_tokens, activations_.residual.data(), ProductOut::kAddFloat,
                  stream);
}

void CudaDecoder::queue_draws(const StepShape& shape, const StepLayout& layout, std::byte* arrays,
                              const DrawBuffers& buffers, cudaStream_t stream) {
  if (shape.num_draws == 0) return;
  NormRows norm = norm_of(weights_->output_norm(), shape.num_draws);
  norm.rows = reinterpret_cast<const int32_t*>(arrays + layout.draw_rows);
  queue_norm(norm, stream);
  products_.queue(weights_->output(), activations_.normed.data(), shape.num_draws,
                  buffers.logits.data(), ProductOut::kFloat, stream);
  queue_draw({.logits = buffers.logits.data(),
              .stride = weights_->output().num_outputs,
              .vocab_size = num_drawable_,
              .draws = reinterpret_cast<const DrawParams*>(arrays + layout.draws),
              .seen = buffers.seen.data(),
              .out = buffers.drawn.data(),
              .num_draws = shape.num_draws},
             stream);
}

void CudaDecoder::queue_step(const StepShape& shape, const StepLayout& layout, std::byte* arrays,
                             const DrawBuffers& buffers, cudaStream_t stream) {
  const auto ints = [&](int64_t at) { return reinterpret_cast<const int32_t*>(arrays + at); };
  const std::vector<DeviceLayer>& layers = weights_->layers();
  attention_.prepare(shape, layout, arrays, stream);
  queue_embed_norm({.tokens = ints(layout.tokens),
                    .embedding = weights_->embedding().rows,
                    .residual = activations_.residual.data()},
                   norm_of(layers.front().attention_norm, shape.num_tokens), stream);
  for (size_t layer = 0; layer < layers.size(); layer++) {
    if (layer > 0) queue_norm(norm_of(layers[layer].attention_norm, shape.num_tokens), stream);
    queue_attention_part(static_cast<int>(layer), shape.num_tokens, ints(layout.positions), stream);
    queue_ffn_part(static_cast<int>(layer), shape.num_tokens, stream);
  }
  queue_draws(shape, layout, arrays, buffers, stream);
}

}  // namespace pagoda::engine::cuda
