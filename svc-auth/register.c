/*
 * register - the method that makes an account, with its first API key.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"
#include "svc-auth/shapes.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>

static enum err check_handle(struct ctx *cx, struct str handle)
{
	enum handle_verdict v = handle_check(handle);

	if (v == HANDLE_GOOD)
		return OK;
	return ctx_fault(cx, "/user_id", handle_code(v), "%s", handle_words(v));
}

struct registration {
	struct auth *au;
	struct user user;
	struct new_key key;
	enum tier asked;
};

static void registered(struct buf *b, const struct registration *r)
{
	enum tier asked = r->asked;
	char words[200];
	size_t n;

	(void)snprintf(words, sizeof(words),
	               "Keep this API key safe: it is shown only this once.");
	n = strlen(words);
	if (asked != TIER_FREE)
		(void)snprintf(
			words + n, sizeof(words) - n,
			" You asked for the tier %s; every new account starts as free.",
			tier_name(asked));
	mp_map(b, 5);
	mp_kv_text(b, "api_key", r->key.text);
	mp_kv_text(b, "user_id", r->user.handle);
	mp_kv_text(b, "quota_tier", tier_name(r->user.tier));
	mp_kv_text(b, "message", words);
	shape_usage(b, "X-API-Key", "", str_from(r->key.text));
}

/* An idem_fn. */
static enum err add_person(struct db *db, void *arg, struct reply *out)
{
	struct registration *r = arg;
	enum err e = user_add(db, r->au->conf.events, &r->user);

	if (!e)
		e = key_add(db, str_from(r->user.sub), &r->key);
	if (!e) {
		const struct audit_note note = {
			.event = AUDIT_IS(REGISTER),
			.sub = str_from(r->user.sub),
			.actor = str_from(r->user.sub),
			.role = r->user.role,
			.resource_type = "api_key",
			.resource_id = str_from(r->key.id),
		};

		e = audit_tell(r->au, db, db_cx(db), &note);
	}
	out->status = 201;
	registered(&out->body, r);
	return e;
}

enum err method_auth_register(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	static const struct revoke_batch none;
	const struct auth_register_in *want = in;
	struct registration r = {.au = state, .asked = TIER_FREE};
	enum err e;

	if (!want->user_id.p && (want->email.p || want->password.p))
		return ctx_fail(
			cx, ERR_NOT_BUILT,
			"Registering with e-mail and password is not built yet. Send user_id.");
	if (!want->user_id.p)
		return ctx_fault(cx, "/user_id", "REQUIRED",
		                 "user_id is required.");
	e = check_handle(cx, want->user_id);
	if (!asked_tier(cx, want->quota_tier, &r.asked) || e)
		return ERR_INVALID;
	user_init(&r.user, want->user_id, ROLE_USER, TIER_FREE, wall_ms());
	new_key_make(&r.key);
	r.key.name = STR("registration");
	r.key.scopes = SCOPES_USUAL;
	r.key.origin = "self";
	r.key.created_ms = r.user.created_ms;
	e = idem_write(r.au->conf.idem, cx, add_person, &r, out);
	if (e == ERR_DB_DUPLICATE)
		e = ctx_fail(cx, ERR_EXISTS,
		             "This user_id is taken. Choose another one.");
	if (!e && !out->replayed) {
		auth_committed(r.au, &none);
		log_info(cx, "auth.registered", LOG_TEXT("sub", r.user.sub));
	}
	new_key_wipe(&r.key);
	return e;
}
