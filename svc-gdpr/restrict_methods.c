/*
 * restrict_methods - GET and POST /api/user/restriction.
 */
#include "svc-gdpr/audit.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/restrict.h"
#include "svc-gdpr/state.h"

#include "common/base/clock.h"

struct look {
	struct ctx *cx;
	struct restriction now;
};

static enum err look(struct db *db, void *arg)
{
	struct look *l = arg;

	return restrict_get(db, l->cx->arena, l->cx->sub, &l->now);
}

static void view(struct buf *b, const struct ctx *cx,
                 const struct restriction *r)
{
	mp_kv_str(b, "user_id", cx->hnd);
	mp_kv_bool(b, "restricted", r->since != 0);
	mp_kv_time(b, "restricted_at", r->since);
	mp_kv_str(b, "reason", r->why);
}

enum err method_gdpr_restriction(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	struct gdpr_state *st = state;
	struct look l = {.cx = cx};
	enum err e = db_read_one(st->pool, cx, look, &l);

	(void)in;
	if (e)
		return e;
	mp_map(&out->body, 4);
	view(&out->body, cx, &l.now);
	return out->body.failed ? ERR_NOMEM : OK;
}

struct setting {
	struct gdpr_state *st;
	struct ctx *cx;
	struct restriction want;
	int64_t now_ms;
	bool changed;
};

/* An idem_fn. */
static enum err set(struct db *db, void *arg, struct reply *out)
{
	struct setting *s = arg;
	struct look l = {.cx = s->cx};
	struct buf *b = &out->body;
	enum err e = restrict_set(db, s->st->events, s->cx->sub, &s->want,
	                          s->now_ms, &s->changed);

	if (!e)
		e = look(db, &l);
	if (!e && s->changed) {
		const struct audit_note note = {
			.event = s->want.since ? AUDIT_IS(RESTRICTION_SET)
		                               : AUDIT_IS(RESTRICTION_LIFTED),
			.sub = s->cx->sub,
		};

		e = audit_append(db, s->cx, &note); /* last: audit.h */
	}
	if (e)
		return e;
	mp_map(b, 5);
	mp_kv_text(b, "message",
	           l.now.since ? "Your data is kept and not used."
	                       : "Your data is used again.");
	view(b, s->cx, &l.now);
	return b->failed ? ERR_NOMEM : OK;
}

enum err method_gdpr_restrict(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	const struct gdpr_restrict_in *r = in;
	struct gdpr_state *st = state;
	int64_t now = wall_ms();
	struct setting s = {.st = st,
	                    .cx = cx,
	                    .want = {r->restricted ? now : 0, r->reason},
	                    .now_ms = now};
	enum err e = idem_write(st->idem, cx, set, &s, out);

	if (e || out->replayed || !s.changed)
		return e;
	/* Before the answer: who was told so is on no board any more. */
	cache_forget(st->cache, cx->sub);
	cache_forget_tag(st->cache, BOARD_TAG);
	gdpr_kick(st);
	return OK;
}
