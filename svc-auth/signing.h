/*
 * signing - the keys that sign access tokens (design D26).
 *
 *   next ──▶ active ──▶ retired ──▶ gone
 *
 * Why three states: `next` is published in the JWKS for the whole life of the
 * key before it, so every gateway knows it when it starts to sign; `retired`
 * stays published until the last token it signed has expired.
 *
 * Keys are rows of the database, sealed (seal.h), created and rotated in one
 * transaction under a lock, so replicas agree on which is active; each replica
 * reads them again every SIGNING_RELOAD_MS.  In between they may sign with a
 * key that has just been retired, which is why its time to go is put off by
 * SIGNING_GRACE_MS.
 *
 * Bounds:  SIGNING_KEYS_MAX published keys.
 * Owns:    the active private key, in memory, wiped at the end.
 * Threads: any; one lock, a leaf.  signing_open() and signing_turn() use the
 *          database and belong to a thread that may block.
 */
#ifndef SVC_AUTH_SIGNING_H
#define SVC_AUTH_SIGNING_H

#include "common/base/seal.h"
#include "svc-auth/token.h"

#include "common/db/db.h"
#include "common/service/root_key.h"

#define SIGNING_KEYS_MAX  16
#define SIGNING_RELOAD_MS 5000
#define SIGNING_GRACE_MS  ((int64_t)120 * 1000)

struct signing;

struct signing_conf {
	struct db_pool *pool;
	struct seal_key seal; /* copied */
	int64_t key_ttl_ms;   /* of an active key */
	int64_t token_ttl_ms; /* how long a retired key may still be needed */
};

/*
 * Reads the keys, or makes the first ones.  ERR_INVALID, told on the log: they
 * are not sealed with this key, which no retry will mend.
 */
enum err signing_open(const struct signing_conf *conf, struct ctx *cx,
                      int64_t now_ms, struct signing **out) MUST_CHECK;
void signing_free(struct signing *s); /* NULL is fine */
AUTO_TYPE(signing, struct signing *, signing_free)

/* A root_probe_fn: whether svc-auth has worked with that key, which signing keys
 * tell, as they are the first that it makes. */
root_probe_fn signing_probe;

/* Rotates if it is time and reads what other replicas did.  On failure the
 * keys known so far stay in use. */
enum err signing_turn(struct signing *s, struct ctx *cx,
                      int64_t now_ms) MUST_CHECK;
/* Appends {"keys": [...]}: the body of the JWKS, from memory. */
void signing_jwks(struct signing *s, struct buf *out);
/* Signs with the active key. */
enum err signing_issue(struct signing *s, const struct token_claims *c,
                       struct buf *out) MUST_CHECK;

#endif
