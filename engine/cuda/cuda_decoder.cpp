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

// The norm of residual's rows, times a matrix.
void CudaDecoder::queue_normed(const Normed& normed, FewRowsOut few, ProductOut many, void* out,
                               cudaStream_t stream) {
  const float* const residual = activations_.residual.data();
  if (has_few_rows(normed.matrix, normed.num_rows, dtype_)) {
    queue_few_rows({.matrix = normed.matrix,
                    .num_rows = normed.num_rows,
                    .in = nullptr,
                    .residual = residual,
                    .rows = normed.rows,
                    .weight = normed.weight,
                    .epsilon = config_.norm_epsilon,
                    .out = out,
                    .kind = few,
                    .rotate = normed.rotate},
                   stream);
    return;
  }
  queue_norm({.residual = residual,
              .rows = normed.rows,
              .weight = normed.weight,
              .out = activations_.normed.data(),
              .num_rows = normed.num_rows,
              .size = config_.hidden_size,
              .epsilon = config_.norm_epsilon,
              .dtype = dtype_},
             stream);
  products_.queue(normed.matrix, activations_.normed.data(), normed.num_rows, out, many, stream);
}

// residual += narrow * matrix
void CudaDecoder::queue_added(const DeviceMatrix& matrix, int64_t num_rows, cudaStream_t stream) {
  const uint16_t* const in = activations_.narrow.data();
  float* const residual = activations_.residual.data();
  if (has_few_rows(matrix, num_rows, dtype_))
    queue_few_rows({.matrix = matrix,
                    .num_rows = num_rows,
                    .in = in,
                    .residual = nullptr,
                    .rows = nullptr,
                    .weight = nullptr,
                    .epsilon = 0,
                    .out = residual,
                    .kind = FewRowsOut::kAddFloat,
                    .rotate = {}},
                   stream);
  else
    products_.queue(matrix, in, num_rows, residual, ProductOut::kAddFloat, stream);
}

RotateHeads CudaDecoder::rotation_of(int layer, int64_t num_tokens,
                                     const int32_t* positions) const {
  const DeviceLayer& w = weights_->layers()[static_cast<size_t>(layer)];
  const bool use_rope = config_.layers[static_cast<size_t>(layer)].use_rope;
  return {.qkv = activations_.wide.data(),
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
          .dtype = dtype_};
}

void CudaDecoder::queue_attention_part(int layer, int64_t num_tokens, const int32_t* positions,
                                       cudaStream_t stream) {
  const DeviceLayer& w = weights_->layers()[static_cast<size_t>(layer)];
  const RotateHeads rotate = rotation_of(layer, num_tokens, positions);
  const bool at_once = has_few_rows(w.qkv, num_tokens, dtype_) && can_rotate(rotate);
  uint16_t* const qkv = activations_.wide.data();
  queue_normed({.matrix = w.qkv,
                .weight = w.attention_norm,
                .rows = nullptr,
                .num_rows = num_tokens,
                .rotate = rotate},
               at_once ? FewRowsOut::kRotated : FewRowsOut::kTyped, ProductOut::kTyped, qkv,
               stream);
  if (!at_once) queue_rotate(rotate, stream);
  attention_.queue(layer, qkv, activations_.narrow.data(), num_tokens, stream);
  queue_added(w.attention_out, num_tokens, stream);
  if (w.attention_out_bias != nullptr)
    queue_add_bias(w.attention_out_bias, activations_.residual.data(), num_tokens,
                   config_.hidden_size, stream);
}

void CudaDecoder::queue_ffn_part(int layer, int64_t num_tokens, cudaStream_t stream) {
  const DeviceLayer& w = weights_->layers()[static_cast<size_t>(layer)];
  uint16_t* const gate_up = activations_.wide.data();
  uint16_t* const gated = activations_.narrow.data();
  const bool few = has_few_rows(w.gate_up, num_tokens, dtype_);
  queue_normed({.matrix = w.gate_up,
                .weight = w.ffn_norm,
                .rows = nullptr,
                .num_rows = num_tokens,
                .rotate = {}},
               FewRowsOut::kSiluTimes, ProductOut::kTyped, few ? gated : gate_up, stream);
  if (!few) queue_silu_times(gate_up, gated, num_tokens, config_.ffn_size, dtype_, stream);
  queue_added(w.down, num_tokens, stream);
}

void CudaDecoder::queue_draws(const StepShape& shape, const StepLayout& layout, std::byte* arrays,
                              const DrawBuffers& buffers, cudaStream_t stream) {
  if (shape.num_draws == 0) return;
  const DeviceMatrix& output = weights_->output();
  queue_normed({.matrix = output,
                .weight = weights_->output_norm(),
                .rows = reinterpret_cast<const int32_t*>(arrays + layout.draw_rows),
                .num_rows = shape.num_draws,
                .rotate = {}},
               FewRowsOut::kFloat, ProductOut::kFloat, buffers.logits.data(), stream);
  queue_draw({.logits = buffers.logits.data(),
              .stride = output.num_outputs,
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
  attention_.prepare(shape, layout, arrays, stream);
  queue_embed({.tokens = ints(layout.tokens),
               .embedding = weights_->embedding().rows,
               .residual = activations_.residual.data(),
               .num_rows = shape.num_tokens,
               .size = config_.hidden_size,
               .dtype = dtype_},
              stream);
  for (int layer = 0; layer < static_cast<int>(config_.num_layers); layer++) {
    queue_attention_part(layer, shape.num_tokens, ints(layout.positions), stream);
    queue_ffn_part(layer, shape.num_tokens, stream);
  }
  queue_draws(shape, layout, arrays, buffers, stream);
}

}  // namespace pagoda::engine::cuda
