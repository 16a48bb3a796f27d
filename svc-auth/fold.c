#include "svc-auth/fold.h"

#include <utf8proc.h>

#define FOLD_OPTIONS                                                \
	((utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPAT |    \
	                     UTF8PROC_DECOMPOSE | UTF8PROC_IGNORE | \
	                     UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK))

bool fold(struct str s, struct folded *out)
{
	utf8proc_ssize_t n = 0;

	out->n = 0;
	/* With room given, it allocates nothing: no copy to be wiped. */
	if (s.n)
		n = utf8proc_decompose((const utf8proc_uint8_t *)s.p,
		                       (utf8proc_ssize_t)s.n, out->cp, FOLD_MAX,
		                       FOLD_OPTIONS);
	if (n < 0 || n > FOLD_MAX)
		return false;
	out->n = (size_t)n;
	return true;
}

void folded_wipe(struct folded *f)
{
	explicit_bzero(f, sizeof(*f));
}
