/*
 * factor_methods - the methods on one's own second factor.  Secret and recovery
 * codes are shown once, in the answer that makes them.
 */
#include "svc-auth/audit.h"
#include "svc-auth/factor.h"
#include "svc-auth/methods.h"
#include "svc-auth/session.h"
#include "svc-auth/stepup.h"

#include "common/base/clock.h"
#include "common/base/log.h"

static enum err tell(struct auth *au, struct db *db, enum audit_event event,
                     struct str sub)
{
	const struct audit_note note = {.event = event, .sub = sub};

	return audit_tell(au, db, db_cx(db), &note);
}

/* --- what there is -------------------------------------------------------- */

struct view {
	struct str sub;
	struct factor factor;
};

/* A db_fn. */
static enum err view(struct db *db, void *arg)
{
	struct view *v = arg;

	return factor_read(db, v->sub, (struct str){0}, &v->factor);
}

enum err method_auth_factors(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	struct auth *au = state;
	struct view v = {.sub = cx->sub};
	enum err e = db_read_one(au->conf.pool, cx, view, &v);

	(void)in;
	if (e)
		return e;
	mp_map(&out->body, 2);
	mp_kv_map(&out->body, "totp", 3);
	mp_kv_bool(&out->body, "active", v.factor.active);
	mp_kv_bool(&out->body, "pending", v.factor.pending);
	mp_kv_time(&out->body, "active_since", v.factor.active_ms);
	mp_kv_i64(&out->body, "recovery_codes_left", v.factor.codes);
	return OK;
}

/* --- enrol ---------------------------------------------------------------- */

struct enrolment {
	struct auth *au;
	struct str sub, hnd;
	int64_t now_ms;
	unsigned char secret[TOTP_SECRET];
};

static void enrolled(struct buf *b, const struct enrolment *en)
{
	char text[BASE32_LEN(TOTP_SECRET) + 1], uri[TOTP_URI_MAX];

	mp_map(b, 4);
	mp_kv_str(b, "secret", base32(en->secret, TOTP_SECRET, text));
	mp_kv_str(b, "otpauth_uri", totp_uri(en->secret, en->hnd, uri));
	mp_kv_time(b, "expires_at", en->now_ms + FACTOR_PENDING_MS);
	mp_kv_text(
		b, "message",
		"Put it into your authenticator app and confirm with a code: the secret is shown only this once.");
	explicit_bzero(text, sizeof(text));
	explicit_bzero(uri, sizeof(uri));
}

/* An idem_fn. */
static enum err enrol(struct db *db, void *arg, struct reply *out)
{
	struct enrolment *en = arg;
	enum err e = factor_begin(en->au, db, en->sub, en->secret, en->now_ms);

	if (!e)
		e = tell(en->au, db, AUDIT_IS(TOTP_ENROLLED), en->sub);
	out->status = 201;
	enrolled(&out->body, en);
	return e;
}

enum err method_auth_factor_add(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	const struct auth_factor_add_in *want = in;
	struct enrolment en = {.au = state,
	                       .sub = cx->sub,
	                       .hnd = cx->hnd,
	                       .now_ms = wall_ms()};
	enum err e = stepup_check(en.au, cx, PROOFS(want));

	if (e)
		return e;
	randombytes_buf(en.secret, sizeof(en.secret));
	e = idem_write(en.au->conf.idem, cx, enrol, &en, out);
	explicit_bzero(en.secret, sizeof(en.secret));
	if (e == ERR_EXISTS)
		return ctx_fail(
			cx, e,
			"You have an authenticator app already. Remove it first.");
	return e;
}

/* --- recovery codes ------------------------------------------------------- */

struct codes {
	struct auth *au;
	struct str sub;
	char text[RECOVERY_CODES][RECOVERY_MAX];
};

static void pack_codes(struct buf *b, const struct codes *c)
{
	mp_kv_array(b, "recovery_codes", RECOVERY_CODES);
	for (size_t i = 0; i < RECOVERY_CODES; i++)
		mp_text(b, c->text[i]);
}

static enum err no_factor(struct ctx *cx)
{
	return ctx_fail(cx, ERR_NOT_FOUND, "You have no authenticator app.");
}

/* An idem_fn. */
static enum err renew(struct db *db, void *arg, struct reply *out)
{
	struct codes *c = arg;
	struct factor f;
	enum err e = factor_read(db, c->sub, (struct str){0}, &f);

	if (!e && !f.active)
		e = ERR_NOT_FOUND;
	if (!e)
		e = factor_codes(c->au, db, c->sub, c->text);
	if (!e)
		e = tell(c->au, db, AUDIT_IS(RECOVERY_CODES_MADE), c->sub);
	mp_map(&out->body, 2);
	pack_codes(&out->body, c);
	mp_kv_text(
		&out->body, "message",
		"Keep these codes safe: each is good once, they are shown only this once, and those before are void.");
	return e;
}

enum err method_auth_recovery_codes(void *state, struct ctx *cx, const void *in,
                                    struct reply *out)
{
	const struct auth_recovery_codes_in *want = in;
	struct codes c = {.au = state, .sub = cx->sub};
	enum err e = stepup_check(c.au, cx, PROOFS(want));

	if (e)
		return e;
	e = idem_write(c.au->conf.idem, cx, renew, &c, out);
	explicit_bzero(c.text, sizeof(c.text));
	if (e == ERR_NOT_FOUND)
		return no_factor(cx);
	if (!e && !out->replayed)
		log_info(cx, "audit.recovery_codes_made",
		         LOG_STR("sub", cx->sub));
	return e;
}

/* --- confirm -------------------------------------------------------------- */

struct confirmation {
	struct codes codes;
	struct str code, sid;
	bool end_others;
	int64_t now_ms;
	struct revoke_batch batch;
};

/* An idem_fn. */
static enum err confirm(struct db *db, void *arg, struct reply *out)
{
	struct confirmation *c = arg;
	struct str sub = c->codes.sub;
	enum err e = factor_confirm(c->codes.au, db, sub, c->code, c->now_ms);

	if (!e)
		e = factor_codes(c->codes.au, db, sub, c->codes.text);
	if (!e)
		e = tell(c->codes.au, db, AUDIT_IS(TOTP_ENABLED), sub);
	c->batch.n = 0;
	if (!e && c->end_others)
		e = session_end_others(c->codes.au, db, sub, c->sid, "factor",
		                       c->now_ms, &c->batch);
	mp_map(&out->body, 4);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_bool(&out->body, "other_sessions_ended", c->end_others);
	pack_codes(&out->body, &c->codes);
	mp_kv_text(
		&out->body, "message",
		"From now on logging in takes a code of your app. Keep the recovery codes safe: each is good once, and they are shown only this once.");
	return e;
}

enum err method_auth_factor_confirm(void *state, struct ctx *cx, const void *in,
                                    struct reply *out)
{
	const struct auth_factor_confirm_in *want = in;
	struct confirmation c = {.codes = {.au = state, .sub = cx->sub},
	                         .code = want->code,
	                         .sid = cx->sid,
	                         .end_others = want->end_other_sessions,
	                         .now_ms = wall_ms()};
	enum err e = idem_write(c.codes.au->conf.idem, cx, confirm, &c, out);

	explicit_bzero(c.codes.text, sizeof(c.codes.text));
	if (e == ERR_NOT_FOUND)
		return ctx_fail(
			cx, e,
			"There is nothing to confirm, or it has been waiting for more than 15 minutes. Begin anew.");
	if (e == ERR_BAD_LOGIN)
		return ctx_fault(
			cx, "/code", "INVALID",
			"This is not the code that the app shows now.");
	if (e || out->replayed)
		return e;
	auth_committed(c.codes.au, &c.batch);
	log_info(cx, "audit.factor_added", LOG_STR("sub", cx->sub));
	return OK;
}

/* --- remove --------------------------------------------------------------- */

struct removal {
	struct auth *au;
	struct factor_use use;
};

/* An idem_fn. */
static enum err remove_factor(struct db *db, void *arg, struct reply *out)
{
	struct removal *r = arg;
	enum err e = factor_use(r->au, db, &r->use);

	if (!e)
		e = factor_remove(db, r->use.sub);
	if (!e)
		e = tell(r->au, db, AUDIT_IS(TOTP_DISABLED), r->use.sub);
	mp_map(&out->body, 2);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_text(
		&out->body, "message",
		"Your authenticator app and your recovery codes are not asked for any more.");
	return e;
}

/* However fresh the login is: a session that somebody left open must not be
 * enough to be rid of the factor. */
enum err method_auth_factor_remove(void *state, struct ctx *cx, const void *in,
                                   struct reply *out)
{
	const struct auth_factor_remove_in *want = in;
	struct removal r = {.au = state,
	                    .use = {.sub = cx->sub,
	                            .code = want->code,
	                            .now_ms = wall_ms()}};
	enum err e = factor_charge(r.au, cx, cx->sub);

	if (!e)
		e = idem_write(r.au->conf.idem, cx, remove_factor, &r, out);
	if (e == ERR_NOT_FOUND)
		return no_factor(cx);
	if (e == ERR_BAD_LOGIN) {
		(void)factor_refused(r.au, cx, cx->sub);
		cx->problem.code = ERR_REAUTH;
		return ERR_REAUTH;
	}
	if (!e && !out->replayed) {
		factor_used(cx, &r.use);
		log_info(cx, "audit.factor_removed", LOG_STR("sub", cx->sub));
	}
	return e;
}
