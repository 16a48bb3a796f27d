#include "gateway/visitor.h"

#include "gateway/cookie.h"
#include "gateway/vouch.h"

void visitor_look(struct req *rq)
{
	const struct head *h = &rq->head;
	struct str found = {NULL, 0};

	if (str_eq(h->sec_gpc, STR("1")) || str_eq(h->dnt, STR("1")))
		rq->cx.track = STR("no");
	if (h->cookie.n &&
	    cookie_find(h->cookie, visitor_cookie_name(rq->https), &found) ==
	            COOKIE_ONE &&
	    found.n <= ENTRY_VISITOR_MAX)
		rq->cx.visitor = found;
}

enum err visitor_meant(struct req *rq)
{
	const struct head *h = &rq->head;

	if (!rq->cx.visitor.n && !h->origin.n && !h->sec_fetch_site.n)
		return OK; /* no browser, and nothing that it would send */
	return vouch_meant_by(rq, rq->cx.visitor);
}

void visitor_set(struct req *rq, struct str value)
{
	struct str seconds = str_cut(&value, ' ');
	AUTO_BUF b = {0};
	int64_t n = 0;

	if (!str_to_i64(seconds, &n) || !value.n)
		return;
	visitor_cookie_write(&b, rq->https, value, n);
	if (!b.failed)
		rq->set_visitor = arena_str(rq->cx.arena, buf_view(&b)).p;
}
