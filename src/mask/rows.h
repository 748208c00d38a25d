// The mask of one query over a stretch of keys, as bits, many keys at a time. The vectorised
// counterpart of evaluate(): plain loops over packed arrays that a compiler turns into vector code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bindings.h"
#include "evaluate.h"
#include "program.h"

namespace pagoda::mask {

inline constexpr int kMaxLanes = 256;  // keys in one stretch
inline constexpr int64_t kLaneBytes = kMaxLanes * 8;

class RowEvaluator {
 public:
  // Both outlive the evaluator. Allocates here and nowhere else.
  RowEvaluator(const Program& program, const Bindings& bindings);

  // From the outside in. `request` gives every variable but q and k.
  void set_request(const Point& request);

  // Keys [first, first + width), `width` a multiple of 32 up to kMaxLanes. `narrow`: every integer
  // of the program fits 32 bits over all queries and keys that follow (Analyzer::narrow); it
  // changes speed, never results.
  void set_keys(int64_t first, int width, bool narrow);

  // bits: [width / 32]; bit i is the key first + i.
  void mask_row(int64_t query, uint32_t* bits);

  // scores: [width], replaced by the value of the score expression.
  void score_row(int64_t query, float* scores);

 private:
  template <class Int>
  friend class LaneMachine;

  void run_scalars(int list);
  void run_vectors(int list);
  Value scalar_of(const Instr& instr) const;

  const Program& program_;
  const Bindings& bindings_;
  Point point_;
  int64_t first_ = 0;
  int width_ = 0;
  bool narrow_ = false;
  const float* score_ = nullptr;
  std::vector<Value> scalars_;    // [code]; of a linear integer: its value at k = 0
  std::vector<std::byte> lanes_;  // [num_lane_buffers, kMaxLanes] of int32, int64 or float
  std::vector<uint32_t> bits_;    // [num_bit_buffers, kMaxLanes / 32]
};

}  // namespace pagoda::mask
