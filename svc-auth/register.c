/*
 * register - the method that makes an account: of a handle, with its first API
 * key, or of an e-mail address and a password, with its first session.
 *
 * That a handle or an address is taken is told (409), since no mail can be sent
 * that would tell its owner instead.  So that nobody asks for many, each try is
 * charged to the network it comes from and given back when it made an account.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"
#include "svc-auth/password_policy.h"
#include "svc-auth/session.h"
#include "svc-auth/shapes.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>

#define WORDS_MAX 200

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
	enum tier asked;
	struct throttle throttle;
	/* With a handle: */
	struct new_key key;
	/* With an address: */
	struct str email;
	char hash[PASSWORD_TEXT_MAX];
	bool email_taken;
	struct session_grant grant;
	struct revoke_batch batch;
};

/* What is said of the account, and of a tier that was asked for in vain. */
static const char *words_of(const struct registration *r, const char *words,
                            char out[WORDS_MAX])
{
	if (r->asked == TIER_FREE)
		return words;
	(void)snprintf(
		out, WORDS_MAX,
		"%s You asked for the tier %s; every new account starts as free.",
		words, tier_name(r->asked));
	return out;
}

/* A db_fn. */
static enum err charge(struct db *db, void *arg)
{
	return throttle_take(db, arg);
}

/* Charges the network, and makes the account if it may. */
static enum err make(struct registration *r, struct ctx *cx, idem_fn *add,
                     struct reply *out)
{
	enum err e;

	throttle_init(&r->throttle, &r->au->throttle, "", (struct str){0},
	              cx->ip, r->user.created_ms);
	e = db_write(r->au->conf.pool, cx, charge, &r->throttle);
	if (e == ERR_RATE_LIMITED)
		return throttle_refuse(cx, &r->throttle);
	if (!e)
		e = idem_write(r->au->conf.idem, cx, add, r, out);
	if (!e && !out->replayed) {
		auth_committed(r->au, &r->batch);
		log_info(cx, "auth.registered", LOG_TEXT("sub", r->user.sub));
	}
	return e;
}

static enum err tell(const struct registration *r, struct db *db,
                     const char *type, const char *id)
{
	const struct audit_note note = {
		.event = AUDIT_IS(REGISTER),
		.sub = str_from(r->user.sub),
		.actor = str_from(r->user.sub),
		.role = r->user.role,
		.resource_type = type,
		.resource_id = str_from(id),
	};

	return audit_tell(r->au, db, db_cx(db), &note);
}

/* --- with a handle ---------------------------------------------------------- */

static void registered(struct buf *b, const struct registration *r)
{
	char room[WORDS_MAX];
	const char *words = words_of(
		r, "Keep this API key safe: it is shown only this once.", room);

	mp_map(b, 5);
	mp_kv_text(b, "api_key", r->key.text);
	mp_kv_text(b, "user_id", r->user.handle);
	mp_kv_text(b, "quota_tier", tier_name(r->user.tier));
	mp_kv_text(b, "message", words);
	shape_usage(b, "X-API-Key", "", str_from(r->key.text));
}

/* An idem_fn. */
static enum err add_with_key(struct db *db, void *arg, struct reply *out)
{
	struct registration *r = arg;
	enum err e =
		user_add(db, r->au->conf.events, &r->au->handles, &r->user);

	if (!e)
		e = key_add(db, str_from(r->user.sub), &r->key);
	if (!e)
		e = tell(r, db, "api_key", r->key.id);
	if (!e)
		e = throttle_good(db, &r->throttle);
	idem_about(db_cx(db), str_from(r->user.sub));
	out->status = 201;
	registered(&out->body, r);
	return e;
}

static enum err by_handle(struct registration *r, struct ctx *cx,
                          const struct auth_register_in *want,
                          struct reply *out)
{
	enum err e;

	if (!want->user_id.p)
		return want->email.n
		               ? ctx_fault(cx, "/password", "REQUIRED",
		                           "password is required.")
		               : ctx_fault(
					 cx, "/user_id", "REQUIRED",
					 "user_id is required, or email and password.");
	e = check_handle(cx, want->user_id);
	if (!asked_tier(cx, want->quota_tier, &r->asked) || e)
		return ERR_INVALID;
	user_init(&r->user, want->user_id, ROLE_USER, TIER_FREE, wall_ms());
	new_key_make(&r->key);
	r->key.name = STR("registration");
	r->key.scopes = SCOPES_USUAL;
	r->key.origin = "self";
	r->key.created_ms = r->user.created_ms;
	e = make(r, cx, add_with_key, out);
	return e == ERR_DB_DUPLICATE
	               ? ctx_fail(cx, ERR_EXISTS,
	                          "This user_id is taken. Choose another one.")
	               : e;
}

/* --- with an address and a password ------------------------------------------- */

/* A handle for who chose none: it says nothing of its owner. */
static struct str make_handle(char out[HANDLE_MAX + 1])
{
	static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz";
	char tail[11];

	for (size_t i = 0; i < sizeof(tail) - 1; i++)
		tail[i] = letters[randombytes_uniform(32)];
	tail[sizeof(tail) - 1] = '\0';
	(void)snprintf(out, HANDLE_MAX + 1, "learner-%s", tail);
	return str_from(out);
}

/* An idem_fn. */
static enum err add_with_password(struct db *db, void *arg, struct reply *out)
{
	struct registration *r = arg;
	const struct session_begin b = {.sub = str_from(r->user.sub),
	                                .method = "password",
	                                .scopes = SCOPES_USUAL,
	                                .now_ms = r->user.created_ms};
	char room[WORDS_MAX];
	enum err e =
		user_add(db, r->au->conf.events, &r->au->handles, &r->user);

	r->batch.n = 0;
	r->email_taken = false;
	if (!e) {
		e = password_add(db, &r->user, r->email, r->hash);
		r->email_taken = e == ERR_DB_DUPLICATE;
	}
	if (!e)
		e = tell(r, db, NULL, "");
	if (!e)
		e = throttle_good(db, &r->throttle);
	if (!e)
		e = session_open(r->au, db, &b, &r->grant, &r->batch);
	if (e)
		return e;
	idem_about(db_cx(db), str_from(r->user.sub));
	out->status = 201;
	session_answer(&out->body, &r->grant,
	               words_of(r, "Welcome. You are logged in.", room), 1);
	mp_kv_str(&out->body, "email", r->email);
	return OK;
}

static enum err check_account(struct registration *r, struct ctx *cx,
                              const struct auth_register_in *want)
{
	bool good = true;

	if (!email_valid(want->email)) {
		(void)ctx_fault(
			cx, "/email", want->email.n ? "INVALID" : "REQUIRED",
			want->email.n
				? "This is no e-mail address that we know the form of."
				: "email is required with a password.");
		good = false;
	}
	if (want->user_id.n && check_handle(cx, want->user_id))
		good = false;
	if (password_good(cx, "/password", want->password, want->user_id,
	                  want->email))
		good = false;
	if (want->confirm_password.p &&
	    !str_eq(want->confirm_password, want->password)) {
		(void)ctx_fault(cx, "/confirm_password", "MISMATCH",
		                "confirm_password is not the password.");
		good = false;
	}
	if (!asked_tier(cx, want->quota_tier, &r->asked))
		good = false;
	return good ? OK : ERR_INVALID;
}

static enum err by_email(struct registration *r, struct ctx *cx,
                         const struct auth_register_in *want, struct reply *out)
{
	char made[HANDLE_MAX + 1];
	enum err e = check_account(r, cx, want);

	if (e)
		return e;
	user_init(&r->user, want->user_id.n ? want->user_id : make_handle(made),
	          ROLE_USER, TIER_FREE, wall_ms());
	r->email = want->email;
	e = password_hash(&r->au->hasher, want->password, r->hash);
	if (!e)
		e = make(r, cx, add_with_password, out);
	if (e != ERR_DB_DUPLICATE)
		return e;
	return ctx_fail(
		cx, ERR_EXISTS,
		r->email_taken
			? "There is an account with this e-mail address. Log in, or use another one."
			: "This user_id is taken. Choose another one.");
}

enum err method_auth_register(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	const struct auth_register_in *want = in;
	struct registration r = {.au = state, .asked = TIER_FREE};
	enum err e = want->password.n ? by_email(&r, cx, want, out)
	                              : by_handle(&r, cx, want, out);

	new_key_wipe(&r.key);
	session_grant_fini(&r.grant);
	return e;
}
