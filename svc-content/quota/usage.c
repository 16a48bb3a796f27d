/*
 * "content.usage*": what people have used of the language models, as
 * administrators see it (contract 2.1.4).
 */
#include "svc-content/content.h"
#include "svc-content/methods.h"
#include "svc-content/quota/inner.h"
#include "svc-content/quota/sums.h"
#include "svc-content/stmts.h"

#include "common/codec/json.h"

#include <inttypes.h>

#define EXPORT_MOST INT64_C(20000) /* people */

/* --- what is asked ------------------------------------------------------------------ */

static enum err read_period(struct ctx *cx, struct str given,
                            enum quota_period *out)
{
	if (quota_period_from_str(given, out))
		return OK;
	return ctx_fault(cx, "?period", "INVALID",
	                 "period is daily or monthly.");
}

static bool one_of(struct str given, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(given, str_from(words[i])))
			return true;
	return false;
}

/* --- people -------------------------------------------------------------------------- */

/* Rows of "usage.people": each person's routes follow each other. */
struct people {
	struct ctx *cx;
	const struct usage_days *days;
	void (*put)(struct people *p); /* one who is whole */
	struct usage_person at;        /* whose rows are coming */
	struct buf *out;
	bool json; /* of an export */
	uint32_t n;
};

static void end_person(struct people *p)
{
	if (p->at.sub.n == 0)
		return;
	p->put(p);
	p->n++;
	p->at.sub.n = 0;
	p->at.sums = (struct usage_sums){0};
	buf_clear(&p->at.routes);
}

static enum err take_person(void *arg, const struct db_row *row)
{
	struct people *p = arg;
	struct usage_sums sums;
	struct str sub = db_row_str(row, USAGE_SUMS_COLUMNS);

	if (!str_eq(sub, p->at.sub)) {
		end_person(p);
		p->at.sub = arena_str(p->cx->arena, sub);
		p->at.handle =
			arena_str(p->cx->arena,
		                  db_row_str(row, USAGE_SUMS_COLUMNS + 1));
		if (!p->at.sub.p || !p->at.handle.p)
			return ERR_NOMEM;
	}
	usage_sums_read(row, &sums);
	usage_add_route(&p->at, db_row_str(row, USAGE_SUMS_COLUMNS + 2), &sums);
	return OK;
}

static enum err read_people(struct db *db, struct people *p, struct str sort_by,
                            int64_t most)
{
	const struct db_val v[] = {DB_I64(p->days->from), DB_I64(p->days->to),
	                           DB_STR(sort_by), DB_I64(most)};
	const struct db_sink sink = {take_person, p};
	enum err e = db_run(db, STMT(USAGE_PEOPLE), v, COUNTOF(v), &sink);

	if (!e)
		end_person(p);
	return e ? e : p->at.routes.failed || p->out->failed ? ERR_NOMEM : OK;
}

/* --- the list ------------------------------------------------------------------------- */

struct totals {
	struct usage_sums sums;
	int64_t users;
};

static enum err take_totals(void *arg, const struct db_row *row)
{
	struct totals *t = arg;

	usage_sums_read(row, &t->sums);
	t->users = db_row_i64(row, USAGE_SUMS_COLUMNS);
	return OK;
}

struct listing {
	struct ctx *cx;
	struct usage_days days;
	struct str sort_by;
	int64_t most;
	struct totals totals;
	struct buf people; /* as msgpack */
	uint32_t people_n;
};

static void put_listed(struct people *p)
{
	usage_pack_person(p->out, &p->at, p->days);
}

static enum err list(struct db *db, void *arg)
{
	struct listing *l = arg;
	struct people p = {.cx = l->cx,
	                   .days = &l->days,
	                   .put = put_listed,
	                   .out = &l->people};
	const struct db_val v[] = {DB_I64(l->days.from), DB_I64(l->days.to)};
	const struct db_sink sink = {take_totals, &l->totals};
	enum err e = db_run(db, STMT(USAGE_TOTALS), v, COUNTOF(v), &sink);

	buf_clear(&l->people);
	if (!e)
		e = read_people(db, &p, l->sort_by, l->most);
	l->people_n = p.n;
	buf_fini(&p.at.routes);
	return e;
}

static void pack_list(struct buf *b, const struct listing *l)
{
	const struct totals *t = &l->totals;

	mp_map(b, 6);
	mp_kv_text(b, "period", quota_period_name(l->days.period));
	mp_kv_time(b, "period_start", usage_day_ms(l->days.from));
	mp_kv_map(b, "totals", 4);
	mp_kv_i64(b, "users", t->users);
	mp_kv_i64(b, "requests", t->sums.requests);
	mp_kv_i64(b, "tokens", t->sums.tokens_in + t->sums.tokens_out);
	mp_kv_f64(b, "cost", quota_dollars(t->sums.cost));
	mp_kv_array(b, "top_users", l->people_n);
	mp_raw(b, buf_view(&l->people));
	mp_kv_str(b, "sort_by", l->sort_by);
	mp_kv_i64(b, "limit", l->most);
}

enum err method_usage(void *state, struct ctx *cx, const void *in,
                      struct reply *out)
{
	static const char *const sorts[] = {"tokens", "cost", "requests"};
	const struct content *ct = state;
	const struct usage_in *ask = in;
	struct listing l = {.cx = cx,
	                    .sort_by = ask->sort_by,
	                    .most = ask->limit};
	enum quota_period p = QUOTA_DAILY;
	enum err e = read_period(cx, ask->period, &p);

	if (!one_of(ask->sort_by, sorts, COUNTOF(sorts)))
		e = ctx_fault(cx, "?sort_by", "INVALID",
		              "sort_by is tokens, cost or requests.");
	if (e)
		return e;
	l.days = usage_days_of(p, ct->quota->now_ms());
	e = db_read(ct->pool, cx, list, &l);
	if (!e)
		pack_list(&out->body, &l);
	buf_fini(&l.people);
	return e;
}

/* --- one person ------------------------------------------------------------------------- */

struct looking {
	const struct quota *q;
	struct ctx *cx;
	struct str asked, sub, handle;
	enum tier tier;
	int64_t restricted;
	struct quota_spent spent;
	struct usage_person period[QUOTA_PERIODS];
};

static enum err take_whose(void *arg, const struct db_row *row)
{
	struct looking *l = arg;

	l->sub = arena_str(l->cx->arena, db_row_str(row, 0));
	l->handle = arena_str(l->cx->arena, db_row_str(row, 1));
	(void)tier_from_str(db_row_str(row, 2), &l->tier);
	return l->sub.p && l->handle.p ? OK : ERR_NOMEM;
}

static enum err take_route(void *arg, const struct db_row *row)
{
	struct usage_person *p = arg;
	struct usage_sums sums;

	usage_sums_read(row, &sums);
	usage_add_route(p, db_row_str(row, USAGE_SUMS_COLUMNS + 2), &sums);
	return p->routes.failed ? ERR_NOMEM : OK;
}

static enum err read_person(struct db *db, struct looking *l,
                            enum quota_period p, int64_t now_ms)
{
	struct usage_person *out = &l->period[p];
	struct usage_days days = usage_days_of(p, now_ms);
	const struct db_val v[] = {DB_I64(days.from), DB_I64(days.to),
	                           DB_STR(l->sub)};
	const struct db_sink sink = {take_route, out};

	out->sub = l->sub;
	out->handle = l->handle;
	out->sums = (struct usage_sums){0};
	buf_clear(&out->routes);
	return db_run(db, STMT(USAGE_PERSON), v, COUNTOF(v), &sink);
}

static enum err look(struct db *db, void *arg)
{
	struct looking *l = arg;
	int64_t now_ms = l->q->now_ms();
	const struct db_val v[] = {DB_STR(l->asked)};
	const struct db_sink sink = {take_whose, l};
	enum err e;

	l->sub.n = 0;
	e = db_run(db, STMT(QUOTA_WHOSE), v, COUNTOF(v), &sink);
	if (e || l->sub.n == 0)
		return e; /* who has used nothing is not known here */
	const struct db_val who[] = {DB_STR(l->sub)};

	e = db_get_i64(db, STMT(RESTRICTED_IS), who, 1, &l->restricted);
	for (enum quota_period p = QUOTA_DAILY; p < QUOTA_PERIODS && !e; p++)
		e = read_person(db, l, p, now_ms);
	return e ? e : quota_spent_of(db, l->sub, now_ms, &l->spent);
}

static void pack_warning(struct buf *b, const struct looking *l,
                         enum quota_limit i)
{
	int64_t usage = l->spent.of[i], max = l->q->limits.of[l->tier][i];
	const char *unit = quota_unit_name(quota_rules[i].unit);
	double part = quota_percentage(usage, max);
	char text[120];
	int n = snprintf(text, sizeof(text),
	                 "%.0f %% of the %s that tier %s has %s are used.",
	                 part, unit, tier_name(l->tier),
	                 quota_rules[i].period == QUOTA_DAILY ? "a day"
	                                                      : "a month");

	mp_map(b, 7);
	mp_kv_text(b, "level", quota_level_name(quota_level(usage, max)));
	mp_kv_text(b, "period", quota_period_name(quota_rules[i].period));
	mp_kv_text(b, "unit", unit);
	mp_kv_i64(b, "usage", usage);
	mp_kv_i64(b, "limit", max);
	mp_kv_f64(b, "percentage", part);
	mp_kv_str(b, "message", (struct str){text, (size_t)n});
}

static void pack_warnings(struct buf *b, const struct looking *l)
{
	bool told[QUOTA_LIMITS];
	size_t n = 0;

	for (enum quota_limit i = 0; i < QUOTA_LIMITS; i++) {
		told[i] =
			quota_level(l->spent.of[i],
		                    l->q->limits.of[l->tier][i]) != QUOTA_FINE;
		n += told[i];
	}
	mp_kv_array(b, "warnings", n);
	for (enum quota_limit i = 0; i < QUOTA_LIMITS; i++)
		if (told[i])
			pack_warning(b, l, i);
}

static void pack_person(struct buf *b, const struct looking *l)
{
	int64_t now_ms = l->q->now_ms();

	mp_map(b, 5);
	mp_kv_str(b, "user_id", l->handle.n ? l->handle : l->asked);
	if (l->sub.n)
		mp_kv_text(b, "tier", tier_name(l->tier));
	else
		mp_kv_nil(b, "tier");
	for (enum quota_period p = QUOTA_DAILY; p < QUOTA_PERIODS; p++) {
		struct usage_days days = usage_days_of(p, now_ms);

		mp_text(b, quota_period_name(p));
		if (l->period[p].routes.n)
			usage_pack_person(b, &l->period[p], &days);
		else
			mp_nil(b);
	}
	pack_warnings(b, l);
}

enum err method_usage_user(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct content *ct = state;
	const struct usage_user_in *ask = in;
	struct looking l = {.q = ct->quota, .cx = cx, .asked = ask->user_id};
	enum err e = db_read(ct->pool, cx, look, &l);

	if (e == ERR_NOT_FOUND)
		e = ctx_fail(cx, e,
		             "Nobody of that user_id has had anything "
		             "generated.");
	else if (!e && l.restricted)
		e = ctx_fail(cx, ERR_RESTRICTED,
		             "This person has asked that their data is kept "
		             "and not used.");
	if (!e)
		pack_person(&out->body, &l);
	for (size_t p = 0; p < QUOTA_PERIODS; p++)
		buf_fini(&l.period[p].routes);
	return e;
}

/* --- routes and days ---------------------------------------------------------------------- */

struct rows {
	struct buf *out; /* msgpack, without the array's head */
	uint32_t n;
	int64_t next; /* day that no row has had yet */
};

static enum err take_endpoint(void *arg, const struct db_row *row)
{
	struct rows *r = arg;
	struct usage_sums sums;

	usage_sums_read(row, &sums);
	mp_map(r->out, 1 + USAGE_PAIRS);
	mp_kv_str(r->out, "endpoint", db_row_str(row, USAGE_SUMS_COLUMNS));
	usage_pack_sums(r->out, &sums);
	r->n++;
	return r->out->failed ? ERR_NOMEM : OK;
}

enum err method_usage_endpoints(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	const struct content *ct = state;
	const struct usage_endpoints_in *ask = in;
	AUTO_BUF rows = {0};
	struct rows r = {.out = &rows};
	const struct db_sink sink = {take_endpoint, &r};
	enum quota_period p = QUOTA_DAILY;
	enum err e = read_period(cx, ask->period, &p);
	struct usage_days days = usage_days_of(p, ct->quota->now_ms());
	const struct db_val v[] = {DB_I64(days.from), DB_I64(days.to)};

	if (!e)
		e = db_ask(ct->pool, cx, STMT(USAGE_ROUTES), v, COUNTOF(v),
		           &sink);
	if (e)
		return e;
	mp_map(&out->body, 3);
	mp_kv_text(&out->body, "period", quota_period_name(p));
	mp_kv_time(&out->body, "period_start", usage_day_ms(days.from));
	mp_kv_array(&out->body, "endpoints", r.n);
	mp_raw(&out->body, buf_view(&rows));
	return OK;
}

static void put_day(struct rows *r, int64_t day, const struct usage_sums *s,
                    int64_t users)
{
	char date[QUOTA_DATE_MAX];

	mp_map(r->out, 5);
	mp_kv_str(r->out, "date", quota_date(day, date));
	mp_kv_i64(r->out, "requests", s->requests);
	mp_kv_i64(r->out, "tokens", s->tokens_in + s->tokens_out);
	mp_kv_f64(r->out, "cost", quota_dollars(s->cost));
	mp_kv_i64(r->out, "users", users);
	r->n++;
	r->next = day + 1;
}

/* Days without usage are there too. */
static void fill_days(struct rows *r, int64_t until)
{
	static const struct usage_sums none;

	while (r->next < until)
		put_day(r, r->next, &none, 0);
}

static enum err take_day(void *arg, const struct db_row *row)
{
	struct rows *r = arg;
	int64_t day = db_row_i64(row, USAGE_SUMS_COLUMNS);
	struct usage_sums sums;

	fill_days(r, day);
	usage_sums_read(row, &sums);
	put_day(r, day, &sums, db_row_i64(row, USAGE_SUMS_COLUMNS + 1));
	return r->out->failed ? ERR_NOMEM : OK;
}

enum err method_usage_trends(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	const struct content *ct = state;
	const struct usage_trends_in *ask = in;
	int64_t today = clock_utc_day(ct->quota->now_ms());
	int64_t from = today - ask->days + 1;
	AUTO_BUF rows = {0};
	struct rows r = {.out = &rows, .next = from};
	const struct db_val v[] = {DB_I64(from), DB_I64(today)};
	const struct db_sink sink = {take_day, &r};
	char date[QUOTA_DATE_MAX];
	enum err e =
		db_ask(ct->pool, cx, STMT(USAGE_DAYS), v, COUNTOF(v), &sink);

	if (e)
		return e;
	fill_days(&r, today + 1);
	mp_map(&out->body, 4);
	mp_kv_str(&out->body, "start_date", quota_date(from, date));
	mp_kv_str(&out->body, "end_date", quota_date(today, date));
	mp_kv_i64(&out->body, "days", ask->days);
	mp_kv_array(&out->body, "trends", r.n);
	mp_raw(&out->body, buf_view(&rows));
	return OK;
}

/* --- as a file ------------------------------------------------------------------------------ */

#define CSV_HEAD                                           \
	"user_id,period_type,period_start,total_requests," \
	"total_input_tokens,total_output_tokens,total_tokens,total_cost\r\n"

/* RFC 4180; a value that a spreadsheet would take for a formula gets a quote
 * before it. */
static void csv_text(struct buf *b, struct str s)
{
	static const char formula[] = "=+-@\t\r";

	buf_char(b, '"');
	if (s.n && memchr(formula, s.p[0], sizeof(formula) - 1))
		buf_char(b, '\'');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			buf_char(b, '"');
		buf_char(b, s.p[i]);
	}
	buf_char(b, '"');
}

static void put_line(struct people *p)
{
	const struct usage_sums *s = &p->at.sums;
	char date[QUOTA_DATE_MAX];

	if (p->json) {
		usage_pack_person(p->out, &p->at, p->days);
		return;
	}
	csv_text(p->out, usage_name(&p->at));
	buf_printf(p->out,
	           ",%s,%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
	           ",%.4f\r\n",
	           quota_period_name(p->days->period),
	           quota_date(p->days->from, date).p, s->requests, s->tokens_in,
	           s->tokens_out, s->tokens_in + s->tokens_out,
	           quota_dollars(s->cost));
}

static enum err gather(struct db *db, void *arg)
{
	struct people *p = arg;

	buf_clear(p->out);
	p->n = 0;
	p->at.sub.n = 0;
	p->at.sums = (struct usage_sums){0};
	buf_clear(&p->at.routes);
	return read_people(db, p, STR("tokens"), EXPORT_MOST + 1);
}

static struct str file_name(struct ctx *cx, const struct usage_days *days,
                            int64_t now_ms, const char *ending)
{
	char iso[QUOTA_DATE_MAX], name[96];
	const char *d = quota_date(clock_utc_day(now_ms), iso).p;

	(void)snprintf(name, sizeof(name),
	               "attachment; filename=\"usage_%s_%.4s%.2s%.2s.%s\"",
	               quota_period_name(days->period), d, d + 5, d + 8,
	               ending);
	return arena_str(cx->arena, str_from(name));
}

static void pack_file(struct reply *out, const struct people *p)
{
	struct buf *b = &out->body;

	if (!p->json) {
		mp_str_head(b, sizeof(CSV_HEAD) - 1 + p->out->n);
		buf_str(b, STR(CSV_HEAD));
		buf_str(b, buf_view(p->out));
		out->headers[out->headers_n].name = STR("Content-Type");
		out->headers[out->headers_n++].value =
			STR("text/csv; charset=utf-8");
		return;
	}
	mp_map(b, 3);
	mp_kv_text(b, "period", quota_period_name(p->days->period));
	mp_kv_time(b, "period_start", usage_day_ms(p->days->from));
	mp_kv_array(b, "records", p->n);
	mp_raw(b, buf_view(p->out));
}

enum err method_usage_export(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	static const char *const formats[] = {"csv", "json"};
	const struct content *ct = state;
	const struct usage_export_in *ask = in;
	int64_t now_ms = ct->quota->now_ms();
	AUTO_BUF lines = {0};
	struct usage_days days;
	struct people p = {.cx = cx,
	                   .days = &days,
	                   .put = put_line,
	                   .out = &lines,
	                   .json = str_eq(ask->format, STR("json"))};
	enum quota_period period = QUOTA_DAILY;
	enum err e = read_period(cx, ask->period, &period);
	struct str name;

	if (!one_of(ask->format, formats, COUNTOF(formats)))
		e = ctx_fault(cx, "?format", "INVALID",
		              "format is csv or json.");
	days = usage_days_of(period, now_ms);
	if (!e)
		e = db_read(ct->pool, cx, gather, &p);
	buf_fini(&p.at.routes);
	if (!e && p.n > EXPORT_MOST)
		e = ctx_fail(cx, ERR_TOO_LARGE,
		             "More than %" PRId64 " people have used "
		             "something in that period.",
		             EXPORT_MOST);
	name = file_name(cx, &days, now_ms, p.json ? "json" : "csv");
	if (e || !name.p)
		return e ? e : ERR_NOMEM;
	out->headers[out->headers_n].name = STR("Content-Disposition");
	out->headers[out->headers_n++].value = name;
	pack_file(out, &p);
	return OK;
}
