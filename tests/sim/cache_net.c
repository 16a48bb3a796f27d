#include "tests/sim/cache_net.h"

#include "common/base/clock.h"
#include "common/cache/remote.h"
#include "tests/sim/fiber.h"
#include "tests/sim/heap.h"

#include <assert.h>
#include <stdio.h>

#define REPLIES_MAX 4096
#define WORDS_MAX   512
/* More of them in a row are a loop that burns a processor. */
#define IDLE_MAX 200

/* What travels: a command, or bytes of answers. */
struct parcel {
	struct parcel *next;
	uint64_t due_us;
	bool is_end; /* nothing comes after it */
	struct buf bytes;
};

struct queue {
	struct parcel *head, **tail;
	uint64_t last_us; /* the next is not due before it */
	bool pumping;
};

enum link_state { LINK_OPENING, LINK_OPEN, LINK_LOST };

struct link {
	struct link *next;
	struct net *net;
	unsigned owner, id;
	enum wire_channel ch;
	enum link_state state; /* as the client sees it */
	bool client_gone, server_gone;
	bool is_cut; /* nothing that is answered from now on arrives */

	uint64_t stalled_us;

	struct queue up, down;
	struct redis_session session;
	redisReader *reader;
	struct redisReply *read; /* taken out of it, not received yet */
	unsigned under_way;
};

struct end {
	struct net *net;
	unsigned owner;
	struct wire wire;
	struct link *links[WIRE_CHANNELS]; /* NULL: closed */
	bool woken;
	unsigned idle; /* waits in a row that were none, for nothing */
	uint64_t refuse_us;
};

struct net {
	struct net_conf conf;
	struct end ends[NET_ENDS];
	struct link *links;
	unsigned ids, runs;
	struct redis_model *redis;
	struct redis_data *dump;
	bool up;
	uint64_t frozen_us, slow_us, slow_most_us;
};

/* Answers are libhiredis's memory, so they are counted here. */
static struct {
	struct redisReply *of[REPLIES_MAX];
	unsigned owner[REPLIES_MAX];
	size_t n;
} replies;

/* --- answers handed out ------------------------------------------------------------ */

void __real_freeReplyObject(void *reply);
void __wrap_freeReplyObject(void *reply);

void __wrap_freeReplyObject(void *reply)
{
	for (size_t i = 0; reply && i < replies.n; i++) {
		if (replies.of[i] != reply)
			continue;
		replies.n--;
		replies.of[i] = replies.of[replies.n];
		replies.owner[i] = replies.owner[replies.n];
		break;
	}
	__real_freeReplyObject(reply);
}

static void hand_out(struct redisReply *reply, unsigned owner)
{
	assert(replies.n < REPLIES_MAX);
	replies.of[replies.n] = reply;
	replies.owner[replies.n++] = owner;
}

unsigned net_replies(unsigned owner)
{
	unsigned n = 0;

	for (size_t i = 0; i < replies.n; i++)
		n += replies.owner[i] == owner;
	return n;
}

static void drop_replies(unsigned owner)
{
	for (size_t i = replies.n; i-- > 0;)
		if (replies.owner[i] == owner)
			__wrap_freeReplyObject(replies.of[i]);
}

/* --- queues ------------------------------------------------------------------------- */

static void queue_init(struct queue *q)
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
	struct parcel **at = &q->head, *rest;
	size_t n = 0;

	for (struct parcel *p = q->head; p; p = p->next)
		n++;
	for (size_t keep = n ? fiber_random(n + 1) : 0; keep > 0; keep--)
		at = &(*at)->next;
	q->tail = at;
	rest = *at;
	*at = NULL;
	while (rest) {
		struct parcel *p = rest;

		rest = p->next;
		parcel_free(p);
	}
}

static uint64_t later_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t delay(const struct net *n)
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

static struct parcel *queue_put(struct link *l, bool up, bool is_end)
{
	struct queue *q = up ? &l->up : &l->down;
	struct parcel *p = heap_world_new(sizeof(*p));

	p->is_end = is_end;
	p->due_us = later_of(q->last_us, fiber_now_us() + delay(l->net));
	q->last_us = p->due_us;
	*q->tail = p;
	q->tail = &p->next;
	start_pump(l, up);
	return p;
}

/* --- the client's end ------------------------------------------------------------------ */

static void signal_end(struct link *l)
{
	struct end *e = &l->net->ends[l->owner];

	if (l->client_gone)
		return;
	e->woken = true;
	fiber_wake(e);
}

static void lose(struct link *l)
{
	if (l->client_gone || l->state == LINK_LOST)
		return;
	fiber_tell("i%u %s connection %u is lost", l->owner,
	           l->ch == WIRE_COMMANDS ? "command" : "message", l->id);
	l->state = LINK_LOST;
	signal_end(l);
}

static void pump_down(void *arg)
{
	struct link *l = arg;
	struct parcel *p;

	l->down.pumping = false;
	while (l->down.head && l->stalled_us <= fiber_now_us() &&
	       l->down.head->due_us <= fiber_now_us()) {
		p = queue_take(&l->down);
		if (p->is_end)
			lose(l);
		else if (!l->client_gone && l->state == LINK_OPEN) {
			assert(redisReaderFeed(l->reader, p->bytes.p,
			                       p->bytes.n) == REDIS_OK);
			signal_end(l);
		}
		parcel_free(p);
	}
	start_pump(l, false);
}

static void wire_wake(void *arg)
{
	struct end *e = arg;

	e->woken = true;
	fiber_wake(e);
}

/* The next answer, if it is there whole. */
static bool can_read(struct link *l)
{
	void *reply = NULL;

	if (!l->read && l->reader &&
	    redisReaderGetReply(l->reader, &reply) == REDIS_OK)
		l->read = reply;
	return l->read != NULL;
}

static void wire_wait(void *arg, uint64_t until_ms)
{
	struct end *e = arg;
	uint64_t now_ms = mono_ms();

	for (unsigned ch = 0; ch < WIRE_CHANNELS; ch++) {
		struct link *l = e->links[ch];

		if (l && (can_read(l) || l->state == LINK_LOST))
			e->woken = true;
	}
	if (e->woken || until_ms > now_ms)
		e->idle = 0;
	else if (++e->idle > IDLE_MAX)
		fiber_fail("i%u asks for nothing, again and again", e->owner);
	if (!e->woken)
		(void)fiber_wait_local(e, until_ms * 1000);
	e->woken = false;
}

static enum err wire_receive(void *arg, enum wire_channel ch,
                             struct redisReply **out)
{
	struct end *e = arg;
	struct link *l = e->links[ch];

	fiber_yield();
	if (!l)
		return ERR_UNAVAILABLE;
	if (can_read(l)) {
		*out = l->read;
		l->read = NULL;
		if (l->under_way > 0)
			l->under_way--;
		hand_out(*out, e->owner);
		return OK;
	}
	return l->state == LINK_LOST ? ERR_UNAVAILABLE : ERR_BUSY;
}

static bool wire_is_open(void *arg, enum wire_channel ch)
{
	const struct end *e = arg;

	return e->links[ch] && e->links[ch]->state == LINK_OPEN;
}

static void leave(struct link *l)
{
	if (l->client_gone)
		return;
	l->client_gone = true;
	/* What was sent still arrives, then the end of it. */
	if (!l->server_gone)
		(void)queue_put(l, true, true);
}

static void wire_close(void *arg, enum wire_channel ch)
{
	struct end *e = arg;

	if (!e->links[ch])
		return;
	fiber_tell("closes %s connection %u",
	           ch == WIRE_COMMANDS ? "command" : "message",
	           e->links[ch]->id);
	leave(e->links[ch]);
	e->links[ch] = NULL;
}

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

static bool wire_send(void *arg, enum wire_channel ch, size_t n,
                      const struct str *words)
{
	struct end *e = arg;
	struct link *l = e->links[ch];
	struct buf b = {0};
	struct parcel *p;
	char *copy;

	fiber_yield();
	if (!l || l->state != LINK_OPEN)
		return false;
	assert(n <= WORDS_MAX);
	for (size_t i = 0; i < n; i++)
		b.n += sizeof(size_t) + words[i].n;
	copy = heap_world_new(b.n);
	b.n = 0;
	for (size_t i = 0; i < n; i++) {
		memcpy(copy + b.n, &words[i].n, sizeof(size_t));
		b.n += sizeof(size_t);
		if (words[i].n > 0)
			memcpy(copy + b.n, words[i].p, words[i].n);
		b.n += words[i].n;
	}
	p = queue_put(l, true, false);
	p->bytes = (struct buf){copy, b.n, b.n, b.n, false};
	l->under_way++;
	return true;
}

/* --- the server's end ------------------------------------------------------------------ */

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
	struct str words[WORDS_MAX];
	AUTO_BUF out = {0};
	size_t n = 0, at = 0;

	while (at < p->bytes.n) {
		assert(n < WORDS_MAX);
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

/* --- opening --------------------------------------------------------------------------- */

static void give_up(void *arg)
{
	struct link *l = arg;

	if (l->state == LINK_OPENING)
		lose(l);
}

static void accept_link(void *arg)
{
	struct link *l = arg;
	struct net *n = l->net;

	if (l->state != LINK_OPENING || l->client_gone)
		return;
	if (l->stalled_us > fiber_now_us()) {
		fiber_at(l->stalled_us, accept_link, l);
	} else if (!n->up || n->ends[l->owner].refuse_us > fiber_now_us()) {
		lose(l);
	} else if (n->frozen_us > fiber_now_us()) {
		/* The kernel accepts, the server does not answer AUTH. */
		fiber_at(n->frozen_us + delay(n), accept_link, l);
	} else {
		l->server_gone = false;
		l->state = LINK_OPEN;
		signal_end(l);
	}
}

static enum err wire_open(void *arg, enum wire_channel ch, uint64_t timeout_ms)
{
	struct end *e = arg;
	struct net *n = e->net;
	struct link *l;

	fiber_yield();
	assert(!e->links[ch]);
	if (fiber_chance(10))
		return ERR_UNAVAILABLE;
	l = heap_world_new(sizeof(*l));
	*l = (struct link){.next = n->links,
	                   .net = n,
	                   .owner = e->owner,
	                   .id = ++n->ids,
	                   .ch = ch,
	                   .server_gone = true,
	                   .reader = redisReaderCreate()};
	assert(l->reader);
	queue_init(&l->up);
	queue_init(&l->down);
	n->links = l;
	e->links[ch] = l;
	fiber_tell("opens %s connection %u",
	           ch == WIRE_COMMANDS ? "command" : "message", l->id);
	fiber_at(fiber_now_us() + 2 * delay(n), accept_link, l);
	fiber_at(fiber_now_us() + timeout_ms * 1000, give_up, l);
	return OK;
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
		e->wire = (struct wire){.arg = e,
		                        .open = wire_open,
		                        .is_open = wire_is_open,
		                        .close = wire_close,
		                        .send = wire_send,
		                        .receive = wire_receive,
		                        .wait = wire_wait,
		                        .wake = wire_wake};
	}
	net_redis_start(n, REDIS_EMPTY);
	return n;
}

static void link_free(struct link *l)
{
	queue_drop(&l->up);
	queue_drop(&l->down);
	if (l->read)
		__real_freeReplyObject(l->read);
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
		drop_replies(i);
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
			leave(e->links[ch]);
		e->links[ch] = NULL;
	}
	e->woken = false;
	drop_replies(owner);
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
