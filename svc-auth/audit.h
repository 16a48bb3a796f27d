/*
 * audit - what svc-auth tells the audit log.
 *
 *     const struct audit_note note = {
 *             .event = AUDIT_IS(API_KEY_REVOKED),
 *             .sub = r->sub,
 *             .resource_type = "api_key",
 *             .resource_id = r->id,
 *     };
 *
 *     e = audit_tell(r->au, db, db_cx(db), &note);
 *
 * Inside the transaction function of the effect; after its commit,
 * auth_committed() wakes the relay.  In a function that idem_write() runs, so
 * that a repeat tells nothing again.
 */
#ifndef SVC_AUTH_AUDIT_H
#define SVC_AUTH_AUDIT_H

#include "svc-auth/auth.h"

#include "common/event/audit.h"

enum err audit_tell(struct auth *au, struct db *db, const struct ctx *cx,
                    const struct audit_note *note) MUST_CHECK;

/*
 * A login, or a second factor, that failed; sub is whose account was meant,
 * empty where none is known.  No transaction and no database: see
 * audit_failed.h.
 */
void audit_tell_failed(struct auth *au, const struct ctx *cx, struct str sub,
                       const char *method, int64_t now_ms);
/* Writes what failed and is due (all: at the end); the upkeep's. */
enum err audit_flush_failed(struct auth *au, struct ctx *cx, int64_t now_ms,
                            bool all) MUST_CHECK;

#endif
