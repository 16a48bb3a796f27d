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

void recent_write(struct buf *out, const struct recent_entry *e)
{
	char iso[CLOCK_ISO_MAX];
	bool asked = e->attempts > 0;

	buf_char(out, '{');
	text(out, "request_id", e->rid);
	buf_printf(out, "\"at\":\"%s\",", clock_iso(e->at_ms, iso).p);
	text(out, "method", verb_name(e->verb));
	text(out, "endpoint", e->route ? e->route->path : "unmatched");
	buf_printf(out, "\"status\":%u,", e->status);
	text(out, "error", e->err ? err_code(e->err) : "");
	text(out, "user", e->sub);
	text(out, "role", role_name(e->role));
	buf_printf(out,
	           "\"identity\":{\"remembered\":%s},"
	           "\"limiter\":{\"refused\":%s,\"shed\":%s,\"policies\":%u,"
	           "\"quota\":%" PRIu64 ",\"left\":%" PRIu64 "},",
	           e->known_at_once ? "true" : "false",
	           e->limited ? "true" : "false", e->shed ? "true" : "false",
	           e->policies, e->quota, e->left);
	text(out, "cache", e->cache);
	text(out, "service",
	     asked && e->route ? bus_peer_name(e->route->service) : "");
	text(out, "replica", e->replica);
	buf_printf(out,
	           "\"attempts\":%u,\"timings_ms\":{\"received\":%.3f,"
	           "\"before_service\":%.3f,\"service\":%.3f,"
	           "\"total\":%.3f}}",
	           e->attempts, (double)e->received_us / 1e3,
	           (double)e->before_us / 1e3, (double)e->service_us / 1e3,
	           (double)e->total_us / 1e3);
}
