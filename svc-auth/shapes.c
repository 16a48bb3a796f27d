#include "svc-auth/shapes.h"

#include "common/codec/mp.h"

#include <stdio.h>

#define HEADER_MAX 8192

void shape_usage(struct buf *b, const char *header, const char *scheme,
                 struct str secret)
{
	char text[HEADER_MAX];
	int n = snprintf(text, sizeof(text), "%s: %s%.*s", header, scheme,
	                 STR_FMT(secret));

	mp_kv_map(b, "usage_instructions", 2);
	mp_kv_text(b, "header", header);
	mp_kv_str(b, "example",
	          (struct str){text, n > 0 && n < HEADER_MAX ? (size_t)n : 0});
	explicit_bzero(text, sizeof(text));
}

bool asked_tier(struct ctx *cx, struct str text, enum tier *out)
{
	if (!text.p || tier_from_str(text, out))
		return true;
	(void)ctx_fault(
		cx, "/quota_tier", "INVALID",
		"quota_tier is one of limited, free, basic, premium, unlimited.");
	return false;
}
