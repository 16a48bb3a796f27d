#include "svc-content/quota/sums.h"

#include <inttypes.h>
#include <stdio.h>

#define DAY_MS INT64_C(86400000)

void usage_sums_read(const struct db_row *row, struct usage_sums *out)
{
	*out = (struct usage_sums){
		.requests = db_row_i64(row, 0),
		.tokens_in = db_row_i64(row, 1),
		.tokens_out = db_row_i64(row, 2),
		.cost = db_row_i64(row, 3),
	};
}

void usage_sums_add(struct usage_sums *to, const struct usage_sums *more)
{
	to->requests += more->requests;
	to->tokens_in += more->tokens_in;
	to->tokens_out += more->tokens_out;
	to->cost += more->cost;
}

struct usage_days usage_days_of(enum quota_period p, int64_t now_ms)
{
	int64_t today = clock_utc_day(now_ms);

	return (struct usage_days){p, quota_period_start(p, today),
	                           quota_period_end(p, today) - 1};
}

int64_t usage_day_ms(int64_t day)
{
	return day * DAY_MS;
}

struct str usage_name(const struct usage_person *p)
{
	return p->handle.n ? p->handle : p->sub;
}

void usage_add_route(struct usage_person *p, struct str route,
                     const struct usage_sums *s)
{
	/* Routes are names of ours, with nothing to escape. */
	buf_printf(&p->routes,
	           "%s\"%.*s\":{\"requests\":%" PRId64
	           ",\"input_tokens\":%" PRId64 ",\"output_tokens\":%" PRId64
	           ",\"total_tokens\":%" PRId64 ",\"cost\":%.4f}",
	           p->routes.n ? "," : "{", STR_FMT(route), s->requests,
	           s->tokens_in, s->tokens_out, s->tokens_in + s->tokens_out,
	           quota_dollars(s->cost));
	usage_sums_add(&p->sums, s);
}

void usage_pack_person(struct buf *b, const struct usage_person *p,
                       const struct usage_days *days)
{
	char date[QUOTA_DATE_MAX], id[128];
	int n = snprintf(id, sizeof(id), "%.*s:%s:%s", STR_FMT(p->sub),
	                 quota_period_name(days->period),
	                 quota_date(days->from, date).p);

	mp_map(b, 11);
	mp_kv_str(b, "id", (struct str){id, (size_t)n});
	mp_kv_str(b, "user_id", usage_name(p));
	mp_kv_time(b, "period_start", usage_day_ms(days->from));
	mp_kv_time(b, "period_end", usage_day_ms(days->to + 1));
	mp_kv_text(b, "period_type", quota_period_name(days->period));
	mp_kv_i64(b, "total_requests", p->sums.requests);
	mp_kv_i64(b, "total_input_tokens", p->sums.tokens_in);
	mp_kv_i64(b, "total_output_tokens", p->sums.tokens_out);
	mp_kv_i64(b, "total_tokens", p->sums.tokens_in + p->sums.tokens_out);
	mp_kv_f64(b, "total_cost", quota_dollars(p->sums.cost));
	mp_text(b, "endpoint_usage");
	mp_str_head(b, p->routes.n + 1);
	buf_str(b, buf_view(&p->routes));
	buf_char(b, '}');
}

void usage_pack_sums(struct buf *b, const struct usage_sums *s)
{
	mp_kv_i64(b, "requests", s->requests);
	mp_kv_i64(b, "input_tokens", s->tokens_in);
	mp_kv_i64(b, "output_tokens", s->tokens_out);
	mp_kv_i64(b, "total_tokens", s->tokens_in + s->tokens_out);
	mp_kv_f64(b, "cost", quota_dollars(s->cost));
}
