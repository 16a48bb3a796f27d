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
#define LATE_S    60   /* an event that waits for longer: as KaeOutboxOld */
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

/* The same columns in every service's table; on a phone a row is a list. */
static const char style[] =
	":root{color-scheme:light dark;--line:#8884;--ok:#17803d;--warn:#b45309;"
	"--bad:#c81e1e}"
	"@media(prefers-color-scheme:dark){:root{--ok:#4ade80;--warn:#fbbf24;"
	"--bad:#f87171}}"
	"body{font:14px/1.4 system-ui,sans-serif;margin:1.5rem auto;"
	"max-width:84rem;padding:0 1rem}"
	"h1{font-size:1.3rem;border-left:.5rem solid;padding-left:.6rem}"
	"h2{font-size:1.05rem;margin:1.6rem 0 .4rem}"
	"table{border-collapse:collapse;table-layout:fixed;width:100%;"
	"min-width:60rem}"
	"th,td{text-align:right;vertical-align:top;padding:.3rem .5rem;"
	"width:8%;border-bottom:1px solid var(--line);"
	"font-variant-numeric:tabular-nums}"
	"th{font-weight:600;opacity:.7;vertical-align:bottom}"
	"th:first-child,td:first-child{text-align:left;width:20%;"
	"overflow-wrap:anywhere}"
	"th:nth-child(6){width:9%}th:nth-child(7){width:17%}"
	"th:nth-child(8),th:nth-child(9){width:6%}"
	"tr:has(.bad){background:color-mix(in srgb,var(--bad) 12%,transparent)}"
	"tr:has(.warn){background:color-mix(in srgb,var(--warn) "
	"12%,transparent)}"
	"div{overflow-x:auto}"
	".ok{color:var(--ok)}.warn{color:var(--warn)}.bad{color:var(--bad)}"
	".ok,.warn,.bad{font-weight:600}p{opacity:.8}"
	"@media(max-width:44rem){table{min-width:0}"
	"table,tbody,tr,td{display:block;width:auto!important}"
	"tr:first-child{display:none}td{border:0;padding:.1rem .5rem}"
	"tr{border-bottom:1px solid var(--line);padding:.3rem 0}"
	"td::before{content:attr(data-of);float:left;opacity:.7;"
	"padding-right:1rem}td:first-child::before{content:none}}";

enum tone { OK_TONE, WARN_TONE, BAD_TONE, TONES };

static const char *const classes[TONES] = {"ok", "warn", "bad"};

static enum tone mark(struct buf *out, enum tone t, const char *text)
{
	buf_printf(out, "<span class=\"%s\">%s</span>", classes[t], text);
	return t;
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

static enum tone cell_state(struct buf *out, const struct row *r)
{
	static const enum tone tones[] = {[BUS_DOWN] = BAD_TONE,
	                                  [BUS_UP] = OK_TONE,
	                                  [BUS_SUSPECT] = WARN_TONE};

	return mark(out, tones[r->seen->state],
	            replica_state_name(r->seen->state));
}

/* What was lost is past: it calls for nobody. */
static enum tone cell_answered(struct buf *out, const struct row *r)
{
	buf_printf(out, "%" PRIu64, r->seen->replied);
	if (r->seen->failed)
		buf_printf(out, ", %" PRIu64 " lost", r->seen->failed);
	return OK_TONE;
}

static enum tone cell_in_flight(struct buf *out, const struct row *r)
{
	buf_printf(out, "%u", r->seen->in_flight);
	return OK_TONE;
}

static enum tone cell_pool(struct buf *out, const struct row *r)
{
	double waits = of(r, SURVEY_DB_WAITERS);

	buf_printf(out, "%.0f of %.0f", of(r, SURVEY_DB_IN_USE),
	           of(r, SURVEY_DB_SIZE) + of(r, SURVEY_DB_OVERFLOW));
	if (waits <= 0)
		return OK_TONE;
	buf_printf(out, " <span class=\"warn\">%.0f wait</span>", waits);
	return WARN_TONE;
}

static enum tone cell_lanes(struct buf *out, const struct row *r)
{
	buf_printf(out, "%.0f busy, %.0f wait",
	           of(r, SURVEY_LANE_DB_BUSY) + of(r, SURVEY_LANE_SLOW_BUSY),
	           of(r, SURVEY_LANE_DB_QUEUED) +
	                   of(r, SURVEY_LANE_SLOW_QUEUED));
	return OK_TONE;
}

static enum tone cell_cache(struct buf *out, const struct row *r)
{
	double hits = of(r, SURVEY_CACHE_HITS) + of(r, SURVEY_CACHE_NEGATIVE);
	double all = hits + of(r, SURVEY_CACHE_MISSES);

	if (of(r, SURVEY_CACHE_MAX_BYTES) <= 0) {
		buf_str(out, STR("none"));
		return OK_TONE;
	}
	buf_printf(out, "%.0f in %.1f of %.0f MiB", of(r, SURVEY_CACHE_ITEMS),
	           of(r, SURVEY_CACHE_BYTES) / MEBI,
	           of(r, SURVEY_CACHE_MAX_BYTES) / MEBI);
	if (all > 0)
		buf_printf(out, ", %.0f %% hits", 100 * hits / all);
	return OK_TONE;
}

/* A breaker, as circuit_breaker_state has it. */
static enum tone breaker(struct buf *out, double state)
{
	if (state <= 0)
		return mark(out, OK_TONE, "closed");
	return mark(out, state < 2 ? BAD_TONE : WARN_TONE,
	            state < 2 ? "open" : "half open");
}

static enum tone cell_redis(struct buf *out, const struct row *r)
{
	if (of(r, SURVEY_REMOTE_STATE) > 0 || of(r, SURVEY_REMOTE_FAILURES) > 0)
		return breaker(out, of(r, SURVEY_REMOTE_BREAKER));
	buf_str(out, STR("none"));
	return OK_TONE;
}

/* Nothing was ever asked where there is none to ask. */
static enum tone cell_models(struct buf *out, const struct row *r)
{
	if (of(r, SURVEY_MODEL_SUCCESSES) + of(r, SURVEY_MODEL_FAILURES) > 0)
		return breaker(out, of(r, SURVEY_MODEL_BREAKER));
	buf_str(out, STR("none"));
	return OK_TONE;
}

static enum tone cell_outbox(struct buf *out, const struct row *r)
{
	double n = of(r, SURVEY_OUTBOX_BACKLOG);
	enum tone t = of(r, SURVEY_OUTBOX_AGE_S) > LATE_S ? WARN_TONE : OK_TONE;

	if (n <= 0) {
		buf_str(out, STR("empty"));
		return OK_TONE;
	}
	buf_printf(out, "%.0f, <span%s>oldest %.0f s</span>", n,
	           t == OK_TONE ? "" : " class=\"warn\"",
	           of(r, SURVEY_OUTBOX_AGE_S));
	return t;
}

static const struct column {
	const char *title;
	const char *trouble; /* in the first line, when the cell is not well */
	bool seen;           /* known without its answer */
	enum tone (*cell)(struct buf *out, const struct row *r);
} columns[] = {
	{"State", NULL, true, cell_state}, /* the service's title has it */
	{"Answered", NULL, true, cell_answered},
	{"In flight", NULL, true, cell_in_flight},
	{"Database pool", "waits for its database", false, cell_pool},
	{"Threads", NULL, false, cell_lanes},
	{"Cache", NULL, false, cell_cache},
	{"Redis", "does without Redis", false, cell_redis},
	{"Models", "does without a model", false, cell_models},
	{"Outbox", "has old events", false, cell_outbox},
};

/* --- the page ------------------------------------------------------------------ */

/* What is made of it: the body, and the first line, which is known last. */
struct sheet {
	struct buf body, trouble; /* trouble: empty when all is well */
	enum tone worst;
};

static void sheet_fini(struct sheet *sh)
{
	buf_fini(&sh->body);
	buf_fini(&sh->trouble);
}

static void add_trouble(struct sheet *sh, enum tone t, const char *who,
                        const char *text)
{
	if (sh->trouble.n)
		buf_str(&sh->trouble, STR("; "));
	buf_printf(&sh->trouble, "%s %s", who, text);
	sh->worst = t > sh->worst ? t : sh->worst;
}

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

/* tones: of each column, the worst of the service's replicas. */
static void put_row(const struct row *r, enum tone *tones, struct buf *out)
{
	buf_str(out, STR("<tr><td>"));
	page_text(out, str_from(r->seen->url));
	for (size_t i = 0; i < COUNTOF(columns); i++) {
		enum tone t = OK_TONE;

		buf_printf(out, "</td><td data-of=\"%s\">", columns[i].title);
		if (columns[i].seen || r->told)
			t = columns[i].cell(out, r);
		else
			buf_str(out, STR("?"));
		tones[i] = t > tones[i] ? t : tones[i];
	}
	buf_str(out, STR("</td></tr>\n"));
}

static void put_title(enum bus_peer peer, const struct replicas *l,
                      struct sheet *sh)
{
	enum tone t;
	const char *text;
	size_t up = 0;

	for (size_t i = 0; i < l->n; i++)
		up += l->at[i].state == BUS_UP;
	t = up == 0 ? BAD_TONE : up < l->n ? WARN_TONE : OK_TONE;
	text = up == 0 ? "down" : up < l->n ? "in part" : "up";
	buf_printf(&sh->body, "<h2>%s: ", bus_peer_name(peer));
	(void)mark(&sh->body, t, text);
	buf_printf(&sh->body, ", %zu of %zu replica%s</h2>\n", up, l->n,
	           l->n == 1 ? "" : "s");
	if (t != OK_TONE)
		add_trouble(sh, t, bus_peer_name(peer),
		            up ? "is up only in part" : "is down");
}

static void put_service(struct status *st, enum bus_peer peer, struct sheet *sh)
{
	enum tone tones[COUNTOF(columns)] = {OK_TONE};
	struct replicas l;

	replicas_of(st->g, peer, &l);
	put_title(peer, &l, sh);
	buf_str(&sh->body, STR("<div><table><tr><th>Replica</th>"));
	for (size_t i = 0; i < COUNTOF(columns); i++)
		buf_printf(&sh->body, "<th>%s</th>", columns[i].title);
	buf_str(&sh->body, STR("</tr>\n"));
	for (size_t i = 0; i < l.n; i++) {
		const struct row r = {&l.at[i], told_by(st, peer, l.at[i].url)};

		put_row(&r, tones, &sh->body);
	}
	buf_str(&sh->body, STR("</table></div>\n"));
	for (size_t i = 0; i < COUNTOF(columns); i++)
		if (tones[i] != OK_TONE && columns[i].trouble)
			add_trouble(sh, tones[i], bus_peer_name(peer),
			            columns[i].trouble);
}

static void put_services(struct status *st, struct sheet *sh)
{
	GUARD(&st->lock);

	for (enum bus_peer p = PEER_AUTH; p < PEER_COUNT; p++)
		put_service(st, p, sh);
}

static void put_duration(struct buf *out, uint64_t s)
{
	static const struct {
		uint64_t s;
		const char *name;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	size_t i = 0;

	while (units[i].s > 1 && s < 2 * units[i].s)
		i++;
	buf_printf(out, "%" PRIu64 " %s", s / units[i].s, units[i].name);
}

static void put_gateway(struct gateway *g, struct sheet *sh)
{
	struct work w = work_of(g);
	struct buf *out = &sh->body;

	buf_str(out, STR("<h2>gateway: "));
	if (gateway_ready(g))
		(void)mark(out, OK_TONE, "ready");
	else
		add_trouble(sh, mark(out, BAD_TONE, "waits for svc-auth"),
		            "gateway", "waits for svc-auth");
	buf_str(out, STR("</h2>\n<p>Version " KAE_VERSION ", "));
	page_text(out, str_from(g->site.instance));
	buf_str(out, STR(", up "));
	put_duration(out, (mono_ms() - g->site.started_mono_ms) / 1000);
	buf_printf(out,
	           "; event loops: %zu, connections: %u, requests in work: "
	           "%u.</p>\n",
	           g->loops_n, w.conns, w.requests);
}

/* With the first line, which the browser's tab shows, too. */
static void put_head(const struct sheet *sh, unsigned again_s, struct buf *out)
{
	static const char *const said[TONES] = {"all is well", "attention",
	                                        "down"};
	char now[CLOCK_ISO_MAX];

	buf_printf(out,
	           "<!doctype html>\n<html lang=\"en\"><head><meta "
	           "charset=\"utf-8\"><meta name=\"viewport\" "
	           "content=\"width=device-width\"><meta "
	           "http-equiv=\"refresh\" content=\"%u\"><title>%s - "
	           "KnowAllEdge</title><style>%s</style></head>\n<body>",
	           again_s, said[sh->worst], style);
	buf_printf(out, "<h1 class=\"%s\">", classes[sh->worst]);
	buf_str(out, sh->trouble.n ? buf_view(&sh->trouble)
	                           : str_from(said[sh->worst]));
	(void)clock_iso(wall_ms(), now);
	buf_printf(out, "</h1>\n<p>KnowAllEdge at %.10s %.8s UTC</p>\n", now,
	           now + 11);
}

void status_page(void *status, struct buf *out)
{
	struct status *st = status;
	uint64_t now_ms = mono_ms(), taken_ms = atomic_load(&st->taken_ms);
	bool old = now_ms > taken_ms + OLD_MS; /* also: none were taken yet */
	__attribute__((cleanup(sheet_fini))) struct sheet sh = {0};

	atomic_store(&st->looked_ms, now_ms);
	put_gateway(st->g, &sh);
	if (taken_ms)
		put_services(st, &sh);
	else
		add_trouble(&sh, WARN_TONE, "services", "are being asked");
	put_head(&sh, old ? 1 : 2, out);
	if (taken_ms && old)
		buf_printf(out, "<p>Figures of %" PRIu64 " s ago.</p>\n",
		           (now_ms - taken_ms) / 1000);
	buf_str(out, buf_view(&sh.body));
	buf_str(out, STR("</body></html>\n"));
	out->failed |= sh.body.failed || sh.trouble.failed;
}
