/*
 * erase_methods - asking for an erasure, and asking how far it is.
 */
#include "svc-gdpr/erasure.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/receipt.h"
#include "svc-gdpr/state.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <time.h>

#define ARTICLE     "Article 17 GDPR: right to erasure"
#define STATUS_PATH "/api/user/erasure/"
#define WAIT_MS     50
#define ANSWER_MS   1500 /* of the deadline, to answer in */

/* --- what is told of one ---------------------------------------------------------- */

static bool is_verified(const struct store_row *s)
{
	return strcmp(s->state, "verified") == 0;
}

/* {table: rows} as they are kept. */
static void pack_counts(struct buf *b, const struct erasure *er)
{
	mp_kv_map(b, "counts", er->stores_n);
	for (size_t i = 0; i < er->stores_n; i++) {
		mp_text(b, er->stores[i].name);
		if (er->stores[i].report.n)
			mp_raw(b, er->stores[i].report);
		else
			mp_map(b, 0);
	}
}

/* "ledger (3)", and "account" for the row that was one. */
static uint32_t list_removed(struct buf *b, const struct erasure *er)
{
	uint32_t listed = 0;

	for (size_t i = 0; i < er->stores_n; i++) {
		struct mp m = mp_open(er->stores[i].report);
		uint32_t n = 0;

		(void)!mp_get_map(&m, &n);
		for (; n > 0; n--) {
			struct str name = {0};
			int64_t rows = 0;
			char text[96];

			if (!mp_get_str(&m, &name) || !mp_get_i64(&m, &rows))
				break;
			if (rows == 0)
				continue;
			listed++;
			if (str_eq(name, STR("users"))) {
				mp_text(b, "account");
				continue;
			}
			(void)snprintf(text, sizeof(text), "%.*s (%lld)",
			               STR_FMT(name), (long long)rows);
			mp_text(b, text);
		}
	}
	return listed;
}

static void pack_removed(struct buf *b, const struct erasure *er)
{
	AUTO_BUF list = {0};
	uint32_t n = list_removed(&list, er);

	mp_kv_array(b, "data_removed", n);
	mp_raw(b, buf_view(&list));
}

static void pack_receipt(struct buf *b, const struct erasure *er)
{
	mp_text(b, "receipt");
	if (er->jws.n)
		mp_str(b, er->jws);
	else
		mp_nil(b);
}

static void pack_pending(struct buf *b, const struct erasure *er)
{
	size_t n = 0;

	for (size_t i = 0; i < er->stores_n; i++)
		n += !is_verified(&er->stores[i]);
	mp_kv_array(b, "pending", n);
	for (size_t i = 0; i < er->stores_n; i++)
		if (!is_verified(&er->stores[i]))
			mp_text(b, er->stores[i].name);
}

/* The same members whether it is done or under way. */
static void pack_answer(struct buf *b, const struct erasure *er)
{
	char url[sizeof(STATUS_PATH) + UUID_MAX];
	bool done = er->completed_ms != 0;

	(void)snprintf(url, sizeof(url), STATUS_PATH "%s", er->receipt);
	mp_map(b, 10);
	mp_kv_text(
		b, "message",
		done ? "Your account and everything we kept about you are erased. Keep the receipt: it is the proof."
		     : "Your account is closed. What is left is being erased, and goes on by itself: ask at status_url.");
	mp_kv_time(b, "deleted_at", er->completed_ms);
	pack_removed(b, er);
	mp_kv_text(b, "gdpr_article", ARTICLE);
	mp_kv_text(b, "receipt_id", er->receipt);
	mp_kv_text(b, "status_url", url);
	pack_pending(b, er);
	mp_kv_time(b, "due_at", er->due_ms);
	pack_counts(b, er);
	pack_receipt(b, er);
}

/* --- asking for one --------------------------------------------------------------------- */

struct request {
	struct gdpr_state *st;
	struct ctx *cx;
	char receipt[UUID_MAX];
	struct str order; /* the body of the event, as svc-auth tells it, too */
	struct erasure er;
};

/* What svc-auth says is theirs to say: 401, 409 with its reason. */
static enum err begin_at_auth(struct request *rq,
                              const struct gdpr_erase_in *in, struct buf *order)
{
	AUTO_BUF body = {0}, bytes = {0};
	struct reply_view view = {0};
	struct ctx *cx = rq->cx;
	struct str receipt;
	enum err e;

	mp_map(&body, 5);
	mp_kv_str(&body, "sub", cx->sub);
	mp_kv_i64(&body, "at", cx->auth_time_s);
	mp_kv_str(&body, "password", in->password);
	mp_kv_str(&body, "api_key", in->api_key);
	mp_kv_str(&body, "code", in->code);
	if (body.failed)
		return ERR_NOMEM;
	e = desk_call(rq->st->desk, cx, PEER_AUTH, "auth.erase",
	              buf_view(&body), &bytes, &view);
	explicit_bzero(body.p, body.n);
	if (!e && view.err) {
		cx->problem = view.problem;
		return view.err;
	}
	if (e)
		return e;
	receipt = mp_find_str(view.body, "receipt_id", STR(""));
	if (!uuid_valid(receipt))
		return ERR_INTERNAL;
	(void)snprintf(rq->receipt, sizeof(rq->receipt), "%.*s",
	               STR_FMT(receipt));
	/* Of one who is erased already there is an order, ours or on its way. */
	if (mp_find_str(view.body, "hnd", STR("")).n == 0)
		return OK;
	mp_map(order, 5);
	mp_kv_str(order, "receipt", receipt);
	mp_kv_str(order, "sub", cx->sub);
	mp_kv_str(order, "hnd", mp_find_str(view.body, "hnd", STR("")));
	mp_kv_str(order, "email", mp_find_str(view.body, "email", STR("")));
	mp_kv_i64(order, "at", mp_find_i64(view.body, "at", wall_ms()));
	return order->failed ? ERR_NOMEM : OK;
}

/* A db_fn. */
static enum err take_order(struct db *db, void *arg)
{
	struct request *rq = arg;

	return erasure_ordered(rq->st->desk, db, rq->order);
}

static void pause_ms(long ms)
{
	const struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	(void)nanosleep(&ts, NULL);
}

/* Until it is complete, cannot be just now, or the time is up; while somebody
 * else is at it, which is seldom for long, their end is waited for. */
static void run(struct request *rq)
{
	enum err e;

	do {
		e = erasure_run(rq->st->desk, rq->cx, str_from(rq->receipt));
		if (e == ERR_BUSY || e == ERR_NOT_FOUND)
			pause_ms(WAIT_MS);
	} while ((e == ERR_BUSY || e == ERR_NOT_FOUND) &&
	         mono_ms() + ANSWER_MS < rq->cx->deadline_ms);
}

/* An idem_fn. */
static enum err tell(struct db *db, void *arg, struct reply *out)
{
	struct request *rq = arg;
	enum err e =
		erasure_get(db, rq->cx->arena, str_from(rq->receipt), &rq->er);

	if (e && e != ERR_NOT_FOUND)
		return e;
	if (!rq->er.completed_ms)
		out->status = 202;
	pack_answer(&out->body, &rq->er);
	return OK;
}

enum err method_gdpr_erase(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	struct request rq = {.st = state, .cx = cx};
	AUTO_BUF order = {0};
	enum err e = begin_at_auth(&rq, in, &order);

	/* The reason is not kept: it would be the last that we know of them. */
	rq.order = buf_view(&order);
	if (!e && order.n)
		e = db_write(rq.st->pool, cx, take_order, &rq);
	if (e)
		return e;
	run(&rq);
	return idem_write(rq.st->idem, cx, tell, &rq, out);
}

/* --- asking how far it is --------------------------------------------------------------------- */

struct status {
	struct ctx *cx;
	struct str receipt;
	struct erasure er;
};

/* A db_fn. */
static enum err find_status(struct db *db, void *arg)
{
	struct status *s = arg;

	return erasure_get(db, s->cx->arena, s->receipt, &s->er);
}

enum err method_gdpr_erasure(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	const struct gdpr_erasure_in *want = in;
	struct gdpr_state *st = state;
	struct status s = {.cx = cx, .receipt = want->receipt_id};
	struct buf *b = &out->body;
	enum err e = uuid_valid(want->receipt_id)
	                     ? db_read(st->pool, cx, find_status, &s)
	                     : ERR_NOT_FOUND;

	if (e == ERR_NOT_FOUND)
		return ctx_fail(cx, e, "There is no erasure of this id.");
	if (e)
		return e;
	mp_map(b, 8);
	mp_kv_text(b, "receipt_id", s.er.receipt);
	mp_kv_text(b, "state", s.er.completed_ms ? "complete" : "pending");
	mp_kv_time(b, "requested_at", s.er.requested_ms);
	mp_kv_time(b, "due_at", s.er.due_ms);
	mp_kv_time(b, "completed_at", s.er.completed_ms);
	pack_pending(b, &s.er);
	pack_counts(b, &s.er);
	pack_receipt(b, &s.er);
	return OK;
}

/* A db_fn. */
static enum err pack_keys(struct db *db, void *arg)
{
	struct buf *b = arg;

	buf_clear(b);
	return receipt_keys_pack(db, b);
}

enum err method_gdpr_erasure_keys(void *state, struct ctx *cx, const void *in,
                                  struct reply *out)
{
	struct gdpr_state *st = state;

	(void)in;
	return db_read_one(st->pool, cx, pack_keys, &out->body);
}
