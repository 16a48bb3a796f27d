#include "tests/sim/cache_world.h"

#include "tests/sim/heap.h"

static struct instance *some_instance(struct world *w)
{
	return &w->instances[fiber_random(w->instances_n)];
}

static enum wire_channel some_channel(void)
{
	return (enum wire_channel)fiber_random(WIRE_CHANNELS);
}

/* Mostly short, sometimes longer than any time limit. */
static uint64_t some_time_us(void)
{
	return fiber_chance(250) ? fiber_random(15000000)
	                         : fiber_random(2000000);
}

static uint64_t until_us(void)
{
	return fiber_now_us() + some_time_us();
}

static void cut(struct world *w)
{
	net_cut(w->net, some_instance(w)->owner, some_channel(), false);
}

static void cut_silently(struct world *w)
{
	net_cut(w->net, some_instance(w)->owner, some_channel(), true);
}

static void stall(struct world *w)
{
	unsigned owner = some_instance(w)->owner;
	uint64_t until = until_us();

	if (fiber_chance(500)) /* the machine is cut off */
		net_stall(w->net, owner, WIRE_COMMANDS, until);
	net_stall(w->net, owner, WIRE_MESSAGES, until);
	if (fiber_chance(300)) /* and when it ends, some of it is lost */
		net_cut(w->net, owner, WIRE_MESSAGES, false);
	if (fiber_chance(500))
		net_refuse(w->net, owner, until);
}

static void refuse(struct world *w)
{
	unsigned owner = some_instance(w)->owner;

	net_refuse(w->net, owner, until_us());
	net_cut(w->net, owner, some_channel(), false);
}

static void slow(struct world *w)
{
	net_slow(w->net, fiber_random(400000), until_us());
}

static void redis_start(void *arg)
{
	struct world *w = arg;

	if (net_redis_is_up(w->net))
		return;
	fiber_tell("redis is back");
	net_redis_start(w->net, (enum redis_return)fiber_random(3));
}

static void redis_kill(struct world *w)
{
	if (!net_redis_is_up(w->net))
		return;
	net_redis_kill(w->net, fiber_chance(300));
	fiber_at(fiber_chance(300) ? fiber_now_us() + 1000 : until_us(),
	         redis_start, w);
}

static void redis_freeze(struct world *w)
{
	net_redis_freeze(w->net, until_us());
}

static void evict(struct world *w)
{
	(void)redis_model_evict(net_redis(w->net), fiber_random(64));
}

static void flush(struct world *w)
{
	redis_model_flush(net_redis(w->net));
}

static void flush_scripts(struct world *w)
{
	redis_model_flush_scripts(net_redis(w->net));
}

static void mood(struct world *w)
{
	static const unsigned moods[] = {REDIS_WELL, REDIS_WELL, REDIS_FULL,
	                                 REDIS_READONLY, REDIS_LOADING};

	redis_model_mood(net_redis(w->net),
	                 moods[fiber_random(COUNTOF(moods))]);
}

static void kill_instance(struct world *w)
{
	struct instance *in = some_instance(w);

	if (!in->cache)
		return;
	in->killed = true;
	w->kills++;
	fiber_wake(in);
}

static void stop_instance(struct world *w)
{
	struct instance *in = some_instance(w);

	in->stopping = in->cache != NULL;
	fiber_wake(in);
}

static void freeze_instance(struct world *w)
{
	struct instance *in = some_instance(w);
	uint64_t us = some_time_us();

	in->frozen_us += us;
	fiber_freeze(in->owner, fiber_now_us() + us);
}

static void no_memory(struct world *w)
{
	heap_fail(some_instance(w)->owner,
	          fiber_chance(500) ? 0 : (unsigned)fiber_random(300));
}

static void no_loads(struct world *w)
{
	w->outage_us = until_us();
}

static const struct {
	const char *name;
	void (*strike)(struct world *w);
} faults[FAULTS] = {
	[FAULT_CUT] = {"cut", cut},
	[FAULT_SILENT_CUT] = {"silent cut", cut_silently},
	[FAULT_STALL] = {"stall", stall},
	[FAULT_REFUSE] = {"refuse", refuse},
	[FAULT_SLOW] = {"slow", slow},
	[FAULT_REDIS_KILL] = {"redis killed", redis_kill},
	[FAULT_REDIS_FREEZE] = {"redis frozen", redis_freeze},
	[FAULT_EVICT] = {"evict", evict},
	[FAULT_FLUSH] = {"flush", flush},
	[FAULT_SCRIPT_FLUSH] = {"script flush", flush_scripts},
	[FAULT_MOOD] = {"mood", mood},
	[FAULT_KILL] = {"kill", kill_instance},
	[FAULT_STOP] = {"stop", stop_instance},
	[FAULT_FREEZE] = {"freeze", freeze_instance},
	[FAULT_NO_MEMORY] = {"no memory", no_memory},
	[FAULT_LOADER] = {"no loads", no_loads},
};

void faults_run(void *arg)
{
	struct world *w = arg;

	while (fiber_now_us() < w->faults_us) {
		unsigned f = (unsigned)fiber_random(FAULTS);

		if (fiber_chance(300)) /* what a replica or a dump would have */
			net_redis_dump(w->net);
		if (w->fault[f]) {
			fiber_tell("fault: %s", faults[f].name);
			w->faults++;
			faults[f].strike(w);
		}
		fiber_sleep_us(fiber_random(w->fault_pause_us));
	}
}

void faults_mend(struct world *w)
{
	fiber_tell("all is mended");
	for (unsigned i = 0; i < w->instances_n; i++) {
		unsigned owner = w->instances[i].owner;

		heap_fail(owner, 0);
		fiber_freeze(owner, 0);
		net_refuse(w->net, owner, 0);
	}
	net_slow(w->net, 0, 0);
	net_pace(w->net, 100, 2000);
	fiber_pace(100, 0);
	net_redis_freeze(w->net, 0);
	redis_start(w);
	redis_model_mood(net_redis(w->net), REDIS_WELL);
}
