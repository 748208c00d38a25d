#include "engine/embed/embedder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/embed/bert_weights.h"
#include "engine/error.h"
#include "engine/formats/quants.h"
#include "engine/math/ops.h"
#include "engine/model/lend_threads.h"

namespace pagoda::engine {
namespace {

// Texts of one forward pass, one behind the other.
struct Pack {
  std::vector<TokenId> tokens;
  std::vector<int32_t> query_start_loc{0}, seq_lens;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
};

// Rows of activations of one pass.
struct Activations {
  Activations(const BertConfig& config, int64_t max_tokens)
      : hidden(max_tokens * config.hidden_size),
        wide(max_tokens * std::max(3 * config.hidden_size, config.ffn_size)),
        narrow(max_tokens * config.hidden_size) {}

  Array<float> hidden;  // [max_tokens, hidden_size]
  Array<float> wide;    // [max_tokens, queries, keys and values | ffn]
  Array<float> narrow;  // [max_tokens, hidden_size]
};

Context make_context(const EmbedderOptions& options, Threads& threads) {
  ContextOptions context;
  context.backend = options.backend.c_str();
  context.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  lend_threads(threads, context);
  return Context(context);
}

Plan make_plan(const Context& context, const BertConfig& config, int64_t max_step_tokens) {
  Spec spec;  // page_size 0: no cache; not causal, no window: all keys of the text
  spec.num_heads = spec.num_kv_heads = static_cast<int32_t>(config.num_heads);
  spec.head_dim = static_cast<int32_t>(config.head_dim());
  spec.dtype = PAGODA_F32;
  Limits limits;
  limits.max_reqs = limits.max_tokens = static_cast<int32_t>(max_step_tokens);
  limits.max_query_len = limits.max_seq_len = static_cast<int32_t>(config.max_tokens);
  return {context, spec, limits};
}

}  // namespace

struct Embedder::State {
  State(const std::filesystem::path& folder, const EmbedderOptions& options)
      : config(read_bert_config(folder)),
        tokenizer(Tokenizer::from_folder(folder)),
        file(SafetensorsFile::open_folder(folder)),
        threads(options.num_threads),
        products(threads),
        weights(load_bert_weights(file, config, products)),
        max_step_tokens(std::max<int64_t>(options.max_step_tokens, config.max_tokens)),
        context(make_context(options, threads)),
        plan(make_plan(context, config, max_step_tokens)),
        workspace(static_cast<int64_t>(plan.workspace_size())),
        activations(config, max_step_tokens) {}

  std::vector<TokenId> encode(const std::string& text, Embedding& embedding) const;
  void forward(const Pack& pack);
  void embed_tokens(const Pack& pack);
  void attention_part(const BertLayer& layer, int64_t num_tokens);
  void ffn_part(const BertLayer& layer, int64_t num_tokens);
  void add_and_norm(const BertNorm& norm, int64_t num_tokens);
  void pool(const Pack& pack, std::span<Embedding> embeddings) const;

  template <class Body>
  void for_rows(int64_t num_rows, const Body& body) {
    threads.for_each(num_rows, [&](int64_t row, int) { body(row); });
  }

  const BertConfig config;
  const Tokenizer tokenizer;
  const SafetensorsFile file;
  Threads threads;
  Products products;
  const BertWeights weights;
  const int64_t max_step_tokens;
  Context context;
  Plan plan;
  Array<std::byte> workspace;
  Activations activations;
};

// The special tokens stay when a text is cut.
std::vector<TokenId> Embedder::State::encode(const std::string& text, Embedding& embedding) const {
  std::vector<TokenId> tokens = tokenizer.encode(text);
  const std::vector<TokenId> empty = tokenizer.encode("");
  const auto limit = static_cast<size_t>(config.max_tokens);
  embedding.is_cut = tokens.size() > limit;
  if (embedding.is_cut) {
    tokens.resize(limit);
    if (!empty.empty()) tokens.back() = empty.back();
  }
  embedding.num_tokens = static_cast<int32_t>(tokens.size());
  for (TokenId token : tokens)
    require(token < config.vocab_size, ErrorKind::kMalformed, "the tokenizer gives token ", token,
            ", the model has ", config.vocab_size);
  require(!tokens.empty(), ErrorKind::kInvalidArgument,
          "a text without tokens has no embedding, and this tokenizer adds none");
  return tokens;
}

void Embedder::State::embed_tokens(const Pack& pack) {
  const int64_t size = config.hidden_size;
  threads.for_each(static_cast<int64_t>(pack.seq_lens.size()), [&](int64_t text, int) {
    const int64_t begin = pack.query_start_loc[static_cast<size_t>(text)];
    const int64_t end = pack.query_start_loc[static_cast<size_t>(text) + 1];
    for (int64_t row = begin; row < end; row++) {
      float* const out = activations.hidden.data() + row * size;
      dequantize_rows(weights.words, pack.tokens[static_cast<size_t>(row)], 1,
                      std::span(out, static_cast<size_t>(size)));
      const float* const position = weights.positions.data() + (row - begin) * size;
      for (int64_t i = 0; i < size; i++)
        out[i] += position[i] + weights.type[static_cast<size_t>(i)];
      layer_norm(out, weights.embedding_norm.weight.data(), weights.embedding_norm.bias.data(),
                 config.norm_epsilon, size, out);
    }
  });
}

// hidden = norm(hidden), after a product was added to it.
void Embedder::State::add_and_norm(const BertNorm& norm, int64_t num_tokens) {
  const int64_t size = config.hidden_size;
  for_rows(num_tokens, [&](int64_t row) {
    float* const hidden = activations.hidden.data() + row * size;
    layer_norm(hidden, norm.weight.data(), norm.bias.data(), config.norm_epsilon, size, hidden);
  });
}

void Embedder::State::attention_part(const BertLayer& layer, int64_t num_tokens) {
  const int64_t heads = config.num_heads, dim = config.head_dim(), row = 3 * config.hidden_size;
  layer.qkv.matrix->multiply(activations.hidden.data(), num_tokens, activations.wide.data(),
                             {.bias = layer.qkv.bias.data()});
  const auto part = [&](int64_t index) {
    return Tensor(activations.wide.data() + index * config.hidden_size, PAGODA_F32,
                  {num_tokens, heads, dim}, {row, dim, 1});
  };
  plan.forward({}, part(0), part(1), part(2),
               Tensor(activations.narrow.data(), PAGODA_F32, {num_tokens, heads, dim}));
  layer.attention_out.matrix->multiply(
      activations.narrow.data(), num_tokens, activations.hidden.data(),
      {.bias = layer.attention_out.bias.data(), .add_to_out = true});
  add_and_norm(layer.attention_norm, num_tokens);
}

void Embedder::State::ffn_part(const BertLayer& layer, int64_t num_tokens) {
  layer.up.matrix->multiply(activations.hidden.data(), num_tokens, activations.wide.data(),
                            {.bias = layer.up.bias.data()});
  for_rows(num_tokens, [&](int64_t row) {
    float* const inner = activations.wide.data() + row * config.ffn_size;
    gelu(inner, config.ffn_size, inner);
  });
  layer.down.matrix->multiply(activations.wide.data(), num_tokens, activations.hidden.data(),
                              {.bias = layer.down.bias.data(), .add_to_out = true});
  add_and_norm(layer.ffn_norm, num_tokens);
}

void Embedder::State::forward(const Pack& pack) {
  Batch batch;
  batch.num_reqs = static_cast<int32_t>(pack.seq_lens.size());
  batch.num_tokens = static_cast<int32_t>(pack.tokens.size());
  batch.query_start_loc = pack.query_start_loc.data();
  batch.seq_lens = pack.seq_lens.data();
  plan.prepare(batch, workspace.data(), static_cast<size_t>(workspace.size()));
  embed_tokens(pack);
  for (const BertLayer& layer : weights.layers) {
    attention_part(layer, pack.num_tokens());
    ffn_part(layer, pack.num_tokens());
  }
}

void Embedder::State::pool(const Pack& pack, std::span<Embedding> embeddings) const {
  const int64_t size = config.hidden_size;
  for (size_t text = 0; text < embeddings.size(); text++) {
    std::vector<double> sum(static_cast<size_t>(size));
    for (int64_t row = pack.query_start_loc[text]; row < pack.query_start_loc[text + 1]; row++)
      for (int64_t i = 0; i < size; i++)
        sum[static_cast<size_t>(i)] += activations.hidden.data()[row * size + i];
    const double square = std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0);
    // The mean and the sum have one direction, so the count of tokens falls out.
    const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
    for (double value : sum) embeddings[text].values.push_back(static_cast<float>(value * scale));
  }
}

Embedder::Embedder(const std::filesystem::path& folder, const EmbedderOptions& options)
    : state_(std::make_unique<State>(folder, options)) {}
Embedder::~Embedder() = default;

const Tokenizer& Embedder::tokenizer() const {
  return state_->tokenizer;
}
int64_t Embedder::hidden_size() const {
  return state_->config.hidden_size;
}
std::string Embedder::describe() const {
  return state_->plan.describe();
}

std::vector<Embedding> Embedder::embed(std::span<const std::string> texts) {
  std::vector<Embedding> embeddings(texts.size());
  Pack pack;
  size_t done = 0;
  const auto compute = [&](size_t end) {
    if (done == end) return;
    state_->forward(pack);
    state_->pool(pack, std::span(embeddings).subspan(done, end - done));
    pack = {};
    done = end;
  };
  for (size_t i = 0; i < texts.size(); i++) {
    const std::vector<TokenId> tokens = state_->encode(texts[i], embeddings[i]);
    const auto size = static_cast<int64_t>(tokens.size());
    if (pack.num_tokens() + size > state_->max_step_tokens) compute(i);
    pack.tokens.insert(pack.tokens.end(), tokens.begin(), tokens.end());
    pack.query_start_loc.push_back(static_cast<int32_t>(pack.num_tokens()));
    pack.seq_lens.push_back(static_cast<int32_t>(size));
  }
  compute(texts.size());
  return embeddings;
}

double similarity(const Embedding& a, const Embedding& b) {
  return std::inner_product(a.values.begin(), a.values.end(), b.values.begin(), 0.0);
}

}  // namespace pagoda::engine
