/*
 * fuzz_cookie - the first line is a Cookie header, the second a CSRF token.  A
 * cookie that is found is a sound slice of the header, once more behind it is
 * one too many, and alone in a header it is found again; no token that nobody
 * made is good.
 */
#include "gateway/cookie.h"
#include "gateway/csrf.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum cookie find(const struct buf *header)
{
	struct str out = {NULL, 0};

	return cookie_find(buf_view(header), STR("kae_session"), &out);
}

static void is_sound(struct str header, struct str value)
{
	AUTO_BUF alone = {0};
	struct str again = {NULL, 0};

	assert(value.n > 0 && value.n <= COOKIE_VALUE_MAX);
	assert(value.p >= header.p && value.p + value.n <= header.p + header.n);
	for (size_t i = 0; i < value.n; i++)
		assert((unsigned char)value.p[i] > ' ' &&
		       (unsigned char)value.p[i] < 0x7f &&
		       !strchr("\";,\\", value.p[i]));
	buf_printf(&alone, "kae_session=%.*s", STR_FMT(value));
	assert(cookie_find(buf_view(&alone), STR("kae_session"), &again) ==
	       COOKIE_ONE);
	assert(str_eq(again, value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str token = {(const char *)data, size};
	struct str header = str_cut(&token, '\n'), value = {NULL, 0};
	enum cookie found = cookie_find(header, STR("kae_session"), &value);
	AUTO_BUF twice = {0};

	assert((found == COOKIE_ONE) == (value.p != NULL));
	if (found == COOKIE_ONE)
		is_sound(header, value);
	buf_str(&twice, header);
	buf_str(&twice, STR("; kae_session=x"));
	if (found != COOKIE_NONE)
		assert(find(&twice) == COOKIE_BAD);
	else
		assert(find(&twice) != COOKIE_NONE);
	assert(csrf_token_check(header, token, 0) != OK);
	assert(csrf_token_check(STR("another"), token, 0) != OK);
	return 0;
}
