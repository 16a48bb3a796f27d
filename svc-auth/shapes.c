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

void shape_email(struct buf *b, const struct user *u)
{
	if (u->email[0])
		mp_kv_text(b, "email", u->email);
	else
		mp_kv_nil(b, "email");
}

void shape_user(struct buf *b, const struct user *u)
{
	mp_kv_map(b, "user", 7);
	mp_kv_text(b, "id", u->handle);
	shape_email(b, u);
	mp_kv_text(b, "role", role_name(u->role));
	mp_kv_text(b, "quota_tier", tier_name(u->tier));
	mp_kv_time(b, "created_at", u->created_ms);
	mp_kv_time(b, "last_login", u->last_login_ms);
	/* No mail can be sent, so none was ever verified. */
	mp_kv_bool(b, "email_verified", false);
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
