// An expression made ready to run over tiles: equal subexpressions merged, and every instruction
// sorted by what it depends on, so that each is computed as rarely as possible: once per request
// (uniform), once per query (row), once per key of a tile (key), or for every element.
//
// An integer that is `scalar + slope * k` needs no storage per key. A comparison of two such
// integers is a threshold on k: it becomes a run of bits by one division. That is what a causal or
// window mask consists of, so its rows cost a few instructions whatever their length. For that end
// abs(a) <= b is compiled as a <= b && -a <= b, which holds for wrapping integers too.
//
// Within one period of a division by what does not depend on the position, k // n stands still and
// k % n is linear. A program in which they occur has a second form that says so, for stretches of
// keys that lie within one period of each.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "expr.h"

namespace pagoda::mask {

enum class Rank : uint8_t { uniform = 0, row = 1, key = 2, element = 3 };  // bit 0: q, bit 1: k

enum class Mode : uint8_t {
  scalar,     // one value per request or row
  linear,     // scalar + slope * k
  threshold,  // bits, from two linear integers
  run,        // lanes, from consecutive elements of a table
  lanes,      // one value per key
  bits,       // one bit per key
};

struct Instr {
  Op op;
  Type type;
  Type arg_type;  // of the compared or combined arguments
  Rank rank;
  Mode mode;
  bool needs_lanes;  // a linear integer that somebody reads as lanes
  bool is_required;  // a boolean without which the root is false
  bool is_periodic;  // linear, or standing still, within a period only
  int32_t args[kMaxArgs];
  int64_t value;
  int64_t slope;   // linear: per key
  int32_t buffer;  // lanes and bits: which row of the evaluator's memory
};

// What evaluation may leave out over a box that analysis could not decide as a whole: boolean
// subexpressions that it did decide, and whatever only they need. Programs of more than kPrunable
// instructions run whole.
inline constexpr int kPrunable = 64;

struct Pruning {
  uint64_t needed = ~uint64_t{0};
  uint64_t full = 0, empty = 0;  // decided
  bool narrow = false;           // every integer that is needed fits 32 bits
  int32_t root = -1;             // the instruction that the mask comes down to; -1: the last
  bool same_rows = false;        // every query of the box sees the same keys
  bool same_distance = false;    // what is seen depends on q - k alone

  bool needs(int32_t index) const { return index >= kPrunable || (needed >> index & 1) != 0; }
  bool decides(int32_t index) const {
    return index < kPrunable && ((full | empty) >> index & 1) != 0;
  }
  bool is_full(int32_t index) const { return (full >> index & 1) != 0; }
};

struct Program {
  std::vector<Instr> code;          // arguments first, the root last
  std::vector<int32_t> by_rank[4];  // all instructions, by Rank
  std::vector<int32_t> scalars[2];  // what has a scalar: not depending on q; depending on q
  std::vector<int32_t> vectors[2];  // what has lanes or bits: rank key; rank element
  uint32_t variables = 0;           // bit per Variable that occurs
  int32_t num_lane_buffers = 0;
  int32_t num_bit_buffers = 0;

  // The same code for stretches within one period; null if nothing in it has one.
  std::unique_ptr<const Program> within_period;

  const Instr& root() const { return code.back(); }
  bool uses(Variable which) const { return (variables >> static_cast<int>(which) & 1) != 0; }
};

// How the keys of a stretch lie in the sequence.
enum class KeyOrder : uint8_t {
  in_order,
  dealt,  // they are those of a core/shard.h: each has a position of its own, k is lanes
};

Program compile(const Expr& expr, KeyOrder order = KeyOrder::in_order);

}  // namespace pagoda::mask
