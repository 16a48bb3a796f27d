/*
 * events - "event.apply": what other services tell us.
 */
#include "svc-gdpr/apply.h"
#include "svc-gdpr/audit.h"
#include "svc-gdpr/erasure.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/state.h"

/* After the commits: what was read before them must not be served any more.
 * Nothing that is cached shows the audit log. */
static void forget(struct cache *c, struct str events)
{
	struct mp m = mp_open(events);
	bool board = false;
	uint32_t n = 0;
	struct str ev;

	if (!mp_get_array(&m, &n))
		return;
	for (; n > 0 && mp_skip(&m, &ev); n--) {
		struct str sub = mp_find_str(ev, "sub", (struct str){0});

		if (str_eq(mp_find_str(ev, "type", STR("")), AUDIT_TYPE))
			continue;
		board = true;
		if (sub.n > 0 && sub.n <= CACHE_KEY_MAX)
			cache_forget(c, sub);
	}
	if (board)
		cache_forget_tag(c, BOARD_TAG);
}

enum err method_gdpr_event_apply(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct gdpr_event_apply_in *ev = in;
	struct gdpr_state *st = state;
	AUTO_BUF body = {0};
	enum err e;

	mp_map(&body, 2);
	mp_kv_str(&body, "src", ev->src);
	mp_text(&body, "events");
	mp_raw(&body, ev->events);
	if (body.failed)
		return ERR_NOMEM;
	e = event_apply_last(st->events, st->pool, cx, buf_view(&body),
	                     gdpr_apply, gdpr_apply_last, st, &out->body);
	/* Also after an error: some of them may have been committed. */
	forget(st->cache, ev->events);
	if (st->desk)
		desk_kick(st->desk);
	return e;
}
