#include "tests/sim/cache_world.h"

#include "common/base/log.h"
#include "common/cache/remote.h"
#include "tests/sim/heap.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define DEGRADED_MS ((uint64_t)5000)
/* Longer than the slowest way back: hard limit, back-off, breaker. */
#define SETTLE_US     40000000
#define CLOCK_OFF_PPM ((uint64_t)20000) /* far more than any clock */

/* What the code under test logs is part of the story. */
void __wrap_log_emit(enum log_level level, const struct ctx *cx,
                     const char *event, const struct log_field *fields,
                     size_t n);

void __wrap_log_emit(enum log_level level, const struct ctx *cx,
                     const char *event, const struct log_field *fields,
                     size_t n)
{
	struct str first = {"", 0};

	(void)level;
	(void)cx;
	if (n > 0 && fields[0].kind == LOG_KIND_STR)
		first = fields[0].v.s;
	fiber_tell("log %s %.*s", event, (int)first.n, first.p ? first.p : "");
}

/* --- an instance --------------------------------------------------------------------- */

/* Bounds that hold at any time. */
static void check_bounds(struct instance *in)
{
	struct cache_stats s;
	struct remote_stats r;

	cache_stats(in->cache, &s);
	if (s.bytes > s.max_bytes)
		fiber_fail("i%u: %llu bytes of %llu", in->owner,
		           (unsigned long long)s.bytes,
		           (unsigned long long)s.max_bytes);
	if (!cache_remote_stats(in->cache, &r))
		fiber_fail("no remote");
	if (r.pending > CACHE_SLOTS + 1)
		fiber_fail("%llu slots pending", (unsigned long long)r.pending);
	if (net_under_way(in->world->net, in->owner) >
	    4 * REMOTE_QUEUE_MAX + 64)
		fiber_fail("%u commands under way",
		           net_under_way(in->world->net, in->owner));
}

/* main() of an instance. */
static void instance_main(void *arg)
{
	struct instance *in = arg;
	struct world *w = in->world;
	const struct cache_conf conf = {.max_bytes = w->cache_bytes,
	                                .space = STR("sim"),
	                                .wire = net_wire(w->net, in->owner),
	                                .threads = 2,
	                                .degraded_ttl_ms = DEGRADED_MS};
	struct cache *c = cache_new(&conf);
	char name[24];

	if (!c && heap_blocks(in->owner) > 0)
		fiber_fail("i%u leaves memory when it cannot begin", in->owner);
	if (!c) { /* no memory: the process ends, and is started again */
		in->killed = true;
		fiber_wake(in);
		return;
	}
	in->cache = c;
	in->inside = w->clients;
	for (unsigned i = 0; i < w->clients; i++) {
		(void)snprintf(name, sizeof(name), "i%u.client%u", in->owner,
		               i);
		fiber_spawn(in->owner, name, client_run, in);
	}
	while (in->inside > 0) {
		(void)fiber_wait(in, fiber_now_us() + 1000000);
		check_bounds(in);
	}
	while (!in->stopping)
		(void)fiber_wait(in, FIBER_NEVER);
	in->cache = NULL;
	cache_free(c);
	if (heap_blocks(in->owner) > 0)
		fiber_fail("i%u leaves %zu blocks of memory", in->owner,
		           heap_blocks(in->owner));
	if (net_replies(in->owner) > 0)
		fiber_fail("i%u leaves %u answers", in->owner,
		           net_replies(in->owner));
	if (fiber_count(in->owner) > 1)
		fiber_fail("i%u leaves a thread", in->owner);
	in->killed = true;
	fiber_wake(in);
}

static void clean_up(struct instance *in)
{
	fiber_kill(in->owner);
	net_process_over(in->world->net, in->owner);
	heap_drop(in->owner);
	truth_process_over(&in->world->truth, in->owner);
	in->cache = NULL;
	in->stopping = in->killed = false;
	memset(in->loading, 0, sizeof(in->loading));
}

/* Starts it, and again whenever it has ended. */
static void supervise(void *arg)
{
	struct instance *in = arg;
	struct world *w = in->world;
	char name[24];

	fiber_sleep_us(fiber_random(3000000));
	while (!w->quiet) {
		(void)snprintf(name, sizeof(name), "i%u.main", in->owner);
		fiber_clock(in->owner, 1000000 + fiber_random(100000000000),
		            (int64_t)fiber_random(2 * CLOCK_OFF_PPM) -
		                    (int64_t)CLOCK_OFF_PPM);
		fiber_spawn(in->owner, name, instance_main, in);
		while (!in->killed)
			(void)fiber_wait(in, FIBER_NEVER);
		fiber_tell("i%u is over", in->owner);
		clean_up(in);
		if (!w->calm)
			fiber_sleep_us(fiber_random(3000000));
	}
}

/* --- after the faults ---------------------------------------------------------------- */

static void check_state(struct instance *in)
{
	struct remote_stats r;

	if (!in->cache || !cache_remote_stats(in->cache, &r)) {
		fiber_fail("i%u is not up again", in->owner);
		return;
	}
	if (r.state != REMOTE_IN_STEP || r.breaker != BREAKER_CLOSED ||
	    r.pending > 0)
		fiber_fail("i%u is not well again: state %d, breaker %d, %llu "
		           "pending",
		           in->owner, r.state, r.breaker,
		           (unsigned long long)r.pending);
}

/* Runs as a client of the instance, so that its clock and memory are used. */
struct visit {
	struct instance *in;
	unsigned key;
	unsigned version;
	enum cache_from from;
	bool over;
};

static void visit_load(void *arg)
{
	struct visit *v = arg;

	v->version = client_load(v->in, v->key, &v->from);
	v->over = true;
	fiber_wake(v);
}

/* A new value, and one that is there. */
static void visit_change(void *arg)
{
	struct visit *v = arg;
	struct truth *t = &v->in->world->truth;
	struct truth_key *k = &t->keys[v->key];

	do
		truth_write(t, v->key);
	while (k->versions[truth_latest(t, v->key)].absent);
	v->version = truth_latest(t, v->key);
	cache_forget(v->in->cache, str_from(k->name));
	truth_forgot(t, v->in->owner, v->key, v->version);
	v->over = true;
	fiber_wake(v);
}

static struct visit visit(struct instance *in, unsigned key,
                          void (*run)(void *visit))
{
	struct visit v = {.in = in, .key = key};

	fiber_spawn(in->owner, "visit", run, &v);
	while (!v.over)
		(void)fiber_wait(&v, FIBER_NEVER);
	return v;
}

/* What a process has forgotten that has not ended since is known to all. */
static void check_none_lost(struct world *w)
{
	for (unsigned i = 0; i < w->instances_n; i++) {
		unsigned owner = w->instances[i].owner;

		for (unsigned key = 0; key < w->truth.keys_n; key++) {
			const struct truth_key *k = &w->truth.keys[key];

			if (k->floor[owner] >= k->contained_n)
				fiber_fail("i%u has forgotten version %u of "
				           "%s, and the store was never told",
				           owner, k->floor[owner] - 1, k->name);
		}
	}
}

/* only_contained: what was never forgotten may live to its end. */
static void check_all_current(struct world *w, bool only_contained)
{
	for (unsigned i = 0; i < w->instances_n; i++) {
		for (unsigned key = 0; key < w->truth.keys_n; key++) {
			unsigned latest = truth_latest(&w->truth, key);
			const struct version *v =
				&w->truth.keys[key].versions[latest];
			struct visit got;

			if (only_contained && v->contained_us == FIBER_NEVER)
				continue;
			got = visit(&w->instances[i], key, visit_load);
			if (got.version == latest ||
			    (v->absent && got.version == UINT_MAX))
				continue;
			fiber_fail("i%u gave version %d of key%u when all was "
			           "well, the last is %u",
			           w->instances[i].owner, (int)got.version, key,
			           latest);
		}
	}
}

/* What one has loaded the others find in the store. */
static void check_sharing(struct world *w)
{
	for (unsigned key = 0; key < w->truth.keys_n; key++) {
		struct instance *a =
			&w->instances[fiber_random(w->instances_n)];
		struct visit got;

		(void)visit(a, key, visit_change);
		/* A load that meets the news of its own forgetting is lost. */
		fiber_sleep_us(100000);
		got = visit(a, key, visit_load);
		if (got.from != CACHE_FROM_LOADER)
			fiber_fail("key%u was just changed and not loaded",
			           key);
		fiber_sleep_us(100000);
		for (unsigned i = 0; i < w->instances_n; i++) {
			if (&w->instances[i] == a)
				continue;
			got = visit(&w->instances[i], key, visit_load);
			if (got.from != CACHE_FROM_REMOTE)
				fiber_fail(
					"i%u did not find key%u in the store",
					w->instances[i].owner, key);
		}
	}
}

static void stop_all(struct world *w)
{
	for (unsigned i = 0; i < w->instances_n; i++) {
		w->instances[i].stopping = true;
		fiber_wake(&w->instances[i]);
	}
	for (unsigned i = 0; i < w->instances_n; i++)
		while (fiber_count(w->instances[i].owner) > 0)
			fiber_sleep_us(100000);
}

static uint64_t longest_life_us(const struct truth *t)
{
	uint64_t ms = 0;

	for (unsigned i = 0; i < t->keys_n; i++)
		if (t->keys[i].ttl_ms > ms)
			ms = t->keys[i].ttl_ms;
	return ms * 1000 + ms * 1000 / 20;
}

static void story(void *arg)
{
	struct world *w = arg;

	fiber_sleep_us(w->faults_us);
	w->calm = true;
	faults_mend(w);
	fiber_sleep_us(SETTLE_US);
	w->quiet = true;
	/* Clients leave when what they do is done. */
	fiber_sleep_us(30000000);
	for (unsigned i = 0; i < w->instances_n; i++)
		check_state(&w->instances[i]);
	check_none_lost(w);
	check_all_current(w, true);
	fiber_sleep_us(longest_life_us(&w->truth));
	check_all_current(w, false);
	check_sharing(w);
	stop_all(w);
}

/* --- a run ------------------------------------------------------------------------------ */

static void raised(void *arg, unsigned slot)
{
	struct world *w = arg;

	truth_raised(&w->truth, slot);
}

/* What kind of day it is. */
static void draw(struct world *w)
{
	w->instances_n = 2 + (unsigned)fiber_random(INSTANCES_MAX - 1);
	w->clients = 1 + (unsigned)fiber_random(3);
	w->pause_us = 20000 + fiber_random(400000);
	w->load_us = 1000 + fiber_random(60000);
	w->write_per_mille = fiber_chance(300)
	                             ? (unsigned)fiber_random(10)
	                             : 20 + (unsigned)fiber_random(250);
	w->fail_per_mille = fiber_chance(500) ? (unsigned)fiber_random(300) : 0;
	w->faults_us = 3000000 + fiber_random(22000000);
	w->fault_pause_us = 200000 + fiber_random(3000000);
	w->cache_bytes = (size_t)(132 + fiber_random(40)) << 10;
	w->detaches = fiber_chance(700);
	w->soft_ms = fiber_chance(500) ? (unsigned)fiber_random(200) + 1 : 0;
	w->hard_ms = fiber_chance(300) ? (unsigned)fiber_random(2000) + 100 : 0;
	w->eager = fiber_chance(500) ? 50 + (unsigned)fiber_random(45) : 0;
	/* A few kinds of fault show more than all at once, and two that come
	 * again and again what needs the right moment. */
	for (unsigned i = 0; i < FAULTS; i++)
		w->fault[i] = fiber_chance(350);
	if (fiber_chance(750))
		return;
	memset(w->fault, 0, sizeof(w->fault));
	w->fault[fiber_random(FAULTS)] = true;
	w->fault[fiber_random(FAULTS)] = true;
	w->fault_pause_us = 10000 + fiber_random(100000);
}

bool world_run(uint64_t seed,
               void (*tell)(void *arg, const char *line, size_t n), void *arg,
               struct world *w)
{
	struct fiber_conf conf = {.seed = seed, .tell = tell, .arg = arg};
	struct net_conf net = {.raised = raised, .arg = w};
	bool ok;

	*w = (struct world){.seed = seed};
	fiber_begin(&conf);
	heap_begin();
	fiber_pace((unsigned)fiber_random(300),
	           (unsigned)fiber_random(fiber_chance(300) ? 200 : 20));
	draw(w);
	w->truth.degraded_us = DEGRADED_MS * 1000;
	w->truth.off_ppm_max = CLOCK_OFF_PPM;
	truth_begin(&w->truth);
	net.delay_min_us = 20 + fiber_random(200);
	net.delay_max_us = net.delay_min_us + fiber_random(20000);
	w->net = net_new(&net);
	net_redis_dump(w->net);
	for (unsigned i = 0; i < w->instances_n; i++) {
		w->instances[i].world = w;
		w->instances[i].owner = i + 1;
		fiber_spawn(0, "supervisor", supervise, &w->instances[i]);
	}
	fiber_spawn(0, "faults", faults_run, w);
	fiber_spawn(0, "story", story, w);
	ok = fiber_run();
	fiber_end();
	net_free(w->net);
	w->net = NULL;
	heap_end();
	return ok;
}
