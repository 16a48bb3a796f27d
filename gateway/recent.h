/*
 * recent - what became of the last requests, for GET
 * /api/admin/explain/{request_id}.
 *
 * Why:     "it was slow" and "it was refused" have a request ID and no more.
 *          Here is which replica was asked and how often, what the limiter and
 *          the cache said, and where the time went.
 * Bounds:  RECENT_MAX requests of all loops; then the oldest gives way.  Texts
 *          are cut.  A put allocates nothing.
 * Private: of a person only the sub; no path, query, address or body.
 * Threads: any.  A lock per place, so that loops do not wait for each other.
 */
#ifndef GATEWAY_RECENT_H
#define GATEWAY_RECENT_H

#include "common/base/buf.h"
#include "common/base/ctx.h"
#include "common/bus/bus.h"
#include "gateway/limit.h"
#include "gateway/route.h"

#define RECENT_MAX 512

/* Where the time went, in microseconds; 0: it never came to that. */
struct recent_times {
	uint64_t received; /* from the head to the whole request */
	uint64_t identity, limits, decode;
	uint64_t service; /* from the question to its reply; of which: */
	uint64_t bus;     /* frames, wake-ups, lost replicas, both ways */
	struct hop_times hop;
	uint64_t reply; /* from there to the end */
	uint64_t total;
};

struct recent_entry {
	char rid[129], sub[40];
	char trace[33];            /* digits of its id */
	char cache[96];            /* Cache-Status of the service */
	int64_t at_ms;             /* wall clock, of the end */
	const struct route *route; /* NULL: none */
	enum verb verb;
	unsigned status;
	enum err err;
	enum role role;
	bool known_at_once; /* the credential was remembered, or none needed */
	bool shed;          /* refused for want of capacity */
	struct limit_decision limit;
	struct bus_trip trip;
	struct recent_times times;
};

struct recent;

struct recent *recent_new(void); /* NULL without memory */
void recent_free(struct recent *r);
AUTO_TYPE(recent, struct recent *, recent_free)
void recent_put(struct recent *r, const struct recent_entry *e);
/* The latest of that ID; false: there is none, or none any more. */
bool recent_find(struct recent *r, struct str rid,
                 struct recent_entry *out) MUST_CHECK;
/* As JSON. */
void recent_write(struct buf *out, const struct recent_entry *e);

#endif
