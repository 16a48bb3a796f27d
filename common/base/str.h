/*
 * str - a borrowed run of bytes.  Never owns, never NUL terminated by contract.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
/* For printf("%.*s"). */
#define STR_FMT(s) (int)(s).n, (s).p

static inline struct str str_from(const char *z)
{
	return (struct str){z, z ? strlen(z) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII case folding only: header names, schemes, handles. */
static inline bool str_ieq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n &&
	       (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* Cuts *rest at the first sep: returns what stood before it. */
struct str str_cut(struct str *rest, char sep);
struct str str_trim(struct str s); /* blanks and tabs at both ends */
/* False unless all of s is one decimal integer that fits. */
bool str_to_i64(struct str s, int64_t *out);

#endif
