// From tokens to the syntax tree: the statements and expressions of Jinja that chat templates use.
// Whatever else Jinja has is refused here, by name and place, before anything is rendered.
#pragma once

#include <string_view>

#include "engine/chat/syntax.h"

namespace pagoda::engine::jinja {

inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
inline constexpr int kMaxTemplateDepth = 100;     // of nested expressions and statements
inline constexpr int kMaxExpressionHeight = 200;  // of one tree; a + b + c has three levels

// Errors: kTemplate with the place; kLimit for a source beyond the limits above.
Body parse_template(std::string_view source);

}  // namespace pagoda::engine::jinja
