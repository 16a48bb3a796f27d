#include "common/bus/session.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#define EJECT_MS     50
#define EJECT_MAX_MS 5000
/* Shorter: who refuses is there, and one question tells that it is ready. */
#define REFUSE_MS     50
#define REFUSE_MAX_MS 400

/* --- up and down -------------------------------------------------------------- */

static void came_up(struct bus_client *c, struct replica *r)
{
	r->up = true;
	atomic_fetch_add(&c->up[r->to], 1);
	log_debug(NULL, "bus.up", LOG_TEXT("url", r->url));
	calls_up(c, r->to);
}

/* The pipe is gone, or we have done with it. */
static void lost(struct bus_client *c, struct replica *r, uint64_t now_ms)
{
	bool was_up = r->up;
	uint64_t away = EJECT_MAX_MS;

	if (!r->pipe)
		return;
	/* What waits in the socket must not reach the peer's successor. */
	if (r->busy && replica_cancel_send(r))
		link_unsend(&r->link);
	r->pipe = 0;
	r->up = r->suspect = false;
	if (was_up) {
		atomic_fetch_sub(&c->up[r->to], 1);
		if (r->fails < 7)
			away = (uint64_t)EJECT_MS << r->fails;
		r->fails++;
		r->ejected_ms = now_ms + away;
		log_info(NULL, "bus.down", LOG_TEXT("url", r->url),
		         LOG_U64("in_flight", r->in_flight));
	}
	calls_lost(c, r);
	link_reset(&r->link);
}

static void connect_to(struct bus_client *c, struct replica *r, uint32_t pipe,
                       uint64_t now_ms)
{
	lost(c, r, now_ms);
	if (r->busy)
		(void)replica_cancel_send(r); /* the bye came too late */
	r->shunned = 0;
	r->pipe = pipe;
	r->pipe_ms = now_ms;
	r->draining = false;
	r->refusals = 0;
	r->refusing_ms = 0;
	link_reset(&r->link);
}

void session_shun(struct bus_client *c, struct replica *r, uint64_t now_ms)
{
	uint32_t pipe = r->pipe;

	lost(c, r, now_ms);
	r->shunned = pipe;
	r->shun_end_ms = now_ms + SHUN_MS;
}

/* A frame that must not be. */
static void refuse(struct bus_client *c, struct replica *r, enum frame_fault f,
                   uint64_t now_ms)
{
	c->bad_frames++;
	r->bad_frames++;
	if (now_ms >= c->logged_ms + 1000) {
		c->logged_ms = now_ms;
		log_warn(NULL, "bus.frame_refused", LOG_TEXT("url", r->url),
		         LOG_TEXT("reason", frame_fault_name(f)),
		         LOG_U64("refused", c->bad_frames));
	}
	session_shun(c, r, now_ms);
}

/* --- what comes off the wire --------------------------------------------------- */

static void final_item(struct replica *r, const struct call *k)
{
	if (r->in_flight > 0)
		r->in_flight--;
	if (!k) {
		r->late++;
		return;
	}
	r->replied++;
}

/* It works: what it did before is forgiven. */
static void note_working(struct replica *r)
{
	r->fails = 0;
	r->refusals = 0;
}

/*
 * It is there and begins nothing: it is starting, or about to end.  Without
 * this it would be asked first each time, being the one with nothing to do, and
 * calls would use up their attempts on it.
 */
static void note_refusing(struct replica *r, uint64_t now_ms)
{
	uint64_t ms = REFUSE_MAX_MS;

	if (r->refusing_ms)
		return;
	if (REFUSE_MS << r->refusals < REFUSE_MAX_MS)
		ms = (uint64_t)REFUSE_MS << r->refusals++;
	r->refusing_ms = now_ms + ms;
}

/* Its own word that it has started: what is held for it goes there at once. */
static void note_serving(struct bus_client *c, struct replica *r)
{
	r->refusals = 0;
	r->refusing_ms = 0;
	calls_up(c, r->to);
}

static void measure(struct replica *r, const struct call *k)
{
	uint64_t now_us = mono_us();

	replica_sample(r, k->route_class, now_us,
	               (double)(now_us - k->start_us) / 1000.0);
}

static void give_up(struct bus_client *c, struct call *k, enum err e)
{
	calls_tell_cancel(c, k);
	calls_end(c, k, e, (struct str){0});
}

static enum frame_fault on_part(struct bus_client *c, struct replica *r,
                                const struct item *it)
{
	struct call *k = calls_find_cid(c, it->cid);
	bool last = it->flags & ITEM_LAST;
	size_t n = it->bytes.n;

	if (k && k->r != r)
		k = NULL;
	note_working(r);
	if (last)
		final_item(r, k);
	if (!k)
		return FRAME_OK;
	if (n > k->room || (it->flags & ITEM_FIRST ? k->parts : !k->parts))
		return FRAME_BAD_ITEM;
	if (!k->parts)
		measure(r, k);
	k->parts = true;
	k->room -= n;
	k->got += n;
	if (k->got > k->max_reply) {
		if (last)
			calls_end(c, k, ERR_TOO_LARGE, (struct str){0});
		else
			give_up(c, k, ERR_TOO_LARGE);
		return FRAME_OK;
	}
	if (k->stream) {
		if (last) {
			calls_end(c, k, OK, it->bytes);
			return FRAME_OK;
		}
		k->delivered = true;
		k->on_reply(k->arg, OK, it->bytes, true);
		k = calls_find_cid(c, it->cid);
		if (k && !k->hold_credit)
			calls_grant(c, k, n);
		return FRAME_OK;
	}
	buf_add(&k->reply, it->bytes.p, n);
	if (last)
		calls_end(c, k, k->reply.failed ? ERR_NOMEM : OK,
		          k->reply.failed ? (struct str){0}
		                          : buf_view(&k->reply));
	else if (k->reply.failed)
		give_up(c, k, ERR_NOMEM);
	else
		calls_grant(c, k, n);
	return FRAME_OK;
}

static void on_whole(struct bus_client *c, struct replica *r,
                     const struct item *it)
{
	struct call *k = calls_find_cid(c, it->cid);
	enum err e = err_from_int(it->code);

	if (k && k->r != r)
		k = NULL;
	final_item(r, k);
	if (it->kind == ITEM_REFUSE && e == ERR_UNAVAILABLE)
		note_refusing(r, mono_ms());
	else
		note_working(r);
	if (!k)
		return;
	if (it->kind == ITEM_REPLY) {
		measure(r, k);
		if (it->bytes.n > k->max_reply)
			calls_end(c, k, ERR_TOO_LARGE, (struct str){0});
		else
			calls_end(c, k, OK, it->bytes);
		return;
	}
	if (e == ERR_UNAVAILABLE)
		calls_move(c, k, e); /* it was not begun there */
	else
		calls_end(c, k, e ? e : ERR_INTERNAL, (struct str){0});
}

static enum frame_fault on_item(struct bus_client *c, struct replica *r,
                                const struct item *it)
{
	struct call *k;

	switch (it->kind) {
	case ITEM_REPLY:
	case ITEM_REFUSE:
		on_whole(c, r, it);
		break;
	case ITEM_PART:
		return on_part(c, r, it);
	case ITEM_CREDIT:
		k = calls_find_cid(c, it->cid);
		if (k && k->r == r) {
			link_bulk_credit(&r->link, &k->bulk, it->arg);
			c->unsent = true;
		}
		break;
	case ITEM_PUSH:
		if (it->bytes.n == 0)
			note_serving(c, r);
		if (c->conf.push)
			c->conf.push(c->conf.arg, r->to, it->bytes);
		break;
	case ITEM_DRAIN:
		r->draining = true;
		r->link.eager = true; /* it waits for our word to end */
		break;
	case ITEM_REQUEST:
	case ITEM_CANCEL:
	case ITEM_KINDS:
		return FRAME_BAD_ITEM;
	}
	return FRAME_OK;
}

nng_msg *session_last_word(struct replica *r, uint64_t now_ms)
{
	enum err e;

	if (r->busy && replica_cancel_send(r))
		link_unsend(&r->link);
	link_bye(&r->link);
	return link_next(&r->link, now_ms, &e);
}

void session_part(struct bus_client *c, struct replica *r, uint64_t now_ms)
{
	nng_msg *m = session_last_word(r, now_ms);
	bool there = r->there == r->pipe;

	session_shun(c, r, now_ms);
	/* One for a pipe that is gone would wait for the next, whose end would
	 * refuse it and the connection. */
	if (m && there)
		replica_send(r, m);
	else if (m)
		nng_msg_free(m);
}

static void on_frame(struct bus_client *c, struct replica *r, nng_msg *m,
                     uint64_t now_ms)
{
	struct str items, frame = {nng_msg_body(m), nng_msg_len(m)};
	bool met = r->link.met;
	struct item it;
	enum frame_fault f = link_accept(&r->link, frame, wall_ms(), &items);

	if (!f && !met)
		came_up(c, r);
	while (!f && item_next(&items, &it))
		f = on_item(c, r, &it);
	if (f)
		refuse(c, r, f, now_ms);
	else if (r->link.heard_bye)
		session_part(c, r, now_ms);
}

void session_drain(struct bus_client *c, struct replica *r, uint64_t now_ms)
{
	struct inbox in;

	replica_collect(r, &in);
	r->there = in.pipe;
	if (in.sent) {
		r->busy = false;
		if (in.failed)
			link_unsend(&r->link);
	}
	for (unsigned i = 0; i < in.n; i++) {
		AUTO(msg) m = in.msgs[i];
		uint32_t pipe = (uint32_t)nng_msg_get_pipe(m).id;

		if (pipe != r->pipe && pipe == in.pipe && pipe != r->shunned)
			connect_to(c, r, pipe, now_ms);
		if (pipe == r->pipe)
			on_frame(c, r, m, now_ms);
		else if (pipe == r->shunned &&
		         r->shun_end_ms < now_ms + SILENCE_MS)
			r->shun_end_ms = now_ms + SILENCE_MS;
	}
	if (r->busy && r->shunned && in.pipe != r->shunned)
		(void)replica_cancel_send(r); /* the bye came too late */
	if (in.pipe == r->pipe || (in.pipe && in.pipe == r->shunned))
		return;
	if (in.pipe)
		connect_to(c, r, in.pipe, now_ms);
	else
		lost(c, r, now_ms);
}
