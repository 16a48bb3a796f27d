/*
 * credcache - verified credentials, found again by a keyed hash of them.
 *
 * Why:     verifying a token costs 50 us and an API key a call to svc-auth; a
 *          request should cost neither.
 * Hash:    SipHash-2-4 with 128 bits of output under a key that is random per
 *          process.  It is a pseudo-random function: who does not know the key
 *          can neither find two credentials with one hash nor learn which set
 *          one falls into, and it takes a third of the time of BLAKE2b.  The
 *          credential itself is not kept.
 * Layout:  sets of CREDCACHE_WAYS slots; the tags of a set are one cache line,
 *          so a miss touches no slot.  Within a set a clock hand evicts: what
 *          was used since the hand last passed is spared once.
 * Bounds:  the number of slots, fixed.  A refusal never evicts a person: it
 *          takes an empty or outdated slot, or that of another refusal.
 * Owns:    its slots; credcache_get() lends one until the next put.
 * Threads: one at a time.
 */
#ifndef GATEWAY_CREDCACHE_H
#define GATEWAY_CREDCACHE_H

#include "gateway/jwt.h"

#define CREDCACHE_WAYS 8

/* COOKIE: a token that came in the session cookie; remembered as any token. */
enum cred_kind { CRED_TOKEN, CRED_KEY, CRED_COOKIE, CRED_KINDS };

struct digest {
	unsigned char b[16];
};

struct cred {
	enum err verdict;    /* OK, or why it is refused */
	uint64_t until_ms;   /* mono_ms(); not believed from then on */
	uint64_t revision;   /* of the revocations it was last held against */
	struct jwt_claims c; /* of an API key: who, key, and when as issued_s */
};

struct credcache;

struct credcache *credcache_new(size_t slots);
void credcache_free(struct credcache *c); /* NULL is fine */
AUTO_TYPE(credcache, struct credcache *, credcache_free)

struct digest credcache_digest(const struct credcache *c, enum cred_kind kind,
                               struct str secret);
/* NULL when it is not there or outdated. */
struct cred *credcache_get(struct credcache *c, const struct digest *d,
                           uint64_t now_ms);
void credcache_put(struct credcache *c, const struct digest *d,
                   const struct cred *v, uint64_t now_ms);
void credcache_drop(struct credcache *c, const struct digest *d);

struct credcache_stats {
	uint64_t entries, evicted;
};
struct credcache_stats credcache_stats(const struct credcache *c);

#endif
