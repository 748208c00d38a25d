// The oracle: the formulas in double precision, slow and obvious. Two kernels that share no
// arithmetic check each other: "reference.direct" takes all logits of a query at once,
// "reference.online" one key at a time and, where splits are forced, one split at a time.
//
// A key that the mask hides is never read, so nothing it holds can matter.
#pragma once

#include "../backend/backend.h"

namespace pagoda::reference {

class ReferenceBackend final : public Backend {
 public:
  const char* name() const override { return "reference"; }
  bool takes_streams() const override { return false; }
  std::string machine() const override;
  Selection select(const Problem& problem) const override;
  void add_workspace(const Problem& problem, const Kernel& kernel,
                     WorkspaceMap& map) const override;
  void schedule(const Prepared& prepared) override;
  void update_cache(const Prepared& prepared, const Layer& layer, const TensorView& key,
                    const TensorView& value) override;
  void attend(const Prepared& prepared, const Attend& step, const Layer& layer,
              const Operands& operands) override;
  void merge(const MergeOperands& operands, Stream stream) override;
  void quantise_query(const QueryCodes& operands, Stream stream) override;
};

// The two forms; which one a plan uses is decided by `select`.
extern const Kernel kDirect, kOnline;

}  // namespace pagoda::reference
