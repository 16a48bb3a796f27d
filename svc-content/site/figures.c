#include "svc-content/site/site.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"
#include "svc-content/stmts.h"

#include <math.h>
#include <time.h>

#define DAY_MS  INT64_C(86400000)
#define WEEK_MS (7 * DAY_MS)
#define MONDAY  (4 * DAY_MS) /* the first one: 1970-01-05 */

double site_round(double v)
{
	return round(v * 100) / 100;
}

double site_rate(int64_t part, int64_t of)
{
	return of > 0 ? site_round(100.0 * (double)part / (double)of) : 0;
}

int64_t site_since(int64_t days)
{
	return wall_ms() - days * DAY_MS;
}

/* --- the funnel ------------------------------------------------------------------- */

static enum err take_funnel(void *arg, const struct db_row *row)
{
	struct site_funnel *f = arg;

	*f = (struct site_funnel){db_row_i64(row, 0), db_row_i64(row, 1),
	                          db_row_i64(row, 2), db_row_i64(row, 3),
	                          db_row_i64(row, 4), db_row_i64(row, 5),
	                          db_row_i64(row, 6), db_row_i64(row, 7)};
	return OK;
}

enum err site_funnel_get(struct db *db, int64_t since, struct site_funnel *out)
{
	const struct db_val v[] = {DB_I64(since)};
	const struct db_sink sink = {take_funnel, out};

	*out = (struct site_funnel){0};
	return db_run(db, STMT(SITE_FUNNEL), v, COUNTOF(v), &sink);
}

void site_funnel_put(struct buf *b, const struct site_funnel *f, int64_t days)
{
	mp_map(b, 9);
	mp_kv_i64(b, "period_days", days);
	mp_kv_i64(b, "homepage_views", f->home);
	mp_kv_i64(b, "first_interactions", f->began);
	mp_kv_f64(b, "interaction_rate", site_rate(f->home_began, f->home));
	mp_kv_i64(b, "presentations_generated", f->made);
	mp_kv_f64(b, "generation_rate", site_rate(f->began_made, f->began));
	mp_kv_i64(b, "exports", f->exported);
	mp_kv_f64(b, "export_rate", site_rate(f->made_exported, f->made));
	mp_kv_f64(b, "overall_conversion",
	          site_rate(f->home_exported, f->home));
}

/* --- performance ------------------------------------------------------------------ */

static enum err take_performance(void *arg, const struct db_row *row)
{
	struct site_performance *p = arg;

	p->load_ms = db_row_f64(row, 0);
	p->fcp_ms = db_row_f64(row, 1);
	p->lcp_ms = db_row_f64(row, 2);
	p->ttfb_ms = db_row_f64(row, 3);
	p->pages = db_row_i64(row, 4);
	p->api_ms = db_row_f64(row, 5);
	p->calls = db_row_i64(row, 6);
	p->failed = db_row_i64(row, 7);
	return OK;
}

enum err site_performance_get(struct db *db, int64_t since,
                              struct site_performance *out)
{
	const struct db_val v[] = {DB_I64(since)};
	const struct db_sink sink = {take_performance, out};

	*out = (struct site_performance){0};
	return db_run(db, STMT(SITE_PERFORMANCE), v, COUNTOF(v), &sink);
}

void site_performance_put(struct buf *b, const struct site_performance *p,
                          int64_t days)
{
	mp_map(b, 9);
	mp_kv_i64(b, "period_days", days);
	mp_kv_f64(b, "avg_page_load_ms", site_round(p->load_ms));
	mp_kv_f64(b, "avg_fcp_ms", site_round(p->fcp_ms));
	mp_kv_f64(b, "avg_lcp_ms", site_round(p->lcp_ms));
	mp_kv_f64(b, "avg_ttfb_ms", site_round(p->ttfb_ms));
	mp_kv_i64(b, "total_page_views", p->pages);
	mp_kv_f64(b, "avg_api_duration_ms", site_round(p->api_ms));
	mp_kv_i64(b, "total_api_calls", p->calls);
	mp_kv_f64(b, "api_error_rate", site_rate(p->failed, p->calls));
}

/* --- cohorts ---------------------------------------------------------------------- */

int64_t site_cohort_begin(bool month, int64_t now_ms, int64_t back)
{
	time_t now = (time_t)(now_ms / 1000);
	struct tm t;

	if (!month)
		return (now_ms - MONDAY) / WEEK_MS * WEEK_MS + MONDAY -
		       back * WEEK_MS;
	(void)gmtime_r(&now, &t);
	t = (struct tm){.tm_year = t.tm_year,
	                .tm_mon = t.tm_mon - (int)back, /* timegm() carries */
	                .tm_mday = 1};
	return (int64_t)timegm(&t) * 1000;
}
