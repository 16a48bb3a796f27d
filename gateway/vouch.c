#include "gateway/vouch.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"
#include "gateway/cookie.h"
#include "gateway/csrf.h"
#include "gateway/visitor.h"

static bool may_have(const struct req *rq)
{
	return rq->https || addr_is_loopback(&rq->client);
}

void vouch_look(struct req *rq)
{
	enum cookie found = COOKIE_NONE;

	if (rq->head.cookie.n && may_have(rq))
		found = cookie_find(rq->head.cookie,
		                    session_cookie_name(rq->https),
		                    &rq->cookie);
	rq->cookie_bad = found == COOKIE_BAD;
}

static void write_cookie(struct req *rq, struct str token, int64_t seconds)
{
	AUTO_BUF b = {0};

	session_cookie_write(&b, rq->https, token, seconds);
	if (!b.failed)
		rq->set_cookie = arena_str(rq->cx.arena, buf_view(&b)).p;
	if (b.n)
		explicit_bzero(b.p, b.n);
}

void vouch_known(struct req *rq, enum err e)
{
	/* Where anyone may ask it has not been looked at. */
	bool has = route_heeds_cookie(rq->route) &&
	           (rq->cookie.n || rq->cookie_bad);

	/* Else a browser would bring it until it ends, beside whatever good
	 * token its page has, and be refused for it. */
	if (has && (e == ERR_EXPIRED || e == ERR_BAD_TOKEN))
		write_cookie(rq, (struct str){0}, 0);
}

enum err vouch_meant_by(struct req *rq, struct str cookie)
{
	const struct head *h = &rq->head;
	const struct csrf_request r = {
		.session = cookie,
		.sec_fetch_site = h->sec_fetch_site,
		.origin = h->origin,
		.host = h->host,
		.token = h->csrf_token,
		.https = rq->https,
		.now_s = wall_ms() / 1000,
	};
	const char *why = NULL;
	enum err e;

	if (rq->route->csrf == CSRF_NONE)
		return OK;
	e = csrf_check(&r, rq->loop->live->cors, &why);
	return e && why ? ctx_fail(&rq->cx, e, "%s", why) : e;
}

enum err vouch_meant(struct req *rq)
{
	return vouch_meant_by(rq, rq->cookie);
}

enum err vouch_allowed(struct req *rq)
{
	size_t before = rq->query_n + rq->path_n;
	const struct str body = {rq->input.p + before, rq->input.n - before};

	if (may_have(rq) || body.n == 0 ||
	    !str_eq(mp_find_str(body, "session", STR("")), STR("cookie")))
		return OK;
	return ctx_fail(&rq->cx, ERR_HTTPS_NEEDED,
	                "A session cookie is given over HTTPS only. What was "
	                "sent came in clear, so replace it.");
}

void vouch_set(struct req *rq, struct str value)
{
	struct str seconds = str_cut(&value, ' ');
	int64_t n = 0;

	if (!str_to_i64(seconds, &n))
		return;
	/* Nothing to take away from who has none. */
	if (value.n || rq->cookie.n || rq->cookie_bad)
		write_cookie(rq, value, n);
}

enum err vouch_token(struct req *rq)
{
	char token[CSRF_TOKEN + 1];
	int64_t ends_s = wall_ms() / 1000 +
	                 (int64_t)rq->loop->site->conf->csrf_token_ttl_s;

	visitor_look(rq);
	(void)csrf_make(rq->cookie.n ? rq->cookie : rq->cx.visitor, ends_s,
	                token);
	buf_printf(&rq->out,
	           "{\"csrf_token\":\"%s\",\"header_name\":\"X-CSRF-Token\"}",
	           token);
	return OK;
}
