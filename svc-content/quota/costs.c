/*
 * "content.metrics_costs" and "content.metrics_estimate": what the language
 * models cost, and what they would.
 */
#include "svc-content/content.h"
#include "svc-content/methods.h"
#include "svc-content/quota/inner.h"
#include "svc-content/quota/sums.h"
#include "svc-content/stmts.h"

#include <stdarg.h>
#include <stdio.h>

#define WEEK             7
#define SUGGESTIONS      4
#define SUGGESTION_MAX   240
#define MONTH_DAYS       30
#define PROMPT_PART      4     /* one of so many tokens is of the prompt */
#define GEMINI_PRICE_IN  75000 /* micro-dollars for a million, contract 4.4.5 */
#define GEMINI_PRICE_OUT 300000

/* --- costs ------------------------------------------------------------------------- */

struct costs {
	const struct quota *q;
	int64_t today;
	struct usage_sums day, week, offline; /* offline: of the week */
	int64_t users;
	struct usage_sums dearest; /* the route that costs most */
	char dearest_route[64];
	struct buf days, routes, models; /* msgpack, without heads */
	uint32_t days_n, routes_n, models_n;
	size_t said_n;
	char said[SUGGESTIONS][SUGGESTION_MAX];
};

static enum err take_day(void *arg, const struct db_row *row)
{
	struct costs *c = arg;
	int64_t day = db_row_i64(row, USAGE_SUMS_COLUMNS);
	struct usage_sums s;
	char date[QUOTA_DATE_MAX];

	usage_sums_read(row, &s);
	usage_sums_add(&c->week, &s);
	if (day == c->today)
		c->day = s;
	mp_map(&c->days, 1 + USAGE_PAIRS);
	mp_kv_str(&c->days, "date", quota_date(day, date));
	usage_pack_sums(&c->days, &s);
	c->days_n++;
	return OK;
}

static enum err take_route(void *arg, const struct db_row *row)
{
	struct costs *c = arg;
	struct str route = db_row_str(row, USAGE_SUMS_COLUMNS);
	struct usage_sums s;

	usage_sums_read(row, &s);
	if (s.cost > c->dearest.cost) {
		c->dearest = s;
		(void)snprintf(c->dearest_route, sizeof(c->dearest_route),
		               "%.*s", STR_FMT(route));
	}
	mp_map(&c->routes, 1 + USAGE_PAIRS);
	mp_kv_str(&c->routes, "endpoint", route);
	usage_pack_sums(&c->routes, &s);
	c->routes_n++;
	return OK;
}

static enum err take_model(void *arg, const struct db_row *row)
{
	struct costs *c = arg;
	struct str model = db_row_str(row, USAGE_SUMS_COLUMNS);
	struct str provider = str_cut(&model, '/');
	struct usage_sums s;

	usage_sums_read(row, &s);
	if (str_eq(provider, STR("offline")))
		usage_sums_add(&c->offline, &s);
	mp_map(&c->models, 3 + USAGE_PAIRS);
	mp_kv_str(&c->models, "provider", provider);
	mp_kv_str(&c->models, "model", model);
	mp_kv_i64(&c->models, "calls", db_row_i64(row, USAGE_SUMS_COLUMNS + 1));
	usage_pack_sums(&c->models, &s);
	c->models_n++;
	return OK;
}

static enum err read_costs(struct db *db, void *arg)
{
	static const struct {
		enum content_stmt st;
		db_row_fn *take;
	} parts[] = {{STMT_USAGE_DAYS, take_day},
	             {STMT_USAGE_ROUTES, take_route},
	             {STMT_USAGE_MODELS, take_model}};
	struct costs *c = arg;
	const struct db_val v[] = {DB_I64(c->today - WEEK + 1),
	                           DB_I64(c->today)};
	enum err e = OK;

	c->day = c->week = c->offline = c->dearest = (struct usage_sums){0};
	c->days_n = c->routes_n = c->models_n = 0;
	buf_clear(&c->days);
	buf_clear(&c->routes);
	buf_clear(&c->models);
	for (size_t i = 0; i < COUNTOF(parts) && !e; i++) {
		const struct db_sink sink = {parts[i].take, c};

		e = db_run(db, &content_stmts[parts[i].st], v, COUNTOF(v),
		           &sink);
	}
	return e;
}

/* --- what could be done ------------------------------------------------------------- */

static void say(struct costs *c, const char *fmt, ...) PRINTF(2, 3);
static void say(struct costs *c, const char *fmt, ...)
{
	va_list ap;

	if (c->said_n == SUGGESTIONS)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(c->said[c->said_n++], SUGGESTION_MAX, fmt, ap);
	va_end(ap);
}

static void suggest(struct costs *c)
{
	int64_t tokens = c->week.tokens_in + c->week.tokens_out;
	struct provider_usage u;

	if (tokens > 0 && c->week.cost == 0)
		say(c, "Tokens were used and no price is known: set the "
		       "provider's _PRICE_IN and _PRICE_OUT to see what they "
		       "cost.");
	if (c->week.cost > 0 && c->dearest.cost * 2 > c->week.cost)
		say(c,
		    "%.0f %% of the cost of seven days is %s: fewer items "
		    "or less detail there saves most.",
		    quota_percentage(c->dearest.cost, c->week.cost),
		    c->dearest_route);
	if (tokens > 0 && c->offline.requests * 5 > c->week.requests)
		say(c,
		    "%.0f %% of the requests of seven days were answered "
		    "offline: look for spent quotas and for providers "
		    "that fail.",
		    quota_percentage(c->offline.requests, c->week.requests));
	for (unsigned i = 0; i < c->q->providers_n; i++) {
		provider_usage(c->q->budget, i, c->q->now_ms(), &u);
		if (quota_level((int64_t)u.requests_day,
		                (int64_t)u.limits.rpd) != QUOTA_FINE ||
		    quota_level((int64_t)u.tokens_day, (int64_t)u.limits.tpd) !=
		            QUOTA_FINE)
			say(c,
			    "Provider %s has had more than 75 %% of what "
			    "it may today; put another one behind it in "
			    "LLM_PROVIDERS.",
			    c->q->providers[i].name);
	}
}

/* --- the answer ------------------------------------------------------------------------ */

static void pack_used(struct buf *b, const char *name, uint64_t used,
                      uint64_t limit)
{
	mp_kv_map(b, name, 3);
	mp_kv_i64(b, "used", (int64_t)used);
	if (limit)
		mp_kv_i64(b, "limit", (int64_t)limit);
	else
		mp_kv_nil(b, "limit");
	mp_kv_f64(b, "percentage",
	          quota_percentage((int64_t)used, (int64_t)limit));
}

/* Of the process that answers. */
static void pack_providers(struct buf *b, const struct quota *q)
{
	mp_kv_map(b, "quota_status", 1);
	mp_kv_array(b, "providers", q->providers_n);
	for (unsigned i = 0; i < q->providers_n; i++) {
		struct provider_usage u;

		provider_usage(q->budget, i, q->now_ms(), &u);
		mp_map(b, 6);
		mp_kv_text(b, "provider", q->providers[i].name);
		mp_kv_text(b, "model", q->providers[i].model);
		pack_used(b, "requests_per_minute", u.requests_minute,
		          u.limits.rpm);
		pack_used(b, "requests_per_day", u.requests_day, u.limits.rpd);
		pack_used(b, "tokens_per_minute", u.tokens_minute,
		          u.limits.tpm);
		pack_used(b, "tokens_per_day", u.tokens_day, u.limits.tpd);
	}
}

static void pack_costs(struct buf *b, const struct costs *c)
{
	char date[QUOTA_DATE_MAX];

	mp_map(b, 5);
	mp_kv_map(b, "today", 1 + USAGE_PAIRS);
	mp_kv_str(b, "date", quota_date(c->today, date));
	usage_pack_sums(b, &c->day);
	mp_kv_map(b, "last_7_days", 3 + USAGE_PAIRS);
	mp_kv_str(b, "start_date", quota_date(c->today - WEEK + 1, date));
	mp_kv_str(b, "end_date", quota_date(c->today, date));
	usage_pack_sums(b, &c->week);
	mp_kv_array(b, "daily", c->days_n);
	mp_raw(b, buf_view(&c->days));
	pack_providers(b, c->q);
	mp_kv_map(b, "cost_breakdown", 2);
	mp_kv_array(b, "by_endpoint", c->routes_n);
	mp_raw(b, buf_view(&c->routes));
	mp_kv_array(b, "by_model", c->models_n);
	mp_raw(b, buf_view(&c->models));
	mp_kv_array(b, "optimization_suggestions", c->said_n);
	for (size_t i = 0; i < c->said_n; i++)
		mp_text(b, c->said[i]);
}

enum err method_metrics_costs(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	const struct content *ct = state;
	struct costs c = {.q = ct->quota,
	                  .today = clock_utc_day(ct->quota->now_ms())};
	enum err e = db_read(ct->pool, cx, read_costs, &c);

	(void)in;
	if (!e && (c.days.failed || c.routes.failed || c.models.failed))
		e = ERR_NOMEM;
	if (!e) {
		suggest(&c);
		pack_costs(&out->body, &c);
	}
	buf_fini(&c.days);
	buf_fini(&c.routes);
	buf_fini(&c.models);
	return e;
}

/* --- an estimate ------------------------------------------------------------------------ */

/* Micro-dollars; the bounds of the fields keep it from overflowing. */
static int64_t cost_of(int64_t tokens, uint64_t price_in, uint64_t price_out)
{
	int64_t in = tokens / PROMPT_PART;

	return (int64_t)((double)in * (double)price_in / 1e6 +
	                 (double)(tokens - in) * (double)price_out / 1e6);
}

static void pack_model(struct buf *b, const char *provider, const char *model,
                       uint64_t price_in, uint64_t price_out,
                       int64_t daily_tokens)
{
	int64_t daily = cost_of(daily_tokens, price_in, price_out);

	mp_map(b, 6);
	mp_kv_text(b, "provider", provider);
	mp_kv_text(b, "model", model);
	mp_kv_f64(b, "input_price_per_million",
	          quota_dollars((int64_t)price_in));
	mp_kv_f64(b, "output_price_per_million",
	          quota_dollars((int64_t)price_out));
	mp_kv_f64(b, "daily_cost", quota_dollars(daily));
	mp_kv_f64(b, "monthly_cost", quota_dollars(daily * MONTH_DAYS));
}

static void pack_tier(struct buf *b, const struct quota *q, enum tier tier,
                      int64_t requests, int64_t tokens)
{
	const int64_t *max = q->limits.of[tier];
	const int64_t want[QUOTA_LIMITS] = {
		[QUOTA_REQUESTS_DAY] = requests,
		[QUOTA_TOKENS_DAY] = tokens,
		[QUOTA_TOKENS_MONTH] = tokens * MONTH_DAYS,
	};
	bool within = true;

	mp_kv_map(b, "quota", 2 + QUOTA_LIMITS);
	mp_kv_text(b, "tier", tier_name(tier));
	for (enum quota_limit i = 0; i < QUOTA_LIMITS; i++) {
		within &= max[i] == 0 || want[i] <= max[i];
		mp_text(b, quota_rules[i].label);
		if (max[i])
			mp_i64(b, max[i]);
		else
			mp_nil(b);
	}
	mp_kv_bool(b, "within_quota", within);
}

static void pack_assumptions(struct buf *b, bool priced)
{
	mp_kv_array(b, "assumptions", 3);
	mp_text(b,
	        "A quarter of the tokens is the prompt, the rest the answer.");
	mp_text(b, "A month has 30 days; nothing comes out of the cache.");
	mp_text(b, priced ? "Prices are those that are configured; all "
	                    "requests go to the first provider."
	                  : "No provider with a price is configured: the "
	                    "prices are 0.075 and 0.30 dollars a million.");
}

enum err method_metrics_estimate(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct content *ct = state;
	const struct quota *q = ct->quota;
	const struct metrics_estimate_in *ask = in;
	int64_t tokens = ask->daily_requests * ask->avg_tokens_per_request;
	bool priced = q->providers_n &&
	              (q->providers[0].price_in || q->providers[0].price_out);
	int64_t daily =
		priced ? cost_of(tokens, q->providers[0].price_in,
	                         q->providers[0].price_out)
		       : cost_of(tokens, GEMINI_PRICE_IN, GEMINI_PRICE_OUT);
	struct buf *b = &out->body;

	mp_map(b, 11);
	mp_kv_i64(b, "daily_requests", ask->daily_requests);
	mp_kv_i64(b, "avg_tokens_per_request", ask->avg_tokens_per_request);
	mp_kv_i64(b, "daily_tokens", tokens);
	mp_kv_i64(b, "monthly_tokens", tokens * MONTH_DAYS);
	mp_kv_text(b, "currency", "USD");
	mp_kv_f64(b, "daily_cost", quota_dollars(daily));
	mp_kv_f64(b, "monthly_cost", quota_dollars(daily * MONTH_DAYS));
	mp_kv_f64(b, "yearly_cost", quota_dollars(daily * 365));
	mp_kv_array(b, "models", q->providers_n ? q->providers_n : 1);
	for (unsigned i = 0; i < q->providers_n; i++)
		pack_model(b, q->providers[i].name, q->providers[i].model,
		           q->providers[i].price_in, q->providers[i].price_out,
		           tokens);
	if (q->providers_n == 0)
		pack_model(b, "gemini", "", GEMINI_PRICE_IN, GEMINI_PRICE_OUT,
		           tokens);
	pack_tier(b, q, cx->tier, ask->daily_requests, tokens);
	pack_assumptions(b, priced);
	return OK;
}
