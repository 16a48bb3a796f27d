/*
 * admin - the administrator's way to make a person and a key for them.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"
#include "svc-auth/session.h"
#include "svc-auth/shapes.h"

#include "common/base/clock.h"
#include "common/base/log.h"

struct grant {
	struct auth *au;
	struct str handle;
	bool has_role, has_tier;
	enum role role;
	enum tier tier;
	struct new_key key;
	int64_t now_ms;
	struct user user; /* as it is after the transaction */
	struct revoke_batch batch;
};

static enum err tell_change(struct db *db, const struct grant *g,
                            const struct user *was)
{
	const struct audit_note note = {
		.event = AUDIT_IS(ROLE_CHANGED),
		.sub = str_from(g->user.sub),
		.data = {{"role", str_from(role_name(g->user.role)), 0},
	                 {"role_before", str_from(role_name(was->role)), 0},
	                 {"tier", str_from(tier_name(g->user.tier)), 0},
	                 {"tier_before", str_from(tier_name(was->tier)), 0}},
	};

	return audit_tell(g->au, db, db_cx(db), &note);
}

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

static enum err change_person(struct db *db, struct grant *g)
{
	enum role role = g->has_role ? g->role : g->user.role;
	enum tier tier = g->has_tier ? g->tier : g->user.tier;
	const struct user was = g->user;
	enum err e;

	if (role == g->user.role && tier == g->user.tier)
		return OK;
	if (str_ieq(g->handle, STR("admin")))
		return ERR_DENIED;
	g->user.role = role;
	g->user.tier = tier;
	e = user_grant(db, &g->user);
	/* Tokens carry role and tier: those issued before say the old ones. */
	if (!e)
		e = session_void_tokens(g->au, db, &g->user, g->now_ms,
		                        &g->batch);
	return e ? e : tell_change(db, g, &was);
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
	e = user_by_handle(db, g->handle, &g->user);
	if (e == ERR_NOT_FOUND) {
		user_init(&g->user, g->handle, g->role, g->tier, g->now_ms);
		e = user_add(db, g->au->conf.events, &g->user);
	} else if (!e) {
		e = user_lock(db, str_from(g->user.sub));
		if (!e)
			e = change_person(db, g);
	}
	if (!e)
		e = key_room(db, str_from(g->user.sub), g->now_ms);
	g->key.scopes = role_scopes(g->user.role);
	if (!e)
		e = key_add(db, str_from(g->user.sub), &g->key);
	if (!e)
		e = tell_key(db, g);
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
	bool bad = v != HANDLE_GOOD && !str_ieq(want->user_id, STR("admin"));

	if (bad)
		(void)ctx_fault(cx, "/user_id", handle_code(v), "%s",
		                handle_words(v));
	if (!asked_tier(cx, want->quota_tier, &g->tier))
		bad = true;
	if (want->role.p && (!role_from_str(want->role, &g->role) ||
	                     (g->role != ROLE_USER && g->role != ROLE_ADMIN))) {
		(void)ctx_fault(cx, "/role", "INVALID",
		                "role is user or admin.");
		bad = true;
	}
	g->has_role = want->role.p != NULL;
	g->has_tier = want->quota_tier.p != NULL;
	return bad ? ERR_INVALID : OK;
}

static enum err grant_refused(struct ctx *cx, enum err e)
{
	if (e == ERR_DENIED)
		return ctx_fail(
			cx, ERR_CONFLICT,
			"The bootstrap administrator keeps its role and tier.");
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
	struct grant g = {.au = state,
	                  .handle = want->user_id,
	                  .role = ROLE_USER,
	                  .tier = TIER_FREE,
	                  .now_ms = wall_ms()};
	enum err e = check_grant(cx, want, &g);

	if (e)
		return e;
	new_key_make(&g.key);
	g.key.name = STR("made by an administrator");
	g.key.origin = "admin";
	g.key.created_ms = g.now_ms;
	e = grant_refused(cx,
	                  idem_write(g.au->conf.idem, cx, grant_key, &g, out));
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
