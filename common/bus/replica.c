#include "common/bus/replica.h"

#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/bus/tls.h"

#include <errno.h>
#include <math.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/transport/ipc/ipc.h>
#include <nng/transport/tcp/tcp.h>
#include <stdlib.h>
#include <time.h>

#define SP_REQUEST 0x80000000u /* raw REQ: without this bit nothing arrives */

#define LATENCY_WEIGHT   0.1   /* of a new sample */
#define LATENCY_IDLE_US  10000 /* idle this long: */
#define LATENCY_DECAY    0.97  /* a slow replica is tried again */
#define LATENCY_FLOOR_MS 0.01  /* keeps in flight the tie-breaker */

/* --- hub ------------------------------------------------------------------ */

enum err hub_init(struct hub *h, void (*wake)(void *arg), void *arg)
{
	pthread_condattr_t attr;

	*h = (struct hub){.sleeping = true, .wake = wake, .arg = arg};
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&h->came, &attr);
	(void)pthread_condattr_destroy(&attr);
	return pthread_mutex_init(&h->lock, NULL) ? ERR_NOMEM : OK;
}

void hub_fini(struct hub *h)
{
	(void)pthread_cond_destroy(&h->came);
	(void)pthread_mutex_destroy(&h->lock);
}

struct replica *hub_take(struct hub *h, bool *resolved)
{
	struct replica *list;
	GUARD(&h->lock);

	list = h->dirty;
	h->dirty = NULL;
	h->sleeping = false;
	*resolved = h->resolved;
	h->resolved = false;
	return list;
}

bool hub_may_sleep(struct hub *h)
{
	GUARD(&h->lock);

	h->sleeping = !h->dirty && !h->resolved;
	return h->sleeping;
}

void hub_wait(struct hub *h, uint64_t end_ms)
{
	struct timespec t = {
		.tv_sec = (time_t)(end_ms / 1000),
		.tv_nsec = (long)(end_ms % 1000) * 1000000,
	};
	GUARD(&h->lock);

	while (!h->dirty)
		if (pthread_cond_timedwait(&h->came, &h->lock, &t) == ETIMEDOUT)
			return;
}

/* Under the lock: true if wake() is to be called after it. */
static bool rouse(struct hub *h)
{
	bool was = h->sleeping;

	h->sleeping = false;
	return was && h->wake;
}

void hub_resolved(struct hub *h)
{
	bool wake;

	pthread_mutex_lock(&h->lock);
	h->resolved = true;
	wake = rouse(h);
	pthread_mutex_unlock(&h->lock);
	if (wake)
		h->wake(h->arg);
}

void hub_close(struct hub *h)
{
	GUARD(&h->lock);

	h->closing = true;
}

/* --- callbacks, on nng's threads ------------------------------------------ */

static bool mark(struct replica *r)
{
	if (!r->dirty) {
		r->dirty = true;
		r->next_dirty = r->hub->dirty;
		r->hub->dirty = r;
		(void)pthread_cond_signal(&r->hub->came);
	}
	return rouse(r->hub);
}

static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
	struct replica *r = arg;
	uint32_t id = (uint32_t)nng_pipe_id(p);
	bool wake = false, refused = false;

	pthread_mutex_lock(&r->hub->lock);
	if (ev == NNG_PIPE_EV_ADD_PRE && r->hub->closing) {
		refused = true;
	} else if (ev == NNG_PIPE_EV_ADD_PRE) {
		r->in.pipe = id;
		wake = mark(r);
	} else if (r->in.pipe == id) {
		r->in.pipe = 0;
		wake = mark(r);
	}
	pthread_mutex_unlock(&r->hub->lock);
	if (refused)
		(void)nng_pipe_close(p);
	if (wake)
		r->hub->wake(r->hub->arg);
}

static void on_received(void *arg)
{
	struct replica *r = arg;
	nng_msg *m;
	bool wake, paused;
	int rc = nng_aio_result(r->recv);

	if (rc == NNG_ECLOSED || rc == NNG_ECANCELED)
		return;
	if (rc != 0) {
		nng_recv_aio(r->sock, r->recv);
		return;
	}
	m = nng_aio_get_msg(r->recv);
	nng_aio_set_msg(r->recv, NULL);
	pthread_mutex_lock(&r->hub->lock);
	r->in.msgs[r->in.n++] = m;
	paused = r->in.paused = r->in.n == INBOX_MAX;
	wake = mark(r);
	pthread_mutex_unlock(&r->hub->lock);
	if (wake)
		r->hub->wake(r->hub->arg);
	if (!paused)
		nng_recv_aio(r->sock, r->recv);
}

static void on_sent(void *arg)
{
	struct replica *r = arg;
	int rc = nng_aio_result(r->send);
	bool wake = false;

	if (rc != 0) {
		nng_msg_free(nng_aio_get_msg(r->send));
		nng_aio_set_msg(r->send, NULL);
	}
	pthread_mutex_lock(&r->hub->lock);
	r->in.sent = true;
	r->in.failed = rc != 0;
	if (r->in.want_sent) {
		r->in.want_sent = false;
		wake = mark(r);
	}
	pthread_mutex_unlock(&r->hub->lock);
	if (wake)
		r->hub->wake(r->hub->arg);
}

/* --- the owner's side ------------------------------------------------------ */

/*
 * How long nng waits between attempts, from 0 to these milliseconds.  A service
 * that is away is knocked at all the time: at 10 ms each caller spent a third
 * of a core on it (nng 1.5.2, ipc); at 100 ms it is not seen, and a call that
 * may be held waits BUS_HOLD_MS anyway.
 */
enum { KNOCK_MIN_MS = 10, KNOCK_MAX_MS = 100 };

static int dial(struct replica *r, nng_tls_config *tls)
{
	bool tcp = strstr(r->url, "tcp://") != NULL;
	nng_dialer d;
	int rc = nng_dialer_create(&d, r->sock, r->url);

	if (rc == 0)
		rc = nng_dialer_set_ms(d, NNG_OPT_RECONNMINT, KNOCK_MIN_MS);
	if (rc == 0)
		rc = nng_dialer_set_ms(d, NNG_OPT_RECONNMAXT, KNOCK_MAX_MS);
	if (rc == 0 && tls)
		rc = nng_dialer_set_ptr(d, NNG_OPT_TLS_CONFIG, tls);
	if (rc == 0 && tcp)
		rc = nng_dialer_set_bool(d, NNG_OPT_TCP_KEEPALIVE, true);
	if (rc == 0)
		rc = nng_dialer_start(d, NNG_FLAG_NONBLOCK);
	return rc;
}

static int open_socket(struct replica *r, nng_tls_config *tls)
{
	int rc = nng_req0_open_raw(&r->sock);

	if (rc == 0)
		rc = nng_aio_alloc(&r->send, on_sent, r);
	if (rc == 0)
		rc = nng_aio_alloc(&r->recv, on_received, r);
	if (rc == 0)
		rc = nng_socket_set_size(r->sock, NNG_OPT_RECVMAXSZ,
		                         FRAME_MAX + 64);
	if (rc == 0)
		rc = nng_pipe_notify(r->sock, NNG_PIPE_EV_ADD_PRE, on_pipe, r);
	if (rc == 0)
		rc = nng_pipe_notify(r->sock, NNG_PIPE_EV_REM_POST, on_pipe, r);
	if (rc == 0) {
		nng_aio_set_timeout(r->send, NNG_DURATION_INFINITE);
		nng_aio_set_timeout(r->recv, NNG_DURATION_INFINITE);
		nng_recv_aio(r->sock, r->recv);
		rc = dial(r, tls);
	}
	return rc;
}

enum err replica_new(struct hub *h, enum bus_peer to, const char *url,
                     enum bus_peer self, const struct bus_keys *keys,
                     struct replica **out)
{
	AUTO(replica) r = calloc(1, sizeof(*r));
	AUTO(nng_tls_config) tls = NULL;
	size_t n = strlen(url);
	enum err e = OK;
	int rc;

	if (!r)
		return ERR_NOMEM;
	link_init(&r->link, self, false, to, keys);
	ring_init(&r->calls);
	r->hub = h;
	r->to = to;
	r->name = SIZE_MAX;
	if (n >= sizeof(r->url))
		return ERR_INVALID;
	memcpy(r->url, url, n + 1);
	if (str_starts(str_from(url), STR("tls+")))
		e = tls_config_new(&keys->tls, bus_peer_name(to), &tls);
	if (e)
		return e;
	rc = open_socket(r, tls);
	if (rc != 0) {
		log_error(NULL, "bus.dial_failed", LOG_TEXT("url", url),
		          LOG_TEXT("reason", nng_strerror(rc)));
		return rc == NNG_ENOMEM ? ERR_NOMEM : ERR_INVALID;
	}
	*out = STEAL(r);
	return OK;
}

static void forget(struct replica *r)
{
	struct replica **at = &r->hub->dirty;
	GUARD(&r->hub->lock);

	while (*at && *at != r)
		at = &(*at)->next_dirty;
	if (*at)
		*at = r->next_dirty;
}

void replica_free(struct replica *r)
{
	if (!r)
		return;
	/* First the operations and their callbacks: one that is started again
	 * while the socket closes would stay in a queue that is gone. */
	nng_aio_stop(r->send);
	nng_aio_stop(r->recv);
	if (r->sock.id)
		(void)nng_close(r->sock);
	nng_aio_free(r->send);
	nng_aio_free(r->recv);
	forget(r);
	for (unsigned i = 0; i < r->in.n; i++)
		nng_msg_free(r->in.msgs[i]);
	link_fini(&r->link);
	free(r);
}

void replica_collect(struct replica *r, struct inbox *out)
{
	bool resume;

	pthread_mutex_lock(&r->hub->lock);
	out->n = r->in.n;
	for (unsigned i = 0; i < out->n; i++)
		out->msgs[i] = r->in.msgs[i];
	out->pipe = r->in.pipe;
	out->sent = r->in.sent;
	out->failed = r->in.failed;
	resume = r->in.paused;
	r->in.n = 0;
	r->in.sent = r->in.failed = r->in.paused = false;
	r->dirty = false;
	pthread_mutex_unlock(&r->hub->lock);
	if (resume)
		nng_recv_aio(r->sock, r->recv);
}

void replica_send(struct replica *r, nng_msg *m)
{
	if (nng_msg_header_append_u32(
		    m, SP_REQUEST | (uint32_t)r->link.seq_out) != 0) {
		/* The header has room for more than this in every version. */
		nng_msg_free(m);
		return;
	}
	r->busy = true;
	nng_aio_set_msg(r->send, m);
	nng_send_aio(r->sock, r->send);
}

bool replica_want_sent(struct replica *r)
{
	bool sent;
	GUARD(&r->hub->lock);

	sent = r->in.sent;
	r->in.want_sent = !sent;
	r->in.sent = false;
	return sent;
}

bool replica_cancel_send(struct replica *r)
{
	bool failed;

	nng_aio_cancel(r->send);
	nng_aio_wait(r->send);
	pthread_mutex_lock(&r->hub->lock);
	failed = r->in.sent && r->in.failed;
	r->in.sent = r->in.failed = r->in.want_sent = false;
	pthread_mutex_unlock(&r->hub->lock);
	r->busy = false;
	return failed;
}

/* --- latency ---------------------------------------------------------------- */

double replica_latency(struct replica *r, unsigned cls, uint64_t now_us)
{
	struct latency *l = &r->latency[cls];
	uint64_t idle = now_us > l->at_us ? now_us - l->at_us : 0;

	if (idle >= LATENCY_IDLE_US && l->ms > 0) {
		uint64_t steps = idle / LATENCY_IDLE_US;

		l->ms *= pow(LATENCY_DECAY, (double)steps);
		l->at_us = now_us;
	}
	return l->ms + LATENCY_FLOOR_MS;
}

void replica_sample(struct replica *r, unsigned cls, uint64_t now_us, double ms)
{
	struct latency *l = &r->latency[cls];

	l->ms = l->ms > 0 ? l->ms + LATENCY_WEIGHT * (ms - l->ms) : ms;
	l->at_us = now_us;
}

void replica_touch(struct replica *r, unsigned cls, uint64_t now_us)
{
	r->latency[cls].at_us = now_us;
}
