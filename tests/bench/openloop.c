/*
 * openloop - asks at a fixed rate, whatever comes back.
 *
 *     build/release/bench/openloop PORT RATE SECONDS CONNECTIONS PATIENCE_MS METHOD PATH
 *                                  [HEADER...] [--body TEXT]
 *
 * A client that waits for its answer before it asks again offers less the slower
 * the server is; people and other programs do not.  Here request i is due at
 * i / RATE and goes out on an idle connection or on a new one; when CONNECTIONS
 * are busy it is not sent: more people than that are not there.  PATIENCE_MS
 * after it was due it is given up, and its connection with it.  Times count from
 * when it was due.  A '#' in TEXT becomes the number of the request.
 *
 * Prints: offered, sent, ok (2xx), refused (503), other, unsent, late and failed
 * per second; p50, p99 and the most of the milliseconds of ok.
 *
 * One thread, loopback only.
 */
#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS   256
#define HEAD_MAX 4096
#define SEND_MAX 4096

struct conn {
	int fd;
	bool busy, connecting;
	uint64_t due_us;
	struct conn *next;          /* of the idle or the spare ones */
	struct conn *older, *newer; /* of the busy ones, by due_us */
	char head[HEAD_MAX];
	size_t head_n, body_left;
	bool in_body, close;
	unsigned status;
	char out[SEND_MAX];
	size_t out_n;
};

static struct run {
	unsigned port;
	double rate, seconds;
	uint64_t patience_us;
	struct buf head; /* up to Content-Length */
	const char *body;
	int epoll;
	struct conn *conns, *idle, *spare;
	struct conn *oldest, *newest;
	uint64_t began_us;
	uint64_t next; /* request that is due */
	uint64_t all;  /* to be offered */
	uint64_t sent, ok, refused, other, unsent, late, failed;
	uint32_t *took_us; /* of each ok */
} run;

static uint64_t due_us(uint64_t i)
{
	return run.began_us + (uint64_t)((double)i * 1e6 / run.rate);
}

/* --- connections ------------------------------------------------------------- */

static void unlink_busy(struct conn *c)
{
	*(c->older ? &c->older->newer : &run.oldest) = c->newer;
	*(c->newer ? &c->newer->older : &run.newest) = c->older;
	c->older = c->newer = NULL;
	c->busy = false;
}

static void drop(struct conn *c)
{
	if (c->busy)
		unlink_busy(c);
	(void)close(c->fd);
	c->fd = -1;
	c->next = run.spare;
	run.spare = c;
}

static void fail_one(struct conn *c)
{
	run.failed += c->busy;
	drop(c);
}

static bool dial(struct conn *c)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)run.port),
		.sin_addr = {htonl(INADDR_LOOPBACK)},
	};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
	                         .data.ptr = c};
	const int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return false;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if ((connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) == 0 ||
	     errno == EINPROGRESS) &&
	    epoll_ctl(run.epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0) {
		c->connecting = true;
		return true;
	}
	(void)close(c->fd);
	return false;
}

static void put(struct conn *c)
{
	if (send(c->fd, c->out, c->out_n, MSG_NOSIGNAL) == (ssize_t)c->out_n)
		run.sent++;
	else
		fail_one(c);
}

static void write_request(struct conn *c, uint64_t i)
{
	char body[1024] = "";
	size_t n = 0;
	int head_n;

	for (const char *p = run.body; *p && n < sizeof(body) - 32; p++) {
		if (*p == '#')
			n += (size_t)snprintf(body + n, 24, "%llu",
			                      (unsigned long long)i);
		else
			body[n++] = *p;
	}
	head_n = snprintf(c->out, sizeof(c->out), "%.*s", (int)run.head.n,
	                  run.head.p);
	if (n)
		head_n += snprintf(c->out + head_n,
		                   sizeof(c->out) - (size_t)head_n,
		                   "Content-Type: application/json\r\n"
		                   "Content-Length: %zu\r\n",
		                   n);
	c->out_n = (size_t)head_n +
	           (size_t)snprintf(c->out + head_n,
	                            sizeof(c->out) - (size_t)head_n, "\r\n%.*s",
	                            (int)n, body);
}

static void ask(struct conn *c, uint64_t i, bool fresh)
{
	c->busy = true;
	c->due_us = due_us(i);
	c->older = run.newest;
	c->newer = NULL;
	*(c->older ? &c->older->newer : &run.oldest) = c;
	run.newest = c;
	c->head_n = c->body_left = 0;
	c->in_body = c->close = false;
	write_request(c, i);
	if (!fresh)
		put(c);
}

static void send_due(uint64_t now_us)
{
	while (run.next < run.all && due_us(run.next) <= now_us) {
		uint64_t i = run.next++;
		struct conn *c = run.idle;

		if (c) {
			run.idle = c->next;
			ask(c, i, false);
			continue;
		}
		c = run.spare;
		if (!c) {
			run.unsent++;
			continue;
		}
		run.spare = c->next;
		if (dial(c)) {
			ask(c, i, true);
			continue;
		}
		run.failed++;
		c->next = run.spare;
		run.spare = c;
	}
}

static void give_up_late(uint64_t now_us)
{
	while (run.oldest && now_us - run.oldest->due_us > run.patience_us) {
		run.late++;
		drop(run.oldest);
	}
}

/* --- answers ------------------------------------------------------------------ */

static void answered(struct conn *c)
{
	uint64_t took = mono_us() - c->due_us;

	if (c->status / 100 == 2)
		run.took_us[run.ok++] = (uint32_t)took;
	else if (c->status == 503)
		run.refused++;
	else
		run.other++;
	unlink_busy(c);
	if (c->close) {
		drop(c);
		return;
	}
	c->next = run.idle;
	run.idle = c;
}

static void read_head(struct conn *c)
{
	const char *length, *end = c->head + c->head_n;
	char *stop = memmem(c->head, c->head_n, "\r\n\r\n", 4);

	if (!stop)
		return;
	*stop = '\0';
	c->status = (unsigned)strtoul(c->head + 9, NULL, 10);
	c->close = strcasestr(c->head, "\r\nConnection: close") != NULL;
	length = strcasestr(c->head, "\r\nContent-Length: ");
	c->body_left = length ? strtoul(length + 18, NULL, 10) : 0;
	c->body_left -= (size_t)(end - stop - 4);
	c->in_body = true;
}

static void hear(struct conn *c)
{
	char rest[16384];

	while (c->busy) {
		char *at = c->in_body ? rest : c->head + c->head_n;
		size_t max = c->in_body ? sizeof(rest)
		                        : sizeof(c->head) - 1 - c->head_n;
		ssize_t n = recv(c->fd, at, max, 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			fail_one(c);
			return;
		}
		if (c->in_body) {
			c->body_left -= (size_t)n;
		} else {
			c->head_n += (size_t)n;
			c->head[c->head_n] = '\0';
			read_head(c);
		}
		if (c->in_body && c->body_left == 0)
			answered(c);
	}
}

/* An idle one that the server has closed. */
static void leave(struct conn *c)
{
	struct conn **at = &run.idle;

	while (*at && *at != c)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = c->next;
	drop(c);
}

static void on_event(struct conn *c, uint32_t events)
{
	if (c->fd < 0)
		return;
	if (c->connecting && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		c->connecting = false;
		if (events & (EPOLLERR | EPOLLHUP))
			fail_one(c);
		else
			put(c);
		return;
	}
	if (c->busy)
		hear(c);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		leave(c);
}

/* --- all of it ------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double ms_at(double share)
{
	return run.ok == 0
	               ? 0
	               : run.took_us[(uint64_t)((double)(run.ok - 1) * share)] /
	                         1000.0;
}

static void tell(void)
{
	double s = (double)(mono_us() - run.began_us) / 1e6;

	qsort(run.took_us, run.ok, sizeof(*run.took_us), by_size);
	(void)printf(
		"offered %.0f sent %.0f ok %.0f refused %.0f other %.0f "
		"unsent %.0f late %.0f failed %.0f p50 %.1f p99 %.1f max %.1f\n",
		run.rate, (double)run.sent / s, (double)run.ok / s,
		(double)run.refused / s, (double)run.other / s,
		(double)run.unsent / s, (double)run.late / s,
		(double)run.failed / s, ms_at(0.5), ms_at(0.99), ms_at(1));
}

static void turn(void)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(run.epoll, ev, EVENTS, 1);

	for (int i = 0; i < n; i++)
		on_event(ev[i].data.ptr, ev[i].events);
	give_up_late(mono_us());
	send_due(mono_us());
}

static bool prepare(int argc, char **argv)
{
	unsigned conns = (unsigned)strtoul(argv[4], NULL, 10);

	run.port = (unsigned)strtoul(argv[1], NULL, 10);
	run.rate = strtod(argv[2], NULL);
	run.seconds = strtod(argv[3], NULL);
	run.patience_us = strtoul(argv[5], NULL, 10) * 1000;
	run.body = "";
	buf_printf(&run.head, "%s %s HTTP/1.1\r\nHost: localhost\r\n", argv[6],
	           argv[7]);
	for (int i = 8; i < argc; i++) {
		if (strcmp(argv[i], "--body") == 0 && i + 1 < argc)
			run.body = argv[++i];
		else
			buf_printf(&run.head, "%s\r\n", argv[i]);
	}
	run.all = (uint64_t)(run.rate * run.seconds);
	run.epoll = epoll_create1(EPOLL_CLOEXEC);
	run.conns = calloc(conns, sizeof(*run.conns));
	run.took_us = calloc(run.all + 1, sizeof(*run.took_us));
	if (!run.conns || !run.took_us || run.epoll < 0 || run.head.failed ||
	    run.head.n > SEND_MAX / 2)
		return false;
	for (unsigned i = 0; i < conns; i++) {
		run.conns[i].fd = -1;
		run.conns[i].next = run.spare;
		run.spare = &run.conns[i];
	}
	return true;
}

int main(int argc, char **argv)
{
	if (argc < 8 || !prepare(argc, argv)) {
		(void)fprintf(stderr, "usage: see openloop.c\n");
		return 2;
	}
	run.began_us = mono_us();
	while (run.next < run.all || run.oldest)
		turn();
	tell();
	buf_fini(&run.head);
	free(run.conns);
	free(run.took_us);
	return 0;
}
