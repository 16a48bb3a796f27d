/* What administrators read of the web analytics: figures and lists. */
#include "svc-content/methods.h"
#include "svc-content/site/event.h"
#include "svc-content/site/site.h"
#include "svc-content/stmts.h"

#include "common/base/clock.h"

#include <stdio.h>

static enum err packed(const struct reply *out)
{
	return out->body.failed ? ERR_NOMEM : OK;
}

/* A list in an answer: rows first, since their number stands before them. */
struct list {
	struct buf rows;
	size_t n;
};

static void put_list(struct buf *b, const char *name, struct list *l)
{
	mp_kv_array(b, name, l->n);
	mp_raw(b, buf_view(&l->rows));
	b->failed |= l->rows.failed;
}

static void list_clear(struct list *l)
{
	buf_clear(&l->rows);
	l->n = 0;
}

/* {text: first column, count: second} under the names of a pair. */
struct counting {
	struct list *list;
	const char *text, *count;
};

static enum err take_count(void *arg, const struct db_row *row)
{
	struct counting *c = arg;
	struct buf *b = &c->list->rows;

	mp_map(b, 2);
	mp_kv_str(b, c->text, db_row_str(row, 0));
	mp_kv_i64(b, c->count, db_row_i64(row, 1));
	c->list->n++;
	return b->failed ? ERR_NOMEM : OK;
}

static enum err counted(struct db *db, const struct db_stmt *st,
                        struct db_val v, struct list *l, const char *text,
                        const char *count)
{
	struct counting c = {l, text, count};
	const struct db_sink sink = {take_count, &c};

	list_clear(l);
	return db_run(db, st, &v, 1, &sink);
}

/* name: number, as members of one object. */
static enum err take_member(void *arg, const struct db_row *row)
{
	struct list *l = arg;

	mp_str(&l->rows, db_row_str(row, 0));
	mp_i64(&l->rows, db_row_i64(row, 1));
	l->n++;
	return l->rows.failed ? ERR_NOMEM : OK;
}

static enum err members(struct db *db, const struct db_stmt *st,
                        struct db_val v, struct list *l)
{
	const struct db_sink sink = {take_member, l};

	list_clear(l);
	return db_run(db, st, &v, 1, &sink);
}

static void put_members(struct buf *b, const char *name, struct list *l)
{
	mp_kv_map(b, name, l->n);
	mp_raw(b, buf_view(&l->rows));
	b->failed |= l->rows.failed;
}

/* --- funnel, performance, both ---------------------------------------------------- */

enum { FUNNEL = 1, PERFORMANCE = 2, BYTES = 4 };

struct figures {
	unsigned want; /* bits of the above */
	int64_t since, bytes;
	struct site_funnel funnel;
	struct site_performance performance;
};

static enum err read_figures(struct db *db, void *arg)
{
	struct figures *f = arg;
	enum err e = OK;

	if (f->want & FUNNEL)
		e = site_funnel_get(db, f->since, &f->funnel);
	if (!e && f->want & PERFORMANCE)
		e = site_performance_get(db, f->since, &f->performance);
	if (!e && f->want & BYTES)
		e = db_get_i64(db, STMT(SITE_BYTES), NULL, 0, &f->bytes);
	return e;
}

static enum err figures(struct content *ct, struct ctx *cx, int64_t days,
                        unsigned want, struct figures *f)
{
	f->want = want;
	f->since = site_since(days);
	return db_read(ct->pool, cx, read_figures, f);
}

enum err method_site_summary(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	const struct site_summary_in *r = in;
	struct buf *b = &out->body;
	struct figures f;
	enum err e =
		figures(state, cx, r->days, FUNNEL | PERFORMANCE | BYTES, &f);

	if (e)
		return e;
	mp_map(b, 3);
	mp_text(b, "funnel");
	site_funnel_put(b, &f.funnel, r->days);
	mp_text(b, "performance");
	site_performance_put(b, &f.performance, r->days);
	mp_kv_f64(b, "database_size_mb",
	          site_round((double)f.bytes / (1 << 20)));
	return packed(out);
}

enum err method_site_funnel(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct site_funnel_in *r = in;
	struct figures f;
	enum err e = figures(state, cx, r->days, FUNNEL, &f);

	if (e)
		return e;
	site_funnel_put(&out->body, &f.funnel, r->days);
	return packed(out);
}

enum err method_site_performance(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct site_performance_in *r = in;
	struct figures f;
	enum err e = figures(state, cx, r->days, PERFORMANCE, &f);

	if (e)
		return e;
	site_performance_put(&out->body, &f.performance, r->days);
	return packed(out);
}

/* --- errors ----------------------------------------------------------------------- */

struct errors {
	int64_t since, total, unique;
	struct list list;
};

static enum err take_totals(void *arg, const struct db_row *row)
{
	struct errors *er = arg;

	er->total = db_row_i64(row, 0);
	er->unique = db_row_i64(row, 1);
	return OK;
}

static enum err take_error(void *arg, const struct db_row *row)
{
	struct errors *er = arg;
	struct buf *b = &er->list.rows;

	mp_map(b, 3);
	mp_kv_str(b, "error_message", db_row_str(row, 0));
	mp_kv_i64(b, "count", db_row_i64(row, 1));
	mp_kv_time(b, "last_occurred", db_row_i64(row, 2));
	er->list.n++;
	return b->failed ? ERR_NOMEM : OK;
}

static enum err read_errors(struct db *db, void *arg)
{
	struct errors *er = arg;
	const struct db_val v[] = {DB_I64(er->since)};
	const struct db_sink totals = {take_totals, er};
	const struct db_sink list = {take_error, er};
	enum err e = db_run(db, STMT(SITE_ERRORS), v, COUNTOF(v), &totals);

	list_clear(&er->list);
	return e ? e : db_run(db, STMT(SITE_ERROR_LIST), v, COUNTOF(v), &list);
}

enum err method_site_errors(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct site_errors_in *r = in;
	const struct content *ct = state;
	struct errors er = {.since = site_since(r->days)};
	struct buf *b = &out->body;
	enum err e = db_read(ct->pool, cx, read_errors, &er);

	if (!e) {
		mp_map(b, 3);
		mp_kv_i64(b, "total_errors", er.total);
		mp_kv_i64(b, "unique_errors", er.unique);
		put_list(b, "error_summary", &er.list);
		e = packed(out);
	}
	buf_fini(&er.list.rows);
	return e;
}

/* --- segments --------------------------------------------------------------------- */

struct segments {
	int64_t since;
	struct list devices, browsers, power;
};

static enum err take_power(void *arg, const struct db_row *row)
{
	struct list *l = arg;
	struct buf *b = &l->rows;

	mp_map(b, 3);
	mp_kv_str(b, "session_id", db_row_str(row, 0));
	mp_kv_i64(b, "events", db_row_i64(row, 1));
	mp_kv_f64(b, "duration_hours",
	          site_round((double)db_row_i64(row, 2) / 3600000));
	l->n++;
	return b->failed ? ERR_NOMEM : OK;
}

static enum err read_segments(struct db *db, void *arg)
{
	struct segments *s = arg;
	struct db_val v = DB_I64(s->since);
	const struct db_sink power = {take_power, &s->power};
	enum err e = counted(db, STMT(SITE_DEVICES), v, &s->devices,
	                     "device_type", "users");

	if (!e)
		e = counted(db, STMT(SITE_BROWSERS), v, &s->browsers, "browser",
		            "users");
	list_clear(&s->power);
	return e ? e : db_run(db, STMT(SITE_POWER), &v, 1, &power);
}

enum err method_site_segments(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	const struct site_segments_in *r = in;
	const struct content *ct = state;
	struct segments s = {.since = site_since(r->days)};
	struct buf *b = &out->body;
	enum err e = db_read(ct->pool, cx, read_segments, &s);

	if (!e) {
		mp_map(b, 4);
		mp_kv_i64(b, "period_days", r->days);
		put_list(b, "devices", &s.devices);
		put_list(b, "browsers", &s.browsers);
		put_list(b, "power_users", &s.power);
		e = packed(out);
	}
	buf_fini(&s.devices.rows);
	buf_fini(&s.browsers.rows);
	buf_fini(&s.power.rows);
	return e;
}

/* --- the last five minutes --------------------------------------------------------- */

struct realtime {
	int64_t since, active;
	struct list types, errors, pages;
};

static enum err take_late(void *arg, const struct db_row *row)
{
	struct list *l = arg;
	struct buf *b = &l->rows;

	mp_map(b, 2);
	mp_kv_str(b, "error_message", db_row_str(row, 0));
	mp_kv_time(b, "timestamp", db_row_i64(row, 1));
	l->n++;
	return b->failed ? ERR_NOMEM : OK;
}

static enum err read_realtime(struct db *db, void *arg)
{
	struct realtime *rt = arg;
	struct db_val v = DB_I64(rt->since);
	const struct db_sink late = {take_late, &rt->errors};
	enum err e = db_get_i64(db, STMT(SITE_ACTIVE), &v, 1, &rt->active);

	if (!e)
		e = members(db, STMT(SITE_TYPES), v, &rt->types);
	if (!e)
		e = counted(db, STMT(SITE_PAGES), v, &rt->pages, "page_name",
		            "users");
	list_clear(&rt->errors);
	return e ? e : db_run(db, STMT(SITE_LATE_ERRORS), &v, 1, &late);
}

enum err method_site_realtime(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	const struct content *ct = state;
	int64_t now = wall_ms();
	struct realtime rt = {.since = now - SITE_ACTIVE_MS};
	struct buf *b = &out->body;
	enum err e = db_read(ct->pool, cx, read_realtime, &rt);

	(void)in;
	if (!e) {
		mp_map(b, 6);
		mp_kv_time(b, "timestamp", now);
		mp_kv_i64(b, "active_users_5min", rt.active);
		put_members(b, "events_by_type", &rt.types);
		put_list(b, "recent_errors", &rt.errors);
		put_list(b, "current_pages", &rt.pages);
		mp_kv_i64(b, "refresh_interval_seconds", SITE_REFRESH_S);
		e = packed(out);
	}
	buf_fini(&rt.types.rows);
	buf_fini(&rt.errors.rows);
	buf_fini(&rt.pages.rows);
	return e;
}

/* --- cohorts ---------------------------------------------------------------------- */

struct cohorts {
	bool month;
	int64_t now_ms, from; /* from: of the cohort being read */
	struct list list;
};

static void put_cohort(struct cohorts *c, const struct db_row *row)
{
	static const char *const weeks[] = {"week_1", "week_2", "week_3",
	                                    "week_4"};
	char iso[CLOCK_ISO_MAX];
	struct str day = clock_iso(c->from, iso);
	struct buf *b = &c->list.rows;

	day.n = c->month ? sizeof("2026-01") - 1 : sizeof("2026-01-05") - 1;
	mp_map(b, 3);
	mp_kv_str(b, "cohort", day);
	mp_kv_i64(b, "size", db_row_i64(row, 0));
	mp_kv_map(b, "retention", COUNTOF(weeks));
	for (size_t i = 0; i < COUNTOF(weeks); i++)
		mp_kv_f64(b, weeks[i],
		          site_rate(db_row_i64(row, 1 + (int)i),
		                    db_row_i64(row, 0)));
	c->list.n++;
}

static enum err take_cohort(void *arg, const struct db_row *row)
{
	struct cohorts *c = arg;

	if (db_row_i64(row, 0) > 0)
		put_cohort(c, row);
	return c->list.rows.failed ? ERR_NOMEM : OK;
}

static enum err read_cohorts(struct db *db, void *arg)
{
	struct cohorts *c = arg;
	const struct db_sink sink = {take_cohort, c};
	enum err e = OK;

	list_clear(&c->list);
	for (int64_t back = SITE_COHORTS; back-- > 0 && !e;) {
		c->from = site_cohort_begin(c->month, c->now_ms, back);
		const struct db_val v[] = {DB_I64(c->from),
		                           DB_I64(site_cohort_begin(c->month,
		                                                    c->now_ms,
		                                                    back - 1))};

		e = db_run(db, STMT(SITE_COHORT), v, COUNTOF(v), &sink);
	}
	return e;
}

enum err method_site_cohorts(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	const struct site_cohorts_in *r = in;
	const struct content *ct = state;
	struct cohorts c = {.month = str_eq(r->period, STR("month")),
	                    .now_ms = wall_ms()};
	struct buf *b = &out->body;
	enum err e;

	if (!c.month && !str_eq(r->period, STR("week")))
		return ctx_fault(cx, "?period", "UNKNOWN",
		                 "period must be week or month.");
	e = db_read(ct->pool, cx, read_cohorts, &c);
	if (!e) {
		mp_map(b, 2);
		mp_kv_str(b, "period", r->period);
		put_list(b, "cohorts", &c.list);
		e = packed(out);
	}
	buf_fini(&c.list.rows);
	return e;
}

/* --- export ----------------------------------------------------------------------- */

struct exporting {
	const struct site_export_in *ask;
	bool csv;
	int64_t since, total;
	struct list list;
};

static enum err take_event(void *arg, const struct db_row *row)
{
	struct exporting *x = arg;
	struct site_row r;

	site_row_read(row, &r);
	if (x->csv)
		site_csv_row(&x->list.rows, &r);
	else
		site_row_put(&x->list.rows, &r);
	x->list.n++;
	return x->list.rows.failed ? ERR_NOMEM : OK;
}

static enum err read_export(struct db *db, void *arg)
{
	struct exporting *x = arg;
	const struct db_val v[] = {DB_I64(x->since), DB_STR(x->ask->event_type),
	                           DB_I64(x->csv ? SITE_EXPORT_CSV
	                                         : SITE_EXPORT_JSON)};
	const struct db_sink sink = {take_event, x};
	enum err e = db_get_i64(db, STMT(SITE_COUNT), v, 2, &x->total);

	list_clear(&x->list);
	if (x->csv)
		site_csv_head(&x->list.rows);
	return e ? e : db_run(db, STMT(SITE_LIST), v, COUNTOF(v), &sink);
}

static enum err choose(struct ctx *cx, const struct site_export_in *r,
                       bool *csv)
{
	struct str format = r->format.p ? r->format : cx->form;
	enum site_type ignored;

	*csv = str_eq(format, STR("csv"));
	if (!*csv && format.n && !str_eq(format, STR("json")))
		return ctx_fault(cx, "?format", "UNKNOWN",
		                 "format must be json or csv.");
	if (r->event_type.n && !site_type_from_str(r->event_type, &ignored))
		return ctx_fault(cx, "?event_type", "UNKNOWN",
		                 "There are no events of this type.");
	return OK;
}

static void as_json(struct reply *out, struct exporting *x)
{
	struct buf *b = &out->body;

	mp_map(b, 4);
	mp_kv_i64(b, "period_days", x->ask->days);
	if (x->ask->event_type.n)
		mp_kv_str(b, "event_type_filter", x->ask->event_type);
	else
		mp_kv_nil(b, "event_type_filter");
	mp_kv_i64(b, "total_events", x->total);
	put_list(b, "events", &x->list);
}

static void header(struct reply *out, struct str name, struct str value)
{
	out->headers[out->headers_n].name = name;
	out->headers[out->headers_n++].value = value;
}

static void as_csv(struct reply *out, struct exporting *x)
{
	mp_str(&out->body, buf_view(&x->list.rows));
	header(out, STR("Content-Type"), STR("text/csv; charset=utf-8"));
	header(out, STR("Content-Disposition"),
	       STR("attachment; filename=\"analytics.csv\""));
}

enum err method_site_export(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct content *ct = state;
	struct exporting x = {.ask = in};
	enum err e = choose(cx, in, &x.csv);

	if (!e) {
		x.since = site_since(x.ask->days);
		e = db_read(ct->pool, cx, read_export, &x);
	}
	if (!e && x.csv)
		as_csv(out, &x);
	else if (!e)
		as_json(out, &x);
	buf_fini(&x.list.rows);
	return e ? e : packed(out);
}
