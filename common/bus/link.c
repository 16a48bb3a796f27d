#include "common/bus/link.h"

#include "common/base/clock.h"

#include <sodium.h>
#include <stdlib.h>

/*
 * Small items leave room for one part in each frame, so that a large message
 * moves on however many small ones there are.
 */
#define SMALL_ITEMS (BUS_FRAME_ITEMS - 1)
#define SMALL_BYTES (BUS_FRAME_MAX - BUS_PART_MAX - ITEM_HEAD)
#define ROOM_MIN    ((size_t)1024)
#define ROOM_MAX    ((size_t)64 << 10)
#define SP_ROOM     ((size_t)16)
/* Below this much waiting the remaining times in a frame are true enough. */
#define AGE_MIN_MS 2

uint64_t link_random(void)
{
	uint64_t v;

	do
		randombytes_buf(&v, sizeof(v));
	while (v == 0);
	return v;
}

/* --- life ---------------------------------------------------------------- */

static void list_clear(struct ring *head)
{
	while (!ring_empty(head))
		ring_del(head->next);
}

void link_init(struct link *l, enum bus_peer self, bool serving,
               enum bus_peer peer, const struct bus_keys *keys)
{
	*l = (struct link){
		.self = self,
		.serving = serving,
		.peer = peer,
		.keys = keys,
	};
	ring_init(&l->ready);
	ring_init(&l->dry);
	ring_init(&l->done);
}

static void drop_frames(struct link *l)
{
	for (size_t i = l->full_head; i < l->full_n; i++)
		nng_msg_free(l->full[i].m);
	l->full_head = l->full_n = 0;
	if (l->open)
		nng_msg_free(l->open);
	l->open = NULL;
	l->open_items = 0;
}

void link_fini(struct link *l)
{
	drop_frames(l);
	free(l->full);
	l->full = NULL;
	l->full_cap = 0;
}

static void drop_all(struct link *l)
{
	drop_frames(l);
	list_clear(&l->ready);
	list_clear(&l->dry);
	list_clear(&l->done);
	/* A frame that was dropped here never counts as having left. */
	l->opened = l->left;
}

void link_bye(struct link *l)
{
	drop_all(l);
	l->bye = l->met && !l->mute;
}

void link_reset(struct link *l)
{
	drop_all(l);
	l->bye = l->mute = l->heard_bye = false;
	l->met = false;
	l->boot = link_random();
	l->peer_boot = 0;
	l->seq_out = l->seq_in = l->acked = 0;
	l->owed = 0;
	l->eager = l->serving;
	l->greet = l->serving;
	l->sent_head = l->sent_n = 0;
	l->last_had_items = false;
}

/* --- keys ---------------------------------------------------------------- */

static bool is_signed(const struct link *l)
{
	return l->keys->all.n > 0;
}

static const struct bus_secret *secret_with(const struct link *l,
                                            enum bus_peer peer)
{
	return l->keys->with[peer].n ? &l->keys->with[peer] : &l->keys->all;
}

/* What proves a frame: of its first one the listening end believes no more than
 * that it is from whom it says, which only the right secret makes true. */
static const struct bus_secret *secret_in(const struct link *l,
                                          const struct frame_head *h)
{
	if (!l->met)
		return l->serving ? secret_with(l, h->from) : &l->keys->all;
	return secret_with(l, l->peer);
}

static const struct bus_secret *secret_out(const struct link *l)
{
	return l->serving && !l->met ? &l->keys->all : secret_with(l, l->peer);
}

/* --- in ------------------------------------------------------------------ */

static enum frame_fault check_source(const struct link *l, struct str frame,
                                     const struct frame_head *h, int64_t now_ms)
{
	uint64_t skew = h->at_ms > now_ms ? (uint64_t)(h->at_ms - now_ms)
	                                  : (uint64_t)(now_ms - h->at_ms);

	if (is_signed(l)) {
		if (!frame_is_signed(frame, secret_in(l, h)))
			return FRAME_BAD_MAC;
		if (skew > FRAME_WINDOW_MS)
			return FRAME_BAD_TIME;
	} else if (h->is_signed) {
		return FRAME_BAD_MAC; /* we could not tell */
	}
	if (l->serving && !l->met) {
		if (!bus_edge_allowed(h->from, l->self))
			return FRAME_BAD_EDGE;
	} else if (h->from != l->peer) {
		return FRAME_BAD_EDGE;
	}
	return FRAME_OK;
}

static enum frame_fault check_place(const struct link *l,
                                    const struct frame_head *h)
{
	/* Only the greeting cannot know whom it meets. */
	bool greeting = !l->serving && !l->met;

	if (h->nonce != (greeting ? 0 : l->boot) || h->boot == l->boot)
		return FRAME_REPLAY;
	if (l->met && h->boot != l->peer_boot)
		return FRAME_REPLAY;
	if (h->seq != l->seq_in + 1 || l->heard_bye)
		return FRAME_REPLAY;
	if (h->ack < l->acked || h->ack > l->seq_out)
		return FRAME_BAD_HEAD;
	return FRAME_OK;
}

static bool may_come(const struct link *l, enum item_kind k)
{
	switch (k) {
	case ITEM_REQUEST:
	case ITEM_CANCEL:
		return l->serving;
	case ITEM_REPLY:
	case ITEM_REFUSE:
	case ITEM_PUSH:
	case ITEM_DRAIN:
		return !l->serving;
	case ITEM_PART:
	case ITEM_CREDIT:
		return true;
	case ITEM_KINDS:
		break;
	}
	return false;
}

static enum frame_fault check_kinds(const struct link *l, struct str items)
{
	struct item it;

	while (item_next(&items, &it)) {
		if (!l->met || !may_come(l, it.kind))
			return FRAME_BAD_ITEM;
	}
	return FRAME_OK;
}

enum frame_fault link_accept(struct link *l, struct str frame, int64_t now_ms,
                             struct str *items)
{
	struct frame_head h;
	struct str in;
	enum frame_fault f;
	bool met = l->met;

	f = frame_read(frame, &h, &in);
	if (!f)
		f = check_source(l, frame, &h, now_ms);
	if (!f)
		f = check_place(l, &h);
	if (f)
		return f;
	if (!met && !l->serving && in.n)
		return FRAME_BAD_ITEM; /* a greeting is empty */
	l->met = true;
	f = check_kinds(l, in);
	if (f) {
		l->met = met;
		return f;
	}
	if (!met) {
		l->peer = h.from;
		l->peer_boot = h.boot;
		l->greet |= !l->serving;
	}
	l->heard_bye = h.bye;
	l->seq_in = h.seq;
	l->acked = h.ack;
	while (l->sent_n && l->sent[l->sent_head].seq <= h.ack) {
		l->sent_head = (l->sent_head + 1) % BUS_WINDOW;
		l->sent_n--;
	}
	if (in.n)
		l->owed++;
	*items = in;
	return FRAME_OK;
}

/* --- out: filling frames -------------------------------------------------- */

static size_t items_size(const struct link *l)
{
	return nng_msg_len(l->open) - frame_head_size(is_signed(l));
}

/*
 * An empty frame with room: the head is written when it leaves.  Room is asked
 * for in one piece, because growing a message by appending copies it each time.
 * Some is left in front, for the SP header: over inproc:// nng puts it there, and
 * where there is none 1.10 writes it over our first bytes.
 */
static nng_msg *frame_new(const struct link *l)
{
	size_t head = frame_head_size(is_signed(l));
	size_t room = ROOM_MIN;
	nng_msg *m;

	while (room < l->size_hint && room < ROOM_MAX)
		room *= 2;
	if (nng_msg_alloc(&m, room) != 0)
		return NULL;
	if (nng_msg_trim(m, SP_ROOM) != 0 ||
	    nng_msg_chop(m, room - SP_ROOM - head) != 0) {
		nng_msg_free(m);
		return NULL;
	}
	return m;
}

static bool frame_room(nng_msg *m, size_t n)
{
	size_t want = nng_msg_len(m) + n;
	size_t room = nng_msg_capacity(m);

	if (want <= room)
		return true;
	room = room ? room : ROOM_MIN;
	while (room < want)
		room *= 2;
	return nng_msg_reserve(m, room) == 0;
}

/* Opens a frame if there is none, and makes room for an item of n bytes. */
static bool open_room(struct link *l, size_t n, uint64_t now_ms)
{
	if (!l->open) {
		l->open = frame_new(l);
		if (!l->open)
			return false;
		l->open_items = 0;
		l->open_ms = now_ms;
		l->opened++;
	}
	return frame_room(l->open, ITEM_HEAD + n);
}

/* open_room() has been called. */
static void open_put(struct link *l, const struct item *it)
{
	char head[ITEM_HEAD];

	item_head_put(head, it);
	/* Cannot fail: the room is there. */
	(void)nng_msg_append(l->open, head, sizeof(head));
	if (it->bytes.n)
		(void)nng_msg_append(l->open, it->bytes.p, it->bytes.n);
	l->open_items++;
}

/* Puts one part of b; false when it does not fit or there is no memory. */
static bool bulk_part(struct link *l, struct bulk *b, uint64_t now_ms)
{
	size_t n = b->left.n;
	uint64_t ms = clock_left(b->deadline_ms, now_ms);
	struct item it = {.kind = ITEM_PART, .cid = b->cid};

	if (n > b->credit)
		n = b->credit;
	if (n > BUS_PART_MAX)
		n = BUS_PART_MAX;
	if (l->open && (l->open_items >= BUS_FRAME_ITEMS ||
	                items_size(l) + ITEM_HEAD + n > BUS_FRAME_MAX))
		return false;
	if (!open_room(l, n, now_ms))
		return false;
	if (!b->begun) {
		it.flags = ITEM_FIRST;
		it.arg = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
		b->ordinal = l->opened;
	}
	if (n == b->left.n)
		it.flags |= ITEM_LAST;
	it.bytes = (struct str){b->left.p, n};
	open_put(l, &it);
	b->begun = true;
	b->left.p += n;
	b->left.n -= n;
	b->credit -= n;
	ring_del(&b->at);
	ring_add(it.flags & ITEM_LAST ? &l->done
	         : b->credit          ? &l->ready
	                              : &l->dry,
	         &b->at);
	return true;
}

/* Each large message in turn gives one part, at most max of them. */
static void bulk_fill(struct link *l, unsigned max, uint64_t now_ms)
{
	while (max-- && !ring_empty(&l->ready))
		if (!bulk_part(l, RING_OF(struct bulk, at, l->ready.next),
		               now_ms))
			return;
}

/* Moves the open frame to the queue. */
static bool open_seal(struct link *l, uint64_t now_ms)
{
	if (l->full_n == l->full_cap && l->full_head > 0) {
		memmove(l->full, l->full + l->full_head,
		        (l->full_n - l->full_head) * sizeof(*l->full));
		l->full_n -= l->full_head;
		l->full_head = 0;
	}
	if (l->full_n == l->full_cap) {
		size_t cap = l->full_cap ? 2 * l->full_cap : 8;
		struct link_full *v = realloc(l->full, cap * sizeof(*v));

		if (!v)
			return false;
		l->full = v;
		l->full_cap = cap;
	}
	bulk_fill(l, 1, now_ms);
	l->full[l->full_n++] = (struct link_full){l->open, l->open_ms};
	l->open = NULL;
	l->open_items = 0;
	return true;
}

static bool open_is_full(const struct link *l, size_t n)
{
	return l->open && (l->open_items >= SMALL_ITEMS ||
	                   items_size(l) + ITEM_HEAD + n > SMALL_BYTES);
}

enum err link_put(struct link *l, const struct item *it, uint64_t now_ms)
{
	if (open_is_full(l, it->bytes.n) && !open_seal(l, now_ms))
		return ERR_NOMEM;
	if (!open_room(l, it->bytes.n, now_ms))
		return ERR_NOMEM;
	open_put(l, it);
	return OK;
}

uint64_t link_ordinal(const struct link *l)
{
	return l->opened;
}

/* --- bulks ---------------------------------------------------------------- */

void link_bulk(struct link *l, struct bulk *b)
{
	ring_add(b->credit || b->left.n == 0 ? &l->ready : &l->dry, &b->at);
}

void link_bulk_credit(struct link *l, struct bulk *b, size_t n)
{
	bool was_dry = b->credit == 0;

	if (__builtin_add_overflow(b->credit, n, &b->credit))
		b->credit = SIZE_MAX;
	if (b->at.next && was_dry && b->left.n) {
		ring_del(&b->at);
		ring_add(&l->ready, &b->at);
	}
}

void link_bulk_drop(struct bulk *b)
{
	ring_del(&b->at);
}

struct bulk *link_bulk_done(struct link *l)
{
	struct ring *at = l->done.next;

	if (ring_empty(&l->done))
		return NULL;
	ring_del(at);
	return RING_OF(struct bulk, at, at);
}

/* --- out: sending ---------------------------------------------------------- */

static bool has_items(const struct link *l)
{
	return l->full_head < l->full_n || l->open_items ||
	       !ring_empty(&l->ready);
}

static bool may_send_items(const struct link *l)
{
	return l->met && !l->bye && l->sent_n < BUS_WINDOW && has_items(l);
}

static bool owes_ack(const struct link *l)
{
	return l->met && l->owed >= (l->eager ? 1 : LINK_ACK_LAZY);
}

bool link_has_work(const struct link *l)
{
	return l->boot && !l->mute &&
	       (l->greet || l->bye || may_send_items(l) || owes_ack(l));
}

bool link_is_quiet(const struct link *l)
{
	return !has_items(l) && ring_empty(&l->dry) && l->sent_n == 0;
}

unsigned link_waiting(const struct link *l)
{
	return (unsigned)(l->full_n - l->full_head) + (l->open_items > 0);
}

uint64_t link_oldest_ms(const struct link *l)
{
	return l->sent_n ? l->sent[l->sent_head].at_ms : 0;
}

/*
 * The oldest frame with items, the open one topped up with parts.  NULL without
 * memory for any.
 */
static nng_msg *take_items(struct link *l, uint64_t now_ms)
{
	struct link_full f;

	if (l->full_head < l->full_n) {
		f = l->full[l->full_head++];
		if (l->full_head == l->full_n)
			l->full_head = l->full_n = 0;
	} else {
		bulk_fill(l, BUS_FRAME_ITEMS, now_ms);
		if (l->open_items == 0)
			return NULL;
		f = (struct link_full){STEAL(l->open), l->open_ms};
		l->open_items = 0;
	}
	if (now_ms > f.open_ms + AGE_MIN_MS) {
		size_t head = frame_head_size(is_signed(l));

		items_age((char *)nng_msg_body(f.m) + head,
		          nng_msg_len(f.m) - head, now_ms - f.open_ms);
	}
	return f.m;
}

static void stamp(struct link *l, nng_msg *m)
{
	struct frame_head h = {
		.from = l->self,
		.is_signed = is_signed(l),
		.bye = l->bye,
		.boot = l->boot,
		.nonce = l->peer_boot,
		.seq = ++l->seq_out,
		.ack = l->seq_in,
		.at_ms = wall_ms(),
	};

	frame_head_put(nng_msg_body(m), &h);
	if (h.is_signed)
		frame_sign(nng_msg_body(m), nng_msg_len(m),
		           secret_out(l)->key[0]);
}

nng_msg *link_next(struct link *l, uint64_t now_ms, enum err *e)
{
	bool items = may_send_items(l);
	nng_msg *m;

	*e = OK;
	if (!link_has_work(l))
		return NULL;
	m = items ? take_items(l, now_ms) : frame_new(l);
	if (!m) {
		*e = ERR_NOMEM;
		return NULL;
	}
	if (items) {
		unsigned at = (l->sent_head + l->sent_n) % BUS_WINDOW;

		l->size_hint = nng_msg_len(m);
		l->sent[at] = (struct link_sent){l->seq_out + 1, now_ms};
		l->sent_n++;
		l->left++;
	}
	l->last_had_items = items;
	l->greet = false;
	l->owed = 0;
	stamp(l, m);
	l->mute = l->bye;
	l->bye = false;
	return m;
}

void link_unsend(struct link *l)
{
	if (l->last_had_items)
		l->left--;
	l->last_had_items = false;
}
