#include "gateway/loop.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "gateway/again.h"
#include "gateway/inside.h"
#include "gateway/query.h"
#include "gateway/req.h"
#include "gateway/status.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

/* Room for HEAD_TOTAL_MAX of headers, the answer's head, and what
 * libmicrohttpd keeps for each of HEAD_LINES_MAX headers. */
#define POOL_BYTES ((size_t)24 << 10)

/* libmicrohttpd ends what has not moved for REQUEST_READ_S and so many seconds
 * more: our own timers (conn.c) come first, and answer.  What is left to it is
 * a client that takes nothing of its answer. */
#define STALL_EXTRA_S 5

#define OVERLOAD_TELL_MS 1000

/*
 * Suspending a connection costs three system calls: its socket leaves
 * libmicrohttpd's epoll set and comes back, and is read in vain.  Most answers
 * are here within a turn or two, so whoever waits is held first, which is to
 * give libmicrohttpd no answer: it asks again in each turn, and says until then
 * that there is something to be done at once.
 */
#define HOLD_TURNS 8
#define HOLD_MS    1 /* how long a turn may be while anybody is held */

/* For a handshake to end that has begun when a socket is shut; less than the
 * second after which a client asks again, so that it is told to go elsewhere. */
#define LAST_SHAKE_MS 500

/* How often a loop that could end looks whether the others can. */
#define OTHERS_IDLE_MS 5

/* --- what libmicrohttpd calls -------------------------------------------------- */

/* The target is copied: its query is cut up in place later on. */
static void *on_target(void *arg, const char *uri, struct MHD_Connection *mhd)
{
	struct conn *cn = conn_of(mhd);
	struct req *rq = cn ? req_new(arg, cn) : NULL;

	if (!rq)
		return NULL;
	rq->target_begin = (uintptr_t)uri;
	rq->target = arena_str(rq->cx.arena, str_from(uri));
	if (!rq->target.p) {
		req_free(rq);
		return NULL;
	}
	/* libmicrohttpd takes pool memory for each parameter, and without it
	 * closes in silence, so this cannot wait for the head. */
	if (query_too_long(rq->target)) {
		req_name(rq);
		(void)ctx_fail(&rq->cx, ERR_BAD_REQUEST,
		               "The query has more than %d parameters.",
		               QUERY_MAX);
		answer_refuse(rq, ERR_BAD_REQUEST);
	}
	return rq;
}

/* We decode the target ourselves, from our copy. */
static size_t no_unescape(void *arg, struct MHD_Connection *mhd, char *s)
{
	(void)arg;
	(void)mhd;
	return strlen(s);
}

static enum MHD_Result on_head(struct req *rq)
{
	const struct head *h = &rq->head;

	/* Only what ends the connection may be answered here: libmicrohttpd
	 * closes after an answer to the first call. */
	if (rq->close)
		return answer_queue(rq);
	if (h->has_length && h->length > req_body_max(rq)) {
		if (!rq->err)
			rq->err = ERR_TOO_LARGE;
		rq->close = true;
		if (h->continues)
			return answer_queue(rq);
		answer_refuse(rq, rq->err);
		return MHD_YES;
	}
	/* A client that asks first is told before it sends. */
	if (rq->err && h->continues)
		return answer_queue(rq);
	return MHD_YES;
}

static void on_body(struct req *rq, struct str part)
{
	struct loop *lo = rq->loop;
	bool wanted = !rq->err && rq->route && rq->route->body_max > 0;

	rq->read += part.n;
	lo->stirred = true;
	if (rq->refused)
		return;
	if (rq->read > req_body_max(rq)) {
		answer_refuse(rq, rq->err ? rq->err : ERR_TOO_LARGE);
		return;
	}
	if (!wanted)
		return;
	if (lo->bodies + part.n > BODIES_MAX) {
		answer_refuse(rq, ERR_BUSY);
		return;
	}
	buf_add(&rq->body, part.p, part.n);
	if (rq->body.failed)
		answer_refuse(rq, ERR_NOMEM);
	else
		lo->bodies += part.n;
}

static enum MHD_Result hold(struct req *rq)
{
	rq->held = rq->held_turns++ < HOLD_TURNS;
	if (rq->held)
		rq->loop->held_n++;
	else
		MHD_suspend_connection(rq->conn->mhd);
	return MHD_YES;
}

static enum MHD_Result on_whole(struct req *rq)
{
	if (rq->refused || rq->gone)
		return MHD_NO; /* ends the connection */
	if (rq->held)
		return hold(rq);
	rq->running = true;
	if (!rq->whole_us) /* else it is resumed */
		rq->whole_us = mono_us();
	if (rq->loop->ending && rq->step != STEP_REPLY) {
		rq->err = ERR_UNAVAILABLE;
		rq->step = STEP_REPLY;
	}
	if (req_run(rq) == WAIT)
		return hold(rq);
	rq->loop->stirred = true;
	return answer_queue(rq);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd,
                                  const char *url, const char *method,
                                  const char *version, const char *upload,
                                  size_t *upload_n, void **context)
{
	struct req *rq = *context;

	(void)arg;
	(void)mhd;
	(void)url;
	if (!rq)
		return MHD_NO; /* no memory even to say so */
	if (rq->refused && !rq->headed)
		return MHD_NO;
	if (!rq->headed) {
		req_head(rq, str_from(method), str_from(version));
		return on_head(rq);
	}
	if (*upload_n) {
		on_body(rq, (struct str){upload, *upload_n});
		*upload_n = 0;
		return MHD_YES;
	}
	return on_whole(rq);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode why)
{
	struct req *rq = *context;

	(void)arg;
	(void)mhd;
	(void)why;
	if (rq)
		req_free(rq);
	*context = NULL;
}

/* --- what the bus calls --------------------------------------------------------- */

void loop_wake(struct loop *lo)
{
	const uint64_t one = 1;

	/* Fails only when the counter is full, and then it is awake. */
	(void)!write(lo->wake_fd, &one, sizeof(one));
}

static void on_wake(void *arg)
{
	loop_wake(arg);
}

static void on_push(void *arg, enum bus_peer from, struct str bytes)
{
	struct loop *lo = arg;

	if (bytes.n == 0 && lo->monitor)
		monitor_started(lo->monitor, from);
	if (bytes.n == 0)
		return;
	if (from == PEER_AUTH)
		identity_push(lo->identity, bytes, lo->now_ms);
	else if (from == PEER_CONTENT)
		events_push(lo, bytes);
}

/* --- building and ending ---------------------------------------------------------- */

static enum err start_http(struct loop *lo, unsigned conns_max)
{
	const struct settings *conf = lo->site->conf;
	const union MHD_DaemonInfo *info;
	union {
		const char *p;
		void *untouched;
	} priorities = {tls_priorities};
	struct MHD_OptionItem https[] = {
		{MHD_OPTION_HTTPS_PRIORITIES, 0, priorities.untouched},
		{MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, tls_no_certificate},
		{MHD_OPTION_END, 0, NULL},
	};
	/* Before 1.0 it is another, laxer thing; gateway/head.h does it all. */
	const unsigned strict =
		MHD_VERSION >= 0x01000000 ? MHD_USE_PEDANTIC_CHECKS : 0U;
	bool tls = lo->live->tls != NULL;

	lo->mhd = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | strict |
			(tls ? MHD_USE_TLS : MHD_NO_FLAG),
		0, conn_accept, lo, on_request, lo, MHD_OPTION_LISTEN_SOCKET,
		lo->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
		MHD_OPTION_CONNECTION_LIMIT, conns_max,
		MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)conf->request_read_s + STALL_EXTRA_S,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, lo,
		MHD_OPTION_NOTIFY_CONNECTION, conn_notify, lo,
		MHD_OPTION_URI_LOG_CALLBACK, on_target, lo,
		MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, lo,
		tls ? MHD_OPTION_ARRAY : MHD_OPTION_END, https, MHD_OPTION_END);
	if (!lo->mhd)
		return ERR_INTERNAL;
	lo->listen_fd = -1; /* the daemon's now */
	info = MHD_get_daemon_info(lo->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	lo->mhd_fd = info ? info->listen_fd : -1;
	return lo->mhd_fd >= 0 ? OK : ERR_INTERNAL;
}

static enum err start_bus(struct loop *lo, const struct gateway_env *env)
{
	const struct bus_client_conf conf = {
		.self = PEER_GATEWAY,
		.keys = env->keys,
		.in_flight_max = (unsigned)env->conf->bus_in_flight,
		.suspect_ms = (unsigned)env->conf->bus_suspect_ms,
		.wake = on_wake,
		.push = on_push,
		.arg = lo,
	};

	lo->bus = bus_client_new(&conf);
	if (!lo->bus)
		return ERR_NOMEM;
	for (int p = PEER_AUTH; p < PEER_COUNT; p++) {
		enum err e = env->urls[p]
		                     ? bus_client_add(lo->bus, (enum bus_peer)p,
		                                      str_from(env->urls[p]))
		                     : OK;

		if (e)
			return e;
	}
	lo->identity = identity_new(env->conf, lo->bus);
	return lo->identity ? OK : ERR_NOMEM;
}

enum err loop_init(struct loop *lo, struct site *site,
                   const struct gateway_env *env, int listen_fd,
                   unsigned conns_max)
{
	enum err e;

	*lo = (struct loop){.site = site, .listen_fd = listen_fd};
	(void)pthread_mutex_init(&lo->shown_lock, NULL);
	limit_wait_init(&lo->limit_wait);
	memcpy(lo->near, env->near, sizeof(lo->near));
	lo->entry.max = BUS_REQUEST_MAX;
	(void)live_follow(&site->board, &lo->live, &lo->live_seen);
	lo->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (lo->wake_fd < 0 ||
	    getrandom(&lo->seed, sizeof(lo->seed), 0) != sizeof(lo->seed))
		return ERR_INTERNAL;
	lo->gzip = gzip_new(GZIP_LEVEL);
	if (!lo->gzip)
		return ERR_NOMEM;
	e = start_bus(lo, env);
	lo->conns_max = conns_max;
	return e ? e : start_http(lo, conns_max);
}

/* Nothing may be suspended when libmicrohttpd stops, or it aborts; that goes for
 * a request too that it reads only now. */
static void end_http(struct loop *lo)
{
	lo->ending = true;
	for (struct conn *cn = lo->conns; cn; cn = cn->next) {
		struct req *rq = cn->rq;

		if (!rq || rq->wait == WAIT_NONE)
			continue;
		req_stop_waiting(rq);
		rq->err = ERR_UNAVAILABLE;
		rq->step = STEP_REPLY;
		req_resume(rq);
	}
	(void)MHD_run(lo->mhd);
	MHD_stop_daemon(lo->mhd);
	lo->mhd = NULL;
}

void loop_stop(struct loop *lo)
{
	if (lo->running) {
		loop_wake(lo);
		(void)pthread_join(lo->thread, NULL);
		lo->running = false;
	}
	if (lo->mhd)
		end_http(lo);
}

void loop_fini(struct loop *lo)
{
	live_put(lo->live);
	identity_free(lo->identity);
	bus_client_free(lo->bus);
	req_spares_free(lo);
	conn_free_all(lo);
	gzip_free(lo->gzip);
	buf_fini(&lo->entry);
	buf_fini(&lo->reply);
	if (lo->listen_fd >= 0)
		(void)close(lo->listen_fd);
	if (lo->wake_fd >= 0)
		(void)close(lo->wake_fd);
	(void)pthread_mutex_destroy(&lo->shown_lock);
	limit_wait_fini(&lo->limit_wait);
}

/* --- turning ----------------------------------------------------------------------- */

static void show(struct loop *lo)
{
	GUARD(&lo->shown_lock);

	lo->shown_n = bus_client_replicas(lo->bus, lo->shown, REPLICAS_SHOWN);
	if (lo->shown_n > REPLICAS_SHOWN)
		lo->shown_n = REPLICAS_SHOWN;
	identity_stats(lo->identity, lo->now_ms, &lo->shown_identity);
	lo->shown_requests = lo->requests;
	lo->shown_overload = lo->overload;
	lo->shown_conns = lo->conns_n;
}

static void forgive(struct loop *lo)
{
	for (int p = PEER_AUTH; p < PEER_COUNT; p++) {
		unsigned said = atomic_load(&lo->site->forgiven[p]);

		if (said != lo->forgiven[p])
			bus_client_forgive(lo->bus, (enum bus_peer)p);
		lo->forgiven[p] = said;
	}
}

/* Whoever falls silent is asked how it is before a request has to find out. */
static void note_suspects(struct loop *lo)
{
	for (size_t i = 0; i < lo->shown_n; i++)
		if (lo->shown[i].state == BUS_SUSPECT)
			monitor_note(lo->site->monitor, lo->shown[i].peer);
}

/* Who is refused is not told one by one (reqlog.c). */
static void tell_overload(struct loop *lo)
{
	if (lo->now_ms - lo->overload_told_ms < OVERLOAD_TELL_MS)
		return;
	lo->overload_told_ms = lo->now_ms;
	for (int i = 0; i < OVERLOAD_GROUPS; i++) {
		enum overload_group g = (enum overload_group)i;
		uint64_t refused = lo->overload.each[g].refused;

		if (refused == lo->overload_told[g])
			continue;
		log_warn(NULL, "gateway.overload",
		         LOG_TEXT("class", overload_group_name(g)),
		         LOG_U64("refused", refused - lo->overload_told[g]),
		         LOG_U64("limit", overload_limit(&lo->overload, g)));
		lo->overload_told[g] = refused;
	}
}

static void tick(struct loop *lo)
{
	if (lo->now_ms < lo->tick_at_ms)
		return;
	lo->tick_at_ms = lo->now_ms + LOOP_TICK_MS;
	conn_tick(lo);
	events_turn(lo, true);
	forgive(lo);
	show(lo);
	note_suspects(lo);
	tell_overload(lo);
	if (lo->monitor)
		status_turn(lo->site->status, lo->now_ms);
}

static int listening_fd(struct loop *lo)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(lo->mhd, MHD_DAEMON_INFO_LISTEN_FD);

	return info ? info->listen_fd : -1;
}

static bool has_input(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/*
 * Stops taking connections.  Closing a socket resets those that wait in its
 * queue, so none may begin any more, those that have begun get a moment to end
 * their handshake, and all are taken.  Where nobody takes over, the moment would
 * gain nothing.
 */
static void quiesce(struct loop *lo)
{
	const struct site *st = lo->site;
	uint64_t close_ms = st->open_until_ms;
	int fd;

	if (lo->quiesced || lo->now_ms < st->open_until_ms)
		return;
	fd = listening_fd(lo);
	if (!lo->shut)
		listen_shut(fd);
	lo->shut = true;
	if (st->relieved)
		close_ms += LAST_SHAKE_MS;
	if (lo->now_ms < st->stop_by_ms &&
	    (lo->now_ms < close_ms || has_input(fd)))
		return;
	fd = MHD_quiesce_daemon(lo->mhd);
	if (fd >= 0)
		(void)close(fd);
	lo->quiesced = true;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int timeout_ms(struct loop *lo)
{
	uint64_t now = mono_ms(), ms = clock_left(lo->tick_at_ms, now);
	MHD_UNSIGNED_LONG_LONG http = 0;

	if (lo->held_n > 0)
		ms = least(ms, HOLD_MS);
	else if (MHD_get_timeout(lo->mhd, &http) == MHD_YES)
		ms = least(ms, http);
	ms = least(ms, bus_client_timeout_ms(lo->bus, now));
	ms = least(ms, identity_timeout_ms(lo->identity, now));
	ms = least(ms, again_timeout_ms(lo, now));
	ms = least(ms, limit_wait_timeout_ms(lo, now));
	if (lo->monitor)
		ms = least(ms, monitor_timeout_ms(lo->monitor, now));
	if (lo->idle)
		ms = least(ms, OTHERS_IDLE_MS);
	return (int)ms;
}

static void sleep_until_something(struct loop *lo)
{
	struct pollfd fds[] = {
		{.fd = lo->mhd_fd, .events = POLLIN},
		{.fd = lo->wake_fd, .events = POLLIN},
	};
	uint64_t count;

	if (lo->resumed || lo->stirred || lo->events_due ||
	    !bus_client_may_sleep(lo->bus))
		return;
	if (poll(fds, COUNTOF(fds), timeout_ms(lo)) > 0 && fds[1].revents)
		(void)!read(lo->wake_fd, &count, sizeof(count));
}

/* Who keeps a connection to a loop that has nothing to do is answered until the
 * last request of all loops has been, as if there were one. */
static bool all_idle(struct loop *lo)
{
	struct site *st = lo->site;
	bool idle = lo->requests == 0 && !conn_unread(lo);

	if (idle && !lo->idle)
		atomic_fetch_add(&st->idle_n, 1);
	else if (!idle && lo->idle)
		atomic_fetch_sub(&st->idle_n, 1);
	lo->idle = idle;
	return idle && atomic_load(&st->idle_n) == st->loops_n;
}

static bool finished(struct loop *lo)
{
	if (!atomic_load_explicit(&lo->site->draining, memory_order_acquire))
		return false;
	lo->now_ms = mono_ms();
	quiesce(lo);
	if (lo->now_ms >= lo->site->stop_by_ms)
		return true;
	if (!lo->quiesced)
		return false;
	return lo->site->relieved ? lo->conns_n == 0 : all_idle(lo);
}

/* The last loop to have its keys and revocations makes the gateway ready. */
static void look_whether_ready(struct loop *lo)
{
	struct site *st = lo->site;

	if (atomic_load_explicit(&lo->ready, memory_order_relaxed) ||
	    !identity_ready(lo->identity))
		return;
	atomic_store(&lo->ready, true);
	if (atomic_fetch_add(&st->ready_n, 1) + 1 == st->loops_n &&
	    st->health && !atomic_load(&st->draining))
		health_phase(st->health, "gateway", PHASE_READY);
}

static void *turn_until_stopped(void *arg)
{
	struct loop *lo = arg;

	for (;;) {
		uint64_t began_us = mono_us();

		lo->now_ms = mono_ms();
		if (live_follow(&lo->site->board, &lo->live, &lo->live_seen))
			bus_client_rekey(lo->bus, &lo->live->keys);
		bus_client_turn(lo->bus, lo->now_ms);
		lo->resumed = lo->stirred = false;
		lo->held_n = 0;
		(void)MHD_run(lo->mhd);
		if (lo->monitor)
			monitor_turn(lo->monitor, lo->now_ms);
		again_turn(lo);
		limit_wait_turn(lo);
		events_turn(lo, false);
		identity_turn(lo->identity, lo->now_ms);
		bus_client_flush(lo->bus);
		tick(lo);
		look_whether_ready(lo);
		overload_turned(&lo->overload, mono_us() - began_us);
		if (finished(lo))
			return NULL;
		sleep_until_something(lo);
	}
}

enum err loop_run(struct loop *lo)
{
	if (pthread_create(&lo->thread, NULL, turn_until_stopped, lo) != 0)
		return ERR_NOMEM;
	lo->running = true;
	(void)pthread_setname_np(lo->thread, "http");
	return OK;
}
