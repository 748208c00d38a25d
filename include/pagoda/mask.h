/*
 * mask.h - masks and scores of your own: expressions, and the block masks that are made of them.
 *
 *     pagoda_expr_create       once: "q >= k && q - k < window", with the names that it uses
 *     pagoda_mask_create       once per distinct mask of a model
 *     each step:
 *       pagoda_expr_set_...    what the names hold, where that has changed
 *       pagoda_mask_build      once per mask: for each tile of queries, the tiles of keys it sees
 *       pagoda_plan_prepare    with batch.block_mask
 *
 * docs/guides/custom-masks.md describes the language, mask.hpp writes it with C++ operators. What
 * holds for every function of pagoda.h holds here, but that all of this is host memory. An object
 * is used by one thread at a time.
 */
#ifndef PAGODA_MASK_H_
#define PAGODA_MASK_H_

#include <pagoda/pagoda.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Expressions
 */

typedef enum pagoda_expr_kind PAGODA_ENUM_WIDTH {
  PAGODA_EXPR_MASK = 0, /* a boolean: whether the query sees the key */
  PAGODA_EXPR_SCORE = 1 /* a number: the logit in place of `score` */
} pagoda_expr_kind;

typedef enum pagoda_name_type PAGODA_ENUM_WIDTH {
  PAGODA_NAME_INT = 0,  /* 64 bits; 32 in tables */
  PAGODA_NAME_FLOAT = 1 /* 32 bits */
} pagoda_name_type;

/* A name that an expression may use: a parameter, or a table of so many dimensions. */
typedef struct pagoda_name {
  const char* name;
  pagoda_name_type type;
  int32_t num_dims; /* 0: a parameter; 1 to 3: a table */
} pagoda_name;

typedef struct pagoda_expr_options {
  uint32_t struct_size;
  pagoda_expr_kind kind;
  const char* text;
  const pagoda_name* names; /* [num_names] */
  int32_t num_names;
} pagoda_expr_options;

/* A wrong text is PAGODA_INVALID_ARGUMENT; the error has three lines: the sentence with its column,
 * the line of the text, and a caret below it. */
PAGODA_API pagoda_status pagoda_expr_create(const pagoda_expr_options* options, pagoda_expr** out);

/* A mask of the gallery by its name ("window"), or any mask over the gallery's names, which then
 * hold sample values for so many requests, positions and heads. For pictures and trials. */
PAGODA_API pagoda_status pagoda_expr_from_gallery(const char* text, int32_t num_reqs,
                                                  int32_t max_seq_len, int32_t num_heads,
                                                  pagoda_expr** out);

/* Plans and masks that were made with it are destroyed first. */
PAGODA_API void pagoda_expr_destroy(pagoda_expr* expr);

/* Until it is set a parameter is 0 and a table is empty. */
PAGODA_API pagoda_status pagoda_expr_set_int(pagoda_expr* expr, const char* name, int64_t value);
PAGODA_API pagoda_status pagoda_expr_set_float(pagoda_expr* expr, const char* name, float value);

/* data: [shape[0], shape[1], shape[2]], packed, as many dimensions as were declared; borrowed until
 * it is set again. Set it again whenever its elements have changed. `outside` is the value of a
 * lookup outside the table. */
PAGODA_API pagoda_status pagoda_expr_set_int_table(pagoda_expr* expr, const char* name,
                                                   const int32_t* data, const int64_t* shape,
                                                   int32_t num_dims, int64_t outside);
PAGODA_API pagoda_status pagoda_expr_set_float_table(pagoda_expr* expr, const char* name,
                                                     const float* data, const int64_t* shape,
                                                     int32_t num_dims, float outside);

/* The value at one place: 0 or 1 of a mask, the logit of a score. What attention does, slowly. */
typedef struct pagoda_place {
  uint32_t struct_size;
  int32_t request, head, kv_head;
  int64_t query, key; /* positions in the sequence */
  int64_t seq_len, query_len;
  float score;
} pagoda_place;
PAGODA_API pagoda_status pagoda_expr_evaluate(const pagoda_expr* expr, const pagoda_place* place,
                                              float* out);

/* ---------------------------------------------------------------------------------------------
 * Block masks
 */

/*
 * A mask as data. Tiles of queries never span two requests: request r owns the tiles
 * [tile_start[r], tile_start[r + 1]), which cover its queries of this step from the first on. Tiles
 * of keys count positions in the sequence, whatever pages the keys lie in. A tile that is not
 * listed has no visible pair and is never loaded; one listed with bits_at -1 has no hidden pair
 * among the queries and keys that exist; of the others, bit i of word w of a row of bits is key
 * tile * tile_kv + 32 * w + i.
 *
 * Arrays lie where the plan's backend computes. They may come from anywhere: pagoda_mask_build
 * writes them on the host.
 */
struct pagoda_block_mask {
  uint32_t struct_size;
  int32_t tile_q, tile_kv; /* 1 to 256 queries; 32, 64, 128 or 256 keys */
  int32_t num_reqs;
  int32_t num_tiles_q; /* of all requests */
  int32_t num_heads;   /* 1: the same for all; num_kv_heads; or num_heads. Head h of H has the lists
                          of head h * num_heads / H here */
  const int32_t* tile_start; /* [num_reqs + 1] */
  const int32_t* row_start;  /* [num_heads * num_tiles_q + 1] into tile and bits_at, never falls */
  const int32_t* tile;       /* [num_entries] tiles of keys, rising within a row */
  const int32_t* bits_at;    /* [num_entries] where its bits begin, in words; -1: all visible */
  const uint32_t* bits;      /* [num_words], of a tile [queries that exist, tile_kv / 32] */
  int64_t num_entries, num_words;
};

typedef struct pagoda_mask_options {
  uint32_t struct_size;
  int32_t tile_q, tile_kv; /* 0: 128 */
  int32_t num_heads, num_kv_heads;
  int32_t max_reqs, max_tokens, max_seq_len; /* as in pagoda_limits */

  /* For a plan whose spec.shard deals keys out to ranks: the mask of one rank. Its tiles count the
   * keys that the rank keeps, in their order; the expression's k is their position in the sequence
   * all the same, and heads are those of all ranks. num_ranks 0 or 1: every key. */
  int32_t rank, num_ranks, shard_interleave; /* the last as in pagoda_spec */
} pagoda_mask_options;

/* Builds the block masks of one expression, one step after the other. */
typedef struct pagoda_mask pagoda_mask;

/* The expression outlives the mask. All allocation is here. */
PAGODA_API pagoda_status pagoda_mask_create(const pagoda_expr* expr,
                                            const pagoda_mask_options* options, pagoda_mask** out);
PAGODA_API void pagoda_mask_destroy(pagoda_mask* mask);

/* How large the arrays of a block mask are, in elements. */
typedef struct pagoda_mask_capacity {
  uint32_t struct_size;
  int64_t reqs;    /* of tile_start, less one */
  int64_t rows;    /* of row_start, less one */
  int64_t entries; /* of tile and of bits_at */
  int64_t words;   /* of bits */
} pagoda_mask_capacity;

/* Bytes of memory with room for so much. */
PAGODA_API size_t pagoda_mask_bytes(const pagoda_mask_capacity* capacity);

/* What one step needs, exactly; of the batch query_start_loc, seq_lens and num_reqs are read, on
 * the host. Takes as long as building. */
PAGODA_API pagoda_status pagoda_mask_measure(pagoda_mask* mask, const pagoda_batch* batch,
                                             pagoda_mask_capacity* out);

/* Enough for every step within the limits, whatever the expression: far more than a useful mask
 * needs. */
PAGODA_API pagoda_status pagoda_mask_upper_bound(const pagoda_mask* mask,
                                                 pagoda_mask_capacity* out);

/*
 * memory: [pagoda_mask_bytes(capacity)], aligned to 64. The arrays of `out` point into it. Given
 * the same memory and capacity as the step before, and nobody has written there since, only what
 * has changed is written: a decode step touches a tile or two per request. Allocates nothing.
 * PAGODA_WORKSPACE_TOO_SMALL says how much is needed.
 */
PAGODA_API pagoda_status pagoda_mask_build(pagoda_mask* mask, const pagoda_batch* batch,
                                           const pagoda_mask_capacity* capacity, void* memory,
                                           pagoda_block_mask* out);

/* ---------------------------------------------------------------------------------------------
 * Pictures
 */

typedef enum pagoda_picture PAGODA_ENUM_WIDTH {
  PAGODA_PICTURE_TEXT = 0,   /* two characters per tile or group of tiles */
  PAGODA_PICTURE_SVG = 1,    /* a square per tile or group of tiles */
  PAGODA_PICTURE_SUMMARY = 2 /* one line: tiles full, partial, empty; shares read and visible */
} pagoda_picture;

typedef struct pagoda_picture_options {
  uint32_t struct_size;
  pagoda_picture picture;
  int32_t request, mask_head;
  int32_t size;      /* characters or user units across; 0: 64 or 512 */
  const char* title; /* of an SVG; may be NULL */
} pagoda_picture_options;

/* One request of a block mask on the host, as text. Returns the length without the final zero;
 * writes at most `capacity` bytes. 0 on an error. */
PAGODA_API size_t pagoda_mask_draw(const pagoda_block_mask* mask, const pagoda_batch* batch,
                                   const pagoda_picture_options* options, char* buffer,
                                   size_t capacity);

/* The masks that pagoda_expr_from_gallery knows by name. The strings live as long as the program.
 */
typedef struct pagoda_gallery_entry {
  uint32_t struct_size;
  const char *name, *text, *meaning;
} pagoda_gallery_entry;
PAGODA_API int32_t pagoda_gallery_size(void);
PAGODA_API pagoda_status pagoda_gallery_get(int32_t index, pagoda_gallery_entry* out);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PAGODA_MASK_H_ */
