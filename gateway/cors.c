#include "gateway/cors.h"

#include "common/base/buf.h"

#include <stdlib.h>

struct cors {
	bool enabled, any;
	size_t n;
	struct str origins[CORS_ORIGINS_MAX]; /* slices of text */
	struct buf text;
};

void cors_free(struct cors *c)
{
	if (!c)
		return;
	buf_fini(&c->text);
	free(c);
}

static bool host_char(char c)
{
	char lower = (char)(c | 0x20);

	return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '-' || c == '_';
}

static bool address_char(char c)
{
	char lower = (char)(c | 0x20);

	return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'f') ||
	       c == ':' || c == '.';
}

/* "[" hex digits, colons and points "]": enough to tell an IPv6 address from
 * what surely is none. */
static bool is_ipv6(struct str s)
{
	if (s.n < 4 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	for (size_t i = 1; i < s.n - 1; i++)
		if (!address_char(s.p[i]))
			return false;
	return true;
}

static bool is_host(struct str s)
{
	if (is_ipv6(s))
		return true;
	for (size_t i = 0; i < s.n; i++)
		if (!host_char(s.p[i]))
			return false;
	return s.n > 0;
}

/* 1 to 65535, without leading zeros: a browser sends none. */
static bool is_port(struct str s)
{
	int64_t port = 0;

	return s.n > 0 && s.n <= 5 && s.p[0] >= '1' && s.p[0] <= '9' &&
	       str_to_i64(s, &port) && port <= 65535;
}

/* scheme "://" host [":" port], and nothing behind it. */
static bool is_origin(struct str s)
{
	static const struct str schemes[] = {STR("http://"), STR("https://")};

	for (size_t i = 0; i < COUNTOF(schemes); i++) {
		struct str host = {s.p + schemes[i].n, s.n - schemes[i].n};
		const char *colon;

		if (s.n <= schemes[i].n ||
		    strncasecmp(s.p, schemes[i].p, schemes[i].n) != 0)
			continue;
		colon = memrchr(host.p, ':', host.n);
		if (colon && host.p[host.n - 1] != ']') {
			struct str port = {colon + 1,
			                   host.n - (size_t)(colon - host.p) -
			                           1};

			host.n = (size_t)(colon - host.p);
			if (!is_port(port))
				return false;
		}
		return is_host(host);
	}
	return false;
}

static const char *read_list(struct cors *c, struct str list, bool may_star)
{
	while (list.n) {
		struct str origin = str_trim(str_cut(&list, ','));

		if (origin.n == 0)
			continue;
		if (str_eq(origin, STR("*"))) {
			if (!may_star)
				return "CORS_ORIGINS: \"*\" is refused outside "
				       "development";
			c->any = true;
			continue;
		}
		if (!is_origin(origin))
			return "CORS_ORIGINS: an origin is a scheme, a host "
			       "and perhaps a port, such as "
			       "https://learn.example";
		if (c->n == CORS_ORIGINS_MAX)
			return "CORS_ORIGINS: more than 64 origins";
		c->origins[c->n++] = origin;
	}
	return NULL;
}

struct cors *cors_new(const struct settings *conf, const char **why)
{
	bool development = conf->env == ENV_DEVELOPMENT;
	struct str list = conf->cors_origins;
	AUTO(cors) c = calloc(1, sizeof(*c));

	*why = "out of memory";
	if (!c)
		return NULL;
	if (list.n == 0 && development)
		list = STR("http://localhost:3000,http://localhost:5173,"
		           "http://localhost:5174,http://localhost:8080");
	c->enabled = conf->cors_enabled;
	buf_str(&c->text, list);
	if (c->text.failed)
		return NULL;
	*why = read_list(c, buf_view(&c->text), development);
	return *why ? NULL : STEAL(c);
}

enum cors_verdict cors_check(const struct cors *c, struct str origin)
{
	if (!c->enabled || origin.n == 0)
		return CORS_NO;
	/* A serialized origin is ASCII without a path, so folding the case of
	 * all of it folds that of scheme and host. */
	for (size_t i = 0; i < c->n; i++)
		if (str_ieq(c->origins[i], origin))
			return CORS_EXACT;
	return c->any && !str_eq(origin, STR("null")) ? CORS_ANY : CORS_NO;
}
