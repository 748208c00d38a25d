// Where tensors lie in the data part of a file: sizes without overflow, and a cover without
// overlaps or gaps. Bytes that no tensor owns could hide a second file or another's data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/tensor_view.h"

namespace pagoda::engine {

// Bytes that shape and type need. Errors: kMalformed for rows that are not whole groups, kLimit
// when the product leaves 63 bits. `where` begins the sentence.
int64_t checked_tensor_bytes(const TensorView& tensor, const std::string& where);

struct NamedSpan {
  std::string_view name;
  int64_t begin = 0;  // byte offset into the data part
  int64_t end = 0;
};

// Errors: kMalformed when two spans overlap, when more bytes than padding to `alignment` lie
// between two of them or before the first, or when more than that follow the last.
void require_spans_cover(std::vector<NamedSpan> spans, int64_t data_size, int64_t alignment,
                         const std::string& where);

}  // namespace pagoda::engine
