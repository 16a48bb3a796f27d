#include "gateway/head.h"

#include "common/base/attr.h"
#include "common/base/utf8.h"
#include "common/base/word.h"
#include "gateway/token.h"

#include <stddef.h>

/* A repeated header is joined by its grammar (MANY: the first is kept; NEVER:
 * half of it would say something else than the whole, so none is kept) or is a
 * way to make two readers see two requests (ONCE: refused).  LINES: each hop may
 * have added its own, and all are kept. */
enum times { MANY, NEVER, ONCE, LINES };

static const struct known {
	struct str name;
	size_t offset;
	enum times times;
} known[] = {
#define KNOWN(name, field, times)                              \
	{                                                      \
		STR(name), offsetof(struct head, field), times \
	}
	KNOWN("host", host, ONCE),
	KNOWN("content-length", content_length, ONCE),
	KNOWN("transfer-encoding", transfer_encoding, ONCE),
	KNOWN("content-type", content_type, ONCE),
	KNOWN("authorization", authorization, ONCE),
	KNOWN("x-api-key", api_key, ONCE),
	KNOWN("x-user-id", user_id, ONCE),
	KNOWN("origin", origin, ONCE),
	KNOWN("idempotency-key", idempotency_key, ONCE),
	KNOWN("cookie", cookie, ONCE), /* RFC 6265, 5.4 */
	KNOWN("sec-fetch-site", sec_fetch_site, ONCE),
	KNOWN("x-csrf-token", csrf_token, ONCE),
	KNOWN("sec-gpc", sec_gpc, MANY),
	KNOWN("dnt", dnt, MANY),
	KNOWN("last-event-id", last_event_id, ONCE),
	KNOWN("expect", expect, MANY),
	KNOWN("accept", accept, NEVER),
	KNOWN("x-request-id", request_id, MANY),
	KNOWN("traceparent", traceparent, NEVER),
	KNOWN("access-control-request-method", cors_method, MANY),
	KNOWN("accept-language", accept_language, MANY),
	KNOWN("accept-encoding", accept_encoding, NEVER),
	KNOWN("if-none-match", if_none_match, NEVER),
	KNOWN("if-modified-since", if_modified_since, NEVER),
	KNOWN("range", range, NEVER),
	KNOWN("if-range", if_range, NEVER),
	KNOWN("user-agent", user_agent, MANY),
	KNOWN("referer", referer, MANY),
	KNOWN("forwarded", forwarded, LINES),
	KNOWN("x-forwarded-for", x_forwarded_for, LINES),
	KNOWN("x-forwarded-proto", x_forwarded_proto, LINES),
#undef KNOWN
};
_Static_assert(COUNTOF(known) <= 32, "a bit of head.seen each");

static void refuse(struct head *h, enum err e, const char *reason)
{
	if (h->err)
		return; /* the first fault is the one that is told */
	h->err = e;
	h->reason = reason;
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Tabs are no fault in a value (RFC 9110, 5.5). */
static bool value_sound(struct str s)
{
	if (word_none(s.p, s.n, word_has_control))
		return true;
	for (size_t i = 0; i < s.n; i++)
		if (is_control(s.p[i]) && s.p[i] != '\t')
			return false;
	return true;
}

/* Also refuses %00, which would end a C string once decoded. */
static bool target_sound(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (is_control(s.p[i]) || s.p[i] == ' ')
			return false;
		if (s.p[i] == '%' && s.n - i > 2 && s.p[i + 1] == '0' &&
		    s.p[i + 2] == '0')
			return false;
	}
	return utf8_valid(s);
}

/* "http://host/path" is as good as "/path" (RFC 9112, 3.2.2). */
static void drop_authority(struct str *target)
{
	static const struct str schemes[] = {STR("http://"), STR("https://")};
	struct str rest = *target;
	const char *slash;

	for (size_t i = 0; i < COUNTOF(schemes); i++) {
		if (rest.n < schemes[i].n ||
		    strncasecmp(rest.p, schemes[i].p, schemes[i].n) != 0)
			continue;
		rest.p += schemes[i].n;
		rest.n -= schemes[i].n;
		slash = memchr(rest.p, '/', rest.n);
		*target = slash ? (struct str){slash, rest.n - (size_t)(slash -
		                                                        rest.p)}
		                : STR("/");
		return;
	}
}

void head_target(struct head *h, struct str method, struct str target,
                 struct str version)
{
	h->http11 = !str_eq(version, STR("HTTP/1.0"));
	if (method.n + target.n + version.n + 2 > HEAD_REQUEST_MAX) {
		refuse(h, ERR_URI_TOO_LONG,
		       "The request line is longer than 4094 bytes.");
		return;
	}
	if (target.n == 0 || !target_sound(target)) {
		refuse(h, ERR_BAD_REQUEST,
		       "The address has bytes that an address may not have.");
		return;
	}
	drop_authority(&target);
	h->has_query = memchr(target.p, '?', target.n) != NULL;
	h->path = str_cut(&target, '?');
	h->query = h->has_query ? target : STR("");
	if (h->path.p[0] != '/' && !str_eq(h->path, STR("*")))
		refuse(h, ERR_BAD_REQUEST, "The address must begin with '/'.");
}

void head_line(struct head *h, struct str name, struct str value)
{
	h->lines++;
	h->bytes += name.n + value.n + 4; /* ": " and CR LF */
	if (name.n + value.n + 2 > HEAD_FIELD_MAX)
		refuse(h, ERR_HEADERS_LARGE,
		       "A header is longer than 8190 bytes.");
	if (!token_is(name)) {
		refuse(h, ERR_BAD_REQUEST, "A header's name is malformed.");
		return;
	}
	if (!value_sound(value))
		refuse(h, ERR_BAD_REQUEST,
		       "A header's value has control characters.");
	for (size_t i = 0; i < COUNTOF(known); i++) {
		struct str *slot;
		void *at;

		if (!str_ieq(known[i].name, name))
			continue;
		at = (char *)h + known[i].offset;
		slot = at;
		if (known[i].times == LINES)
			forwarded_add(at, str_trim(value));
		else if (!(h->seen & 1U << i))
			*slot = str_trim(value);
		else if (known[i].times == ONCE)
			refuse(h, ERR_BAD_REQUEST,
			       "A header that may stand once stands twice.");
		else if (known[i].times == NEVER)
			*slot = (struct str){"", 0};
		h->seen |= 1U << i;
		return;
	}
}

static bool seen(const struct head *h, const struct str *slot)
{
	size_t offset = (size_t)((const char *)slot - (const char *)h);

	for (size_t i = 0; i < COUNTOF(known); i++)
		if (known[i].offset == offset)
			return h->seen & 1U << i;
	return false;
}

static void check_framing(struct head *h)
{
	bool length = seen(h, &h->content_length);
	bool coded = seen(h, &h->transfer_encoding);

	if (length && coded) {
		refuse(h, ERR_BAD_REQUEST,
		       "Content-Length and Transfer-Encoding exclude each "
		       "other.");
		return;
	}
	if (coded) {
		if (!str_ieq(h->transfer_encoding, STR("chunked")))
			refuse(h, ERR_BAD_REQUEST,
			       "The only Transfer-Encoding taken is chunked.");
		else if (!h->http11)
			refuse(h, ERR_BAD_REQUEST,
			       "HTTP/1.0 knows no Transfer-Encoding.");
		h->chunked = true;
	}
	if (length) {
		uint64_t v = 0;

		for (size_t i = 0; i < h->content_length.n; i++) {
			unsigned d = (unsigned)(unsigned char)
			                     h->content_length.p[i] -
			             '0';

			if (d > 9 || __builtin_mul_overflow(v, 10, &v) ||
			    __builtin_add_overflow(v, d, &v)) {
				refuse(h, ERR_BAD_REQUEST,
				       "Content-Length is not a number.");
				return;
			}
		}
		if (h->content_length.n == 0)
			refuse(h, ERR_BAD_REQUEST,
			       "Content-Length is not a number.");
		h->has_length = true;
		h->length = v;
	}
}

enum err head_end(struct head *h)
{
	if (h->lines > HEAD_LINES_MAX)
		refuse(h, ERR_HEADERS_LARGE,
		       "The request has more than 100 headers.");
	if (h->bytes > HEAD_TOTAL_MAX)
		refuse(h, ERR_HEADERS_LARGE,
		       "The headers are longer than 12288 bytes in all.");
	if (h->http11 && h->host.n == 0)
		refuse(h, ERR_BAD_REQUEST, "The Host header is missing.");
	check_framing(h);
	if (seen(h, &h->expect)) {
		h->continues = str_ieq(h->expect, STR("100-continue"));
		if (!h->continues)
			refuse(h, ERR_EXPECTATION,
			       "The only expectation met is 100-continue.");
	}
	return h->err;
}

bool head_has_body(const struct head *h)
{
	return h->chunked || h->length > 0;
}

bool head_request_id_valid(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		unsigned char lower = c | 0x20;

		if (!((lower >= 'a' && lower <= 'z') ||
		      (c >= '0' && c <= '9') || c == '.' || c == '_' ||
		      c == '-'))
			return false;
	}
	return s.n >= 1 && s.n <= 128;
}

bool head_is_json(struct str content_type)
{
	struct str rest = content_type;
	struct str type = str_trim(str_cut(&rest, ';'));

	if (!str_ieq(type, STR("application/json")))
		return false;
	while (rest.n) {
		struct str value = str_trim(str_cut(&rest, ';'));
		struct str name = str_trim(str_cut(&value, '='));

		value = str_trim(value);
		if (value.n >= 2 && value.p[0] == '"' &&
		    value.p[value.n - 1] == '"')
			value = (struct str){value.p + 1, value.n - 2};
		if (str_ieq(name, STR("charset")) &&
		    !str_ieq(value, STR("utf-8")))
			return false;
	}
	return true;
}
