#include "gateway/monitor.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/base/uuid.h"
#include "common/bus/entry.h"
#include "common/codec/mp.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

/* As the gateway's own calls have, see authwire.c. */
#define CLASS     (BUS_CLASSES - 1)
#define ARENA_MAX ((size_t)64 << 10)

struct target {
	struct monitor *monitor;
	enum bus_peer peer;
	atomic_bool noted; /* a failure, since it was asked */
	/* The owner's. */
	bool asking, met; /* it has been well once */
	bool started;     /* it has said so, since it was asked */
	uint64_t asked_ms, next_ms;
	/* Under the monitor's lock. */
	bool answered, missed; /* ever; the last time */
	uint64_t at_ms;        /* of the last answer */
	struct monitor_view found;
};

struct monitor {
	struct monitor_conf conf;
	uint64_t now_ms; /* of this turn */
	pthread_mutex_t lock;
	struct target targets[PEER_COUNT];
};

static const char *const state_names[] = {
	[MONITOR_UP] = "up",
	[MONITOR_UNKNOWN] = "unknown",
	[MONITOR_DEGRADED] = "degraded",
	[MONITOR_DOWN] = "down",
};

enum monitor_state monitor_worse(enum monitor_state a, enum monitor_state b)
{
	return a > b ? a : b;
}

/* --- what comes back -------------------------------------------------------- */

static enum monitor_state state_from(struct str s)
{
	for (size_t i = 0; i < COUNTOF(state_names); i++)
		if (str_eq(s, str_from(state_names[i])))
			return (enum monitor_state)i;
	return MONITOR_UNKNOWN;
}

/* False when body says nothing of health. */
static bool read_health(struct str body, struct monitor_view *out)
{
	struct str status = mp_find_str(body, "status", STR(""));
	struct str checks = STR(""), check = STR("");

	if (status.n == 0)
		return false;
	if (!mp_find_bool(body, "ready", false))
		out->service = MONITOR_DOWN;
	else if (str_eq(status, STR("ready")))
		out->service = MONITOR_UP;
	else
		out->service = MONITOR_DEGRADED;
	out->database = MONITOR_UNKNOWN;
	if (!mp_find(body, "checks", &checks))
		return true;
	if (mp_find(checks, "database", &check))
		out->database =
			state_from(mp_find_str(check, "status", STR("")));
	out->has_redis = mp_find(checks, "redis", &check);
	if (out->has_redis)
		out->redis = state_from(mp_find_str(check, "status", STR("")));
	out->has_llm = mp_find(checks, "llm", &check);
	if (out->has_llm)
		out->llm = state_from(mp_find_str(check, "status", STR("")));
	return true;
}

static bool read_reply(struct str bytes, struct monitor_view *out)
{
	AUTO(arena) a = arena_new(ARENA_MAX);
	struct ctx cx = {.service = "gateway", .arena = a};
	struct reply_view view = {0};

	return a && reply_read(bytes, &cx, &view) == OK && !view.err &&
	       read_health(view.body, out);
}

static bool is_well(const struct target *t)
{
	return t->answered && !t->missed && t->found.service == MONITOR_UP &&
	       t->found.database == MONITOR_UP;
}

/* Keeps what was found, or that nothing was: NULL.  True: it is well. */
static bool keep(struct target *t, const struct monitor_view *found)
{
	struct monitor *m = t->monitor;
	GUARD(&m->lock);

	t->missed = !found;
	if (found) {
		t->answered = true;
		t->at_ms = m->now_ms;
		t->found = *found;
	}
	return is_well(t);
}

static bool was_well(const struct target *t)
{
	GUARD(&t->monitor->lock);

	return is_well(t);
}

/* A line whenever it becomes well or ceases to be. */
static void tell(const struct target *t, bool well,
                 const struct monitor_view *found)
{
	const char *name = bus_peer_name(t->peer);

	if (well)
		log_info(NULL, "gateway.service_well", LOG_TEXT("peer", name));
	else
		log_warn(NULL, "gateway.service_unwell", LOG_TEXT("peer", name),
		         LOG_TEXT("state", found ? state_names[found->service]
		                                 : "no answer"),
		         LOG_TEXT("database",
		                  state_names[found ? found->database
		                                    : MONITOR_UNKNOWN]));
}

static void finish(struct target *t, const struct monitor_view *found)
{
	bool was = was_well(t), is = keep(t, found);

	if (is != was)
		tell(t, is, found);
	t->asking = false;
	t->met = t->met || is;
	t->next_ms = t->asked_ms + (is       ? MONITOR_EVERY_MS
	                            : t->met ? MONITOR_UNWELL_MS
	                                     : MONITOR_START_MS);
}

static void replied(void *arg, enum err e, struct str bytes, bool more)
{
	struct target *t = arg;
	struct monitor_view found = {0};

	(void)more; /* never with stream = false */
	finish(t, !e && read_reply(bytes, &found) ? &found : NULL);
}

/* --- what is asked ------------------------------------------------------------ */

static enum err call(struct target *t)
{
	const struct monitor_conf *conf = &t->monitor->conf;
	char rid[UUID_MAX];
	const struct ctx cx = {.service = "gateway", .rid = uuid7(rid)};
	const struct entry entry = {.op = STR("service.health")};
	struct bus_call c = {
		.to = t->peer,
		.route_class = CLASS,
		.retry = true,
		.deadline_ms = t->asked_ms + MONITOR_ANSWER_MS,
		.on_reply = replied,
		.arg = t,
	};
	AUTO_BUF b = {0};
	uint64_t id;

	entry_pack(&b, &cx, &entry);
	if (b.failed)
		return ERR_NOMEM;
	c.bytes = buf_view(&b);
	return conf->call(conf->bus, &c, &id);
}

static uint64_t due_ms(const struct target *t)
{
	uint64_t soon_ms = t->asked_ms + MONITOR_SOON_MS;

	if (t->asking)
		return UINT64_MAX;
	if (t->started)
		return 0;
	return atomic_load(&t->noted) && soon_ms < t->next_ms ? soon_ms
	                                                      : t->next_ms;
}

void monitor_turn(struct monitor *m, uint64_t now_ms)
{
	m->now_ms = now_ms;
	for (int i = PEER_AUTH; i < PEER_COUNT; i++) {
		struct target *t = &m->targets[i];

		if (due_ms(t) > now_ms)
			continue;
		/* Before the question: what fails from now on asks again. */
		atomic_store(&t->noted, false);
		t->started = false;
		t->asked_ms = now_ms;
		t->asking = true;
		if (call(t))
			finish(t, NULL);
	}
}

uint64_t monitor_timeout_ms(const struct monitor *m, uint64_t now_ms)
{
	uint64_t least = UINT64_MAX;

	for (int i = PEER_AUTH; i < PEER_COUNT; i++) {
		uint64_t due = due_ms(&m->targets[i]);

		if (due < least)
			least = due;
	}
	return least == UINT64_MAX ? least : clock_left(least, now_ms);
}

void monitor_started(struct monitor *m, enum bus_peer service)
{
	assert(service < PEER_COUNT);
	m->targets[service].started = true;
}

void monitor_note(struct monitor *m, enum bus_peer service)
{
	assert(service < PEER_COUNT);
	if (!atomic_exchange(&m->targets[service].noted, true))
		m->conf.wake(m->conf.arg);
}

/* --- what is told --------------------------------------------------------------- */

struct monitor_view monitor_view(struct monitor *m, enum bus_peer service,
                                 uint64_t now_ms)
{
	const struct target *t = &m->targets[service];
	struct monitor_view v = {.service = MONITOR_UNKNOWN,
	                         .database = MONITOR_UNKNOWN};
	GUARD(&m->lock);

	/* Another loop's turn may have begun before the answer came. */
	if (!t->answered ||
	    (now_ms > t->at_ms && now_ms - t->at_ms > MONITOR_OLD_MS))
		return v;
	v = t->found;
	if (t->missed)
		v.service = monitor_worse(v.service, MONITOR_UNKNOWN);
	return v;
}

/* --- life ------------------------------------------------------------------------- */

struct monitor *monitor_new(const struct monitor_conf *conf)
{
	struct monitor *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->conf = *conf;
	(void)pthread_mutex_init(&m->lock, NULL);
	for (int i = 0; i < PEER_COUNT; i++) {
		m->targets[i].monitor = m;
		m->targets[i].peer = (enum bus_peer)i;
	}
	return m;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	(void)pthread_mutex_destroy(&m->lock);
	free(m);
}
