/*
 * audit_view - the audit log as people read it: their own, and all of it for
 * administrators, whose look at somebody's log is itself a row of it.
 *
 * The address, the browser and the request are those of who did it.  So in a
 * person's own log they are shown where that was the person, or is not known
 * (as at a failed login), and not where it was an administrator.
 */
#include "common/base/uuid.h"
#include "svc-gdpr/audit.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/state.h"
#include "svc-gdpr/stmts.h"

struct page {
	struct str handle; /* whose log it is, in their own */
	int64_t limit, n;  /* rows packed */
	bool more;
	struct buf rows;
	char last[UUID_MAX]; /* id of the last one packed */
};

static void page_fini(struct page *p)
{
	buf_fini(&p->rows);
}

static void page_begin(struct page *p)
{
	buf_clear(&p->rows); /* it may run again */
	p->n = 0;
	p->more = false;
}

/* False: the page is full, and this one is for the next. */
static bool page_has_room(struct page *p, struct str id)
{
	p->more = p->n == p->limit;
	if (p->more || id.n >= sizeof(p->last))
		return false;
	memcpy(p->last, id.p, id.n);
	p->last[id.n] = '\0';
	p->n++;
	return true;
}

/* Empty is nothing. */
static void put(struct buf *b, const char *key, struct str s)
{
	if (s.n)
		mp_kv_str(b, key, s);
	else
		mp_kv_nil(b, key);
}

#define DETAIL_PAIRS 5
static void put_detail(struct buf *b, struct str body, bool whose)
{
	const struct str none = {0};
	struct str data;

	put(b, "resource_id", mp_find_str(body, "ri", none));
	put(b, "ip_address", whose ? mp_find_str(body, "ip", none) : none);
	put(b, "user_agent", whose ? mp_find_str(body, "ua", none) : none);
	put(b, "request_id", whose ? mp_find_str(body, "rid", none) : none);
	mp_text(b, "data");
	if (mp_find(body, "data", &data))
		mp_raw(b, data);
	else
		mp_nil(b);
}

/* The columns that both statements begin with. */
#define COMMON_PAIRS 6
static void put_common(struct buf *b, const struct db_row *row)
{
	put(b, "id", db_row_str(row, 0));
	mp_kv_time(b, "created_at", db_row_i64(row, 1));
	put(b, "event_type", db_row_str(row, 2));
	put(b, "event_category", db_row_str(row, 3));
	put(b, "outcome", db_row_str(row, 4));
	put(b, "resource_type", db_row_str(row, 6));
}

/* --- one's own -------------------------------------------------------------- */

static enum err take_own(void *arg, const struct db_row *row)
{
	struct page *p = arg;
	struct str who = db_row_str(row, 8);
	bool other = str_eq(who, STR("other"));

	if (!page_has_room(p, db_row_str(row, 0)))
		return OK;
	mp_map(&p->rows, COMMON_PAIRS + DETAIL_PAIRS + 2);
	put_common(&p->rows, row);
	put(&p->rows, "user_id", p->handle);
	put(&p->rows, "by", other ? db_row_str(row, 5) : who);
	put_detail(&p->rows, db_row_str(row, 7), !other);
	return p->rows.failed ? ERR_NOMEM : OK;
}

static void answer(struct buf *b, const struct page *p)
{
	mp_map(b, 3);
	mp_kv_array(b, "audit_logs", (size_t)p->n);
	mp_raw(b, buf_view(&p->rows));
	mp_kv_i64(b, "count", p->n);
	put(b, "next_cursor", p->more ? str_from(p->last) : (struct str){0});
}

static bool is_cursor(struct ctx *cx, struct str cursor)
{
	if (cursor.n == 0 || uuid_valid(cursor))
		return true;
	(void)ctx_fault(cx, "?cursor", "INVALID",
	                "cursor is the next_cursor of the page before.");
	return false;
}

enum err method_gdpr_audit_logs(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	const struct gdpr_audit_logs_in *ask = in;
	struct gdpr_state *st = state;
	__attribute__((cleanup(page_fini))) struct page p = {
		.handle = cx->hnd, .limit = ask->limit};
	const struct db_val v[] = {DB_STR(cx->sub), DB_STR(ask->cursor),
	                           DB_I64(ask->limit + 1)};
	const struct db_sink sink = {take_own, &p};
	enum err e;

	if (!is_cursor(cx, ask->cursor))
		return ERR_INVALID;
	e = db_ask(st->pool, cx, STMT(AUDIT_OWN), v, COUNTOF(v), &sink);
	if (e)
		return e;
	answer(&out->body, &p);
	return out->body.failed ? ERR_NOMEM : OK;
}

/* --- for administrators --------------------------------------------------------- */

struct search {
	const struct ctx *cx;
	const struct gdpr_audit_search_in *ask;
	struct page page;
	bool found; /* the person that is asked for */
	char sub[64], pseudonym[AUDIT_PSEUDONYM + 1];
};

static enum err take_whose(void *arg, const struct db_row *row)
{
	struct search *s = arg;
	struct str sub = db_row_str(row, 0), pseudonym = db_row_str(row, 1);

	if (sub.n >= sizeof(s->sub) || pseudonym.n >= sizeof(s->pseudonym))
		return ERR_INTERNAL;
	s->found = true;
	memcpy(s->sub, sub.p, sub.n);
	s->sub[sub.n] = '\0';
	memcpy(s->pseudonym, pseudonym.p, pseudonym.n);
	s->pseudonym[pseudonym.n] = '\0';
	return OK;
}

static enum err take_seen(void *arg, const struct db_row *row)
{
	struct page *p = arg;

	if (!page_has_room(p, db_row_str(row, 0)))
		return OK;
	mp_map(&p->rows, COMMON_PAIRS + DETAIL_PAIRS + 5);
	put_common(&p->rows, row);
	put(&p->rows, "pseudonym", db_row_str(row, 8));
	put(&p->rows, "user_id", db_row_str(row, 9));
	put(&p->rows, "actor", db_row_str(row, 10));
	put(&p->rows, "actor_role", db_row_str(row, 5));
	put(&p->rows, "source", db_row_str(row, 11));
	put_detail(&p->rows, db_row_str(row, 7), true);
	return p->rows.failed ? ERR_NOMEM : OK;
}

static enum err look(struct db *db, struct search *s)
{
	const struct gdpr_audit_search_in *ask = s->ask;
	struct str of =
		ask->user_id.n ? str_from(s->pseudonym) : ask->pseudonym;
	const struct db_sink sink = {take_seen, &s->page};
	const struct db_val v[] = {DB_STR(of), DB_STR(ask->cursor),
	                           DB_I64(ask->limit + 1),
	                           DB_STR(ask->event_type)};

	page_begin(&s->page);
	if (of.n)
		return db_run(db, STMT(AUDIT_OF), v, COUNTOF(v), &sink);
	if (ask->user_id.n) /* nobody, or one of whom there is nothing */
		return OK;
	return db_run(db, STMT(AUDIT_ALL), v, COUNTOF(v), &sink);
}

/* A db_fn: nothing is read that the log does not say was read. */
static enum err search(struct db *db, void *arg)
{
	struct search *s = arg;
	const struct db_val who[] = {DB_STR(s->ask->user_id)};
	const struct db_sink sink = {take_whose, s};
	enum err e = OK;

	s->found = false;
	s->sub[0] = s->pseudonym[0] = '\0';
	if (s->ask->user_id.n)
		e = db_run(db, STMT(AUDIT_WHOSE), who, COUNTOF(who), &sink);
	if (!e)
		e = look(db, s);
	if (!e) {
		const struct audit_note note = {
			.event = AUDIT_IS(AUDIT_READ),
			.sub = str_from(s->sub),
			.resource_type = "audit_log",
			.data = {{"event_type",
		                  s->ask->event_type.n ? s->ask->event_type
		                                       : STR("all"),
		                  0},
		                 {.name = "rows", .number = s->page.n}},
		};

		e = audit_append(db, s->cx, &note);
	}
	return e;
}

/* READ, although it writes a row: to ask again is to look again. */
enum err method_gdpr_audit_search(void *state, struct ctx *cx, const void *in,
                                  struct reply *out)
{
	const struct gdpr_audit_search_in *ask = in;
	struct gdpr_state *st = state;
	struct search s = {.cx = cx, .ask = ask, .page.limit = ask->limit};
	enum err e = ERR_INVALID;

	if (is_cursor(cx, ask->cursor))
		e = db_write(st->pool, cx, search, &s);
	if (!e) {
		answer(&out->body, &s.page);
		e = out->body.failed ? ERR_NOMEM : OK;
	}
	page_fini(&s.page);
	return e;
}
