#include "engine/model/attention.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/model/lend_threads.h"

namespace pagoda::engine {
namespace {

std::unique_ptr<StepMask> make_mask(const ModelConfig& config, const DecoderOptions& options) {
  if (options.mask.text.empty()) return nullptr;
  MaskOptions mask;
  mask.num_heads = static_cast<int32_t>(config.num_heads);
  mask.num_kv_heads = static_cast<int32_t>(config.num_kv_heads);
  mask.max_reqs = options.max_reqs;
  mask.max_tokens = options.max_tokens;
  mask.max_seq_len = options.max_seq_len;
  if (const ContextParallel& ranks = options.context_parallel; ranks.comm) {
    mask.rank = ranks.comm->rank;
    mask.num_ranks = ranks.num_ranks();
    mask.shard_interleave = ranks.interleave;
  }
  return std::make_unique<StepMask>(options.mask, mask);
}

Context make_context(const DecoderOptions& options, Threads& threads) {
  ContextOptions context;
  context.backend = options.backend.c_str();
  context.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  lend_threads(threads, context);
  context.comm = options.context_parallel.comm.get();
  return Context(context);
}

}  // namespace

Spec layer_spec(const ModelConfig& config, const LayerGroup& group, const DecoderOptions& options) {
  Spec spec;
  spec.num_heads = static_cast<int32_t>(config.num_heads);
  spec.num_kv_heads = static_cast<int32_t>(config.num_kv_heads);
  spec.head_dim = static_cast<int32_t>(config.head_dim);
  spec.dtype = options.dtype;
  spec.kv_format = group.kv_format;
  spec.page_size = options.page_size;
  spec.causal = 1;
  spec.has_block_mask = options.mask.text.empty() ? 0 : 1;
  if (options.context_parallel.comm) {
    spec.shard = PAGODA_SHARD_KEYS_COPIES;
    spec.shard_interleave = options.context_parallel.interleave;
  }
  if (group.window > 0) {
    spec.has_window = 1;
    spec.window_left = group.window - 1;
    spec.window_right = -1;
  }
  return spec;
}

Attention::Attention(const ModelConfig& config, const DecoderOptions& options, Products& products)
    : config_(config),
      dtype_(options.dtype),
      page_size_(options.page_size),
      ranks_(options.context_parallel),
      kernels_(products.kernels()),
      statistics_(options.kv_statistics),
      groups_(group_layers(config, options.kv)),
      group_of_layer_(config.layers.size()),
      scales_(scales_of(config, options.kv)),
      memory_(static_cast<size_t>(
          cache_bytes(config, groups_, options.page_size, options.num_pages, options.dtype))),
      caches_(config, groups_, options.page_size, options.num_pages, options.dtype, memory_.data(),
              views_of(scales_)),
      context_(make_context(options, products.threads())),
      qkv_size_((config.num_heads + 2 * config.num_kv_heads) * config.head_dim),
      out_size_(config.num_heads * config.head_dim),
      qkv_(options.max_tokens * qkv_size_ * bytes_of(dtype_)),
      out_(options.max_tokens * out_size_ * bytes_of(dtype_)) {
  mask_ = make_mask(config, options);
  Limits limits;
  limits.max_reqs = options.max_reqs;
  limits.max_tokens = options.max_tokens;
  limits.max_seq_len = options.max_seq_len;
  limits.num_pages = options.num_pages;
  Tuning tuning;
  tuning.cascade = options.cascade;
  for (size_t i = 0; i < groups_.size(); i++) {
    plans_.emplace_back(context_, layer_spec(config, groups_[i], options), limits, tuning);
    workspaces_.emplace_back(static_cast<int64_t>(plans_.back().workspace_size()));
    for (int layer : groups_[i].layers)
      group_of_layer_[static_cast<size_t>(layer)] = static_cast<int>(i);
  }
}

std::string Attention::describe() const {
  std::string text;
  for (const Plan& plan : plans_) text += plan.describe();
  return text;
}

// Those of this rank's pages.
const int64_t* Attention::local_slots(const int64_t* slots, int64_t num_tokens) {
  if (!ranks_.comm) return slots;
  local_slots_.emplace_back(static_cast<size_t>(num_tokens));
  std::vector<int64_t>& local = local_slots_.back();
  check(pagoda_local_slots(ranks_.comm->rank, ranks_.num_ranks(), ranks_.interleave, page_size_,
                           slots, local.data(), static_cast<int32_t>(num_tokens)));
  return local.data();
}

void Attention::prepare(const StepBatch& step) {
  const pagoda_block_mask* block_mask = nullptr;
  local_slots_.clear();
  local_slots_.reserve(plans_.size());
  for (size_t i = 0; i < plans_.size(); i++) {
    Batch batch;
    batch.num_reqs = static_cast<int32_t>(step.seq_lens.size());
    batch.num_tokens = static_cast<int32_t>(step.tokens.size());
    batch.query_start_loc = step.query_start_loc.data();
    batch.seq_lens = step.seq_lens.data();
    batch.page_table = step.groups[i].page_table;
    batch.page_table_stride = step.groups[i].page_table_stride;
    batch.page_table_width = static_cast<int32_t>(step.groups[i].page_table_stride);
    batch.slot_mapping = local_slots(step.groups[i].slot_mapping, batch.num_tokens);
    // The same for every group: a mask knows positions, not pages.
    if (mask_ && i == 0) block_mask = &mask_->build(batch);
    batch.block_mask = block_mask;
    plans_[i].prepare(batch, workspaces_[i].data(), static_cast<size_t>(workspaces_[i].size()));
  }
  count_reads();
}

void Attention::count_reads() {
  int32_t cascade_reqs = 0;
  for (size_t i = 0; i < plans_.size(); i++) {
    const StepInfo info = plans_[i].step_info();
    const auto layers = static_cast<int64_t>(groups_[i].layers.size());
    reads_.bytes += info.key_bytes * layers;
    reads_.bytes_flat += info.key_bytes_flat * layers;
    cascade_reqs = std::max(cascade_reqs, info.cascade_reqs);
  }
  reads_.cascade_steps += cascade_reqs > 0 ? 1 : 0;
  reads_.max_cascade_reqs = std::max(reads_.max_cascade_reqs, cascade_reqs);
}

void Attention::put_rows(const float* qkv, int64_t first, int64_t count) {
  std::byte* const to = qkv_.data() + first * qkv_size_ * bytes_of(dtype_);
  const int64_t size = count * qkv_size_;
  if (dtype_ == PAGODA_F32)
    std::copy_n(qkv, size, reinterpret_cast<float*>(to));
  else if (dtype_ == PAGODA_F16)
    kernels_.to_halves(qkv, size, reinterpret_cast<uint16_t*>(to));
  else
    kernels_.to_bfloats(qkv, size, reinterpret_cast<uint16_t*>(to));
}

void Attention::observe(int layer, const float* qkv, int64_t num_tokens) {
  if (statistics_ == nullptr) return;
  const float* const keys = qkv + out_size_;
  statistics_->add(layer, keys, keys + config_.num_kv_heads * config_.head_dim, num_tokens,
                   qkv_size_);
}

void Attention::attend(int layer, int64_t num_tokens) {
  const int64_t dim = config_.head_dim;
  const int64_t heads = config_.num_heads;
  const int64_t kv_heads = config_.num_kv_heads;
  const auto part = [&](int64_t first_head, int64_t num_heads) {
    return Tensor(qkv_.data() + first_head * dim * bytes_of(dtype_), dtype_,
                  {num_tokens, num_heads, dim}, {qkv_size_, dim, 1});
  };
  const Layer caches = caches_.layer(layer);
  Plan& plan = plans_[static_cast<size_t>(group_of_layer_[static_cast<size_t>(layer)])];
  plan.update_cache(caches, part(heads, kv_heads), part(heads + kv_heads, kv_heads));
  plan.forward(caches, part(0, heads), Tensor(out_.data(), dtype_, {num_tokens, heads, dim}));
}

const float* Attention::out_rows(int64_t first, int64_t count, float* buffer) const {
  const std::byte* const from = out_.data() + first * out_size_ * bytes_of(dtype_);
  if (dtype_ == PAGODA_F32) return reinterpret_cast<const float*>(from);
  const auto convert = dtype_ == PAGODA_F16 ? kernels_.from_halves : kernels_.from_bfloats;
  convert(reinterpret_cast<const uint16_t*>(from), count * out_size_, buffer);
  return buffer;
}

}  // namespace pagoda::engine
