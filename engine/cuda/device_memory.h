// Memory of the device and pinned memory of the host, owned; and the check of every CUDA call.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/error.h"

namespace pagoda::engine::cuda {

inline void check_cuda(cudaError_t code, const char* doing) {
  require(code == cudaSuccess, ErrorKind::kDevice, doing, ": ", cudaGetErrorString(code), " (",
          cudaGetErrorName(code), ")");
}

// [size] elements, not initialised.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(int64_t size) : size_(size) {
    if (size == 0) return;
    const size_t bytes = static_cast<size_t>(size) * sizeof(T);
    void* data = nullptr;
    const cudaError_t code = cudaMalloc(&data, bytes);
    if (code == cudaErrorMemoryAllocation) refuse(bytes);
    check_cuda(code, "allocating memory of the device");
    elements_.reset(static_cast<T*>(data));
  }

  T* data() const { return elements_.get(); }
  int64_t size() const { return size_; }

 private:
  [[noreturn]] static void refuse(size_t bytes) {
    cudaGetLastError();  // the refusal is not sticky
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail(ErrorKind::kLimit, "the device refused ", bytes >> 20, " MiB of memory, of its ",
         total >> 20, " MiB ", free >> 20,
         " are free; give the cache fewer pages (--num-pages, --max-requests) or take a smaller "
         "model");
  }
  struct Free {
    void operator()(T* elements) const { cudaFree(elements); }
  };
  std::unique_ptr<T, Free> elements_;
  int64_t size_ = 0;
};

template <class T>
DeviceArray<T> to_device(std::span<const T> values) {
  DeviceArray<T> array(static_cast<int64_t>(values.size()));
  if (!values.empty())
    check_cuda(cudaMemcpy(array.data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
               "copying to the device");
  return array;
}

// [size] elements of the host that the device copies from and to without a stop. Zero.
template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(int64_t size) : size_(size) {
    if (size == 0) return;
    const size_t bytes = static_cast<size_t>(size) * sizeof(T);
    void* data = nullptr;
    check_cuda(cudaMallocHost(&data, bytes), "allocating pinned memory");
    elements_.reset(static_cast<T*>(data));
    for (int64_t i = 0; i < size; i++) elements_.get()[i] = T{};
  }

  T* data() const { return elements_.get(); }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* elements) const { cudaFreeHost(elements); }
  };
  std::unique_ptr<T, Free> elements_;
  int64_t size_ = 0;
};

// A stream of its own: it does not wait for the default one.
class OwnedStream {
 public:
  OwnedStream() {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }
  ~OwnedStream() { cudaStreamDestroy(stream_); }
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const { check_cuda(cudaStreamSynchronize(stream_), "waiting for a step"); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace pagoda::engine::cuda
