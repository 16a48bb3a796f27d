#include "svc-gdpr/desk.h"

#include "svc-gdpr/receipt.h"
#include "svc-gdpr/stmts.h"

#include "common/base/b64.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <stdio.h>

#define HANDLER_MS 2000 /* before the worker takes what a request has begun */
#define RULE \
	"GDPR Art. 12(3): one calendar month after the request; on the last day of a month that has no such day"

static const struct store {
	const char *name;
	enum bus_peer peer;
} stores[DESK_STORES] = {
	{"auth", PEER_AUTH},
	{"content", PEER_CONTENT},
	{"gdpr", PEER_GDPR}, /* ourselves */
};

/* --- whom it is about --------------------------------------------------------------- */

/* For whoever has the sub and asks us: without our key it names nobody. */
static struct str subject_of(const struct eraser_desk *d, struct str sub,
                             char out[2 * 32 + 1])
{
	unsigned char h[32];

	(void)crypto_generichash(h, sizeof(h), (const unsigned char *)sub.p,
	                         sub.n, d->subject.k, sizeof(d->subject.k));
	return hex(h, sizeof(h), out);
}

static enum err add_stores(struct db *db, struct str receipt, int64_t at)
{
	enum err e = OK;

	for (size_t i = 0; !e && i < COUNTOF(stores); i++) {
		const struct db_val v[] = {DB_STR(receipt),
		                           DB_TEXT(stores[i].name), DB_I64(at)};

		e = db_run(db, STMT(STORE_ADD), v, COUNTOF(v), NULL);
	}
	return e;
}

enum err erasure_ordered(struct eraser_desk *d, struct db *db, struct str body)
{
	struct str receipt = mp_find_str(body, "receipt", STR(""));
	struct str sub = mp_find_str(body, "sub", STR(""));
	int64_t at = mp_find_i64(body, "at", 0);
	AUTO_BUF sealed = {0};
	char subject[2 * 32 + 1];
	enum err e;

	if (!uuid_valid(receipt) || !uuid_valid(sub) || at <= 0)
		return ERR_INVALID;
	if (!seal_buf(&d->who, body, receipt, &sealed))
		return ERR_NOMEM;
	{
		const struct db_val v[] = {
			DB_STR(receipt),
			DB_STR(subject_of(d, sub, subject)),
			DB_BLOB(buf_view(&sealed)),
			DB_I64(at),
			DB_I64(clock_month_later(at)),
			DB_TEXT(RULE),
			DB_I64(wall_ms() + HANDLER_MS),
		};

		e = db_run(db, STMT(ERASURE_ADD), v, COUNTOF(v), NULL);
	}
	return e ? e : add_stores(db, receipt, at);
}

static enum err open_who(const struct eraser_desk *d, struct ctx *cx,
                         const struct erasure *er, struct erasee *out)
{
	AUTO_BUF plain = {0};
	struct str body;

	if (!unseal_buf(&d->who, er->who, str_from(er->receipt), &plain)) {
		log_error(cx, "erase.sealed_otherwise",
		          LOG_TEXT("receipt_id", er->receipt));
		return ERR_INTERNAL;
	}
	body = arena_str(cx->arena, buf_view(&plain));
	explicit_bzero(plain.p, plain.n);
	if (!body.p)
		return ERR_NOMEM;
	*out = (struct erasee){
		.sub = mp_find_str(body, "sub", STR("")),
		.receipt = str_from(er->receipt),
		.hnd = mp_find_str(body, "hnd", STR("")),
		.email = mp_find_str(body, "email", STR("")),
		.now_ms = er->requested_ms,
	};
	return OK;
}

/* --- reading ---------------------------------------------------------------------------- */

struct reading {
	struct arena *arena;
	struct erasure *out;
	bool found;
};

static bool keep(struct arena *a, const struct db_row *row, int col,
                 struct str *out)
{
	*out = (struct str){"", 0};
	if (db_row_null(row, col))
		return true;
	*out = arena_str(a, db_row_str(row, col));
	return out->p;
}

static enum err take_erasure(void *arg, const struct db_row *row)
{
	struct reading *r = arg;
	struct erasure *er = r->out;

	r->found = true;
	(void)snprintf(er->subject, sizeof(er->subject), "%.*s",
	               STR_FMT(db_row_str(row, 0)));
	er->requested_ms = db_row_i64(row, 2);
	er->due_ms = db_row_i64(row, 3);
	er->attempts = db_row_i64(row, 5);
	er->completed_ms = db_row_i64(row, 6);
	return keep(r->arena, row, 1, &er->who) &&
	                       keep(r->arena, row, 4, &er->rule) &&
	                       keep(r->arena, row, 7, &er->jws)
	               ? OK
	               : ERR_NOMEM;
}

static enum err take_store(void *arg, const struct db_row *row)
{
	struct reading *r = arg;
	struct store_row *s;

	if (r->out->stores_n == DESK_STORES)
		return ERR_INTERNAL;
	s = &r->out->stores[r->out->stores_n++];
	(void)snprintf(s->name, sizeof(s->name), "%.*s",
	               STR_FMT(db_row_str(row, 0)));
	(void)snprintf(s->state, sizeof(s->state), "%.*s",
	               STR_FMT(db_row_str(row, 1)));
	s->attempts = db_row_i64(row, 2);
	(void)snprintf(s->last_error, sizeof(s->last_error), "%.*s",
	               STR_FMT(db_row_str(row, 3)));
	return keep(r->arena, row, 5, &s->report) &&
	                       keep(r->arena, row, 6, &s->scan)
	               ? OK
	               : ERR_NOMEM;
}

enum err erasure_get(struct db *db, struct arena *arena, struct str receipt,
                     struct erasure *out)
{
	const struct db_val v[] = {DB_STR(receipt)};
	struct reading r = {arena, out, false};
	const struct db_sink row = {take_erasure, &r}, list = {take_store, &r};
	enum err e;

	*out = (struct erasure){0};
	(void)snprintf(out->receipt, sizeof(out->receipt), "%.*s",
	               STR_FMT(receipt));
	e = db_run(db, STMT(ERASURE_GET), v, COUNTOF(v), &row);
	if (!e && !r.found)
		return ERR_NOT_FOUND;
	return e ? e : db_run(db, STMT(STORE_LIST), v, COUNTOF(v), &list);
}

/* --- one attempt -------------------------------------------------------------------------- */

struct attempt {
	struct eraser_desk *d;
	struct ctx *cx;
	char receipt[UUID_MAX], owner[UUID_MAX];
	struct erasure er;
	struct erasee who;
	/* For the transactions: */
	bool leased;
	struct store_row *store;
	const char *state, *error;
	struct str report, scan;
	struct buf jws;
	int64_t now_ms;
};

/* A db_fn: takes the lease or renews it, and reads. */
static enum err lease(struct db *db, void *arg)
{
	struct attempt *a = arg;
	int64_t now = wall_ms(), changed = 0;
	struct str receipt = str_from(a->receipt);
	const struct db_val v[] = {DB_STR(receipt), DB_TEXT(a->owner),
	                           DB_I64(now + DESK_LEASE_MS), DB_I64(now)};
	enum err e =
		db_change(db, STMT(ERASURE_LEASE), v, COUNTOF(v), &changed);

	a->leased = changed > 0;
	return e ? e : erasure_get(db, a->cx->arena, receipt, &a->er);
}

/* A db_fn. */
static enum err set_store(struct db *db, void *arg)
{
	struct attempt *a = arg;
	const struct db_val v[] = {
		DB_TEXT(a->receipt),
		DB_TEXT(a->store->name),
		DB_TEXT(a->state),
		DB_TEXT(a->error),
		DB_I64(wall_ms()),
		a->report.n ? DB_BLOB(a->report) : DB_NULL,
		a->scan.n ? DB_BLOB(a->scan) : DB_NULL,
	};
	enum err e = db_run(db, STMT(STORE_SET), v, COUNTOF(v), NULL);

	return e ? e : lease(db, a);
}

static enum err keep_store(struct attempt *a, struct store_row *s,
                           const char *state, const char *error,
                           struct str report, struct str scan)
{
	enum err e;

	a->store = s;
	a->state = state;
	a->error = error;
	a->report = report;
	a->scan = scan;
	e = db_write(a->d->conf.pool, a->cx, set_store, a);
	/* Who has lost the lease leaves the rest to whoever has it. */
	return !e && !a->leased ? ERR_BUSY : e;
}

static uint64_t call_deadline(const struct ctx *cx)
{
	uint64_t soon = mono_ms() + DESK_CALL_MS;

	return cx->deadline_ms < soon ? cx->deadline_ms : soon;
}

enum err desk_call(struct eraser_desk *d, struct ctx *cx, enum bus_peer to,
                   const char *op, struct str body, struct buf *bytes,
                   struct reply_view *view)
{
	const struct entry en = {.op = str_from(op), .body = body};
	AUTO_BUF request = {0};
	struct bus_call call = {.to = to,
	                        .retry = true,
	                        .deadline_ms = call_deadline(cx)};
	enum err e;

	entry_pack(&request, cx, &en);
	if (request.failed)
		return ERR_NOMEM;
	call.bytes = buf_view(&request);
	e = bus_caller_call(d->conf.caller, &call, bytes);
	if (!e)
		e = reply_read(buf_view(bytes), cx, view);
	return e;
}

static const struct store *store_of(const char *name)
{
	for (size_t i = 0; i < COUNTOF(stores); i++)
		if (strcmp(stores[i].name, name) == 0)
			return &stores[i];
	return NULL;
}

/* The same method of ours, without the bus. */
static enum err ask_ourselves(struct attempt *a, const char *op,
                              struct str body, struct buf *reply)
{
	const struct desk_conf *c = &a->d->conf;
	struct ctx cx = *a->cx;

	cx.deadline_ms = call_deadline(a->cx);
	return strcmp(op, "service.erase") == 0
	               ? erase_method(c->erase, &cx, c->state, c->cache, body,
	                              reply)
	               : erase_scan_method(c->erase, &cx, c->cache, body,
	                                   reply);
}

/* Appends the reply's body. */
static enum err ask(struct attempt *a, const struct store_row *s,
                    const char *op, int64_t from, struct buf *reply)
{
	const struct store *st = store_of(s->name);
	AUTO_BUF body = {0}, bytes = {0};
	struct reply_view view = {0};
	enum err e;

	mp_map(&body, 5);
	mp_kv_str(&body, "sub", a->who.sub);
	mp_kv_str(&body, "receipt", a->who.receipt);
	mp_kv_str(&body, "hnd", a->who.hnd);
	mp_kv_str(&body, "email", a->who.email);
	mp_kv_i64(&body, "from", from);
	if (body.failed || !st)
		return st ? ERR_NOMEM : ERR_INTERNAL;
	if (st->peer == PEER_GDPR)
		return ask_ourselves(a, op, buf_view(&body), reply);
	e = desk_call(a->d, a->cx, st->peer, op, buf_view(&body), &bytes,
	              &view);
	if (!e)
		e = view.err;
	if (!e)
		buf_str(reply, view.body);
	return !e && reply->failed ? ERR_NOMEM : e;
}

static enum err failed(struct attempt *a, struct store_row *s, const char *step,
                       enum err e)
{
	log_warn(a->cx, "erase.store_failed",
	         LOG_TEXT("receipt_id", a->receipt), LOG_TEXT("store", s->name),
	         LOG_TEXT("step", step), LOG_TEXT("error", err_name(e)));
	/* A failure to write it down changes nothing of what is to be done. */
	(void)!keep_store(a, s, s->state, err_name(e), (struct str){0},
	                  s->scan);
	return e;
}

static enum err erase_store(struct attempt *a, struct store_row *s)
{
	AUTO_BUF reply = {0};
	struct str tables = {0};
	enum err e = ask(a, s, "service.erase", 0, &reply);

	if (!e && !mp_find(buf_view(&reply), "tables", &tables))
		e = ERR_INTERNAL;
	return e ? failed(a, s, "erase", e)
	         : keep_store(a, s, "erased", "", tables, (struct str){0});
}

/* What the calls of one scan came to. */
struct scanned {
	int64_t tables, rows, shared;
	struct buf kept;
	uint32_t kept_n, findings_n;
};

static void add_list(struct str reply, const char *name, struct buf *out,
                     uint32_t *n)
{
	struct str list, item;
	uint32_t items = 0;
	struct mp m;

	if (!mp_find(reply, name, &list))
		return;
	m = mp_open(list);
	if (!mp_get_array(&m, &items))
		return;
	for (; items > 0 && mp_skip(&m, &item); items--) {
		(*n)++;
		if (out)
			mp_raw(out, item);
	}
}

static enum err scan_calls(struct attempt *a, struct store_row *s,
                           struct scanned *sc)
{
	int64_t from = 0;
	enum err e = OK;

	do {
		AUTO_BUF reply = {0};
		struct str r;

		e = ask(a, s, "service.scan", from, &reply);
		if (e)
			break;
		r = buf_view(&reply);
		sc->tables += mp_find_i64(r, "tables", 0);
		sc->rows += mp_find_i64(r, "rows", 0);
		sc->shared = mp_find_i64(r, "shared", -1);
		add_list(r, "kept", &sc->kept, &sc->kept_n);
		add_list(r, "findings", NULL, &sc->findings_n);
		from = mp_find_i64(r, "next", -1);
		if (sc->findings_n) {
			AUTO_BUF text = {0};
			struct str list = {0};

			(void)!mp_find(r, "findings", &list);
			(void)!mp_to_json(list, &text);
			log_error(a->cx, "erase.findings",
			          LOG_TEXT("receipt_id", a->receipt),
			          LOG_TEXT("store", s->name),
			          LOG_STR("where", buf_view(&text)));
		}
		/* Renewed: a large database takes longer than a lease. */
		if (from >= 0)
			e = db_write(a->d->conf.pool, a->cx, lease, a);
		if (!e && from >= 0 && !a->leased)
			e = ERR_BUSY;
		if (!e && desk_is_ending(a->d))
			e = ERR_UNAVAILABLE;
	} while (!e && from >= 0);
	return e;
}

static enum err scan_store(struct attempt *a, struct store_row *s)
{
	struct scanned sc = {.shared = -1};
	AUTO_BUF report = {0};
	enum err e = scan_calls(a, s, &sc);

	mp_map(&report, 5);
	mp_kv_i64(&report, "tables", sc.tables);
	mp_kv_i64(&report, "rows", sc.rows);
	mp_text(&report, "shared_cache_keys");
	if (sc.shared < 0)
		mp_nil(&report);
	else
		mp_i64(&report, sc.shared);
	mp_kv_array(&report, "kept", sc.kept_n);
	mp_raw(&report, buf_view(&sc.kept));
	mp_kv_i64(&report, "findings", sc.findings_n);
	if (!e && (sc.kept.failed || report.failed))
		e = ERR_NOMEM;
	buf_fini(&sc.kept);
	if (e)
		return failed(a, s, "scan", e);
	if (sc.findings_n == 0)
		return keep_store(a, s, "verified", "", (struct str){0},
		                  buf_view(&report));
	/* Once more from the beginning. */
	e = keep_store(a, s, "pending", "FINDINGS", (struct str){0},
	               buf_view(&report));
	return e ? e : ERR_CONFLICT;
}

static bool is_in(const struct store_row *s, const char *state)
{
	return strcmp(s->state, state) == 0;
}

/* Every store is tried, also when one of them fails. */
static enum err all_stores(struct attempt *a, const char *state,
                           enum err (*step)(struct attempt *,
                                            struct store_row *))
{
	enum err first = OK;

	for (size_t i = 0; i < a->er.stores_n; i++) {
		enum err e = OK;

		/* keep_store() has read them again. */
		if (is_in(&a->er.stores[i], state))
			e = step(a, &a->er.stores[i]);
		if (e == ERR_BUSY)
			return e;
		if (e && !first)
			first = e;
	}
	return first;
}

/* --- the end ----------------------------------------------------------------------------------- */

static void pack_tables(struct buf *b, struct str report)
{
	struct mp m = mp_open(report);
	uint32_t n = 0;

	(void)!mp_get_map(&m, &n);
	mp_kv_array(b, "tables", n);
	for (; n > 0; n--) {
		struct str name = {0};
		int64_t rows = 0;

		(void)!mp_get_str(&m, &name);
		(void)!mp_get_i64(&m, &rows);
		mp_map(b, 2);
		mp_kv_str(b, "name", name);
		mp_kv_i64(b, "rows", rows);
	}
}

static void pack_payload(struct buf *b, const struct attempt *a)
{
	const struct erasure *er = &a->er;

	mp_map(b, 9);
	mp_kv_text(b, "receipt_id", er->receipt);
	mp_kv_str(b, "iss", a->d->conf.settings->token_issuer);
	mp_kv_i64(b, "iat", a->now_ms / 1000);
	mp_kv_time(b, "requested_at", er->requested_ms);
	mp_kv_time(b, "completed_at", a->now_ms);
	mp_kv_time(b, "due_at", er->due_ms);
	mp_kv_str(b, "rule", er->rule);
	mp_kv_text(b, "subject", er->subject);
	mp_kv_array(b, "stores", er->stores_n);
	for (size_t i = 0; i < er->stores_n; i++) {
		mp_map(b, 3);
		mp_kv_text(b, "name", er->stores[i].name);
		pack_tables(b, er->stores[i].report);
		mp_text(b, "scan");
		mp_raw(b, er->stores[i].scan);
	}
}

/* A db_fn. */
static enum err complete(struct db *db, void *arg)
{
	struct attempt *a = arg;
	AUTO_RECEIPT_KEY key = {0};
	AUTO_BUF payload = {0};
	enum err e = receipt_key_load(db, &a->d->keys, a->now_ms, &key);

	buf_clear(&a->jws);
	pack_payload(&payload, a);
	if (!e && payload.failed)
		e = ERR_NOMEM;
	if (!e)
		e = receipt_sign(&key, buf_view(&payload), &a->jws);
	if (!e) {
		const struct db_val v[] = {DB_TEXT(a->receipt),
		                           DB_I64(a->now_ms),
		                           DB_STR(buf_view(&a->jws))};

		e = db_run(db, STMT(ERASURE_DONE), v, COUNTOF(v), NULL);
	}
	return e;
}

static enum err finish(struct attempt *a)
{
	enum err e;

	a->now_ms = wall_ms();
	e = db_write(a->d->conf.pool, a->cx, complete, a);
	buf_fini(&a->jws);
	if (!e)
		log_info(a->cx, "erase.complete",
		         LOG_TEXT("receipt_id", a->receipt),
		         LOG_I64("ms", a->now_ms - a->er.requested_ms));
	return e;
}

/* A db_fn. */
static enum err put_off(struct db *db, void *arg)
{
	const struct attempt *a = arg;
	int64_t n = a->er.attempts < 10 ? a->er.attempts : 10;
	int64_t wait = DESK_AGAIN_MS << n;
	const struct db_val v[] = {
		DB_TEXT(a->receipt), DB_TEXT(a->owner),
		DB_I64(wall_ms() +
	               (wait < DESK_AGAIN_MAX_MS ? wait : DESK_AGAIN_MAX_MS))};

	return db_run(db, STMT(ERASURE_LATER), v, COUNTOF(v), NULL);
}

static enum err attempt(struct attempt *a)
{
	enum err e = open_who(a->d, a->cx, &a->er, &a->who);

	if (!e)
		e = all_stores(a, "pending", erase_store);
	/* Not before all is erased: a store could still hear of them. */
	if (!e)
		e = all_stores(a, "erased", scan_store);
	return e ? e : finish(a);
}

enum err erasure_run(struct eraser_desk *d, struct ctx *asked,
                     struct str receipt)
{
	struct ctx cx = *asked;
	struct attempt a = {.d = d, .cx = &cx};
	enum err e;

	cx.principal = "gdpr"; /* what is asked now is our own */
	cx.effect = NULL;
	(void)uuid7(a.owner);
	(void)snprintf(a.receipt, sizeof(a.receipt), "%.*s", STR_FMT(receipt));
	e = db_write(d->conf.pool, &cx, lease, &a);
	if (e || a.er.completed_ms)
		return e;
	if (!a.leased)
		return ERR_BUSY;
	e = attempt(&a);
	if (e && e != ERR_BUSY)
		(void)!db_write(d->conf.pool, &cx, put_off, &a);
	return e;
}
