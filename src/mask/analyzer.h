// Decides whole tiles: whether a mask is empty, full or undecided over a box of queries and keys,
// without looking at an element. Never wrong; where it cannot know it says undecided.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bindings.h"
#include "evaluate.h"
#include "interval.h"
#include "program.h"

namespace pagoda::mask {

// The box that is this one point.
Box box_of(const Point& point);

class Analyzer {
 public:
  // Both outlive the analyzer. Allocates here and nowhere else.
  Analyzer(const Program& program, const Bindings& bindings);

  // In the caller's memory, [bytes(program)] aligned to 64, which outlives it too. Allocates
  // nothing.
  Analyzer(const Program& program, const Bindings& bindings, std::byte* memory);
  static size_t bytes(const Program& program) { return program.code.size() * sizeof(Form); }

  // From the outside in; each call keeps what the ones before have fixed, and what the bindings
  // held at set_request. Ranges include both ends. The query and key ranges of `request` are not
  // read.
  void set_request(const Box& request);
  void set_queries(int64_t first, int64_t last);
  Truth decide(int64_t first_key, int64_t last_key);

  // Whether whatever depends on q but not on k either stands still over the queries or is linear.
  bool is_steady(int64_t first_query, int64_t last_query);

  // What evaluation of the last box, which was undecided, may leave out.
  Pruning pruning() const;

  // Whether every integer of the last box fits 32 bits.
  bool all_narrow() const;

 private:
  struct Form {
    IntForm i;
    RealForm f;
    Truth truth;
  };

  void run(Rank rank);
  int32_t effective_root() const;
  bool rows_differ(const Instr& instr, const Form& form) const;
  bool stands_still(const Instr& instr, const Form& form) const;
  bool depends_on_distance(int32_t root) const;
  void update(const Instr& instr, Form& form) const;
  void update_leaf(const Instr& instr, Form& form) const;
  void look_up(const Instr& instr, Form& form) const;
  void select(const Instr& instr, Form& form) const;
  Truth truth_of(const Instr& instr, const Form& a, const Form& b) const;
  const Form& arg(const Instr& instr, int i) const {
    return forms_[static_cast<size_t>(instr.args[i])];
  }

  const Program& program_;
  const Bindings& bindings_;
  Box box_{};
  std::vector<Form> own_;  // empty if the memory is the caller's
  std::span<Form> forms_;  // [program.code]
};

}  // namespace pagoda::mask
