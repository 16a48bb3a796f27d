/*
 * revoke - what no gateway may believe any more (design D28).
 *
 * Kinds:   "jti"  one token, or by its session id all tokens of a session
 *          "key"  an API key, and every token that was opened with it
 *          "sub"  every token of a person issued before at_ms
 * Order:   seq is taken from a counter row inside the transaction of the cause
 *          and that row stays locked to the commit, so whoever has read up to
 *          seq n will never meet a smaller one later.
 * Bounds:  REVOKE_BATCH rows of a transaction are pushed, the rest is found by
 *          the next poll; REVOKE_PAGE rows per answer; a row
 *          goes when nothing it concerns could still be valid (until_ms).
 * Threads: the database functions inside a transaction function.
 */
#ifndef SVC_AUTH_REVOKE_H
#define SVC_AUTH_REVOKE_H

#include "common/base/buf.h"
#include "common/db/db.h"

#define REVOKE_BATCH 32
#define REVOKE_PAGE  4096

enum revoke_kind { REVOKE_JTI, REVOKE_KEY, REVOKE_SUB };

struct revocation {
	int64_t seq;
	enum revoke_kind kind;
	char id[40];
	int64_t at_ms, until_ms;
};

struct revoke_batch {
	size_t n;
	struct revocation v[REVOKE_BATCH];
};

/* Stores one and appends it to the batch, for the push after the commit; what
 * finds no room there is not pushed. */
enum err revoke_add(struct db *db, enum revoke_kind kind, struct str id,
                    int64_t at_ms, int64_t until_ms,
                    struct revoke_batch *batch) MUST_CHECK;
/* {"seq": n, "items": [[seq, kind, id, at_ms, until_ms] ...]} */
void revoke_pack(struct buf *out, const struct revoke_batch *batch);
/*
 * The same map for what came after `since` and is not past, with "more": true
 * when the page was full (ask again from its seq).  A since that lies ahead of
 * the counter belongs to another database: everything is sent.
 */
enum err revoke_since(struct db *db, int64_t since, int64_t now_ms,
                      struct buf *out) MUST_CHECK;

#endif
