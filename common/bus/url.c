#include "common/bus/url.h"

#include "common/base/log.h"

#include <arpa/inet.h>
#include <stdio.h>

static const struct {
	struct str prefix;
	enum url_kind kind;
} schemes[] = {
	{{"inproc://", 9}, URL_INPROC},
	{{"ipc://", 6}, URL_IPC},
	{{"tcp://", 6}, URL_TCP},
	{{"tls+tcp://", 10}, URL_TLS},
};

static bool copy(char *out, size_t size, struct str s)
{
	if (s.n == 0 || s.n >= size || memchr(s.p, '\0', s.n))
		return false;
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

static const char *read_host(struct str rest, struct bus_url *u)
{
	struct str host, port;
	int64_t number;

	if (rest.n && rest.p[0] == '[') {
		const char *end = memchr(rest.p, ']', rest.n);
		size_t n = end ? (size_t)(end - rest.p) : 0;

		if (!end || n + 1 >= rest.n || rest.p[n + 1] != ':')
			return "needs [address]:port";
		host = (struct str){rest.p + 1, n - 1};
		port = (struct str){rest.p + n + 2, rest.n - n - 2};
	} else {
		port = rest;
		host = str_cut(&port, ':');
	}
	if (!copy(u->host, sizeof(u->host), host))
		return "needs a host name";
	if (!copy(u->port, sizeof(u->port), port) ||
	    !str_to_i64(port, &number) || number < 0 || number > 65535)
		return "needs a port from 0 to 65535";
	return NULL;
}

static const char *read_rest(struct str rest, struct bus_url *u)
{
	if (rest.n == 0)
		return "is empty after its scheme";
	if (u->kind == URL_IPC && rest.n > IPC_PATH_MAX)
		return "has a path of more than 107 bytes";
	if (u->kind == URL_TCP || u->kind == URL_TLS)
		return read_host(rest, u);
	return NULL;
}

static const char *parse(struct str text, struct bus_url *u)
{
	*u = (struct bus_url){0};
	for (size_t i = 0; i < COUNTOF(schemes); i++) {
		struct str p = schemes[i].prefix;

		if (!str_starts(text, p))
			continue;
		if (!copy(u->text, sizeof(u->text), text))
			return "is too long";
		u->kind = schemes[i].kind;
		return read_rest((struct str){text.p + p.n, text.n - p.n}, u);
	}
	return "is not inproc://, ipc://, tcp:// or tls+tcp://";
}

enum err url_parse(struct str text, struct bus_url *out)
{
	const char *why = parse(text, out);

	if (!why)
		return OK;
	log_error(NULL, "bus.bad_url", LOG_STR("url", text),
	          LOG_TEXT("reason", why));
	return ERR_INVALID;
}

static bool is_v6(const char *host)
{
	struct in6_addr a6;

	return inet_pton(AF_INET6, host, &a6) == 1;
}

bool url_is_literal(const struct bus_url *u)
{
	struct in_addr a4;

	return inet_pton(AF_INET, u->host, &a4) == 1 || is_v6(u->host);
}

bool url_is_loopback(const struct bus_url *u)
{
	struct in_addr a4;

	if (inet_pton(AF_INET, u->host, &a4) == 1)
		return ntohl(a4.s_addr) >> 24 == 127;
	return str_eq(str_from(u->host), STR("::1")) ||
	       str_eq(str_from(u->host), STR("localhost"));
}

bool url_at(char *out, size_t size, const struct bus_url *u, const char *host)
{
	int n = snprintf(out, size, is_v6(host) ? "%s[%s]:%s" : "%s%s:%s",
	                 u->kind == URL_TLS ? "tls+tcp://" : "tcp://", host,
	                 u->port);

	return n > 0 && (size_t)n < size;
}
