// What all matrices of a model share: threads, kernels, shapes, and memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/math/array.h"
#include "engine/math/coded_rows.h"
#include "engine/math/isa/select.h"
#include "engine/math/slice_product.h"
#include "engine/math/team.h"

namespace pagoda::engine {

struct ProductsOptions {
  std::string isa;      // of products with codes; see choose_kernels
  bool expand = false;  // weights of 4 to 8 bits are multiplied as floats too
};

class Products {
 public:
  explicit Products(Threads& threads, const ProductsOptions& options = {})
      : threads_(threads),
        chosen_(choose_kernels(options.isa)),
        expand_(options.expand),
        shapes_(threads.size()),
        coded_rows_(static_cast<size_t>(threads.size())),
        scratch_(static_cast<size_t>(threads.size())) {}

  Threads& threads() { return threads_; }
  SliceShapes& shapes() { return shapes_; }
  CodedRowBuffer& coded_rows(int thread) { return coded_rows_[static_cast<size_t>(thread)]; }
  const MathKernels& kernels() const { return *chosen_.kernels; }
  const TileKernels* tiles() const { return chosen_.tiles; }  // or null
  bool expand() const { return expand_; }

  // [size] floats, aligned to 64 bytes, that belong to this thread until its next call; only grows.
  float* scratch(int thread, int64_t size);

  // [size] zero bytes for weights, aligned to 64, that live as long as this object. Matrices lie
  // one behind the other in large pieces, which the system can map in large pages.
  uint8_t* weight_memory(int64_t size);

 private:
  Threads& threads_;
  ChosenKernels chosen_;
  bool expand_;
  SliceShapes shapes_;
  std::vector<CodedRowBuffer> coded_rows_;  // [threads]
  std::vector<Array<float>> scratch_;       // [threads]
  std::vector<SystemMemory> weight_memory_;
  int64_t weight_memory_left_ = 0;  // bytes, of the last piece
};

}  // namespace pagoda::engine
