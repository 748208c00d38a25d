// The distinct masks of a model. Layers that have the same mask share one builder and one block
// mask per step; a model whose layers alternate between two masks has two, and neither is built
// again for the next layer.
#pragma once

#include <memory>
#include <vector>

#include "builder.h"

namespace pagoda::mask {

class MaskSet {
 public:
  MaskSet(const Bindings& bindings, const BlockMaskShape& shape, const BlockMaskLimits& limits);

  // The number of the mask: that of an equal one if it was added before.
  int add(const Expr& mask);
  int size() const { return static_cast<int>(masks_.size()); }

  BlockMaskBuilder& builder(int mask) { return masks_[static_cast<size_t>(mask)]->builder; }

  // Once per step, before its first layer: the masks are built when a layer first asks.
  void begin_step(const Step& step);

  // The block mask of the step, built into `memory` at the first call after begin_step; later calls
  // of the step do not read `memory`. Every mask has memory of its own. Errors as for
  // BlockMaskBuilder::build.
  const BlockMask& get(int mask, const Memory& memory);

 private:
  struct Entry {
    Entry(const Expr& mask, const Bindings& bindings, const BlockMaskShape& shape,
          const BlockMaskLimits& limits)
        : expr(mask), builder(mask, bindings, shape, limits) {}

    const Expr expr;
    BlockMaskBuilder builder;
    bool is_built = false;
    BlockMask built{};
  };

  const Bindings& bindings_;
  const BlockMaskShape shape_;
  const BlockMaskLimits limits_;
  Step step_{};
  std::vector<std::unique_ptr<Entry>> masks_;
};

}  // namespace pagoda::mask
