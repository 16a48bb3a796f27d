/*
 * throttle - slows down whoever guesses, and nobody else (design D25; ASVS
 * 6.1.1, 6.3.1).
 *
 * Two counts, each of a row that all replicas share and a restart leaves alone:
 *
 *   account and network   THROTTLE_FREE attempts, then a pause that doubles
 *                         with each, up to THROTTLE_PAUSE_MAX_MS.  A success
 *                         forgets them, a day without any does too.
 *   network               over all accounts: THROTTLE_NET_BURST attempts, and
 *                         one more every THROTTLE_NET_EVERY_MS (GCRA).  A
 *                         success gives its own back.
 *
 * A network is the /24 or /64 of the client.  So guessing at an account from
 * elsewhere never keeps its owner out, and whoever has logged in from a network
 * lately is not kept out by what others there do to other accounts.
 *
 * An attempt is charged before it is looked at and forgiven when it was good:
 * many at the same moment are not more than one after the other.
 *
 * Privacy: a row is named by a keyed hash of what was typed, so that an account
 *          which is there and one which is not are alike, and the table tells
 *          nobody who tried to log in.
 * Bounds:  rows go a day after the last attempt, or THROTTLE_KNOWN_MS after the
 *          last success (throttle_prune()).
 * Threads: inside a db transaction function, the caller's.
 */
#ifndef SVC_AUTH_THROTTLE_H
#define SVC_AUTH_THROTTLE_H

#include "common/base/ctx.h"
#include "common/base/seal.h"
#include "common/db/db.h"

#define THROTTLE_ID           32
#define THROTTLE_FREE         5
#define THROTTLE_PAUSE_MS     1000
#define THROTTLE_PAUSE_MAX_MS ((int64_t)900 * 1000)
#define THROTTLE_FORGET_MS    ((int64_t)24 * 3600 * 1000)
#define THROTTLE_NET_BURST    100
#define THROTTLE_NET_EVERY_MS 6000
#define THROTTLE_KNOWN_MS     ((int64_t)30 * 24 * 3600 * 1000)

/* One attempt. */
struct throttle {
	bool account; /* it is for one; else the network alone is counted */
	unsigned char pair[THROTTLE_ID], net[THROTTLE_ID];
	int64_t now_ms;
	/* What throttle_take() found: */
	bool known;      /* has logged in from here lately */
	int64_t wait_ms; /* of ERR_RATE_LIMITED */
};

/*
 * kind and account: what somebody says who they are, folded, such as "email"
 * and an address; account.p NULL: none.
 */
void throttle_init(struct throttle *t, const struct seal_key *key,
                   const char *kind, struct str account, struct str ip,
                   int64_t now_ms);
/* Charges it.  ERR_RATE_LIMITED: too early, and nothing is charged. */
enum err throttle_take(struct db *db, struct throttle *t) MUST_CHECK;
/* It was good. */
enum err throttle_good(struct db *db, const struct throttle *t) MUST_CHECK;
/* Tells the client how long to wait; returns ERR_RATE_LIMITED. */
enum err throttle_refuse(struct ctx *cx, const struct throttle *t);
/* Deletes what says nothing any more. */
enum err throttle_prune(struct db *db, int64_t now_ms) MUST_CHECK;

#endif
