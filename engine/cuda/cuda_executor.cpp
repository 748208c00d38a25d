// Steps on the device: their arrays go there in one copy, a captured graph runs, and the drawn
// tokens come back. A graph serves all steps of its padded sizes; sizes that occur once run
// without.
#include "engine/cuda/cuda_executor.h"

#include <algorithm>
#include <map>

#include "engine/cuda/cuda_decoder.h"
#include "engine/error.h"

namespace pagoda::engine {
namespace cuda {
namespace {

constexpr size_t kMaxGraphs = 128;

class Graph {
 public:
  // Captures what body queues on the stream.
  template <class Body>
  Graph(cudaStream_t stream, const Body& body) {
    cudaGraph_t captured = nullptr;
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
    try {
      body();
    } catch (...) {
      cudaStreamEndCapture(stream, &captured);
      if (captured != nullptr) cudaGraphDestroy(captured);
      throw;
    }
    check_cuda(cudaStreamEndCapture(stream, &captured), "capturing a step");
    const cudaError_t code = cudaGraphInstantiate(&graph_, captured, 0);
    cudaGraphDestroy(captured);
    check_cuda(code, "making a graph of a step");
  }
  ~Graph() { cudaGraphExecDestroy(graph_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(cudaStream_t stream) const {
    check_cuda(cudaGraphLaunch(graph_, stream), "launching a step");
  }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

void require_device() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  require(code == cudaSuccess && count > 0, ErrorKind::kUnsupported, "there is no CUDA device (",
          code == cudaSuccess ? "the driver reports none" : cudaGetErrorString(code),
          "); leave the device cpu");
}

// What this executor computes, or a sentence.
void require_served(const ModelConfig& config, const DecoderOptions& options) {
  const auto refuse_if = [](bool is, const auto&... parts) {
    require(!is, ErrorKind::kUnsupported, parts...);
  };
  refuse_if(options.dtype != PAGODA_BF16 && options.dtype != PAGODA_F16,
            "the device computes with weights and a cache of f16 or bf16; choose one (--dtype "
            "bf16)");
  refuse_if(!options.mask.text.empty(),
            "masks of expressions are built on the host; the device does not read them, compute "
            "on the cpu");
  refuse_if(options.context_parallel.comm != nullptr || options.tensor_parallel.comm != nullptr,
            "the device computes a model by itself; several processes compute on the cpu");
  refuse_if(options.backend != "cpu" && options.backend != "cuda",
            "attention on the device is the "
            "cuda backend's, not \"",
            options.backend, "\"; leave --backend out");
  refuse_if(!options.product_isa.empty(),
            "products on the device have no instruction set to "
            "choose; leave --product-isa out");
  const auto require_eights = [](const char* name, int64_t size) {
    require(size % 8 == 0, ErrorKind::kUnsupported, name, " is ", size,
            "; the device computes multiples of 8");
  };
  require_eights("the hidden size", config.hidden_size);
  require_eights("the size of the feed-forward network", config.ffn_size);
  require(config.vocab_size < int64_t{1} << kTokenBits, ErrorKind::kLimit, "a vocabulary of ",
          config.vocab_size, " tokens; the device draws from at most ",
          (int64_t{1} << kTokenBits) - 1);
}

DecoderOptions resolve(const ModelConfig& config, const DecoderOptions& given) {
  require_device();
  require_served(config, given);
  DecoderOptions options = resolve_options(given, config);
  options.backend = "cuda";
  return options;
}

class CudaExecutor final : public Executor {
 public:
  CudaExecutor(const ModelFile& file, const DecoderOptions& given, int32_t num_drawable,
               const Progress& progress)
      : config_(file.config()),
        options_(resolve(config_, given)),
        num_drawable_(num_drawable),
        decoder_(file, config_, options_, num_drawable, progress),
        sampler_(num_drawable) {
    const StepShape largest = {options_.max_reqs, options_.max_tokens, 0, options_.max_tokens};
    const int64_t size = layout_of(largest).size;
    arrays_ = DeviceArray<std::byte>(size);
    host_arrays_ = PinnedArray<std::byte>(size);
    reserve_draws(options_.max_reqs);
  }

  const ModelConfig& config() const override { return config_; }
  const DecoderOptions& options() const override { return options_; }
  const std::vector<LayerGroup>& groups() const override { return decoder_.attention().groups(); }
  std::string describe() const override { return decoder_.attention().describe(); }
  KeyReads key_reads() const override { return {}; }
  std::string mask_picture() const override { return ""; }

  std::span<const Sampled> step(const StepBatch& batch, std::span<const Draw> draws) override;

 private:
  struct Entry {
    bool has_run = false;
    std::unique_ptr<Graph> graph;
  };

  StepLayout layout_of(const StepShape& shape) const {
    const int64_t width = (options_.max_seq_len + options_.page_size - 1) / options_.page_size;
    return {shape, static_cast<int64_t>(groups().size()), width};
  }
  int64_t seen_words() const { return (num_drawable_ + 31) / 32; }

  void check(const StepBatch& batch) const;
  void reserve_draws(int32_t num_draws);
  void upload_seen(std::span<const Draw> draws);
  void queue(const StepShape& shape, const StepLayout& layout);
  void run(const StepShape& shape, const StepLayout& layout);
  void take_drawn(std::span<const Draw> draws);
  Sampled with_logprobs(size_t row, int32_t token, const SamplingOptions& options);

  const ModelConfig config_;
  const DecoderOptions options_;
  const int32_t num_drawable_;
  CudaDecoder decoder_;
  Sampler sampler_;  // for probabilities of tokens that the device has drawn
  OwnedStream stream_;
  DeviceArray<std::byte> arrays_;  // of a step
  PinnedArray<std::byte> host_arrays_;
  DrawBuffers draws_;
  PinnedArray<uint32_t> host_seen_;  // [capacity, seen_words]
  PinnedArray<DrawnToken> host_drawn_;
  std::map<StepShape, Entry> entries_;
  std::vector<Sampled> sampled_;  // of this step
  std::vector<float> logits_;     // [num_drawable] of one row
};

void CudaExecutor::check(const StepBatch& batch) const {
  require(batch.tokens.size() <= static_cast<size_t>(options_.max_tokens),
          ErrorKind::kInvalidArgument, "a step of ", batch.tokens.size(),
          " tokens, the executor was made for ", options_.max_tokens);
  require(batch.seq_lens.size() <= static_cast<size_t>(options_.max_reqs),
          ErrorKind::kInvalidArgument, "a step of ", batch.seq_lens.size(),
          " requests, the executor was made for ", options_.max_reqs);
  for (int32_t token : batch.tokens)
    require(token >= 0 && token < config_.vocab_size, ErrorKind::kInvalidArgument, "token id ",
            token, " is outside the vocabulary of ", config_.vocab_size);
}

// Graphs keep the addresses of the buffers, so they go with them.
void CudaExecutor::reserve_draws(int32_t num_draws) {
  if (num_draws <= draws_.capacity) return;
  entries_.clear();
  draws_ = DrawBuffers(num_draws, config_.vocab_size, num_drawable_);
  host_seen_ = PinnedArray<uint32_t>(num_draws * seen_words());
  host_drawn_ = PinnedArray<DrawnToken>(num_draws);
}

// The rows of draws with a penalty; no other row is read.
void CudaExecutor::upload_seen(std::span<const Draw> draws) {
  const auto words = static_cast<size_t>(seen_words());
  for (size_t row = 0; row < draws.size(); row++) {
    if (draws[row].options->repetition_penalty == 1.0f) continue;
    uint32_t* const bits = host_seen_.data() + row * words;
    write_seen(draws[row], num_drawable_, {bits, words});
    check_cuda(cudaMemcpyAsync(draws_.seen.data() + row * words, bits, words * sizeof(uint32_t),
                               cudaMemcpyHostToDevice, stream_.get()),
               "copying seen tokens");
  }
}

void CudaExecutor::queue(const StepShape& shape, const StepLayout& layout) {
  check_cuda(cudaMemcpyAsync(arrays_.data(), host_arrays_.data(), static_cast<size_t>(layout.size),
                             cudaMemcpyHostToDevice, stream_.get()),
             "copying a step's arrays");
  decoder_.queue_step(shape, layout, arrays_.data(), draws_, stream_.get());
  if (shape.num_draws == 0) return;
  check_cuda(cudaMemcpyAsync(host_drawn_.data(), draws_.drawn.data(),
                             static_cast<size_t>(shape.num_draws) * sizeof(DrawnToken),
                             cudaMemcpyDeviceToHost, stream_.get()),
             "copying drawn tokens");
}

// The first step of its sizes runs as it is queued; only then are all kernels loaded and all
// products chosen, so that the next can be captured.
void CudaExecutor::run(const StepShape& shape, const StepLayout& layout) {
  if (entries_.size() >= kMaxGraphs && !entries_.contains(shape)) entries_.clear();
  Entry& entry = entries_[shape];
  if (!entry.has_run) {
    queue(shape, layout);
    entry.has_run = true;
    return;
  }
  if (!entry.graph)
    entry.graph = std::make_unique<Graph>(stream_.get(), [&] { queue(shape, layout); });
  entry.graph->launch(stream_.get());
}

Sampled CudaExecutor::with_logprobs(size_t row, int32_t token, const SamplingOptions& options) {
  logits_.resize(static_cast<size_t>(num_drawable_));
  check_cuda(cudaMemcpy(logits_.data(),
                        draws_.logits.data() + static_cast<int64_t>(row) * config_.vocab_size,
                        logits_.size() * sizeof(float), cudaMemcpyDeviceToHost),
             "copying logits");
  return sampler_.with_logprobs(logits_, token, options);
}

void CudaExecutor::take_drawn(std::span<const Draw> draws) {
  for (size_t row = 0; row < draws.size(); row++) {
    const DrawnToken drawn = host_drawn_.data()[row];
    require(drawn.token >= 0, ErrorKind::kInvalidArgument, "the largest logit is ", drawn.logit,
            "; the weights, or the file they came from, are damaged");
    const SamplingOptions& options = *draws[row].options;
    sampled_.push_back(options.num_logprobs < 0
                           ? Sampled{.token = drawn.token, .logprob = 0, .most = {}}
                           : with_logprobs(row, drawn.token, options));
  }
}

std::span<const Sampled> CudaExecutor::step(const StepBatch& batch, std::span<const Draw> draws) {
  check(batch);
  sampled_.clear();
  const StepShape shape = padded_shape(batch, options_);
  const StepLayout layout = layout_of(shape);
  stream_.wait();  // the step before, if nothing was drawn in it, may still read the arrays
  reserve_draws(shape.num_draws);
  write_step(shape, layout, batch, draws, host_arrays_.data());
  upload_seen(draws);
  run(shape, layout);
  if (draws.empty()) return {};
  stream_.wait();
  take_drawn(draws);
  return sampled_;
}

}  // namespace
}  // namespace cuda

std::unique_ptr<Executor> make_cuda_executor(const ModelFile& file, const DecoderOptions& options,
                                             int32_t num_drawable, const Progress& progress) {
  return std::make_unique<cuda::CudaExecutor>(file, options, num_drawable, progress);
}

}  // namespace pagoda::engine
