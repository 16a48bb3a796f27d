#include "common/base/clock.h"
#include "tests/sim/cache_net_inner.h"
#include "tests/sim/fiber.h"
#include "tests/sim/heap.h"

#include <assert.h>

#define REPLIES_MAX 4096
/* More of them in a row are a loop that burns a processor. */
#define IDLE_MAX 200

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

void wire_drop_replies(unsigned owner)
{
	for (size_t i = replies.n; i-- > 0;)
		if (replies.owner[i] == owner)
			__wrap_freeReplyObject(replies.of[i]);
}

/* --- the client's end ------------------------------------------------------------------ */

void wire_signal(struct link *l)
{
	struct end *e = &l->net->ends[l->owner];

	if (l->client_gone)
		return;
	e->woken = true;
	fiber_wake(e);
}

void wire_lose(struct link *l)
{
	if (l->client_gone || l->state == LINK_LOST)
		return;
	fiber_tell("i%u %s connection %u is lost", l->owner,
	           l->ch == WIRE_COMMANDS ? "command" : "message", l->id);
	l->state = LINK_LOST;
	wire_signal(l);
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

void wire_leave(struct link *l)
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
	wire_leave(e->links[ch]);
	e->links[ch] = NULL;
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
	assert(n <= NET_WORDS_MAX);
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

/* --- opening --------------------------------------------------------------------------- */

static void give_up(void *arg)
{
	struct link *l = arg;

	if (l->state == LINK_OPENING)
		wire_lose(l);
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
		wire_lose(l);
	} else if (n->frozen_us > fiber_now_us()) {
		/* The kernel accepts, the server does not answer AUTH. */
		fiber_at(n->frozen_us + net_delay(n), accept_link, l);
	} else {
		l->server_gone = false;
		l->state = LINK_OPEN;
		wire_signal(l);
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
	fiber_at(fiber_now_us() + 2 * net_delay(n), accept_link, l);
	fiber_at(fiber_now_us() + timeout_ms * 1000, give_up, l);
	return OK;
}

struct wire wire_of(struct end *e)
{
	return (struct wire){.arg = e,
	                     .open = wire_open,
	                     .is_open = wire_is_open,
	                     .close = wire_close,
	                     .send = wire_send,
	                     .receive = wire_receive,
	                     .wait = wire_wait,
	                     .wake = wire_wake};
}
