#include "mask_set.h"

#include <algorithm>

namespace pagoda::mask {

MaskSet::MaskSet(const Bindings& bindings, const BlockMaskShape& shape,
                 const BlockMaskLimits& limits)
    : bindings_(bindings), shape_(shape), limits_(limits) {}

int MaskSet::add(const Expr& mask) {
  const auto at = std::find_if(masks_.begin(), masks_.end(),
                               [&](const auto& entry) { return entry->expr == mask; });
  const auto number = static_cast<int>(at - masks_.begin());
  if (at == masks_.end())
    masks_.push_back(std::make_unique<Entry>(mask, bindings_, shape_, limits_));
  return number;
}

void MaskSet::begin_step(const Step& step) {
  step_ = step;
  for (const auto& entry : masks_) entry->is_built = false;
}

const BlockMask& MaskSet::get(int mask, const Memory& memory) {
  Entry& entry = *masks_[static_cast<size_t>(mask)];
  if (!entry.is_built) entry.built = entry.builder.build(step_, memory);
  entry.is_built = true;
  return entry.built;
}

}  // namespace pagoda::mask
