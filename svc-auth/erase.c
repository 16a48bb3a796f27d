#include "svc-auth/erase.h"

#include "svc-auth/auth.h"
#include "svc-auth/methods.h"
#include "svc-auth/stepup.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>

#define ORDER_SUBJECT_MAX (UUID_MAX + 8)

static struct str order_subject(struct str receipt, char out[ORDER_SUBJECT_MAX])
{
	(void)snprintf(out, ORDER_SUBJECT_MAX, "erasure:%.*s",
	               STR_FMT(receipt));
	return str_from(out);
}

/* An eraser's run: whoever asks has the order. */
static enum err drop_order(void *arg, struct db *db, const struct erasee *who,
                           int64_t *rows)
{
	char subject[ORDER_SUBJECT_MAX];
	const struct db_val v[] = {
		DB_STR(order_subject(who->receipt, subject))};

	(void)arg;
	(void)rows; /* it says nothing of what was kept of the person */
	return db_run(db, STMT(ORDER_DONE), v, COUNTOF(v), NULL);
}

/* What refers to a person stands before users. */
static const struct eraser erasers[] = {
	ERASER("auth", login_challenges),
	ERASER("auth", recovery_codes),
	ERASER("auth", totp),
	ERASER("auth", sessions),
	ERASER("auth", api_keys),
	ERASER("auth", users),
	ERASER_BY("order", drop_order),
};

static const struct scan_kept kept[] = {
	{"revocations", "id",
         "by it gateways refuse tokens that have not expired; it goes with the last of them"},
};

const struct erase_def auth_erase = {
	.erasers = erasers,
	.erasers_n = COUNTOF(erasers),
	.kept = kept,
	.kept_n = COUNTOF(kept),
};

/* --- the method ------------------------------------------------------------------ */

struct erasing {
	struct auth *au;
	struct erasee who;
	char receipt[UUID_MAX];
	struct user user;
	struct tombstone tomb;
	bool again; /* somebody else's erasure was first */
	struct revoke_batch batch;
	struct buf report;
};

/* A db_fn. */
static enum err find_tomb(struct db *db, void *arg)
{
	struct erasing *er = arg;
	enum err e = erased_find(erase_erased(er->au->conf.erase), db,
	                         er->who.sub, &er->tomb);

	er->again = !e;
	return e;
}

static enum err give_order(struct erasing *er, struct db *db)
{
	const struct erasee *w = &er->who;
	char subject[ORDER_SUBJECT_MAX];
	AUTO_BUF body = {0};

	mp_map(&body, 5);
	mp_kv_str(&body, "receipt", w->receipt);
	mp_kv_str(&body, "sub", w->sub);
	mp_kv_str(&body, "hnd", w->hnd);
	mp_kv_str(&body, "email", w->email);
	mp_kv_i64(&body, "at", w->now_ms);
	if (body.failed)
		return ERR_NOMEM;
	return event_emit(er->au->conf.events, db, PEER_GDPR,
	                  order_subject(w->receipt, subject),
	                  STR("user.erased"), buf_view(&body), w->now_ms);
}

static enum err end_access(struct erasing *er, struct db *db)
{
	struct auth *au = er->au;
	enum err e =
		handle_retire(db, &au->handles, er->who.hnd, er->who.now_ms);

	return e ? e
	         : auth_revoke(au, db, REVOKE_SUB, er->who.sub, er->who.now_ms,
	                       &er->batch);
}

/* A db_fn. */
static enum err erase_all(struct db *db, void *arg)
{
	struct erasing *er = arg;
	enum err e = user_by_sub(db, er->who.sub, &er->user);

	er->batch.n = 0;
	if (e == ERR_NOT_FOUND)
		return find_tomb(db, er);
	er->who.hnd = str_from(er->user.handle);
	er->who.email = str_from(er->user.email);
	if (!e)
		e = erase_in(er->au->conf.erase, db, er->au, &er->who,
		             &er->report);
	if (!e)
		e = find_tomb(db, er);
	/* Two at once: the one that waited finds the other's. */
	er->again = !str_eq(str_from(er->tomb.receipt), er->who.receipt);
	if (e || er->again)
		return e;
	e = end_access(er, db);
	return e ? e : give_order(er, db);
}

/* A db_fn. */
static enum err find_user(struct db *db, void *arg)
{
	struct erasing *er = arg;

	return user_by_sub(db, er->who.sub, &er->user);
}

static enum err may_erase(struct erasing *er, struct ctx *cx,
                          const struct auth_erase_in *want)
{
	enum err e;

	/* They are who the gateway has seen; svc-gdpr passes it on. */
	cx->sub = want->sub;
	cx->auth_time_s = want->at;
	e = stepup_check(er->au, cx, PROOFS(want));
	if (!e)
		e = db_read_one(er->au->conf.pool, cx, find_user, er);
	if (e == ERR_NOT_FOUND)
		return ERR_BAD_TOKEN;
	if (!e && str_ieq(str_from(er->user.handle), STR("admin")))
		return ctx_fail(
			cx, ERR_CONFLICT,
			"The bootstrap administrator cannot be erased: the installation would have nobody who may administer it. Another administrator's account can.");
	return e;
}

static void answer(const struct erasing *er, struct buf *b)
{
	mp_map(b, 4);
	mp_kv_text(b, "receipt_id", er->tomb.receipt);
	mp_kv_i64(b, "at", er->tomb.at_ms);
	mp_kv_str(b, "hnd", er->again ? STR("") : er->who.hnd);
	mp_kv_str(b, "email", er->again ? STR("") : er->who.email);
}

enum err method_auth_erase(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct auth_erase_in *want = in;
	struct erasing er = {.au = state,
	                     .who = {.sub = want->sub, .now_ms = wall_ms()}};
	enum err e;

	if (!cx->principal || strcmp(cx->principal, "gdpr") != 0)
		return ctx_fail(cx, ERR_DENIED, "Only svc-gdpr asks for that.");
	er.who.receipt = uuid7(er.receipt);
	e = db_read_one(er.au->conf.pool, cx, find_tomb, &er);
	if (e == ERR_NOT_FOUND) {
		e = may_erase(&er, cx, want);
		if (!e)
			e = db_write(er.au->conf.pool, cx, erase_all, &er);
		if (e == ERR_NOT_FOUND)
			e = ERR_BAD_TOKEN;
	}
	if (!e && !er.again) {
		erase_committed(er.au->conf.erase, NULL, &er.who);
		auth_committed(er.au, &er.batch);
		log_info(cx, "erase.begun", LOG_TEXT("receipt_id", er.receipt));
	}
	if (!e)
		answer(&er, &out->body);
	buf_fini(&er.report);
	return e;
}
