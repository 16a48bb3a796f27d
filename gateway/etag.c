#include "gateway/etag.h"

#include <sodium.h>
#include <stdio.h>

#define HASH_BYTES 16

struct str etag_of(struct str plain, const char *coding, char out[ETAG_MAX])
{
	unsigned char hash[HASH_BYTES];
	char hex[2 * HASH_BYTES + 1];
	int n;

	(void)crypto_generichash(hash, sizeof(hash),
	                         (const unsigned char *)plain.p, plain.n, NULL,
	                         0);
	(void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	n = snprintf(out, ETAG_MAX, "\"%s%s%s\"", hex, coding ? "-" : "",
	             coding ? coding : "");
	return (struct str){out, (size_t)n};
}

/* Takes one tag off the front with its quotes; empty: there is none. */
static struct str next_tag(struct str *rest)
{
	const char *end;
	struct str tag;

	while (rest->n &&
	       (*rest->p == ' ' || *rest->p == '\t' || *rest->p == ',')) {
		rest->p++;
		rest->n--;
	}
	if (str_starts(*rest, STR("W/"))) {
		rest->p += 2;
		rest->n -= 2;
	}
	end = rest->n > 1 && *rest->p == '"'
	              ? memchr(rest->p + 1, '"', rest->n - 1)
	              : NULL;
	if (!end)
		return (struct str){NULL, 0};
	tag = (struct str){rest->p, (size_t)(end - rest->p) + 1};
	rest->p += tag.n;
	rest->n -= tag.n;
	return tag;
}

bool etag_listed(struct str if_none_match, struct str etag)
{
	struct str rest = str_trim(if_none_match);

	if (str_eq(rest, STR("*")))
		return true;
	for (;;) {
		struct str tag = next_tag(&rest);

		if (tag.n == 0)
			return false;
		if (str_eq(tag, etag))
			return true;
	}
}

bool etag_same(struct str if_range, struct str etag)
{
	return str_eq(str_trim(if_range), etag);
}
