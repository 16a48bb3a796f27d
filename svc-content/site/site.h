/*
 * site - what administrators see of the web analytics (contract 2.2.5).
 *
 * Days are counted back from now in epoch milliseconds, by the clock of this
 * service: when an event arrived, not when a browser believes it happened.
 * Rates are percentages with two decimals, of the step before, so none exceeds
 * 100.  Every list has a bound.
 *
 * Threads: any that may block on the pool.
 */
#ifndef SVC_CONTENT_SITE_SITE_H
#define SVC_CONTENT_SITE_SITE_H

#include "svc-content/content.h"

#define SITE_ACTIVE_MS   300000
#define SITE_REFRESH_S   30
#define SITE_COHORTS     10
#define SITE_EXPORT_JSON 1000
#define SITE_EXPORT_CSV  10000

/* Of hundred, with two decimals; 0 where there is nothing to be part of. */
double site_rate(int64_t part, int64_t of);
double site_round(double v); /* two decimals */
/* Epoch milliseconds, so many days ago. */
int64_t site_since(int64_t days);

struct site_funnel {
	int64_t home, began, made, exported;
	int64_t home_began, began_made, made_exported, home_exported;
};
struct site_performance {
	double load_ms, fcp_ms, lcp_ms, ttfb_ms, api_ms;
	int64_t pages, calls, failed;
};
/* Inside a transaction function. */
enum err site_funnel_get(struct db *db, int64_t since,
                         struct site_funnel *out) MUST_CHECK;
enum err site_performance_get(struct db *db, int64_t since,
                              struct site_performance *out) MUST_CHECK;
/* The shapes Funnel and WebPerf of the contract. */
void site_funnel_put(struct buf *b, const struct site_funnel *f, int64_t days);
void site_performance_put(struct buf *b, const struct site_performance *p,
                          int64_t days);

/* The first day of a cohort: a Monday, or the first of a month, in UTC; back:
 * how many before the one that now is in. */
int64_t site_cohort_begin(bool month, int64_t now_ms, int64_t back);

/* A row of SITE_LIST and SITE_JOURNEY. */
struct site_row {
	int64_t at, status, rating;
	bool has_status, has_rating, failed;
	struct str type, session, name, message, device, browser;
	bool has_ms[4];
	double ms[4]; /* duration, fcp, lcp, ttfb */
};
void site_row_read(const struct db_row *row, struct site_row *out);
/* {event_type, session_id, timestamp, data} */
void site_row_put(struct buf *b, const struct site_row *r);
void site_csv_head(struct buf *b);
void site_csv_row(struct buf *b, const struct site_row *r);
/* One cell of CSV (RFC 4180).  A spreadsheet runs what begins with = + - @ or a
 * control character, so such a text gets a ' before it. */
void site_csv_cell(struct buf *b, struct str text);

#endif
