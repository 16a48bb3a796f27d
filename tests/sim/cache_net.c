#include "tests/sim/cache_net_inner.h"

#include "common/cache/remote.h"
#include "tests/sim/fiber.h"
#include "tests/sim/heap.h"

#include <assert.h>
#include <stdio.h>

/* --- queues ------------------------------------------------------------------------- */

void queue_init(struct queue *q)
{
	*q = (struct queue){.tail = &q->head};
}

static struct parcel *queue_take(struct queue *q)
{
	struct parcel *p = q->head;

	q->head = p->next;
	if (!q->head)
		q->tail = &q->head;
	return p;
}

static void parcel_free(struct parcel *p)
{
	buf_fini(&p->bytes);
	heap_world_free(p);
}

static void queue_drop(struct queue *q)
{
	while (q->head)
		parcel_free(queue_take(q));
}

/* Some of what is under way is lost: the end of the queue, never its middle. */
static void queue_lose_some(struct queue *q)
{
	struct queue all = *q;
	size_t n = 0, keep;

	for (struct parcel *p = q->head; p; p = p->next)
		n++;
	keep = n ? fiber_random(n + 1) : 0;
	queue_init(q);
	q->last_us = all.last_us;
	q->pumping = all.pumping;
	while (all.head) {
		struct parcel *p = queue_take(&all);

		if (keep == 0) {
			parcel_free(p);
			continue;
		}
		keep--;
		p->next = NULL;
		*q->tail = p;
		q->tail = &p->next;
	}
}

uint64_t net_delay(const struct net *n)
{
	uint64_t most = n->conf.delay_max_us;

	if (fiber_now_us() < n->slow_us)
		most += n->slow_most_us;
	return n->conf.delay_min_us +
	       fiber_random(most - n->conf.delay_min_us + 1);
}

static void pump_up(void *arg);
static void pump_down(void *arg);

static void start_pump(struct link *l, bool up)
{
	struct queue *q = up ? &l->up : &l->down;

	if (q->pumping || !q->head)
		return;
	q->pumping = true;
	fiber_at(later_of(q->head->due_us, l->stalled_us),
	         up ? pump_up : pump_down, l);
}

struct parcel *queue_put(struct link *l, bool up, bool is_end)
{
	struct queue *q = up ? &l->up : &l->down;
	struct parcel *p = heap_world_new(sizeof(*p));

	p->is_end = is_end;
	p->due_us = later_of(q->last_us, fiber_now_us() + net_delay(l->net));
	q->last_us = p->due_us;
	*q->tail = p;
	q->tail = &p->next;
	start_pump(l, up);
	return p;
}

static void pump_down(void *arg)
{
	struct link *l = arg;
	struct parcel *p;
	int fed;

	l->down.pumping = false;
	while (l->down.head && l->stalled_us <= fiber_now_us() &&
	       l->down.head->due_us <= fiber_now_us()) {
		p = queue_take(&l->down);
		if (p->is_end)
			wire_lose(l);
		else if (!l->client_gone && l->state == LINK_OPEN) {
			fed = redisReaderFeed(l->reader, p->bytes.p,
			                      p->bytes.n);
			assert(fed == REDIS_OK);
			wire_signal(l);
		}
		parcel_free(p);
	}
	start_pump(l, false);
}

/* --- the server's end ------------------------------------------------------------------ */

static struct str shown(struct str s)
{
	bool plain = s.n < 48;

	for (size_t i = 0; plain && i < s.n; i++)
		plain = s.p[i] >= ' ' && s.p[i] <= '~';
	return plain ? s : STR("...");
}

static void tell_words(struct link *l, size_t n, const struct str *words)
{
	AUTO_BUF b = {0};

	if (!fiber_telling())
		return;
	for (size_t i = 0; i < n && b.n < 300; i++) {
		struct str s = shown(words[i]);

		buf_printf(&b, " %.*s", (int)s.n, s.p);
	}
	fiber_tell("connection %u runs%.*s", l->id, (int)b.n, b.p);
}

static void answer(struct link *l, const struct buf *out)
{
	/* In two pieces now and then: a reader must bear it. */
	size_t cut = out->n > 1 && fiber_chance(200) ? fiber_random(out->n) : 0;
	struct parcel *p;

	if (l->is_cut)
		return;
	if (cut > 0) {
		p = queue_put(l, false, false);
		buf_add(&p->bytes, out->p, cut);
	}
	p = queue_put(l, false, false);
	buf_add(&p->bytes, out->p + cut, out->n - cut);
}

static void execute(struct link *l, const struct parcel *p)
{
	struct str words[NET_WORDS_MAX];
	AUTO_BUF out = {0};
	size_t n = 0, at = 0;

	while (at < p->bytes.n) {
		assert(n < NET_WORDS_MAX);
		memcpy(&words[n].n, p->bytes.p + at, sizeof(size_t));
		at += sizeof(size_t);
		words[n].p = p->bytes.p + at;
		at += words[n++].n;
	}
	tell_words(l, n, words);
	redis_model_run(l->net->redis, &l->session, n, words, &out);
	answer(l, &out);
}

/* The server's kernel knows no such connection, and says so. */
static void reset(struct link *l)
{
	queue_drop(&l->down);
	(void)queue_put(l, false, true);
}

static void arrive(struct link *l, const struct parcel *p)
{
	if (l->server_gone) {
		if (l->net->up)
			reset(l);
	} else if (p->is_end) {
		l->server_gone = true;
	} else {
		execute(l, p);
	}
}

static void pump_up(void *arg)
{
	struct link *l = arg;
	struct parcel *p;

	if (l->net->up && l->net->frozen_us > fiber_now_us()) {
		/* It wakes to all of them at once, in any order. */
		fiber_at(l->net->frozen_us + fiber_random(2000), pump_up, l);
		return;
	}
	l->up.pumping = false;
	while (l->up.head && l->stalled_us <= fiber_now_us() &&
	       l->up.head->due_us <= fiber_now_us()) {
		p = queue_take(&l->up);
		arrive(l, p);
		parcel_free(p);
	}
	start_pump(l, true);
}

static unsigned publish(void *arg, struct str channel, struct str payload)
{
	struct net *n = arg;
	unsigned heard = 0;

	for (struct link *l = n->links; l; l = l->next) {
		AUTO_BUF out = {0};

		if (l->server_gone || !l->session.subscribed ||
		    !str_eq((struct str){l->session.channel,
		                         l->session.channel_n},
		            channel))
			continue;
		redis_model_message(channel, payload, &out);
		answer(l, &out);
		heard++;
	}
	return heard;
}

/* --- faults ----------------------------------------------------------------------------- */

void net_stall(struct net *n, unsigned owner, enum wire_channel ch,
               uint64_t until_us)
{
	struct link *l = n->ends[owner].links[ch];

	if (!l)
		return;
	l->stalled_us = later_of(l->stalled_us, until_us);
	l->up.last_us = later_of(l->up.last_us, until_us);
	l->down.last_us = later_of(l->down.last_us, until_us);
}

static void cut(struct link *l, bool silently)
{
	if (l->is_cut)
		return;
	l->is_cut = true;
	queue_lose_some(&l->up);
	queue_lose_some(&l->down);
	if (l->up.head) /* what it still gets, then no more */
		(void)queue_put(l, true, true);
	else
		l->server_gone = true;
	if (!silently)
		(void)queue_put(l, false, true);
}

void net_cut(struct net *n, unsigned owner, enum wire_channel ch, bool silently)
{
	struct link *l = n->ends[owner].links[ch];

	if (l && l->state == LINK_OPEN)
		cut(l, silently);
}

void net_refuse(struct net *n, unsigned owner, uint64_t until_us)
{
	n->ends[owner].refuse_us = until_us;
}

void net_pace(struct net *n, uint64_t min_us, uint64_t max_us)
{
	n->conf.delay_min_us = min_us;
	n->conf.delay_max_us = max_us;
}

void net_slow(struct net *n, uint64_t most_us, uint64_t until_us)
{
	n->slow_most_us = most_us;
	n->slow_us = until_us;
}

void net_redis_dump(struct net *n)
{
	redis_data_free(n->dump);
	n->dump = redis_model_dump(n->redis);
}

void net_redis_kill(struct net *n, bool silently)
{
	n->up = false;
	for (struct link *l = n->links; l; l = l->next) {
		if (l->server_gone)
			continue;
		l->server_gone = true;
		queue_drop(&l->up);
		queue_lose_some(&l->down);
		if (!silently)
			(void)queue_put(l, false, true);
	}
}

void net_redis_start(struct net *n, enum redis_return how)
{
	struct redis_data *same = redis_model_dump(n->redis);
	char run[41];

	(void)snprintf(run, sizeof(run), "%040u", ++n->runs);
	redis_model_start(n->redis, run,
	                  how == REDIS_SAME      ? same
	                  : how == REDIS_LAGGING ? n->dump
	                                         : NULL);
	redis_data_free(same);
	n->up = true;
	n->frozen_us = 0;
}

bool net_redis_is_up(const struct net *n)
{
	return n->up;
}

void net_redis_freeze(struct net *n, uint64_t until_us)
{
	n->frozen_us = until_us;
}

struct redis_model *net_redis(struct net *n)
{
	return n->redis;
}

/* --- life -------------------------------------------------------------------------------- */

static uint64_t redis_now_ms(void *arg)
{
	(void)arg;
	return 1000000 + fiber_now_us() / 1000;
}

static void raised(void *arg, unsigned slot)
{
	const struct net *n = arg;

	n->conf.raised(n->conf.arg, slot);
}

struct net *net_new(const struct net_conf *conf)
{
	struct net *n = heap_world_new(sizeof(*n));
	const struct redis_hooks hooks = {n, redis_now_ms, publish, raised};

	n->conf = *conf;
	n->redis = redis_model_new(&hooks);
	for (unsigned i = 0; i < NET_ENDS; i++) {
		struct end *e = &n->ends[i];

		e->net = n;
		e->owner = i;
		e->wire = wire_of(e);
	}
	net_redis_start(n, REDIS_EMPTY);
	return n;
}

static void link_free(struct link *l)
{
	queue_drop(&l->up);
	queue_drop(&l->down);
	if (l->read)
		freeReplyObject(l->read);
	redisReaderFree(l->reader);
	heap_world_free(l);
}

void net_free(struct net *n)
{
	while (n->links) {
		struct link *l = n->links;

		n->links = l->next;
		link_free(l);
	}
	for (unsigned i = 0; i < NET_ENDS; i++)
		wire_drop_replies(i);
	redis_data_free(n->dump);
	redis_model_free(n->redis);
	heap_world_free(n);
}

const struct wire *net_wire(struct net *n, unsigned owner)
{
	return &n->ends[owner].wire;
}

void net_process_over(struct net *n, unsigned owner)
{
	struct end *e = &n->ends[owner];

	for (unsigned ch = 0; ch < WIRE_CHANNELS; ch++) {
		if (e->links[ch])
			wire_leave(e->links[ch]);
		e->links[ch] = NULL;
	}
	e->woken = false;
	wire_drop_replies(owner);
}

unsigned net_under_way(const struct net *n, unsigned owner)
{
	const struct link *l = n->ends[owner].links[WIRE_COMMANDS];

	return l && l->state == LINK_OPEN ? l->under_way : 0;
}

bool net_connected(const struct net *n, unsigned owner)
{
	for (unsigned ch = 0; ch < WIRE_CHANNELS; ch++) {
		const struct link *l = n->ends[owner].links[ch];

		if (!l || l->state != LINK_OPEN)
			return false;
	}
	return true;
}
