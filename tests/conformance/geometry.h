// A conformance case without its numbers: what is asked of attention, over which requests, laid out
// how, run how. Drawn from one seed; the values that fill it come from a second one (values.h).
#pragma once

#include <pagoda/pagoda.h>

#include <cstdint>
#include <string>
#include <vector>

#include "formats.h"
#include "random.h"

namespace pagoda::conformance {

// How the pages of a layer lie in memory.
enum class Layout { call, nhd, hnd, kv_row, kv_slices, padded, cross_layer };
inline constexpr int kNumLayouts = 7;

// Rows of query, out, key and value.
enum class Arrangement { packed, sliced, heads_first, expanded };  // expanded: all heads are one
inline constexpr int kNumArrangements = 4;

enum class LseKind { absent, packed, transposed, strided };
inline constexpr int kNumLseKinds = 4;

// How a step's own keys come into the cache: by the test, by update_cache, or by both in turn, with
// slots of -1 where the test has placed them.
enum class Writing { call, placed, updated, updated_with_holes };
inline constexpr int kNumWritings = 4;

enum class WindowKind { none, zero, one, left, right, both, huge };
inline constexpr int kNumWindowKinds = 7;

enum class CausalKind { causal, full, flags };  // flags: each request its own
inline constexpr int kNumCausalKinds = 3;

enum class Queries { decode, uniform, mixed };
inline constexpr int kNumQueries = 3;

// What the entries of a page table behind a request's pages hold.
enum class Tail { none, int_max, minus_one, random };
inline constexpr int kNumTails = 4;

// What the numbers are like; values.cpp says what each is for.
enum class Regime {
  gaussian,
  zero_query,
  zero_key,
  coded_values,
  one_hot,
  ones,
  large_logits,
  outlier_channel,
  sparse_exact,
  duplicated_keys,
  subnormal,
  max_finite,
  nonfinite
};
inline constexpr int kNumRegimes = 13;

struct Request {
  int32_t query_len = 1, seq_len = 1;
  bool causal = true;
  int32_t shares_with = -1;  // an earlier request whose first pages are this one's too
  int32_t shared_pages = 0;

  // Of query i; negative where there are more queries than keys.
  int32_t position(int32_t i) const { return seq_len - query_len + i; }
};

struct Geometry {
  uint64_t seed = 0;

  pagoda_dtype dtype = PAGODA_F32;
  int32_t num_kv_heads = 1, group = 1, head_dim = 8, head_dim_v = 8;
  int32_t page_size = 0;  // 0: keys come with the call
  pagoda_kv_format kv_format = PAGODA_KV_SAME;
  pagoda_query_format query_format = PAGODA_QUERY_SAME;
  bool scales_in_rows = false;  // those of tokens, behind the row that they belong to
  bool one_scale = false;       // of all heads, where heads have scales
  CausalKind causal_kind = CausalKind::causal;
  bool spec_causal = true;
  WindowKind window_kind = WindowKind::none;
  int32_t window_left = -1, window_right = -1;
  float scale = 0, softcap = 0;  // scale 0: the default
  pagoda_alibi alibi = PAGODA_ALIBI_NONE;
  bool sinks = false;

  std::vector<Request> requests;
  Queries queries = Queries::decode;
  int32_t padded_tokens = 0;

  Layout layout = Layout::call;
  Arrangement query = Arrangement::packed, key = Arrangement::packed, out = Arrangement::packed;
  LseKind lse = LseKind::packed;
  Writing writing = Writing::call;
  Tail tail = Tail::none;
  bool degenerate_strides = false;  // dimensions of size 1 have any stride
  int32_t misalignment = 0;         // elements by which tensors start off a cache line

  int32_t num_splits = 0, num_threads = 1;
  int32_t cascade = 0;  // tuning.cascade of the CPU backend
  const char* isa = "scalar";
  Regime regime = Regime::gaussian;

  int32_t num_heads() const { return num_kv_heads * group; }
  bool has_cache() const { return page_size > 0; }
  Stored stored_key() const { return stored_keys(kv_format, dtype); }
  Stored stored_value() const { return stored_values(kv_format, dtype); }
  Stored stored_query() const { return stored_queries(query_format, dtype); }
  int32_t num_query_tokens() const;
  int32_t num_tokens() const { return num_query_tokens() + padded_tokens; }
  int32_t longest_seq() const;
  int32_t longest_query() const;
  int32_t pages_of(const Request& request) const {
    return (request.seq_len + page_size - 1) / page_size;
  }
  // Multiply-adds of the whole case, masks aside.
  int64_t cost() const;
};

Geometry draw_geometry(uint64_t seed);

std::string describe(const Geometry& geometry);

}  // namespace pagoda::conformance
