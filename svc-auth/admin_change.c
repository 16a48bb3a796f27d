#include "svc-auth/admin_change.h"

#include "svc-auth/audit.h"
#include "svc-auth/bootstrap.h"
#include "svc-auth/session.h"

bool admin_asked_role(struct ctx *cx, struct str text, enum role *out)
{
	if (!text.p || (role_from_str(text, out) &&
	                (*out == ROLE_USER || *out == ROLE_ADMIN)))
		return true;
	(void)ctx_fault(cx, "/role", "INVALID", "role is user or admin.");
	return false;
}

static bool shuts_out(const struct admin_change *c, const struct user *u)
{
	return (c->has_state && c->state != USER_ACTIVE) ||
	       (c->has_role && c->role != u->role);
}

static bool changes(const struct admin_change *c, const struct user *u)
{
	return (c->has_state && c->state != u->state) ||
	       (c->has_role && c->role != u->role) ||
	       (c->has_tier && c->tier != u->tier);
}

static enum err tell_rights(const struct admin_change *c, struct db *db,
                            const struct user *u, const struct user *was)
{
	const struct audit_note note = {
		.event = AUDIT_IS(ROLE_CHANGED),
		.sub = str_from(u->sub),
		.data = {{"role", str_from(role_name(u->role)), 0},
	                 {"role_before", str_from(role_name(was->role)), 0},
	                 {"tier", str_from(tier_name(u->tier)), 0},
	                 {"tier_before", str_from(tier_name(was->tier)), 0}},
	};

	return audit_tell(c->au, db, db_cx(db), &note);
}

static enum err tell_state(const struct admin_change *c, struct db *db,
                           const struct user *u)
{
	const struct audit_note note = {
		.event = u->state == USER_ACTIVE ? AUDIT_IS(USER_RESTORED)
	                                         : AUDIT_IS(USER_SUSPENDED),
		.sub = str_from(u->sub),
	};

	return audit_tell(c->au, db, db_cx(db), &note);
}

static enum err set_rights(const struct admin_change *c, struct db *db,
                           struct user *u, struct revoke_batch *batch)
{
	enum role role = c->has_role ? c->role : u->role;
	enum tier tier = c->has_tier ? c->tier : u->tier;
	const struct user was = *u;
	enum err e;

	if (role == u->role && tier == u->tier)
		return OK;
	u->role = role;
	u->tier = tier;
	e = user_grant(db, u);
	/* Tokens carry role and tier: those issued before say the old ones. */
	if (!e)
		e = session_void_tokens(c->au, db, u, c->now_ms, batch);
	return e ? e : tell_rights(c, db, u, &was);
}

static enum err set_state(const struct admin_change *c, struct db *db,
                          struct user *u, struct revoke_batch *batch)
{
	enum err e;

	if (!c->has_state || c->state == u->state)
		return OK;
	u->state = c->state;
	e = user_set_state(db, u);
	if (!e)
		e = tell_state(c, db, u);
	if (e || u->state == USER_ACTIVE)
		return e;
	return session_end_all(c->au, db, str_from(u->sub), "disabled",
	                       c->now_ms, batch);
}

enum err admin_change(const struct admin_change *c, struct db *db,
                      struct user *u, const char **why,
                      struct revoke_batch *batch)
{
	enum err e;

	if (!changes(c, u))
		return OK;
	if (str_ieq(str_from(u->handle), STR(BOOTSTRAP_HANDLE))) {
		*why = "The bootstrap administrator keeps its role and tier and cannot be disabled.";
		return ERR_DENIED;
	}
	if (shuts_out(c, u) && str_eq(c->by, str_from(u->sub))) {
		*why = "You cannot disable yourself or give up your own role; another administrator can.";
		return ERR_DENIED;
	}
	e = set_rights(c, db, u, batch);
	return e ? e : set_state(c, db, u, batch);
}
