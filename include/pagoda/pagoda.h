/*
 * pagoda.h - attention for LLM inference over a paged KV cache.
 *
 * This is the C interface of the attention layer; kv.h beside it is the C interface of the paged
 * cache as a data structure (pages, prefix sharing, tables, slots), and comm.h that of ranks.
 * pagoda.hpp and kv.hpp wrap them in C++ types, and everything else in the library is private.
 *
 * The life of a model:
 *
 *     pagoda_context_create      once per device
 *     pagoda_plan_create         once per kind of layer; chooses a kernel, fixes the workspace size
 *     each step:
 *       pagoda_plan_prepare      once per plan
 *       each layer:
 *         pagoda_update_cache    write the new keys and values into their pages
 *         pagoda_forward         attend
 *
 * What holds for every function:
 *
 *   - It returns a status. pagoda_last_error() then holds a sentence for this thread.
 *   - It allocates no device memory and does not wait for the device, except create and destroy.
 *   - It queues its work on the stream that it is given (NULL on the CPU, where it returns when the
 *     work is done).
 *   - Lengths, tables and slots are read on the device. A captured graph may be replayed after they
 *     change, as long as they stay within the plan's limits.
 *   - Tensors are borrowed for the call. Strides count elements. The last dimension has stride 1.
 *   - Bytes that no query may see have no influence on any output bit, whatever they hold.
 *
 * Every struct begins with its own size, so that it can grow: set `struct_size = sizeof(it)` and
 * zero what you do not use (PAGODA_INIT does both). A field that this version does not know must
 * be zero; a shorter struct of an older header is read as if the missing fields were zero.
 */
#ifndef PAGODA_PAGODA_H_
#define PAGODA_PAGODA_H_

#include <stddef.h>
#include <stdint.h>

#define PAGODA_VERSION_MAJOR 0
#define PAGODA_VERSION_MINOR 1
#define PAGODA_ABI_VERSION 1

#if defined(_WIN32)
#define PAGODA_API __declspec(dllexport)
#else
#define PAGODA_API __attribute__((visibility("default")))
#endif

/* In C++ an enum of fixed width, which may hold any number that a caller passes in it. */
#ifdef __cplusplus
#define PAGODA_ENUM_WIDTH : int32_t
#else
#define PAGODA_ENUM_WIDTH
#endif

/* The value to start from: pagoda_spec spec = PAGODA_INIT(pagoda_spec); */
#ifdef __cplusplus
#define PAGODA_INIT(type)        \
  ([] {                          \
    type it{};                   \
    it.struct_size = sizeof(it); \
    return it;                   \
  }())
#else
#define PAGODA_INIT(type) ((type){.struct_size = sizeof(type)})
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Status
 */

typedef enum pagoda_status PAGODA_ENUM_WIDTH {
  PAGODA_OK = 0,
  PAGODA_INVALID_ARGUMENT = 1,    /* the call contradicts this header */
  PAGODA_UNSUPPORTED = 2,         /* legal, but no kernel here does it; the error says which part */
  PAGODA_OUT_OF_LIMITS = 3,       /* larger than the plan's limits */
  PAGODA_WORKSPACE_TOO_SMALL = 4, /* the error says how much is needed */
  PAGODA_OUT_OF_MEMORY = 5,
  PAGODA_DEVICE_ERROR = 6, /* the CUDA runtime reported an error */
  PAGODA_COMM_ERROR = 7,   /* a collective failed or timed out */
  PAGODA_INTERNAL = 8,     /* a bug in this library */
  PAGODA_OUT_OF_PAGES = 9  /* kv.h: the pool has too few free pages; nothing was taken */
} pagoda_status;

PAGODA_API const char* pagoda_status_name(pagoda_status status);

/* The last failure on this thread; valid until the next failing call on it. Never NULL. */
PAGODA_API const char* pagoda_last_error(void);

/* PAGODA_ABI_VERSION of the library that is linked. */
PAGODA_API int32_t pagoda_abi_version(void);

/* ---------------------------------------------------------------------------------------------
 * Tensors
 */

typedef enum pagoda_dtype PAGODA_ENUM_WIDTH {
  PAGODA_F32 = 0,
  PAGODA_F16 = 1,
  PAGODA_BF16 = 2,
  PAGODA_FP8_E4M3 = 3,
  PAGODA_INT8 = 4
} pagoda_dtype;

#define PAGODA_MAX_DIMS 5

typedef struct pagoda_tensor {
  uint32_t struct_size;
  pagoda_dtype dtype;
  void* data;
  int32_t num_dims;
  int64_t shape[PAGODA_MAX_DIMS];
  int64_t stride[PAGODA_MAX_DIMS]; /* in elements; ignored where the shape is 1 */
} pagoda_tensor;

typedef void* pagoda_stream; /* cudaStream_t; NULL on the CPU */

/* ---------------------------------------------------------------------------------------------
 * Context: one device
 */

typedef struct pagoda_comm pagoda_comm;

/* A host that lends its threads: calls task(argument, i) once for each i in [0, count), at the same
 * time where it can, and returns when all calls have returned. Tasks do not wait for one another.
 */
typedef void (*pagoda_run_tasks)(void* host, int32_t count,
                                 void (*task)(void* argument, int32_t index), void* argument);

typedef struct pagoda_context_options {
  uint32_t struct_size;
  int32_t device;          /* CUDA device number */
  const char* backend;     /* "cuda", "cpu", "reference"; NULL: the best one present */
  int32_t num_threads;     /* CPU; 0: all cores this process may use */
  const char* isa;         /* CPU: "scalar", "avx2", "avx512", "amx", "amx_fp16", "neon"; or NULL */
  const pagoda_comm* comm; /* comm.h: the ranks that share sequences; NULL: this one alone. Copied;
                              pagoda_comm_destroy comes after the context's end */
  pagoda_run_tasks run_tasks; /* CPU: num_threads tasks at a time run on the host's threads, and
                                 calls of one context follow each other; NULL: it has its own */
  void* host;                 /* for run_tasks */
} pagoda_context_options;

typedef struct pagoda_context pagoda_context;

/* A NULL `options` means all defaults. */
PAGODA_API pagoda_status pagoda_context_create(const pagoda_context_options* options,
                                               pagoda_context** out);
PAGODA_API void pagoda_context_destroy(pagoda_context* context);

/* The backends of this build, what this machine has, and why the others are not available, as
 * text. Returns the length without the final zero; writes at most `capacity` bytes. */
PAGODA_API size_t pagoda_doctor(char* buffer, size_t capacity);

/* ---------------------------------------------------------------------------------------------
 * Plan: what is decided before the first step
 */

/*
 * How keys and values are stored in their pages, and which scales a layer has. A scale of a token
 * is max(absmax / largest, 1e-6) of its row, with largest 127 (int8) or 448 (e4m3);
 * pagoda_update_cache computes it. The other scales are the caller's. Stored is x * (1 / scale),
 * int8 rounded half away from zero, e4m3 to nearest even, both clamped; a NaN is stored as 0 in
 * int8 and as NaN in e4m3.
 */
typedef enum pagoda_kv_format PAGODA_ENUM_WIDTH {
  PAGODA_KV_SAME = 0,           /* the query's type; no scales */
  PAGODA_KV_FP8_E4M3 = 1,       /* scales of heads [num_kv_heads]; one for all by stride 0 */
  PAGODA_KV_FP8_E4M3_TOKEN = 2, /* scales of tokens [num_pages, page_size, num_kv_heads] */
  PAGODA_KV_INT8_TOKEN = 3,     /* scales of tokens, for keys and for values */
  PAGODA_KV_INT8_CHANNEL_V = 4, /* keys: scales of tokens; values: [num_kv_heads, head_dim_v] */
  PAGODA_KV_INT8_KEYS = 5       /* keys: scales of tokens; values in the query's type */
} pagoda_kv_format;

/*
 * What the queries are. Their scales stand in pagoda_layer.query_scale and multiply the logits;
 * pagoda_quantise_query makes both. Keys may have any format. The product of int8 queries with int8
 * keys is an exact integer: at most 512 * 128 * 128 = 2^23, which float holds.
 */
typedef enum pagoda_query_format PAGODA_ENUM_WIDTH {
  PAGODA_QUERY_SAME = 0,    /* spec.dtype; no scales */
  PAGODA_QUERY_INT8 = 1,    /* scales of tokens and heads [num_tokens, num_heads] */
  PAGODA_QUERY_FP8_E4M3 = 2 /* scales of key heads [num_kv_heads]; one for all by stride 0 */
} pagoda_query_format;

typedef enum pagoda_alibi PAGODA_ENUM_WIDTH {
  PAGODA_ALIBI_NONE = 0,
  PAGODA_ALIBI_LINEAR = 1, /* + slope * (j - p) for key position j and query position p */
  PAGODA_ALIBI_SQRT = 2    /* - slope * sqrt(p - j) for j <= p, + 0 beyond */
} pagoda_alibi;

typedef struct pagoda_expr pagoda_expr;             /* mask.h: an expression of your own */
typedef struct pagoda_block_mask pagoda_block_mask; /* mask.h: which keys a query sees, as data */

/*
 * Context parallelism: the keys of every sequence are dealt out to the ranks of the context's comm,
 * the token at position p to rank (p / shard_interleave) % num_ranks. Lengths and positions stay
 * those of the sequence; pages hold a rank's own tokens, in order, so page n of a request has the
 * tokens number n * page_size and following of this rank. slot_mapping has the slots of this rank's
 * tokens and -1 for the others (pagoda_local_slots). Scales of heads are the same on all ranks.
 * All ranks call prepare and forward with the same batch, in the same order, after each has written
 * its share of the step's keys.
 */
typedef enum pagoda_shard PAGODA_ENUM_WIDTH {
  PAGODA_SHARD_NONE = 0,       /* every rank keeps all keys; no rank waits for another */
  PAGODA_SHARD_KEYS = 1,       /* ranks share their num_kv_heads; each has num_heads of its own */
  PAGODA_SHARD_KEYS_COPIES = 2 /* ranks have the same queries, and all get the same result */
} pagoda_shard;

/*
 * One kind of layer. With p the position of a query in its sequence (queries are its last tokens)
 * and j that of a key, the logit is
 *
 *     s = softmax_scale * (q . k)
 *     s = logit_softcap * tanh(s / logit_softcap)      if logit_softcap > 0
 *     s = s + ALiBi(p, j)
 *     s = score_expr(s, p, j, head, ...)               if there is one
 *     s = -inf                                          where the mask hides j from p
 *
 * and the mask shows j to p if 0 <= j < seq_len, j <= p (causal), and
 * p - window_left <= j <= p + window_right. A sink is a logit that joins the denominator alone.
 */
typedef struct pagoda_spec {
  uint32_t struct_size;
  int32_t num_heads, num_kv_heads; /* num_heads is a multiple of num_kv_heads */
  int32_t head_dim, head_dim_v;    /* multiples of 8 up to 512; head_dim_v 0: head_dim */
  pagoda_dtype dtype;              /* of query, key, value and out: F32, F16 or BF16 */
  pagoda_kv_format kv_format;
  int32_t page_size;    /* tokens per page, a multiple of 8; 0: no cache, keys come with the call */
  float softmax_scale;  /* 0: 1/sqrt(head_dim) */
  float logit_softcap;  /* 0: none */
  int32_t causal;       /* 1: j <= p */
  int32_t has_window;   /* 1: the two fields below count; 0: every distance is visible */
  int32_t window_left;  /* keys further back than this are hidden; -1: none are */
  int32_t window_right; /* likewise ahead; of no effect under causal; -1: none are */
  pagoda_alibi alibi;   /* not NONE: every layer has alibi_slopes */
  int32_t has_sinks;    /* 1: every layer has sinks */
  pagoda_shard shard;   /* not NONE: the context has a comm, the plan a cache */
  int32_t shard_interleave;         /* tokens; page_size is a multiple of it; 0: 1 */
  pagoda_query_format query_format; /* not SAME: query is INT8 or FP8_E4M3; out stays dtype */
  int32_t has_block_mask;        /* 1: every step has batch.block_mask, which shows what it shows of
                                    what the mask above shows; without causal it rules alone */
  const pagoda_expr* score_expr; /* mask.h: a score expression, which takes the place of the logit
                                    after soft-cap and ALiBi, before the mask; it outlives the plan,
                                    and what its names hold is read at each forward. NULL: none */
} pagoda_spec;

/* Upper bounds. They size grids and the workspace; exact lengths are never asked for. */
typedef struct pagoda_limits {
  uint32_t struct_size;
  int32_t max_reqs;
  int32_t max_tokens;    /* query tokens in one step, padding included */
  int32_t max_query_len; /* of one request; 0: max_tokens */
  int32_t max_seq_len;
  int64_t num_pages; /* pages of the cache: ids are 0 .. num_pages - 1; ignored without a cache */
} pagoda_limits;

/* Every automatic choice can be made by hand, so that every path can be tested. 0: automatic. */
typedef struct pagoda_tuning {
  uint32_t struct_size;
  int32_t num_splits; /* cut the keys of every request into this many; 1: never cut. Boundaries are
                         a function of a request's seq_len alone, also when automatic */
  const char* kernel; /* a name that pagoda_explain prints; NULL: the first that serves */
  int32_t cascade;    /* attend the keys of pages that requests share once for all of them: 0: where
                         it pays, 1: wherever it is possible, -1: never. No bit of a result changes */
} pagoda_tuning;

typedef struct pagoda_plan pagoda_plan;

/* `tuning` may be NULL. The context outlives the plan. */
PAGODA_API pagoda_status pagoda_plan_create(pagoda_context* context, const pagoda_spec* spec,
                                            const pagoda_limits* limits,
                                            const pagoda_tuning* tuning, pagoda_plan** out);
PAGODA_API void pagoda_plan_destroy(pagoda_plan* plan);

/* Bytes. Exact, and independent of any batch within the limits. The workspace is aligned to 256. */
PAGODA_API size_t pagoda_plan_workspace_size(const pagoda_plan* plan);

/* What will run and why: steps, kernel, splits, the map of the workspace. Text, as pagoda_doctor.
 */
PAGODA_API size_t pagoda_plan_describe(const pagoda_plan* plan, char* buffer, size_t capacity);

/* For each backend of this build: the kernel that would serve, or every reason why none does.
 * Text, as pagoda_doctor. `limits` and `tuning` may be NULL. */
PAGODA_API size_t pagoda_explain(const pagoda_spec* spec, const pagoda_limits* limits,
                                 const pagoda_tuning* tuning, char* buffer, size_t capacity);

/* ---------------------------------------------------------------------------------------------
 * Step
 */

/*
 * The requests of one step, their query tokens packed in order. Pointers are on the device and stay
 * valid and unchanged until the step's last forward has run.
 *
 * Padding, for graphs: a request without query tokens is skipped; the queries of one with seq_len 0
 * see no key; a token at or after query_start_loc[num_reqs] belongs to no request and gets out = 0,
 * lse = -inf; a slot below 0 is not written. Entries of a page_table row past the request's pages
 * are never read.
 */
typedef struct pagoda_batch {
  uint32_t struct_size;
  int32_t num_reqs;
  int32_t num_tokens;    /* rows of query, out, key and value */
  int32_t max_query_len; /* upper bounds for this step; 0: the plan's limits */
  int32_t max_seq_len;
  const int32_t* query_start_loc; /* [num_reqs + 1], first is 0, never falls */
  const int32_t* seq_lens;        /* [num_reqs], this step's tokens included; 0: padding */
  const int32_t* page_table;      /* [num_reqs, page_table_stride], or NULL without a cache */
  int64_t page_table_stride;      /* elements from row to row; at least page_table_width */
  int32_t page_table_width;       /* columns that may be read */
  const int64_t* slot_mapping;    /* [num_tokens], page * page_size + offset; below 0: do not write.
                                     NULL: this step never calls pagoda_update_cache */
  const int32_t* key_start_loc;   /* [num_reqs + 1] first row of each request in the call's key and
                                     value, for a plan without a cache; NULL: query_start_loc */
  const uint8_t* causal; /* [num_reqs] 1: causal, 0: not; NULL: all as the spec says. A request that
                            is not causal under a causal spec has window_right = window_left */
  const pagoda_block_mask*
      block_mask; /* of a spec that has one, made for these requests; its arrays
                     are the caller's until the step's last forward has run */
} pagoda_batch;

/* Writes the schedule into the workspace, which stays the plan's until the next prepare. */
PAGODA_API pagoda_status pagoda_plan_prepare(pagoda_plan* plan, const pagoda_batch* batch,
                                             void* workspace, size_t workspace_size,
                                             pagoda_stream stream);

/* What the prepared step does, from numbers that lie on the host. Filled by backends whose lengths
 * lie there; zero on the others. Bytes are those of one layer. */
typedef struct pagoda_step_info {
  uint32_t struct_size;
  int32_t cascade_groups; /* sets of requests that attend a range of shared keys together */
  int32_t cascade_levels; /* groups that go on where others end */
  int32_t cascade_reqs;   /* requests in groups */
  int64_t cascade_keys;   /* in the ranges of groups */
  int64_t key_bytes;      /* of keys and values, counted as often as a tile of queries reads them */
  int64_t key_bytes_flat; /* the same if no request shared with another */
} pagoda_step_info;

/* Set info->struct_size; fields that it does not reach are not written. */
PAGODA_API pagoda_status pagoda_plan_step_info(const pagoda_plan* plan, pagoda_step_info* info);

/* The same in words, and why: which requests share, or why none do. Text, as pagoda_doctor. */
PAGODA_API size_t pagoda_plan_describe_step(const pagoda_plan* plan, char* buffer, size_t capacity);

/* ---------------------------------------------------------------------------------------------
 * Layer
 */

/* What belongs to one layer. NHD, HND, K|V in one row, padded and cross-layer pages are all strides
 * of the same shape. */
typedef struct pagoda_layer {
  uint32_t struct_size;
  const pagoda_tensor* key_cache;   /* [num_pages, page_size, num_kv_heads, head_dim] */
  const pagoda_tensor* value_cache; /* [num_pages, page_size, num_kv_heads, head_dim_v] */
  const pagoda_tensor* key_scale;   /* float, shape by kv_format, any strides: a plane of its own
                                       or within the rows; NULL where the format has none */
  const pagoda_tensor* value_scale; /* likewise */
  const float* alibi_slopes;        /* [num_heads] if the spec has alibi, otherwise NULL */
  const float* sinks;               /* [num_heads] if the spec has sinks, otherwise NULL */
  const pagoda_tensor* query_scale; /* float, shape by query_format, any strides, read by
                                       pagoda_forward alone; NULL where the queries have none */
} pagoda_layer;

/* key: [num_tokens, num_kv_heads, head_dim], value: [num_tokens, num_kv_heads, head_dim_v].
 * Writes row t to slot_mapping[t]; the only function that writes the cache. */
PAGODA_API pagoda_status pagoda_update_cache(pagoda_plan* plan, const pagoda_layer* layer,
                                             const pagoda_tensor* key, const pagoda_tensor* value,
                                             pagoda_stream stream);

/*
 * query: [num_tokens, num_heads, head_dim]; out: [num_tokens, num_heads, head_dim_v].
 * lse: [num_heads, num_tokens] float, natural logarithm of the softmax's denominator with the sink,
 *      any strides; or NULL.
 * key: [num_keys, num_kv_heads, head_dim], value: [num_keys, num_kv_heads, head_dim_v] for a plan
 *      without a cache; otherwise NULL.
 * A query that sees no key and has no sink gives out = 0 and lse = -inf; with a sink out = 0 and
 * lse = sink.
 */
PAGODA_API pagoda_status pagoda_forward(pagoda_plan* plan, const pagoda_layer* layer,
                                        const pagoda_tensor* query, const pagoda_tensor* key,
                                        const pagoda_tensor* value, const pagoda_tensor* out,
                                        const pagoda_tensor* lse, pagoda_stream stream);

/*
 * Queries to their codes, so that an engine needs no kernel of its own: for INT8 the scale of each
 * token and head is made by the rule of pagoda_kv_format and written, for FP8_E4M3 the caller's
 * scales are read. Rounding, clamping and what becomes of a NaN are those of the cache.
 */
typedef struct pagoda_query_codes {
  uint32_t struct_size;
  pagoda_query_format format; /* INT8 or FP8_E4M3 */
  const pagoda_tensor* query; /* [num_tokens, num_heads, head_dim] F32, F16 or BF16; num_heads is a
                                 multiple of the scales' heads, head_dim one of 8 up to 512 */
  const pagoda_tensor* scale; /* as pagoda_layer.query_scale */
  const pagoda_tensor* codes; /* [num_tokens, num_heads, head_dim] INT8 or FP8_E4M3, written */
} pagoda_query_codes;

PAGODA_API pagoda_status pagoda_quantise_query(pagoda_context* context,
                                               const pagoda_query_codes* query,
                                               pagoda_stream stream);

/* Two attentions over disjoint key sets, and where their union goes. `out` may be out_a or out_b,
 * and `lse` lse_a or lse_b. An lse of -inf or +inf marks an empty state, whose out is not read. */
typedef struct pagoda_merge {
  uint32_t struct_size;
  int32_t num_tokens_a;       /* tokens at and after this have state b alone; below 0: none do */
  const pagoda_tensor* out_a; /* [num_tokens, num_heads, head_dim_v] */
  const pagoda_tensor* lse_a; /* [num_heads, num_tokens] float, any strides */
  const pagoda_tensor* out_b; /* as out_a */
  const pagoda_tensor* lse_b; /* as lse_a */
  const pagoda_tensor* out;   /* as out_a */
  const pagoda_tensor* lse;   /* as lse_a, or NULL */
} pagoda_merge;

PAGODA_API pagoda_status pagoda_merge_states(pagoda_context* context, const pagoda_merge* merge,
                                             pagoda_stream stream);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PAGODA_PAGODA_H_ */
