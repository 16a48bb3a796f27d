#include "common/cache/redis_url.h"

#include <stdio.h>
#include <sys/un.h>

#define DB_MAX 65535

static bool copy(struct str s, char *out, size_t size)
{
	if (s.n >= size || memchr(s.p, '\0', s.n))
		return false;
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoded; false when it is too long or no such text. */
static bool decode(struct str s, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int low = high < 0 ? -1 : hex_digit(s.p[i + 2]);

			if (low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\0' || n + 1 >= size)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

static bool number(struct str s, int64_t max, int64_t *out)
{
	return s.n > 0 && s.p[0] >= '0' && s.p[0] <= '9' &&
	       str_to_i64(s, out) && *out <= max;
}

static const char *take_db(struct str s, struct redis_url *u)
{
	int64_t db;

	if (s.n == 0)
		return NULL;
	if (!number(s, DB_MAX, &db))
		return "the database is no number";
	u->db = (unsigned)db;
	return NULL;
}

/* "user:password@" at the start of *rest, if it is there before `end`. */
static const char *take_user(struct str *rest, size_t end, struct redis_url *u)
{
	const char *at = memrchr(rest->p, '@', end);
	struct str user, password;

	if (!at)
		return NULL;
	password = (struct str){rest->p, (size_t)(at - rest->p)};
	if (!memchr(password.p, ':', password.n))
		return "a user needs a password: user:password@";
	user = str_cut(&password, ':');
	if (!decode(user, u->user, sizeof(u->user)) ||
	    !decode(password, u->password, sizeof(u->password)))
		return "user or password is too long or badly encoded";
	rest->n -= (size_t)(at + 1 - rest->p);
	rest->p = at + 1;
	return NULL;
}

/* "host:port" or "[v6]:port". */
static const char *take_host(struct str s, struct redis_url *u)
{
	struct str host, port;
	const char *close =
		s.n > 0 && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	int64_t n = 6379;

	if (close) {
		host = (struct str){s.p + 1, (size_t)(close - s.p) - 1};
		port = (struct str){close + 1, s.n - (size_t)(close + 1 - s.p)};
		if (port.n > 0 && port.p[0] != ':')
			return "what follows ] is no port";
		if (port.n > 0) {
			port.p++;
			port.n--;
		}
	} else {
		port = s;
		host = str_cut(&port, ':');
	}
	if (port.n > 0 && (!number(port, 65535, &n) || n == 0))
		return "the port is no number from 1 to 65535";
	if (host.n == 0 || !copy(host, u->host, sizeof(u->host)))
		return "the host is missing or too long";
	(void)snprintf(u->port, sizeof(u->port), "%u", (unsigned)n);
	return NULL;
}

static size_t until(struct str s, char c)
{
	const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

	return at ? (size_t)(at - s.p) : s.n;
}

static const char *parse_tcp(struct str rest, struct redis_url *u)
{
	const char *why = take_user(&rest, until(rest, '/'), u);
	struct str host = {rest.p, until(rest, '/')};

	if (!why)
		why = take_host(host, u);
	if (!why && host.n < rest.n)
		why = take_db((struct str){rest.p + host.n + 1,
		                           rest.n - host.n - 1},
		              u);
	return why;
}

static const char *parse_path(struct str rest, struct redis_url *u)
{
	const char *why = take_user(&rest, until(rest, '/'), u);
	struct str path = {rest.p, until(rest, '?')};
	struct str query = {rest.p + path.n, rest.n - path.n};

	if (why)
		return why;
	if (path.n < 2 || path.p[0] != '/')
		return "the path of the socket is missing";
	if (path.n >= sizeof(((struct sockaddr_un *)0)->sun_path) ||
	    !copy(path, u->host, sizeof(u->host)))
		return "the path of the socket is too long";
	u->is_path = true;
	if (query.n == 0)
		return NULL;
	if (!str_starts(query, STR("?db=")))
		return "after the path only ?db= is understood";
	return take_db((struct str){query.p + 4, query.n - 4}, u);
}

const char *redis_url_parse(struct str text, struct redis_url *out)
{
	static const struct {
		struct str scheme;
		const char *(*parse)(struct str rest, struct redis_url *u);
	} kinds[] = {{STR("redis://"), parse_tcp},
	             {STR("redis+unix://"), parse_path}};
	struct redis_url u = {0};

	if (str_starts(text, STR("rediss://")))
		return "rediss:// is not supported: use a tunnel or redis://";
	for (size_t i = 0; i < COUNTOF(kinds); i++) {
		struct str scheme = kinds[i].scheme;
		const char *why;

		if (!str_starts(text, scheme))
			continue;
		why = kinds[i].parse(
			(struct str){text.p + scheme.n, text.n - scheme.n}, &u);
		if (!why)
			*out = u;
		return why;
	}
	return "it begins with neither redis:// nor redis+unix://";
}
