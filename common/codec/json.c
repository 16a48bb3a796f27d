#include "common/codec/json.h"

#include "common/base/utf8.h"
#include "common/base/word.h"
#include "common/codec/keys.h"
#include "common/codec/mp.h"

#include <math.h>
#include <stdlib.h>

/* An object or array whose end has not been seen yet. */
struct open_value {
	bool object;
	size_t head;  /* offset of its header byte in the output */
	size_t count; /* pairs or items so far */
};

_Static_assert(JSON_DEPTH_MAX <= KEYS_DEPTH, "each object needs a level");

struct parser {
	const char *start, *p, *end;
	struct buf *out;
	struct json_error *at;
	struct keys keys;
	unsigned depth;
	struct open_value open[JSON_DEPTH_MAX];
};

static bool fail_at(struct parser *s, const char *p, const char *reason)
{
	*s->at = (struct json_error){.offset = (size_t)(p - s->start),
	                             .reason = reason};
	return false;
}

static bool fail(struct parser *s, const char *reason)
{
	return fail_at(s, s->p,
	               s->p == s->end ? "the text ends too early" : reason);
}

static bool fail_memory(struct parser *s)
{
	(void)fail_at(s, s->p, "there is not enough memory");
	s->at->nomem = true;
	return false;
}

/* NUL at the end: no token begins with it. */
static char next_byte(const struct parser *s)
{
	if (s->p == s->end)
		return '\0';
	return *s->p;
}

static void skip_space(struct parser *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' ||
	                         *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

/* --- strings ------------------------------------------------------------- */

static bool plain(char c)
{
	return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 &&
	       c != '"' && c != '\\';
}

/* Passes over what needs no change: all but escapes and faults. */
static void skip_text(struct parser *s)
{
	for (;;) {
		struct str rest;
		size_t n = 0;
		uint32_t cp;

		while (s->end - s->p >= 8 &&
		       !(word_has_special(word_at(s->p)) & WORD_TOPS))
			s->p += 8;
		while (s->p < s->end && plain(*s->p))
			s->p++;
		rest = (struct str){s->p, (size_t)(s->end - s->p)};
		while (n < rest.n && (rest.p[n] & 0x80) &&
		       utf8_next(rest, &n, &cp))
			;
		if (n == 0)
			return;
		s->p += n;
	}
}

static bool hex4(struct parser *s, uint32_t *out)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++, s->p++) {
		char c = next_byte(s);

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return fail(s, "\\u must be followed by four "
			               "hexadecimal digits");
	}
	*out = v;
	return true;
}

/* Behind "\u". */
static bool unicode_escape(struct parser *s, struct buf *out)
{
	const char *start = s->p - 2;
	uint32_t cp, low;

	if (!hex4(s, &cp))
		return false;
	if (cp == 0)
		return fail_at(s, start, "text must not contain \\u0000");
	if (cp >= 0xd800 && cp < 0xe000) {
		if (cp >= 0xdc00 || s->end - s->p < 2 || s->p[0] != '\\' ||
		    s->p[1] != 'u')
			return fail_at(s, start, "a surrogate stands alone");
		s->p += 2;
		if (!hex4(s, &low))
			return false;
		if (low < 0xdc00 || low >= 0xe000)
			return fail_at(s, start, "a surrogate stands alone");
		cp = 0x10000 + ((cp - 0xd800) << 10 | (low - 0xdc00));
	}
	out->n += utf8_put(cp, out->p + out->n);
	return true;
}

/* Behind a backslash. */
static bool escape(struct parser *s, struct buf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (s->p == s->end)
		return fail(s, "");
	if (*s->p == 'u') {
		s->p++;
		return unicode_escape(s, out);
	}
	at = *s->p ? strchr(from, *s->p) : NULL;
	if (!at)
		return fail(s, "a backslash must not stand before this "
		               "character");
	s->p++;
	out->p[out->n++] = to[at - from];
	return true;
}

/* What skip_text() stopped at, unless it was the end or the quote. */
static bool special(struct parser *s, struct buf *out)
{
	if (*s->p == '\\') {
		s->p++;
		return escape(s, out);
	}
	if ((unsigned char)*s->p < 0x20)
		return fail(s, "control characters in text must be escaped");
	return fail(s, "the text is not valid UTF-8");
}

/*
 * The rest of a string whose bytes from begin on have been passed over.  It is
 * written behind room for the longest header and moved when its length is
 * known.  No escape is longer decoded than written, so what is read bounds
 * what is written, and room is made in steps as reading goes on.
 */
static bool string_slow(struct parser *s, const char *begin)
{
	struct buf *out = s->out;
	size_t head = out->n, n;

	if (!buf_reserve(out, (size_t)(s->p - begin) + 5))
		return fail_memory(s);
	out->n += 5;
	for (;;) {
		size_t run = (size_t)(s->p - begin);

		if (!buf_reserve(out, run + 8))
			return fail_memory(s);
		memcpy(out->p + out->n, begin, run);
		out->n += run;
		if (s->p == s->end)
			return fail(s, "");
		if (*s->p == '"')
			break;
		if (!special(s, out))
			return false;
		begin = s->p;
		skip_text(s);
	}
	s->p++;
	n = out->n - head - 5;
	out->n = head;
	mp_str_head(out, n);
	memmove(out->p + out->n, out->p + head + 5, n);
	out->n += n;
	return true;
}

/* At the opening quote. */
static bool string(struct parser *s)
{
	const char *begin = ++s->p;

	skip_text(s);
	if (s->p == s->end || *s->p != '"')
		return string_slow(s, begin);
	mp_str(s->out, (struct str){begin, (size_t)(s->p - begin)});
	s->p++;
	return s->out->failed ? fail_memory(s) : true;
}

/* --- numbers ------------------------------------------------------------- */

static bool digit(const struct parser *s)
{
	return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static bool digits(struct parser *s)
{
	if (!digit(s))
		return fail(s, "a digit is missing in a number");
	while (digit(s))
		s->p++;
	return true;
}

/*
 * strtod() wants a NUL behind the number; the free end of the output lends it
 * room.  Programs stay in the C locale, whose decimal point is a point.
 */
static bool real(struct parser *s, const char *begin)
{
	size_t n = (size_t)(s->p - begin);
	char *copy;
	double v;

	if (!buf_reserve(s->out, n + 1))
		return fail_memory(s);
	copy = s->out->p + s->out->n;
	memcpy(copy, begin, n);
	copy[n] = '\0';
	v = strtod(copy, NULL);
	if (!isfinite(v))
		return fail_at(s, begin, "a number is too large");
	mp_f64(s->out, v);
	return s->out->failed ? fail_memory(s) : true;
}

static bool integer(struct parser *s, const char *begin)
{
	bool minus = *begin == '-';
	uint64_t v = 0;

	for (const char *p = begin + minus; p < s->p; p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return fail_at(s, begin,
			               "an integer does not fit 64 bits");
	if (minus && v > (uint64_t)INT64_MAX + 1)
		return fail_at(s, begin, "an integer does not fit 64 bits");
	if (minus && v == 0)
		mp_f64(s->out, -0.0);
	else if (minus)
		mp_i64(s->out, (int64_t)(0 - v));
	else
		mp_u64(s->out, v);
	return s->out->failed ? fail_memory(s) : true;
}

static bool number(struct parser *s)
{
	const char *begin = s->p;
	bool whole = true;

	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0') {
		s->p++;
		if (digit(s))
			return fail(s, "a number must not begin with 0");
	} else if (!digits(s)) {
		return false;
	}
	if (s->p < s->end && *s->p == '.') {
		whole = false;
		s->p++;
		if (!digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p | 0x20) == 'e') {
		whole = false;
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!digits(s))
			return false;
	}
	return whole ? integer(s, begin) : real(s, begin);
}

/* --- structure ----------------------------------------------------------- */

static bool literal(struct parser *s, const char *word)
{
	for (; *word; word++, s->p++)
		if (s->p == s->end || *s->p != *word)
			return fail(s, "this is not a JSON value");
	return true;
}

static bool scalar(struct parser *s)
{
	char c = next_byte(s);

	if (c == '"')
		return string(s);
	if (c == '-' || (c >= '0' && c <= '9'))
		return number(s);
	if (c == 't' || c == 'f') {
		mp_bool(s->out, c == 't');
		return literal(s, c == 't' ? "true" : "false");
	}
	mp_nil(s->out);
	return literal(s, "null");
}

/* A key and its colon. */
static bool key(struct parser *s)
{
	size_t head = s->out->n;
	const char *begin;
	struct str name;
	struct mp m;

	skip_space(s);
	begin = s->p;
	if (s->p == s->end || *s->p != '"')
		return fail(s, "a key in quotes is missing");
	if (!string(s))
		return false;
	/* Compared as decoded: "a" and "\u0061" are one key. */
	m = mp_open((struct str){s->out->p + head, s->out->n - head});
	if (!mp_get_str(&m, &name))
		return fail_memory(s);
	switch (keys_add(&s->keys, s->out->p, (size_t)(name.p - s->out->p),
	                 name.n)) {
	case KEYS_NEW:
		break;
	case KEYS_TWICE:
		return fail_at(s, begin, "a key stands twice in an object");
	case KEYS_NOMEM:
		return fail_memory(s);
	}
	skip_space(s);
	if (s->p == s->end || *s->p != ':')
		return fail(s, "a colon is missing behind a key");
	s->p++;
	return true;
}

/*
 * Containers begin with one byte of header, enough for 15 items; most stay
 * below.  What is longer is moved when it ends: at most once for each level,
 * and depth is bounded, so the whole stays linear.
 */
static bool open_container(struct parser *s, bool object)
{
	if (s->depth == JSON_DEPTH_MAX)
		return fail(s, "the text is nested too deeply");
	if (object)
		keys_open(&s->keys);
	s->open[s->depth++] = (struct open_value){
		.object = object,
		.head = s->out->n,
	};
	s->p++;
	buf_char(s->out, '\0');
	return s->out->failed ? fail_memory(s) : true;
}

static bool close_container(struct parser *s)
{
	const struct open_value *v = &s->open[--s->depth];
	struct buf *out = s->out;
	size_t body = v->head + 1, n = out->n - body, moved;

	if (v->object)
		keys_close(&s->keys);
	/* Room for the longest header; nothing can fail from here. */
	if (!buf_reserve(out, 8))
		return fail_memory(s);
	if (v->count < 16) {
		out->p[v->head] = (char)((v->object ? 0x80 : 0x90) | v->count);
	} else {
		moved = v->head + (v->count <= UINT16_MAX ? 3 : 5);
		memmove(out->p + moved, out->p + body, n);
		out->n = v->head;
		(v->object ? mp_map : mp_array)(out, v->count);
		out->n += n;
	}
	s->p++;
	return true;
}

static bool at_closing(struct parser *s)
{
	skip_space(s);
	return s->depth && s->p < s->end &&
	       *s->p == (s->open[s->depth - 1].object ? '}' : ']');
}

/* Counts one value more in the innermost container and reads its key. */
static bool begin_member(struct parser *s)
{
	struct open_value *v = &s->open[s->depth - 1];

	v->count++;
	return !v->object || key(s);
}

/* A value has ended: closes what ends with it.  True: another one follows. */
static bool end_value(struct parser *s, bool *more)
{
	while (at_closing(s))
		if (!close_container(s))
			return false;
	*more = s->depth > 0;
	if (!*more)
		return s->p == s->end ||
		       fail(s, "something stands behind the JSON value");
	if (s->p == s->end || *s->p != ',')
		return fail(s, s->open[s->depth - 1].object
		                       ? "a comma or } is missing"
		                       : "a comma or ] is missing");
	s->p++;
	return begin_member(s);
}

static bool parse(struct parser *s)
{
	bool more = true;

	if (s->end - s->p >= 3 && memcmp(s->p, "\xef\xbb\xbf", 3) == 0)
		return fail(s, "the text must not begin with a byte order "
		               "mark");
	while (more) {
		skip_space(s);
		if (s->p < s->end && (*s->p == '{' || *s->p == '[')) {
			if (!open_container(s, *s->p == '{'))
				return false;
			if (!at_closing(s)) {
				if (!begin_member(s))
					return false;
				continue;
			}
		} else if (!scalar(s)) {
			return false;
		}
		if (!end_value(s, &more))
			return false;
	}
	return true;
}

bool json_to_mp(struct str json, struct buf *out, struct json_error *at)
{
	size_t before = out->n;
	struct parser s = {
		.start = json.p,
		.p = json.p,
		.end = json.p ? json.p + json.n : json.p,
		.out = out,
		.at = at,
	};
	bool ok = parse(&s);

	/* A scalar's packing is not checked one by one. */
	if (ok && out->failed)
		ok = fail_memory(&s);
	keys_fini(&s.keys);
	if (!ok)
		out->n = before;
	return ok;
}
