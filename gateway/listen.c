/* Listening: one address, a socket for each loop. */
#include "gateway/inside.h"

#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 2048

/*
 * The first socket is bound alone, so that a port that somebody else has is
 * found out even if they would share it; then it is opened for our others.
 */
static enum err open_one(const struct addrinfo *ai, bool shared, bool several,
                         int *out)
{
	const int on = 1;
	int fd = socket(ai->ai_family,
	                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return ERR_INTERNAL;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    (shared &&
	     setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 ||
	    (several &&
	     setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
	    listen(fd, BACKLOG) != 0) {
		int why = errno;

		(void)close(fd);
		return why == EADDRINUSE ? ERR_EXISTS : ERR_INVALID;
	}
	*out = fd;
	return OK;
}

static unsigned port_of(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} sa = {0};
	socklen_t n = sizeof(sa);

	if (getsockname(fd, &sa.any, &n) != 0)
		return 0;
	return ntohs(sa.any.sa_family == AF_INET6 ? sa.v6.sin6_port
	                                          : sa.v4.sin_port);
}

static void set_port(struct addrinfo *ai, unsigned port)
{
	if (ai->ai_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)ai->ai_addr)->sin6_port =
			htons((uint16_t)port);
	else
		((struct sockaddr_in *)(void *)ai->ai_addr)->sin_port =
			htons((uint16_t)port);
}

enum err listen_open(const struct settings *conf, int *fds, size_t n,
                     unsigned *port)
{
	const struct addrinfo want = {
		.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *ai = NULL;
	char host[65];
	enum err e = OK;

	(void)snprintf(host, sizeof(host), "%.*s", STR_FMT(conf->bind));
	if (getaddrinfo(host, NULL, &want, &ai) != 0 || !ai)
		return ERR_INVALID;
	set_port(ai, (unsigned)conf->port);
	for (size_t i = 0; i < n && !e; i++) {
		e = open_one(ai, i > 0, n > 1, &fds[i]);
		if (!e && i == 0) {
			*port = port_of(fds[0]);
			set_port(ai, *port);
		}
	}
	freeaddrinfo(ai);
	return e;
}

/*
 * A filter of a listening socket sees each segment from its TCP header on.  It
 * is inherited by the connections, which get no more SYNs anyway.
 */
void listen_shut(int fd)
{
	enum { FLAGS_AT = 13, SYN = 0x02, ACK = 0x10, DROP = 0, TAKE = -1 };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, DROP),
		BPF_STMT(BPF_RET | BPF_K, (unsigned)TAKE),
	};
	const struct sock_fprog prog = {COUNTOF(code), code};

	(void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

void listen_close(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
}
