/*
 * Connections: who is there, and the timers that libmicrohttpd has not.
 *
 * Its own timeout starts anew with every byte, so a client that sends one now
 * and then would hold a connection for ever; and while a connection is
 * suspended nobody looks at its socket, so a client that went away would keep
 * a service at work.  Both are looked for at each tick.
 */
#include "gateway/req.h"

#include "common/base/log.h"
#include "common/base/uuid.h"
#include "gateway/problem.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Clients that have waited longer than this are looked after. */
#define GONE_AFTER_MS 250
#define POLL_MAX      256

/* What is left of the times for doing nothing when connections run out. */
#define CROWDED_IDLE_MS 1000
#define CROWDED_HEAD_MS 2000

/* TCP_CLOSE_WAIT of netinet/tcp.h, which linux/tcp.h excludes. */
#define CLIENT_HAS_ENDED 8

struct conn *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd,
	                                MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void name_client(struct conn *cn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(cn->mhd,
	                                MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	if (info && addr_from(info->client_addr, &cn->peer))
		(void)addr_text(&cn->peer, cn->ip);
}

enum MHD_Result conn_accept(void *arg, const struct sockaddr *from, socklen_t n)
{
	struct loop *lo = arg;
	struct addr a = {{0}};

	(void)n;
	if (!addr_from(from, &a) || proxies_trust(lo->site->proxies, &a) ||
	    crowd_room(lo->site->crowd, &a))
		return MHD_YES;
	atomic_fetch_add_explicit(&lo->turned_away, 1, memory_order_relaxed);
	return MHD_NO;
}

static void begin(struct loop *lo, struct MHD_Connection *mhd, void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct conn *cn = lo->spare_conns;

	/* Without memory the connection has no context and gets no answer. */
	if (cn)
		lo->spare_conns = cn->next;
	else
		cn = malloc(sizeof(*cn));
	if (!cn)
		return;
	*cn = (struct conn){
		.next = lo->conns,
		.mhd = mhd,
		.fd = info ? info->connect_fd : -1,
		.tls = tls_session_of(mhd),
		.idle_seen = true, /* nothing has come yet */
		.began_ms = lo->now_ms,
		.idle_since_ms = lo->now_ms,
	};
	if (cn->next)
		cn->next->prev = cn;
	lo->conns = cn;
	lo->conns_n++;
	if (cn->tls && tls_begin(cn->tls, lo->live->tls))
		cn->live = live_get(lo->live);
	cn->settled = !cn->tls;
	name_client(cn);
	crowd_enter(lo->site->crowd, &cn->peer);
	*context = cn;
}

void conn_notify(void *arg, struct MHD_Connection *mhd, void **context,
                 enum MHD_ConnectionNotificationCode code)
{
	struct loop *lo = arg;
	struct conn *cn = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		begin(lo, mhd, context);
		return;
	}
	if (!cn)
		return;
	/* Where libmicrohttpd gives up before its first handler call, it does
	 * not say that the request is over. */
	if (cn->rq)
		req_free(cn->rq);
	crowd_leave(lo->site->crowd, &cn->peer);
	live_put(cn->live);
	lo->conns_n--;
	*(cn->prev ? &cn->prev->next : &lo->conns) = cn->next;
	if (cn->next)
		cn->next->prev = cn->prev;
	*cn = (struct conn){.next = lo->spare_conns};
	lo->spare_conns = cn;
	*context = NULL;
}

void conn_free_all(struct loop *lo)
{
	while (lo->spare_conns) {
		struct conn *cn = lo->spare_conns;

		lo->spare_conns = cn->next;
		free(cn);
	}
}

void conn_send(struct conn *cn, struct str bytes)
{
	if (cn->tls)
		tls_send(cn->tls, bytes);
	else
		(void)send(cn->fd, bytes.p, bytes.n,
		           MSG_DONTWAIT | MSG_NOSIGNAL);
}

void conn_end_ours(struct conn *cn)
{
	if (cn->tls)
		tls_say_end(cn->tls);
	(void)shutdown(cn->fd, SHUT_WR);
}

/* Ends a connection from outside: libmicrohttpd then reads its end. */
static void hang_up(struct conn *cn)
{
	if (cn->tls && cn->settled)
		tls_say_end(cn->tls);
	(void)shutdown(cn->fd, SHUT_RDWR);
}

/* There is no request yet to answer, so the problem is written here. */
static void tell_late(const struct loop *lo, struct conn *cn)
{
	char rid[UUID_MAX];
	const struct ctx cx = {.service = "gateway", .rid = uuid7(rid)};
	AUTO_BUF body = {0};
	AUTO_BUF out = {0};

	problem_write(&body, &cx, ERR_SLOW_CLIENT, STR(""), false);
	buf_printf(&out,
	           "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
	           "Content-Type: " PROBLEM_TYPE "\r\n"
	           "Cache-Control: no-store\r\nVary: Origin\r\n"
	           "X-Request-ID: %s\r\nContent-Length: %zu\r\n",
	           rid, body.n);
	answer_always(&out, cn->tls && lo->site->conf->force_https);
	buf_str(&out, STR("\r\n"));
	buf_str(&out, buf_view(&body));
	if (!out.failed)
		conn_send(cn, buf_view(&out));
	log_warn(&cx, "gateway.slow_head", LOG_TEXT("client_ip", cn->ip));
}

/* Nearly as many as there may be: who does nothing makes room. */
static bool is_crowded(const struct loop *lo)
{
	return lo->conns_n >= lo->conns_max - lo->conns_max / 8;
}

static uint64_t idle_ms(const struct loop *lo)
{
	uint64_t ms = lo->site->conf->keep_alive_s * 1000;

	return is_crowded(lo) && ms > CROWDED_IDLE_MS ? CROWDED_IDLE_MS : ms;
}

static uint64_t head_ms(const struct loop *lo)
{
	const struct settings *conf = lo->site->conf;
	uint64_t s = conf->head_read_s < conf->request_read_s
	                     ? conf->head_read_s
	                     : conf->request_read_s;

	return is_crowded(lo) && s * 1000 > CROWDED_HEAD_MS ? CROWDED_HEAD_MS
	                                                    : s * 1000;
}

/*
 * A head that comes too slowly is not visible to us, but what it is made of is:
 * the kernel counts bytes, and a TLS session the records in which they come.
 * The bytes of a handshake have the same time as a head; after it the connection
 * is as new.
 */
static uint64_t came(struct loop *lo, struct conn *cn, uint64_t bytes)
{
	if (!cn->settled && tls_is_settled(cn->tls)) {
		cn->settled = true;
		cn->idle_came = 0;
		cn->idle_since_ms = lo->now_ms;
		cn->head_since_ms = 0;
	}
	return cn->tls && cn->settled ? tls_records(cn->tls) : bytes;
}

static bool has_unread(const struct conn *cn)
{
	int n = 0;

	return ioctl(cn->fd, FIONREAD, &n) == 0 && n > 0;
}

static void check_idle(struct loop *lo, struct conn *cn)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof(info);
	uint64_t now_came;

	if (getsockopt(cn->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
		return;
	/* When a request and the end of what the client sends come at once,
	 * libmicrohttpd sees only the request and would wait for another.  It
	 * may not have read that yet. */
	if (info.tcpi_state == CLIENT_HAS_ENDED && !has_unread(cn)) {
		hang_up(cn);
		return;
	}
	now_came = came(lo, cn, info.tcpi_bytes_received);
	if (!cn->idle_seen) {
		cn->idle_seen = true;
		cn->idle_came = now_came;
		cn->idle_since_ms = lo->now_ms;
		cn->head_since_ms = 0;
	}
	if (now_came == cn->idle_came) {
		if (lo->now_ms - cn->idle_since_ms >= idle_ms(lo))
			hang_up(cn);
		return;
	}
	if (cn->head_since_ms == 0) {
		cn->head_since_ms = lo->now_ms;
	} else if (lo->now_ms - cn->head_since_ms >= head_ms(lo)) {
		if (cn->settled)
			tell_late(lo, cn);
		hang_up(cn);
	}
}

static void check_reading(struct loop *lo, struct conn *cn)
{
	struct req *rq = cn->rq;

	if (rq->refused) {
		if (lo->now_ms - rq->refused_at_ms >= LINGER_MS)
			hang_up(cn);
	} else if (lo->now_ms - rq->began_ms >=
	           lo->site->conf->request_read_s * 1000) {
		answer_refuse(rq, ERR_SLOW_CLIENT);
	}
}

/* One byte now and then keeps libmicrohttpd content; here it ends. */
static void check_taking(struct loop *lo, struct conn *cn)
{
	if (lo->now_ms - cn->rq->began_ms >=
	    lo->site->conf->connection_total_s * 1000)
		hang_up(cn);
}

bool conn_unread(const struct loop *lo)
{
	for (const struct conn *cn = lo->conns; cn; cn = cn->next)
		if (!cn->rq && has_unread(cn))
			return true;
	return false;
}

/* Resumed without an answer: the handler then drops the connection. */
static void give_up(struct req *rq)
{
	req_stop_waiting(rq);
	rq->gone = true;
	rq->step = STEP_REPLY;
	req_resume(rq);
}

static void look_for_gone(struct pollfd *fds, struct conn *const *who, size_t n)
{
	if (n == 0 || poll(fds, n, 0) <= 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (fds[i].revents)
			give_up(who[i]->rq);
}

void conn_tick(struct loop *lo)
{
	struct pollfd fds[POLL_MAX];
	struct conn *who[POLL_MAX];
	size_t n = 0;

	for (struct conn *cn = lo->conns; cn; cn = cn->next) {
		struct req *rq = cn->rq;

		if (!rq) {
			check_idle(lo, cn);
			continue;
		}
		if (!rq->running) {
			check_reading(lo, cn);
			continue;
		}
		if (rq->wait == WAIT_NONE && rq->answered)
			check_taking(lo, cn);
		if (rq->wait == WAIT_NONE ||
		    lo->now_ms - rq->began_ms < GONE_AFTER_MS)
			continue;
		fds[n] = (struct pollfd){.fd = cn->fd, .events = POLLRDHUP};
		who[n++] = cn;
		if (n == POLL_MAX) {
			look_for_gone(fds, who, n);
			n = 0;
		}
	}
	look_for_gone(fds, who, n);
}
