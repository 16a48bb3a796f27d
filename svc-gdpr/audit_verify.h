/*
 * audit_verify - proves that the audit log is what was appended to it.
 *
 * It reads the whole chain in one snapshot, AUDIT_PAGE rows at a time, and
 * finds the first seq at which something is not as audit.h has it: a row that
 * was changed, moved, put in or taken out, details that are not those of the
 * row or are gone without an erasure, a beginning that no checkpoint states, a
 * head that is not the last row.
 *
 * What it cannot see alone is a log of which the end was cut off, or that was
 * written anew from some row on, with the head put right.  Against that stands
 * a head that was noted elsewhere: the row of that seq must still have that
 * hash.
 */
#ifndef SVC_GDPR_AUDIT_VERIFY_H
#define SVC_GDPR_AUDIT_VERIFY_H

#include "svc-gdpr/audit.h"

#define AUDIT_PAGE     500
#define AUDIT_HEAD_MAX (24 + 2 * AUDIT_HASH) /* of its text */

struct audit_at {
	int64_t seq;
	unsigned char hash[AUDIT_HASH];
};
/* "1234:" and the hash in hex, as the report prints a head. */
bool audit_at_from_str(struct str text, struct audit_at *out) MUST_CHECK;
struct str audit_at_text(const struct audit_at *at, char out[AUDIT_HEAD_MAX]);

struct audit_report {
	const struct audit_at
		*expect;     /* or NULL; the caller's, the rest ours */
	int64_t rows, first; /* first: the seq that the log begins at */
	struct audit_at head;
	const char *why; /* NULL: all is well */
	int64_t bad;     /* the seq of it */
};
/* A db_fn for db_read(); arg is an audit_report. */
enum err audit_verify(struct db *db, void *arg) MUST_CHECK;

#endif
