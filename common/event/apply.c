#include "common/event/store.h"

#include "common/base/log.h"
#include "common/base/trace.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"

#include <stdio.h>

#define EVENTS_MAX 256 /* in one call, whatever a later relay sends */
_Static_assert(EVENT_BATCH <= EVENTS_MAX, "what our own relay sends");

/* What we say of one subject. */
struct ack {
	struct str sub;
	int64_t ok, want;
};

struct job {
	struct event_store *store;
	struct ctx *cx;
	event_apply_fn *apply;
	event_last_fn *last; /* or NULL */
	void *arg;
	struct event *ev;
	struct span **spans; /* of each event, where its trace is sampled */
	size_t n, from, to;  /* the range of this transaction */
	size_t at;           /* the event that it is at */
	const struct event **due; /* of this transaction, for `last` */
	size_t due_n;
	struct ack *acks; /* at most one per event */
	size_t acks_n;
	struct ack *kept; /* the same, as of the last commit */
	size_t kept_n;
	bool *gone;       /* of each event: its subject is erased */
	uint64_t dropped; /* in this transaction, for that */
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
	ev->tp = mp_find_str(map, "tp", STR(""));
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
	j->spans = arena_alloc(cx->arena, (n + 1) * sizeof(struct span *));
	j->acks = arena_alloc(cx->arena, (n + 1) * sizeof(*j->acks));
	j->kept = arena_alloc(cx->arena, (n + 1) * sizeof(*j->kept));
	j->due = arena_alloc(cx->arena, (n + 1) * sizeof(struct event *));
	j->gone = arena_alloc(cx->arena, (n + 1) * sizeof(*j->gone));
	if (!j->ev || !j->spans || !j->acks || !j->kept || !j->due || !j->gone)
		return ERR_NOMEM;
	for (j->n = 0; j->n < n; j->n++) {
		j->spans[j->n] = NULL;
		j->gone[j->n] = false;
		if (!read_event(&m, source, &j->ev[j->n]))
			return malformed(cx);
	}
	return OK;
}

/* --- spans -------------------------------------------------------------------- */

/* An event is part of the trace of its cause, not of the call that brings it.
 * The span is of the last time that it was tried, and ends with what became of
 * the transaction. */
static void begin_span(struct job *j, size_t i)
{
	const struct event *ev = &j->ev[i];
	struct trace_parent from;
	char name[EVENT_NAME_MAX + 16];
	uint64_t id = j->spans[i] ? j->spans[i]->own.span : 0;

	if (!trace_heard() || !trace_parse(ev->tp, &from) || !from.sampled)
		return;
	if (!j->spans[i])
		j->spans[i] = arena_alloc(j->cx->arena, sizeof(struct span));
	if (!j->spans[i])
		return;
	(void)snprintf(name, sizeof(name), "process %.*s", STR_FMT(ev->type));
	span_root(j->spans[i], &from, j->cx->service, SPAN_CONSUMER,
	          str_from(name));
	if (id) /* what it asked the first time is still its child */
		j->spans[i]->own.span = id;
	span_text(j->spans[i], "messaging.system", STR("kae"));
	span_text(j->spans[i], "messaging.operation.type", STR("process"));
	span_text(j->spans[i], "messaging.destination.name",
	          str_from(j->cx->service));
	span_text(j->spans[i], "messaging.message.id", str_from(ev->id));
}

static void end_spans(struct job *j, size_t from, size_t to, enum err e)
{
	for (size_t i = from; i < to; i++) {
		if (!j->spans[i])
			continue;
		if (e)
			span_fail(j->spans[i], err_name(e));
		span_end(j->spans[i]);
		j->spans[i] = NULL;
	}
}

static enum err apply_one(struct job *j, struct db *db, size_t i)
{
	struct span *before = j->cx->span;
	enum err e;

	begin_span(j, i);
	if (j->spans[i])
		j->cx->span = j->spans[i];
	e = j->apply(j->arg, db, &j->ev[i]);
	j->cx->span = before;
	return e;
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

/* Before anything else, which may lock rows; see erased.h. */
static enum err find_gone(struct job *j, struct db *db)
{
	struct str *subs;

	if (!j->store->erased)
		return OK;
	subs = arena_alloc(j->cx->arena, (j->n + 1) * sizeof(*subs));
	if (!subs)
		return ERR_NOMEM;
	for (size_t i = j->from; i < j->to; i++)
		subs[i - j->from] = j->ev[i].sub;
	return erased_among(j->store->erased, db, subs, j->to - j->from,
	                    j->gone + j->from);
}

/* Whatever seq they have: nothing of this person is waited for any more, and
 * what is not acknowledged would be sent for ever. */
static enum err drop_run(struct job *j, struct db *db, size_t first, size_t n)
{
	struct ack *a = ack_of(j, j->ev[first].sub);
	int64_t last = j->ev[first + n - 1].seq;

	if (last > a->ok) {
		a->ok = last;
		a->want = last + 1;
	}
	j->dropped += n;
	return erased_drop(j->store->erased, db, j->ev[first].sub, n);
}

/* How many from i on are of one subject, one seq after the other. */
static size_t run_length(const struct job *j, size_t i)
{
	size_t n = 1;

	while (i + n < j->to && str_eq(j->ev[i + n].sub, j->ev[i].sub) &&
	       j->ev[i + n].seq == j->ev[i].seq + (int64_t)n)
		n++;
	return n;
}

static enum err apply_run(struct job *j, struct db *db, size_t first, size_t n)
{
	const struct event *ev = &j->ev[first];
	struct ack *a = ack_of(j, ev->sub);
	size_t skip = 0;
	int64_t want = 0;
	enum err e;

	j->at = first;
	e = inbox_accept(j->store, db, ev, n, &skip, &want);
	for (size_t i = skip; i < n && !e; i++) {
		j->at = first + i;
		e = apply_one(j, db, first + i);
		j->due[j->due_n++] = &j->ev[first + i];
	}
	if (e)
		return e;
	a->ok = want - 1;
	a->want = want;
	return OK;
}

/* May run again: it says only what the transaction it is in has found. */
static enum err apply_range(struct db *db, void *arg)
{
	struct job *j = arg;
	enum err e = OK;

	memcpy(j->acks, j->kept, j->kept_n * sizeof(*j->kept));
	j->acks_n = j->kept_n;
	j->due_n = 0;
	j->dropped = 0;
	j->at = j->from;
	e = find_gone(j, db);
	for (size_t i = j->from, n; i < j->to && !e; i += n) {
		n = run_length(j, i);
		e = j->gone[i] ? drop_run(j, db, i, n) : apply_run(j, db, i, n);
	}
	if (e)
		return e;
	/* A failure from here on is of none in particular. */
	j->at = j->to;
	if (j->last && j->due_n)
		e = j->last(j->arg, db, j->due, j->due_n);
	return e;
}

static void keep(struct job *j)
{
	if (j->dropped)
		erased_count(j->store->erased, j->dropped, 0);
	j->dropped = 0;
	memcpy(j->kept, j->acks, j->acks_n * sizeof(*j->acks));
	j->kept_n = j->acks_n;
}

/* Errors that say nothing about an event: the relay comes again with all. */
static bool passes(enum err e)
{
	return err_may_retry(e) || e == ERR_CONFLICT;
}

/* What was acknowledged of its subject stays; nothing more is claimed.  What
 * comes behind it is ahead then, and waits with it. */
static void blame(struct ctx *cx, struct job *j, const struct event *ev,
                  enum err why)
{
	const struct ctx of = {.service = cx->service,
	                       .rid = cx->rid,
	                       .tp = ev->tp};

	log_error(&of, "event.failed", LOG_STR("source", ev->source),
	          LOG_STR("type", ev->type), LOG_TEXT("id", ev->id),
	          LOG_TEXT("error", err_name(why)));
	memcpy(j->acks, j->kept, j->kept_n * sizeof(*j->kept));
	j->acks_n = j->kept_n;
	ack_of(j, ev->sub)->want = ev->seq;
	keep(j);
}

/*
 * All in one transaction.  When an event fails it is told apart: those before
 * it in a transaction of their own, then those behind it; a commit that fails
 * is halved.  So each event that cannot be applied costs two transactions, and
 * not one for every event it came with.
 */
static enum err apply_all(struct ctx *cx, struct db_pool *pool, struct job *j)
{
	enum err why = OK;

	j->from = 0;
	j->to = j->n;
	while (j->from < j->n) {
		enum err e;

		if (j->from == j->to) {
			blame(cx, j, &j->ev[j->from], why);
			end_spans(j, j->from, j->from + 1, why);
			j->from++;
			j->to = j->n;
			continue;
		}
		e = db_write(pool, cx, apply_range, j);
		if (!e) {
			keep(j);
			end_spans(j, j->from, j->to, OK);
			j->from = j->to;
			if (j->from == j->n)
				break;
		} else if (passes(e)) {
			end_spans(j, j->from, j->to, e);
			return e;
		} else {
			why = e;
			j->to = j->at < j->to ? j->at
			                      : j->from + (j->to - j->from) / 2;
		}
	}
	return OK;
}

static void pack(const struct job *j, struct buf *reply)
{
	mp_map(reply, 1);
	mp_kv_array(reply, "acks", j->kept_n);
	for (size_t i = 0; i < j->kept_n; i++) {
		mp_map(reply, 3);
		mp_kv_str(reply, "sub", j->kept[i].sub);
		mp_kv_i64(reply, "ok", j->kept[i].ok);
		mp_kv_i64(reply, "want", j->kept[i].want);
	}
}

enum err event_apply(struct event_store *s, struct db_pool *pool,
                     struct ctx *cx, struct str body, event_apply_fn *apply,
                     void *arg, struct buf *reply)
{
	return event_apply_last(s, pool, cx, body, apply, NULL, arg, reply);
}

enum err event_apply_last(struct event_store *s, struct db_pool *pool,
                          struct ctx *cx, struct str body,
                          event_apply_fn *apply, event_last_fn *last, void *arg,
                          struct buf *reply)
{
	struct job j = {
		.store = s, .cx = cx, .apply = apply, .last = last, .arg = arg};
	enum err e = read_events(cx, body, &j);

	if (e)
		return e;
	e = apply_all(cx, pool, &j);
	if (e)
		return e;
	pack(&j, reply);
	return reply->failed ? ERR_NOMEM : OK;
}
