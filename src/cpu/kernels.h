// The loops that are compiled once per instruction set, as a table of functions over plain structs.
//
// The table is the whole border between code for one instruction set (isa/*.cpp with the *.inl.h
// bodies) and code for every machine (the rest of src/cpu). Nothing in this header is a function:
// an inline one would be compiled on both sides, and the linker would keep either.
#pragma once

#include <stdint.h>

namespace pagoda::cpu {

// Keys are taken in tiles that lie at multiples of this in every sequence, so that the order of a
// row's sums follows from the positions of its keys alone.
constexpr int kTileKeys = 64;

// Per-row arrays (state, visible keys) have room for a multiple of this many rows: a full vector of
// any instruction set may be loaded and stored at a row that exists.
constexpr int kRowPadding = 16;

constexpr int kMaxHeadDim = 512;

// Slopes of ALiBi as they are published are at most 1.
constexpr float kMostGentleSlope = 2;

// Tiles of which a kernel may keep what the lists of a block mask show.
constexpr int kListedTiles = 17;

// The last two are of quantised caches and queries. Kernels read e4m3 2^8 too small, since that is
// what its bits give for free; whoever calls them multiplies once (unit_of in element.h).
enum class Element : uint8_t { f32, f16, bf16, int8, e4m3 };

// The numbers are those of Alibi in core/score.h.
enum class Bias : uint8_t { none, linear, sqrt };

// Rows of keys or values of one request and one head behind its page table.
struct PagedRows {
  const char* base;      // row 0 of page 0
  const int32_t* pages;  // [pages of the request]
  int64_t page_stride;   // bytes
  int64_t token_stride;  // bytes
  int32_t page_size;     // tokens

  // Likewise the scale of each row, a float; null base: the rows have none.
  const char* scales;
  int64_t scale_page_stride;   // bytes
  int64_t scale_token_stride;  // bytes
};

// What one step of a score expression makes of 32-bit words: floats (f), integers (i), or truths,
// which are all ones or 0 (b). Values are those of mask/semantics.h.
enum class ScoreOp : uint8_t {
  none,
  to_float,
  negate_f,
  absolute_f,
  sqrt_f,
  tanh_f,
  exp_f,
  add_f,
  subtract_f,
  multiply_f,
  divide_f,
  minimum_f,
  maximum_f,
  less_f,
  less_equal_f,
  equal_f,
  not_equal_f,
  negate_i,
  absolute_i,
  add_i,
  subtract_i,
  multiply_i,
  floor_divide_i,
  modulo_i,
  minimum_i,
  maximum_i,
  less_i,
  less_equal_i,
  equal_i,
  not_equal_i,
  not_b,
  and_b,
  or_b,
  equal_b,
  not_equal_b,
  select,  // by a truth
  lookup,  // up to three indices
};

// Where a step finds a word per row and key: what depends on rows or on keys alone, or a unit that
// a step before has written.
struct ScoreOperand {
  enum class From : uint8_t { none, rows, keys, unit } from;
  uint8_t index;
};

struct ScoreStep {
  ScoreOp op;
  uint8_t to;  // the unit that it writes
  ScoreOperand args[3];
  // Of a lookup: words, whose value outside is `outside`.
  const void* table;
  int32_t shape[3];  // of dimensions that it has not: 1
  uint32_t outside;
};

// A score expression as steps over units of 32 keys by 16 rows. The last step writes unit 0, which
// is the scores themselves.
struct ScoreSteps {
  const ScoreStep* steps;
  int32_t count;
  uint32_t* units;  // [units, 32, 16], aligned to 64; the first is not used
  // [values, 16] and [values, kTileKeys] of the operands of each kind, until the next call. Lanes
  // beyond the rows repeat the first.
  const uint32_t* (*of_rows)(void* context, int32_t first_row, int32_t num_rows);
  const uint32_t* (*of_keys)(void* context, int32_t first_key);
  void* context;
};

// A score expression of the caller's: puts its value in place of each logit of one row, for the
// keys [first_key, first_key + kTileKeys).
struct ScoreFunction {
  void (*apply)(void* context, int32_t row, int32_t first_key, float* logits);  // null: none
  void* context;
  const ScoreSteps* steps;  // the same for a kernel that takes units; null: it cannot be put so
};

// Attention of some rows over some keys, not yet divided: m is the largest logit, l the sum of
// exp(s - m), o the sum of exp(s - m) * v. A row that saw no key is (-inf, 0, 0).
struct State {
  float* m;  // [num_rows], padded
  float* l;  // [num_rows], padded
  float* o;  // [num_rows, padded head_dim_v], columns in the kernel's order; see row_group
};

// The list of one tile of queries of a block mask (src/mask/block_mask.h), and how far it is read.
struct MaskList {
  const int32_t *first, *tile, *tile_end;  // the entries, and those that do not end before the keys
  const int32_t* bits_at;                  // of the latter
  // The two halves of the current kTileKeys keys. Where bits is null every row sees `all`.
  const uint32_t* bits[2];
  uint32_t all[2];
};

// A block mask as the rows of one task read it.
struct MaskLists {
  const uint32_t* bits;  // of the whole mask
  int32_t tile_kv;       // 32, 64, 128 or 256
  int32_t num_lists;
  MaskList* lists;               // [num_lists]
  const int32_t* list_of_row;    // [num_rows]
  const int32_t* offset_of_row;  // [num_rows] words from a tile's first row of bits to this one's
  int32_t* halves;               // [kListedTiles, num_lists, 2] scratch of kernels with many tiles
};

// Rows of queries where the caller has them.
struct QueryRows {
  int32_t num_rows, head_dim;
  Element element, keys;    // of the rows, and of the keys that they are going to meet
  const char* const* rows;  // [num_rows]
};

// Rows of one head of keys (query tokens times the group's heads), in order of position, over the
// keys of one split. Both ends of the visible ranges never fall from row to row.
struct AttendTask {
  int32_t num_rows, head_dim, head_dim_v;
  Element key_element, value_element;
  Bias bias;
  float scale, softcap;                 // softcap 0: none
  ScoreFunction score;                  // after them
  int32_t rank, num_ranks, interleave;  // which tokens of the sequence the keys are: core/shard.h

  const float* queries;          // [num_rows, head_dim]
  const float* query_scale;      // [num_rows] beside `scale`; null: 1
  const int32_t* visible_begin;  // [num_rows] keys that the row sees
  const int32_t* visible_end;    // [num_rows]
  const int32_t* position;       // [num_rows]
  const float* slope;            // [num_rows], null without bias

  const MaskLists* block_mask;  // what the ranges show is shown only if this shows it too; or null

  PagedRows keys, values;
  int32_t key_begin, key_end;  // of the split; key_begin is a multiple of kTileKeys

  // Logits rise towards a row's own position, so a kernel whose maxima rise late takes the keys
  // from the last to the first. Part of what a row's bits follow from: the same for all rows that
  // share keys. Not together with `continues`.
  bool descends;
  // No slope is above kMostGentleSlope, nor below 0, of all heads that share the keys.
  bool is_gentle;

  State state;     // written
  bool continues;  // the state of the split's earlier keys is there already; otherwise it is empty

  // Scratch.
  uint64_t* seen;        // [2, num_rows] keys of a tile that the row sees: of this tile, the next
  float* rescale;        // [num_rows], padded
  float* scores;         // [num_rows, kTileKeys]
  float* packed_keys;    // [kTileKeys, head_dim] in the kernel's order
  float* packed_values;  // [kTileKeys, padded head_dim_v] in the kernel's order
  void* own;             // [own_bytes] of a kernel that has such, in place of all from `queries` on
};

// Rows of keys or values that become codes by the rules of core/kv_format.h: code = x * (1 /
// scale).
struct EncodeTask {
  Element element, code;    // code is int8 or e4m3
  int32_t num_rows, dim;    // dim is a multiple of 8
  const void* const* from;  // [num_rows] of dim elements
  void* const* to;          // [num_rows] of dim codes

  const float* scale;  // [num_rows], or [dim] of columns, or [1] of all
  enum class Of : uint8_t { row, column, all } scale_of;
};

struct Kernels {
  // What the shapes above call padded: the columns of a row of o, and of a packed row of values.
  int32_t (*padded_dim)(int32_t head_dim_v);

  // Writes task.state.
  void (*attend)(const AttendTask& task);

  // into = into merged with from, row by row. An empty side leaves the other's bits.
  void (*merge_states)(State into, State from, int32_t num_rows, int32_t head_dim_v);

  // to[i] = from[i] as float, n elements; n is a multiple of 8
  void (*widen)(Element element, const void* from, float* to, int32_t n);

  // to = row of o * weight / divisor, times the scale of its column if there are such, rounded to
  // the element. from: [padded head_dim_v] of values of element `values`, n columns of it;
  // column_scale: [n] or null
  void (*narrow)(Element values, const float* from, float weight, float divisor,
                 const float* column_scale, Element element, void* to, int32_t n);

  // to[i] = a[i] * weight_a + b[i] * weight_b; `to` may be a or b
  void (*blend)(Element element, const void* a, float weight_a, const void* b, float weight_b,
                void* to, int32_t n);

  // absmax[row]: the largest |element| of the row, NaN aside; infinities count as themselves. from:
  // [num_rows] of dim elements, dim a multiple of 8
  void (*absmax)(Element element, const void* const* from, int32_t num_rows, int32_t dim,
                 float* absmax);

  void (*encode)(const EncodeTask& task);

  // n is a multiple of 16. exp is for x up to 87.
  void (*exp)(const float* x, float* y, int32_t n);
  void (*tanh)(const float* x, float* y, int32_t n);

  // For tests. rows: [kTileKeys] of head_dim elements; unpacked: [kTileKeys, head_dim]. A pack and
  // its reverse.
  void (*pack_keys_and_back)(Element element, const void* const* rows, int32_t head_dim,
                             float* packed, float* unpacked);
  void (*pack_values_and_back)(Element element, const void* const* rows, int32_t head_dim_v,
                               float* packed, float* unpacked);

  // Rows whose outputs lie together in a state: row r, column c is element
  // (r / row_group * padded_dim + c) * row_group + r % row_group of o. 1 or kRowPadding.
  int32_t row_group = 1;

  // Keys of a split where the plan does not say; a multiple of kTileKeys. Part of what a row's bits
  // follow from.
  int32_t split_keys = 8 * kTileKeys;

  // What o of a state is multiplied by to be what it says where values have scales of their tokens.
  float scaled_values_unit = 1;

  // Rows of a tile at most, for heads of up to 128; these change speed, never results.
  int32_t max_rows = 384;

  // Of a kernel with scratch and queries in a form of its own, otherwise null: bytes of a thread, a
  // multiple of 64; and what puts the queries of an item there, before attend.
  int64_t (*own_bytes)(int32_t head_dim, int32_t head_dim_v, int32_t max_rows) = nullptr;
  void (*take_queries)(const QueryRows& queries, int32_t head_dim_v, void* own) = nullptr;

  // Whether `attend` wants score expressions as steps.
  bool takes_score_steps = false;

  // Whether `attend` heeds task.descends.
  bool may_descend = false;

  // Of a kernel with groups of kRowPadding rows: `narrow` to bf16 or f16 for `count` rows of one at
  // once. o: of the group; weight, divisor: [kRowPadding]; column_scale: [head_dim_v] or null; to:
  // [count + coming] rows, those behind the group's for the groups that come next
  void (*narrow_group)(Element element, const float* o, int32_t count, int32_t head_dim_v,
                       const float* weight, const float* divisor, const float* column_scale,
                       void* const* to, int32_t coming) = nullptr;
};

// What a unit has that attends with tiles and leaves everything else to the vectors of another.
struct TileKernels {
  int32_t (*padded_dim)(int32_t head_dim_v);
  void (*attend)(const AttendTask& task);
  float scaled_values_unit;
  void (*merge_states)(State into, State from, int32_t num_rows, int32_t head_dim_v);
  int64_t (*own_bytes)(int32_t head_dim, int32_t head_dim_v, int32_t max_rows);
  void (*take_queries)(const QueryRows& queries, int32_t head_dim_v, void* own);
  void (*narrow_group)(Element element, const float* o, int32_t count, int32_t head_dim_v,
                       const float* weight, const float* divisor, const float* column_scale,
                       void* const* to, int32_t coming);
};

namespace scalar {
extern const Kernels kKernels;
}
#ifdef PAGODA_CPU_X86
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
// Tiles of bf16, and of f16.
namespace amx {
extern const TileKernels kTileKernels;
// For tests: c += a x b. a: [16, 16, 2] and b: [16, 16, 2] of the tiles' element, c: [16, 16], all
// aligned to 64
void multiply_tiles(const void* a, const void* b, float* c);
// For tests: halves[i] = codes[i] as number of the tiles' element, for int8 and e4m3; zeros up to
// the next multiple of 64. halves is aligned to 64 bytes
void convert_codes(Element element, const void* codes, int32_t dim, void* halves);
// For tests: the steps over a tile. scores: [kTileKeys, 16], aligned to 64
void run_score_steps(const ScoreSteps& steps, int32_t first_row, int32_t num_rows,
                     int32_t first_key, float* scores);
}  // namespace amx
namespace amx_fp16 {
extern const TileKernels kTileKernels;
void multiply_tiles(const void* a, const void* b, float* c);
void convert_codes(Element element, const void* codes, int32_t dim, void* halves);
void run_score_steps(const ScoreSteps& steps, int32_t first_row, int32_t num_rows,
                     int32_t first_key, float* scores);
}  // namespace amx_fp16
#endif
#ifdef PAGODA_CPU_ARM64
namespace neon {
extern const Kernels kKernels;
}
#endif

}  // namespace pagoda::cpu
