#include "engine/model/decoder.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/formats/quants.h"
#include "engine/math/rope.h"
#include "engine/model/attention.h"

namespace pagoda::engine {
namespace {

constexpr int64_t kRowsPerItem = 8;  // changes speed, never results

DecoderOptions resolve(const DecoderOptions& given, const ModelConfig& config, int num_threads) {
  DecoderOptions options = resolve_options(given, config);
  options.num_threads = num_threads;
  return options;
}

// Rows of activations of one step. `wide` holds queries, keys and values, then gate and up.
struct Activations {
  Activations(const ModelConfig& config, int64_t max_tokens, int64_t num_ranks)
      : residual(max_tokens * config.hidden_size),
        normed(max_tokens * config.hidden_size),
        wide(max_tokens * std::max((config.num_heads + 2 * config.num_kv_heads) * config.head_dim,
                                   2 * config.ffn_size)),
        narrow(max_tokens * std::max(config.num_heads * config.head_dim, config.ffn_size)),
        partial(num_ranks > 1 ? max_tokens * config.hidden_size : 0),
        gathered(num_ranks > 1 ? num_ranks * max_tokens * config.hidden_size : 0) {}

  Array<float> residual;  // [max_tokens, hidden_size]
  Array<float> normed;    // [max_tokens, hidden_size]
  Array<float> wide;      // [max_tokens, queries, keys and values | gate and up]
  Array<float> narrow;    // [max_tokens, attention's output | gated]
  Array<float> partial;   // [max_tokens, hidden_size] a product of one of several ranks
  Array<float> gathered;  // [num_ranks, max_tokens, hidden_size] those of all
};

}  // namespace

DecoderOptions resolve_options(DecoderOptions options, const ModelConfig& config) {
  const auto context = static_cast<int32_t>(config.context_length);
  if (options.max_seq_len == 0) options.max_seq_len = context;
  require(options.max_seq_len > 0 && options.max_seq_len <= context, ErrorKind::kInvalidArgument,
          "a sequence of ", options.max_seq_len, " tokens was asked for, the model's context is ",
          context);
  return options;
}

struct Decoder::State {
  State(const ModelFile& file, const DecoderOptions& given, const Progress& progress)
      : config(config_of_rank(file.config(), given.tensor_parallel)),
        threads(given.num_threads),
        options(resolve(given, config, threads.size())),
        products(threads, {.isa = given.product_isa, .expand = given.expand_weights}),
        weights(load_weights(file, given.tensor_parallel, products, progress)),
        rope(config.rope, options.max_seq_len),
        attention(config, options, threads),
        activations(config, options.max_tokens, options.tensor_parallel.num_ranks()),
        logits(options.max_reqs * config.vocab_size) {}

  // Runs body(row) for every row of the step, by few threads if there are few.
  template <class Body>
  void for_rows(int64_t num_rows, const Body& body) {
    const int64_t items = (num_rows + kRowsPerItem - 1) / kRowsPerItem;
    threads.for_each(items, [&](int64_t item, int) {
      const int64_t end = std::min(num_rows, (item + 1) * kRowsPerItem);
      for (int64_t row = item * kRowsPerItem; row < end; row++) body(row);
    });
  }

  void embed(std::span<const int32_t> tokens);
  void find_positions(const StepBatch& batch);
  void norm_rows(const std::vector<float>& weight, int64_t num_tokens);
  void rotate_rows(int layer, int64_t num_tokens);
  void attention_part(int layer, int64_t num_tokens);
  void ffn_part(int layer, int64_t num_tokens);
  void add_product(const Matrix& matrix, const std::vector<float>& bias, int64_t num_tokens);
  std::span<float> logits_of(std::span<const int32_t> rows);

  const ModelConfig config;
  Threads threads;
  const DecoderOptions options;
  Products products;
  const Weights weights;
  const Rope rope;
  Attention attention;
  Activations activations;
  std::vector<int32_t> positions;  // [num_tokens]
  Array<float> logits;             // [max_reqs, vocab_size]
};

void Decoder::State::embed(std::span<const int32_t> tokens) {
  for (int32_t token : tokens)
    require(token >= 0 && token < config.vocab_size, ErrorKind::kInvalidArgument, "token id ",
            token, " is outside the vocabulary of ", config.vocab_size);
  const int64_t size = config.hidden_size;
  for_rows(static_cast<int64_t>(tokens.size()), [&](int64_t row) {
    dequantize_rows(weights.embedding, tokens[static_cast<size_t>(row)], 1,
                    std::span(activations.residual.data() + row * size, static_cast<size_t>(size)));
  });
}

void Decoder::State::find_positions(const StepBatch& batch) {
  positions.assign(batch.tokens.size(), 0);
  for (size_t request = 0; request < batch.seq_lens.size(); request++) {
    const int32_t end = batch.query_start_loc[request + 1];
    for (int32_t row = batch.query_start_loc[request]; row < end; row++)
      positions[static_cast<size_t>(row)] = batch.seq_lens[request] - (end - row);
  }
}

void Decoder::State::norm_rows(const std::vector<float>& weight, int64_t num_tokens) {
  const int64_t size = config.hidden_size;
  for_rows(num_tokens, [&](int64_t row) {
    products.kernels().rms_norm(activations.residual.data() + row * size, weight.data(),
                                config.norm_epsilon, size, activations.normed.data() + row * size);
  });
}

void Decoder::State::rotate_rows(int layer, int64_t num_tokens) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  const bool use_rope = config.layers[static_cast<size_t>(layer)].use_rope;
  const int64_t dim = config.head_dim;
  const int64_t rotated = config.num_heads + config.num_kv_heads;
  for_rows(num_tokens, [&](int64_t row) {
    float* const heads = activations.wide.data() + row * (rotated + config.num_kv_heads) * dim;
    if (config.qk_norm)
      for (int64_t head = 0; head < rotated; head++) {
        const std::vector<float>& norm = head < config.num_heads ? w.query_norm : w.key_norm;
        products.kernels().rms_norm(heads + head * dim, norm.data(), config.norm_epsilon, dim,
                                    heads + head * dim);
      }
    if (use_rope)
      rope.rotate(heads, rotated, dim, positions[static_cast<size_t>(row)], products.kernels());
  });
}

// residual += narrow * matrix + bias, summed over the ranks in their order, so that all of them go
// on with the same bits.
void Decoder::State::add_product(const Matrix& matrix, const std::vector<float>& bias,
                                 int64_t num_tokens) {
  const float* const bias_or_null = bias.empty() ? nullptr : bias.data();
  const pagoda_comm* const comm = options.tensor_parallel.comm.get();
  if (options.tensor_parallel.num_ranks() == 1) {
    matrix.multiply(activations.narrow.data(), num_tokens, activations.residual.data(),
                    {.bias = bias_or_null, .add_to_out = true});
    return;
  }
  const int64_t size = num_tokens * config.hidden_size;
  float* const sum = activations.partial.data();
  matrix.multiply(activations.narrow.data(), num_tokens, sum, {.bias = bias_or_null});
  check(pagoda_comm_all_reduce(comm, sum, activations.gathered.data(), static_cast<size_t>(size),
                               nullptr));
  for (int64_t i = 0; i < size; i++) activations.residual.data()[i] += sum[i];
}

void Decoder::State::attention_part(int layer, int64_t num_tokens) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  const auto or_null = [](const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); };
  norm_rows(w.attention_norm, num_tokens);
  w.qkv->multiply(activations.normed.data(), num_tokens, activations.wide.data(),
                  {.bias = or_null(w.qkv_bias)});
  rotate_rows(layer, num_tokens);
  attention.attend(layer, activations.wide.data(), num_tokens, activations.narrow.data());
  add_product(*w.attention_out, w.attention_out_bias, num_tokens);
}

void Decoder::State::ffn_part(int layer, int64_t num_tokens) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  const int64_t size = config.ffn_size;
  norm_rows(w.ffn_norm, num_tokens);
  w.gate_up->multiply(activations.normed.data(), num_tokens, activations.wide.data());
  for_rows(num_tokens, [&](int64_t row) {
    const float* const gate = activations.wide.data() + row * 2 * size;
    products.kernels().silu_times(gate, gate + size, size, activations.narrow.data() + row * size);
  });
  add_product(*w.down, {}, num_tokens);
}

std::span<float> Decoder::State::logits_of(std::span<const int32_t> rows) {
  const int64_t size = config.hidden_size;
  const auto num_rows = static_cast<int64_t>(rows.size());
  if (logits.size() < num_rows * config.vocab_size)
    logits = Array<float>(num_rows * config.vocab_size);
  for (int64_t i = 0; i < num_rows; i++)
    products.kernels().rms_norm(activations.residual.data() + rows[static_cast<size_t>(i)] * size,
                                weights.output_norm.data(), config.norm_epsilon, size,
                                activations.normed.data() + i * size);
  weights.output->multiply(activations.normed.data(), num_rows, logits.data());
  return {logits.data(), static_cast<size_t>(num_rows * config.vocab_size)};
}

Decoder::Decoder(const ModelFile& file, const DecoderOptions& options, const Progress& progress)
    : state_(std::make_unique<State>(file, options, progress)) {}
Decoder::~Decoder() = default;

const ModelConfig& Decoder::config() const {
  return state_->config;
}
const DecoderOptions& Decoder::options() const {
  return state_->options;
}
const std::vector<LayerGroup>& Decoder::groups() const {
  return state_->attention.groups();
}
std::string Decoder::describe() const {
  return state_->attention.describe();
}
const KeyReads& Decoder::key_reads() const {
  return state_->attention.key_reads();
}
std::string Decoder::mask_picture() const {
  return state_->attention.mask_picture();
}
Threads& Decoder::threads() {
  return state_->threads;
}

std::span<float> Decoder::forward(const StepBatch& batch) {
  const auto num_tokens = static_cast<int64_t>(batch.tokens.size());
  require(num_tokens <= state_->options.max_tokens, ErrorKind::kInvalidArgument, "a step of ",
          num_tokens, " tokens, the decoder was made for ", state_->options.max_tokens);
  state_->embed(batch.tokens);
  state_->find_positions(batch);
  state_->attention.prepare(batch);
  for (int layer = 0; layer < static_cast<int>(state_->config.num_layers); layer++) {
    state_->attention_part(layer, num_tokens);
    state_->ffn_part(layer, num_tokens);
  }
  return state_->logits_of(batch.logit_rows);
}

}  // namespace pagoda::engine
