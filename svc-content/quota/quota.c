#include "svc-content/quota/quota.h"

#include "common/base/log.h"
#include "svc-content/quota/inner.h"
#include "svc-content/stmts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS   5000
#define KEPT_MS     INT64_C(3600000)  /* a hold behind its end, to be settled */
#define TOKENS_NAME STR("KAE-Tokens") /* gateway/limit.h */

/* --- life --------------------------------------------------------------------- */

struct quota *quota_new(const struct settings *conf, struct db_pool *pool,
                        struct erased *erased, struct metrics *metrics)
{
	AUTO(quota) q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->pool = pool;
	q->erased = erased;
	q->conf = conf;
	q->now_ms = wall_ms;
	quota_limits_read(conf, &q->limits);
	if (!quota_start_providers(q, metrics))
		return NULL;
	return STEAL(q);
}

void quota_free(struct quota *q)
{
	if (!q)
		return;
	quota_forget_providers(q);
	free(q);
}

void quota_clock(struct quota *q, int64_t (*now_ms)(void))
{
	q->now_ms = now_ms;
}

/* --- what is spent ---------------------------------------------------------------- */

static enum err take_spent(void *arg, const struct db_row *row)
{
	struct quota_spent *s = arg;

	for (int i = 0; i < QUOTA_LIMITS; i++)
		s->of[i] = db_row_i64(row, i);
	return OK;
}

enum err quota_spent_of(struct db *db, struct str sub, int64_t now_ms,
                        struct quota_spent *out)
{
	int64_t day = clock_utc_day(now_ms);
	const struct db_val v[] = {
		DB_STR(sub), DB_I64(day),
		DB_I64(quota_period_start(QUOTA_MONTHLY, day)), DB_I64(now_ms)};
	const struct db_sink sink = {take_spent, out};

	return db_run(db, STMT(QUOTA_SPENT), v, COUNTOF(v), &sink);
}

/* --- holding ------------------------------------------------------------------------ */

struct holding {
	struct quota *q;
	struct ctx *cx;
	struct quota_hold *h;
	int64_t tokens, now_ms;
	struct quota_spent spent;
	enum quota_limit over; /* QUOTA_LIMITS: none is */
};

/* What this hold adds to a limit. */
static int64_t asks(const struct holding *g, enum quota_limit i)
{
	return quota_rules[i].unit == QUOTA_REQUESTS ? 1 : g->tokens;
}

/* Requests that are spent come before tokens, and of those the month's: it lasts
 * longer. */
static void weigh(struct holding *g)
{
	g->over = QUOTA_LIMITS;
	for (enum quota_limit i = QUOTA_LIMITS; i-- > 0;) {
		int64_t max = g->q->limits.of[g->cx->tier][i];
		bool tokens = quota_rules[i].unit == QUOTA_TOKENS;

		if (max == 0 || asks(g, i) == 0 ||
		    g->spent.of[i] + asks(g, i) <= max)
			continue;
		if (g->over == QUOTA_LIMITS || !tokens)
			g->over = i;
	}
	g->h->offline = g->over != QUOTA_LIMITS &&
	                quota_rules[g->over].unit == QUOTA_TOKENS;
	if (g->h->offline)
		g->tokens = 0;
}

static enum err reserve(struct db *db, void *arg)
{
	struct holding *g = arg;
	const struct ctx *cx = g->cx;
	const struct db_val who[] = {DB_STR(cx->sub), DB_STR(cx->hnd),
	                             DB_TEXT(tier_name(cx->tier)),
	                             DB_I64(g->now_ms)};
	const struct db_val old[] = {DB_STR(cx->sub),
	                             DB_I64(g->now_ms - KEPT_MS)};
	enum err e = OK;

	if (g->q->erased)
		e = erased_check(g->q->erased, db, cx->sub);
	/* Its row is what all holds of a person wait for. */
	if (!e)
		e = db_run(db, STMT(QUOTA_PERSON), who, COUNTOF(who), NULL);
	if (!e)
		e = db_run(db, STMT(QUOTA_SWEEP), old, COUNTOF(old), NULL);
	if (!e)
		e = quota_spent_of(db, cx->sub, g->now_ms, &g->spent);
	if (e)
		return e;
	weigh(g);
	if (g->over != QUOTA_LIMITS && !g->h->offline)
		return ERR_QUOTA;
	const struct db_val hold[] = {
		DB_TEXT(g->h->id), DB_STR(cx->sub),
		DB_I64(clock_utc_day(g->now_ms)), DB_I64(g->tokens),
		DB_I64(g->now_ms +
	               (int64_t)clock_left(cx->deadline_ms, mono_ms()) +
	               QUOTA_GRACE_MS)};

	return db_run(db, STMT(QUOTA_HOLD), hold, COUNTOF(hold), NULL);
}

/* "3 hours" */
static void say_wait(int64_t s, char *out, size_t size)
{
	int64_t n = s < 120      ? s
	            : s < 7200   ? s / 60
	            : s < 172800 ? s / 3600
	                         : s / 86400;
	const char *unit = s < 120      ? "second"
	                   : s < 7200   ? "minute"
	                   : s < 172800 ? "hour"
	                                : "day";

	(void)snprintf(out, size, "%lld %s%s", (long long)n, unit,
	               n == 1 ? "" : "s");
}

static void tell_refusal(struct holding *g)
{
	struct ctx *cx = g->cx;
	enum quota_period p = quota_rules[g->over].period;
	int64_t max = g->q->limits.of[cx->tier][g->over];
	int64_t wait_s = quota_reset_s(p, g->now_ms);
	char wait[32];

	say_wait(wait_s, wait, sizeof(wait));
	(void)ctx_fail(
		cx, ERR_QUOTA,
		"All %lld generations that tier %s has %s are used. More "
		"can be made in %s.",
		(long long)max, tier_name(cx->tier),
		p == QUOTA_DAILY ? "a day" : "a month", wait);
	cx->problem.retry_after_s = (unsigned)wait_s;
	cx->problem.quota = (struct quota_problem){
		.tier = cx->tier,
		.usage = g->spent.of[g->over],
		.limit = max,
		.reset_s = wait_s,
	};
	(void)snprintf(cx->problem.quota.period,
	               sizeof(cx->problem.quota.period), "%s",
	               quota_period_name(p));
}

static void tell_offline(struct holding *g)
{
	enum quota_period p = quota_rules[g->over].period;
	char wait[32];

	say_wait(quota_reset_s(p, g->now_ms), wait, sizeof(wait));
	(void)snprintf(
		g->h->warning, sizeof(g->h->warning),
		"The tokens that tier %s has %s are used up, so this was "
		"made without a language model. Answers of a model "
		"return in %s.",
		tier_name(g->cx->tier), p == QUOTA_DAILY ? "a day" : "a month",
		wait);
}

/* A structured field, a dictionary (RFC 8941). */
static void write_standing(const struct quota *q, enum tier tier,
                           const struct quota_spent *spent, int64_t now_ms,
                           struct quota_hold *h)
{
	enum quota_limit i = quota_nearest(&q->limits, tier, spent);
	int64_t max = i == QUOTA_LIMITS ? 0 : q->limits.of[tier][i];
	enum quota_level level =
		max ? quota_level(spent->of[i], max) : QUOTA_FINE;

	h->standing[0] = '\0';
	if (level == QUOTA_FINE)
		return;
	(void)snprintf(h->standing, sizeof(h->standing),
	               "level=%s, period=%s, unit=%s, usage=%lld, limit=%lld, "
	               "reset=%lld",
	               quota_level_name(level),
	               quota_period_name(quota_rules[i].period),
	               quota_unit_name(quota_rules[i].unit),
	               (long long)spent->of[i], (long long)max,
	               (long long)quota_reset_s(quota_rules[i].period, now_ms));
}

enum err quota_hold(struct quota *q, struct ctx *cx,
                    const struct quota_ask *ask, struct quota_hold *out)
{
	struct quota_hold h = {.route = ask->route};
	struct holding g = {.q = q, .cx = cx, .h = &h, .now_ms = q->now_ms()};
	enum err e;

	*out = h;
	if (cx->sub.n == 0)
		return ERR_LOGIN_NEEDED;
	g.tokens = ask->tokens < (uint64_t)QUOTA_TOKENS_MAX
	                   ? (int64_t)ask->tokens
	                   : QUOTA_TOKENS_MAX;
	uuid7(h.id);
	e = db_write(q->pool, cx, reserve, &g);
	if (e == ERR_QUOTA || (!e && h.offline))
		metric_add(q->exceeded[g.over], 1);
	if (e == ERR_QUOTA)
		tell_refusal(&g);
	if (e)
		return e;
	if (h.offline)
		tell_offline(&g);
	for (enum quota_limit i = 0; i < QUOTA_LIMITS; i++)
		g.spent.of[i] += asks(&g, i);
	write_standing(q, cx->tier, &g.spent, g.now_ms, &h);
	*out = h;
	return OK;
}

/* --- settling ------------------------------------------------------------------------ */

static uint64_t capped(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) || sum > QUOTA_TOKENS_MAX
	               ? (uint64_t)QUOTA_TOKENS_MAX
	               : sum;
}

void quota_used(struct quota_hold *h, const char *provider, const char *model,
                uint64_t tokens_in, uint64_t tokens_out, uint64_t cost)
{
	struct quota_use *u = NULL;

	for (size_t i = 0; i < h->uses_n && !u; i++)
		if (strncmp(h->uses[i].provider, provider, QUOTA_MODEL_MAX) ==
		            0 &&
		    strncmp(h->uses[i].model, model, QUOTA_MODEL_MAX) == 0)
			u = &h->uses[i];
	if (!u && h->uses_n == QUOTA_USES)
		u = &h->uses[QUOTA_USES - 1];
	if (!u) {
		u = &h->uses[h->uses_n++];
		(void)snprintf(u->provider, sizeof(u->provider), "%s",
		               provider);
		(void)snprintf(u->model, sizeof(u->model), "%s", model);
	}
	u->calls = capped(u->calls, 1);
	u->tokens_in = capped(u->tokens_in, tokens_in);
	u->tokens_out = capped(u->tokens_out, tokens_out);
	u->cost = capped(u->cost, cost);
}

struct booking {
	struct quota *q;
	struct ctx *cx;
	struct quota_hold *h;
	int64_t now_ms, day; /* now, and of the hold */
	struct quota_spent spent;
	bool booked; /* false: it was settled already */
	bool failed; /* nothing was made: no request is counted */
	enum quota_level raised[QUOTA_PERIODS]; /* to it, just now */
};

static enum err book_use(struct db *db, const struct booking *b,
                         const struct quota_use *u, int64_t requests)
{
	char model[2 * QUOTA_MODEL_MAX + 2];

	(void)snprintf(model, sizeof(model), "%s/%s", u->provider, u->model);
	const struct db_val v[] = {
		DB_STR(b->cx->sub),
		DB_I64(b->day),
		DB_TEXT(b->h->route),
		DB_TEXT(model),
		DB_I64(requests),
		DB_I64((int64_t)u->calls),
		DB_I64((int64_t)u->tokens_in),
		DB_I64((int64_t)u->tokens_out),
		DB_I64((int64_t)u->cost),
		DB_I64(b->now_ms),
	};

	return db_run(db, STMT(USAGE_ADD), v, COUNTOF(v), NULL);
}

static enum err book_uses(struct db *db, const struct booking *b)
{
	static const struct quota_use none = {.provider = "offline"};
	enum err e = b->h->uses_n || b->failed ? OK : book_use(db, b, &none, 1);

	for (size_t i = 0; i < b->h->uses_n && !e; i++)
		e = book_use(db, b, &b->h->uses[i], i == 0 && !b->failed);
	return e;
}

struct told {
	int64_t since[QUOTA_PERIODS], level[QUOTA_PERIODS];
};

static enum err take_told(void *arg, const struct db_row *row)
{
	struct told *t = arg;

	for (int p = 0; p < QUOTA_PERIODS; p++) {
		t->since[p] = db_row_i64(row, 2 * p);
		t->level[p] = db_row_i64(row, 2 * p + 1);
	}
	return OK;
}

/* The worst level of each period; what is new in it is to be logged. */
static void compare(struct booking *b, struct told *t)
{
	int64_t today = clock_utc_day(b->now_ms);

	for (enum quota_period p = QUOTA_DAILY; p < QUOTA_PERIODS; p++) {
		int64_t start = quota_period_start(p, today);

		b->raised[p] = QUOTA_FINE;
		if (t->since[p] != start)
			t->level[p] = QUOTA_FINE;
		t->since[p] = start;
	}
	for (enum quota_limit i = 0; i < QUOTA_LIMITS; i++) {
		enum quota_period p = quota_rules[i].period;
		enum quota_level now =
			quota_level(b->spent.of[i],
		                    b->q->limits.of[b->cx->tier][i]);

		if ((int64_t)now <= t->level[p])
			continue;
		t->level[p] = now;
		b->raised[p] = now;
	}
}

static enum err remember_level(struct db *db, struct booking *b)
{
	const struct db_val who[] = {DB_STR(b->cx->sub)};
	struct told t = {0};
	const struct db_sink sink = {take_told, &t};
	enum err e = db_run(db, STMT(QUOTA_TOLD), who, 1, &sink);

	if (e)
		return e;
	compare(b, &t);
	const struct db_val v[] = {who[0], DB_I64(t.since[QUOTA_DAILY]),
	                           DB_I64(t.level[QUOTA_DAILY]),
	                           DB_I64(t.since[QUOTA_MONTHLY]),
	                           DB_I64(t.level[QUOTA_MONTHLY])};

	return db_run(db, STMT(QUOTA_TELL), v, COUNTOF(v), NULL);
}

static enum err take_day(void *arg, const struct db_row *row)
{
	struct booking *b = arg;

	b->day = db_row_i64(row, 0);
	b->booked = true;
	return OK;
}

/* In the order in which reserve() locks, so that the two do not deadlock. */
static enum err book(struct db *db, void *arg)
{
	struct booking *b = arg;
	const struct db_val touch[] = {DB_STR(b->cx->sub), DB_I64(b->now_ms)};
	const struct db_val end[] = {DB_TEXT(b->h->id), DB_STR(b->cx->sub)};
	const struct db_sink sink = {take_day, b};
	enum err e = OK;

	b->booked = false;
	if (b->q->erased)
		e = erased_check(b->q->erased, db, b->cx->sub);
	if (!e)
		e = db_run(db, STMT(QUOTA_TOUCH), touch, COUNTOF(touch), NULL);
	if (!e)
		e = db_run(db, STMT(QUOTA_END), end, COUNTOF(end), &sink);
	if (e || !b->booked)
		return e;
	e = book_uses(db, b);
	if (!e)
		e = quota_spent_of(db, b->cx->sub, b->now_ms, &b->spent);
	return e ? e : remember_level(db, b);
}

static void log_levels(const struct booking *b)
{
	for (enum quota_period p = QUOTA_DAILY; p < QUOTA_PERIODS; p++)
		if (b->raised[p] != QUOTA_FINE)
			log_warn(b->cx, "quota.warning",
			         LOG_STR("user", b->cx->sub),
			         LOG_TEXT("period", quota_period_name(p)),
			         LOG_TEXT("quota_level",
			                  quota_level_name(b->raised[p])));
}

/* With time of its own: what was spent is written down, however late. */
static enum err write_late(struct quota *q, struct ctx *cx, db_fn *fn,
                           void *arg)
{
	uint64_t deadline_ms = cx->deadline_ms, least = mono_ms() + SETTLE_MS;
	enum err e;

	if (cx->deadline_ms < least)
		cx->deadline_ms = least;
	e = db_write(q->pool, cx, fn, arg);
	cx->deadline_ms = deadline_ms;
	return e;
}

static enum err finish(struct quota *q, struct ctx *cx, struct quota_hold *h,
                       bool failed)
{
	struct booking b = {.q = q,
	                    .cx = cx,
	                    .h = h,
	                    .now_ms = q->now_ms(),
	                    .failed = failed};
	enum err e;

	if (!h->id[0])
		return OK;
	e = write_late(q, cx, book, &b);
	if (e ==
	    ERR_BAD_TOKEN) /* erased meanwhile: there is no one to charge */
		e = OK;
	else if (!e && b.booked) {
		write_standing(q, cx->tier, &b.spent, b.now_ms, h);
		log_levels(&b);
	}
	if (!e)
		h->id[0] = '\0';
	return e;
}

enum err quota_settle(struct quota *q, struct ctx *cx, struct quota_hold *h)
{
	return finish(q, cx, h, false);
}

void quota_drop(struct quota *q, struct ctx *cx, struct quota_hold *h)
{
	enum err e = finish(q, cx, h, true);

	if (e)
		log_warn(cx, "quota.not_dropped",
		         LOG_TEXT("error", err_name(e)));
	h->id[0] = '\0';
}

/* --- telling ---------------------------------------------------------------------------- */

static void add_header(struct ctx *cx, struct reply *out, struct str name,
                       const char *value)
{
	struct str kept = arena_str(cx->arena, str_from(value));

	if (!kept.p || out->headers_n == REPLY_HEADERS_MAX)
		return;
	out->headers[out->headers_n].name = name;
	out->headers[out->headers_n++].value = kept;
}

void quota_tell(const struct quota_hold *h, struct ctx *cx, struct reply *out)
{
	uint64_t tokens = 0;
	char text[24];

	for (size_t i = 0; i < h->uses_n; i++)
		tokens = capped(tokens, capped(h->uses[i].tokens_in,
		                               h->uses[i].tokens_out));
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)tokens);
	if (tokens)
		add_header(cx, out, TOKENS_NAME, text);
	if (h->standing[0])
		add_header(cx, out, STR("Quota-Warning"), h->standing);
}
