#include "common/bus/session.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* --- addresses ------------------------------------------------------------------ */

static enum err add_replica(struct bus_client *c, enum bus_peer to,
                            const char *url, size_t name)
{
	struct replica *r = NULL;
	enum err e;

	if (c->of[to].n == REPLICAS_MAX)
		return ERR_BUSY;
	e = replica_new(&c->hub, to, url, c->conf.self, &c->keys, &r);
	if (e)
		return e;
	r->name = name;
	c->of[to].v[c->of[to].n++] = r;
	return OK;
}

/* Called until it is gone. */
static void remove_replica(struct bus_client *c, enum bus_peer to, unsigned i,
                           uint64_t now_ms)
{
	struct replica *r = c->of[to].v[i];

	if (r->pipe) {
		session_part(c, r, now_ms);
		r->leave_end_ms = now_ms + PART_MS;
	} else if (!r->shunned || now_ms >= r->leave_end_ms) {
		c->of[to].v[i] = c->of[to].v[--c->of[to].n];
		replica_free(r);
	}
}

static bool listed(const struct resolved *rs, const char *url)
{
	for (size_t i = 0; i < rs->n; i++)
		if (strcmp(rs->url[i], url) == 0)
			return true;
	return false;
}

static void follow_name(struct bus_client *c, const struct resolved *rs,
                        uint64_t now_ms)
{
	enum bus_peer to = (enum bus_peer)rs->tag;

	for (size_t a = 0; a < rs->n; a++) {
		struct replica *known = NULL;

		for (unsigned i = 0; i < c->of[to].n && !known; i++)
			if (c->of[to].v[i]->name == rs->name &&
			    strcmp(c->of[to].v[i]->url, rs->url[a]) == 0)
				known = c->of[to].v[i];
		if (known)
			known->leaving = false;
		else if (add_replica(c, to, rs->url[a], rs->name) != OK)
			log_warn(NULL, "bus.replica_not_added",
			         LOG_TEXT("url", rs->url[a]));
	}
	for (unsigned i = 0; i < c->of[to].n; i++) {
		struct replica *r = c->of[to].v[i];

		if (r->name == rs->name && !r->leaving && !listed(rs, r->url)) {
			r->leaving = true;
			r->leave_end_ms = now_ms + LEAVE_MS;
		}
	}
}

static void follow_names(struct bus_client *c, uint64_t now_ms)
{
	struct resolved rs;

	while (c->names && resolver_next(c->names, &rs))
		follow_name(c, &rs, now_ms);
}

static void names_changed(void *arg)
{
	hub_resolved(arg);
}

static enum err add_url(struct bus_client *c, enum bus_peer to, struct str text)
{
	struct bus_url u;
	enum err e = url_parse(text, &u);

	if (e)
		return e;
	if ((u.kind != URL_TCP && u.kind != URL_TLS) || url_is_literal(&u))
		return add_replica(c, to, u.text, SIZE_MAX);
	if (!c->names)
		c->names = resolver_new(names_changed, &c->hub, 0);
	return c->names ? resolver_watch(c->names, &u, to) : ERR_NOMEM;
}

enum err bus_client_add(struct bus_client *c, enum bus_peer to, struct str urls)
{
	if (!bus_edge_allowed(c->conf.self, to)) {
		log_error(NULL, "bus.edge_not_allowed",
		          LOG_TEXT("from", bus_peer_name(c->conf.self)),
		          LOG_TEXT("to", bus_peer_name(to)));
		return ERR_INVALID;
	}
	do {
		struct str one = str_trim(str_cut(&urls, ','));
		enum err e = add_url(c, to, one);

		if (e)
			return e;
	} while (urls.n);
	return OK;
}

/* --- the loop ---------------------------------------------------------------------- */

static void flush(struct bus_client *c, struct replica *r)
{
	nng_msg *m;
	enum err e;

	while (r->pipe && link_has_work(&r->link)) {
		/* Either the send has ended, or its end wakes us. */
		if (r->busy && !replica_want_sent(r))
			return;
		r->busy = false;
		m = link_next(&r->link, mono_ms(), &e);
		if (!m) {
			/* What is owed cannot be said: start again. */
			if (e)
				session_shun(c, r, mono_ms());
			return;
		}
		replica_send(r, m);
	}
}

/* Silence, and pipes and addresses that are done with. */
static void watch(struct bus_client *c, struct replica *r, uint64_t now_ms)
{
	uint64_t since = link_oldest_ms(&r->link);
	uint64_t silent = since && now_ms > since ? now_ms - since : 0;

	if (r->shunned && now_ms >= r->shun_end_ms) {
		(void)nng_pipe_close((nng_pipe){r->shunned});
		r->shun_end_ms = UINT64_MAX;
	}
	if (r->pipe && !r->up && now_ms >= r->pipe_ms + GREETING_MS)
		session_shun(c, r, now_ms);
	if (!r->up)
		return;
	if (r->refusing_ms && now_ms >= r->refusing_ms) {
		r->refusing_ms = 0;
		calls_up(c, r->to);
	}
	if (silent >= SUSPECT_LOST) {
		/* Not closed here: it may be waking up just now, see shun. */
		session_shun(c, r, now_ms);
	} else if (silent >= c->conf.suspect_ms) {
		if (!r->suspect)
			log_info(NULL, "bus.suspect", LOG_TEXT("url", r->url),
			         LOG_U64("silent_ms", silent));
		r->suspect = true;
		calls_suspect(c, r);
	} else {
		r->suspect = false;
	}
}

void bus_client_flush(struct bus_client *c)
{
	c->unsent = false;
	for (unsigned p = 0; p < PEER_COUNT; p++)
		for (unsigned i = 0; i < c->of[p].n; i++)
			flush(c, c->of[p].v[i]);
}

void bus_client_turn(struct bus_client *c, uint64_t now_ms)
{
	bool resolved;
	struct replica *r, *list = hub_take(&c->hub, &resolved);

	while (list) {
		r = list;
		list = r->next_dirty; /* before it may be listed again */
		session_drain(c, r, now_ms);
	}
	if (resolved)
		follow_names(c, now_ms);
	calls_expire(c, now_ms);
	for (unsigned p = 0; p < PEER_COUNT; p++) {
		for (unsigned i = c->of[p].n; i-- > 0;) {
			r = c->of[p].v[i];
			watch(c, r, now_ms);
			if (r->leaving && (!r->up || r->in_flight == 0 ||
			                   now_ms >= r->leave_end_ms))
				remove_replica(c, (enum bus_peer)p, i, now_ms);
		}
	}
	bus_client_flush(c);
}

static uint64_t replica_timeout(const struct bus_client *c,
                                const struct replica *r)
{
	uint64_t since = link_oldest_ms(&r->link), due = UINT64_MAX;

	if (r->shunned)
		due = r->shun_end_ms;
	else if (r->pipe && !r->up)
		due = r->pipe_ms + GREETING_MS;
	if (r->leaving && r->leave_end_ms < due)
		due = r->leave_end_ms;
	if (r->up && since) {
		since += r->suspect ? SUSPECT_LOST : c->conf.suspect_ms;
		due = since < due ? since : due;
	}
	if (r->up && r->refusing_ms && r->refusing_ms < due)
		due = r->refusing_ms;
	return due;
}

uint64_t bus_client_timeout_ms(const struct bus_client *c, uint64_t now_ms)
{
	uint64_t due = UINT64_MAX, wheel = wheel_timeout_ms(&c->wheel, now_ms);

	if (c->unsent)
		return 0;
	for (unsigned p = 0; p < PEER_COUNT; p++) {
		for (unsigned i = 0; i < c->of[p].n; i++) {
			uint64_t d = replica_timeout(c, c->of[p].v[i]);

			due = d < due ? d : due;
		}
	}
	if (due != UINT64_MAX)
		due = clock_left(due, now_ms);
	return wheel < due ? wheel : due;
}

bool bus_client_may_sleep(struct bus_client *c)
{
	return !c->unsent && hub_may_sleep(&c->hub);
}

/* --- the rest of the interface -------------------------------------------------------- */

struct bus_client *bus_client_new(const struct bus_client_conf *conf)
{
	struct bus_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (hub_init(&c->hub, conf->wake, conf->arg) != OK) {
		free(c);
		return NULL;
	}
	c->conf = *conf;
	if (conf->keys)
		c->keys = *conf->keys;
	if (c->conf.in_flight_max == 0)
		c->conf.in_flight_max = IN_FLIGHT_MAX;
	if (c->conf.suspect_ms == 0)
		c->conf.suspect_ms = SUSPECT_MS;
	calls_init(c, mono_ms());
	return c;
}

static void say_bye(struct replica *r)
{
	nng_msg *m = session_last_word(r, mono_ms());

	if (m)
		replica_send(r, m);
	else
		r->up = false;
}

/* Of one that has only now connected, the first word; of others, the bye. */
static void hear_last(struct replica *r, uint32_t pipe, struct str frame)
{
	bool met = r->up;
	struct str items;

	if (!met && pipe != r->pipe) {
		link_reset(&r->link);
		r->pipe = pipe;
	}
	r->up = link_accept(&r->link, frame, wall_ms(), &items) == FRAME_OK;
	if (r->up && !met)
		say_bye(r);
	else if (!r->up)
		r->shunned = pipe; /* nothing more is wanted of it */
}

/* Takes what has come, only to hear how it ends. */
static void hear_out(struct replica *r)
{
	struct inbox in;

	replica_collect(r, &in);
	r->there = in.pipe;
	for (unsigned i = 0; i < in.n; i++) {
		AUTO(msg) m = in.msgs[i];
		uint32_t pipe = (uint32_t)nng_msg_get_pipe(m).id;

		if (pipe == in.pipe && pipe != r->shunned &&
		    (!r->up || pipe == r->pipe))
			hear_last(r, pipe,
			          (struct str){nng_msg_body(m),
			                       nng_msg_len(m)});
	}
	if (in.pipe != r->pipe)
		r->up = false;
}

/* Its bye; or, where it has just connected, its first word. */
static bool is_to_be_heard(const struct replica *r)
{
	if (r->up)
		return !r->link.heard_bye;
	return r->there && r->there != r->shunned;
}

static bool any_to_hear(const struct bus_client *c)
{
	for (unsigned p = 0; p < PEER_COUNT; p++)
		for (unsigned i = 0; i < c->of[p].n; i++)
			if (is_to_be_heard(c->of[p].v[i]))
				return true;
	return false;
}

/*
 * nng 1.5 must not close a connection that a message is coming in from (link.h).
 * So those that are up end with a bye on both sides; of one that has connected
 * and not yet said its first word, that is waited for; and no new one is taken.
 */
static void part_all(struct bus_client *c)
{
	uint64_t end_ms = mono_ms() + PART_MS;
	struct replica *r, *list;
	bool resolved;

	hub_close(&c->hub);
	for (unsigned p = 0; p < PEER_COUNT; p++)
		for (unsigned i = 0; i < c->of[p].n; i++)
			if (c->of[p].v[i]->up)
				say_bye(c->of[p].v[i]);
	for (;;) {
		for (list = hub_take(&c->hub, &resolved); list;) {
			r = list;
			list = r->next_dirty;
			hear_out(r);
		}
		if (!any_to_hear(c) || mono_ms() >= end_ms)
			return;
		hub_wait(&c->hub, end_ms);
	}
}

void bus_client_rekey(struct bus_client *c, const struct bus_keys *keys)
{
	c->keys.all = keys->all;
	memcpy(c->keys.with, keys->with, sizeof(c->keys.with));
}

void bus_client_free(struct bus_client *c)
{
	if (!c)
		return;
	resolver_free(c->names);
	part_all(c);
	for (unsigned p = 0; p < PEER_COUNT; p++)
		for (unsigned i = 0; i < c->of[p].n; i++)
			replica_free(c->of[p].v[i]);
	calls_fini(c);
	hub_fini(&c->hub);
	explicit_bzero(&c->keys, sizeof(c->keys));
	free(c);
}

enum err bus_client_call(struct bus_client *c, const struct bus_call *call,
                         uint64_t *id)
{
	return calls_start(c, call, id);
}

void bus_client_cancel(struct bus_client *c, uint64_t id)
{
	struct call *k = calls_find(c, id);

	if (k)
		calls_drop(c, k);
}

void bus_client_credit(struct bus_client *c, uint64_t id, size_t n)
{
	struct call *k = calls_find(c, id);

	if (k && k->hold_credit)
		calls_grant(c, k, n);
}

size_t bus_client_replicas(const struct bus_client *c, struct bus_replica *out,
                           size_t max)
{
	size_t n = 0;

	for (unsigned p = 0; p < PEER_COUNT; p++) {
		for (unsigned i = 0; i < c->of[p].n; i++, n++) {
			const struct replica *r = c->of[p].v[i];

			if (n >= max)
				continue;
			out[n] = (struct bus_replica){
				.peer = r->to,
				.state = !r->up       ? BUS_DOWN
			                 : r->suspect ? BUS_SUSPECT
			                              : BUS_UP,
				.in_flight = r->in_flight,
				.sent = r->sent,
				.replied = r->replied,
				.failed = r->failed,
				.moved = r->moved,
				.late = r->late,
				.bad_frames = r->bad_frames,
				.unacked = r->link.sent_n,
				.waiting = link_waiting(&r->link),
				.latency_ms = r->latency[0].ms,
			};
			(void)snprintf(out[n].url, sizeof(out[n].url), "%.*s",
			               (int)sizeof(out[n].url) - 1, r->url);
		}
	}
	return n;
}

void bus_client_forgive(struct bus_client *c, enum bus_peer to)
{
	for (unsigned i = 0; i < c->of[to].n; i++) {
		struct replica *r = c->of[to].v[i];

		r->fails = 0;
		r->refusals = 0;
		r->ejected_ms = 0;
		r->refusing_ms = 0;
	}
	calls_up(c, to);
}

unsigned bus_client_up(const struct bus_client *c, enum bus_peer to)
{
	return atomic_load(&c->up[to]);
}
