// masks.hpp - the masks that models use, by name, as expressions. Header-only.
//
//     Expression mask = Expression::mask(masks::window(1024).text());
//
// q and k are positions in the sequence; the queries of a step are its last tokens. Every mask here
// may be joined with others by && and ||.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <pagoda/mask.hpp>
#include <utility>
#include <vector>

namespace pagoda {
inline namespace v1 {
namespace masks {

using expr::Bool;
using expr::Int;
using expr::IntTable;

inline Bool causal() {
  return expr::q >= expr::k;
}

// Causal, the last `size` tokens, the query's own among them.
inline Bool window(const Int& size) {
  return causal() && expr::q - expr::k < size;
}

// An encoder's: `size` tokens on each side, the query's own among both.
inline Bool symmetric_window(const Int& size) {
  return expr::abs(expr::q - expr::k) < size;
}

// Every head has a window of its own. sizes: [num_heads]
inline Bool head_windows(const IntTable& sizes) {
  return window(sizes(expr::h));
}

// Causal within chunks of fixed length, and as many chunks before it.
inline Bool chunked_local(const Int& chunk, const Int& lookback = 0) {
  return causal() &&
         expr::floor_divide(expr::q, chunk) - expr::floor_divide(expr::k, chunk) <= lookback;
}

// The first prefix[r] tokens see each other, what follows is causal. prefix: [num_reqs]
inline Bool prefix_lm(const IntTable& prefix) {
  return expr::k < prefix(expr::r) || causal();
}

// Whether query and key lie in the same of up to `count` ranges of the request, both ends
// included; a range whose start is not below its end is none. For images in text:
// causal() || same_range(start, end, 4). start, end: [num_reqs, count]
inline Bool same_range(const IntTable& start, const IntTable& end, int count) {
  using expr::k, expr::q, expr::r;
  Bool any(false);
  for (int i = 0; i < count; ++i) {
    const Int first = start(r, i), last = end(r, i);
    const Bool same = first < last && q >= first && q <= last && k >= first && k <= last;
    any = i == 0 ? same : any || same;
  }
  return any;
}

// Several documents in a sequence. doc: [num_reqs, seq_len]
inline Bool documents(const IntTable& doc) {
  return causal() && doc(expr::r, expr::q) == doc(expr::r, expr::k);
}

// Several answers behind a prompt of `shared` tokens. branch: [num_reqs, seq_len]
inline Bool shared_prefix(const Int& shared, const IntTable& branch) {
  return causal() && (expr::k < shared || branch(expr::r, expr::q) == branch(expr::r, expr::k));
}

// Every `dilation`-th token of the last size * dilation.
inline Bool dilated(const Int& size, const Int& dilation) {
  return window(size * dilation) && (expr::q - expr::k) % dilation == 0;
}

// A window, and `globals` first tokens that everyone sees. So do the tokens that a model keeps in
// front of every sequence as sinks of attention; those count as positions 0 to globals - 1.
inline Bool global_local(const Int& globals, const Int& size) {
  return causal() && (expr::k < globals || expr::q - expr::k < size);
}
inline Bool static_sinks(const Int& count, const Bool& others) {
  return expr::k < count || others;
}

// Pixels in rows of `width`: the square of `radius` around the query.
inline Bool neighbourhood(const Int& width, const Int& radius) {
  using expr::abs, expr::floor_divide, expr::k, expr::q;
  return abs(floor_divide(q, width) - floor_divide(k, width)) <= radius &&
         abs(q % width - k % width) <= radius;
}

// Draft tokens of a tree: the queries of the step are its nodes from number `first` on, behind a
// context that all of them see. table: [num_reqs, nodes, nodes], from tree_table
inline Bool tree(const IntTable& table, const Int& first = 0) {
  using expr::k, expr::q, expr::r;
  const Int context = expr::seq_len - expr::query_len;
  return k < context || table(r, q - context + first, k - context + first) != 0;
}

// The table of one request: element [i, j] is 1 where node j is i itself or an ancestor of it. Node
// 0 is the root; the others are the paths to them as numbers of children, ordered by length and
// then by their numbers, whatever order they are given in. Returns [nodes, nodes].
inline std::vector<int32_t> tree_table(std::vector<std::vector<int32_t>> paths) {
  const auto before = [](const auto& a, const auto& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  };
  std::sort(paths.begin(), paths.end(), before);
  const size_t nodes = paths.size() + 1;
  std::vector<int32_t> table(nodes * nodes, 0);
  for (size_t i = 0; i < nodes; ++i) table[i * nodes] = table[i * nodes + i] = 1;
  for (size_t i = 0; i < paths.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (paths[j].size() < paths[i].size() &&
          std::equal(paths[j].begin(), paths[j].end(), paths[i].begin()))
        table[(i + 1) * nodes + j + 1] = 1;
  return table;
}

}  // namespace masks
}  // namespace v1
}  // namespace pagoda
