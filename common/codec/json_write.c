#include "common/base/decimal.h"
#include "common/base/utf8.h"
#include "common/base/word.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* --- text ---------------------------------------------------------------- */

/*
 * What each ASCII byte becomes: 0 itself, 'u' \u00XX, else a backslash and the
 * letter.  '<', '>' and '&' are escaped so that a body pasted into a page
 * starts no tag.
 */
static const char escapes[128] = {
	[0x00 ... 0x07] = 'u', [0x08] = 'b',          [0x09] = 't',
	[0x0a] = 'n',          [0x0b] = 'u',          [0x0c] = 'f',
	[0x0d] = 'r',          [0x0e ... 0x1f] = 'u', ['"'] = '"',
	['&'] = 'u',           ['<'] = 'u',           ['>'] = 'u',
	['\\'] = '\\',
};

static void add_escape(struct buf *out, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	char esc[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};

	if (escapes[c] == 'u') {
		buf_add(out, esc, sizeof(esc));
		return;
	}
	esc[1] = escapes[c];
	buf_add(out, esc, 2);
}

/* '<' and '>' differ in one bit: both are sought at once. */
static uint64_t changed(uint64_t v)
{
	return word_has_special(v) | word_has(v, '&') |
	       word_has(v | WORD_EACH('<' ^ '>'), '>');
}

/*
 * Passes over what is written as it is.  U+2028 and U+2029 are line ends in
 * older JavaScript and so not among it.
 */
static size_t run_of_text(struct str s, size_t at)
{
	uint32_t cp;

	while (at < s.n) {
		size_t next = at;

		if (s.n - at >= 8 &&
		    !(changed(word_at(s.p + at)) & WORD_TOPS)) {
			at += 8;
			continue;
		}
		if ((unsigned char)s.p[at] < 0x80) {
			if (escapes[(unsigned char)s.p[at]])
				break;
			at++;
			continue;
		}
		if (!utf8_next(s, &next, &cp) || cp == 0x2028 || cp == 0x2029)
			break;
		at = next;
	}
	return at;
}

static bool add_changed(struct buf *out, struct str s, const char *instead)
{
	size_t at = 0;
	uint32_t cp;

	buf_char(out, '"');
	while (at < s.n) {
		size_t run = run_of_text(s, at);

		buf_add(out, s.p + at, run - at);
		at = run;
		if (at == s.n)
			break;
		if ((unsigned char)s.p[at] < 0x80) {
			add_escape(out, (unsigned char)s.p[at++]);
		} else if (utf8_next(s, &at, &cp)) {
			buf_str(out,
			        cp == 0x2028 ? STR("\\u2028") : STR("\\u2029"));
		} else if (instead) {
			buf_str(out, str_from(instead));
			at++;
		} else {
			return false;
		}
	}
	buf_char(out, '"');
	return !out->failed;
}

/* instead: what stands for bytes that are not UTF-8; NULL: they are refused. */
static bool add_text(struct buf *out, struct str s, const char *instead)
{
	char *to;

	if (s.n > SIZE_MAX / 2 || !buf_reserve(out, s.n + 2))
		return false;
	to = out->p + out->n;
	if (!word_copy(to + 1, s.p, s.n, changed))
		return add_changed(out, s, instead);
	to[0] = to[s.n + 1] = '"'; /* as most texts */
	out->n += s.n + 2;
	return true;
}

void json_add_str(struct buf *out, struct str s)
{
	(void)!add_text(out, s, "\xef\xbf\xbd");
}

static bool add_base64(struct buf *out, struct str s)
{
	const int variant = sodium_base64_VARIANT_ORIGINAL;
	size_t n;

	if (s.n > SIZE_MAX / 2)
		return false;
	n = sodium_base64_encoded_len(s.n, variant); /* with the NUL */
	if (!buf_reserve(out, n + 2))
		return false;
	buf_char(out, '"');
	(void)sodium_bin2base64(out->p + out->n, n, (const unsigned char *)s.p,
	                        s.n, variant);
	out->n += n - 1;
	buf_char(out, '"');
	return !out->failed;
}

/* --- numbers --------------------------------------------------------------- */

static void add_integer(struct buf *out, uint64_t v, bool minus)
{
	char text[DECIMAL_MAX + 1], *end = text + sizeof(text);
	char *at = decimal_before(end, v);

	if (minus)
		*--at = '-';
	buf_add(out, at, (size_t)(end - at));
}

/*
 * Most numbers have few decimals.  Where v times a power of ten is a whole
 * number, both are exact, and their quotient is rounded as a reader rounds the
 * decimals: so v is read again if it is that quotient.
 */
static bool add_few_decimals(struct buf *out, double v)
{
	static const double powers[] = {1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
	const double whole_max = 1e15;

	for (size_t i = 0; i < COUNTOF(powers); i++) {
		double k = fabs(v) * powers[i];
		uint64_t power = (uint64_t)powers[i], n;
		char decimals[8];

		if (k >= whole_max || k != trunc(k) || k / powers[i] != fabs(v))
			continue;
		n = (uint64_t)k;
		add_integer(out, n / power, signbit(v) != 0);
		decimals[0] = '.';
		n %= power;
		for (size_t at = i + 1; at > 0; at--) {
			decimals[at] = (char)('0' + n % 10);
			n /= 10;
		}
		buf_add(out, decimals, i + 2);
		return true;
	}
	return false;
}

void json_add_f64(struct buf *out, double v)
{
	char text[40];

	if (!isfinite(v)) {
		buf_str(out, STR("null"));
		return;
	}
	if (add_few_decimals(out, v))
		return;
	/* The shorter form where it reads back as the same number. */
	(void)snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) != v)
		(void)snprintf(text, sizeof(text), "%.17g", v);
	buf_str(out, str_from(text));
	/* It stays a number with a point when it is read again. */
	if (!strpbrk(text, ".e"))
		buf_str(out, STR(".0"));
}

/* --- structure ------------------------------------------------------------- */

struct level {
	uint64_t left; /* items or pairs to come */
	bool map, begun;
};

struct writer {
	struct mp in;
	struct buf *out;
	unsigned depth;
	struct level level[MP_DEPTH_MAX];
};

static bool open_level(struct writer *w, uint64_t n, bool map)
{
	if (w->depth == MP_DEPTH_MAX)
		return false;
	w->level[w->depth++] = (struct level){.left = n, .map = map};
	buf_char(w->out, map ? '{' : '[');
	return true;
}

static void add_signed(struct buf *out, int64_t i)
{
	add_integer(out, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, i < 0);
}

static double double_of(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, sizeof(d));
	return d;
}

static bool add_value(struct writer *w)
{
	struct mp_item it;

	if (!mp_next(&w->in, &it))
		return false;
	switch (it.type) {
	case MP_NIL:
		buf_str(w->out, STR("null"));
		return true;
	case MP_BOOL:
		buf_str(w->out, it.v ? STR("true") : STR("false"));
		return true;
	case MP_INT:
		add_signed(w->out, (int64_t)it.v);
		return true;
	case MP_UINT:
		add_integer(w->out, it.v, false);
		return true;
	case MP_FLOAT:
		json_add_f64(w->out, double_of(it.v));
		return true;
	case MP_STR:
		return add_text(w->out, (struct str){it.bytes, it.v}, NULL);
	case MP_BIN:
		return add_base64(w->out, (struct str){it.bytes, it.v});
	case MP_ARRAY:
	case MP_MAP:
		return open_level(w, it.v, it.type == MP_MAP);
	case MP_EXT:
	case MP_END:
	case MP_BAD:
		return false;
	}
	return false;
}

static bool add_key(struct writer *w)
{
	struct mp_item it;

	if (!mp_next(&w->in, &it) || it.type != MP_STR ||
	    !add_text(w->out, (struct str){it.bytes, it.v}, NULL))
		return false;
	buf_char(w->out, ':');
	return true;
}

/* The next item or pair of the innermost level, or its end. */
static bool go_on(struct writer *w)
{
	struct level *l = &w->level[w->depth - 1];

	if (l->left == 0) {
		buf_char(w->out, l->map ? '}' : ']');
		w->depth--;
		return true;
	}
	l->left--;
	if (l->begun)
		buf_char(w->out, ',');
	l->begun = true;
	return (!l->map || add_key(w)) && add_value(w);
}

bool mp_to_json(struct str mp, struct buf *out)
{
	size_t before = out->n;
	struct writer w;
	bool ok;

	/* Levels are written as they open: no need to clear them all. */
	w.in = mp_open(mp);
	w.out = out;
	w.depth = 0;
	ok = add_value(&w);
	while (ok && w.depth)
		ok = go_on(&w) && !out->failed;
	if (ok && w.in.p == w.in.end && !out->failed)
		return true;
	out->n = before;
	return false;
}
