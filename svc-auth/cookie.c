#include "svc-auth/cookie.h"

#include "svc-auth/shapes.h"

#include "common/codec/mp.h"

#include <stdio.h>

bool cookie_asked(struct ctx *cx, struct str session, bool *out)
{
	*out = str_eq(session, STR("cookie"));
	if (!session.p || *out)
		return true;
	(void)ctx_fault(cx, "/session", "INVALID",
	                "session is \"cookie\", or is left out.");
	return false;
}

static enum err add_header(struct reply *out, struct str value)
{
	if (out->headers_n == REPLY_HEADERS_MAX)
		return ERR_INTERNAL;
	out->headers[out->headers_n].name = STR(SESSION_HEADER);
	out->headers[out->headers_n++].value = value;
	return OK;
}

enum err cookie_answer(struct arena *a, const struct session_grant *g,
                       const char *message, struct reply *out)
{
	struct buf *b = &out->body;
	size_t max = g->access.n + 24;
	char *value = arena_alloc(a, max);
	int n;

	if (!value)
		return ERR_NOMEM;
	n = snprintf(value, max, "%lld %.*s", (long long)g->access_s,
	             STR_FMT(buf_view(&g->access)));
	mp_map(b, 7);
	mp_kv_text(b, "session", "cookie");
	mp_kv_text(b, "token_type", "Cookie");
	mp_kv_i64(b, "expires_in", g->access_s);
	mp_kv_text(b, "user_id", g->user.handle);
	mp_kv_text(b, "quota_tier", tier_name(g->user.tier));
	shape_user(b, &g->user);
	mp_kv_text(b, "message", message);
	return add_header(out, (struct str){value, (size_t)n});
}

void cookie_clear(struct reply *out)
{
	(void)add_header(out, STR("0"));
}
