#include "gallery.h"

#include <algorithm>

namespace pagoda::mask {
namespace {

// A small generator of its own, so that the data does not depend on a standard library.
class Numbers {
 public:
  int32_t below(int32_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int32_t>((state_ >> 33) % static_cast<uint64_t>(bound));
  }

 private:
  uint64_t state_ = 2024;
};

Symbols declare() {
  Symbols symbols;
  for (const char* name :
       {"window", "chunk", "stride", "dilation", "globals", "width", "radius", "shared"})
    symbols.add_parameter(name, Type::integer);
  symbols.add_table("prefix", Type::integer, 1);
  symbols.add_table("doc", Type::integer, 2);
  symbols.add_table("branch", Type::integer, 2);
  symbols.add_table("image", Type::integer, 2);
  symbols.add_table("head_window", Type::integer, 1);
  symbols.add_table("tree", Type::integer, 2);
  return symbols;
}

}  // namespace

const std::vector<GalleryMask>& gallery() {
  static const std::vector<GalleryMask> masks = {
      {"causal", "q >= k", "A token sees itself and everything before it."},
      {"window", "q >= k && q - k < window", "Causal, and no further back than the window."},
      {"symmetric-window", "abs(q - k) <= window", "An encoder's window: as far ahead as back."},
      {"chunk", "q >= k && q // chunk == k // chunk", "Causal within chunks of fixed length."},
      {"chunk-lookback", "q >= k && q // chunk - k // chunk <= 1",
       "Causal within the token's own chunk and the one before."},
      {"prefix-lm", "k < prefix[r] || q >= k",
       "The prompt sees all of itself; what follows is causal."},
      {"document", "q >= k && doc[r, q] == doc[r, k]",
       "Several documents in one sequence that do not see each other."},
      {"tree",
       "k < seq_len - query_len || "
       "tree[q - seq_len + query_len, k - seq_len + query_len] != 0",
       "Draft tokens of a tree: each sees the context and its own ancestors."},
      {"dilated", "q >= k && q - k < window * dilation && (q - k) % dilation == 0",
       "Every dilation-th token of a longer window."},
      {"global-local", "q >= k && (k < globals || q - k < window)",
       "A window, and a few first tokens that everyone sees."},
      {"neighbourhood",
       "abs(q // width - k // width) <= radius && abs(q % width - k % width) <= radius",
       "Pixels of an image in rows: each sees the square around it."},
      {"shared-prefix", "q >= k && (k < shared || branch[r, q] == branch[r, k])",
       "Several answers behind one prompt: each sees the prompt and itself."},
      {"head-windows", "q >= k && q - k < head_window[h]", "Every head has a window of its own."},
      {"image-spans", "q >= k || image[r, q] > 0 && image[r, q] == image[r, k]",
       "Causal text in which each image sees all of itself."},
      {"strided", "q >= k && (q // stride == k // stride || k % stride >= stride - 8)",
       "The token's own stride, and the last tokens of each stride before it."},
  };
  return masks;
}

const GalleryMask* find_in_gallery(std::string_view name) {
  const auto& masks = gallery();
  const auto at = std::find_if(masks.begin(), masks.end(),
                               [&](const GalleryMask& mask) { return mask.name == name; });
  return at == masks.end() ? nullptr : &*at;
}

const Symbols& gallery_symbols() {
  static const Symbols symbols = declare();
  return symbols;
}

GalleryData::GalleryData(int32_t num_reqs, int32_t max_seq_len, int32_t num_heads)
    : bindings_(gallery_symbols()) {
  bindings_.set("window", int64_t{1024});
  bindings_.set("chunk", int64_t{2048});
  bindings_.set("stride", int64_t{512});
  bindings_.set("dilation", int64_t{4});
  bindings_.set("globals", int64_t{64});
  bindings_.set("width", int64_t{128});
  bindings_.set("radius", int64_t{7});
  bindings_.set("shared", int64_t{max_seq_len} / 4);
  for (int32_t r = 0; r < num_reqs; ++r) prefix_.push_back(max_seq_len / 3 + 17 * r);
  for (int32_t h = 0; h < num_heads; ++h) head_window_.push_back(256 << (h % 4));
  fill_documents(num_reqs, max_seq_len);
  fill_tree();
  bindings_.set_table("prefix", prefix_.data(), {num_reqs});
  bindings_.set_table("doc", doc_.data(), {num_reqs, max_seq_len}, -1);
  bindings_.set_table("branch", branch_.data(), {num_reqs, max_seq_len}, -1);
  bindings_.set_table("image", image_.data(), {num_reqs, max_seq_len});
  bindings_.set_table("head_window", head_window_.data(), {num_heads});
  bindings_.set_table("tree", tree_.data(), {kTreeNodes, kTreeNodes});
}

// Stretches of different lengths: documents 0, 1, 2 ..; branches likewise behind the shared part;
// every third stretch an image.
void GalleryData::fill_documents(int32_t num_reqs, int32_t max_seq_len) {
  Numbers numbers;
  for (int32_t r = 0; r < num_reqs; ++r) {
    int32_t document = 0, left = 0;
    for (int32_t k = 0; k < max_seq_len; ++k) {
      if (left-- == 0) {
        left = 64 + numbers.below(1500);
        ++document;
      }
      doc_.push_back(document);
      branch_.push_back(k < max_seq_len / 4 ? 0 : document);
      image_.push_back(document % 3 == 0 ? document : 0);
    }
  }
}

// A binary tree in breadth-first order: the parent of node n is (n - 1) / 2.
void GalleryData::fill_tree() {
  tree_.assign(static_cast<size_t>(kTreeNodes * kTreeNodes), 0);
  for (int32_t node = 0; node < kTreeNodes; ++node)
    for (int32_t up = node + 1; up > 0; up /= 2)
      tree_[static_cast<size_t>(node * kTreeNodes + up - 1)] = 1;
}

}  // namespace pagoda::mask
