// A score expression as steps over units of scores, for kernels whose scores stand transposed, 16
// rows in a vector. What depends on rows alone or on keys alone is evaluated here, once per group
// of rows and once per tile of keys, and remembered; the kernel runs what depends on both.
#pragma once

#include "../core/shard.h"
#include "../mask/bound_expr.h"
#include "../mask/evaluate.h"
#include "kernels.h"

namespace pagoda::cpu {

// The rows of an item, as an expression sees them.
struct ScoreItem {
  mask::Point point;         // every variable but q, k and the head
  int32_t first_head;        // of the group
  int32_t group;             // heads
  int64_t first_row;         // its head within the group
  const int32_t* positions;  // [rows of the item]
};

class ScoreStepper {
 public:
  // A multiple of 64; 0: the program is too long.
  static size_t bytes(const mask::Program& program);

  // All outlive this. memory: [bytes], aligned to 64. Every integer of the program fits 32 bits.
  ScoreStepper(const mask::Program& program, const mask::Bindings& bindings, const Shard& shard,
               std::byte* memory);

  // Null: the expression has something that no step does.
  const ScoreSteps* steps() const { return steps_.steps != nullptr ? &steps_ : nullptr; }

  void set_item(const ScoreItem& item);

 private:
  static constexpr int kMaxInstrs = 48, kMaxUnits = 8;
  static constexpr int kRowSlots = 64, kKeySlots = 16;  // the groups of an item, tiles of a pass
  static constexpr int kUnitWords = 32 * kRowPadding;

  // What a value depends on.
  enum Side : uint8_t { kNothing = 0, kRows = 1, kKeys = 2, kBoth = 3 };

  struct Instr {
    Side side;
    uint8_t needed;        // by the columns of rows, of keys
    int32_t last_use;      // of what depends on both: the last instruction that reads it
    ScoreOperand operand;  // where steps find it
  };

  void lay_out(std::byte* memory);
  void find_sides();
  bool add_steps();
  bool add_step(int32_t index);
  bool set_table(const mask::Instr& instr, ScoreStep& step) const;
  ScoreOperand operand_of(int32_t index);
  bool take_unit(int32_t index);
  void release_units(int32_t index);
  void mark_needed();

  static const uint32_t* of_rows(void* self, int32_t first_row, int32_t num_rows);
  static const uint32_t* of_keys(void* self, int32_t first_key);
  void run_columns(uint8_t needed, int count);
  void run_column(const mask::Instr& instr, int count, mask::Value* to);
  void find_growth(float* growth);
  mask::Value leaf(const mask::Instr& instr, int lane) const;
  void store_columns(const int32_t* instrs, int32_t num_values, int count, uint32_t* to) const;

  const mask::Program& program_;
  const mask::Bindings& bindings_;
  const Shard shard_;
  ScoreSteps steps_{};
  ScoreItem item_{};
  const int num_instrs_;
  int32_t num_row_values_ = 0, num_key_values_ = 0;
  uint32_t free_units_;

  Instr instrs_[kMaxInstrs];
  int32_t row_values_[kMaxInstrs], key_values_[kMaxInstrs];  // instructions
  int32_t row_tags_[kRowSlots], key_tags_[kKeySlots];        // first row, first key; -1: none
  int64_t lane_queries_[kTileKeys], lane_heads_[kTileKeys], lane_keys_[kTileKeys];

  ScoreStep* code_;       // [num_instrs]
  uint32_t* row_words_;   // [kRowSlots, num_instrs, kRowPadding]
  uint32_t* key_words_;   // [kKeySlots, num_instrs, kTileKeys]
  mask::Value* columns_;  // [num_instrs, kTileKeys]
};

}  // namespace pagoda::cpu
