/*
 * kv.h - the paged cache as a data structure: which request owns which pages.
 *
 * The cache's memory is the caller's (the tensors of pagoda_layer). This interface hands out page
 * ids, shares the pages of equal prefixes between requests, evicts, and writes page tables and slot
 * mappings in the form that pagoda_batch wants. It touches no device.
 *
 * The life of a request:
 *
 *     pagoda_cache_begin         its prompt; takes the pages of the longest cached prefix
 *     each step:
 *       pagoda_cache_grow        pages for the tokens of this step, or PAGODA_OUT_OF_PAGES
 *       pagoda_cache_fill        page table and slot mapping of the step, once per group
 *       ... run the model ...
 *       pagoda_cache_commit      the step's keys and values are written: full pages can be shared
 *       pagoda_cache_append      the token that was sampled
 *     pagoda_cache_free          its pages stay cached until their memory is needed
 *
 * A group is a set of layers with the same page size and window; it has a page table of its own.
 * A pool is a set of pages, with ids 0 .. num_pages - 1; groups may share one. Page 0 of each pool
 * is the null page: never allocated, it fills table entries that no query sees.
 *
 * What pagoda.h says about structs, statuses and errors holds here too. A call that fails changes
 * nothing. Calls on one cache come from one thread at a time; different caches are independent.
 */
#ifndef PAGODA_KV_H_
#define PAGODA_KV_H_

#include <pagoda/pagoda.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Cache
 */

typedef struct pagoda_cache_group {
  uint32_t struct_size;
  int32_t page_size;        /* tokens per page */
  int32_t kernel_page_size; /* tokens per page of the page table, if the kernel wants smaller pages
                               than the cache manages: page m appears as ids m * k .. m * k + k - 1
                               with k = page_size / kernel_page_size. 0: page_size */
  int32_t window;     /* w: a token sees itself and the w - 1 before it (a spec's window_left + 1);
                         pages that every later token is too far from are given back. 0: no window */
  int32_t pool;       /* below num_pools */
  int64_t page_bytes; /* bytes of one page over all layers of the group; groups of one pool agree.
                         0: not told, not checked */
} pagoda_cache_group;

typedef enum pagoda_cache_event_kind {
  PAGODA_CACHE_STORED = 1,  /* the page can be found by its key from now on */
  PAGODA_CACHE_REMOVED = 2, /* it was evicted */
  PAGODA_CACHE_CLEARED = 3  /* pagoda_cache_reset: no page of this group can be found any more */
} pagoda_cache_event_kind;

#define PAGODA_CACHE_KEY_SIZE 36

/* Pointers are valid during the call. Several pages may be stored under one key at a time. */
typedef struct pagoda_cache_event {
  uint32_t struct_size;
  pagoda_cache_event_kind kind;
  int32_t group;
  int32_t page;          /* in the group's pool; 0 for CLEARED */
  const uint8_t* key;    /* [36] digest of the prefix up to this page, then the group id, 4 bytes
                            big-endian; NULL for CLEARED */
  const uint8_t* parent; /* [36] key of the page before; STORED only, NULL for the first page */
  const int32_t* tokens; /* [num_tokens] of this page; STORED only */
  int32_t num_tokens;
  uint64_t request; /* the one that computed the page; STORED only */
} pagoda_cache_event;

typedef struct pagoda_cache_options {
  uint32_t struct_size;
  int32_t num_groups;
  const pagoda_cache_group* groups; /* [num_groups], groups[0].struct_size bytes apart */
  int32_t num_pools;
  const int64_t* num_pages; /* [num_pools], the null page included */
  int32_t no_prefix_cache;  /* 1: nothing is shared, and tokens are not kept */
  const void* seed; /* [seed_size] bytes that enter every key. Caches that exchange keys have
                       equal seeds and equal models, types and formats. NULL: random, so that
                       keys cannot be foreseen */
  size_t seed_size;
  int32_t max_reqs;    /* room to make at creation for this many requests ... */
  int32_t max_seq_len; /* ... of this many tokens, so that no step allocates memory later; 0: as
                          needed. Neither is a limit */
  int32_t num_ranks;   /* of a decode-context-parallel group; a page of the cache then holds
                          page_size tokens on each rank. 0: 1 */
  int32_t rank;
  int32_t interleave; /* consecutive tokens on one rank; divides page_size. 0: 1 */
  void (*on_event)(void* user, const pagoda_cache_event* event); /* NULL: none. It runs inside the
                          calls below, must not throw, and must not call this cache */
  void* on_event_user;
} pagoda_cache_options;

typedef struct pagoda_cache pagoda_cache;

PAGODA_API pagoda_status pagoda_cache_create(const pagoda_cache_options* options,
                                             pagoda_cache** out);
PAGODA_API void pagoda_cache_destroy(pagoda_cache* cache);

/* Forgets every cached prefix. Every request has been freed before, and every step is done. */
PAGODA_API pagoda_status pagoda_cache_reset(pagoda_cache* cache);

/* ---------------------------------------------------------------------------------------------
 * Requests
 */

/* Something other than token ids that the keys depend on: an image or other embedding at
 * positions start .. start + length - 1. */
typedef struct pagoda_cache_extra {
  uint32_t struct_size;
  int32_t start;
  int32_t length;
  const void* key; /* [key_size] a digest of the content */
  size_t key_size;
} pagoda_cache_extra;

/* Everything is copied. */
typedef struct pagoda_cache_request {
  uint32_t struct_size;
  uint64_t id;           /* the caller's choice; no other request of the cache has it */
  const int32_t* tokens; /* [num_tokens] the prompt; or, after a preemption, all tokens so far */
  int32_t num_tokens;    /* at least 1 */
  const void* salt;      /* [salt_size] only requests of equal salts share pages: a tenant's name */
  size_t salt_size;
  const void* adapter; /* [adapter_size] what changes every layer's keys: a LoRA's name */
  size_t adapter_size;
  const pagoda_cache_extra* extras; /* [num_extras], extras[0].struct_size bytes apart */
  int32_t num_extras;
  int32_t no_prefix_cache; /* 1: this request neither finds nor offers pages */
} pagoda_cache_request;

/* Enters the request with the pages of its longest cached prefix. The first *num_cached_tokens
 * tokens need not be computed: fewer than num_tokens, so that a step has logits to give. Of groups
 * with different page sizes it is a multiple of each. */
PAGODA_API pagoda_status pagoda_cache_begin(pagoda_cache* cache,
                                            const pagoda_cache_request* request,
                                            int32_t* num_cached_tokens);

/* What pagoda_cache_begin would find. Takes nothing; counts in no statistics. */
PAGODA_API pagoda_status pagoda_cache_find(pagoda_cache* cache, const pagoda_cache_request* request,
                                           int32_t* num_cached_tokens);

/* Makes pages for the first num_tokens tokens, in every group, or in none: with too few pages left
 * in a pool the status is PAGODA_OUT_OF_PAGES and nothing was taken. Cached pages that no request
 * holds are evicted, least recently used first. Fewer tokens than before: no effect. */
PAGODA_API pagoda_status pagoda_cache_grow(pagoda_cache* cache, uint64_t id, int32_t num_tokens);

/* Gives back pages beyond those of the first num_tokens tokens, in every group: those of draft
 * tokens that were not accepted. Not fewer tokens than are computed; more than have pages: no
 * effect. */
PAGODA_API pagoda_status pagoda_cache_shrink(pagoda_cache* cache, uint64_t id, int32_t num_tokens);

/* Tells the ids of the tokens that follow those known so far. */
PAGODA_API pagoda_status pagoda_cache_append(pagoda_cache* cache, uint64_t id,
                                             const int32_t* tokens, int32_t num_tokens);

/* The keys and values of the first num_computed_tokens tokens are written, or will be before
 * anything that is queued later on the same stream reads them. Full pages among them can be found
 * by other requests from now on; pages that the window has left are given back. Never fewer tokens
 * than before, nor more than are known and have pages. */
PAGODA_API pagoda_status pagoda_cache_commit(pagoda_cache* cache, uint64_t id,
                                             int32_t num_computed_tokens);

/* Ends the request, finished or preempted. Its pages can be found until they are evicted, those at
 * its end first. */
PAGODA_API pagoda_status pagoda_cache_free(pagoda_cache* cache, uint64_t id);

typedef struct pagoda_cache_request_info {
  uint32_t struct_size;
  int32_t num_tokens;          /* known */
  int32_t num_computed_tokens; /* committed, or cached when it began */
  int32_t num_cached_tokens;   /* cached when it began */
  int32_t capacity;            /* tokens that have pages */
} pagoda_cache_request_info;

PAGODA_API pagoda_status pagoda_cache_get_request(const pagoda_cache* cache, uint64_t id,
                                                  pagoda_cache_request_info* info);

/* ---------------------------------------------------------------------------------------------
 * Tables and slots
 */

/* The table row of a request: *count ids of pages of kernel_page_size tokens, in order; the null
 * page where the window has left. Ids from column `first` on go to row[0 .. *count - first - 1].
 * Fails if that exceeds `capacity`. A NULL row with capacity 0 asks for the count alone. */
PAGODA_API pagoda_status pagoda_cache_page_row(const pagoda_cache* cache, int32_t group,
                                               uint64_t id, int32_t first, int32_t* row,
                                               int32_t capacity, int32_t* count);

/* slots: [num_tokens] where the keys of positions first_position .. go; -1 for what lies on another
 * rank. The positions have pages, and no other request can share them yet. */
PAGODA_API pagoda_status pagoda_cache_slots(const pagoda_cache* cache, int32_t group, uint64_t id,
                                            int32_t first_position, int32_t num_tokens,
                                            int64_t* slots);

/* The arrays of a pagoda_batch. Request r computes its tokens seq_lens[r] - q .. seq_lens[r] - 1
 * with q = query_start_loc[r + 1] - query_start_loc[r]; a request with seq_lens[r] = 0 is padding,
 * its id is not read, and its row is filled with the null page. */
typedef struct pagoda_cache_step {
  uint32_t struct_size;
  int32_t num_reqs;
  int32_t num_tokens;             /* of slot_mapping; at least query_start_loc[num_reqs] */
  const uint64_t* ids;            /* [num_reqs] */
  const int32_t* query_start_loc; /* [num_reqs + 1] */
  const int32_t* seq_lens;        /* [num_reqs] */
  int32_t* page_table; /* out, [num_reqs, page_table_stride]; NULL: not wanted. Entries past a
                          request's pages are left as they are */
  int64_t page_table_stride;
  int32_t page_table_width; /* columns that may be written */
  int64_t* slot_mapping; /* out, [num_tokens], -1 past query_start_loc[num_reqs]; NULL: not wanted
                          */
} pagoda_cache_step;

PAGODA_API pagoda_status pagoda_cache_fill(const pagoda_cache* cache, int32_t group,
                                           const pagoda_cache_step* step);

/* How many leading tokens lie on the same pages in all of these requests, in whole pages. */
PAGODA_API pagoda_status pagoda_cache_common_prefix(const pagoda_cache* cache, int32_t group,
                                                    const uint64_t* ids, int32_t num_ids,
                                                    int32_t* num_tokens);

/* ---------------------------------------------------------------------------------------------
 * Steps in flight, for engines that free while the device still works; others leave these out
 */

/* A step that was filled before this call is about to run. Pages that are freed from now on are not
 * handed out again until it is done. Numbers count from 1. */
PAGODA_API pagoda_status pagoda_cache_step_begin(pagoda_cache* cache, uint64_t* step);

/* The device has finished this step and all before it. */
PAGODA_API pagoda_status pagoda_cache_step_done(pagoda_cache* cache, uint64_t step);

/* ---------------------------------------------------------------------------------------------
 * Looking at it
 */

/* num_used + num_cached + num_free + num_fenced = num_pages - 1. */
typedef struct pagoda_cache_stats {
  uint32_t struct_size;
  int32_t num_requests;
  int64_t num_pages;     /* the null page included */
  int64_t num_used;      /* held by a request */
  int64_t num_shared;    /* of these, held by several */
  int64_t num_cached;    /* held by none, can be found, can be evicted */
  int64_t num_free;      /* held by none, without content */
  int64_t num_fenced;    /* held by none, but a step in flight may still read them */
  int64_t max_used;      /* highest num_used so far */
  int64_t num_evictions; /* pages that were evicted so far */
  int64_t num_queries;   /* requests that looked for a prefix; this and below are of the cache, not
                            of one pool */
  int64_t num_query_tokens; /* tokens of these requests */
  int64_t num_hit_tokens;   /* tokens that were found */
} pagoda_cache_stats;

/* pool: its index, or -1 for the sum of all. */
PAGODA_API pagoda_status pagoda_cache_get_stats(const pagoda_cache* cache, int32_t pool,
                                                pagoda_cache_stats* stats);

typedef enum pagoda_page_state {
  PAGODA_PAGE_FREE = 0,
  PAGODA_PAGE_CACHED = 1,
  PAGODA_PAGE_USED = 2, /* num_owners tells shared pages */
  PAGODA_PAGE_FENCED = 3,
  PAGODA_PAGE_NULL = 4
} pagoda_page_state;

typedef struct pagoda_cache_page_info {
  uint32_t struct_size;
  pagoda_page_state state;
  int32_t num_owners; /* requests that hold it */
  int32_t has_key;    /* 1: can be found by its prefix */
  int32_t group;      /* that it was last allocated for; -1: never */
  uint64_t owner;     /* request that it was last allocated for */
} pagoda_cache_page_info;

PAGODA_API pagoda_status pagoda_cache_get_page(const pagoda_cache* cache, int32_t pool,
                                               int64_t page, pagoda_cache_page_info* info);

/* Pages that one request of num_tokens tokens holds at most in this pool, if no step computes more
 * than max_query_len of them: more than num_pages - 1 means that it can never be served. */
PAGODA_API pagoda_status pagoda_cache_pages_for(const pagoda_cache* cache, int32_t pool,
                                                int32_t num_tokens, int32_t max_query_len,
                                                int64_t* num_pages);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PAGODA_KV_H_ */
