#include "common/bus/calls.h"

#include "common/base/clock.h"

#include <stdlib.h>

#define SLOT_MASK    ((UINT64_C(1) << SLOT_BITS) - 1)
#define ATTEMPT_MASK (UINT64_C(15) << SLOT_BITS)
#define GEN_SHIFT    (SLOT_BITS + 4)

static struct call *call_at(struct ring *at)
{
	return RING_OF(struct call, at, at);
}

/* --- slots ------------------------------------------------------------------ */

static struct call *slot_at(const struct bus_client *c, uint64_t slot)
{
	if (slot >= c->slots)
		return NULL;
	return &c->chunks[slot / SLOTS_CHUNK][slot % SLOTS_CHUNK];
}

static bool slots_grow(struct bus_client *c)
{
	size_t n = c->slots / SLOTS_CHUNK;
	struct call **v, *chunk;

	if (c->slots > SLOT_MASK - SLOTS_CHUNK)
		return false;
	v = realloc(c->chunks, (n + 1) * sizeof(struct call *));
	if (!v)
		return false;
	c->chunks = v;
	chunk = calloc(SLOTS_CHUNK, sizeof(*chunk));
	if (!chunk)
		return false;
	v[n] = chunk;
	for (uint32_t i = 0; i < SLOTS_CHUNK; i++) {
		chunk[i].slot = c->slots + i;
		ring_add(&c->free, &chunk[i].at);
	}
	c->slots += SLOTS_CHUNK;
	return true;
}

static struct call *slot_get(struct bus_client *c)
{
	struct call *k;

	if (ring_empty(&c->free) && !slots_grow(c))
		return NULL;
	k = call_at(c->free.next);
	ring_del(&k->at);
	*k = (struct call){
		.id = ++c->generation << GEN_SHIFT | k->slot,
		.slot = k->slot,
		.bytes = k->bytes,
	};
	buf_clear(&k->bytes);
	return k;
}

static void slot_put(struct bus_client *c, struct call *k)
{
	k->id = 0;
	if (k->bytes.cap > BUFFER_KEEP)
		buf_fini(&k->bytes);
	buf_fini(&k->reply);
	ring_add(&c->free, &k->at);
}

static uint64_t cid_of(const struct call *k)
{
	return k->id | (uint64_t)k->attempt << SLOT_BITS;
}

struct call *calls_find(struct bus_client *c, uint64_t id)
{
	struct call *k = slot_at(c, id & SLOT_MASK);

	return k && k->id == id && id ? k : NULL;
}

struct call *calls_find_cid(struct bus_client *c, uint64_t cid)
{
	struct call *k = calls_find(c, cid & ~ATTEMPT_MASK);

	return k && cid_of(k) == cid ? k : NULL;
}

void calls_init(struct bus_client *c, uint64_t now_ms)
{
	ring_init(&c->free);
	ring_init(&c->held);
	wheel_init(&c->wheel, now_ms);
}

void calls_fini(struct bus_client *c)
{
	for (uint32_t i = 0; i < c->slots; i++) {
		struct call *k = slot_at(c, i);

		buf_fini(&k->bytes);
		buf_fini(&k->reply);
	}
	for (uint32_t i = 0; i < c->slots / SLOTS_CHUNK; i++)
		free(c->chunks[i]);
	free(c->chunks);
}

/* --- retry budget ------------------------------------------------------------ */

static void budget_turn(struct budget *b, uint64_t second)
{
	if (second <= b->second)
		return;
	if (second - b->second >= MOVE_SECONDS)
		*b = (struct budget){.second = second};
	while (b->second < second) {
		b->second++;
		b->calls[b->second % MOVE_SECONDS] = 0;
		b->moves[b->second % MOVE_SECONDS] = 0;
	}
}

static bool budget_take(struct budget *b, uint64_t second)
{
	unsigned calls = 0, moves = 0, may;

	budget_turn(b, second);
	for (unsigned i = 0; i < MOVE_SECONDS; i++) {
		calls += b->calls[i];
		moves += b->moves[i];
	}
	may = calls / (100 / MOVE_PERCENT);
	if (moves >= (may > MOVE_FLOOR ? may : MOVE_FLOOR))
		return false;
	b->moves[second % MOVE_SECONDS]++;
	return true;
}

/* --- choice ------------------------------------------------------------------ */

/* Suspects and those that were just lost come last, and only if need be. */
static bool second_rate(const struct replica *r, uint64_t now_ms)
{
	return r->suspect || now_ms < r->ejected_ms;
}

static enum err choose(struct bus_client *c, const struct call *k,
                       uint64_t now_us, bool first_rate_only,
                       struct replica **out)
{
	struct replica *best = NULL;
	bool any = false, best_second = true;
	double best_score = 0;

	for (unsigned i = 0; i < c->of[k->to].n; i++) {
		struct replica *r = c->of[k->to].v[i];
		bool second = second_rate(r, now_us / 1000);
		double score;

		if (!r->up || r->draining || r->leaving || r->refusing_ms ||
		    (second && first_rate_only) || (k->only && r != k->only))
			continue;
		any = true;
		if (r->in_flight >= c->conf.in_flight_max)
			continue;
		score = (r->in_flight + 1) *
		        replica_latency(r, k->route_class, now_us);
		if (best && (second > best_second ||
		             (second == best_second && score >= best_score)))
			continue;
		best = r;
		best_second = second;
		best_score = score;
	}
	if (!best)
		return any ? ERR_BUSY : ERR_UNAVAILABLE;
	*out = best;
	return OK;
}

static uint32_t left_ms(uint64_t deadline_ms, uint64_t now_ms)
{
	uint64_t ms = clock_left(deadline_ms, now_ms);

	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* Puts the call, which is in no list, on the replica. */
static enum err assign(struct bus_client *c, struct call *k, struct replica *r,
                       uint64_t now_us)
{
	struct str bytes = buf_view(&k->bytes);
	uint64_t now_ms = now_us / 1000;
	struct item it = {.kind = ITEM_REQUEST,
	                  .cid = cid_of(k),
	                  .arg = left_ms(k->deadline_ms, now_ms),
	                  .bytes = bytes};
	enum err e;

	trip_name(k->trip, &k->bytes);
	if (bytes.n <= BUS_PART_MAX) {
		e = link_put(&r->link, &it, now_ms);
		if (e)
			return e;
		k->ordinal = link_ordinal(&r->link);
	} else {
		k->bulk = (struct bulk){.cid = it.cid,
		                        .left = bytes,
		                        .credit = BUS_CREDIT,
		                        .deadline_ms = k->deadline_ms};
		link_bulk(&r->link, &k->bulk);
	}
	trip_put(k->trip, r->url, now_us);
	k->r = r;
	k->room = BUS_CREDIT;
	k->start_us = now_us;
	replica_touch(r, k->route_class, now_us);
	ring_add(&r->calls, &k->at);
	r->in_flight++;
	r->sent++;
	c->unsent = true;
	return OK;
}

/* Whether any of it has been handed to the transport. */
static bool has_left(const struct call *k)
{
	if (buf_view(&k->bytes).n <= BUS_PART_MAX)
		return k->ordinal <= k->r->link.left;
	return k->bulk.begun && k->bulk.ordinal <= k->r->link.left;
}

static void timer_set(struct bus_client *c, struct call *k)
{
	wheel_del(&c->wheel, &k->timer);
	k->timer.due_ms = k->deadline_ms;
	if (!k->r && k->held_until_ms < k->deadline_ms)
		k->timer.due_ms = k->held_until_ms;
	wheel_add(&c->wheel, &k->timer);
}

/* Until there is a replica: what cannot have run, or may run again, unless it
 * is for one alone, which may be freed meanwhile. */
static bool hold(struct bus_client *c, struct call *k, uint64_t now_ms)
{
	if (k->only || (k->left_before && !k->retry) ||
	    c->held_n[k->to] >= c->conf.in_flight_max || c->of[k->to].n == 0)
		return false;
	if (k->held_until_ms == 0)
		k->held_until_ms = now_ms + BUS_HOLD_MS;
	k->r = NULL;
	ring_add(&c->held, &k->at);
	c->held_n[k->to]++;
	return true;
}

static const struct replica *replica_at(const struct bus_client *c,
                                        enum bus_peer to, const char *url)
{
	for (unsigned i = 0; i < c->of[to].n; i++)
		if (strcmp(c->of[to].v[i]->url, url) == 0)
			return c->of[to].v[i];
	return NULL;
}

enum err calls_start(struct bus_client *c, const struct bus_call *in,
                     uint64_t *id)
{
	uint64_t now_us = mono_us();
	const struct replica *only = NULL;
	struct replica *r = NULL;
	struct call *k;
	enum err e;

	if (in->only) {
		only = replica_at(c, in->to, in->only);
		if (!only)
			return ERR_UNAVAILABLE;
	}
	if (in->bytes.n > BUS_REQUEST_MAX)
		return ERR_TOO_LARGE;
	if (in->deadline_ms <= now_us / 1000)
		return ERR_TIMEOUT;
	k = slot_get(c);
	if (!k)
		return ERR_NOMEM;
	k->to = in->to;
	k->route_class = in->route_class % BUS_CLASSES;
	k->only = only;
	k->retry = in->retry && !only;
	k->stream = in->stream;
	k->hold_credit = in->hold_credit;
	k->deadline_ms = in->deadline_ms;
	k->max_reply = in->max_reply ? in->max_reply : REPLY_DEFAULT;
	k->on_reply = in->on_reply;
	k->arg = in->arg;
	k->resent = in->resent;
	k->trip = in->trip;
	buf_add(&k->bytes, in->bytes.p, in->bytes.n);
	e = k->bytes.failed ? ERR_NOMEM : choose(c, k, now_us, false, &r);
	if (!e)
		e = assign(c, k, r, now_us);
	else if (e == ERR_UNAVAILABLE && hold(c, k, now_us / 1000))
		e = OK;
	if (e) {
		slot_put(c, k);
		return e;
	}
	timer_set(c, k);
	budget_turn(&c->budget, now_us / 1000000);
	c->budget.calls[c->budget.second % MOVE_SECONDS]++;
	*id = k->id;
	return OK;
}

/* --- ends -------------------------------------------------------------------- */

/* Takes it out of every list but the wheel. */
static void detach(struct bus_client *c, struct call *k)
{
	if (k->r)
		link_bulk_drop(&k->bulk);
	else
		c->held_n[k->to]--;
	ring_del(&k->at);
}

void calls_end(struct bus_client *c, struct call *k, enum err e,
               struct str bytes)
{
	bus_reply_fn *fn = k->on_reply;
	void *arg = k->arg;
	/* bytes may be the reply put together: it outlives the slot. */
	struct buf reply = k->reply;

	k->reply = (struct buf){0};
	trip_over(k->trip, e);
	detach(c, k);
	wheel_del(&c->wheel, &k->timer);
	slot_put(c, k);
	fn(arg, e, bytes, false);
	buf_fini(&reply);
}

void calls_tell_cancel(struct bus_client *c, struct call *k)
{
	struct replica *r = k->r;
	struct item it = {.kind = ITEM_CANCEL, .cid = cid_of(k)};

	if (!r || !r->pipe)
		return;
	if (buf_view(&k->bytes).n > BUS_PART_MAX && !k->bulk.begun) {
		r->in_flight--; /* the peer never heard of it */
		return;
	}
	/* Without memory the peer works on it in vain: no harm. */
	if (link_put(&r->link, &it, mono_ms()) == OK)
		c->unsent = true;
}

void calls_drop(struct bus_client *c, struct call *k)
{
	calls_tell_cancel(c, k);
	detach(c, k);
	wheel_del(&c->wheel, &k->timer);
	slot_put(c, k);
}

void calls_grant(struct bus_client *c, struct call *k, size_t n)
{
	struct item it = {.kind = ITEM_CREDIT, .cid = cid_of(k)};

	k->owed += n;
	if (k->owed < BUS_CREDIT / 2 || !k->r)
		return;
	it.arg = (uint32_t)k->owed;
	/* Without memory it stays owed and goes with the next part. */
	if (link_put(&k->r->link, &it, mono_ms()) != OK)
		return;
	k->room += k->owed;
	k->owed = 0;
	c->unsent = true;
}

/* k is in no list: another replica, or held, or ended with why. */
static void again(struct bus_client *c, struct call *k, enum err why)
{
	uint64_t now_us = mono_us();
	struct replica *r = NULL;
	enum err e;

	k->attempt++;
	trip_over(k->trip, why);
	if (k->resent && k->left_before)
		*k->resent = true;
	k->parts = false;
	k->got = 0;
	k->owed = 0;
	buf_fini(&k->reply);
	e = choose(c, k, now_us, false, &r);
	if (!e)
		e = assign(c, k, r, now_us);
	if (!e) {
		timer_set(c, k);
		return;
	}
	k->r = NULL;
	if (e == ERR_UNAVAILABLE && hold(c, k, now_us / 1000)) {
		timer_set(c, k);
		return;
	}
	/* calls_end() wants it in a list. */
	ring_add(&c->held, &k->at);
	c->held_n[k->to]++;
	calls_end(c, k, why, (struct str){0});
}

/* Of a call that may have run: whether it may be begun once more. */
static bool may_run_again(struct bus_client *c, struct call *k, uint64_t now_us)
{
	if (!k->retry || k->moves >= MOVES_MAX ||
	    !budget_take(&c->budget, now_us / 1000000))
		return false;
	k->moves++;
	return true;
}

void calls_move(struct bus_client *c, struct call *k, enum err why)
{
	struct replica *r = k->r;
	bool left = has_left(k);
	bool may = !k->delivered && k->attempt < ATTEMPTS_MAX;

	if (why == ERR_PEER_LOST && left)
		may = may && may_run_again(c, k, mono_us());
	else if (why == ERR_PEER_LOST)
		why = k->left_before ? ERR_PEER_LOST : ERR_UNAVAILABLE;
	if (!may) {
		r->failed++;
		calls_end(c, k, why, (struct str){0});
		return;
	}
	k->left_before |= left && why == ERR_PEER_LOST;
	r->moved++;
	detach(c, k);
	again(c, k, why);
}

void calls_lost(struct bus_client *c, struct replica *r)
{
	struct ring lost;

	r->in_flight = 0;
	/* Callbacks may cancel others or make new calls: nothing is kept but
	 * the head of a list of our own. */
	ring_take(&lost, &r->calls);
	while (!ring_empty(&lost))
		calls_move(c, call_at(lost.next), ERR_PEER_LOST);
}

void calls_suspect(struct bus_client *c, struct replica *r)
{
	uint64_t now_us = mono_us();
	struct replica *other;
	struct ring all;

	ring_take(&all, &r->calls);
	while (!ring_empty(&all)) {
		struct call *k = call_at(all.next);

		if (k->delivered || k->attempt >= ATTEMPTS_MAX ||
		    choose(c, k, now_us, true, &other) != OK ||
		    !may_run_again(c, k, now_us)) {
			ring_del(&k->at);
			ring_add(&r->calls, &k->at);
			continue;
		}
		calls_tell_cancel(c, k);
		k->left_before |= has_left(k);
		r->moved++;
		detach(c, k);
		again(c, k, ERR_PEER_LOST);
	}
}

void calls_up(struct bus_client *c, enum bus_peer to)
{
	uint64_t now_us = mono_us();
	struct ring *at, *next;

	for (at = c->held.next; at != &c->held; at = next) {
		struct call *k = call_at(at);
		struct replica *r = NULL;

		next = at->next;
		if (k->to != to)
			continue;
		if (choose(c, k, now_us, false, &r) != OK)
			return;
		detach(c, k);
		if (assign(c, k, r, now_us) != OK) {
			k->r = NULL;
			ring_add(&c->held, &k->at);
			c->held_n[to]++;
			return;
		}
		timer_set(c, k);
	}
}

static enum err expired_as(const struct call *k, uint64_t now_ms)
{
	if (k->r || now_ms >= k->deadline_ms)
		return ERR_TIMEOUT;
	return k->left_before ? ERR_PEER_LOST : ERR_UNAVAILABLE;
}

void calls_expire(struct bus_client *c, uint64_t now_ms)
{
	struct wheel_node *n;

	while ((n = wheel_due(&c->wheel, now_ms)) != NULL) {
		struct call *k = RING_OF(struct call, timer, n);

		if (k->r)
			k->r->failed++;
		calls_tell_cancel(c, k);
		calls_end(c, k, expired_as(k, now_ms), (struct str){0});
	}
}
