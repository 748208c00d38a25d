// Cross attention: when the keys of an encoder are written, and where.
#pragma once

#include <pagoda/batch.h>

namespace pagoda {

// Fills the arrays and numbers of `cross`. Errors: too few slots, pages beyond the table.
void make_cross(pagoda_cross_batch& cross);

}  // namespace pagoda
