#include "engine/cuda/products.h"

#include <type_traits>

namespace pagoda::engine::cuda {
namespace {

constexpr int64_t kWorkspaceBytes = 32 << 20;

void check_cublas(cublasStatus_t status, const char* doing) {
  require(status == CUBLAS_STATUS_SUCCESS, ErrorKind::kDevice, doing, ": ",
          cublas().status_string(status));
}

cudaDataType_t cuda_type(pagoda_dtype dtype) {
  return dtype == PAGODA_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

// An opaque descriptor of cuBLASLt, with the function that ends it.
template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, cublasStatus_t (*)(Handle)>;
using Description = Owned<cublasLtMatmulDesc_t>;
using Shape = Owned<cublasLtMatrixLayout_t>;
using Preference = Owned<cublasLtMatmulPreference_t>;

// Column-major, dense.
Shape make_shape(cudaDataType_t type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t shape = nullptr;
  check_cublas(cublas().layout_create(&shape, type, static_cast<uint64_t>(rows),
                                      static_cast<uint64_t>(columns), rows),
               "describing a matrix");
  return {shape, cublas().layout_destroy};
}

Description make_description() {
  cublasLtMatmulDesc_t description = nullptr;
  check_cublas(cublas().desc_create(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "describing a product");
  const cublasOperation_t transpose = CUBLAS_OP_T;
  check_cublas(cublas().desc_set_attribute(description, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                           sizeof transpose),
               "describing a product");
  return {description, cublas().desc_destroy};
}

}  // namespace

struct Products::Operation {
  Description description;
  Shape weights, in, out;
  cublasLtMatmulAlgo_t algorithm;
};

void Products::Destroy::operator()(Operation* operation) const {
  delete operation;
}

Products::Products(pagoda_dtype dtype) : dtype_(dtype), workspace_(kWorkspaceBytes) {
  cublasLtHandle_t handle = nullptr;
  check_cublas(cublas().create(&handle), "starting cuBLASLt");
  handle_.reset(handle);
}

// Rows of numbers one behind the other are the columns of a column-major matrix:
// out = matrix^T * in, with [num_inputs, num_outputs] and [num_inputs, num_rows].
const Products::Operation& Products::operation_of(const Key& key) {
  std::unique_ptr<Operation, Destroy>& found = operations_[key];
  if (found) return *found;
  const cudaDataType_t out = key.kind == ProductOut::kTyped ? cuda_type(dtype_) : CUDA_R_32F;
  std::unique_ptr<Operation, Destroy> made(
      new Operation{.description = make_description(),
                    .weights = make_shape(cuda_type(dtype_), key.num_inputs, key.num_outputs),
                    .in = make_shape(cuda_type(dtype_), key.num_inputs, key.num_rows),
                    .out = make_shape(out, key.num_outputs, key.num_rows),
                    .algorithm = {}});
  cublasLtMatmulPreference_t raw = nullptr;
  check_cublas(cublas().preference_create(&raw), "choosing a product");
  const Preference preference(raw, cublas().preference_destroy);
  const uint64_t workspace = kWorkspaceBytes;
  check_cublas(cublas().preference_set_attribute(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                 &workspace, sizeof workspace),
               "choosing a product");
  cublasLtMatmulHeuristicResult_t result = {};
  int num_results = 0;
  check_cublas(cublas().heuristic(handle_.get(), made->description.get(), made->weights.get(),
                                  made->in.get(), made->out.get(), made->out.get(), raw, 1, &result,
                                  &num_results),
               "choosing a product");
  require(num_results == 1, ErrorKind::kUnsupported, "cuBLASLt has no product of ", key.num_rows,
          " rows with a matrix from ", key.num_inputs, " to ", key.num_outputs);
  made->algorithm = result.algo;
  found = std::move(made);
  return *found;
}

void Products::queue(const DeviceMatrix& matrix, const void* in, int64_t num_rows, void* out,
                     ProductOut kind, cudaStream_t stream) {
  if (num_rows == 0) return;
  const Operation& operation = operation_of({.num_outputs = matrix.num_outputs,
                                             .num_inputs = matrix.num_inputs,
                                             .num_rows = num_rows,
                                             .kind = kind});
  const float one = 1, old = kind == ProductOut::kAddFloat ? 1 : 0;
  check_cublas(cublas().matmul(handle_.get(), operation.description.get(), &one, matrix.rows,
                               operation.weights.get(), in, operation.in.get(), &old, out,
                               operation.out.get(), out, operation.out.get(), &operation.algorithm,
                               workspace_.data(), kWorkspaceBytes, stream),
               "queueing a product");
}

}  // namespace pagoda::engine::cuda
