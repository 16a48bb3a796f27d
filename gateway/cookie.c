#include "gateway/cookie.h"

#include <inttypes.h>

/* RFC 6265, 4.1.1: cookie-octet. */
static bool value_sound(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= 0x20 || c >= 0x7f || c == '"' || c == ',' ||
		    c == ';' || c == '\\')
			return false;
	}
	return s.n <= COOKIE_VALUE_MAX;
}

static struct str without_marks(struct str s)
{
	if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
		return (struct str){s.p + 1, s.n - 2};
	return s;
}

enum cookie cookie_find(struct str header, struct str name, struct str *out)
{
	struct str found = {NULL, 0};
	unsigned n = 0;

	while (header.n) {
		struct str value = str_cut(&header, ';');
		struct str key = str_trim(str_cut(&value, '='));

		if (!str_eq(key, name))
			continue;
		found = without_marks(str_trim(value));
		n++;
	}
	if (n == 0 || (n == 1 && found.n == 0))
		return COOKIE_NONE;
	if (n > 1 || !value_sound(found))
		return COOKIE_BAD;
	*out = found;
	return COOKIE_ONE;
}

struct str session_cookie_name(bool https)
{
	return https ? STR(SESSION_COOKIE) : STR(SESSION_COOKIE_PLAIN);
}

struct str visitor_cookie_name(bool https)
{
	return https ? STR(VISITOR_COOKIE) : STR(VISITOR_COOKIE_PLAIN);
}

struct made {
	struct str name, value;
	int64_t seconds;
	const char *same_site;
	bool https;
};

static void set(struct buf *out, const struct made *c)
{
	buf_printf(out,
	           "%.*s=%.*s; Path=/; Max-Age=%" PRId64
	           "; HttpOnly; SameSite=%s%s",
	           STR_FMT(c->name), STR_FMT(c->value),
	           c->value.n ? c->seconds : (int64_t)0, c->same_site,
	           c->https ? "; Secure" : "");
}

void session_cookie_write(struct buf *out, bool https, struct str token,
                          int64_t seconds)
{
	set(out, &(struct made){session_cookie_name(https), token, seconds,
	                        "Strict", https});
}

void visitor_cookie_write(struct buf *out, bool https, struct str value,
                          int64_t seconds)
{
	set(out, &(struct made){visitor_cookie_name(https), value, seconds,
	                        "Lax", https});
}
