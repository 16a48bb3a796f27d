#include "svc-auth/admit.h"

#include "svc-auth/cookie.h"
#include "svc-auth/factor.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>

#define METHOD_MAX 48

struct entrance {
	const struct admit *a;
	bool factor; /* asked for, and paid for */
	struct factor_use use;
	struct session_grant grant;
	struct revoke_batch batch;
};

static enum err answer(const struct entrance *en, struct arena *arena,
                       struct reply *out)
{
	static const char words[] = "You are logged in.";

	if (en->a->cookie)
		return cookie_answer(arena, &en->grant, words, out);
	session_answer(&out->body, &en->grant, words, 0);
	return OK;
}

/* An idem_fn. */
static enum err enter(struct db *db, void *arg, struct reply *out)
{
	struct entrance *en = arg;
	const struct admit *a = en->a;
	char method[METHOD_MAX];
	struct session_begin b = {.sub = {0}};
	enum err e = a->who(db, a->arg, &b);

	en->batch.n = 0;
	if (!e)
		idem_about(db_cx(db), a->sub);
	if (!e && en->factor)
		e = factor_use(a->au, db, &en->use);
	if (!e && en->factor) {
		(void)snprintf(method, sizeof(method), "%s%s", b.method,
		               en->use.recovery ? FACTOR_METHOD_RECOVERY
		                                : FACTOR_METHOD_TOTP);
		b.method = method;
	}
	if (!e)
		e = session_open(a->au, db, &b, &en->grant, &en->batch);
	return e ? e : answer(en, db_cx(db)->arena, out);
}

struct look {
	struct str sub;
	struct factor factor;
};

/* A db_fn. */
static enum err look(struct db *db, void *arg)
{
	struct look *l = arg;

	return factor_read(db, l->sub, (struct str){0}, &l->factor);
}

static enum err run(struct entrance *en, struct ctx *cx, struct reply *out)
{
	const struct admit *a = en->a;
	struct look l = {.sub = a->sub};
	enum err e = db_read_one(a->au->conf.pool, cx, look, &l);

	if (e)
		return e;
	/* Removed since the challenge: then it does not stand for a second
	 * factor, and what it was made of is asked for again. */
	if (!l.factor.active && a->challenged)
		return ERR_BAD_LOGIN;
	if (l.factor.active && a->code.n == 0)
		return a->challenged
		               ? ERR_BAD_LOGIN
		               : challenge_make(a->au, cx, a->who, a->arg);
	en->factor = l.factor.active;
	en->use = (struct factor_use){.sub = a->sub,
	                              .code = a->code,
	                              .now_ms = wall_ms()};
	if (en->factor)
		e = factor_charge(a->au, cx, a->sub);
	if (!e)
		e = idem_write(a->au->conf.idem, cx, enter, en, out);
	if (e == ERR_BAD_LOGIN && en->factor)
		return factor_refused(a->au, cx, a->sub);
	if (e || out->replayed)
		return e;
	auth_committed(a->au, &en->batch);
	if (en->factor)
		factor_used(cx, &en->use);
	return OK;
}

enum err admit(struct admit *a, struct ctx *cx, struct reply *out)
{
	struct entrance en = {.a = a};
	enum err e = run(&en, cx, out);

	session_grant_fini(&en.grant);
	return e;
}
