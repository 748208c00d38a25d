#include "scratch.h"

#include <algorithm>

#include "../plan/workspace.h"
#include "cascade.h"

namespace pagoda::cpu {
namespace {

// Queries, outputs and scores of a tile of rows stay in the second-level cache beside a tile of
// keys and values, and there are enough rows to share the work of packing those. These change
// speed, never results.
int32_t tile_rows(const Problem& problem, int32_t most_rows) {
  const int32_t dim = std::max(problem.head_dim, problem.head_dim_v);
  const int32_t rows = most_rows / (dim <= 128 ? 1 : dim <= 256 ? 2 : 4);
  const int64_t tokens =
      std::max(int64_t{problem.limits.max_query_len}, max_shared_tokens(problem));
  const int64_t most = tokens * problem.group();
  return static_cast<int32_t>(round_up(std::min<int64_t>(rows, most), kRowPadding));
}

// Hands out consecutive aligned arrays; with a null base it only counts.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}

  template <class T>
  T* take(int64_t count) {
    T* it = reinterpret_cast<T*>(base_ + used_);
    const auto bytes = static_cast<int64_t>(sizeof(T)) * count;
    used_ += static_cast<size_t>(round_up(bytes, WorkspaceMap::kAlignment));
    return it;
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

Scratch carve(Carver& carver, const Geometry& g) {
  Scratch it{};
  it.query_rows = carver.take<const char*>(g.max_rows);
  it.results = carver.take<void*>(g.max_rows);
  it.query_scale = carver.take<float>(g.max_rows);
  it.visible_begin = carver.take<int32_t>(g.max_rows);
  it.visible_end = carver.take<int32_t>(g.max_rows);
  it.position = carver.take<int32_t>(g.max_rows);
  it.token = carver.take<int32_t>(g.max_rows);
  it.slot = carver.take<int64_t>(g.max_rows);
  it.slope = carver.take<float>(g.max_rows);
  it.seen = carver.take<uint64_t>(2 * int64_t{g.max_rows});
  it.mask_lists = carver.take<MaskList>(g.max_lists);
  it.mask_halves = carver.take<int32_t>(int64_t{kListedTiles} * g.max_lists * 2);
  it.list_of_row = carver.take<int32_t>(g.max_rows);
  it.offset_of_row = carver.take<int32_t>(g.max_rows);
  if (g.own_bytes > 0) {
    it.own = carver.take<std::byte>(g.own_bytes);
  } else {
    it.queries = carver.take<float>(int64_t{g.max_rows} * g.head_dim);
    it.rescale = carver.take<float>(g.max_rows);
    it.scores = carver.take<float>(int64_t{g.max_rows} * kTileKeys);
    it.packed_keys = carver.take<float>(int64_t{kTileKeys} * g.head_dim);
    it.packed_values = carver.take<float>(int64_t{kTileKeys} * g.padded_dim_v);
  }
  it.total = carver.take<float>(g.state_floats(g.max_rows));
  it.part = carver.take<float>(g.state_floats(g.max_rows));
  return it;
}

}  // namespace

Geometry::Geometry(const Problem& problem, const Kernels& kernels)
    : head_dim(problem.head_dim),
      head_dim_v(problem.head_dim_v),
      padded_dim_v(kernels.padded_dim(problem.head_dim_v)),
      max_rows(tile_rows(problem, kernels.max_rows)),
      // Rows may begin and end within a token, whose other heads have lists too.
      max_lists(problem.has_block_mask ? max_rows + 2 * problem.group() : 0),
      row_group(kernels.row_group),
      own_bytes(kernels.own_bytes == nullptr ? 0
                                             : kernels.own_bytes(head_dim, head_dim_v, max_rows)) {}

size_t Scratch::size(const Geometry& geometry) {
  alignas(WorkspaceMap::kAlignment) static std::byte origin[WorkspaceMap::kAlignment];
  Carver carver(origin);  // an address to count from; nothing is read or written
  carve(carver, geometry);
  return carver.used();
}

Scratch Scratch::at(std::byte* memory, const Geometry& geometry) {
  Carver carver(memory);
  return carve(carver, geometry);
}

}  // namespace pagoda::cpu
