#include "gateway/status.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "gateway/page.h"
#include "gateway/replicas.h"
#include "gateway/survey.h"

#include <inttypes.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 20)
#define OLD_MS    5000 /* then the page says how old its figures are */
#define MEBI      (1024.0 * 1024.0)

struct status {
	struct gateway *g;
	struct bus_client *bus;
	_Atomic uint64_t looked_ms; /* when the page was asked for; 0: never */
	/* The loop's. */
	struct arena *arena;
	struct ctx cx;
	struct survey *survey; /* NULL: none was begun */
	uint64_t asked_ms;
	_Atomic uint64_t taken_ms; /* 0: no figures yet */
	pthread_mutex_t lock;      /* of what follows */
	size_t n;
	struct survey_replica rows[SURVEY_MAX];
};

/* --- asking ---------------------------------------------------------------- */

static void take(void *arg)
{
	struct status *st = arg;
	GUARD(&st->lock);

	st->n = st->survey->n;
	memcpy(st->rows, st->survey->replicas, st->n * sizeof(st->rows[0]));
	atomic_store(&st->taken_ms, mono_ms());
}

void status_turn(struct status *st, uint64_t now_ms)
{
	const struct survey_ask ask = {.bus = st->bus,
	                               .cx = &st->cx,
	                               .peers = 1U << PEER_AUTH |
	                                        1U << PEER_CONTENT |
	                                        1U << PEER_GDPR,
	                               .op = "service.stats",
	                               .done = take,
	                               .arg = st};
	uint64_t looked_ms = atomic_load(&st->looked_ms);

	if (looked_ms == 0 || now_ms > looked_ms + STATUS_LOOKED_MS ||
	    now_ms < st->asked_ms + STATUS_EVERY_MS ||
	    (st->survey && st->survey->open))
		return;
	st->asked_ms = now_ms;
	st->survey = NULL;
	arena_reset(st->arena);
	st->cx.deadline_ms = now_ms + SURVEY_MS;
	if (survey_start(&ask, &st->survey) == OK && st->survey->open == 0)
		take(st); /* nobody is there */
}

struct status *status_new(struct gateway *g, struct bus_client *bus)
{
	AUTO(status) st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	(void)pthread_mutex_init(&st->lock, NULL);
	st->g = g;
	st->bus = bus;
	st->arena = arena_new(ARENA_MAX);
	st->cx = (struct ctx){.service = "gateway",
	                      .arena = st->arena,
	                      .rid = STR("status"),
	                      .role = ROLE_ADMIN};
	return st->arena ? STEAL(st) : NULL;
}

void status_free(struct status *st)
{
	if (!st)
		return;
	survey_stop(st->survey);
	arena_free(st->arena);
	(void)pthread_mutex_destroy(&st->lock);
	free(st);
}

/* --- cells ------------------------------------------------------------------- */

static const char style[] =
	":root{color-scheme:light dark;--line:#8884;--ok:#17803d;--warn:#b45309;"
	"--bad:#c81e1e}"
	"@media(prefers-color-scheme:dark){:root{--ok:#4ade80;--warn:#fbbf24;"
	"--bad:#f87171}}"
	"body{font:14px/1.4 system-ui,sans-serif;margin:1.5rem auto;"
	"max-width:84rem;padding:0 1rem}"
	"h1{font-size:1.3rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}"
	"table{border-collapse:collapse;width:100%}"
	"th,td{text-align:right;padding:.3rem .5rem;white-space:nowrap;"
	"border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}"
	"th{font-weight:600;opacity:.7}"
	"th:first-child,td:first-child{text-align:left;white-space:normal;"
	"overflow-wrap:anywhere;min-width:9rem}"
	"div{overflow-x:auto}"
	".ok{color:var(--ok)}.warn{color:var(--warn)}.bad{color:var(--bad)}"
	".ok,.warn,.bad{font-weight:600}p{opacity:.8}";

enum tone { OK_TONE, WARN_TONE, BAD_TONE };

static void mark(struct buf *out, enum tone t, const char *text)
{
	static const char *const classes[] = {"ok", "warn", "bad"};

	buf_printf(out, "<span class=\"%s\">%s</span>", classes[t], text);
}

/* A replica: what the loops see of it, and its figures; NULL: it has told none. */
struct row {
	const struct replica_seen *seen;
	const struct survey_replica *told;
};

static double of(const struct row *r, enum survey_number n)
{
	return r->told->numbers[n];
}

static void cell_state(struct buf *out, const struct row *r)
{
	static const enum tone tones[] = {[BUS_DOWN] = BAD_TONE,
	                                  [BUS_UP] = OK_TONE,
	                                  [BUS_SUSPECT] = WARN_TONE};

	mark(out, tones[r->seen->state], replica_state_name(r->seen->state));
}

static void cell_answered(struct buf *out, const struct row *r)
{
	buf_printf(out, "%" PRIu64, r->seen->replied);
	if (r->seen->failed)
		buf_printf(out, " <span class=\"warn\">%" PRIu64 " lost</span>",
		           r->seen->failed);
}

static void cell_in_flight(struct buf *out, const struct row *r)
{
	buf_printf(out, "%u", r->seen->in_flight);
}

static void cell_pool(struct buf *out, const struct row *r)
{
	double waits = of(r, SURVEY_DB_WAITERS);

	buf_printf(out, "%.0f of %.0f", of(r, SURVEY_DB_IN_USE),
	           of(r, SURVEY_DB_SIZE) + of(r, SURVEY_DB_OVERFLOW));
	if (waits > 0)
		buf_printf(out, " <span class=\"warn\">%.0f wait</span>",
		           waits);
}

static void cell_lanes(struct buf *out, const struct row *r)
{
	buf_printf(out, "%.0f busy, %.0f wait",
	           of(r, SURVEY_LANE_DB_BUSY) + of(r, SURVEY_LANE_SLOW_BUSY),
	           of(r, SURVEY_LANE_DB_QUEUED) +
	                   of(r, SURVEY_LANE_SLOW_QUEUED));
}

static void cell_cache(struct buf *out, const struct row *r)
{
	double hits = of(r, SURVEY_CACHE_HITS) + of(r, SURVEY_CACHE_NEGATIVE);
	double all = hits + of(r, SURVEY_CACHE_MISSES);

	if (of(r, SURVEY_CACHE_MAX_BYTES) <= 0) {
		buf_str(out, STR("none"));
		return;
	}
	buf_printf(out, "%.0f in %.1f of %.0f MiB", of(r, SURVEY_CACHE_ITEMS),
	           of(r, SURVEY_CACHE_BYTES) / MEBI,
	           of(r, SURVEY_CACHE_MAX_BYTES) / MEBI);
	if (all > 0)
		buf_printf(out, ", %.0f %% hits", 100 * hits / all);
}

/* A breaker, as circuit_breaker_state has it. */
static void breaker(struct buf *out, double state)
{
	if (state <= 0)
		mark(out, OK_TONE, "closed");
	else
		mark(out, state < 2 ? BAD_TONE : WARN_TONE,
		     state < 2 ? "open" : "half open");
}

static void cell_redis(struct buf *out, const struct row *r)
{
	if (of(r, SURVEY_REMOTE_STATE) > 0 || of(r, SURVEY_REMOTE_FAILURES) > 0)
		breaker(out, of(r, SURVEY_REMOTE_BREAKER));
	else
		buf_str(out, STR("none"));
}

/* Nothing was ever asked where there is none to ask. */
static void cell_models(struct buf *out, const struct row *r)
{
	if (of(r, SURVEY_MODEL_SUCCESSES) + of(r, SURVEY_MODEL_FAILURES) > 0)
		breaker(out, of(r, SURVEY_MODEL_BREAKER));
	else
		buf_str(out, STR("none"));
}

static void cell_outbox(struct buf *out, const struct row *r)
{
	double n = of(r, SURVEY_OUTBOX_BACKLOG);

	if (n > 0)
		buf_printf(out, "%.0f, oldest %.0f s", n,
		           of(r, SURVEY_OUTBOX_AGE_S));
	else
		buf_str(out, STR("empty"));
}

static const struct column {
	const char *title;
	bool seen; /* known without its answer */
	void (*cell)(struct buf *out, const struct row *r);
} columns[] = {
	{"State", true, cell_state},
	{"Answered", true, cell_answered},
	{"In flight", true, cell_in_flight},
	{"Database pool", false, cell_pool},
	{"Threads", false, cell_lanes},
	{"Cache", false, cell_cache},
	{"Redis", false, cell_redis},
	{"Models", false, cell_models},
	{"Outbox", false, cell_outbox},
};

/* --- the page ------------------------------------------------------------------ */

static const struct survey_replica *told_by(const struct status *st,
                                            enum bus_peer peer, const char *url)
{
	for (size_t i = 0; i < st->n; i++) {
		const struct survey_replica *r = &st->rows[i];

		if (r->bus.peer == peer && strcmp(r->bus.url, url) == 0)
			return r->asked && !r->err ? r : NULL;
	}
	return NULL;
}

static void put_row(const struct row *r, struct buf *out)
{
	buf_str(out, STR("<tr><td>"));
	page_text(out, str_from(r->seen->url));
	for (size_t i = 0; i < COUNTOF(columns); i++) {
		buf_str(out, STR("</td><td>"));
		if (columns[i].seen || r->told)
			columns[i].cell(out, r);
		else
			buf_str(out, STR("?"));
	}
	buf_str(out, STR("</td></tr>\n"));
}

static void put_title(enum bus_peer peer, const struct replicas *l,
                      struct buf *out)
{
	size_t up = 0;

	for (size_t i = 0; i < l->n; i++)
		up += l->at[i].state == BUS_UP;
	buf_printf(out, "<h2>%s: ", bus_peer_name(peer));
	if (up == l->n && up > 0)
		mark(out, OK_TONE, "up");
	else
		mark(out, up ? WARN_TONE : BAD_TONE, up ? "in part" : "down");
	buf_printf(out, ", %zu of %zu replicas</h2>\n", up, l->n);
}

static void put_service(struct status *st, enum bus_peer peer, struct buf *out)
{
	struct replicas l;

	replicas_of(st->g, peer, &l);
	put_title(peer, &l, out);
	buf_str(out, STR("<div><table><tr><th>Replica</th>"));
	for (size_t i = 0; i < COUNTOF(columns); i++)
		buf_printf(out, "<th>%s</th>", columns[i].title);
	buf_str(out, STR("</tr>\n"));
	for (size_t i = 0; i < l.n; i++) {
		const struct row r = {&l.at[i], told_by(st, peer, l.at[i].url)};

		put_row(&r, out);
	}
	buf_str(out, STR("</table></div>\n"));
}

static void put_services(struct status *st, struct buf *out)
{
	GUARD(&st->lock);

	for (enum bus_peer p = PEER_AUTH; p < PEER_COUNT; p++)
		put_service(st, p, out);
}

static void put_gateway(struct gateway *g, struct buf *out)
{
	struct work w = work_of(g);

	buf_str(out, STR("<h2>gateway: "));
	if (gateway_ready(g))
		mark(out, OK_TONE, "ready");
	else
		mark(out, BAD_TONE, "waits for svc-auth");
	buf_str(out, STR("</h2>\n<p>Version " KAE_VERSION ", "));
	page_text(out, str_from(g->site.instance));
	buf_printf(out,
	           ", up %" PRIu64 " s, %zu event loops, %u connections, "
	           "%u requests in work.</p>\n",
	           (mono_ms() - g->site.started_mono_ms) / 1000, g->loops_n,
	           w.conns, w.requests);
}

void status_page(void *status, struct buf *out)
{
	struct status *st = status;
	uint64_t now_ms = mono_ms(), taken_ms = atomic_load(&st->taken_ms);

	atomic_store(&st->looked_ms, now_ms);
	buf_printf(out,
	           "<!doctype html>\n<html lang=\"en\"><head><meta "
	           "charset=\"utf-8\"><meta name=\"viewport\" "
	           "content=\"width=device-width\"><meta "
	           "http-equiv=\"refresh\" content=\"%d\"><title>KnowAllEdge: "
	           "status</title><style>%s</style></head>\n<body><h1>"
	           "KnowAllEdge: status</h1>\n",
	           taken_ms ? 2 : 1, style);
	put_gateway(st->g, out);
	if (taken_ms == 0)
		buf_str(out, STR("<p>The services are being asked.</p>\n"));
	else if (now_ms > taken_ms + OLD_MS)
		buf_printf(out, "<p>As of %" PRIu64 " s ago.</p>\n",
		           (now_ms - taken_ms) / 1000);
	if (taken_ms)
		put_services(st, out);
	buf_str(out, STR("</body></html>\n"));
}
