// What is behind the handles of mask.h.
#pragma once

#include <pagoda/mask.h>

#include <memory>
#include <string>

#include "../mask/bound_expr.h"
#include "../mask/builder.h"
#include "../mask/gallery.h"
#include "guard.h"

// Names that the caller declared and sets, or the gallery's with sample values.
struct pagoda_expr {
  pagoda_expr(const pagoda_expr_options& options);
  pagoda_expr(const std::string& text, int32_t num_reqs, int32_t max_seq_len, int32_t num_heads);

  const std::string text;
  const pagoda_expr_kind kind;
  const pagoda::mask::Symbols own_symbols;
  std::unique_ptr<pagoda::mask::GalleryData> samples;
  std::unique_ptr<pagoda::mask::Bindings> own_bindings;
  pagoda::mask::Bindings& bindings;
  const pagoda::mask::BoundExpr bound;
};

struct pagoda_mask {
  pagoda::mask::BlockMaskBuilder builder;
};

namespace pagoda::capi {

// What a spec's score expression holds; null for NULL.
const mask::BoundExpr* read_score_expr(const pagoda_expr* given);

// The block mask of a batch, its sizes and pointers checked; absent if NULL.
mask::BlockMask read_block_mask(const pagoda_block_mask* given);

}  // namespace pagoda::capi
