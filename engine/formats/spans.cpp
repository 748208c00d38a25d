// See spans.h.
#include "engine/formats/spans.h"

#include <algorithm>
#include <tuple>

#include "engine/error.h"
#include "engine/formats/quoted.h"

namespace pagoda::engine {

int64_t checked_tensor_bytes(const TensorView& tensor, const std::string& where) {
  const TypeTraits& type = traits(tensor.type);
  require(tensor.row_size() % type.group_size == 0, ErrorKind::kMalformed, where, ": tensor ",
          quoted(tensor.name), " has rows of ", tensor.row_size(), " elements, ", type.name,
          " needs a multiple of ", type.group_size);
  int64_t bytes = type.group_bytes;
  bool overflow = false;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const bool innermost = i + 1 == tensor.shape.size();
    const int64_t factor = innermost ? tensor.shape[i] / type.group_size : tensor.shape[i];
    overflow |= __builtin_mul_overflow(bytes, factor, &bytes);
  }
  require(!overflow, ErrorKind::kLimit, where, ": the size of tensor ", quoted(tensor.name),
          " does not fit into 63 bits");
  return bytes;
}

void require_spans_cover(std::vector<NamedSpan> spans, int64_t data_size, int64_t alignment,
                         const std::string& where) {
  std::sort(spans.begin(), spans.end(), [](const NamedSpan& a, const NamedSpan& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  int64_t end = 0;
  std::string_view previous = "the header";
  for (const NamedSpan& span : spans) {
    require(span.begin >= end, ErrorKind::kMalformed, where, ": tensor ", quoted(span.name),
            " begins at offset ", span.begin, ", inside ", quoted(previous));
    require(span.begin - end < alignment, ErrorKind::kMalformed, where, ": ", span.begin - end,
            " bytes before tensor ", quoted(span.name), " belong to no tensor");
    end = span.end;
    previous = span.name;
  }
  require(data_size - end < alignment, ErrorKind::kMalformed, where, ": ", data_size - end,
          " bytes after the last tensor belong to no tensor");
}

}  // namespace pagoda::engine
