/*
 * select.h - who would serve a kind of layer, and every reason why another would not. Needs no
 * context and takes no memory that stays. What pagoda.h says about structs and errors holds here.
 *
 * Nothing of a spec is ignored: what a backend does not do is a reason against it. A backend that a
 * caller names is used or refused with these reasons; there is no second choice behind its back.
 */
#ifndef PAGODA_SELECT_H_
#define PAGODA_SELECT_H_

#include <pagoda/pagoda.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The backends of this build, in order of preference: index 0 is what NULL means at a context.
 * NULL at and after their number. */
PAGODA_API const char* pagoda_backend_name(int32_t index);

typedef enum pagoda_verdict PAGODA_ENUM_WIDTH {
  PAGODA_SERVES = 0,
  PAGODA_REFUSES = 1,    /* legal, but this backend does not do it */
  PAGODA_NOT_USABLE = 2, /* the backend cannot be used on this machine */
  PAGODA_NOT_LEGAL = 3   /* the spec, limits or tuning contradict pagoda.h, for every backend */
} pagoda_verdict;

/*
 * Asks one backend. The text that is written is the kernel's name, if it serves; otherwise the
 * reasons, a line each, every one of them, in the order
 *
 *     head dimensions, type, cache format, page size, masks, scores, sinks, query format, device,
 *     keys of the call, windows, causality, shards, combinations of these, the kernel asked for.
 *
 * Returns the length of the text; writes at most `capacity` bytes of it, with a final zero.
 * backend: a name; one that this build does not have is NOT_USABLE.
 * limits, tuning: may be NULL.
 */
PAGODA_API size_t pagoda_select(const char* backend, const pagoda_spec* spec,
                                const pagoda_limits* limits, const pagoda_tuning* tuning,
                                pagoda_verdict* verdict, char* buffer, size_t capacity);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* PAGODA_SELECT_H_ */
