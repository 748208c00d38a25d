// Renders a syntax tree with variables. Bounded in steps, depth and output, so that no template can
// keep a server busy or fill its memory.
#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "engine/chat/syntax.h"

namespace pagoda::engine::jinja {

inline constexpr int64_t kMaxRenderSteps = 2'000'000;  // statements and expressions
inline constexpr int kMaxRenderDepth = 500;            // of both inside each other, macros included

// Errors: kTemplate with the place, kLimit.
std::string render(const Body& body, Dict variables, const std::optional<std::tm>& now);

}  // namespace pagoda::engine::jinja
