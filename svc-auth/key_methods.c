/*
 * key_methods - the methods on one's own API keys.  A key of somebody else and
 * a key that is not there answer alike: 404.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"
#include "svc-auth/session.h"
#include "svc-auth/stepup.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>

/* --- list ----------------------------------------------------------------- */

struct listing {
	struct str sub;
	struct buf *rows;
	uint32_t n;
};

/* A db_fn. */
static enum err list(struct db *db, void *arg)
{
	struct listing *l = arg;

	buf_clear(l->rows);
	return key_list(db, l->sub, l->rows, &l->n);
}

enum err method_auth_keys_list(void *state, struct ctx *cx, const void *in,
                               struct reply *out)
{
	struct auth *au = state;
	AUTO_BUF rows = {0};
	struct listing l = {cx->sub, &rows, 0};
	enum err e = db_read_one(au->conf.pool, cx, list, &l);

	(void)in;
	if (e)
		return e;
	mp_map(&out->body, 2);
	mp_kv_array(&out->body, "keys", l.n);
	mp_raw(&out->body, buf_view(&rows));
	mp_kv_i64(&out->body, "count", l.n);
	return OK;
}

/* --- add ------------------------------------------------------------------ */

static bool wanted_scopes(struct ctx *cx, struct strs names, uint32_t *out)
{
	uint32_t all = 0, one = 0;

	for (size_t i = 0; i < names.n; i++) {
		if (!scopes_from_str(names.v[i], &one) || one == 0) {
			char at[32];

			(void)snprintf(at, sizeof(at), "/scopes/%zu", i);
			(void)ctx_fault(
				cx, at, "INVALID",
				"A scope is one of read, write, generate, admin.");
			return false;
		}
		all |= one;
	}
	/* Unless it is asked for, a new key does not administrate. */
	*out = names.n ? all : cx->scopes & SCOPES_USUAL;
	return true;
}

static bool wanted_expiry(struct ctx *cx, struct str text, int64_t now_ms,
                          int64_t *out)
{
	*out = 0;
	if (!text.p || (time_from_iso(text, out) && *out > now_ms))
		return true;
	(void)ctx_fault(
		cx, "/expires_at", "INVALID",
		"expires_at is a time in the future such as 2030-01-31T12:00:00Z.");
	return false;
}

/* Of one's own key; actor and role are those of the request. */
static enum err tell_key(struct auth *au, struct db *db, enum audit_event event,
                         struct str sub, struct str id)
{
	const struct audit_note note = {
		.event = event,
		.sub = sub,
		.resource_type = "api_key",
		.resource_id = id,
	};

	return audit_tell(au, db, db_cx(db), &note);
}

struct addition {
	struct auth *au;
	struct str sub;
	struct new_key key;
};

static void added(struct buf *b, const struct new_key *k)
{
	mp_map(b, 7);
	mp_kv_text(b, "api_key", k->text);
	mp_kv_text(b, "key_id", k->id);
	mp_kv_str(b, "name", k->name);
	key_pack_scopes(b, k->scopes);
	mp_kv_time(b, "created_at", k->created_ms);
	mp_kv_time(b, "expires_at", k->expires_ms);
	mp_kv_text(b, "message",
	           "Keep this API key safe: it is shown only this once.");
}

/* An idem_fn. */
static enum err add(struct db *db, void *arg, struct reply *out)
{
	struct addition *a = arg;
	enum err e = user_lock(db, a->sub);

	if (!e)
		e = key_room(db, a->sub, a->key.created_ms);
	if (!e)
		e = key_add(db, a->sub, &a->key);
	if (!e)
		e = tell_key(a->au, db, AUDIT_IS(API_KEY_CREATED), a->sub,
		             str_from(a->key.id));
	out->status = 201;
	added(&out->body, &a->key);
	return e;
}

enum err method_auth_keys_add(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	const struct auth_keys_add_in *want = in;
	struct auth *au = state;
	static const struct revoke_batch none;
	struct addition a = {.au = au, .sub = cx->sub};
	bool good;
	enum err e;

	a.key.created_ms = wall_ms();
	good = wanted_scopes(cx, want->scopes, &a.key.scopes);
	if (!wanted_expiry(cx, want->expires_at, a.key.created_ms,
	                   &a.key.expires_ms) ||
	    !good)
		return ERR_INVALID;
	if (a.key.scopes == 0 || (a.key.scopes & ~cx->scopes))
		return ctx_fail(
			cx, ERR_DENIED,
			"A key cannot have more scopes than the one that makes it.");
	e = stepup_check(au, cx, PROOFS(want));
	if (e)
		return e;
	new_key_make(&a.key);
	a.key.name = want->name;
	a.key.origin = "self";
	e = idem_write(au->conf.idem, cx, add, &a, out);
	if (e == ERR_NOT_FOUND)
		e = ERR_BAD_TOKEN; /* the person is gone */
	if (e == ERR_CONFLICT)
		e = ctx_fail(cx, e,
		             "You have %d live keys already. Revoke one first.",
		             KEYS_LIVE_MAX);
	if (!e && !out->replayed) {
		auth_committed(au, &none);
		log_info(cx, "audit.key_added", LOG_STR("sub", cx->sub),
		         LOG_TEXT("key_id", a.key.id));
	}
	new_key_wipe(&a.key);
	return e;
}

/* --- revoke --------------------------------------------------------------- */

struct removal {
	struct auth *au;
	struct str sub, id;
	int64_t now_ms;
	struct revoke_batch batch;
};

/* An idem_fn. */
static enum err revoke(struct db *db, void *arg, struct reply *out)
{
	struct removal *r = arg;
	enum err e = key_revoke(db, r->sub, r->id, r->now_ms);

	r->batch.n = 0;
	if (!e)
		e = session_end_key(db, r->id, "key_revoked", r->now_ms);
	if (!e)
		e = auth_revoke(r->au, db, REVOKE_KEY, r->id, r->now_ms,
		                &r->batch);
	if (!e)
		e = tell_key(r->au, db, AUDIT_IS(API_KEY_REVOKED), r->sub,
		             r->id);
	mp_map(&out->body, 2);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_text(
		&out->body, "message",
		"The key is revoked, and every session opened with it ended.");
	return e;
}

enum err method_auth_keys_revoke(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct auth_keys_revoke_in *want = in;
	struct removal r = {.au = state,
	                    .sub = cx->sub,
	                    .id = want->key_id,
	                    .now_ms = wall_ms()};
	enum err e = ERR_NOT_FOUND;

	if (uuid_valid(want->key_id))
		e = idem_write(r.au->conf.idem, cx, revoke, &r, out);
	if (e == ERR_NOT_FOUND)
		return ctx_fail(cx, e, "You have no live key with this id.");
	if (e || out->replayed)
		return e;
	auth_committed(r.au, &r.batch);
	log_info(cx, "audit.key_revoked", LOG_STR("sub", cx->sub),
	         LOG_STR("key_id", want->key_id));
	return OK;
}
