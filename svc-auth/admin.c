/*
 * admin - the administrator's way to make a person and a key for them.
 */
#include "svc-auth/admin_change.h"
#include "svc-auth/audit.h"
#include "svc-auth/bootstrap.h"
#include "svc-auth/methods.h"
#include "svc-auth/shapes.h"
#include "svc-auth/stepup.h"

#include "common/base/clock.h"
#include "common/base/log.h"

struct grant {
	struct auth *au;
	struct str handle;
	struct admin_change change;
	const char *why;
	struct new_key key;
	struct user user; /* as it is after the transaction */
	struct revoke_batch batch;
};

static enum err tell_key(struct db *db, const struct grant *g)
{
	const struct audit_note note = {
		.event = AUDIT_IS(ADMIN_KEY_CREATED),
		.sub = str_from(g->user.sub),
		.resource_type = "api_key",
		.resource_id = str_from(g->key.id),
		.data = {{"role", str_from(role_name(g->user.role)), 0},
	                 {"tier", str_from(tier_name(g->user.tier)), 0}},
	};

	return audit_tell(g->au, db, db_cx(db), &note);
}

static void granted(struct buf *b, const struct grant *g)
{
	mp_map(b, 5);
	mp_kv_text(b, "api_key", g->key.text);
	mp_kv_text(b, "user_id", g->user.handle);
	mp_kv_text(b, "role", role_name(g->user.role));
	mp_kv_text(b, "quota_tier", tier_name(g->user.tier));
	mp_kv_text(
		b, "message",
		"Hand this API key over safely: it is shown only this once.");
}

/* An idem_fn. */
static enum err grant_key(struct db *db, void *arg, struct reply *out)
{
	struct grant *g = arg;
	enum err e;

	g->batch.n = 0;
	e = user_hold(db, g->handle, &g->user);
	if (e == ERR_NOT_FOUND) {
		user_init(&g->user, g->handle, g->change.role, g->change.tier,
		          g->change.now_ms);
		e = user_add(db, g->au->conf.events, &g->au->handles, &g->user);
	} else if (!e) {
		e = admin_change(&g->change, db, &g->user, &g->why, &g->batch);
	}
	if (!e)
		e = key_room(db, str_from(g->user.sub), g->change.now_ms);
	g->key.scopes = role_scopes(g->user.role);
	if (!e)
		e = key_add(db, str_from(g->user.sub), &g->key);
	if (!e)
		e = tell_key(db, g);
	idem_about(db_cx(db), str_from(g->user.sub));
	out->status = 201;
	granted(&out->body, g);
	return e;
}

static enum err check_grant(struct ctx *cx,
                            const struct auth_admin_generate_key_in *want,
                            struct grant *g)
{
	/* A reserved handle may have a key once it exists: "admin" does. */
	enum handle_verdict v = handle_check(want->user_id);
	bool bad = v != HANDLE_GOOD &&
	           !str_ieq(want->user_id, STR(BOOTSTRAP_HANDLE));

	if (bad)
		(void)ctx_fault(cx, "/user_id", handle_code(v), "%s",
		                handle_words(v));
	if (!asked_tier(cx, want->quota_tier, &g->change.tier))
		bad = true;
	if (!admin_asked_role(cx, want->role, &g->change.role))
		bad = true;
	g->change.has_role = want->role.p != NULL;
	g->change.has_tier = want->quota_tier.p != NULL;
	return bad ? ERR_INVALID : OK;
}

static enum err grant_refused(struct ctx *cx, const struct grant *g, enum err e)
{
	if (e == ERR_DENIED)
		return ctx_fail(cx, ERR_CONFLICT, "%s", g->why);
	if (e == ERR_CONFLICT)
		return ctx_fail(
			cx, e,
			"This person has %d live keys already. Revoke one first.",
			KEYS_LIVE_MAX);
	if (e == ERR_DB_DUPLICATE)
		return ctx_fail(
			cx, ERR_CONFLICT,
			"This person is being made by somebody else at this moment. Try again.");
	return e;
}

enum err method_auth_admin_generate_key(void *state, struct ctx *cx,
                                        const void *in, struct reply *out)
{
	const struct auth_admin_generate_key_in *want = in;
	struct grant g = {
		.au = state,
		.handle = want->user_id,
		.change = {.au = state,
	                   .by = cx->sub,
	                   .role = ROLE_USER,
	                   .tier = TIER_FREE,
	                   .now_ms = wall_ms()},
	};
	enum err e = check_grant(cx, want, &g);

	if (!e)
		e = stepup_check(g.au, cx, PROOFS(want));
	if (e)
		return e;
	new_key_make(&g.key);
	g.key.name = STR("made by an administrator");
	g.key.origin = "admin";
	g.key.created_ms = g.change.now_ms;
	e = idem_write(g.au->conf.idem, cx, grant_key, &g, out);
	e = grant_refused(cx, &g, e);
	if (!e && !out->replayed) {
		auth_committed(g.au, &g.batch);
		log_info(cx, "audit.key_generated", LOG_STR("by", cx->sub),
		         LOG_TEXT("sub", g.user.sub),
		         LOG_TEXT("key_id", g.key.id),
		         LOG_TEXT("role", role_name(g.user.role)),
		         LOG_TEXT("tier", tier_name(g.user.tier)),
		         LOG_BOOL("changed", g.batch.n > 0));
	}
	new_key_wipe(&g.key);
	return e;
}
