#include "engine/model/decoder.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/formats/quants.h"
#include "engine/math/rope.h"
#include "engine/model/attention.h"
#include "engine/model/weights.h"

namespace pagoda::engine {
namespace {

// These numbers change speed, never results.
constexpr int64_t kRowsPerItem = 8;  // of small operations that threads share
constexpr int64_t kAloneRows = 32;   // for each thread: with fewer, all work on the same rows
constexpr int64_t kTileRows = 16;    // that are multiplied at once
constexpr int64_t kBlockRows = 64;   // whose activations stay in a core's cache, at most
constexpr int64_t kStrideBreak =
    16;  // floats: keeps rows a power of two apart out of one cache set

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return divide_up(a, b) * b;
}

DecoderOptions resolve(const DecoderOptions& given, const ModelConfig& config, int num_threads) {
  DecoderOptions options = resolve_options(given, config);
  options.num_threads = num_threads;
  return options;
}

// Memory for the rows that one team works on.
struct Lane {
  Lane() = default;
  Lane(const ModelConfig& config, int64_t num_rows)
      : gate_up_stride(2 * config.ffn_size + kStrideBreak),
        normed(num_rows * config.hidden_size),
        wide(num_rows * std::max((config.num_heads + 2 * config.num_kv_heads) * config.head_dim,
                                 gate_up_stride)),
        narrow(num_rows * std::max(config.num_heads * config.head_dim, config.ffn_size)) {}

  int64_t gate_up_stride = 0;  // floats
  Array<float> normed;         // [num_rows, hidden_size]
  Array<float> wide;           // [num_rows, queries, keys and values | gate and up]
  Array<float> narrow;         // [num_rows, attention's output | gated]
};

// Rows of a step from product to product, and who computes them.
struct RowBlock {
  Team team;
  Lane& lane;
  int64_t first, count;
};

// Products of one of several ranks, and what is gathered of all.
struct RankSums {
  RankSums(const ModelConfig& config, int64_t max_tokens, int64_t num_ranks)
      : partial(num_ranks > 1 ? max_tokens * config.hidden_size : 0),
        gathered(num_ranks > 1 ? num_ranks * max_tokens * config.hidden_size : 0) {}

  Array<float> partial;   // [max_tokens, hidden_size]
  Array<float> gathered;  // [num_ranks, max_tokens, hidden_size]
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
        attention(config, options, products),
        residual(options.max_tokens * config.hidden_size),
        lanes(static_cast<size_t>(threads.size())),
        rank_sums(config, options.max_tokens, options.tensor_parallel.num_ranks()) {
    for (Lane& lane : lanes) lane = Lane(config, kBlockRows);
    lanes.front() =
        Lane(config, one_block() ? options.max_tokens : std::max(kBlockRows, rows_together() - 1));
  }

  // Whether the rows of a step stay together, however many they are.
  bool one_block() const {
    return options.tensor_parallel.num_ranks() > 1 || options.kv_statistics != nullptr;
  }
  // From here on threads have rows of their own.
  int64_t rows_together() const { return kAloneRows * threads.size(); }

  // As few blocks as the threads can share evenly.
  int64_t rows_of_block(int64_t num_rows) const {
    const int64_t rounds = divide_up(num_rows, kBlockRows * threads.size());
    return round_up(divide_up(num_rows, rounds * threads.size()), kTileRows);
  }

  // Calls body(block) for blocks of rows, on all threads, each with a block; or for all rows at
  // once, with all threads for it.
  template <class Body>
  void for_blocks(int64_t num_rows, const Body& body) {
    if (one_block() || num_rows < rows_together()) {
      body(RowBlock{.team = Team(threads), .lane = lanes.front(), .first = 0, .count = num_rows});
      return;
    }
    const int64_t size = rows_of_block(num_rows);
    threads.for_each(divide_up(num_rows, size), [&](int64_t item, int thread) {
      body(RowBlock{.team = Team::alone(thread),
                    .lane = lanes[static_cast<size_t>(thread)],
                    .first = item * size,
                    .count = std::min(size, num_rows - item * size)});
    });
  }

  // Runs body(row) for the rows of a block, counted from its first.
  template <class Body>
  void for_rows(const RowBlock& block, const Body& body) {
    block.team.for_each(divide_up(block.count, kRowsPerItem), [&](int64_t item, int) {
      const int64_t end = std::min(block.count, (item + 1) * kRowsPerItem);
      for (int64_t row = item * kRowsPerItem; row < end; row++) body(row);
    });
  }

  float* residual_of(const RowBlock& block) {
    return residual.data() + block.first * config.hidden_size;
  }

  void prepare_products(int64_t num_rows);
  void embed(std::span<const int32_t> tokens);
  void find_positions(const StepBatch& batch);
  void norm_rows(const std::vector<float>& weight, const RowBlock& block);
  void rotate_rows(int layer, const RowBlock& block);
  void attention_in(int layer, const RowBlock& block);
  void attention_out(int layer, const RowBlock& block);
  void ffn(int layer, const RowBlock& block);
  void add_product(const Matrix& matrix, const float* in, const std::vector<float>& bias,
                   const RowBlock& block);
  void compute_layers(int64_t num_tokens);
  std::span<float> logits_of(std::span<const int32_t> rows);

  const ModelConfig config;
  Threads threads;
  const DecoderOptions options;
  Products products;
  const Weights weights;
  const Rope rope;
  Attention attention;
  Array<float> residual;    // [max_tokens, hidden_size]
  std::vector<Lane> lanes;  // [threads]
  RankSums rank_sums;
  std::vector<int32_t> positions;     // [num_tokens]
  Array<float> logit_inputs, logits;  // [rows with logits, hidden_size], [..., vocab_size]
};

void Decoder::State::embed(std::span<const int32_t> tokens) {
  for (int32_t token : tokens)
    require(token >= 0 && token < config.vocab_size, ErrorKind::kInvalidArgument, "token id ",
            token, " is outside the vocabulary of ", config.vocab_size);
  const int64_t size = config.hidden_size;
  for_blocks(static_cast<int64_t>(tokens.size()), [&](const RowBlock& block) {
    for_rows(block, [&](int64_t row) {
      const auto token = tokens[static_cast<size_t>(block.first + row)];
      dequantize_rows(weights.embedding, token, 1,
                      std::span(residual_of(block) + row * size, static_cast<size_t>(size)));
    });
  });
}

// What could not be made ready while several threads multiply.
void Decoder::State::prepare_products(int64_t num_rows) {
  std::vector<int64_t> counts = {num_rows};
  if (!one_block() && num_rows >= rows_together()) {
    const int64_t size = rows_of_block(num_rows);
    counts = {size, (num_rows - 1) % size + 1};
  }
  for (const LayerWeights& layer : weights.layers)
    for (const auto* matrix : {&layer.qkv, &layer.attention_out, &layer.gate_up, &layer.down})
      for (int64_t count : counts) (*matrix)->prepare(count);
}

void Decoder::State::find_positions(const StepBatch& batch) {
  positions.assign(batch.tokens.size(), 0);
  for (size_t request = 0; request < batch.seq_lens.size(); request++) {
    const int32_t end = batch.query_start_loc[request + 1];
    for (int32_t row = batch.query_start_loc[request]; row < end; row++)
      positions[static_cast<size_t>(row)] = batch.seq_lens[request] - (end - row);
  }
}

void Decoder::State::norm_rows(const std::vector<float>& weight, const RowBlock& block) {
  const int64_t size = config.hidden_size;
  for_rows(block, [&](int64_t row) {
    products.kernels().rms_norm(residual_of(block) + row * size, weight.data(), config.norm_epsilon,
                                size, block.lane.normed.data() + row * size);
  });
}

void Decoder::State::rotate_rows(int layer, const RowBlock& block) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  const bool use_rope = config.layers[static_cast<size_t>(layer)].use_rope;
  const int64_t dim = config.head_dim;
  const int64_t rotated = config.num_heads + config.num_kv_heads;
  const int64_t row_size = (rotated + config.num_kv_heads) * dim;
  for_rows(block, [&](int64_t row) {
    float* const heads = block.lane.wide.data() + row * row_size;
    if (config.qk_norm)
      for (int64_t head = 0; head < rotated; head++) {
        const std::vector<float>& norm = head < config.num_heads ? w.query_norm : w.key_norm;
        products.kernels().rms_norm(heads + head * dim, norm.data(), config.norm_epsilon, dim,
                                    heads + head * dim);
      }
    const int64_t at = block.first + row;
    if (use_rope)
      rope.rotate(heads, rotated, dim, positions[static_cast<size_t>(at)], products.kernels());
    attention.put_rows(heads, at, 1);
  });
}

// residual += in * matrix + bias, summed over the ranks in their order, so that all of them go on
// with the same bits.
void Decoder::State::add_product(const Matrix& matrix, const float* in,
                                 const std::vector<float>& bias, const RowBlock& block) {
  const float* const bias_or_null = bias.empty() ? nullptr : bias.data();
  const pagoda_comm* const comm = options.tensor_parallel.comm.get();
  if (options.tensor_parallel.num_ranks() == 1) {
    matrix.multiply(block.team, in, block.count, residual_of(block),
                    {.bias = bias_or_null, .add_to_out = true});
    return;
  }
  const int64_t size = block.count * config.hidden_size;
  float* const sum = rank_sums.partial.data();
  matrix.multiply(block.team, in, block.count, sum, {.bias = bias_or_null});
  check(pagoda_comm_all_reduce(comm, sum, rank_sums.gathered.data(), static_cast<size_t>(size),
                               nullptr));
  for (int64_t i = 0; i < size; i++) residual.data()[i] += sum[i];
}

void Decoder::State::attention_in(int layer, const RowBlock& block) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  norm_rows(w.attention_norm, block);
  w.qkv->multiply(block.team, block.lane.normed.data(), block.count, block.lane.wide.data(),
                  {.bias = w.qkv_bias.empty() ? nullptr : w.qkv_bias.data()});
  rotate_rows(layer, block);
  if (one_block()) attention.observe(layer, block.lane.wide.data(), block.count);
}

void Decoder::State::attention_out(int layer, const RowBlock& block) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  const float* const out = attention.out_rows(block.first, block.count, block.lane.narrow.data());
  add_product(*w.attention_out, out, w.attention_out_bias, block);
}

void Decoder::State::ffn(int layer, const RowBlock& block) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  const int64_t size = config.ffn_size, stride = block.lane.gate_up_stride;
  norm_rows(w.ffn_norm, block);
  w.gate_up->multiply(block.team, block.lane.normed.data(), block.count, block.lane.wide.data(),
                      {.out_stride = stride});
  for_rows(block, [&](int64_t row) {
    const float* const gate = block.lane.wide.data() + row * stride;
    products.kernels().silu_times(gate, gate + size, size, block.lane.narrow.data() + row * size);
  });
  add_product(*w.down, block.lane.narrow.data(), {}, block);
}

// Between two attentions a row needs only itself, so threads meet once for each layer.
void Decoder::State::compute_layers(int64_t num_tokens) {
  prepare_products(num_tokens);
  const auto num_layers = static_cast<int>(config.num_layers);
  for_blocks(num_tokens, [&](const RowBlock& block) { attention_in(0, block); });
  for (int layer = 0; layer < num_layers; layer++) {
    attention.attend(layer, num_tokens);
    for_blocks(num_tokens, [&](const RowBlock& block) {
      attention_out(layer, block);
      ffn(layer, block);
      if (layer + 1 < num_layers) attention_in(layer + 1, block);
    });
  }
}

std::span<float> Decoder::State::logits_of(std::span<const int32_t> rows) {
  const int64_t size = config.hidden_size;
  const auto num_rows = static_cast<int64_t>(rows.size());
  if (logits.size() < num_rows * config.vocab_size) {
    logits = Array<float>(num_rows * config.vocab_size);
    logit_inputs = Array<float>(num_rows * size);
  }
  for (int64_t i = 0; i < num_rows; i++)
    products.kernels().rms_norm(residual.data() + rows[static_cast<size_t>(i)] * size,
                                weights.output_norm.data(), config.norm_epsilon, size,
                                logit_inputs.data() + i * size);
  weights.output->multiply(logit_inputs.data(), num_rows, logits.data());
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
  state_->compute_layers(num_tokens);
  return state_->logits_of(batch.logit_rows);
}

}  // namespace pagoda::engine
