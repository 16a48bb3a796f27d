/*
 * revfeed - keeps the list of revocations up to date (design D28).
 *
 * svc-auth pushes each new row to the gateways connected to that replica; the
 * poll every IDENTITY_POLL_MS brings what other replicas wrote and what a lost
 * push left out.  A push moves the sequence on only when it continues it, so a
 * gap is closed by the next poll.  Age counts from when the last good poll was
 * sent, not from when its answer came: that is what the list is true of.
 *
 * Bounds:  one poll at a time; REVOKED_MAX rows.  When they cannot be stored
 *          the list is not taken for fresh, and identity closes in time.
 * Threads: one gateway loop.
 */
#ifndef GATEWAY_REVFEED_H
#define GATEWAY_REVFEED_H

#include "gateway/identity.h"
#include "gateway/revoked.h"

struct revfeed;

struct revfeed *revfeed_new(const struct identity_bus *bus);
void revfeed_free(struct revfeed *f); /* NULL is fine */
AUTO_TYPE(revfeed, struct revfeed *, revfeed_free)

/* Lives as long as the feed. */
const struct revoked *revfeed_list(const struct revfeed *f);
void revfeed_turn(struct revfeed *f, uint64_t now_ms);
void revfeed_push(struct revfeed *f, struct str bytes, uint64_t now_ms);
/* When a turn is due; UINT64_MAX: an answer is awaited. */
uint64_t revfeed_due_ms(const struct revfeed *f);
bool revfeed_loaded(const struct revfeed *f);
/* UINT64_MAX before the first good poll. */
uint64_t revfeed_age_ms(const struct revfeed *f, uint64_t now_ms);

#endif
