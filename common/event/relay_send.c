#include "common/event/relay.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/trace.h"
#include "common/bus/entry.h"
#include "common/codec/mp.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

#define REFUSED_MS     100U /* doubles with each refusal of a subject */
#define REFUSED_MAX_MS 2000
#define LOST_MS        30000
#define FORGET_MS      120000U /* after the end of a pause */

/* --- parked subjects ---------------------------------------------------------- */

static struct relay_parked *find_parked(struct relay_target *t, uint64_t hash)
{
	for (size_t i = 0; i < t->parked_n; i++) {
		if (t->parked[i].hash == hash)
			return &t->parked[i];
	}
	return NULL;
}

static bool is_parked(struct relay_target *t, struct str sub, uint64_t now_ms)
{
	const struct relay_parked *p = find_parked(t, event_hash(sub));

	return p && now_ms < p->until_ms;
}

static void unpark(struct relay_target *t, struct str sub)
{
	struct relay_parked *p = find_parked(t, event_hash(sub));

	if (p)
		*p = t->parked[--t->parked_n];
}

/* With no room the one whose pause ends first is forgotten. */
static struct relay_parked *room_to_park(struct relay_target *t)
{
	struct relay_parked *first = &t->parked[0];

	if (t->parked_n < RELAY_PARKED_MAX)
		return &t->parked[t->parked_n++];
	for (size_t i = 1; i < t->parked_n; i++) {
		if (t->parked[i].until_ms < first->until_ms)
			first = &t->parked[i];
	}
	return first;
}

/* True for the first time in a row. */
static bool park(struct relay_target *t, struct str sub, uint64_t now_ms,
                 bool lost)
{
	uint64_t hash = event_hash(sub);
	struct relay_parked *p = find_parked(t, hash);
	unsigned ms = LOST_MS;

	if (!p) {
		p = room_to_park(t);
		*p = (struct relay_parked){.hash = hash};
	}
	if (!lost) {
		ms = REFUSED_MS << (p->times < 5 ? p->times : 5);
		if (ms > REFUSED_MAX_MS)
			ms = REFUSED_MAX_MS;
	}
	p->until_ms = now_ms + ms / 2 + randombytes_uniform(ms / 2 + 1);
	return p->times++ == 0;
}

bool relay_park_first(struct relay_batch *b)
{
	assert(b->n > 0);
	return park(b->target, b->ev[0].sub, mono_ms(), false);
}

void relay_sweep(struct relay_target *t, uint64_t now_ms)
{
	for (size_t i = 0; i < t->parked_n; i++)
		if (now_ms > t->parked[i].until_ms + FORGET_MS)
			t->parked[i--] = t->parked[--t->parked_n];
}

/* --- fetching ------------------------------------------------------------------ */

static bool has_room(const struct relay_batch *b, size_t body_bytes)
{
	return b->n == 0 || (b->n < b->target->batch &&
	                     body_bytes <= RELAY_BATCH_BYTES - b->bytes);
}

static enum err take_row(void *arg, const struct db_row *r)
{
	struct relay_batch *b = arg;
	struct str id = db_row_str(r, 0), sub = db_row_str(r, 1);
	struct str body = db_row_str(r, 4);
	struct relay_event *ev = &b->ev[b->n];

	b->rows++;
	if (b->full)
		return OK;
	if (!is_parked(b->target, sub, b->now_ms) && !has_room(b, body.n)) {
		b->full = true;
		return OK;
	}
	if (!str_eq(b->last, sub))
		b->last = arena_str(b->arena, sub);
	if (!b->last.p)
		return ERR_NOMEM;
	if (is_parked(b->target, sub, b->now_ms))
		return OK;
	ev->sub = b->last;
	ev->type = arena_str(b->arena, db_row_str(r, 3));
	ev->body = arena_str(b->arena, body);
	ev->tp = arena_str(b->arena, db_row_str(r, 6));
	ev->span = NULL;
	if (!ev->type.p || !ev->body.p || !ev->tp.p || id.n >= sizeof(ev->id))
		return ERR_NOMEM;
	memcpy(ev->id, id.p, id.n);
	ev->id[id.n] = '\0';
	ev->seq = db_row_i64(r, 2);
	ev->at = db_row_i64(r, 5);
	b->bytes += body.n < RELAY_BATCH_BYTES - b->bytes
	                    ? body.n
	                    : RELAY_BATCH_BYTES - b->bytes;
	b->n++;
	return OK;
}

static enum err fetch(struct db *db, void *arg)
{
	struct relay_job *j = arg;
	struct relay_batch *b = j->batch;
	const struct relay_target *t = b->target;
	const struct db_sink sink = {take_row, b};
	/* Each parked subject stands in the way with at most a batch. */
	const size_t enough = t->batch * (1 + t->parked_n);
	const struct db_val owner =
		db_kind(db) == DB_SQLITE ? DB_NULL : DB_TEXT(j->conf->owner);
	const struct db_val v[] = {
		DB_TEXT(bus_peer_name(t->peer)),
		DB_TEXT(t->after),
		owner,
		DB_I64((int64_t)enough),
		DB_I64((int64_t)t->batch),
	};
	enum err e;

	arena_reset(b->arena);
	b->n = b->bytes = b->rows = 0;
	b->last = (struct str){0};
	b->full = false;
	e = db_run(db, &j->conf->store->st[ES_DUE], v, COUNTOF(v), &sink);
	/* A look that ended at a limit has not seen everything. */
	if (b->rows >= enough || b->n == t->batch)
		b->full = true;
	return e;
}

enum err relay_fetch(struct relay_job *j)
{
	j->batch->now_ms = mono_ms();
	return db_read(j->conf->pool, j->cx, fetch, j);
}

/* --- sending ------------------------------------------------------------------- */

static void pack(const struct relay_job *j, struct buf *out)
{
	const struct relay_batch *b = j->batch;

	mp_map(out, 2);
	mp_kv_text(out, "src", j->conf->service);
	mp_kv_array(out, "events", b->n);
	for (size_t i = 0; i < b->n; i++) {
		const struct relay_event *ev = &b->ev[i];

		mp_map(out, ev->tp.n ? 7 : 6);
		mp_kv_text(out, "id", ev->id);
		mp_kv_str(out, "sub", ev->sub);
		mp_kv_str(out, "type", ev->type);
		mp_kv_i64(out, "seq", ev->seq);
		mp_kv_i64(out, "at", ev->at);
		mp_text(out, "b");
		mp_raw(out, ev->body);
		if (ev->tp.n)
			mp_kv_str(out, "tp", ev->tp);
	}
}

/* --- its spans ----------------------------------------------------------------- */

/* The receiver's is a child of ours. */
static void begin_span(const struct relay_job *j, struct relay_event *ev)
{
	struct arena *a = j->batch->arena;
	const char *target = bus_peer_name(j->batch->target->peer);
	struct trace_parent from;
	char name[32], *tp;

	if (!trace_parse(ev->tp, &from) || !from.sampled)
		return;
	ev->span = arena_alloc(a, sizeof(*ev->span));
	tp = arena_alloc(a, TRACE_PARENT_MAX);
	if (!ev->span || !tp) {
		ev->span = NULL;
		return;
	}
	(void)snprintf(name, sizeof(name), "send %s", target);
	span_root(ev->span, &from, j->conf->service, SPAN_PRODUCER,
	          str_from(name));
	span_text(ev->span, "messaging.system", STR("kae"));
	span_text(ev->span, "messaging.operation.type", STR("send"));
	span_text(ev->span, "messaging.destination.name", str_from(target));
	span_text(ev->span, "messaging.message.id", str_from(ev->id));
	span_text(ev->span, "kae.event_type", ev->type);
	ev->tp = span_tp(ev->span, tp);
}

static void begin_spans(const struct relay_job *j)
{
	for (size_t i = 0; trace_heard() && i < j->batch->n; i++)
		begin_span(j, &j->batch->ev[i]);
}

static void end_spans(const struct relay_batch *b, enum err e)
{
	for (size_t i = 0; i < b->n; i++) {
		struct span *s = b->ev[i].span;

		if (!s)
			continue;
		if (e)
			span_fail(s, err_name(e));
		span_end(s);
	}
}

static enum err send_over_bus(struct relay_job *j, struct str body,
                              uint64_t deadline_ms, struct buf *out)
{
	const struct entry e = {.op = STR("event.apply"), .body = body};
	AUTO_BUF request = {0}, reply = {0};
	struct reply_view view = {0};
	struct bus_call call = {.to = j->batch->target->peer,
	                        .retry = true, /* the inbox sees repeats */
	                        .deadline_ms = deadline_ms};
	enum err err;

	entry_pack(&request, j->cx, &e);
	if (request.failed)
		return ERR_NOMEM;
	call.bytes = buf_view(&request);
	err = bus_caller_call(j->conf->caller, &call, &reply);
	if (!err)
		err = reply_read(buf_view(&reply), j->cx, &view);
	if (!err)
		err = view.err;
	if (!err)
		buf_str(out, view.body);
	return !err && out->failed ? ERR_NOMEM : err;
}

/* --- settling ------------------------------------------------------------------ */

/* The rows of one subject in the batch, which are in order of seq. */
struct stretch {
	struct str sub;
	int64_t first, last;
	int64_t ok, want; /* as acknowledged; want 0: not spoken of */
};

struct settling {
	struct relay_job *job;
	struct stretch spans[EVENT_BATCH];
	size_t n;
	int64_t deleted;
};

static void find_spans(struct settling *s)
{
	const struct relay_batch *b = s->job->batch;

	for (size_t i = 0; i < b->n; i++) {
		const struct relay_event *ev = &b->ev[i];
		struct stretch *last = s->n ? &s->spans[s->n - 1] : NULL;

		if (last && str_eq(last->sub, ev->sub)) {
			last->last = ev->seq;
			continue;
		}
		s->spans[s->n++] = (struct stretch){.sub = ev->sub,
		                                    .first = ev->seq,
		                                    .last = ev->seq};
	}
}

static bool read_acks(struct settling *s, struct str reply)
{
	struct str list, item;
	struct mp m;
	uint32_t n;

	if (!mp_find(reply, "acks", &list))
		return false;
	m = mp_open(list);
	if (!mp_get_array(&m, &n) || n > s->n)
		return false;
	while (n-- > 0) {
		struct str sub;

		if (mp_peek(&m) != MP_MAP || !mp_skip(&m, &item))
			return false;
		sub = mp_find_str(item, "sub", STR(""));
		for (size_t i = 0; i < s->n; i++) {
			struct stretch *sp = &s->spans[i];

			if (!str_eq(sp->sub, sub))
				continue;
			sp->ok = mp_find_i64(item, "ok", 0);
			sp->want = mp_find_i64(item, "want", 0);
			/* It cannot have what we have not sent. */
			if (sp->ok > sp->last)
				sp->ok = sp->last;
		}
	}
	return true;
}

static enum err delete_acked(struct db *db, void *arg)
{
	struct settling *s = arg;
	enum err e = OK;

	s->deleted = 0;
	for (size_t i = 0; i < s->n && !e; i++) {
		const struct stretch *sp = &s->spans[i];
		const struct db_val v[] = {
			DB_TEXT(bus_peer_name(s->job->batch->target->peer)),
			DB_STR(sp->sub),
			DB_I64(sp->ok),
		};
		int64_t rows = 0;

		if (sp->ok < sp->first)
			continue;
		e = db_change(db, &s->job->conf->store->st[ES_ACKED], v,
		              COUNTOF(v), &rows);
		s->deleted += rows;
	}
	return e;
}

/* Who got nowhere waits; who got somewhere is free to go on. */
static void judge(struct settling *s, struct relay_tally *tally)
{
	struct relay_target *t = s->job->batch->target;
	uint64_t now = mono_ms();

	for (size_t i = 0; i < s->n; i++) {
		const struct stretch *sp = &s->spans[i];
		bool lost = sp->want > 0 && sp->want < sp->first;

		if (sp->ok >= sp->first) {
			unpark(t, sp->sub);
			continue;
		}
		tally->refused += (uint64_t)(sp->last - sp->first + 1);
		if (!park(t, sp->sub, now, lost) || !lost)
			continue;
		tally->lost++;
		log_error(s->job->cx, "event.gap",
		          LOG_TEXT("target", bus_peer_name(t->peer)),
		          LOG_STR("sub", sp->sub), LOG_I64("want", sp->want),
		          LOG_I64("oldest", sp->first));
	}
}

static enum err settle(struct relay_job *j, struct str reply,
                       struct relay_tally *tally)
{
	struct settling s = {.job = j};
	enum err e;

	find_spans(&s);
	if (!read_acks(&s, reply))
		return ERR_PEER_LOST;
	tally->answered = true;
	e = db_write(j->conf->pool, j->cx, delete_acked, &s);
	if (e)
		return e;
	tally->acked += (uint64_t)s.deleted;
	judge(&s, tally);
	return OK;
}

enum err relay_deliver(struct relay_job *j, uint64_t deadline_ms,
                       struct relay_tally *tally)
{
	AUTO_BUF body = {0}, reply = {0};
	enum err e;

	begin_spans(j);
	pack(j, &body);
	if (body.failed)
		return ERR_NOMEM;
	tally->sent += j->batch->n;
	if (j->conf->send)
		e = j->conf->send(j->conf->send_arg, j->batch->target->peer,
		                  buf_view(&body), deadline_ms, &reply);
	else
		e = send_over_bus(j, buf_view(&body), deadline_ms, &reply);
	if (!e && reply.failed)
		e = ERR_NOMEM;
	end_spans(j->batch, e);
	return e ? e : settle(j, buf_view(&reply), tally);
}
