// From stored groups of weights to panels (coded_panel.h), bit for bit the same numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/formats/tensor_view.h"
#include "engine/math/coded_panel.h"

namespace pagoda::engine {

// Nothing for types that are no codes.
std::optional<PanelFormat> panel_format(TensorType type);

// rows: at most 16, each [num_groups * 32] elements as stored; columns of the panel that have none
// become zeros.
//   panel [panel_bytes(panel_format(type), num_groups)], zeros before
void pack_panel(TensorType type, std::span<const std::byte* const> rows, int64_t num_groups,
                uint8_t* panel);

}  // namespace pagoda::engine
