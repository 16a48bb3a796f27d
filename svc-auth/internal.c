/*
 * internal - the methods that gateways call for themselves: the keys that
 * verify tokens, whose an API key is, and what is revoked.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"

#include "common/base/clock.h"

enum err method_auth_jwks(void *state, struct ctx *cx, const void *in,
                          struct reply *out)
{
	struct auth *au = state;

	(void)cx;
	(void)in;
	signing_jwks(au->signing, &out->body);
	return OK;
}

/* --- verify_key ----------------------------------------------------------- */

enum err method_auth_verify_key(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	const struct auth_verify_key_in *want = in;
	struct mp m = mp_open(want->hash);
	struct auth *au = state;
	struct key_search s = {.now_ms = wall_ms()};
	const struct key_owner *o = &s.owner;
	struct str hash;
	char scopes[40];
	enum err e;

	if (!mp_get_bin(&m, &hash) || hash.n != sizeof(s.hash))
		return ctx_fault(cx, "/hash", "INVALID", "hash is 32 bytes.");
	memcpy(s.hash, hash.p, sizeof(s.hash));
	e = db_read_one(au->conf.pool, cx, key_search, &s);
	if (e)
		return e;
	used_note(&au->used, str_from(o->id), o->last_used_ms, s.now_ms);
	mp_map(&out->body, 7);
	mp_kv_text(&out->body, "sub", o->user.sub);
	mp_kv_text(&out->body, "hnd", o->user.handle);
	mp_kv_text(&out->body, "role", role_name(o->user.role));
	mp_kv_text(&out->body, "tier", tier_name(o->user.tier));
	mp_kv_str(&out->body, "scp", scopes_text(o->scopes, scopes));
	mp_kv_text(&out->body, "key_id", o->id);
	mp_kv_i64(&out->body, "at", s.now_ms / 1000);
	return OK;
}

/* --- revocations ---------------------------------------------------------- */

struct since {
	int64_t seq, now_ms;
	struct buf *out;
};

/* A db_fn. */
static enum err read_since(struct db *db, void *arg)
{
	const struct since *s = arg;

	buf_clear(s->out);
	return revoke_since(db, s->seq, s->now_ms, s->out);
}

enum err method_auth_revocations(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct auth_revocations_in *want = in;
	struct auth *au = state;
	struct since s = {want->since, wall_ms(), &out->body};

	return db_read(au->conf.pool, cx, read_since, &s);
}

/* --- audit ------------------------------------------------------------------ */

struct act {
	struct auth *au;
	const struct ctx *cx;
	struct audit_note note;
};

/* An idem_fn. */
static enum err tell_act(struct db *db, void *arg, struct reply *out)
{
	const struct act *a = arg;

	mp_map(&out->body, 0);
	return audit_tell(a->au, db, a->cx, &a->note);
}

enum err method_auth_audit(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	static const struct revoke_batch none;
	const struct auth_audit_in *want = in;
	const char *type = arena_str(cx->arena, want->resource_type).p;
	struct act a = {.au = state,
	                .cx = cx,
	                .note = {.sub = cx->sub,
	                         .resource_type = type,
	                         .resource_id = want->resource_id}};
	enum err e;

	if (!type)
		return ERR_NOMEM;
	/* The gateway's own acts; others have a transaction to be told in. */
	if (!audit_event_from_str(want->event, &a.note.event) ||
	    audit_event_category(a.note.event) != AUDIT_ADMIN)
		return ctx_fault(cx, "/event", "INVALID",
		                 "event is an act of administrators.");
	e = idem_write(a.au->conf.idem, cx, tell_act, &a, out);
	if (!e && !out->replayed)
		auth_committed(a.au, &none);
	return e;
}
