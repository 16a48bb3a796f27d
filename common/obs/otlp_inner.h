/*
 * Inside otlp: what is sent (otlp_json.c) and how (otlp_http.c).
 */
#ifndef OBS_OTLP_INNER_H
#define OBS_OTLP_INNER_H

#include "common/base/buf.h"
#include "common/base/trace.h"
#include "common/obs/otlp.h"

#include <stdatomic.h>

/* --- what ------------------------------------------------------------------------ */

/* From the settings; false when they are malformed. */
typedef bool otlp_pair_fn(void *arg, struct str key, struct str value);
/* key=value,key=value with percent-encoded values: calls fn for each, with the
 * value decoded.  False when it is none, or fn says so. */
bool otlp_pairs(struct str list, otlp_pair_fn *fn, void *arg);

/* The attributes of a resource: a JSON array's members but service.name. */
struct otlp_resource {
	struct buf attributes;
	struct buf name; /* service.name; empty: each span's own */
};
bool otlp_resource(const struct settings *conf, struct otlp_resource *out);
void otlp_resource_fini(struct otlp_resource *r);

/* The spans at from, from + 1 ... of a ring.  offset_us: from mono_us() to
 * microseconds since 1970. */
void otlp_write(struct buf *out, const struct otlp_resource *r,
                const struct span *ring, size_t from, size_t n,
                int64_t offset_us);
/* How many spans an answer says were not taken: partialSuccess. */
uint64_t otlp_rejected(struct str answer);

/* --- how ------------------------------------------------------------------------- */

struct otlp_http;
struct otlp_answer {
	long status;            /* 0: none came */
	uint64_t retry_after_s; /* 0: not told */
	char error[96];         /* why there is none */
	struct buf body;        /* the beginning */
};
const char *otlp_http_check(const struct settings *conf);
struct otlp_http *otlp_http_new(const struct settings *conf);
void otlp_http_free(struct otlp_http *h);
/* Gives up at *until_ms (mono_ms()), which may come nearer meanwhile. */
void otlp_http_post(struct otlp_http *h, struct str body, uint64_t timeout_ms,
                    const _Atomic uint64_t *until_ms, struct otlp_answer *out);
void otlp_http_wake(struct otlp_http *h); /* *until_ms has changed */

#endif
