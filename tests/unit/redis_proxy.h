/*
 * redis_proxy - stands between an instance and a redis-server and misbehaves
 * when told to.  A thread of its own; blocking writes, as its chunks are small.
 */
#ifndef TESTS_UNIT_REDIS_PROXY_H
#define TESTS_UNIT_REDIS_PROXY_H

#include "tests/unit/redis_server.h"

#include <pthread.h>
#include <stdatomic.h>

enum proxy_mode {
	PROXY_PASS,
	PROXY_SAY,   /* answers each chunk with `text`, asks nobody */
	PROXY_HALF,  /* passes half of each answer, then closes */
	PROXY_MUTE,  /* passes what is asked, and swallows the answers */
	PROXY_CLOSE, /* closes at the first byte */
	PROXY_APART, /* every second connection goes to the other server */
};

#define PROXY_PAIRS 32

struct redis_proxy {
	int port, listener, quit;
	int to[2]; /* ports of servers */
	_Atomic int mode;
	const char *_Atomic text;
	atomic_uint accepted;
	pthread_t thread;
	int client[PROXY_PAIRS], server[PROXY_PAIRS]; /* -1: none */
};

static inline int proxy_dial(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_port = htons((uint16_t)port),
	                        .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static inline void proxy_hang_up(struct redis_proxy *p, int i)
{
	(void)close(p->client[i]);
	(void)close(p->server[i]);
	p->client[i] = p->server[i] = -1;
}

static inline void proxy_accept(struct redis_proxy *p)
{
	int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
	unsigned nth = p->accepted++;
	int up = proxy_dial(p->to[p->mode == PROXY_APART ? nth % 2 : 0]);
	int i = 0;

	while (i < PROXY_PAIRS && p->client[i] >= 0)
		i++;
	if (fd < 0 || up < 0 || i == PROXY_PAIRS) {
		(void)close(fd);
		(void)close(up);
		return;
	}
	p->client[i] = fd;
	p->server[i] = up;
}

static inline bool proxy_write(int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);

		if (done <= 0)
			return false;
		bytes += done;
		n -= (size_t)done;
	}
	return true;
}

static inline void proxy_move(struct redis_proxy *p, int i, bool asked)
{
	static char bytes[1 << 16];
	int mode = p->mode;
	ssize_t n = recv(asked ? p->client[i] : p->server[i], bytes,
	                 sizeof(bytes), 0);
	bool ok = n > 0 && mode != PROXY_CLOSE;

	if (!ok)
		proxy_hang_up(p, i);
	else if (asked && mode == PROXY_SAY)
		ok = proxy_write(p->client[i], p->text, strlen(p->text));
	else if (asked)
		ok = proxy_write(p->server[i], bytes, (size_t)n);
	else if (mode == PROXY_HALF) {
		(void)proxy_write(p->client[i], bytes, (size_t)n / 2);
		proxy_hang_up(p, i);
	} else if (mode != PROXY_MUTE)
		ok = proxy_write(p->client[i], bytes, (size_t)n);
	if (!ok && p->client[i] >= 0)
		proxy_hang_up(p, i);
}

static inline void *proxy_run(void *arg)
{
	struct redis_proxy *p = arg;
	struct pollfd fds[2 * PROXY_PAIRS + 2];

	for (;;) {
		for (int i = 0; i < PROXY_PAIRS; i++) {
			fds[2 * i] = (struct pollfd){p->client[i], POLLIN, 0};
			fds[2 * i + 1] =
				(struct pollfd){p->server[i], POLLIN, 0};
		}
		fds[2 * PROXY_PAIRS] = (struct pollfd){p->listener, POLLIN, 0};
		fds[2 * PROXY_PAIRS + 1] = (struct pollfd){p->quit, POLLIN, 0};
		if (poll(fds, 2 * PROXY_PAIRS + 2, -1) < 0)
			continue;
		if (fds[2 * PROXY_PAIRS + 1].revents)
			return NULL;
		for (int i = 0; i < PROXY_PAIRS; i++) {
			if (fds[2 * i].revents && p->client[i] >= 0)
				proxy_move(p, i, true);
			if (fds[2 * i + 1].revents && p->client[i] >= 0)
				proxy_move(p, i, false);
		}
		if (fds[2 * PROXY_PAIRS].revents)
			proxy_accept(p);
	}
}

static int proxy_quit_fd;

static inline void proxy_start(struct redis_proxy *p, int to, int other)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(a);
	int ends[2];

	*p = (struct redis_proxy){.to = {to, other}, .mode = PROXY_PASS};
	for (int i = 0; i < PROXY_PAIRS; i++)
		p->client[i] = p->server[i] = -1;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(p->listener >= 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof(a)),
	                 0);
	assert_int_equal(listen(p->listener, 16), 0);
	assert_int_equal(getsockname(p->listener, (struct sockaddr *)&a, &n),
	                 0);
	p->port = ntohs(a.sin_port);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	p->quit = ends[0];
	proxy_quit_fd = ends[1];
	assert_int_equal(pthread_create(&p->thread, NULL, proxy_run, p), 0);
}

static inline void proxy_end(struct redis_proxy *p)
{
	(void)close(proxy_quit_fd); /* readable as its end */
	(void)pthread_join(p->thread, NULL);
	for (int i = 0; i < PROXY_PAIRS; i++)
		if (p->client[i] >= 0)
			proxy_hang_up(p, i);
	(void)close(p->listener);
	(void)close(p->quit);
}

#endif
