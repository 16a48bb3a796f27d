/*
 * ctx - what one request carries through every layer.
 *
 * First argument of every function that works for a request.  Owned by the
 * transport that created it; nobody keeps it past the reply.  All str fields
 * are slices that live as long as the request.
 */
#ifndef BASE_CTX_H
#define BASE_CTX_H

#include "common/base/arena.h"
#include "common/base/err.h"

/* Names in role.def order travel as text; see role_name(). */
enum role { ROLE_GUEST, ROLE_USER, ROLE_ADMIN, ROLE_SERVICE };
enum tier { TIER_LIMITED, TIER_FREE, TIER_BASIC, TIER_PREMIUM, TIER_UNLIMITED };

const char *role_name(enum role r);
bool role_from_str(struct str s, enum role *out);
const char *tier_name(enum tier t);
bool tier_from_str(struct str s, enum tier *out);

/* One entry of the error body's details[]. */
struct fault {
	char pointer[72]; /* "/focus/3" in the body, "?limit" in the query */
	const char *code; /* static, e.g. "REQUIRED" */
	char message[120];
};

/* What of a quota is spent, in the person's tier, and when it is there again. */
struct quota_problem {
	char period[8]; /* "daily", "monthly"; empty: it is about no quota */
	enum tier tier;
	int64_t usage, limit, reset_s;
};

#define CTX_FAULTS_MAX 16

struct problem {
	enum err code;
	char detail[256];
	unsigned retry_after_s;     /* 0: none */
	char challenge[48];         /* of ERR_FACTOR_NEEDED; else empty */
	struct quota_problem quota; /* of ERR_QUOTA */
	size_t faults_n;
	struct fault *faults; /* CTX_FAULTS_MAX in the arena, or NULL */
};

struct effect;       /* common/service/idempotency.h */
struct db_deferred;  /* common/db/db.h */
struct cached_fetch; /* common/service/cached.h */
struct span;         /* common/base/trace.h */

/* Where a service's time for a request went, in microseconds. */
struct hop_times {
	uint64_t lane;    /* waiting for a thread */
	uint64_t handler; /* of which: */
	uint64_t database;
	uint64_t cache; /* in its shared tier, or waiting for a load */
};

struct ctx {
	const char *service; /* whose log lines these are: static text */
	struct arena *arena;
	uint64_t deadline_ms; /* CLOCK_MONOTONIC */
	struct str rid;       /* request ID, never empty */
	struct str tp;        /* W3C traceparent or empty */
	struct span *span;    /* the open one; NULL: not sampled */
	struct hop_times spent;

	/* Who is asking; sub is empty for guests and services. */
	struct str sub, hnd, sid;
	struct str jti; /* of the access token; or empty */
	enum role role;
	enum tier tier;
	uint32_t scopes;       /* SCOPE_* bits */
	int64_t auth_time_s;   /* epoch seconds */
	const char *principal; /* the peer program: "gateway", "auth", ... */

	struct str ip, ua, lang; /* lang: one of the supported codes */
	struct str idk;          /* Idempotency-Key or empty */
	/* What the answer is to be: "html", a stream as a page; "csv"; "events",
	 * what happens as it happens, behind the event last_event or from the
	 * start. */
	struct str form, last_event;
	struct str visitor;    /* as the cookie of a visitor has it; or empty */
	struct str track;      /* "no": the browser asks not to be watched */
	struct effect *effect; /* of a method that has one; or NULL */
	struct db_deferred *deferred; /* its first read, put off; or NULL */
	struct cached_fetch *fetch;   /* where a peek may look, too; or NULL */
	/* quick: on a thread that must not be held for seconds.  Who finds that
	 * it takes them says so, see ctx_slow(). */
	bool quick, slow;
	struct problem problem; /* for the client; see ctx_fail() */
};

enum {
	SCOPE_READ = 1,
	SCOPE_WRITE = 2,
	SCOPE_GENERATE = 4,
	SCOPE_ADMIN = 8,
};

/* "read write": names of the bits, blank separated; out takes 40 bytes. */
struct str scopes_text(uint32_t scopes, char out[40]);
/* False when a name is unknown. */
bool scopes_from_str(struct str text, uint32_t *out);

/* Records why, in words safe to show the client, and returns code. */
enum err ctx_fail(struct ctx *cx, enum err code, const char *fmt, ...)
	PRINTF(3, 4);
/*
 * Adds one details[] entry (silently none past CTX_FAULTS_MAX or without
 * memory) and makes the problem ERR_INVALID.  Returns ERR_INVALID.
 */
enum err ctx_fault(struct ctx *cx, const char *pointer, const char *code,
                   const char *fmt, ...) PRINTF(4, 5);

/*
 * True: return ERR_BUSY at once, having changed nothing; the request is run
 * again, from the start, where it may take long (the SLOW lane, design D13).
 * False: it may take long here.
 */
static inline bool ctx_slow(struct ctx *cx)
{
	cx->slow = cx->quick;
	return cx->slow;
}

#endif
