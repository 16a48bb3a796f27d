#include "common/service/scan_match.h"

#include "common/base/attr.h"

#include <ctype.h>

/* What members and columns are called that hold a handle. */
static const char *const handle_names[] = {"handle", "handle_key", "hnd",
                                           "user_id", "username"};

static bool is_handle_name(struct str s)
{
	for (size_t i = 0; i < COUNTOF(handle_names); i++)
		if (str_eq(s, str_from(handle_names[i])))
			return true;
	return false;
}

static bool same_at(struct str s, size_t at, struct str needle)
{
	return at + needle.n <= s.n &&
	       str_ieq((struct str){s.p + at, needle.n}, needle);
}

/* Part of an address, or of a word: -1 is the end of the text. */
static bool goes_on(int c)
{
	return c >= 0 && (isalnum(c) || strchr("_%+-", c));
}

static int byte_at(struct str s, size_t at)
{
	return at < s.n ? (unsigned char)s.p[at] : -1;
}

/* Nothing of a longer address, "lisa@b.de" being none of "a@b.de". */
static bool is_whole_address(struct str s, size_t at, size_t n)
{
	int before = at ? byte_at(s, at - 1) : -1;
	int after = byte_at(s, at + n);

	if (before == '.' || (before && goes_on(before)))
		return false;
	if (after == '.')
		after = byte_at(s, at + n + 1);
	return !(after && goes_on(after));
}

/* Where what stands before the text at `at` ends: behind a member's name; or
 * SIZE_MAX: it is no text of n bytes in a map of msgpack or JSON. */
static size_t before_text(struct str s, size_t at, size_t n)
{
	if (n < 32 && at >= 1 && byte_at(s, at - 1) == (int)(0xa0 | n))
		return at - 1;
	if (at >= 2 && byte_at(s, at - 2) == 0xd9 &&
	    byte_at(s, at - 1) == (int)n)
		return at - 2;
	if (at < 1 || byte_at(s, at - 1) != '"' || byte_at(s, at + n) != '"')
		return SIZE_MAX;
	at--;
	while (at > 0 && (s.p[at - 1] == ' ' || s.p[at - 1] == ':'))
		at--;
	return at > 0 && s.p[at - 1] == '"' ? at - 1 : SIZE_MAX;
}

static bool is_member(struct str s, size_t at, size_t n)
{
	size_t end = before_text(s, at, n);

	for (size_t i = 0; end != SIZE_MAX && i < COUNTOF(handle_names); i++) {
		struct str name = str_from(handle_names[i]);
		int before;

		if (end < name.n + 1 ||
		    memcmp(s.p + end - name.n, name.p, name.n) != 0)
			continue;
		before = byte_at(s, end - name.n - 1);
		if (before == '"' || before == (int)(0xa0 | name.n))
			return true;
	}
	return false;
}

static bool anywhere(struct str s, size_t at, size_t n)
{
	(void)s;
	(void)at;
	(void)n;
	return true;
}

static bool holds(struct str value, struct str needle,
                  bool (*counts)(struct str s, size_t at, size_t n))
{
	for (size_t at = 0; needle.n && at + needle.n <= value.n; at++)
		if (same_at(value, at, needle) && counts(value, at, needle.n))
			return true;
	return false;
}

bool scan_names(const struct scan_needles *who, struct str column,
                struct str value)
{
	if (holds(value, who->sub, anywhere) ||
	    holds(value, who->email, is_whole_address))
		return true;
	if (who->hnd.n && is_handle_name(column) && str_ieq(value, who->hnd))
		return true;
	return holds(value, who->hnd, is_member);
}
