#include "common/bus/peer.h"

#include "common/base/clock.h"
#include "common/base/guard.h"

#include <stdlib.h>

#define SP_REQUEST 0x80000000u /* marks the last word of an SP header */

/* --- sending ------------------------------------------------------------------ */

/* Bulks whose last part is in a frame: their items are over. */
static void reap(struct peer *p)
{
	struct bulk *b;

	while ((b = link_bulk_done(&p->link)) != NULL)
		item_free(RING_OF(struct bus_item, bulk, b));
}

/* Under the lock: the next frame, with its SP header, if one may go. */
static nng_msg *next_frame(struct peer *p)
{
	nng_msg *m;
	enum err e;

	if (p->busy || p->receiving || p->gone)
		return NULL;
	p->link.keys = &atomic_load(&p->s->keys)->k;
	m = link_next(&p->link, mono_ms(), &e);
	reap(p);
	if (m && (nng_msg_header_append_u32(m, p->pipe) != 0 ||
	          nng_msg_header_append_u32(
			  m, SP_REQUEST | (uint32_t)p->link.seq_out) != 0)) {
		nng_msg_free(m);
		m = NULL;
		e = ERR_NOMEM;
	}
	if (e)
		peer_shun(p);
	if (m) {
		p->busy = true;
		COUNT(p->s, frames_out);
	}
	return m;
}

void peer_unlock_and_send(struct peer *p)
{
	nng_msg *m = next_frame(p);

	pthread_mutex_unlock(&p->lock);
	if (!m)
		return;
	atomic_fetch_add(&p->refs, 1);
	nng_aio_set_msg(p->send, m);
	nng_send_aio(p->s->sock, p->send);
}

static void on_sent(void *arg)
{
	struct peer *p = arg;

	if (nng_aio_result(p->send) != 0) {
		nng_msg_free(nng_aio_get_msg(p->send));
		nng_aio_set_msg(p->send, NULL);
	}
	pthread_mutex_lock(&p->lock);
	p->busy = false;
	peer_unlock_and_send(p);
	peer_unref(p);
}

void peer_put(struct peer *p, enum item_kind kind, struct str bytes)
{
	struct item it = {.kind = kind, .bytes = bytes};

	if (link_put(&p->link, &it, mono_ms()) != OK)
		peer_shun(p);
}

/* --- life ------------------------------------------------------------------------ */

struct peer *peer_new(struct bus_server *s)
{
	struct peer *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return NULL;
	if (nng_aio_alloc(&p->send, on_sent, p) != 0) {
		free(p);
		return NULL;
	}
	nng_aio_set_timeout(p->send, NNG_DURATION_INFINITE);
	p->s = s;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&p->credit, &attr);
	(void)pthread_condattr_destroy(&attr);
	link_init(&p->link, s->conf.self, true, s->conf.self,
	          &atomic_load(&s->keys)->k);
	for (size_t i = 0; i < PEER_BUCKETS; i++)
		ring_init(&p->bucket[i]);
	ring_init(&p->spare);
	return p;
}

void peer_free(struct peer *p)
{
	nng_msg *m = nng_aio_get_msg(p->send);

	/* Left over when a send was started after the aio had been stopped. */
	if (m)
		nng_msg_free(m);
	nng_aio_free(p->send);
	for (struct ring *at = p->spare.next, *next; at != &p->spare;
	     at = next) {
		struct bus_item *it = RING_OF(struct bus_item, at, at);

		next = at->next;
		buf_fini(&it->bytes);
		buf_fini(&it->reply);
		free(it);
	}
	link_fini(&p->link);
	(void)pthread_cond_destroy(&p->credit);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

void peer_begin(struct peer *p, uint32_t pipe)
{
	GUARD(&p->lock);

	p->pipe = pipe;
	p->gone = p->receiving = false;
	p->connected = true;
	p->noise = 0;
	link_reset(&p->link);
}

/* Requests end, or are marked cancelled while the callee has them. */
static void end_items(struct peer *p)
{
	for (size_t i = 0; i < PEER_BUCKETS; i++) {
		struct ring *head = &p->bucket[i], *next;

		for (struct ring *at = head->next; at != head; at = next) {
			struct bus_item *it = RING_OF(struct bus_item, at, at);

			next = at->next;
			if (it->state == ITEM_WORKING)
				atomic_store(&it->cancelled, true);
			else
				item_free(it);
		}
	}
	(void)pthread_cond_broadcast(&p->credit);
}

static void end_locked(struct peer *p)
{
	p->gone = true;
	end_items(p);
	link_reset(&p->link);
}

void peer_end(struct peer *p)
{
	GUARD(&p->lock);

	p->connected = false;
	end_locked(p);
}

void peer_shun(struct peer *p)
{
	if (p->gone)
		return;
	end_locked(p);
	p->noise = 1;
	server_tick_later(p->s);
}

void peer_unref(struct peer *p)
{
	struct bus_server *s = p->s;

	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	GUARD(&s->lock);
	ring_add(&s->spare, &p->at);
}

/* --- receiving ---------------------------------------------------------------------- */

/* The requests of a frame that are whole, to be given to on_item. */
struct batch {
	struct bus_item *v[BUS_FRAME_ITEMS];
	unsigned n;
	uint64_t now_ms;
};

static enum frame_fault refuse(struct peer *p, uint64_t cid, enum err e)
{
	/* Without memory for the answer the connection ends: FRAME_OVERSIZE is
	 * the nearest truth, more than we can hold. */
	return item_refuse_cid(p, cid, e) ? FRAME_OK : FRAME_OVERSIZE;
}

/* Why a request may not be begun; OK: it may. */
static enum err may_begin(const struct bus_server *s, const struct item *in)
{
	if (atomic_load(&s->draining))
		return ERR_UNAVAILABLE;
	if (in->arg == 0)
		return ERR_TIMEOUT;
	if (atomic_load(&s->in_work) >= s->conf.items_max)
		return ERR_BUSY;
	return OK;
}

static void whole(struct peer *p, struct bus_item *it, struct batch *b)
{
	atomic_fetch_sub(&p->s->arriving, it->bytes.n);
	atomic_fetch_add(&p->s->in_work, 1);
	it->state = ITEM_WORKING;
	b->v[b->n++] = it;
}

/* Room for the next parts of a request; nothing is lost when it fails: what is
 * owed goes with the next one. */
static void grant(struct peer *p, struct bus_item *it, size_t n)
{
	struct item out = {.kind = ITEM_CREDIT, .cid = it->cid};

	it->owed += n;
	if (it->owed < BUS_CREDIT / 2)
		return;
	out.arg = (uint32_t)it->owed;
	if (link_put(&p->link, &out, mono_ms()) != OK)
		return;
	it->room += it->owed;
	it->owed = 0;
}

/* Why the bytes cannot be taken; OK: they were. */
static enum err take_bytes(struct peer *p, struct bus_item *it, struct str in)
{
	if (in.n > BUS_REQUEST_MAX - it->bytes.n)
		return ERR_TOO_LARGE;
	if (atomic_load(&p->s->arriving) + in.n > ASSEMBLY_MAX)
		return ERR_BUSY;
	buf_add(&it->bytes, in.p, in.n);
	if (it->bytes.failed)
		return ERR_NOMEM;
	atomic_fetch_add(&p->s->arriving, in.n);
	return OK;
}

/* A request, or its first part. */
static enum frame_fault on_request(struct peer *p, const struct item *in,
                                   bool last, struct batch *b)
{
	struct bus_item *it;
	enum err e = may_begin(p->s, in);

	if (item_find(p, in->cid))
		return FRAME_BAD_ITEM;
	COUNT(p->s, items);
	if (e == ERR_TIMEOUT)
		COUNT(p->s, expired);
	if (e)
		return refuse(p, in->cid, e);
	it = item_new(p, in->cid, in->arg, b->now_ms);
	if (!it)
		return refuse(p, in->cid, ERR_NOMEM);
	e = take_bytes(p, it, in->bytes);
	if (e) {
		item_free(it);
		return refuse(p, in->cid, e);
	}
	it->room -= in->bytes.n;
	if (last)
		whole(p, it, b);
	return FRAME_OK;
}

static enum frame_fault on_part(struct peer *p, const struct item *in,
                                struct batch *b)
{
	struct bus_item *it;
	enum err e;

	if (in->flags & ITEM_FIRST)
		return on_request(p, in, in->flags & ITEM_LAST, b);
	it = item_find(p, in->cid);
	if (!it)
		return FRAME_OK; /* refused while it was under way */
	if (it->state != ITEM_ARRIVING || in->bytes.n > it->room)
		return FRAME_BAD_ITEM;
	e = take_bytes(p, it, in->bytes);
	if (!e && (in->flags & ITEM_LAST) && it->deadline_ms <= b->now_ms) {
		COUNT(p->s, expired);
		e = ERR_TIMEOUT;
	}
	if (e) {
		item_free(it);
		return refuse(p, in->cid, e);
	}
	it->room -= in->bytes.n;
	if (in->flags & ITEM_LAST)
		whole(p, it, b);
	else
		grant(p, it, in->bytes.n);
	return FRAME_OK;
}

static enum frame_fault on_cancel(struct peer *p, const struct item *in)
{
	struct bus_item *it = item_find(p, in->cid);

	if (!it)
		return FRAME_OK;
	if (it->state == ITEM_WORKING) {
		atomic_store(&it->cancelled, true);
		(void)pthread_cond_broadcast(&p->credit);
		return FRAME_OK;
	}
	item_free(it);
	return refuse(p, in->cid, ERR_TIMEOUT);
}

static enum frame_fault on_item(struct peer *p, const struct item *in,
                                struct batch *b)
{
	struct bus_item *it;

	switch (in->kind) {
	case ITEM_REQUEST:
		return on_request(p, in, true, b);
	case ITEM_PART:
		return on_part(p, in, b);
	case ITEM_CANCEL:
		return on_cancel(p, in);
	case ITEM_CREDIT:
		it = item_find(p, in->cid);
		if (it) {
			link_bulk_credit(&p->link, &it->bulk, in->arg);
			(void)pthread_cond_broadcast(&p->credit);
		}
		return FRAME_OK;
	case ITEM_REPLY:
	case ITEM_REFUSE:
	case ITEM_PUSH:
	case ITEM_DRAIN:
	case ITEM_KINDS:
		break;
	}
	return FRAME_BAD_ITEM;
}

/* The other end is about to close: it wants nothing but our bye. */
static void say_bye(struct peer *p)
{
	end_items(p);
	link_bye(&p->link);
}

enum frame_fault peer_frame(struct peer *p, struct str frame)
{
	struct batch b = {.now_ms = mono_ms()};
	struct str items = {0};
	struct item in;
	enum frame_fault f = FRAME_OK;
	bool met;

	pthread_mutex_lock(&p->lock);
	if (p->gone) {
		p->noise++;
		pthread_mutex_unlock(&p->lock);
		return FRAME_OK;
	}
	met = p->link.met;
	p->link.keys = &atomic_load(&p->s->keys)->k;
	f = link_accept(&p->link, frame, wall_ms(), &items);
	p->receiving = true;
	while (!f && item_next(&items, &in))
		f = on_item(p, &in, &b);
	/* Nothing of a bad frame is executed. */
	while (f && b.n)
		item_free(b.v[--b.n]);
	if (f)
		peer_shun(p);
	else if (p->link.heard_bye)
		say_bye(p);
	else if (!met && atomic_load(&p->s->draining))
		peer_put(p, ITEM_DRAIN, (struct str){0});
	pthread_mutex_unlock(&p->lock);

	for (unsigned i = 0; i < b.n; i++)
		p->s->conf.on_item(p->s->conf.arg, b.v[i]);

	pthread_mutex_lock(&p->lock);
	p->receiving = false;
	peer_unlock_and_send(p);
	return f;
}
