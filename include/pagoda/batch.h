/*
 * batch.h - arithmetic on the batches of an engine: which order its requests stand in, where one
 * kind of request ends and the next begins, and batches that are made from other batches.
 *
 * Every function is pure: it reads and writes host arrays and touches no device, no plan and no
 * cache. An engine whose batches lie on a device calls them while it assembles a step, and copies
 * the results with the rest. Nothing of this is needed to attend: a plan serves any mixture.
 *
 * What pagoda.h says about structs, statuses and errors holds here too. A call that fails writes
 * nothing.
 */
#ifndef PAGODA_BATCH_H_
#define PAGODA_BATCH_H_

#include <pagoda/pagoda.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Order
 */

/* In the order in which the requests of a step stand after pagoda_order_batch. */
typedef enum pagoda_request_kind PAGODA_ENUM_WIDTH {
  PAGODA_DECODE = 0,       /* has context, at most `threshold` tokens, prompt done */
  PAGODA_SHORT_EXTEND = 1, /* has context, at most `threshold` tokens, prompt not done */
  PAGODA_LONG_EXTEND = 2,  /* has context, more tokens */
  PAGODA_PREFILL = 3       /* no context, however few tokens */
} pagoda_request_kind;

typedef struct pagoda_threshold_options {
  uint32_t struct_size;
  int32_t threshold;             /* query tokens up to which a request counts as a decode; 0: 1 */
  int32_t num_speculative;       /* draft tokens that are verified in one step; 0: none */
  int32_t parallel_drafting;     /* 1: a drafter that needs as many rows again */
  int32_t uniform_decodes_only;  /* 1: the decode path cannot verify drafts; they do not count */
  int32_t num_ranks;             /* of a decode-context-parallel group; 0: 1 */
  int32_t single_token_on_ranks; /* 1: with several ranks the decode path takes one token */
} pagoda_threshold_options;

/* The threshold of one kind of layer. An engine with several takes the smallest. */
PAGODA_API pagoda_status pagoda_decode_threshold(const pagoda_threshold_options* options,
                                                 int32_t* threshold);

/* What an engine knows about the requests of a step, on the host. */
typedef struct pagoda_step_requests {
  uint32_t struct_size;
  int32_t num_reqs;
  const int32_t* query_lens;   /* [num_reqs] tokens computed in this step */
  const int32_t* num_computed; /* [num_reqs] tokens with keys before this step */
  const int32_t* num_prompt;   /* [num_reqs] tokens of the prompt */
} pagoda_step_requests;

/* kinds: [num_reqs] out. */
PAGODA_API pagoda_status pagoda_classify_requests(const pagoda_step_requests* requests,
                                                  int32_t threshold, pagoda_request_kind* kinds);

/*
 * order: [num_reqs] out; place i is for request order[i]. Kinds stand in regions, one behind the
 * other. Requests that stand in the region of their kind keep their places; those that do not take
 * the places left over, in order of kind and then of old place. *changed: 1 if any moves.
 */
PAGODA_API pagoda_status pagoda_order_batch(const pagoda_step_requests* requests, int32_t threshold,
                                            int32_t* order, int32_t* changed);

/* Brings an array of the engine into the order: rows: [num_reqs] elements of row_size bytes,
 * stride bytes apart, moved in place. */
PAGODA_API pagoda_status pagoda_apply_order(const int32_t* order, int32_t num_reqs, void* rows,
                                            size_t row_size, size_t stride);

/* ---------------------------------------------------------------------------------------------
 * Split
 */

typedef struct pagoda_split_options {
  uint32_t struct_size;
  int32_t threshold;                  /* as for the order; 0: 1 */
  int32_t uniform;                    /* 1: decodes all have the length of the first request */
  int32_t short_extends_are_prefills; /* 1: what still reads its prompt is no decode */
  const uint8_t* prefilling;          /* [num_reqs] 1: still reads its prompt; read only if
                                         short_extends_are_prefills */
} pagoda_split_options;

/* Requests [0, num_decodes), then extends, then prefills; tokens likewise. Tokens of padding belong
 * to the last part that has requests. */
typedef struct pagoda_split {
  uint32_t struct_size;
  int32_t num_decodes, num_extends, num_prefills;
  int32_t num_decode_tokens, num_extend_tokens, num_prefill_tokens;
} pagoda_split;

/*
 * Where the decodes of an ordered batch end; what follows counts as prefills (num_extends is 0).
 * The first request that is no decode begins them: one longer than the threshold, or, if uniform,
 * one of another length than the first. A uniform batch whose other requests are empty is a padded
 * one and has decodes alone, so that their number is that of the graph.
 *   query_start_loc  [num_reqs + 1]
 *   num_tokens       padding included; at least query_start_loc[num_reqs]
 */
PAGODA_API pagoda_status pagoda_split_decodes(const int32_t* query_start_loc, int32_t num_reqs,
                                              int32_t num_tokens,
                                              const pagoda_split_options* options,
                                              pagoda_split* out);

/* The same in three parts. A request longer than the threshold is a prefill if it has no context
 * (its seq_len is its query length), else an extend.
 *   seq_lens  [num_reqs] upper bounds do */
PAGODA_API pagoda_status pagoda_split_extends(const int32_t* query_start_loc,
                                              const int32_t* seq_lens, int32_t num_reqs,
                                              int32_t num_tokens, int32_t threshold,
                                              pagoda_split* out);

/* ---------------------------------------------------------------------------------------------
 * Batches from batches. The arrays of `batch` are on the host. A block mask is made for the
 * requests of one batch: what comes out of these functions has none, and gets one of its own.
 */

/*
 * Requests [first, first + count) as a batch of their own. Everything but query_start_loc is
 * borrowed from `batch`, so there is nothing to keep up to date: when another group's page table or
 * slots are put into `batch`, call this again with the same query_start_loc.
 *   query_start_loc  [count + 1] out, from 0; NULL: `out` borrows it as well, if first is 0
 *   first_token      out; rows of query, out, key and value of the sub-batch begin here
 */
PAGODA_API pagoda_status pagoda_sub_batch(const pagoda_batch* batch, int32_t first, int32_t count,
                                          int32_t* query_start_loc, pagoda_batch* out,
                                          int32_t* first_token);

/*
 * Only some tokens of a batch as queries: those whose logits are wanted, in layers that read the
 * cache of another layer and so have nothing to write for the rest of a prompt. They are the last
 * query tokens of each request; a batch of decodes is all of them and passes through.
 *   tokens           [num_tokens] rows of the whole batch, ascending; the rows of query and out
 *   query_start_loc  [batch->num_reqs + 1] out
 */
PAGODA_API pagoda_status pagoda_last_queries(const pagoda_batch* batch, const int32_t* tokens,
                                             int32_t num_tokens, int32_t* query_start_loc,
                                             pagoda_batch* out);

/*
 * Makes a batch as large as a graph that was captured: requests without queries or keys, tokens
 * that belong to nobody, slots that are not written, rows of the null page. The arrays of `batch`
 * have room for that many and are completed in place.
 */
PAGODA_API pagoda_status pagoda_pad_batch(pagoda_batch* batch, int32_t num_reqs,
                                          int32_t num_tokens);

/*
 * Chunked local attention: a query sees the keys of its own chunk of the sequence, up to itself.
 * Each request becomes a virtual one per chunk that its queries touch, which a causal plan then
 * serves. Query tokens, and so slots and outputs, keep their places.
 */
typedef struct pagoda_chunked_batch {
  uint32_t struct_size;
  int32_t capacity;         /* virtual requests there is room for */
  int32_t num_reqs;         /* out */
  int32_t max_query_len;    /* out */
  int32_t max_seq_len;      /* out */
  int32_t* query_start_loc; /* [capacity + 1] out */
  int32_t* seq_lens;        /* [capacity] out */
  int32_t* request;         /* [capacity] out: the real one */
  int32_t* first_page; /* [capacity] out: the column of its page table where the chunk begins */
} pagoda_chunked_batch;

/* At most this many virtual requests come from the batch. */
PAGODA_API pagoda_status pagoda_chunked_capacity(const pagoda_batch* batch, int32_t chunk,
                                                 int32_t* capacity);

/* chunk: tokens, a multiple of page_size. */
PAGODA_API pagoda_status pagoda_make_chunked(const pagoda_batch* batch, int32_t chunk,
                                             int32_t page_size, pagoda_chunked_batch* chunked);

/*
 * The page table of the virtual requests, from that of the real ones; once for every group of
 * layers that shares them. Columns beyond the table repeat its last one; no query sees them.
 *   page_table  [chunked->num_reqs, chunk / page_size] out
 */
PAGODA_API pagoda_status pagoda_chunked_table(const pagoda_chunked_batch* chunked,
                                              const pagoda_batch* batch, int32_t chunk,
                                              int32_t page_size, int32_t* page_table);

/*
 * Cross attention: queries of the decoder over keys of an encoder. The encoder's keys are written
 * once, in the step in which a request begins (num_computed 0); later steps only attend.
 */
typedef struct pagoda_cross_batch {
  uint32_t struct_size;
  int32_t num_reqs;
  const int32_t* encoder_lens; /* [num_reqs] */
  const int32_t* num_computed; /* [num_reqs] tokens of the decoder that are computed already */
  const int32_t* page_table;   /* [num_reqs, page_table_stride] of the encoder's keys */
  int64_t page_table_stride;
  int32_t page_table_width;
  int32_t page_size;
  int32_t num_keys;        /* out: rows of key and value in this step; may be 0 */
  int32_t max_encoder_len; /* out */
  int32_t* key_start_loc;  /* [num_reqs + 1] out: rows of each request; none after the first step */
  int64_t* slot_mapping;   /* [slot_capacity] out: num_keys of them */
  int32_t slot_capacity;
} pagoda_cross_batch;

/* With the results, keys are written by a batch {query_start_loc = key_start_loc, seq_lens =
 * encoder_lens, num_tokens = num_keys, slot_mapping}, and attended to by one of the decoder's
 * queries with seq_lens = encoder_lens under a plan that is not causal. */
PAGODA_API pagoda_status pagoda_make_cross(pagoda_cross_batch* cross);

/* ---------------------------------------------------------------------------------------------
 * Layers that share a cache
 */

typedef enum pagoda_attention_type PAGODA_ENUM_WIDTH {
  PAGODA_DECODER = 0,
  PAGODA_ENCODER = 1,
  PAGODA_ENCODER_ONLY = 2,
  PAGODA_ENCODER_DECODER = 3
} pagoda_attention_type;

typedef struct pagoda_shared_layer {
  uint32_t struct_size;
  const char* name;
  pagoda_attention_type type;
  const char* target; /* the layer whose keys and values this one reads; NULL: its own */
} pagoda_shared_layer;

/*
 * Checks layers in the order of the model: a target is another layer, comes before, has a cache of
 * its own, and is of the same type. A layer with a target never calls pagoda_update_cache.
 *   layers  [num_layers], layers[0].struct_size bytes apart
 *   cache   [num_layers] out: the index of the layer whose cache each one reads; may be NULL
 */
PAGODA_API pagoda_status pagoda_check_sharing(const pagoda_shared_layer* layers, int32_t num_layers,
                                              int32_t* cache);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PAGODA_BATCH_H_ */
