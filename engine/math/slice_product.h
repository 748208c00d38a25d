// Products by oneDNN, one thread each: a few rows times a slice of a matrix.
//
// A row's result must not depend on how many rows are multiplied at once, because how many there
// are follows from what else is in the batch. oneDNN does not promise that, and some of its kernels
// differ. So each shape is tried out when it is first used: if its rows come out with the same bits
// in any company (the AVX-512 kernels do), it multiplies just the rows there are. Otherwise every
// call has the same number of rows, filled up with zeros; at worst that number is one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace pagoda::engine {

inline constexpr int kMaxTileRows = 64;

class SliceShape {
 public:
  ~SliceShape();

  int64_t num_inputs() const;
  int64_t num_outputs() const;
  int64_t packed_bytes() const;  // of a slice in oneDNN's order
  int tile_rows() const;         // rows of a call, at most
  bool any_rows() const;         // false: rows of a call exactly

  // plain: [num_outputs, num_inputs]; packed: [packed_bytes()], aligned to 64
  void pack(const float* plain, void* packed) const;

  // out = in * transpose(plain)
  //   in  [num_rows, num_inputs], out [num_rows, num_outputs], both dense
  // A thread number belongs to one thread at a time. prepare(num_rows) has been called.
  void multiply(int thread, int num_rows, const float* in, const void* packed, float* out) const;

  // Makes multiply ready for this number of rows; not while another thread multiplies.
  void prepare(int num_rows) const;

 private:
  friend class SliceShapes;
  struct State;
  explicit SliceShape(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// One shape for all the matrices that have it.
class SliceShapes {
 public:
  explicit SliceShapes(int num_threads);
  const SliceShape& get(int64_t num_inputs, int64_t num_outputs);

 private:
  int num_threads_;
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<SliceShape>> shapes_;
};

}  // namespace pagoda::engine
