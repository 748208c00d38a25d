// The mask of one query over a stretch of keys, as bits, many keys at a time. The vectorised
// counterpart of evaluate(): plain loops over packed arrays that a compiler turns into vector code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "../core/shard.h"
#include "bindings.h"
#include "evaluate.h"
#include "program.h"

namespace pagoda::mask {

inline constexpr int kMaxLanes = 256;  // keys in one stretch
inline constexpr int64_t kLaneBytes = int64_t{kMaxLanes} * 8;

// Functions of `count` values, a multiple of 16, that a machine has better ones of; null: libm's.
// `exp` need not be right above 87.
struct LaneMath {
  void (*exp)(const float* x, float* y, int32_t count) = nullptr;
  void (*tanh)(const float* x, float* y, int32_t count) = nullptr;
};

class RowEvaluator {
 public:
  // Both outlive the evaluator. Allocates here and nowhere else.
  RowEvaluator(const Program& program, const Bindings& bindings);

  // In the caller's memory, [bytes(program)] aligned to 64, which outlives it too. Allocates
  // nothing and needs no destructor.
  RowEvaluator(const Program& program, const Bindings& bindings, const LaneMath& math,
               std::byte* memory);
  static size_t bytes(const Program& program);

  RowEvaluator(const RowEvaluator&) = delete;
  RowEvaluator& operator=(const RowEvaluator&) = delete;

  // From now on keys are counted among those of `shard`; the program was compiled for dealt keys.
  void deal_keys(const Shard& shard) { shard_ = shard; }

  // From the outside in. `request` gives every variable but q and k.
  void set_request(const Point& request);

  // Keys [first, first + width), `width` a multiple of 32 up to kMaxLanes. `pruning` holds for a
  // box that has all queries that follow, and all of these keys whose bits matter; it changes
  // speed, never results.
  void set_keys(int64_t first, int width, const Pruning& pruning);

  // bits: [width / 32]; bit i is the key first + i.
  void mask_row(int64_t query, uint32_t* bits);

  // scores: [width], replaced by the value of the score expression.
  void score_row(int64_t query, float* scores);

 private:
  template <class Int>
  friend class LaneMachine;

  void run_request();
  bool find_periods();
  bool set_periodic(int32_t index);
  void run_row();
  template <class Int>
  void run_keys();
  template <class Int>
  void run_elements();
  Value scalar_of(const Instr& instr) const;

  void lay_out(std::byte* memory);

  const Program& whole_;
  const Program* program_;  // whole_, or what it is within a period
  const Bindings& bindings_;
  const LaneMath math_;
  Shard shard_;
  Point point_;
  int64_t first_ = 0;
  int width_ = 0;
  Pruning pruning_;
  bool is_first_row_ = true;  // since set_keys
  const float* score_ = nullptr;
  Value* scalars_;                    // [code]; of a linear integer: its value at k = 0
  uint8_t* changed_;                  // [code] 1: differs from the row before
  std::byte* lanes_;                  // [num_lane_buffers, kMaxLanes] of int32, int64 or float
  uint32_t* bits_;                    // [num_bit_buffers, kMaxLanes / 32]
  std::unique_ptr<std::byte[]> own_;  // null if the memory is the caller's
};

}  // namespace pagoda::mask
