#include "common/bus/peer.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/bus/tls.h"
#include "common/bus/url.h"

#include <assert.h>
#include <errno.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/transport/ipc/ipc.h>
#include <nng/transport/tcp/tcp.h>
#include <stdlib.h>
#include <time.h>

/* --- the table of peers ------------------------------------------------------- */

static struct peer *find_locked(struct bus_server *s, uint32_t pipe)
{
	for (struct ring *at = s->table.next; at != &s->table; at = at->next) {
		struct peer *p = RING_OF(struct peer, at, at);

		if (p->pipe == pipe)
			return p;
	}
	return NULL;
}

/* With a reference for the caller. */
static struct peer *find(struct bus_server *s, uint32_t pipe)
{
	struct peer *p;
	GUARD(&s->lock);

	p = find_locked(s, pipe);
	if (p)
		atomic_fetch_add(&p->refs, 1);
	return p;
}

/* For bus_server_free(), which waits for peers to be done. */
static void tell_change(struct bus_server *s)
{
	GUARD(&s->lock);

	s->changes++;
	(void)pthread_cond_signal(&s->quiet);
}

static struct peer *take_spare(struct bus_server *s)
{
	struct ring *at;
	GUARD(&s->lock);

	at = s->spare.next;
	if (at == &s->spare)
		return NULL;
	ring_del(at);
	return RING_OF(struct peer, at, at);
}

static bool add_peer(struct bus_server *s, uint32_t pipe)
{
	struct peer *p = take_spare(s);
	bool fits;

	if (!p)
		p = peer_new(s);
	if (!p)
		return false;
	peer_begin(p, pipe);
	atomic_store(&p->refs, 1); /* the table's */
	GUARD(&s->lock);
	if (!p->made.next)
		ring_add(&s->made, &p->made);
	fits = atomic_load(&s->peers) < PEERS_MAX && !s->closing;
	atomic_fetch_add(&s->peers, fits);
	ring_add(fits ? &s->table : &s->spare, &p->at);
	return fits;
}

static void remove_peer(struct bus_server *s, uint32_t pipe)
{
	struct peer *p;

	pthread_mutex_lock(&s->lock);
	p = find_locked(s, pipe);
	if (p) {
		ring_del(&p->at);
		atomic_fetch_sub(&s->peers, 1);
	}
	pthread_mutex_unlock(&s->lock);
	if (!p)
		return;
	peer_end(p);
	peer_unref(p);
	tell_change(s);
}

/* All peers that are there now, with a reference each. */
static size_t all_peers(struct bus_server *s, struct peer *out[PEERS_MAX])
{
	size_t n = 0;
	GUARD(&s->lock);

	for (struct ring *at = s->table.next; at != &s->table; at = at->next) {
		out[n] = RING_OF(struct peer, at, at);
		atomic_fetch_add(&out[n]->refs, 1);
		if (++n == PEERS_MAX)
			break;
	}
	return n;
}

/* --- callbacks, on nng's threads ------------------------------------------------ */

static void on_pipe(nng_pipe pipe, nng_pipe_ev ev, void *arg)
{
	struct bus_server *s = arg;
	uint32_t id = (uint32_t)nng_pipe_id(pipe);
	struct peer *p;

	switch (ev) {
	case NNG_PIPE_EV_ADD_PRE:
		if (!add_peer(s, id)) {
			log_warn(NULL, "bus.peer_refused");
			(void)nng_pipe_close(pipe);
		}
		break;
	case NNG_PIPE_EV_ADD_POST: /* from now on it can be sent to */
		p = find(s, id);
		if (!p)
			break;
		pthread_mutex_lock(&p->lock);
		peer_unlock_and_send(p);
		peer_unref(p);
		break;
	case NNG_PIPE_EV_REM_POST:
		remove_peer(s, id);
		break;
	case NNG_PIPE_EV_NUM:
		break;
	}
}

static void count_fault(struct bus_server *s, enum frame_fault f)
{
	COUNT(s, bad_frames);
	switch (f) {
	case FRAME_SHORT:
	case FRAME_BAD_HEAD:
	case FRAME_BAD_ITEM:
		COUNT(s, bad_form);
		break;
	case FRAME_OVERSIZE:
		COUNT(s, oversize);
		break;
	case FRAME_BAD_VERSION:
		COUNT(s, bad_version);
		break;
	case FRAME_BAD_MAC:
		COUNT(s, bad_mac);
		break;
	case FRAME_BAD_TIME:
		COUNT(s, bad_time);
		break;
	case FRAME_REPLAY:
		COUNT(s, replayed);
		break;
	case FRAME_BAD_EDGE:
		COUNT(s, bad_edge);
		break;
	case FRAME_OK:
	case FRAME_FAULTS:
		break;
	}
}

static void refuse(struct bus_server *s, enum frame_fault f)
{
	uint64_t now_ms = mono_ms();

	count_fault(s, f);
	if (now_ms >= s->logged_ms + 1000) {
		s->logged_ms = now_ms;
		log_warn(NULL, "bus.frame_refused",
		         LOG_TEXT("by", bus_peer_name(s->conf.self)),
		         LOG_TEXT("reason", frame_fault_name(f)),
		         LOG_U64("refused", atomic_load(&s->n.bad_frames)));
	}
}

static void on_message(struct bus_server *s, nng_msg *m)
{
	struct peer *p = find(s, (uint32_t)nng_msg_get_pipe(m).id);
	enum frame_fault f;

	if (!p)
		return; /* its pipe is gone already */
	COUNT(s, frames_in);
	f = peer_frame(p, (struct str){nng_msg_body(m), nng_msg_len(m)});
	if (f)
		refuse(s, f);
	peer_unref(p);
	if (atomic_load_explicit(&s->ending, memory_order_relaxed))
		tell_change(s);
}

static void on_received(void *arg)
{
	struct bus_server *s = arg;
	int rc = nng_aio_result(s->recv);

	if (rc == NNG_ECLOSED || rc == NNG_ECANCELED)
		return;
	if (rc == 0) {
		AUTO(msg) m = nng_aio_get_msg(s->recv);

		nng_aio_set_msg(s->recv, NULL);
		on_message(s, m);
	}
	/* Only now: frames of a peer are to be taken in order. */
	nng_recv_aio(s->sock, s->recv);
}

/*
 * Closes the pipes of peers that are gone and have been silent for a whole
 * tick.  nng 1.5 hangs when it closes a pipe that a message is coming in from.
 */
static void on_tick(void *arg)
{
	struct bus_server *s = arg;
	struct peer *peers[PEERS_MAX];
	bool more = false;
	size_t n;

	if (nng_aio_result(s->tick) != 0)
		return;
	atomic_store(&s->ticking, false);
	n = all_peers(s, peers);
	for (size_t i = 0; i < n; i++) {
		struct peer *p = peers[i];

		pthread_mutex_lock(&p->lock);
		if (p->gone && p->connected) {
			if (p->noise == 0)
				(void)nng_pipe_close((nng_pipe){p->pipe});
			else
				more = true;
			p->noise = 0;
		}
		pthread_mutex_unlock(&p->lock);
		peer_unref(p);
	}
	if (more)
		server_tick_later(s);
}

void server_tick_later(struct bus_server *s)
{
	if (!atomic_exchange(&s->ticking, true))
		nng_sleep_aio(SILENCE_MS, s->tick);
}

/* --- interface -------------------------------------------------------------------- */

static int open_socket(struct bus_server *s)
{
	static const nng_pipe_ev events[] = {NNG_PIPE_EV_ADD_PRE,
	                                     NNG_PIPE_EV_ADD_POST,
	                                     NNG_PIPE_EV_REM_POST};
	int rc = nng_rep0_open_raw(&s->sock);

	if (rc == 0)
		rc = nng_aio_alloc(&s->recv, on_received, s);
	if (rc == 0)
		rc = nng_aio_alloc(&s->tick, on_tick, s);
	if (rc == 0)
		rc = nng_socket_set_size(s->sock, NNG_OPT_RECVMAXSZ,
		                         FRAME_MAX + 64);
	for (size_t i = 0; rc == 0 && i < COUNTOF(events); i++)
		rc = nng_pipe_notify(s->sock, events[i], on_pipe, s);
	if (rc == 0) {
		nng_aio_set_timeout(s->recv, NNG_DURATION_INFINITE);
		nng_recv_aio(s->sock, s->recv);
	}
	return rc;
}

static void free_keys(struct server_keys *k)
{
	while (k) {
		struct server_keys *older = k->older;

		explicit_bzero(k, sizeof(*k));
		free(k);
		k = older;
	}
}

struct bus_server *bus_server_new(const struct bus_server_conf *conf)
{
	struct bus_server *s = calloc(1, sizeof(*s));
	struct server_keys *keys = calloc(1, sizeof(*keys));
	pthread_condattr_t attr;

	if (!s || !keys) {
		free(s);
		free(keys);
		return NULL;
	}
	s->conf = *conf;
	if (conf->keys)
		keys->k = *conf->keys;
	atomic_store(&s->keys, keys);
	if (s->conf.items_max == 0)
		s->conf.items_max = ITEMS_MAX;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&s->quiet, &attr);
	(void)pthread_condattr_destroy(&attr);
	ring_init(&s->table);
	ring_init(&s->spare);
	ring_init(&s->made);
	if (open_socket(s) != 0) {
		bus_server_free(s);
		return NULL;
	}
	return s;
}

enum err bus_server_rekey(struct bus_server *s, const struct bus_keys *keys)
{
	struct server_keys *k = calloc(1, sizeof(*k));

	if (!k)
		return ERR_NOMEM;
	k->older = atomic_load(&s->keys);
	k->k = *keys;
	k->k.tls = k->older->k.tls;
	atomic_store(&s->keys, k);
	return OK;
}

static enum err from_nng(int rc)
{
	switch (rc) {
	case 0:
		return OK;
	case NNG_EADDRINUSE:
		return ERR_EXISTS;
	case NNG_ENOMEM:
		return ERR_NOMEM;
	default:
		return ERR_INVALID;
	}
}

static bool may_listen(const struct bus_server *s, const struct bus_url *u)
{
	return u->kind != URL_TCP || atomic_load(&s->keys)->k.all.n > 0 ||
	       url_is_loopback(u);
}

static int listen_on(struct bus_server *s, const struct bus_url *u,
                     nng_tls_config *tls)
{
	nng_listener l;
	int port = 0, rc = nng_listener_create(&l, s->sock, u->text);
	bool net = u->kind == URL_TCP || u->kind == URL_TLS;

	/* Who may open the socket file is all that guards ipc. */
	if (rc == 0 && u->kind == URL_IPC)
		rc = nng_listener_set_int(l, NNG_OPT_IPC_PERMISSIONS, 0600);
	if (rc == 0 && tls)
		rc = nng_listener_set_ptr(l, NNG_OPT_TLS_CONFIG, tls);
	if (rc == 0)
		rc = nng_listener_start(l, 0);
	if (rc == 0 && net &&
	    nng_listener_get_int(l, NNG_OPT_TCP_BOUND_PORT, &port) == 0)
		s->port = (unsigned)port;
	return rc;
}

enum err bus_server_listen(struct bus_server *s, struct str url)
{
	AUTO(nng_tls_config) tls = NULL;
	struct bus_url u;
	enum err e = url_parse(url, &u);
	int rc;

	if (e)
		return e;
	if (!may_listen(s, &u)) {
		log_error(NULL, "bus.listen_without_key",
		          LOG_TEXT("url", u.text));
		return ERR_INVALID;
	}
	if (u.kind == URL_TLS)
		e = tls_config_new(&atomic_load(&s->keys)->k.tls, NULL, &tls);
	if (e)
		return e;
	rc = listen_on(s, &u, tls);
	if (rc != 0)
		log_error(NULL, "bus.listen_failed", LOG_TEXT("url", u.text),
		          LOG_TEXT("reason", nng_strerror(rc)));
	return from_nng(rc);
}

unsigned bus_server_port(const struct bus_server *s)
{
	return s->port;
}

static void put_to_all(struct bus_server *s, enum item_kind kind,
                       struct str bytes)
{
	struct peer *peers[PEERS_MAX];
	size_t n = all_peers(s, peers);

	for (size_t i = 0; i < n; i++) {
		struct peer *p = peers[i];

		pthread_mutex_lock(&p->lock);
		/* Whom we have not heard yet may not be ready to be sent to. */
		if (!p->gone && p->link.met &&
		    p->link.full_n - p->link.full_head < PUSH_WAIT_MAX) {
			peer_put(p, kind, bytes);
			peer_unlock_and_send(p);
		} else {
			pthread_mutex_unlock(&p->lock);
		}
		peer_unref(p);
	}
}

void bus_server_push(struct bus_server *s, struct str bytes)
{
	assert(bytes.n > 0);
	if (bytes.n > BUS_PART_MAX) {
		log_error(NULL, "bus.push_too_large",
		          LOG_U64("bytes", bytes.n));
		return;
	}
	put_to_all(s, ITEM_PUSH, bytes);
}

void bus_server_serves(struct bus_server *s)
{
	put_to_all(s, ITEM_PUSH, (struct str){0});
}

void bus_server_drain(struct bus_server *s)
{
	if (!atomic_exchange(&s->draining, true))
		put_to_all(s, ITEM_DRAIN, (struct str){0});
}

unsigned bus_server_in_work(const struct bus_server *s)
{
	return atomic_load(&s->in_work);
}

static bool is_quiet(const struct peer *p)
{
	return link_is_quiet(&p->link);
}

static bool has_parted(const struct peer *p)
{
	return p->link.heard_bye;
}

static bool all_are(struct bus_server *s, bool (*done)(const struct peer *p))
{
	struct peer *peers[PEERS_MAX];
	size_t n = all_peers(s, peers);
	bool all = true;

	for (size_t i = 0; i < n; i++) {
		struct peer *p = peers[i];

		pthread_mutex_lock(&p->lock);
		all &= p->gone || !p->link.met || done(p);
		pthread_mutex_unlock(&p->lock);
		peer_unref(p);
	}
	return all;
}

/* Until it is true of every peer that is there, for at most ms. */
static void wait_all(struct bus_server *s, bool (*done)(const struct peer *p),
                     uint64_t ms)
{
	uint64_t end_ms = mono_ms() + ms;
	struct timespec t = {
		.tv_sec = (time_t)(end_ms / 1000),
		.tv_nsec = (long)(end_ms % 1000) * 1000000,
	};

	for (;;) {
		uint64_t seen;

		pthread_mutex_lock(&s->lock);
		seen = s->changes;
		pthread_mutex_unlock(&s->lock);
		if (all_are(s, done))
			return;
		GUARD(&s->lock);
		while (s->changes == seen)
			if (pthread_cond_timedwait(&s->quiet, &s->lock, &t) ==
			    ETIMEDOUT)
				return;
	}
}

static void bye_to_all(struct bus_server *s)
{
	struct peer *peers[PEERS_MAX];
	size_t n = all_peers(s, peers);

	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&peers[i]->lock);
		if (!peers[i]->gone)
			link_bye(&peers[i]->link);
		peer_unlock_and_send(peers[i]);
		peer_unref(peers[i]);
	}
}

/*
 * Closing a socket drops what is on its way.  Peers acknowledge at once when
 * they have been told to call others, so what was answered is soon known to
 * have arrived; who does not read is not waited for longer than this.
 */
static void part(struct bus_server *s)
{
	atomic_store(&s->ending, true);
	bus_server_drain(s);
	wait_all(s, is_quiet, SERVER_QUIET_MS);
	bye_to_all(s);
	wait_all(s, has_parted, SERVER_BYE_MS);
}

/*
 * Ends all operations and their callbacks, before the socket: one that is
 * started again while it closes would stay in a queue that is gone.
 */
static void stop(struct bus_server *s)
{
	struct peer *peers[PEERS_MAX];
	size_t n;

	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_mutex_unlock(&s->lock);
	n = all_peers(s, peers);
	for (size_t i = 0; i < n; i++)
		peer_end(peers[i]);
	nng_aio_stop(s->recv);
	nng_aio_stop(s->tick);
	for (size_t i = 0; i < n; i++) {
		nng_aio_stop(peers[i]->send);
		peer_unref(peers[i]);
	}
}

/* Their pipes are gone.  One that went just before may be in the callback of its
 * last send, which nobody but its aio knows of. */
static void free_peers(struct bus_server *s)
{
	for (struct ring *at = s->made.next; at != &s->made; at = at->next)
		nng_aio_stop(RING_OF(struct peer, made, at)->send);
	while (!ring_empty(&s->made)) {
		struct peer *p = RING_OF(struct peer, made, s->made.next);

		ring_del(&p->made);
		peer_end(p);
		peer_free(p);
	}
}

void bus_server_free(struct bus_server *s)
{
	if (!s)
		return;
	if (s->sock.id) {
		part(s);
		assert(atomic_load(&s->in_work) == 0);
		stop(s);
		(void)nng_close(s->sock);
	}
	nng_aio_free(s->recv);
	nng_aio_free(s->tick);
	free_peers(s);
	(void)pthread_cond_destroy(&s->quiet);
	(void)pthread_mutex_destroy(&s->lock);
	free_keys(atomic_load(&s->keys));
	free(s);
}

void bus_server_stats(const struct bus_server *s, struct bus_server_stats *out)
{
	*out = (struct bus_server_stats){
		.frames_in = atomic_load(&s->n.frames_in),
		.frames_out = atomic_load(&s->n.frames_out),
		.items = atomic_load(&s->n.items),
		.replies = atomic_load(&s->n.replies),
		.refused = atomic_load(&s->n.refused),
		.expired = atomic_load(&s->n.expired),
		.bad_frames = atomic_load(&s->n.bad_frames),
		.bad_form = atomic_load(&s->n.bad_form),
		.bad_version = atomic_load(&s->n.bad_version),
		.oversize = atomic_load(&s->n.oversize),
		.bad_mac = atomic_load(&s->n.bad_mac),
		.bad_time = atomic_load(&s->n.bad_time),
		.replayed = atomic_load(&s->n.replayed),
		.bad_edge = atomic_load(&s->n.bad_edge),
		.arriving = atomic_load(&s->arriving),
		.in_work = atomic_load(&s->in_work),
		.peers = atomic_load(&s->peers),
	};
}
