// Products of rows of activations with weight matrices by cuBLASLt.
#pragma once

#include <cuda_runtime_api.h>
#include <pagoda/pagoda.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>

#include "engine/cuda/cublas_library.h"
#include "engine/cuda/device_memory.h"

namespace pagoda::engine::cuda {

// A matrix on the device, as a model file has it.
struct DeviceMatrix {
  const void* rows = nullptr;  // typed [num_outputs, num_inputs]
  int64_t num_outputs = 0, num_inputs = 0;
};

// What becomes of a product.
enum class ProductOut : uint8_t {
  kTyped,     // written, in the type of the weights
  kFloat,     // written, float
  kAddFloat,  // added to float
};

class Products {
 public:
  // dtype: F16 or BF16, of weights and activations. Sums are float.
  explicit Products(pagoda_dtype dtype);

  // out[i] = in[i] * matrix, on the stream. The first call with a number of rows looks for an
  // algorithm and may be slow.
  //   in   typed [num_rows, num_inputs]
  //   out  [num_rows, num_outputs]
  void queue(const DeviceMatrix& matrix, const void* in, int64_t num_rows, void* out,
             ProductOut kind, cudaStream_t stream);

 private:
  struct Key {
    int64_t num_outputs, num_inputs, num_rows;
    ProductOut kind;
    auto operator<=>(const Key&) const = default;
  };
  struct Operation;  // descriptors and algorithm

  const Operation& operation_of(const Key& key);

  struct Destroy {
    void operator()(cublasLtContext* handle) const { cublas().destroy(handle); }
    void operator()(Operation* operation) const;
  };
  const pagoda_dtype dtype_;
  std::unique_ptr<cublasLtContext, Destroy> handle_;
  DeviceArray<std::byte> workspace_;
  std::map<Key, std::unique_ptr<Operation, Destroy>> operations_;
};

}  // namespace pagoda::engine::cuda
