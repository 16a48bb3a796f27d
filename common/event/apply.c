#include "common/event/store.h"

#include "common/base/log.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"

#define EVENTS_MAX 256 /* in one call, whatever a later relay sends */
_Static_assert(EVENT_BATCH <= EVENTS_MAX, "what our own relay sends");

/* What we say of one subject. */
struct ack {
	struct str sub;
	int64_t ok, want;
	bool waits; /* an event of it could not be applied */
};

struct job {
	struct event_store *store;
	event_apply_fn *apply;
	void *arg;
	struct event *ev;
	size_t n, from, to; /* the range of this transaction */
	struct ack *acks;   /* at most one per event */
	size_t acks_n;
};

/* --- reading ------------------------------------------------------------------ */

static bool read_event(struct mp *m, struct str source, struct event *ev)
{
	struct str map, id;

	if (mp_peek(m) != MP_MAP || !mp_skip(m, &map))
		return false;
	id = mp_find_str(map, "id", STR(""));
	ev->source = source;
	ev->sub = mp_find_str(map, "sub", STR(""));
	ev->type = mp_find_str(map, "type", STR(""));
	ev->seq = mp_find_i64(map, "seq", 0);
	ev->at = mp_find_i64(map, "at", 0);
	if (!uuid_valid(id) || ev->sub.n == 0 || ev->sub.n > EVENT_NAME_MAX ||
	    ev->type.n == 0 || ev->type.n > EVENT_NAME_MAX || ev->seq < 1 ||
	    !mp_find(map, "b", &ev->body))
		return false;
	memcpy(ev->id, id.p, id.n);
	ev->id[id.n] = '\0';
	return true;
}

static enum err malformed(struct ctx *cx)
{
	return ctx_fail(cx, ERR_INVALID, "The events are malformed.");
}

static enum err read_events(struct ctx *cx, struct str body, struct job *j)
{
	struct str source = mp_find_str(body, "src", STR(""));
	struct str list;
	struct mp m;
	uint32_t n;

	if (!mp_find(body, "events", &list))
		return malformed(cx);
	m = mp_open(list);
	if (!mp_get_array(&m, &n) || n > EVENTS_MAX)
		return malformed(cx);
	if (!cx->principal || !str_eq(source, str_from(cx->principal)))
		return ctx_fail(cx, ERR_DENIED,
		                "These are another service's events.");
	j->ev = arena_alloc(cx->arena, (n + 1) * sizeof(*j->ev));
	j->acks = arena_alloc(cx->arena, (n + 1) * sizeof(*j->acks));
	if (!j->ev || !j->acks)
		return ERR_NOMEM;
	for (j->n = 0; j->n < n; j->n++) {
		if (!read_event(&m, source, &j->ev[j->n]))
			return malformed(cx);
	}
	return OK;
}

/* --- applying ----------------------------------------------------------------- */

static struct ack *ack_of(struct job *j, struct str sub)
{
	for (size_t i = 0; i < j->acks_n; i++) {
		if (str_eq(j->acks[i].sub, sub))
			return &j->acks[i];
	}
	j->acks[j->acks_n] = (struct ack){.sub = sub};
	return &j->acks[j->acks_n++];
}

/* May run again: it only ever says what the transaction it is in has found. */
static enum err apply_range(struct db *db, void *arg)
{
	struct job *j = arg;

	for (size_t i = j->from; i < j->to; i++) {
		const struct event *ev = &j->ev[i];
		struct ack *a = ack_of(j, ev->sub);
		enum event_verdict verdict = EVENT_AHEAD;
		int64_t want = 0;
		enum err e;

		if (a->waits)
			continue;
		e = event_accept(j->store, db, ev, &verdict, &want);
		if (!e && verdict == EVENT_APPLY)
			e = j->apply(j->arg, db, ev);
		if (e)
			return e;
		a->ok = want - 1;
		a->want = want;
	}
	return OK;
}

/* Errors that say nothing about an event: the relay comes again with all. */
static bool passes(enum err e)
{
	return err_may_retry(e) || e == ERR_CONFLICT;
}

static enum err apply_one_by_one(struct ctx *cx, struct db_pool *pool,
                                 struct job *j)
{
	j->acks_n = 0;
	for (size_t i = 0; i < j->n; i++) {
		const struct event *ev = &j->ev[i];
		struct ack before = *ack_of(j, ev->sub);
		enum err e;

		if (before.waits)
			continue;
		j->from = i;
		j->to = i + 1;
		e = db_write(pool, cx, apply_range, j);
		if (!e)
			continue;
		if (passes(e))
			return e;
		log_error(cx, "event.failed", LOG_STR("source", ev->source),
		          LOG_STR("type", ev->type), LOG_TEXT("id", ev->id),
		          LOG_TEXT("error", err_name(e)));
		/* What was acknowledged stays; nothing more is claimed. */
		before.waits = true;
		before.want = ev->seq;
		*ack_of(j, ev->sub) = before;
	}
	return OK;
}

static void pack(const struct job *j, struct buf *reply)
{
	mp_map(reply, 1);
	mp_kv_array(reply, "acks", j->acks_n);
	for (size_t i = 0; i < j->acks_n; i++) {
		mp_map(reply, 3);
		mp_kv_str(reply, "sub", j->acks[i].sub);
		mp_kv_i64(reply, "ok", j->acks[i].ok);
		mp_kv_i64(reply, "want", j->acks[i].want);
	}
}

enum err event_apply(struct event_store *s, struct db_pool *pool,
                     struct ctx *cx, struct str body, event_apply_fn *apply,
                     void *arg, struct buf *reply)
{
	struct job j = {.store = s, .apply = apply, .arg = arg};
	enum err e = read_events(cx, body, &j);

	if (e)
		return e;
	j.to = j.n;
	e = j.n ? db_write(pool, cx, apply_range, &j) : OK;
	if (e && !passes(e))
		e = apply_one_by_one(cx, pool, &j);
	if (e)
		return e;
	pack(&j, reply);
	return reply->failed ? ERR_NOMEM : OK;
}
