#include "common/base/b64.h"

#include <sodium.h>

struct str b64url(const void *p, size_t n, char *out)
{
	(void)sodium_bin2base64(out, B64_LEN(n) + 1, p, n,
	                        sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	return (struct str){out, B64_LEN(n)};
}

bool b64url_decode(struct str s, void *out, size_t max, size_t *n)
{
	const char *end = NULL;

	return s.n &&
	       sodium_base642bin(out, max, s.p, s.n, NULL, n, &end,
	                         sodium_base64_VARIANT_URLSAFE_NO_PADDING) ==
	               0 &&
	       end == s.p + s.n;
}

struct str hex(const void *p, size_t n, char *out)
{
	(void)sodium_bin2hex(out, 2 * n + 1, p, n);
	return (struct str){out, 2 * n};
}
