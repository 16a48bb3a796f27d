#include "gateway/recent.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/codec/json.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

struct place {
	pthread_mutex_t lock;
	uint64_t n; /* of the put, from 1; 0: free */
	struct recent_entry e;
};

struct recent {
	_Atomic uint64_t puts;
	struct place places[RECENT_MAX];
};

struct recent *recent_new(void)
{
	struct recent *r = calloc(1, sizeof(*r));

	for (size_t i = 0; r && i < RECENT_MAX; i++)
		(void)pthread_mutex_init(&r->places[i].lock, NULL);
	return r;
}

void recent_free(struct recent *r)
{
	for (size_t i = 0; r && i < RECENT_MAX; i++)
		(void)pthread_mutex_destroy(&r->places[i].lock);
	free(r);
}

void recent_put(struct recent *r, const struct recent_entry *e)
{
	uint64_t n = atomic_fetch_add(&r->puts, 1) + 1;
	struct place *p = &r->places[n % RECENT_MAX];
	GUARD(&p->lock);

	/* One that was overtaken by a whole round is the older one. */
	if (n > p->n) {
		p->n = n;
		p->e = *e;
	}
}

static void look(struct place *p, struct str rid, uint64_t *latest,
                 struct recent_entry *out)
{
	GUARD(&p->lock);

	if (p->n > *latest && str_eq(str_from(p->e.rid), rid)) {
		*latest = p->n;
		*out = p->e;
	}
}

bool recent_find(struct recent *r, struct str rid, struct recent_entry *out)
{
	uint64_t latest = 0;

	for (size_t i = 0; rid.n && i < RECENT_MAX; i++)
		look(&r->places[i], rid, &latest, out);
	return latest > 0;
}

static void text(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "\"%s\":", name);
	if (*value)
		json_add_str(out, str_from(value));
	else
		buf_str(out, STR("null"));
	buf_char(out, ',');
}

static const char *truth(bool b)
{
	return b ? "true" : "false";
}

static void put_limiter(struct buf *out, const struct recent_entry *e)
{
	const struct limit_decision *d = &e->limit;
	const struct limit_item *it =
		d->refused ? &d->items[d->n - 1] : limit_tightest(d);

	buf_printf(out, "\"limiter\":{\"refused\":%s,\"shed\":%s,",
	           truth(d->refused), truth(e->shed));
	text(out, "policy", it ? limit_name(it->policy) : "");
	buf_printf(out,
	           "\"quota\":%" PRIu64 ",\"left\":%" PRIu64 ",\"policies\":[",
	           it ? it->quota : 0, it ? it->left : 0);
	for (size_t i = 0; i < d->n; i++)
		buf_printf(out,
		           "%s{\"policy\":\"%s\",\"quota\":%" PRIu64
		           ",\"left\":%" PRIu64 ",\"reset_s\":%u}",
		           i ? "," : "", limit_name(d->items[i].policy),
		           d->items[i].quota, d->items[i].left,
		           d->items[i].reset_s);
	buf_str(out, STR("]},"));
}

/* Each time that a replica was asked, but for those that had to give way. */
static void put_trip(struct buf *out, const struct bus_trip *t)
{
	text(out, "replica", t->n ? t->at[t->n - 1].replica : "");
	buf_printf(out, "\"attempts\":%u,\"tried\":[", t->attempts);
	for (unsigned i = 0; i < t->n; i++) {
		const struct bus_attempt *a = &t->at[i];

		buf_str(out, i ? STR(",{") : STR("{"));
		text(out, "replica", a->replica);
		buf_printf(out, "\"outcome\":\"%s\",\"ms\":%.3f}",
		           !a->to_us    ? "CANCELLED"
		           : a->outcome ? err_name(a->outcome)
		                        : "ANSWERED",
		           a->to_us > a->from_us
		                   ? (double)(a->to_us - a->from_us) / 1e3
		                   : 0);
	}
	buf_str(out, STR("],"));
}

static void put_times(struct buf *out, const struct recent_times *t)
{
	const struct {
		const char *name;
		uint64_t us;
	} rows[] = {
		{"received", t->received},     {"identity", t->identity},
		{"limits", t->limits},         {"decode", t->decode},
		{"service", t->service},       {"bus", t->bus},
		{"lane", t->hop.lane},         {"handler", t->hop.handler},
		{"database", t->hop.database}, {"cache", t->hop.cache},
		{"reply", t->reply},           {"total", t->total},
	};

	buf_str(out, STR("\"timings_ms\":{"));
	for (size_t i = 0; i < COUNTOF(rows); i++)
		buf_printf(out, "%s\"%s\":%.3f", i ? "," : "", rows[i].name,
		           (double)rows[i].us / 1e3);
	buf_char(out, '}');
}

void recent_write(struct buf *out, const struct recent_entry *e)
{
	char iso[CLOCK_ISO_MAX];
	bool asked = e->trip.attempts > 0;

	buf_char(out, '{');
	text(out, "request_id", e->rid);
	text(out, "trace_id", e->trace);
	buf_printf(out, "\"at\":\"%s\",", clock_iso(e->at_ms, iso).p);
	text(out, "method", verb_name(e->verb));
	text(out, "endpoint", e->route ? e->route->path : "unmatched");
	buf_printf(out, "\"status\":%u,", e->status);
	text(out, "error", e->err ? err_code(e->err) : "");
	text(out, "user", e->sub);
	text(out, "role", role_name(e->role));
	buf_printf(out, "\"identity\":{\"remembered\":%s},",
	           truth(e->known_at_once));
	put_limiter(out, e);
	text(out, "cache", e->cache);
	text(out, "service",
	     asked && e->route ? bus_peer_name(e->route->service) : "");
	put_trip(out, &e->trip);
	put_times(out, &e->times);
	buf_char(out, '}');
}
