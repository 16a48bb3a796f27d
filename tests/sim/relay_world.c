#include "tests/sim/relay_world.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/event/relay.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define REST_MS     120000 /* in which a calm world must come to rest */
#define REST_LOOK   100
#define LOCAL_START 1000000 /* so that no local clock is below 0 */

/* The clocks of common/base know only whose code is running. */
static struct world *the_world;
static uint64_t time_outside;

void world_set_time(uint64_t ms)
{
	time_outside = ms;
}

/* --- claims and the story ------------------------------------------------------ */

void world_say(const struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->tell)
		return;
	va_start(ap, fmt);
	printf("%8" PRIu64 " ", w->now);
	(void)vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

bool world_claim(struct world *w, bool claim, const char *words)
{
	if (!claim && !w->violated) {
		w->violated = words;
		printf("%8" PRIu64 " violated: %s\n", w->now, words);
	}
	return claim;
}

/* --- clocks and chance --------------------------------------------------------- */

uint64_t __wrap_mono_ms(void);
int64_t __wrap_wall_ms(void);
uint32_t __wrap_randombytes_uniform(uint32_t below);
void __wrap_randombytes_buf(void *p, size_t n);

static int64_t local(const struct proc *p, uint64_t now)
{
	int64_t t = (int64_t)now;

	return p ? t + t * p->drift_ppm / 1000000 + p->offset_ms : t;
}

uint64_t proc_true_time(const struct proc *p, uint64_t local_ms)
{
	int64_t t = (int64_t)local_ms - LOCAL_START - p->offset_ms;

	t = t * 1000000 / (1000000 + p->drift_ppm) + 1;
	return t > 0 ? (uint64_t)t : 0;
}

uint64_t __wrap_mono_ms(void)
{
	struct world *w = the_world;

	return LOCAL_START +
	       (w ? (uint64_t)local(w->proc, w->now) : time_outside);
}

int64_t __wrap_wall_ms(void)
{
	struct world *w = the_world;

	return EPOCH_MS + (w ? local(w->proc, w->now) : (int64_t)time_outside);
}

uint32_t __wrap_randombytes_uniform(uint32_t below)
{
	return the_world ? (uint32_t)sim_below(&the_world->rng, below) : 0;
}

/* Ids need only differ; they must not shift what else is drawn. */
void __wrap_randombytes_buf(void *p, size_t n)
{
	static struct sim_rng ids;
	unsigned char *at = p;

	while (n-- > 0)
		*at++ = (unsigned char)sim_u64(&ids);
}

/* --- timers -------------------------------------------------------------------- */

static bool sooner(const struct timer *a, const struct timer *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void swap(struct timer *a, struct timer *b)
{
	struct timer t = *a;

	*a = *b;
	*b = t;
}

void world_at(struct world *w, uint64_t at,
              void (*fire)(struct world *w, void *arg, uint64_t n), void *arg,
              uint64_t n)
{
	size_t i = w->heap_n;

	if (w->heap_n == w->heap_max) {
		w->heap_max = w->heap_max ? 2 * w->heap_max : 256;
		w->heap = realloc(w->heap, w->heap_max * sizeof(*w->heap));
		assert(w->heap);
	}
	w->heap[w->heap_n++] = (struct timer){at > w->now ? at : w->now,
	                                      w->order++, fire, arg, n};
	for (; i > 0 && sooner(&w->heap[i], &w->heap[(i - 1) / 2]);
	     i = (i - 1) / 2)
		swap(&w->heap[i], &w->heap[(i - 1) / 2]);
}

static struct timer take_timer(struct world *w)
{
	struct timer first = w->heap[0];
	size_t i = 0;

	w->heap[0] = w->heap[--w->heap_n];
	for (;;) {
		size_t least = i;

		for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < w->heap_n; c++)
			if (sooner(&w->heap[c], &w->heap[least]))
				least = c;
		if (least == i)
			return first;
		swap(&w->heap[i], &w->heap[least]);
		i = least;
	}
}

static void set_server_clocks(struct world *w)
{
	for (size_t i = 0; i < SERVICES; i++) {
		struct service *s = &w->services->of[i];

		sim_db_set_clock(s->db,
		                 EPOCH_MS + (int64_t)w->now + s->clock_step_ms);
	}
}

static void step(struct world *w)
{
	struct timer t = take_timer(w);

	w->now = t.at;
	set_server_clocks(w);
	t.fire(w, t.arg, t.n);
}

/* --- strands -------------------------------------------------------------------- */

static void resume(struct world *w, struct strand *f)
{
	struct proc *before = w->proc;

	f->ticket = 0;
	w->strand = f;
	w->proc = f->proc;
	if (!task_resume(w->tasks, f->task))
		*f = (struct strand){0};
	w->strand = NULL;
	w->proc = before;
}

static void ring(struct world *w, void *arg, uint64_t ticket)
{
	struct strand *f = arg;

	if (f->ticket != ticket)
		return;
	if (f->proc->frozen_until > w->now && !f->proc->dead)
		world_at(w, f->proc->frozen_until, ring, f, ticket);
	else
		resume(w, f);
}

void strand_sleep(struct world *w, uint64_t until)
{
	struct strand *f = w->strand;

	if (f->proc->dead)
		return;
	f->ticket = ++w->tickets;
	world_at(w, until, ring, f, f->ticket);
	task_yield(w->tasks);
}

void strand_wake(struct world *w, struct strand *f, uint64_t ticket)
{
	world_at(w, w->now, ring, f, ticket);
}

bool strand_start(struct world *w, struct proc *p, void (*fn)(void *arg),
                  struct call *call)
{
	for (size_t i = 0; i < STRANDS_MAX; i++) {
		struct strand *f = &w->strands[i];

		if (f->task)
			continue;
		f->task = task_new(w->tasks, fn, f);
		assert(f->task);
		f->proc = p;
		f->call = call;
		f->ticket = ++w->tickets;
		strand_wake(w, f, f->ticket);
		return true;
	}
	return false;
}

/* --- processes ----------------------------------------------------------------- */

static void relay_sleeps(struct world *w, struct proc *p, uint64_t until_local)
{
	if (!p->kicked) {
		p->sleeping = true;
		strand_sleep(w, proc_true_time(p, until_local));
		p->sleeping = false;
	}
	p->kicked = false;
}

static void relay_task(void *arg)
{
	struct strand *f = arg;
	struct proc *p = f->proc;
	struct world *w = p->world;
	const struct event_relay_conf conf = {.store = p->service->store,
	                                      .pool = &p->pool,
	                                      .service = p->service->name,
	                                      .owner = p->owner,
	                                      .lease_ms = w->lease_ms,
	                                      .send = net_send,
	                                      .send_arg = p};
	struct event_stats stats;

	p->relay = relay_new(&conf);
	assert(p->relay);
	p->sleeper = f;
	while (!p->dead && !p->ending) {
		uint64_t next = relay_turn(p->relay);

		if (!p->dead && !p->ending)
			relay_sleeps(w, p, next);
	}
	if (!p->dead)
		relay_end(p->relay);
	relay_stats(p->relay, &stats);
	w->lost += stats.lost;
	relay_free(p->relay);
	p->relay = NULL;
	p->sleeper = NULL;
	p->up = false;
}

void proc_start(struct world *w, struct proc *p)
{
	assert(!p->up);
	if (w->over)
		return;
	p->up = true;
	p->dead = p->ending = p->kicked = false;
	p->frozen_until = 0;
	(void)snprintf(p->owner, sizeof(p->owner), "%s-%u-%u", p->service->name,
	               p->number, ++p->boots);
	world_say(w, "%s starts", p->owner);
	(void)strand_start(w, p, relay_task, NULL);
}

/* Lets what the dead was doing come to its end, in which it can do nothing. */
static void unwind(struct world *w, void *arg, uint64_t n)
{
	struct proc *p = arg;

	(void)n;
	for (size_t i = 0; i < STRANDS_MAX; i++)
		while (w->strands[i].task && w->strands[i].proc == p)
			resume(w, &w->strands[i]);
	p->up = false;
}

static void revive(struct world *w, void *arg, uint64_t n)
{
	struct proc *p = arg;

	(void)n;
	if (!p->up && !w->service_down[p->service - w->services->of])
		proc_start(w, p);
}

void proc_kill(struct world *w, struct proc *p)
{
	if (!p->up || p->dead)
		return;
	world_say(w, "%s is killed", p->owner);
	w->crashes++;
	p->dead = true;
	world_at(w, w->now, unwind, p, 0);
	world_at(w, w->now + sim_between(&w->rng, 1, 8000), revive, p, 0);
}

void proc_kick(struct world *w, struct proc *p)
{
	if (!p->up || p->dead)
		return;
	p->kicked = true;
	if (p->sleeping)
		strand_wake(w, p->sleeper, p->sleeper->ticket);
}

/* --- a world ------------------------------------------------------------------- */

bool services_open(struct services *s)
{
	static const struct {
		const char *name;
		enum bus_peer peer;
	} of[SERVICES] = {{"auth", PEER_AUTH},
	                  {"content", PEER_CONTENT},
	                  {"gdpr", PEER_GDPR}};
	bool ok = true;

	for (size_t i = 0; i < SERVICES; i++) {
		s->of[i] = (struct service){of[i].name, of[i].peer,
		                            sim_db_new(work_tables),
		                            event_store_new("main"), 0};
		ok = ok && s->of[i].store;
	}
	return ok;
}

void services_close(struct services *s)
{
	for (size_t i = 0; i < SERVICES; i++) {
		sim_db_free(s->of[i].db);
		event_store_free(s->of[i].store);
	}
}

static void populate(struct world *w)
{
	for (size_t i = 0; i < SERVICES; i++) {
		w->services->of[i].clock_step_ms = 0;
		sim_db_clear(w->services->of[i].db);
		for (size_t k = 0; k < w->replicas; k++) {
			struct proc *p = &w->procs[w->procs_n++];

			p->world = w;
			p->service = &w->services->of[i];
			p->number = (unsigned)k;
			p->pool =
				(struct db_pool){p->service->db, faults_at, p};
			if (!w->faults.clock_skew)
				continue;
			p->offset_ms =
				(int64_t)sim_below(&w->rng, 600000) - 300000;
			p->drift_ppm = (int64_t)sim_below(&w->rng, 2000) - 1000;
		}
	}
	for (size_t i = 0; i < w->procs_n; i++)
		proc_start(w, &w->procs[i]);
}

static void end_all(struct world *w)
{
	w->over = true;
	for (size_t i = 0; i < w->procs_n; i++) {
		w->procs[i].ending = true;
		proc_kick(w, &w->procs[i]);
	}
	/* What is left in the heap is only sleep and late messages. */
	for (uint64_t end = w->now + 30000; w->heap_n && w->now < end;)
		step(w);
	for (size_t i = 0; i < w->procs_n; i++) {
		CLAIM(w, !w->procs[i].up);
		w->procs[i].dead = true;
		unwind(w, &w->procs[i], 0);
	}
}

static void run_to_rest(struct world *w)
{
	uint64_t look = 0;

	while (w->now < w->faults_end && !w->violated)
		step(w);
	faults_end(w);
	while (!w->violated && w->now < w->faults_end + REST_MS) {
		step(w);
		if (w->now < look)
			continue;
		look = w->now + REST_LOOK;
		if (check_at_rest(w))
			break;
	}
	CLAIM(w, check_at_rest(w));
}

bool world_run(struct services *s, uint64_t seed, bool tell)
{
	struct world *w = calloc(1, sizeof(*w));
	int threshold = log_threshold;
	bool ok;

	assert(w);
	the_world = w;
	log_threshold = tell ? LOG_INFO : LOG_ERROR - 1;
	w->services = s;
	w->seed = seed;
	w->tell = tell;
	w->rng = sim_rng(seed);
	w->tasks = tasks_new();
	assert(w->tasks);
	faults_draw(w);
	populate(w);
	run_to_rest(w);
	end_all(w);
	CLAIM(w, w->lost == 0);
	if (!w->violated)
		check_all(w);
	ok = !w->violated;
	world_say(w, "%u emissions, %u crashes", w->emissions, w->crashes);
	net_free(w);
	tasks_free(w->tasks);
	free(w->heap);
	free(w);
	the_world = NULL;
	log_threshold = threshold;
	return ok;
}
