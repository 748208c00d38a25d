#include "engine/cuda/device_weights.h"

#include <algorithm>
#include <string>

#include "engine/formats/quants.h"
#include "engine/math/convert.h"

namespace pagoda::engine::cuda {
namespace {

constexpr int64_t kRowsPerItem = 64;  // changes speed, never results

}  // namespace

class DeviceWeights::Loader {
 public:
  Loader(DeviceWeights& weights, const ModelFile& file, pagoda_dtype dtype, Threads& threads,
         const Progress& progress)
      : weights_(weights),
        file_(file),
        dtype_(dtype),
        threads_(threads),
        progress_(progress),
        total_(file.tensor_bytes()) {}

  // Vectors one behind the other; null unless `present`.
  const float* vector(const std::vector<std::string>& names, bool present = true) {
    if (!present) return nullptr;
    std::vector<float> values;
    for (const std::string& name : names) {
      const TensorView view = file_.tensor(name);
      const size_t before = values.size();
      values.resize(before + static_cast<size_t>(view.num_elements()));
      dequantize(view.type, view.bytes, std::span(values).subspan(before));
      count(view);
    }
    weights_.vectors_.push_back(to_device(std::span<const float>(values)));
    return weights_.vectors_.back().data();
  }

  // Matrices over the same input, one above the other.
  DeviceMatrix matrix(const std::vector<std::string>& names) {
    DeviceMatrix matrix;
    for (const std::string& name : names) {
      const TensorView view = file_.tensor(name);
      matrix.num_outputs += view.num_rows();
      matrix.num_inputs = view.row_size();
    }
    DeviceArray<uint16_t> rows(matrix.num_outputs * matrix.num_inputs);
    matrix.rows = rows.data();
    int64_t first = 0;
    for (const std::string& name : names) {
      const TensorView view = file_.tensor(name);
      upload(view, rows.data() + first);
      first += view.num_elements();
      count(view);
    }
    weights_.matrices_.push_back(std::move(rows));
    return matrix;
  }

 private:
  // to: device [view.num_elements()]
  void upload(const TensorView& view, uint16_t* to) {
    const int64_t num_rows = view.num_rows(), size = view.row_size();
    const auto convert = dtype_ == PAGODA_F16 ? floats_to_halves : floats_to_bfloats;
    typed_.resize(static_cast<size_t>(num_rows * size));
    threads_.for_each((num_rows + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
      const int64_t first = item * kRowsPerItem;
      const int64_t count = std::min(kRowsPerItem, num_rows - first);
      std::vector<float> floats(static_cast<size_t>(count * size));
      dequantize_rows(view, first, count, floats);
      convert(floats.data(), count * size, typed_.data() + first * size);
    });
    check_cuda(
        cudaMemcpy(to, typed_.data(), typed_.size() * sizeof(uint16_t), cudaMemcpyHostToDevice),
        "copying weights to the device");
  }

  void count(const TensorView& view) {
    done_ += static_cast<int64_t>(view.bytes.size());
    if (progress_) progress_(static_cast<double>(done_) / static_cast<double>(total_));
  }

  DeviceWeights& weights_;
  const ModelFile& file_;
  const pagoda_dtype dtype_;
  Threads& threads_;
  const Progress& progress_;
  std::vector<uint16_t> typed_;  // of the matrix under way
  int64_t total_, done_ = 0;     // bytes
};

DeviceWeights::DeviceWeights(const ModelFile& file, pagoda_dtype dtype, Threads& threads,
                             const Progress& progress) {
  Loader load(*this, file, dtype, threads, progress);
  const ModelConfig& config = file.config();
  embedding_ = load.matrix({"token_embd.weight"});
  for (int64_t i = 0; i < config.num_layers; i++) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    layers_.push_back(
        {.attention_norm = load.vector({layer + "attn_norm.weight"}),
         .qkv = load.matrix(
             {layer + "attn_q.weight", layer + "attn_k.weight", layer + "attn_v.weight"}),
         .qkv_bias =
             load.vector({layer + "attn_q.bias", layer + "attn_k.bias", layer + "attn_v.bias"},
                         config.qkv_bias),
         .query_norm = load.vector({layer + "attn_q_norm.weight"}, config.qk_norm),
         .key_norm = load.vector({layer + "attn_k_norm.weight"}, config.qk_norm),
         .attention_out = load.matrix({layer + "attn_output.weight"}),
         .attention_out_bias = load.vector({layer + "attn_output.bias"}, config.output_bias),
         .ffn_norm = load.vector({layer + "ffn_norm.weight"}),
         .gate_up = load.matrix({layer + "ffn_gate.weight", layer + "ffn_up.weight"}),
         .down = load.matrix({layer + "ffn_down.weight"})});
  }
  output_norm_ = load.vector({"output_norm.weight"});
  output_ = config.tied_embeddings ? embedding_ : load.matrix({"output.weight"});
}

}  // namespace pagoda::engine::cuda
