#include "svc-gdpr/gather.h"

#include "common/base/log.h"
#include "common/bus/stream.h"
#include "common/codec/mp.h"
#include "common/privacy/rows.h"
#include "svc-gdpr/columns.h"

#include <stdio.h>

static const struct {
	const char *name, *holds;
	enum bus_peer peer;
	const char *method; /* NULL: it is ours */
} stores[STORE_COUNT] = {
	[STORE_AUTH] = {"auth", "accounts and logins", PEER_AUTH,
                        "auth.export"},
	[STORE_CONTENT] = {"content", "what was learned", PEER_CONTENT,
                           "content.export"},
	[STORE_GDPR] = {"gdpr", "rewards and privacy requests", PEER_GDPR,
                        NULL},
};

const char *store_name(enum export_store s)
{
	return stores[s].name;
}

/* --- whether it was all ------------------------------------------------------------ */

/* What a store has sent, followed while it goes into the spool. */
struct check {
	struct spool *to;
	struct stream_in head; /* of another service */
	bool headless;         /* ours */
	struct buf rest;       /* a value that is not whole */
	int64_t left, rows;    /* left: of the table */
	bool ended;
	struct buf refusal; /* a reply that is no stream */
};

static void check_fini(struct check *c)
{
	buf_fini(&c->head.head);
	buf_fini(&c->rest);
	buf_fini(&c->refusal);
}

/* False: no value that can stand here. */
static bool check_value(struct check *c, struct str v)
{
	struct mp m = mp_open(v);
	uint32_t items = 0;
	struct str table;
	int64_t n = 0;

	if (c->ended)
		return false;
	if (c->left > 0) {
		c->left--;
		c->rows++;
		return mp_peek(&m) == MP_MAP;
	}
	if (!mp_get_array(&m, &items) || items < 1 || items > 2)
		return false;
	if (items == 2)
		return mp_get_str(&m, &table) && mp_get_i64(&m, &c->left) &&
		       c->left >= 0;
	c->ended = mp_get_i64(&m, &n);
	return c->ended && n == c->rows;
}

static enum err check_rows(struct check *c, struct str bytes)
{
	struct mp m;
	struct str v;

	buf_str(&c->rest, bytes);
	if (c->rest.failed)
		return ERR_NOMEM;
	m = mp_open(buf_view(&c->rest));
	while (mp_skip(&m, &v))
		if (!check_value(c, v))
			return ERR_PEER_LOST;
	c->rest.n = (size_t)(m.end - m.p);
	if (c->rest.n > SPOOL_VALUE_MAX)
		return ERR_PEER_LOST;
	if (c->rest.n)
		memmove(c->rest.p, m.p, c->rest.n);
	return OK;
}

static enum err take(void *arg, struct str bytes)
{
	struct check *c = arg;
	enum err e;

	if (!c->headless && !c->head.whole) {
		if (c->refusal.n || (!c->head.head.n && !stream_is(bytes))) {
			c->refusal.max = STREAM_HEAD_MAX;
			buf_str(&c->refusal, bytes);
			return c->refusal.failed ? ERR_PEER_LOST : OK;
		}
		if (!stream_take(&c->head, &bytes))
			return c->head.head.failed ? ERR_PEER_LOST : OK;
	}
	e = check_rows(c, bytes);
	return e ? e : spool_add(c->to, bytes);
}

/* --- asking ---------------------------------------------------------------------------- */

/* What a service said instead of a stream. */
static enum err refused(struct ctx *cx, struct str reply)
{
	struct ctx scratch = {.arena = cx->arena};
	struct reply_view v = {0};
	enum err e = reply_read(reply, &scratch, &v);

	if (e)
		return e;
	return v.err ? v.err : ERR_PEER_LOST;
}

static enum err ask(const struct gdpr_state *st, struct ctx *cx,
                    enum export_store s, struct check *c)
{
	/* A service's own request: no person is asserted (design D11). */
	struct ctx as_us = {.rid = cx->rid, .tp = cx->tp, .role = ROLE_SERVICE};
	struct entry en = {.op = str_from(stores[s].method)};
	struct bus_call call = {.to = stores[s].peer,
	                        .retry = true,
	                        .deadline_ms = cx->deadline_ms,
	                        .max_reply = SIZE_MAX / 2};
	AUTO_BUF body = {0};
	AUTO_BUF bytes = {0};
	enum err e;

	mp_map(&body, 1);
	mp_kv_str(&body, "sub", cx->sub);
	en.body = buf_view(&body);
	entry_pack(&bytes, &as_us, &en);
	if (body.failed || bytes.failed)
		return ERR_NOMEM;
	call.bytes = buf_view(&bytes);
	e = bus_caller_stream(st->caller, &call, take, c);
	return !e && c->refusal.n ? refused(cx, buf_view(&c->refusal)) : e;
}

static enum err read_store(const struct gdpr_state *st, struct ctx *cx,
                           enum export_store s, struct gathered *out)
{
	struct check c = {.to = &out->spool,
	                  .headless = stores[s].method == NULL};
	enum err e;

	out->of[s].from = out->spool.n;
	e = stores[s].method ? ask(st, cx, s, &c)
	                     : privacy_read(st->pool, cx, &gdpr_columns,
	                                    cx->sub, take, &c);
	if (!e && (!c.ended || c.left || c.rest.n))
		e = ERR_PEER_LOST;
	out->of[s].to = out->spool.n;
	out->of[s].rows = c.rows;
	check_fini(&c);
	return e;
}

static enum err tell(struct ctx *cx, enum export_store s, enum err e)
{
	if (e == ERR_NOT_FOUND && s == STORE_AUTH)
		return ctx_fail(cx, e, "There is no such account any more.");
	if (e == ERR_TOO_LARGE)
		return e;
	log_warn(cx, "export.store_unread", LOG_TEXT("store", stores[s].name),
	         LOG_TEXT("error", err_name(e)));
	return ctx_fail(cx, ERR_UNAVAILABLE,
	                "What the store \"%s\" holds (%s) cannot be read now, "
	                "and an export is complete or none. Try again shortly.",
	                stores[s].name, stores[s].holds);
}

enum err gather(const struct gdpr_state *st, struct ctx *cx,
                struct gathered *out)
{
	enum err e = spool_open(&out->spool, cx, st->folder, st->export_max);

	for (enum export_store s = 0; s < STORE_COUNT && !e; s++) {
		e = read_store(st, cx, s, out);
		if (e)
			e = tell(cx, s, e);
	}
	return e ? e : spool_flush(&out->spool);
}

void gathered_fini(struct gathered *g)
{
	spool_fini(&g->spool);
}

/* --- reading it ---------------------------------------------------------------------------- */

void rows_begin(struct rows *r, const struct gathered *g, enum export_store s)
{
	*r = (struct rows){.in = {.s = &g->spool,
	                          .at = g->of[s].from,
	                          .end = g->of[s].to}};
}

void rows_fini(struct rows *r)
{
	spool_in_fini(&r->in);
}

enum err rows_next(struct rows *r, bool *more)
{
	enum err e = spool_value(&r->in, &r->row);
	struct mp m = mp_open(r->row);
	uint32_t items = 0;
	struct str table;

	*more = false;
	if (e)
		return e;
	r->head = r->left == 0;
	if (!r->head) {
		r->left--;
		*more = true;
		return OK;
	}
	if (!mp_get_array(&m, &items) || items != 2)
		return OK; /* the end */
	if (!mp_get_str(&m, &table) || !mp_get_i64(&m, &r->left))
		return ERR_INTERNAL;
	(void)snprintf(r->name, sizeof(r->name), "%.*s", STR_FMT(table));
	r->table = str_from(r->name);
	*more = true;
	return OK;
}
