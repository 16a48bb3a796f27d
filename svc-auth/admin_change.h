/*
 * admin_change - what an administrator may change of a person, in one place, so
 * that no way around it can lose the last administrator.
 *
 * Two are kept from it: the bootstrap administrator, who is the one that cannot
 * be lost, and the administrator who asks, who would shut themselves out.
 *
 * Threads: inside a db transaction function, the caller's.
 */
#ifndef SVC_AUTH_ADMIN_CHANGE_H
#define SVC_AUTH_ADMIN_CHANGE_H

#include "svc-auth/auth.h"
#include "svc-auth/users.h"

struct admin_change {
	struct auth *au;
	struct str by; /* the administrator's sub */
	bool has_role, has_tier, has_state;
	enum role role;
	enum tier tier;
	enum user_state state;
	int64_t now_ms;
};

/* False, with a fault, when text is given and is neither user nor admin. */
bool admin_asked_role(struct ctx *cx, struct str text, enum role *out);
/*
 * Does it to *u, a row that user_hold() gave, and to what they hold: a changed
 * role or tier makes their tokens void, a disable ends all their sessions.
 * Nothing to change is OK.  ERR_DENIED: this person is kept from it, and *why
 * are words for whoever asked.
 */
enum err admin_change(const struct admin_change *c, struct db *db,
                      struct user *u, const char **why,
                      struct revoke_batch *batch) MUST_CHECK;

#endif
