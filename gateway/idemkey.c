#include "gateway/idemkey.h"

#include "common/bus/entry.h"

static bool is_within(struct str s, char first)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < first || s.p[i] > 0x7e)
			return false;
	return true;
}

/* What stands between the quotes, into text; false when it is no string. */
static bool unquote(struct str s, char *text, struct str *out)
{
	size_t n = 0;

	if (s.n < 2 || s.p[s.n - 1] != '"')
		return false;
	for (size_t i = 1; i + 1 < s.n; i++) {
		char c = s.p[i];

		if (c == '"')
			return false;
		if (c == '\\') {
			/* The last quote must not be one that is escaped. */
			if (++i + 1 >= s.n || (s.p[i] != '"' && s.p[i] != '\\'))
				return false;
			c = s.p[i];
		}
		text[n++] = c;
	}
	*out = (struct str){text, n};
	return is_within(*out, ' ');
}

enum err idemkey_read(struct ctx *cx, struct str field, struct str *out)
{
	struct str key = field;
	char *text;
	bool good;

	if (!field.p)
		return OK;
	if (field.n && field.p[0] == '"') {
		text = arena_alloc(cx->arena, field.n);
		if (!text)
			return ERR_NOMEM;
		good = unquote(field, text, &key);
	} else {
		good = is_within(field, '!');
	}
	if (!good || key.n == 0 || key.n > ENTRY_IDK_MAX)
		return ctx_fail(
			cx, ERR_BAD_REQUEST,
			"An Idempotency-Key is 1 to %d visible ASCII characters, as they are or as a quoted string.",
			ENTRY_IDK_MAX);
	*out = key;
	return OK;
}
