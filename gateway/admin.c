#include "gateway/admin.h"

#include "common/base/clock.h"
#include "common/codec/json.h"

#include <inttypes.h>
#include <math.h>

#define ALL (1U << PEER_AUTH | 1U << PEER_CONTENT | 1U << PEER_GDPR)

static const enum bus_peer services[] = {PEER_AUTH, PEER_CONTENT, PEER_GDPR};

/* --- asking ------------------------------------------------------------------- */

static void surveyed(void *arg)
{
	struct req *rq = arg;

	rq->err = own_find(rq->route->call)->run(rq);
	rq->step = STEP_REPLY;
	req_resume(rq);
}

enum err admin_ask(struct req *rq, unsigned peers, const char *op,
                   struct str body)
{
	const struct survey_ask ask = {.bus = rq->loop->bus,
	                               .cx = &rq->cx,
	                               .peers = peers,
	                               .op = op,
	                               .body = body,
	                               .done = surveyed,
	                               .arg = rq};

	return survey_start(&ask, &rq->survey);
}

enum err admin_ask_stats(struct req *rq)
{
	return admin_ask(rq, ALL, "service.stats", (struct str){0});
}

double admin_sum(const struct survey *s, enum survey_number n)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->replicas[i].asked && !s->replicas[i].err)
			sum += s->replicas[i].numbers[n];
	return sum;
}

bool admin_has_redis(const struct req *rq)
{
	for (size_t i = 0; i < COUNTOF(services); i++)
		if (monitor_view(rq->loop->site->monitor, services[i],
		                 rq->loop->now_ms)
		            .has_redis)
			return true;
	return false;
}

/* --- breakers ------------------------------------------------------------------- */

const char *admin_breaker_name(enum admin_breaker_state s)
{
	static const char *const names[] = {
		[ADMIN_CLOSED] = "closed",
		[ADMIN_OPEN] = "open",
		[ADMIN_HALF_OPEN] = "half_open",
	};

	return names[s];
}

void admin_breaker_of(const struct survey *s, enum bus_peer peer,
                      struct admin_breaker *out)
{
	struct admin_breaker b = {.state = ADMIN_OPEN};
	unsigned n = 0, up = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct bus_replica *r = &s->replicas[i].bus;

		if (r->peer != peer)
			continue;
		n++;
		up += r->state == BUS_UP;
		b.failures += (double)r->failed;
		b.successes += (double)r->replied;
	}
	if (up)
		b.state = up == n ? ADMIN_CLOSED : ADMIN_HALF_OPEN;
	*out = b;
}

static void count_redis(const struct survey *s, struct admin_breaker *out)
{
	out->failures = admin_sum(s, SURVEY_REMOTE_FAILURES);
	out->successes = admin_sum(s, SURVEY_REMOTE_HITS) +
	                 admin_sum(s, SURVEY_REMOTE_MISSES);
}

static void count_models(const struct survey *s, struct admin_breaker *out)
{
	out->failures = admin_sum(s, SURVEY_MODEL_FAILURES);
	out->successes = admin_sum(s, SURVEY_MODEL_SUCCESSES);
	for (size_t i = 0; i < s->n; i++)
		if (s->replicas[i].numbers[SURVEY_MODEL_FAILED_S] >
		    out->failed_s)
			out->failed_s =
				s->replicas[i].numbers[SURVEY_MODEL_FAILED_S];
}

static bool has_models(const struct req *rq)
{
	return monitor_view(rq->loop->site->monitor, PEER_CONTENT,
	                    rq->loop->now_ms)
	        .has_llm;
}

static const struct admin_backend backends[] = {
	{"redis", ALL, "breaker.reset", SURVEY_REMOTE_BREAKER, admin_has_redis,
         count_redis},
	{"google_ai", 1U << PEER_CONTENT, "llm.reset", SURVEY_MODEL_BREAKER,
         has_models, count_models},
};

const struct admin_backend *admin_backend_next(const struct req *rq, size_t *i)
{
	while (*i < COUNTOF(backends)) {
		const struct admin_backend *b = &backends[(*i)++];

		if (b->is_there(rq))
			return b;
	}
	return NULL;
}

const struct admin_backend *admin_backend_from(const struct req *rq,
                                               struct str name)
{
	for (size_t i = 0; i < COUNTOF(backends); i++)
		if (str_eq(name, str_from(backends[i].name)))
			return backends[i].is_there(rq) ? &backends[i] : NULL;
	return NULL;
}

/* The worst of the replicas. */
void admin_breaker_before(const struct survey *s,
                          const struct admin_backend *of,
                          struct admin_breaker *out)
{
	struct admin_breaker b = {.state = ADMIN_CLOSED};

	of->count(s, &b);
	for (size_t i = 0; i < s->n; i++) {
		double state = s->replicas[i].numbers[of->state];

		/* As figures.def has it: 1 open, 2 half open. */
		if (state == 1)
			b.state = ADMIN_OPEN;
		else if (state == 2 && b.state == ADMIN_CLOSED)
			b.state = ADMIN_HALF_OPEN;
	}
	*out = b;
}

/* --- pieces of JSON ---------------------------------------------------------------- */

static void number(struct buf *out, const char *name, double v)
{
	buf_printf(out, ",\"%s\":", name);
	if (v == trunc(v) && fabs(v) < 0x1p53)
		buf_printf(out, "%.0f", v);
	else
		json_add_f64(out, v);
}

static void time_now(struct buf *out)
{
	char iso[CLOCK_ISO_MAX];

	buf_printf(out, "\"timestamp\":\"%s\"", clock_iso(wall_ms(), iso).p);
}

static double part(double of, double all)
{
	return all > 0 ? of / all : 0;
}

struct cache_sums {
	double hits, misses, asked;
};

/* A hit is what needed no loader, in whichever tier it was. */
static struct cache_sums cache_sums(const struct survey *s)
{
	double remote = admin_sum(s, SURVEY_REMOTE_HITS);
	struct cache_sums c = {
		.hits = admin_sum(s, SURVEY_CACHE_HITS) +
	                admin_sum(s, SURVEY_CACHE_NEGATIVE) + remote,
		.misses = admin_sum(s, SURVEY_CACHE_MISSES) - remote};

	c.misses = c.misses > 0 ? c.misses : 0;
	c.asked = c.hits + c.misses;
	return c;
}

static void put_cache(struct req *rq, struct buf *out)
{
	const struct survey *s = rq->survey;
	struct cache_sums c = cache_sums(s);
	double gets = admin_sum(s, SURVEY_REMOTE_HITS) +
	              admin_sum(s, SURVEY_REMOTE_MISSES);

	buf_printf(out, "{\"type\":\"%s\",\"version\":\"v1.0\"",
	           admin_has_redis(rq) ? "redis" : "memory");
	number(out, "hits", c.hits);
	number(out, "misses", c.misses);
	number(out, "hit_rate_percent", 100 * part(c.hits, c.asked));
	number(out, "total_requests", c.asked);
	number(out, "sets", admin_sum(s, SURVEY_CACHE_SETS));
	number(out, "deletes", admin_sum(s, SURVEY_CACHE_DELETES));
	number(out, "invalidations", admin_sum(s, SURVEY_CACHE_INVALIDATIONS));
	number(out, "avg_latency_ms",
	       1e3 * part(admin_sum(s, SURVEY_REMOTE_GET_S), gets));
	number(out, "keys", admin_sum(s, SURVEY_CACHE_ITEMS));
	number(out, "size_bytes", admin_sum(s, SURVEY_CACHE_BYTES));
	number(out, "max_size", admin_sum(s, SURVEY_CACHE_MAX_BYTES));
	number(out, "evictions", admin_sum(s, SURVEY_CACHE_EVICTIONS));
	/* Entries go when they are met or room is needed: there is none. */
	buf_str(out, STR(",\"cleanup_thread_alive\":null}"));
}

static void put_breakers(struct req *rq, struct buf *out)
{
	const struct admin_backend *backend;
	struct admin_breaker b;
	size_t next = 0;

	buf_str(out, STR(",\"circuit_breakers\":{"));
	for (size_t i = 0; i < COUNTOF(services); i++) {
		admin_breaker_of(rq->survey, services[i], &b);
		buf_printf(out, "%s\"%s\":\"%s\"", i ? "," : "",
		           bus_peer_name(services[i]),
		           admin_breaker_name(b.state));
	}
	while ((backend = admin_backend_next(rq, &next)) != NULL) {
		admin_breaker_before(rq->survey, backend, &b);
		buf_printf(out, ",\"%s\":\"%s\"", backend->name,
		           admin_breaker_name(b.state));
	}
	buf_char(out, '}');
}

static void put_replica(struct buf *out, const struct survey_replica *r)
{
	static const struct {
		const char *name;
		enum survey_number n;
	} rows[] = {
		{"db_pool_size", SURVEY_DB_SIZE},
		{"db_connections_in_use", SURVEY_DB_IN_USE},
		{"db_pool_overflow", SURVEY_DB_OVERFLOW},
		{"db_pool_waiters", SURVEY_DB_WAITERS},
		{"lane_db_busy", SURVEY_LANE_DB_BUSY},
		{"lane_db_queued", SURVEY_LANE_DB_QUEUED},
		{"lane_slow_busy", SURVEY_LANE_SLOW_BUSY},
		{"lane_slow_queued", SURVEY_LANE_SLOW_QUEUED},
		{"cache_items", SURVEY_CACHE_ITEMS},
		{"cache_bytes", SURVEY_CACHE_BYTES},
		{"outbox_backlog", SURVEY_OUTBOX_BACKLOG},
		{"outbox_oldest_age_s", SURVEY_OUTBOX_AGE_S},
	};
	static const char *const states[] = {[BUS_DOWN] = "down",
	                                     [BUS_UP] = "up",
	                                     [BUS_SUSPECT] = "suspect"};
	bool answered = r->asked && !r->err;

	buf_str(out, STR("{\"address\":"));
	json_add_str(out, str_from(r->bus.url));
	buf_printf(out, ",\"state\":\"%s\",\"answered\":%s",
	           states[r->bus.state], answered ? "true" : "false");
	number(out, "in_flight", r->bus.in_flight);
	number(out, "sent", (double)r->bus.sent);
	number(out, "replied", (double)r->bus.replied);
	number(out, "failed", (double)r->bus.failed);
	number(out, "moved", (double)r->bus.moved);
	number(out, "latency_ms", r->bus.latency_ms);
	for (size_t i = 0; answered && i < COUNTOF(rows); i++)
		number(out, rows[i].name, r->numbers[rows[i].n]);
	buf_char(out, '}');
}

static void put_services(const struct survey *s, struct buf *out)
{
	buf_str(out, STR(",\"services\":{"));
	for (size_t p = 0; p < COUNTOF(services); p++) {
		const char *comma = "";

		buf_printf(out, "%s\"%s\":[", p ? "," : "",
		           bus_peer_name(services[p]));
		for (size_t i = 0; i < s->n; i++) {
			if (s->replicas[i].bus.peer != services[p])
				continue;
			buf_str(out, str_from(comma));
			put_replica(out, &s->replicas[i]);
			comma = ",";
		}
		buf_char(out, ']');
	}
	buf_char(out, '}');
}

static void put_path(struct buf *out, const char *name,
                     const struct meter_path *p, bool first)
{
	if (!first)
		buf_char(out, ',');
	json_add_str(out, str_from(name));
	buf_printf(out, ":{\"calls\":%" PRIu64, p->calls);
	number(out, "avg_ms", p->avg_ms);
	number(out, "p50_ms", p->p50_ms);
	number(out, "p95_ms", p->p95_ms);
	number(out, "p99_ms", p->p99_ms);
	number(out, "min_ms", p->min_ms);
	number(out, "max_ms", p->max_ms);
	buf_char(out, '}');
}

/* Rows of one path are told as one. */
static bool told_before(size_t row)
{
	for (size_t i = 0; i < row; i++)
		if (strcmp(routes[i].path, routes[row].path) == 0)
			return true;
	return false;
}

static void put_endpoints(struct meter *m, struct buf *out)
{
	struct meter_path p;
	bool first = true;

	buf_str(out, STR(",\"endpoints\":{"));
	for (size_t i = 0; i < routes_n; i++) {
		if (told_before(i))
			continue;
		meter_path(m, routes[i].path, &p);
		if (p.calls == 0)
			continue;
		put_path(out, routes[i].path, &p, first);
		first = false;
	}
	meter_path(m, NULL, &p);
	if (p.calls)
		put_path(out, "unmatched", &p, first);
	buf_char(out, '}');
}

static void put_status(void *arg, unsigned status, uint64_t n)
{
	struct buf *out = arg;
	char name[12] = "other";

	if (status)
		(void)snprintf(name, sizeof(name), "%u", status);
	buf_printf(out, "%s\"%s\":%" PRIu64,
	           out->p[out->n - 1] == '{' ? "" : ",", name, n);
}

static void put_uptime(const struct req *rq, struct buf *out)
{
	uint64_t s =
		(rq->loop->now_ms - rq->loop->site->started_mono_ms) / 1000;

	buf_printf(out,
	           ",\"uptime_formatted\":\"%" PRIu64 ":%02u:%02u\""
	           ",\"uptime_seconds\":%" PRIu64,
	           s / 3600, (unsigned)(s / 60 % 60), (unsigned)(s % 60), s);
}

static void put_sums(const struct req *rq, struct buf *out)
{
	struct meter_sums m;

	meter_sums(rq->loop->site->meter, &m);
	put_uptime(rq, out);
	number(out, "total_requests", (double)m.requests);
	number(out, "requests_per_second", m.per_s);
	number(out, "error_count", (double)m.errors);
	number(out, "error_rate_percent",
	       100 * part((double)m.errors, (double)m.requests));
	number(out, "concurrent_users", m.in_progress);
}

/* --- /api/metrics and /api/stats ------------------------------------------------------ */

enum err admin_metrics(struct req *rq)
{
	struct meter *m = rq->loop->site->meter;
	struct buf *out = &rq->out;

	buf_char(out, '{');
	time_now(out);
	buf_str(out, STR(",\"cache\":"));
	put_cache(rq, out);
	put_breakers(rq, out);
	buf_printf(out,
	           ",\"config\":{\"max_subtopics\":20,\"max_file_size_mb\":10,"
	           "\"allowed_extensions\":[\"png\",\"jpg\",\"jpeg\",\"gif\","
	           "\"webp\"],\"environment\":\"%s\",\"redis_enabled\":%s,"
	           "\"circuit_breaker_enabled\":true}",
	           env_name(rq->loop->site->conf->env),
	           admin_has_redis(rq) ? "true" : "false");
	put_sums(rq, out);
	put_endpoints(m, out);
	buf_str(out, STR(",\"status_codes\":{"));
	if (!out->failed)
		meter_statuses(m, put_status, out);
	buf_char(out, '}');
	put_services(rq->survey, out);
	buf_str(out, STR(",\"detailed_metrics\":{\"note\":\"of this gateway, "
	                 "since its start; errors are answers of 500 and "
	                 "above, concurrent users are requests being "
	                 "answered\""));
	put_sums(rq, out);
	buf_str(out, STR("}}"));
	return out->failed ? ERR_NOMEM : OK;
}

enum err admin_stats(struct req *rq)
{
	struct cache_sums c = cache_sums(rq->survey);
	const struct survey *s = rq->survey;
	struct buf *out = &rq->out;
	struct meter_sums m;

	meter_sums(rq->loop->site->meter, &m);
	buf_char(out, '{');
	time_now(out);
	buf_str(out, STR(",\"cache\":{\"version\":\"v1.0\",\"l1\":{\"type\":"
	                 "\"memory\""));
	number(out, "size", admin_sum(s, SURVEY_CACHE_ITEMS));
	number(out, "size_bytes", admin_sum(s, SURVEY_CACHE_BYTES));
	number(out, "max_size", admin_sum(s, SURVEY_CACHE_MAX_BYTES));
	number(out, "hits", admin_sum(s, SURVEY_CACHE_HITS));
	number(out, "evictions", admin_sum(s, SURVEY_CACHE_EVICTIONS));
	buf_str(out, STR("},\"l2\":"));
	put_cache(rq, out);
	buf_str(out, STR(",\"overall\":{\"warming_runs\":0"));
	number(out, "total_requests", c.asked);
	number(out, "hit_rate", part(c.hits, c.asked));
	number(out, "misses", c.misses);
	buf_str(out, STR("}},\"requests\":{\"window\":\"of this gateway\""));
	number(out, "requests_per_minute", m.per_s * 60);
	number(out, "requests_per_hour", m.last_hour);
	buf_str(out, STR("},\"system\":{\"gateway\":"));
	json_add_str(out, str_from(rq->loop->site->instance));
	number(out, "requests_in_progress", m.in_progress);
	number(out, "errors_5min", m.errors_5min);
	buf_str(out, STR("}}"));
	return out->failed ? ERR_NOMEM : OK;
}
