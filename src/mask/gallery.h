// Fifteen masks that models use, as expressions. They are examples of the language, the subjects of
// tests and benchmarks, and what the picture tool draws by name. The built-in masks of core/mask.h
// are among them; a test holds the two together.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bindings.h"
#include "symbols.h"

namespace pagoda::mask {

struct GalleryMask {
  const char* name;
  const char* text;
  const char* meaning;  // one sentence
};

const std::vector<GalleryMask>& gallery();

// Null: no mask of that name.
const GalleryMask* find_in_gallery(std::string_view name);

// The parameters and tables that the gallery uses.
const Symbols& gallery_symbols();

// Values for them that suit sequences of up to `max_seq_len` tokens, the same on every machine.
class GalleryData {
 public:
  GalleryData(int32_t num_reqs, int32_t max_seq_len, int32_t num_heads);

  Bindings& bindings() { return bindings_; }
  const Bindings& bindings() const { return bindings_; }

 private:
  void fill_documents(int32_t num_reqs, int32_t max_seq_len);
  void fill_tree();

  Bindings bindings_;
  std::vector<int32_t> doc_, branch_, image_;  // [num_reqs, max_seq_len]
  std::vector<int32_t> prefix_;                // [num_reqs]
  std::vector<int32_t> head_window_;           // [num_heads]
  std::vector<int32_t> tree_;                  // [kTreeNodes, kTreeNodes], 1: column is an ancestor
};

inline constexpr int32_t kTreeNodes = 63;

}  // namespace pagoda::mask
