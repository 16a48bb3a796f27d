#include "svc-auth/factor.h"

#include "svc-auth/audit.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/log.h"

int64_t factor_wait_s(int64_t n)
{
	int64_t s = 1;

	if (n <= FACTOR_FREE)
		return 0;
	for (n -= FACTOR_FREE + 1; n > 0 && s < FACTOR_WAIT_MAX_S; n--)
		s *= 2;
	return s < FACTOR_WAIT_MAX_S ? s : FACTOR_WAIT_MAX_S;
}

/* --- what there is -------------------------------------------------------- */

static enum err take_view(void *arg, const struct db_row *row)
{
	struct factor *f = arg;

	f->created_ms = db_row_i64(row, 0);
	f->active_ms = db_row_i64(row, 1);
	f->codes = db_row_i64(row, 2);
	f->session_had = db_row_i64(row, 3) > 0;
	f->active = f->active_ms != 0;
	f->pending = !f->active;
	return OK;
}

enum err factor_read(struct db *db, struct str sub, struct str sid,
                     struct factor *out)
{
	const struct db_val v[] = {DB_STR(sub), DB_STR(sid)};
	struct factor f = {0};
	const struct db_sink sink = {take_view, &f};
	enum err e = db_run(db, STMT(TOTP_READ), v, COUNTOF(v), &sink);

	if (!e)
		*out = f;
	return e;
}

/* The row under its lock. */
struct held {
	bool there;
	int64_t created_ms, active_ms, last_step, tries, wait_until_ms;
	unsigned char sealed[SEAL_MAX];
	size_t sealed_n;
};

static enum err take_row(void *arg, const struct db_row *row)
{
	struct held *h = arg;
	struct str sealed = db_row_str(row, 0);

	if (sealed.n > sizeof(h->sealed))
		return ERR_INTERNAL;
	memcpy(h->sealed, sealed.p, sealed.n);
	h->sealed_n = sealed.n;
	h->created_ms = db_row_i64(row, 1);
	h->active_ms = db_row_i64(row, 2);
	h->last_step = db_row_i64(row, 3);
	h->tries = db_row_i64(row, 4);
	h->wait_until_ms = db_row_i64(row, 5);
	h->there = true;
	return OK;
}

/* ERR_NOT_FOUND: there is none that is active (or pending, if that is asked). */
static enum err hold(struct db *db, struct str sub, bool active,
                     struct held *out)
{
	const struct db_val v[] = {DB_STR(sub)};
	const struct db_sink sink = {take_row, out};
	enum err e;

	*out = (struct held){.there = false};
	e = db_run(db, STMT(TOTP_HOLD), v, COUNTOF(v), &sink);
	if (!e && (!out->there || (out->active_ms != 0) != active))
		e = ERR_NOT_FOUND;
	return e;
}

static enum err match(const struct auth *au, const struct held *h,
                      struct str sub, struct str code, int64_t now_ms,
                      int64_t *step)
{
	const struct str sealed = {(const char *)h->sealed, h->sealed_n};
	unsigned char secret[SEAL_PLAIN_MAX];
	size_t n = 0;
	bool good;

	if (!unseal(&au->totp, sealed, sub, secret, &n) || n != TOTP_SECRET) {
		log_error(NULL, "auth.factor_unreadable", LOG_STR("sub", sub));
		return ERR_INTERNAL;
	}
	good = totp_match(secret, code, now_ms, h->last_step, step);
	explicit_bzero(secret, sizeof(secret));
	return good ? OK : ERR_BAD_LOGIN;
}

/* --- enrolment ------------------------------------------------------------ */

enum err factor_begin(struct auth *au, struct db *db, struct str sub,
                      const unsigned char secret[TOTP_SECRET], int64_t now_ms)
{
	const struct str plain = {(const char *)secret, TOTP_SECRET};
	unsigned char sealed[SEAL_MAX];
	int64_t changed = 0;
	size_t n = 0;
	enum err e;

	if (!seal(&au->totp, plain, sub, sealed, &n))
		return ERR_INTERNAL;
	{
		const struct db_val v[] = {
			DB_STR(sub),
			DB_BLOB(((struct str){(const char *)sealed, n})),
			DB_I64(now_ms)};

		e = db_change(db, STMT(TOTP_BEGIN), v, COUNTOF(v), &changed);
	}
	if (!e && changed == 0)
		e = ERR_EXISTS;
	return e;
}

enum err factor_confirm(struct auth *au, struct db *db, struct str sub,
                        struct str code, int64_t now_ms)
{
	char folded[RECOVERY_PLAIN + 1];
	struct held h;
	int64_t step = 0;
	enum err e = hold(db, sub, false, &h);

	if (!e && now_ms - h.created_ms > FACTOR_PENDING_MS)
		e = ERR_NOT_FOUND;
	if (!e)
		e = match(au, &h, sub, code_fold(code, folded), now_ms, &step);
	if (!e) {
		const struct db_val v[] = {DB_I64(now_ms), DB_I64(step),
		                           DB_STR(sub)};

		e = db_run(db, STMT(TOTP_CONFIRM), v, COUNTOF(v), NULL);
	}
	return e;
}

enum err factor_remove(struct db *db, struct str sub)
{
	const struct db_val v[] = {DB_STR(sub)};
	int64_t changed = 0;
	enum err e = db_run(db, STMT(RECOVERY_CLEAR), v, COUNTOF(v), NULL);

	if (!e)
		e = db_change(db, STMT(TOTP_REMOVE), v, COUNTOF(v), &changed);
	if (!e && changed == 0)
		e = ERR_NOT_FOUND;
	return e;
}

static enum err add_code(const struct auth *au, struct db *db, struct str sub,
                         const char *code)
{
	unsigned char hash[RECOVERY_HASH];
	char folded[RECOVERY_PLAIN + 1];
	const struct db_val v[] = {
		DB_STR(sub),
		DB_BLOB(((struct str){(const char *)hash, sizeof(hash)}))};

	recovery_hash(&au->recovery, sub, code_fold(str_from(code), folded),
	              hash);
	explicit_bzero(folded, sizeof(folded));
	return db_run(db, STMT(RECOVERY_ADD), v, COUNTOF(v), NULL);
}

enum err factor_codes(struct auth *au, struct db *db, struct str sub,
                      char codes[RECOVERY_CODES][RECOVERY_MAX])
{
	const struct db_val v[] = {DB_STR(sub)};
	enum err e = db_run(db, STMT(RECOVERY_CLEAR), v, COUNTOF(v), NULL);

	for (size_t i = 0; !e && i < RECOVERY_CODES; i++) {
		recovery_make(codes[i]);
		e = add_code(au, db, sub, codes[i]);
	}
	return e;
}

/* --- attempts ------------------------------------------------------------- */

struct charge {
	struct str sub;
	int64_t now_ms, left_ms; /* out: until one is allowed */
};

/* A db_fn. */
static enum err charge(struct db *db, void *arg)
{
	struct charge *c = arg;
	struct held h;
	enum err e = hold(db, c->sub, true, &h);

	c->left_ms = h.wait_until_ms - c->now_ms;
	if (e)
		return e;
	if (c->left_ms > 0)
		return ERR_RATE_LIMITED;
	{
		const struct db_val v[] = {
			DB_I64(c->now_ms + factor_wait_s(h.tries + 1) * 1000),
			DB_STR(c->sub)};

		return db_run(db, STMT(TOTP_CHARGE), v, COUNTOF(v), NULL);
	}
}

enum err factor_charge(struct auth *au, struct ctx *cx, struct str sub)
{
	struct charge c = {.sub = sub, .now_ms = wall_ms()};
	enum err e = db_write(au->conf.pool, cx, charge, &c);

	if (e != ERR_RATE_LIMITED)
		return e;
	log_info(cx, "audit.factor_throttled", LOG_STR("sub", sub));
	(void)ctx_fail(cx, e,
	               "Too many codes were wrong. Wait before the next one.");
	cx->problem.retry_after_s = (unsigned)((c.left_ms + 999) / 1000);
	return e;
}

static enum err use_recovery(const struct auth *au, struct db *db,
                             const struct factor_use *u, struct str folded)
{
	unsigned char hash[RECOVERY_HASH];
	const struct db_val v[] = {
		DB_STR(u->sub),
		DB_BLOB(((struct str){(const char *)hash, sizeof(hash)}))};
	int64_t changed = 0;
	enum err e;

	recovery_hash(&au->recovery, u->sub, folded, hash);
	e = db_change(db, STMT(RECOVERY_USE), v, COUNTOF(v), &changed);
	if (!e && changed == 0)
		e = ERR_BAD_LOGIN;
	return e;
}

enum err factor_use(struct auth *au, struct db *db, struct factor_use *u)
{
	char plain[RECOVERY_PLAIN + 1];
	struct str folded = code_fold(u->code, plain);
	struct held h;
	int64_t step = 0;
	enum err e = hold(db, u->sub, true, &h);

	u->recovery = folded.n == RECOVERY_PLAIN;
	if (!e && u->recovery) {
		step = h.last_step;
		e = use_recovery(au, db, u, folded);
	} else if (!e) {
		e = match(au, &h, u->sub, folded, u->now_ms, &step);
	}
	explicit_bzero(plain, sizeof(plain));
	if (!e) {
		const struct db_val v[] = {DB_I64(step), DB_STR(u->sub)};

		e = db_run(db, STMT(TOTP_USED), v, COUNTOF(v), NULL);
	}
	if (!e && u->recovery) {
		const struct audit_note note = {
			.event = AUDIT_IS(RECOVERY_CODE_USED),
			.sub = u->sub,
			.actor = u->sub,
			.role = ROLE_USER,
		};

		e = audit_tell(au, db, db_cx(db), &note);
	}
	return e;
}

struct proof {
	struct auth *au;
	struct factor_use use;
};

/* A db_fn. */
static enum err use(struct db *db, void *arg)
{
	struct proof *p = arg;

	return factor_use(p->au, db, &p->use);
}

enum err factor_prove(struct auth *au, struct ctx *cx, struct str sub,
                      struct str code)
{
	struct proof p = {.au = au, .use = {.sub = sub, .code = code}};
	enum err e = factor_charge(au, cx, sub);

	p.use.now_ms = wall_ms();
	if (!e)
		e = db_write(au->conf.pool, cx, use, &p);
	if (e == ERR_BAD_LOGIN)
		return factor_refused(au, cx, sub);
	if (!e)
		factor_used(cx, &p.use);
	return e;
}

enum err factor_refused(struct auth *au, struct ctx *cx, struct str sub)
{
	audit_tell_failed(au, cx, sub, "factor", wall_ms());
	log_info(cx, "audit.factor_refused", LOG_STR("sub", sub));
	return ctx_fail(cx, ERR_BAD_LOGIN,
	                "This code is not valid, or was used already.");
}

void factor_used(struct ctx *cx, const struct factor_use *u)
{
	if (u->recovery)
		log_info(cx, "audit.recovery_code_used",
		         LOG_STR("sub", u->sub));
}
