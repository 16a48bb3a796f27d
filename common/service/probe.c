#include "common/service/probe.h"

#include "common/base/attr.h"
#include "common/base/str.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
#define AUTO_FD __attribute__((cleanup(close_fd))) int

static const char *host_of(const char *bind)
{
	if (strcmp(bind, "0.0.0.0") == 0)
		return "127.0.0.1";
	return strcmp(bind, "::") == 0 ? "::1" : bind;
}

static int dial(const char *host, unsigned port)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	const struct timeval limit = {.tv_sec = PROBE_TIMEOUT_S};
	struct addrinfo *list = NULL;
	char service[8];
	int fd = -1;

	(void)snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &list) != 0)
		return -1;
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit,
		                 sizeof(limit));
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
		                 sizeof(limit));
		if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			continue;
		(void)close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

bool probe_ready(const char *bind, unsigned port)
{
	static const char want[] = "HTTP/1.1 200";
	const char *host = host_of(bind);
	AUTO_FD fd = dial(host, port);
	char text[160];
	size_t n = 0;

	if (fd < 0)
		return false;
	n = (size_t)snprintf(text, sizeof(text),
	                     "GET /readyz HTTP/1.1\r\nHost: %s\r\n"
	                     "Connection: close\r\n\r\n",
	                     host);
	if (n >= sizeof(text) || send(fd, text, n, MSG_NOSIGNAL) != (ssize_t)n)
		return false;
	for (n = 0; n < sizeof(want) - 1;) {
		ssize_t got = recv(fd, text + n, sizeof(text) - n, 0);

		if (got <= 0)
			return false;
		n += (size_t)got;
	}
	return memcmp(text, want, sizeof(want) - 1) == 0;
}
