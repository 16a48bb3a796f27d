#include "common/bus/peer.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static struct ring *bucket_of(struct peer *p, uint64_t cid)
{
	/* The low bits count the client's slots: as good as a hash. */
	return &p->bucket[cid % PEER_BUCKETS];
}

struct bus_item *item_find(struct peer *p, uint64_t cid)
{
	struct ring *head = bucket_of(p, cid);

	for (struct ring *at = head->next; at != head; at = at->next) {
		struct bus_item *it = RING_OF(struct bus_item, at, at);

		if (it->cid == cid)
			return it;
	}
	return NULL;
}

struct bus_item *item_new(struct peer *p, uint64_t cid, uint32_t left_ms,
                          uint64_t now_ms)
{
	struct bus_item *it;

	if (ring_empty(&p->spare)) {
		it = calloc(1, sizeof(*it));
		if (!it)
			return NULL;
	} else {
		it = RING_OF(struct bus_item, at, p->spare.next);
		ring_del(&it->at);
	}
	it->p = p;
	it->from = p->link.peer;
	it->cid = cid;
	it->state = ITEM_ARRIVING;
	atomic_store_explicit(&it->cancelled, false, memory_order_relaxed);
	it->deadline_ms = now_ms + left_ms;
	it->bytes.max = BUS_REQUEST_MAX;
	it->bulk = (struct bulk){.cid = cid, .credit = BUS_CREDIT};
	it->room = BUS_CREDIT;
	it->owed = 0;
	ring_add(bucket_of(p, cid), &it->at);
	atomic_fetch_add(&p->refs, 1);
	return it;
}

static void buf_rest(struct buf *b)
{
	buf_clear(b);
	if (b->cap > ITEM_KEEP)
		buf_fini(b);
}

/* The caller holds a reference of its own to the peer. */
void item_free(struct bus_item *it)
{
	struct peer *p = it->p;

	if (it->state == ITEM_ARRIVING)
		atomic_fetch_sub(&p->s->arriving, it->bytes.n);
	else if (it->state == ITEM_WORKING)
		atomic_fetch_sub(&p->s->in_work, 1);
	link_bulk_drop(&it->bulk);
	ring_del(&it->at);
	buf_rest(&it->bytes);
	buf_rest(&it->reply);
	ring_add(&p->spare, &it->at);
	atomic_fetch_sub(&p->refs, 1);
}

bool item_refuse_cid(struct peer *p, uint64_t cid, enum err e)
{
	struct item out = {.kind = ITEM_REFUSE, .cid = cid, .code = e};

	COUNT(p->s, refused);
	return link_put(&p->link, &out, mono_ms()) == OK;
}

/* --- what the callee sees ---------------------------------------------------- */

struct str bus_item_bytes(const struct bus_item *it)
{
	return buf_view(&it->bytes);
}

uint64_t bus_item_deadline_ms(const struct bus_item *it)
{
	return it->deadline_ms;
}

enum bus_peer bus_item_peer(const struct bus_item *it)
{
	return it->from;
}

bool bus_item_cancelled(const struct bus_item *it)
{
	return atomic_load_explicit(&it->cancelled, memory_order_relaxed);
}

/* Under the lock: waits until some bytes may go. */
static enum err wait_credit(struct bus_item *it)
{
	struct peer *p = it->p;
	struct timespec t = {
		.tv_sec = (time_t)(it->deadline_ms / 1000),
		.tv_nsec = (long)(it->deadline_ms % 1000) * 1000000,
	};

	for (;;) {
		if (p->gone || p->link.heard_bye || bus_item_cancelled(it))
			return ERR_PEER_LOST;
		if (it->bulk.credit > 0)
			return OK;
		if (pthread_cond_timedwait(&p->credit, &p->lock, &t) ==
		    ETIMEDOUT)
			return ERR_TIMEOUT;
	}
}

static enum err send_part(struct bus_item *it, struct str *left)
{
	struct peer *p = it->p;
	struct item out = {.kind = ITEM_PART, .cid = it->cid};
	size_t n = left->n < BUS_PART_MAX ? left->n : BUS_PART_MAX;
	enum err e;

	pthread_mutex_lock(&p->lock);
	e = wait_credit(it);
	if (!e) {
		n = n < it->bulk.credit ? n : it->bulk.credit;
		out.flags = it->bulk.begun ? 0 : ITEM_FIRST;
		out.bytes = (struct str){left->p, n};
		e = link_put(&p->link, &out, mono_ms());
	}
	if (!e) {
		it->bulk.begun = true;
		it->bulk.credit -= n;
		left->p += n;
		left->n -= n;
	}
	peer_unlock_and_send(p);
	return e;
}

enum err bus_item_part(struct bus_item *it, struct str bytes)
{
	while (bytes.n) {
		enum err e = send_part(it, &bytes);

		if (e)
			return e;
	}
	return OK;
}

/* The reply leaves in parts as credit comes; false without memory. */
static bool end_in_parts(struct bus_item *it, struct str bytes)
{
	/* Not into it->bytes: what is replied may be a slice of it. */
	it->reply.max = BUS_REPLY_MAX;
	buf_add(&it->reply, bytes.p, bytes.n);
	if (it->reply.failed)
		return false;
	it->state = ITEM_LEAVING;
	atomic_fetch_sub(&it->p->s->in_work, 1);
	it->bulk.left = buf_view(&it->reply);
	link_bulk(&it->p->link, &it->bulk);
	return true;
}

/* Under the lock; false when the reply cannot be said for lack of memory. */
static bool end_locked(struct bus_item *it, struct str bytes, bool *keep)
{
	struct peer *p = it->p;
	struct item out = {.kind = ITEM_REPLY, .cid = it->cid, .bytes = bytes};

	*keep = false;
	if (p->gone || p->link.heard_bye)
		return true;
	/* Nobody waits for it.  What is larger than its credit would stay here
	 * for ever, because nobody consumes it either. */
	if (bus_item_cancelled(it))
		return item_refuse_cid(p, it->cid, ERR_TIMEOUT);
	COUNT(p->s, replies);
	if (bytes.n <= BUS_PART_MAX && !it->bulk.begun)
		return link_put(&p->link, &out, mono_ms()) == OK;
	if (bytes.n > BUS_REPLY_MAX) {
		log_error(NULL, "bus.reply_too_large",
		          LOG_U64("bytes", bytes.n));
		return item_refuse_cid(p, it->cid, ERR_INTERNAL);
	}
	*keep = end_in_parts(it, bytes);
	return *keep;
}

/* Ends the callee's ownership. */
static void finish(struct bus_item *it, struct str bytes, enum err e)
{
	struct peer *p = it->p;
	bool keep = false, said = true;

	atomic_fetch_add(&p->refs, 1);
	pthread_mutex_lock(&p->lock);
	assert(it->state == ITEM_WORKING);
	if (!e)
		said = end_locked(it, bytes, &keep);
	else if (!p->gone && !p->link.heard_bye)
		said = item_refuse_cid(p, it->cid, e);
	if (!keep)
		item_free(it);
	/* Without memory to answer, the end of the connection is the answer. */
	if (!said)
		peer_shun(p);
	peer_unlock_and_send(p);
	peer_unref(p);
}

void bus_item_end(struct bus_item *it, struct str bytes)
{
	finish(it, bytes, OK);
}

void bus_item_refuse(struct bus_item *it, enum err e)
{
	finish(it, (struct str){0}, e ? e : ERR_INTERNAL);
}
