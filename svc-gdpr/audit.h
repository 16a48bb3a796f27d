/*
 * audit - the log of who did what to whose data (contract 4.6.5, design D44).
 *
 * Chain:   rows are numbered without a gap, and each holds
 *
 *             hash = SHA-256(net("kae-audit-1") net(hex of the hash before)
 *                    net(seq) net(id) net(at) net(event) net(category)
 *                    net(source) net(outcome) net(subject) net(actor)
 *                    net(role) net(resource_type) net(hex of detail))
 *
 *          where net(x) is a netstring, "3:abc,", and numbers are decimal; so a
 *          row that is changed, taken out, put in or moved breaks every hash
 *          behind it.  The first has 32 zero bytes before it.  Triggers refuse
 *          what is not an append (audit_tables.h), the hashes tell where
 *          somebody went past them, and a head that was noted elsewhere tells
 *          that nothing was cut off at the end (audit_verify.h).
 * People:  a row names nobody.  Subject and actor are pseudonyms: random, one
 *          per person, in audit_person.  The address, the browser, request and
 *          resource ids and data lie in audit_detail, of which the row has a
 *          commitment:
 *
 *             detail = SHA-256(net("kae-audit-detail-1") net(salt) net(body))
 *
 *          with 32 random bytes of salt, so nobody can find out by trying what
 *          a deleted detail was.  audit_forget() deletes pseudonym and details
 *          of a person, and appends that it did: the chain stays whole, and a
 *          detail that is missing without such a row is a fault.
 * Order:   the row of audit_head is locked from the first append of a
 *          transaction to its end.  It comes LAST in each transaction: who
 *          holds it waits for nobody's person, so no two can wait for each
 *          other.  event.apply appends for all its events at the end.
 * Bounds:  AUDIT_BODY_MAX bytes of details per row; audit_prune() so many rows
 *          per transaction as it is told.
 * Threads: inside a db transaction function.
 */
#ifndef SVC_GDPR_AUDIT_H
#define SVC_GDPR_AUDIT_H

#include "common/event/audit.h"

#include <sodium.h>

#define AUDIT_HASH      crypto_hash_sha256_BYTES
#define AUDIT_SALT      32
#define AUDIT_PSEUDONYM 32 /* characters of hex */
#define AUDIT_BODY_MAX  ((size_t)8 << 10)

/* One row, as what is hashed; texts are borrowed. */
struct audit_row {
	int64_t seq, at;
	struct str id, event, category, source, outcome;
	struct str subject, actor; /* pseudonyms, or empty */
	struct str role, resource_type;
	struct str detail; /* the commitment; empty: there are no details */
};
void audit_hash(const unsigned char before[AUDIT_HASH],
                const struct audit_row *row, unsigned char out[AUDIT_HASH]);
void audit_commit(struct str salt, struct str body,
                  unsigned char out[AUDIT_HASH]);

/* Appends it, in svc-gdpr's own transaction, where it is the last thing. */
enum err audit_append(struct db *db, const struct ctx *cx,
                      const struct audit_note *note) MUST_CHECK;
/*
 * The same for events of type AUDIT_TYPE, n of them; others are left out.  One
 * that makes no sense is told on the log and left out, and so is one whose id
 * is in the log already.
 */
enum err audit_take(struct db *db, const struct event *const *ev,
                    size_t n) MUST_CHECK;

/*
 * From now on no row can be told to be of this person: appends account_erased
 * under their pseudonym, then deletes that and the details of what they did and
 * of what was done to them.  Append what is to be told about the erasure before.
 * *rows, if given: how many details went.  Nothing is there: OK, and nothing is
 * appended, so it may be called again.
 */
enum err audit_forget(struct db *db, const struct ctx *cx, struct str sub,
                      int64_t *rows) MUST_CHECK;

/*
 * Deletes the first rows of the log, as far as all are older than
 * AUDIT_KEEP_DAYS and a day, at most `most` (1 to AUDIT_PRUNE_MAX).  The chain
 * begins at a checkpoint then, which an audit_pruned row states.  *pruned is 0
 * when none is old enough: call it until then.
 */
#define AUDIT_PRUNE_MAX 1000
enum err audit_prune(struct db *db, const struct ctx *cx, int64_t now_ms,
                     int64_t most, int64_t *pruned) MUST_CHECK;

#endif
