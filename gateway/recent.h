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
#include "gateway/route.h"

#define RECENT_MAX 512

struct recent_entry {
	char rid[129], sub[40];
	char replica[64];          /* the last that was asked; empty: none */
	char cache[96];            /* Cache-Status of the service */
	int64_t at_ms;             /* wall clock, of the end */
	const struct route *route; /* NULL: none */
	enum verb verb;
	unsigned status;
	enum err err;
	enum role role;
	unsigned attempts;  /* times that a replica was asked */
	bool known_at_once; /* the credential was remembered, or none needed */
	bool limited, shed; /* refused by a limit; for want of capacity */
	unsigned policies;  /* limits that counted it; the tightest: */
	uint64_t quota, left;
	uint64_t received_us; /* from the head to the whole request */
	uint64_t before_us;   /* from then to the question to the service */
	uint64_t service_us;  /* from that to its reply */
	uint64_t total_us;
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
