/*
 * route - the table in routes.def, and how a request line finds its row.
 *
 * Why:     what may be called, by whom, with how much and for how long is data;
 *          matching, 404, 405, OPTIONS, limits, authorisation, metric labels
 *          and the documents all come from it.
 * Match:   a tree of path segments built once.  A segment costs one binary
 *          search among its siblings; literal segments win over {parameters},
 *          so "/graphs/id" is found before "/graphs/{id}".  Segments are
 *          compared as sent: a percent-encoded letter matches no literal.
 * Bounds:  ROUTE_DEPTH_MAX segments, ROUTE_PARAMS_MAX parameters.
 * Threads: a tree is read-only once built.
 */
#ifndef GATEWAY_ROUTE_H
#define GATEWAY_ROUTE_H

#include "common/base/ctx.h"
#include "common/bus/bus.h"

enum verb {
	VERB_GET,
	VERB_POST,
	VERB_PUT,
	VERB_PATCH,
	VERB_DELETE,
	VERB_ROUTED, /* the verbs above may stand in the table */
	VERB_HEAD = VERB_ROUTED,
	VERB_OPTIONS,
	VERB_OTHER,
};

enum access { ACCESS_ANYONE, ACCESS_USER, ACCESS_ADMIN, ACCESS_INTERNAL };
enum csrf { CSRF_NONE, CSRF_COOKIE };
enum keep { KEEP_NEVER, KEEP_PUBLIC };
enum { SCOPE_NONE = 0 };

/* Classes for limits; each has a latency average of its own on the bus. */
enum rate {
	RATE_HEALTH,
	RATE_READ,
	RATE_WRITE,
	RATE_LOGIN,
	RATE_GENERATE,
	RATE_EXPORT,
	RATE_PRIVACY,
	RATE_ADMIN,
	RATE_INGEST,
	RATE_COUNT,
};

struct route {
	enum verb verb;
	const char *path; /* "/api/notes/{id}" */
	enum access access;
	uint32_t scope; /* SCOPE_* bits */
	uint32_t body_max;
	enum rate rate;
	uint32_t deadline_ms;
	enum csrf csrf;
	bool retry;
	enum keep keep;
	enum bus_peer service;
	const char *call;
	bool built;
};

extern const struct route routes[];
extern const size_t routes_n;

enum verb verb_from_str(struct str s);
const char *verb_name(enum verb v);
const char *access_name(enum access a);
const char *rate_name(enum rate r);
/* Why a route is open to anyone, from anyone.def; NULL: no reason is given. */
const char *route_reason(const struct route *r);
/* Whether there is nothing to do without a body (needs.def). */
bool route_needs_body(const struct route *r);
/* Whether a login counts although anyone may call it (heeds.def). */
bool route_heeds_login(const struct route *r);
/* Whether the cookie of a session, or of a visitor, says who asks. */
bool route_heeds_cookie(const struct route *r);
/* Whether the body may be a form with files (uploads.def). */
bool route_takes_files(const struct route *r);
/* In which forms its answer is a stream (streams.def); NONE: it is none. */
enum stream { STREAM_NONE, STREAM_PAGE, STREAM_LIVE };
enum stream route_streams(const struct route *r);
/* Whether the answer may be a table in CSV (csv.def). */
bool route_gives_csv(const struct route *r);

#define ROUTE_DEPTH_MAX  8
#define ROUTE_PARAMS_MAX ROUTE_DEPTH_MAX

struct route_param {
	struct str name;  /* of the pattern */
	struct str value; /* as sent, still percent-encoded */
};

struct route_match {
	const struct route *verbs[VERB_ROUTED]; /* NULL: not on this path */
	size_t params_n;
	struct route_param params[ROUTE_PARAMS_MAX];
};

struct route_tree;
/* NULL without memory.  Asserts that the table is sound. */
struct route_tree *route_tree_new(const struct route *table, size_t n);
void route_tree_free(struct route_tree *t);
AUTO_TYPE(route_tree, struct route_tree *, route_tree_free)

/* False: no such path.  *out is then untouched. */
bool route_find(const struct route_tree *t, struct str path,
                struct route_match *out) MUST_CHECK;
/* The row for a verb; HEAD is answered by GET.  NULL: 405. */
const struct route *route_for(const struct route_match *m, enum verb v);
/* "GET, HEAD, OPTIONS" for Allow; out takes ROUTE_ALLOW_MAX bytes. */
#define ROUTE_ALLOW_MAX 64
struct str route_allow(const struct route_match *m, char out[ROUTE_ALLOW_MAX]);

#endif
