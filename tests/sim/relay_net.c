/*
 * The network of the simulated world: calls that are lost, late, doubled or
 * answered with half an answer.
 */
#include "tests/sim/relay_world.h"

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/codec/mp.h"
#include "common/event/relay.h"

#include <assert.h>
#include <stdlib.h>

#define WIRE_MAX (RELAY_BATCH_BYTES + EVENT_BODY_MAX + EVENT_BATCH * 512)

/* A request and what came of it.  Kept to the end: copies may be under way. */
struct call {
	struct proc *from;
	unsigned boot;
	struct strand *strand;
	uint64_t ticket, deadline; /* true time */
	size_t to;                 /* service */
	struct buf body, reply;
	enum err err;
	bool done;
	struct call *next;
};

struct answer {
	struct call *call;
	enum err err;
	struct buf bytes;
};

static uint64_t delay(struct world *w)
{
	uint64_t ms = w->calm ? 1 : w->faults.delay_ms;

	/* Mostly short, now and then as long as it may be. */
	return sim_chance(&w->rng, 100) ? sim_between(&w->rng, 0, ms)
	                                : sim_between(&w->rng, 0, 1 + ms / 20);
}

static bool happens(struct world *w, unsigned per_mille)
{
	return !w->calm && sim_chance(&w->rng, per_mille);
}

/* --- the way back ---------------------------------------------------------------- */

static void finish(struct world *w, struct call *c, enum err e)
{
	struct proc *p = c->from;

	if (c->done || p->dead || p->boots != c->boot)
		return;
	c->done = true;
	c->err = e;
	strand_wake(w, c->strand, c->ticket);
}

static void answer_arrives(struct world *w, void *arg, uint64_t last)
{
	struct answer *a = arg;
	struct call *c = a->call;

	if (!c->done) {
		buf_clear(&c->reply);
		buf_str(&c->reply, buf_view(&a->bytes));
		finish(w, c, a->err);
	}
	if (last) {
		buf_fini(&a->bytes);
		free(a);
	}
}

static void answer(struct world *w, struct call *c, enum err e, struct str body)
{
	struct answer *a = calloc(1, sizeof(*a));
	uint64_t first = w->now + delay(w), second = w->now + delay(w);

	assert(a);
	if (happens(w, w->faults.garbage))
		body.n = sim_below(&w->rng, body.n + 1);
	a->call = c;
	a->err = e;
	buf_str(&a->bytes, body);
	if (happens(w, w->faults.lose_reply)) {
		buf_fini(&a->bytes);
		free(a);
	} else if (happens(w, w->faults.duplicate)) {
		world_at(w, first < second ? first : second, answer_arrives, a,
		         0);
		world_at(w, first < second ? second : first, answer_arrives, a,
		         1);
	} else {
		world_at(w, first, answer_arrives, a, 1);
	}
}

/* --- at the receiver --------------------------------------------------------------- */

static void answer_task(void *arg)
{
	struct strand *f = arg;
	struct call *c = f->call;
	struct proc *p = f->proc;
	struct world *w = p->world;
	AUTO(arena) a = arena_new(1 << 22);
	AUTO_BUF reply = {0};
	struct ctx cx = {.service = p->service->name,
	                 .arena = a,
	                 .rid = STR("sim"),
	                 .deadline_ms = mono_ms() + c->deadline - w->now,
	                 .role = ROLE_SERVICE,
	                 .principal = c->from->service->name};
	enum err e = ERR_INVALID;

	assert(a);
	if (!work_refuses(w, buf_view(&c->body)))
		e = event_apply(p->service->store, &p->pool, &cx,
		                buf_view(&c->body), work_apply, p, &reply);
	if (!p->dead)
		answer(w, c, e, e ? STR("") : buf_view(&reply));
}

/* A replica that runs; NULL when there is none. */
static struct proc *some_replica(struct world *w, size_t service)
{
	struct proc *up[REPLICAS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < w->procs_n; i++) {
		struct proc *p = &w->procs[i];

		if (p->service == &w->services->of[service] && p->up &&
		    !p->dead)
			up[n++] = p;
	}
	return n ? up[sim_below(&w->rng, n)] : NULL;
}

static void request_arrives(struct world *w, void *arg, uint64_t n)
{
	struct call *c = arg;
	struct proc *p = some_replica(w, c->to);

	(void)n;
	if (w->now >= c->deadline)
		return;
	if (!p)
		finish(w, c, ERR_UNAVAILABLE);
	else if (!strand_start(w, p, answer_task, c))
		answer(w, c, ERR_BUSY, STR(""));
}

/* As another relay might send them: some, in any order, some of them twice. */
static void shuffle(struct world *w, struct call *c)
{
	struct str list, ev[EVENT_BATCH];
	AUTO_BUF mixed = {0};
	struct mp m;
	uint32_t n = 0;
	size_t kept;

	if (!mp_find(buf_view(&c->body), "events", &list))
		return;
	m = mp_open(list);
	if (!mp_get_array(&m, &n) || n == 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (!mp_skip(&m, &ev[i]))
			return;
	kept = sim_between(&w->rng, 1,
	                   2 * n < EVENT_BATCH ? 2 * n : EVENT_BATCH);
	mp_map(&mixed, 2);
	mp_kv_text(&mixed, "src", c->from->service->name);
	mp_kv_array(&mixed, "events", kept);
	while (kept-- > 0)
		mp_raw(&mixed, ev[sim_below(&w->rng, n)]);
	assert(!mixed.failed);
	buf_clear(&c->body);
	buf_str(&c->body, buf_view(&mixed));
}

/* --- at the sender ------------------------------------------------------------------- */

static size_t index_of(const struct world *w, enum bus_peer peer)
{
	size_t i = 0;

	while (w->services->of[i].peer != peer)
		i++;
	return i;
}

static struct call *new_call(struct world *w, struct proc *p, size_t to,
                             struct str body)
{
	struct call *c = calloc(1, sizeof(*c));

	assert(c);
	c->from = p;
	c->boot = p->boots;
	c->to = to;
	buf_str(&c->body, body);
	assert(!c->body.failed);
	c->next = w->calls;
	w->calls = c;
	return c;
}

enum err net_send(void *arg, enum bus_peer target, struct str body,
                  uint64_t deadline_ms, struct buf *reply)
{
	struct proc *p = arg;
	struct world *w = p->world;
	size_t from = (size_t)(p->service - w->services->of);
	size_t to = index_of(w, target), copies;
	struct call *c;

	CLAIM(w, body.n <= WIRE_MAX);
	if (p->dead)
		return ERR_UNAVAILABLE;
	if (mono_ms() >= deadline_ms)
		return ERR_TIMEOUT;
	c = new_call(w, p, to, body);
	c->deadline = proc_true_time(p, deadline_ms);
	if (happens(w, w->faults.shuffle))
		shuffle(w, c);
	copies = happens(w, w->faults.lose_request) || w->cut[from][to] ? 0
	         : happens(w, w->faults.duplicate)                      ? 2
	                                                                : 1;
	world_say(w, "%s sends %zu bytes to %s%s", p->owner, body.n,
	          w->services->of[to].name,
	          copies == 0   ? ", lost"
	          : copies == 2 ? ", twice"
	                        : "");
	for (size_t i = 0; i < copies; i++)
		world_at(w, w->now + delay(w), request_arrives, c, 0);
	/* An answer may come before this sleeps: not in no time. */
	c->strand = w->strand;
	c->ticket = w->tickets + 1;
	strand_sleep(w, c->deadline);
	if (p->dead)
		return ERR_UNAVAILABLE;
	if (!c->done) {
		c->done = true;
		return ERR_TIMEOUT;
	}
	if (!c->err)
		buf_str(reply, buf_view(&c->reply));
	return c->err;
}

static void drop_answers(struct world *w)
{
	for (size_t i = 0; i < w->heap_n; i++) {
		struct timer *t = &w->heap[i];

		if (t->fire == answer_arrives && t->n) {
			struct answer *a = t->arg;

			buf_fini(&a->bytes);
			free(a);
		}
	}
	w->heap_n = 0;
}

void net_free(struct world *w)
{
	drop_answers(w);
	while (w->calls) {
		struct call *c = w->calls;

		w->calls = c->next;
		buf_fini(&c->body);
		buf_fini(&c->reply);
		free(c);
	}
}
