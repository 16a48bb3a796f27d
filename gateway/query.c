#include "gateway/query.h"

#include "common/base/utf8.h"
#include "common/codec/mp.h"

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool query_decode(struct str s, bool plus, char *out, size_t *n)
{
	size_t at = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int hi = i + 2 < s.n ? nibble(s.p[i + 1]) : -1;
			int lo = i + 2 < s.n ? nibble(s.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return false;
			c = (char)(hi << 4 | lo);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c == '\0')
			return false;
		out[at++] = c;
	}
	*n = at;
	return utf8_valid((struct str){out, at});
}

bool query_too_long(struct str target)
{
	size_t n = 0;

	for (size_t i = 0; i < target.n; i++)
		n += target.p[i] == '&';
	return n > QUERY_MAX;
}

struct pair {
	struct str name, value;
};

static enum err decode(struct ctx *cx, struct str s, bool plus, struct str *out)
{
	char *p = arena_alloc(cx->arena, s.n);
	size_t n = 0;

	if (!p)
		return ERR_NOMEM;
	if (!query_decode(s, plus, p, &n))
		return ctx_fail(
			cx, ERR_INVALID,
			"The address is not well-formed percent-encoded "
			"UTF-8.");
	*out = (struct str){p, n};
	return OK;
}

static enum err add(struct ctx *cx, struct pair *pairs, size_t *n,
                    struct str field)
{
	struct pair got = {0};
	struct str value = field;
	struct str name = str_cut(&value, '=');
	enum err e = decode(cx, name, true, &got.name);

	if (!e)
		e = decode(cx, value, true, &got.value);
	if (e)
		return e;
	/* At most QUERY_MAX squared short compares. */
	for (size_t i = 0; i < *n; i++)
		if (str_eq(pairs[i].name, got.name))
			return ctx_fail(cx, ERR_INVALID,
			                "A query parameter stands twice.");
	if (*n == QUERY_MAX)
		return ctx_fail(cx, ERR_INVALID,
		                "The query has more than %d parameters.",
		                QUERY_MAX);
	pairs[(*n)++] = got;
	return OK;
}

static enum err pack(const struct pair *pairs, size_t n, struct buf *out)
{
	if (n == 0)
		return OK;
	mp_map(out, n);
	for (size_t i = 0; i < n; i++) {
		mp_str(out, pairs[i].name);
		mp_str(out, pairs[i].value);
	}
	return out->failed ? ERR_NOMEM : OK;
}

enum err query_pack(struct ctx *cx, struct str query, struct buf *out)
{
	struct pair pairs[QUERY_MAX];
	size_t n = 0;

	while (query.n) {
		struct str field = str_cut(&query, '&');
		enum err e = field.n ? add(cx, pairs, &n, field) : OK;

		if (e)
			return e;
	}
	return pack(pairs, n, out);
}

enum err query_pack_params(struct ctx *cx, const struct route_param *params,
                           size_t n, struct buf *out)
{
	struct pair pairs[ROUTE_PARAMS_MAX] = {0};

	for (size_t i = 0; i < n; i++) {
		enum err e =
			decode(cx, params[i].value, false, &pairs[i].value);

		if (e)
			return e;
		pairs[i].name = params[i].name;
	}
	return pack(pairs, n, out);
}
