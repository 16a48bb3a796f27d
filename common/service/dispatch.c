#include "common/service/dispatch.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/base/trace.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

/* What is larger goes back to the heap instead of to the spare requests. */
#define SPARE_BYTES_MAX ((size_t)64 << 10)
/* Requests of a worker whose reads go out together. */
#define TOGETHER_MAX 64

static const char *const outcome_names[OUTCOME_COUNT] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_REFUSED] = "refused",
	[OUTCOME_FAILED] = "failed",
};

struct row {
	const struct method *m;
	builtin_fn *builtin; /* instead of m->run; or NULL */
	bool secrets;        /* it has a SECRET field */
	atomic_bool reads;   /* the last one that might put off its read did */
	/* NULL until the first call that came to it: most series of a
	 * histogram would stay empty for ever. */
	_Atomic(struct metric *) took[OUTCOME_COUNT];
};

struct request {
	struct lane_job job; /* first: a job is its request */
	struct dispatch *d;
	struct dispatch_item it;
	struct arena *arena;
	struct ctx cx;
	struct entry entry;
	struct row *row;
	void *in; /* the checked fields, or NULL before */
	struct reply reply;
	struct effect effect;        /* while cx.effect points to it */
	struct db_deferred deferred; /* while cx.deferred does */
	struct buf packed;
	struct buf *at_once; /* where the answer goes instead of to the bus */
	uint64_t started_us; /* the handler; 0: it has not run */
	/* Of a sampled trace; cx.span is the second while the handler runs, and
	 * NULL when nobody asks for them. */
	struct span span, inner;
	struct request *next_spare;
};

struct dispatch {
	struct dispatch_conf conf;
	void *state;
	atomic_bool serving;
	_Atomic unsigned in_work;
	pthread_mutex_t lock; /* of the two below */
	pthread_cond_t idle;
	struct request *spare;
	unsigned spare_n;
	struct row unknown; /* where calls of no method are counted */
	size_t rows_n;
	struct row rows[]; /* by name */
};

static const struct method builtins[] = {
	[BUILTIN_EVENTS] = {.name = "event.apply",
                            .lane = LANE_DB,
                            .caller = CALL_SERVICE,
                            .again = AGAIN_RETRY},
	[BUILTIN_HEALTH] = {.name = "service.health",
                            .lane = LANE_INLINE,
                            .caller = CALL_SERVICE,
                            .again = AGAIN_READ},
	[BUILTIN_STATS] = {.name = "service.stats",
                           .lane = LANE_INLINE,
                           .caller = CALL_ADMIN,
                           .again = AGAIN_READ},
	[BUILTIN_CONTROL] = {.name = "service.control",
                             .lane = LANE_DB,
                             .caller = CALL_ADMIN,
                             .again = AGAIN_RETRY},
	[BUILTIN_ERASE] = {.name = "service.erase",
                           .lane = LANE_DB,
                           .caller = CALL_SERVICE,
                           .again = AGAIN_RETRY},
	[BUILTIN_SCAN] = {.name = "service.scan",
                          .lane = LANE_SLOW,
                          .caller = CALL_SERVICE,
                          .again = AGAIN_READ},
};

/* --- the table of methods ------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return strcmp(x->m->name, y->m->name);
}

static int name_of(const void *key, const void *member)
{
	const struct str *name = key;
	const struct row *row = member;
	size_t n = strlen(row->m->name);
	int c = memcmp(name->p, row->m->name, name->n < n ? name->n : n);

	return c ? c : (name->n > n) - (name->n < n);
}

static struct row *find(struct dispatch *d, struct str name)
{
	/* An absent op has no bytes to compare. */
	return name.n ? bsearch(&name, d->rows, d->rows_n, sizeof(d->rows[0]),
	                        name_of)
	              : NULL;
}

/* Whose threads run it. */
static enum lane lane_of(const struct method *m)
{
	return m->lane == LANE_READ ? LANE_DB : m->lane;
}

/* Whether an Idempotency-Key says something to it.  Services repeat to each
 * other what their inboxes know again, and builtins (no run) write no row. */
static bool takes_key(const struct dispatch *d, const struct method *m)
{
	return d->conf.idem && m->run && m->again != AGAIN_READ &&
	       m->caller != CALL_SERVICE;
}

static bool wants_events(const struct request *rq)
{
	return !rq->row->builtin && str_eq(rq->cx.form, STR("events"));
}

static bool takes_secrets(const struct method *m)
{
	for (size_t i = 0; i < m->fields_n; i++)
		if (m->fields[i].type == FIELD_SECRET)
			return true;
	return false;
}

static void fill_rows(struct dispatch *d)
{
	for (size_t i = 0; i < d->conf.methods_n; i++)
		d->rows[d->rows_n++].m = &d->conf.methods[i];
	for (size_t i = 0; i < BUILTIN_COUNT; i++) {
		if (!d->conf.builtin[i])
			continue;
		d->rows[d->rows_n].builtin = d->conf.builtin[i];
		d->rows[d->rows_n++].m = &builtins[i];
	}
	qsort(d->rows, d->rows_n, sizeof(d->rows[0]), by_name);
	for (size_t i = 0; i < d->rows_n; i++) {
		const struct method *m = d->rows[i].m;
		enum lane lane = lane_of(m);

		assert(i == 0 || by_name(&d->rows[i - 1], &d->rows[i]) != 0);
		/* Looking for a stored answer blocks. */
		assert(lane == LANE_INLINE ? !takes_key(d, m)
		                           : d->conf.lanes[lane] != NULL);
		/* Its handler is run twice. */
		assert(m->lane != LANE_READ || m->again == AGAIN_READ);
		d->rows[i].secrets = takes_secrets(m);
		assert(!d->rows[i].secrets ||
		       (m->lane != LANE_INLINE && d->conf.lanes[LANE_SLOW]));
	}
}

/* --- request objects -------------------------------------------------------- */

static void request_free(struct request *rq)
{
	if (!rq)
		return;
	arena_free(rq->arena);
	buf_fini(&rq->reply.body);
	buf_fini(&rq->packed);
	free(rq);
}

static struct request *request_new(struct dispatch *d)
{
	struct request *rq = calloc(1, sizeof(*rq));

	if (!rq)
		return NULL;
	rq->d = d;
	rq->arena = arena_new(DISPATCH_ARENA_MAX);
	/* A first block of the usual size, because that is the one which
	 * arena_reset() keeps. */
	if (!rq->arena || !arena_alloc(rq->arena, 0)) {
		request_free(rq);
		return NULL;
	}
	return rq;
}

static struct request *take_spare(struct dispatch *d)
{
	GUARD(&d->lock);
	struct request *rq = d->spare;

	if (rq) {
		d->spare = rq->next_spare;
		d->spare_n--;
	}
	return rq;
}

static bool keep_spare(struct dispatch *d, struct request *rq)
{
	GUARD(&d->lock);

	if (d->spare_n == DISPATCH_SPARE_MAX)
		return false;
	rq->next_spare = d->spare;
	d->spare = rq;
	d->spare_n++;
	return true;
}

static void leave(struct dispatch *d)
{
	if (atomic_fetch_sub(&d->in_work, 1) == 1 &&
	    !atomic_load(&d->serving)) {
		GUARD(&d->lock);

		pthread_cond_broadcast(&d->idle);
	}
}

static void release(struct request *rq)
{
	struct dispatch *d = rq->d;

	arena_reset(rq->arena);
	if (rq->reply.body.cap > SPARE_BYTES_MAX ||
	    rq->packed.cap > SPARE_BYTES_MAX || !keep_spare(d, rq))
		request_free(rq);
	leave(d);
}

static struct request *request_get(struct dispatch *d,
                                   const struct dispatch_item *it)
{
	struct request *rq = take_spare(d);

	if (!rq)
		rq = request_new(d);
	if (!rq)
		return NULL;
	rq->it = *it;
	rq->cx = (struct ctx){.service = d->conf.service,
	                      .arena = rq->arena,
	                      .deadline_ms = it->deadline_ms,
	                      .principal = bus_peer_name(it->peer)};
	rq->row = &d->unknown;
	rq->in = NULL;
	rq->at_once = NULL;
	rq->started_us = 0;
	rq->reply.status = 0;
	rq->reply.headers_n = 0;
	rq->reply.replayed = false;
	rq->reply.begun = false;
	/* The receive callback must not wait for credit: see lane_run(). */
	rq->reply.part = NULL;
	rq->reply.to = it->item;
	buf_clear(&rq->reply.body);
	buf_clear(&rq->packed);
	return rq;
}

/* --- its spans --------------------------------------------------------------- */

static struct str method_name(const struct request *rq)
{
	return rq->row->m ? str_from(rq->row->m->name) : rq->entry.op;
}

/* The caller's trace goes on here if it is sampled and somebody listens. */
static void begin_spans(struct request *rq)
{
	struct trace_parent from;
	struct ctx *cx = &rq->cx;

	if (!trace_heard() || !trace_parse(cx->tp, &from) || !from.sampled)
		return;
	span_root(&rq->span, &from, cx->service, SPAN_SERVER, (struct str){0});
	cx->span = &rq->span;
}

static void tell_wait(const struct request *rq)
{
	struct span s;

	if (!span_begin(&s, rq->cx.span, SPAN_INTERNAL, "lane"))
		return;
	s.start_us = rq->job.queued_us;
	span_end(&s);
}

static void begin_handler(struct request *rq)
{
	rq->started_us = mono_us();
	if (span_begin(&rq->inner, rq->cx.span, SPAN_INTERNAL, "handler"))
		rq->cx.span = &rq->inner;
}

static void end_handler(struct request *rq)
{
	if (rq->started_us)
		rq->cx.spent.handler = mono_us() - rq->started_us;
	rq->started_us = 0;
	if (rq->cx.span != &rq->inner)
		return;
	span_end(&rq->inner);
	rq->cx.span = &rq->span;
}

static void end_spans(struct request *rq, enum err e)
{
	struct span *s = &rq->span;

	if (!rq->cx.span)
		return;
	span_name(s, method_name(rq));
	span_text(s, "rpc.system", STR("kae"));
	span_text(s, "rpc.service", str_from(rq->cx.service));
	span_text(s, "rpc.method", method_name(rq));
	if (e && err_http(e) >= 500)
		span_fail(s, err_name(e));
	else if (e)
		span_text(s, "kae.error_code", str_from(err_code(e)));
	span_text(s, "kae.request_id", rq->cx.rid);
	span_end(s);
}

/* --- the end of a request ----------------------------------------------------- */

static void count(const struct request *rq, enum outcome o)
{
	const struct dispatch_conf *conf = &rq->d->conf;
	_Atomic(struct metric *) *at = &rq->row->took[o];
	struct metric *took = atomic_load(at);

	if (!conf->figures)
		return;
	if (!took) {
		/* Asked twice, it is the same series. */
		took = figures_method(conf->figures, conf->service,
		                      rq->row->m ? rq->row->m->name : "unknown",
		                      outcome_names[o]);
		atomic_store(at, took);
	}
	metric_observe(took, (double)rq->cx.spent.handler / 1e6);
}

/* The item's bytes are ours until its end, and nobody reads them again. */
static void forget_secrets(const struct request *rq)
{
	struct str body = rq->entry.body;

	if (rq->row->secrets && body.n)
		explicit_bzero((void *)(uintptr_t)body.p, body.n);
}

static void refuse(struct request *rq, enum err e)
{
	end_spans(rq, e);
	count(rq, OUTCOME_FAILED);
	forget_secrets(rq);
	if (rq->at_once)
		rq->at_once->failed = true; /* only without memory */
	else
		rq->d->conf.refuse(rq->it.item, e);
	release(rq);
}

static void say(struct request *rq, struct str bytes)
{
	if (rq->at_once)
		buf_str(rq->at_once, bytes);
	else
		rq->d->conf.end(rq->it.item, bytes);
}

/* What e is called outside; what nobody expected is logged here, once. */
static enum err settle(struct request *rq, enum err e)
{
	if (!e && rq->reply.body.failed)
		e = ERR_NOMEM;
	if (e && err_http(e) == 500) {
		log_error(&rq->cx, "method.failed",
		          LOG_STR("method", method_name(rq)),
		          LOG_TEXT("error", err_name(e)));
		e = ERR_INTERNAL;
	}
	return e;
}

/* Whose parts have gone: all that can be said is whether they were all. */
static void end_stream(struct request *rq, enum err e)
{
	if (e) {
		refuse(rq, e);
		return;
	}
	count(rq, OUTCOME_OK);
	end_spans(rq, OK);
	rq->d->conf.end(rq->it.item, (struct str){0});
	release(rq);
}

static void answer(struct request *rq, enum err e)
{
	e = settle(rq, e);
	end_handler(rq);
	if (rq->reply.begun) {
		end_stream(rq, e);
		return;
	}
	reply_pack(&rq->packed, &rq->cx, e, &rq->reply);
	if (rq->packed.failed) {
		refuse(rq, ERR_NOMEM);
		return;
	}
	count(rq, !e                  ? OUTCOME_OK
	          : err_http(e) < 500 ? OUTCOME_REFUSED
	                              : OUTCOME_FAILED);
	end_spans(rq, e);
	forget_secrets(rq);
	say(rq, buf_view(&rq->packed));
	release(rq);
}

static void lane_run(struct lane_job *job);
static void lane_drop(struct lane_job *job, enum err why);
static void read_came(struct db_deferred *d);

/* --- the way of a request ------------------------------------------------------- */

static void wipe_identity(struct ctx *cx)
{
	static const struct str none;

	cx->sub = cx->hnd = cx->sid = cx->jti = none;
	cx->role = ROLE_SERVICE;
	cx->tier = TIER_LIMITED;
	cx->scopes = 0;
	cx->auth_time_s = 0;
}

static enum err may_call(const struct request *rq)
{
	const struct ctx *cx = &rq->cx;
	bool gateway = rq->it.peer == PEER_GATEWAY;

	if (!bus_edge_allowed(rq->it.peer, rq->d->conf.self))
		return ERR_DENIED;
	switch (rq->row->m->caller) {
	case CALL_GATEWAY:
		return gateway ? OK : ERR_DENIED;
	case CALL_USER:
		if (!gateway)
			return ERR_DENIED;
		return cx->sub.n ? OK : ERR_LOGIN_NEEDED;
	case CALL_ADMIN:
		if (!gateway)
			return ERR_DENIED;
		return cx->role == ROLE_ADMIN ? OK : ERR_ADMIN_ONLY;
	case CALL_SERVICE:
		return gateway && cx->sub.n ? ERR_DENIED : OK;
	}
	return ERR_DENIED;
}

/* A token may outlive its person for as long as a gateway has not heard. */
static bool is_of_erased(const struct request *rq)
{
	struct erased *t = rq->d->conf.erased;

	return t && rq->it.peer == PEER_GATEWAY && rq->cx.sub.n > 0 &&
	       rq->row->m->again != AGAIN_ERASE && erased_knows(t, rq->cx.sub);
}

static enum err read_fields(struct request *rq)
{
	const struct method *m = rq->row->m;
	const struct entry *en = &rq->entry;
	void *in = arena_alloc(rq->arena, m->in_size);

	if (!in)
		return ERR_NOMEM;
	memset(in, 0, m->in_size);
	rq->in = in;
	return fields_read(&rq->cx, m->fields, m->fields_n, en->body, en->query,
	                   en->path, in);
}

static enum err run_handler(struct request *rq)
{
	struct dispatch *d = rq->d;
	const struct method *m = rq->row->m;

	if (!wants_events(rq))
		return m->run(d->state, &rq->cx, rq->in, &rq->reply);
	return d->conf.events ? d->conf.events(d->state, &rq->cx, m,
	                                       rq->entry.body, &rq->reply)
	                      : ERR_NOT_ACCEPTABLE;
}

/* The handler of a method that has an effect, or the answer of the first time
 * that the request was made. */
static enum err run_effect(struct request *rq)
{
	struct dispatch *d = rq->d;
	const struct method *m = rq->row->m;
	struct effect *ef = &rq->effect;
	enum err e;

	ef->method = m->name;
	ef->session = m->again == AGAIN_SESSION;
	ef->erases = m->again == AGAIN_ERASE;
	ef->about = (struct str){0};
	ef->query = rq->entry.query;
	ef->path = rq->entry.path;
	ef->body = rq->entry.body;
	ef->written = ef->held = false;
	rq->cx.effect = ef;
	e = idem_begin(d->conf.idem, &rq->cx, &rq->reply);
	if (!e && !rq->reply.replayed)
		e = run_handler(rq);
	idem_end(d->conf.idem, &rq->cx);
	if (!e && !ef->written) {
		/* A handler with an effect of its own would double it. */
		log_error(&rq->cx, "method.forgets_key",
		          LOG_TEXT("method", m->name));
		e = ERR_INTERNAL;
	}
	return e;
}

/* What is asked for as events is begun, whatever the method does; who goes on
 * behind an event begins nothing. */
static bool has_effect(const struct request *rq)
{
	if (!wants_events(rq))
		return takes_key(rq->d, rq->row->m);
	return rq->d->conf.idem && rq->d->conf.events &&
	       rq->cx.last_event.n == 0;
}

static enum err run_method(struct request *rq)
{
	enum err e = rq->in ? OK : read_fields(rq);

	if (e)
		return e;
	if (has_effect(rq))
		return run_effect(rq);
	return run_handler(rq);
}

static void clear_reply(struct request *rq)
{
	assert(!rq->reply.begun);
	rq->reply.status = 0;
	rq->reply.headers_n = 0;
	buf_clear(&rq->reply.body);
	rq->cx.problem = (struct problem){0};
}

/* The next handler starts afresh on what this one may have begun. */
static void start_afresh(struct request *rq)
{
	clear_reply(rq);
	rq->started_us = 0;
	if (rq->cx.span)
		rq->cx.span = &rq->span; /* that was no handler's work */
}

/* Whether its read may be put off. */
static bool reads_once(const struct request *rq)
{
	return rq->row->m->lane == LANE_READ && !wants_events(rq);
}

static void enter_lane(struct request *rq, enum lane lane)
{
	enum err e;

	rq->cx.quick = lane != LANE_SLOW && rq->d->conf.lanes[LANE_SLOW];
	rq->cx.slow = false;
	rq->deferred = (struct db_deferred){.done = read_came};
	rq->cx.deferred = reads_once(rq) ? &rq->deferred : NULL;
	rq->job = (struct lane_job){.deadline_ms = rq->it.deadline_ms,
	                            .joins = rq->cx.deferred &&
	                                     atomic_load(&rq->row->reads),
	                            .run = lane_run,
	                            .drop = lane_drop};
	e = lane_push(rq->d->conf.lanes[lane], &rq->job);
	if (e)
		refuse(rq, e);
}

/* True: its read is put off, and it will be run again.  Else it has ended, or
 * goes on in another lane. */
static bool run(struct request *rq)
{
	builtin_fn *builtin = rq->row->builtin;
	enum err e;

	if (!rq->started_us)
		begin_handler(rq);
	e = builtin ? builtin(rq->d->conf.builtin_arg, &rq->cx, rq->entry.body,
	                      &rq->reply.body)
	            : run_method(rq);
	if (db_deferred_asked(&rq->deferred)) {
		clear_reply(rq);
		return true;
	}
	db_deferred_end(&rq->deferred);
	if (e && rq->cx.slow) {
		start_afresh(rq);
		enter_lane(rq, LANE_SLOW);
		return false;
	}
	answer(rq, e);
	return false;
}

/* True when the request has been answered from memory. */
static bool peeked(struct request *rq)
{
	enum err e;

	begin_handler(rq);
	e = read_fields(rq);
	if (e || rq->row->m->peek(rq->d->state, &rq->cx, rq->in, &rq->reply)) {
		answer(rq, e ? e : rq->cx.problem.code);
		return true;
	}
	start_afresh(rq);
	return false;
}

/* Runs it again, with the answer to its read. */
static void read_came(struct db_deferred *d)
{
	char *at = (char *)d - offsetof(struct request, deferred);

	(void)run((struct request *)(void *)at);
}

/* Its read, if it has put it off; else it has ended. */
static struct db_deferred *begin_job(struct lane_job *job)
{
	struct request *rq = (struct request *)(void *)job;
	bool may = rq->cx.deferred, asked;
	struct row *row = rq->row;

	rq->cx.spent.lane += mono_us() - rq->job.queued_us;
	rq->reply.part = rq->d->conf.part;
	tell_wait(rq);
	if (rq->d->conf.cancelled(rq->it.item)) {
		refuse(rq, ERR_TIMEOUT);
		return NULL;
	}
	asked = run(rq);
	if (may && asked != atomic_load(&row->reads))
		atomic_store(&row->reads, asked);
	return asked ? &rq->deferred : NULL;
}

static void lane_run(struct lane_job *job)
{
	struct lane_pool *lane =
		((struct request *)(void *)job)->d->conf.lanes[LANE_DB];
	struct lane_job *jobs[TOGETHER_MAX] = {job};
	struct db_deferred *reads[TOGETHER_MAX];
	unsigned n = 1, asked = 0;

	if (job->joins)
		n += lane_more(lane, &jobs[1], TOGETHER_MAX - 1);
	for (unsigned i = 0; i < n; i++) {
		reads[asked] = begin_job(jobs[i]);
		if (reads[asked])
			asked++;
	}
	if (asked)
		db_ask_deferred(reads, asked);
	if (n > 1)
		lane_ran(lane, n - 1);
}

static void lane_drop(struct lane_job *job, enum err why)
{
	refuse((struct request *)(void *)job, why);
}

/* Whether the body has a secret that may be hashed: not null, not empty. */
static bool brings_secret(const struct request *rq)
{
	const struct method *m = rq->row->m;
	struct str v;

	for (size_t i = 0; rq->row->secrets && i < m->fields_n; i++)
		if (m->fields[i].type == FIELD_SECRET &&
		    mp_find(rq->entry.body, m->fields[i].name, &v) &&
		    !str_eq(v, STR("\xc0")) && !str_eq(v, STR("\xa0")))
			return true;
	return false;
}

static void route(struct request *rq)
{
	const struct method *m = rq->row->m;
	enum err e = may_call(rq);
	enum lane lane = lane_of(m);

	if (e) {
		log_warn(&rq->cx, "method.denied", LOG_TEXT("method", m->name),
		         LOG_TEXT("peer", rq->cx.principal),
		         LOG_TEXT("error", err_name(e)));
		answer(rq, e);
		return;
	}
	if (is_of_erased(rq)) {
		erased_count(rq->d->conf.erased, 0, 1);
		answer(rq, ERR_BAD_TOKEN);
		return;
	}
	if (rq->it.peer != PEER_GATEWAY)
		wipe_identity(&rq->cx);
	if (wants_events(rq))
		lane = LANE_DB;
	if (lane == LANE_INLINE) {
		(void)run(rq);
		return;
	}
	if (!wants_events(rq) && brings_secret(rq))
		lane = LANE_SLOW;
	if (m->peek && lane == lane_of(m) && !wants_events(rq) && peeked(rq))
		return;
	enter_lane(rq, lane);
}

static bool serves(struct dispatch *d, const struct row *row)
{
	return atomic_load(&d->serving) ||
	       (row && row->m == &builtins[BUILTIN_HEALTH]);
}

static void receive(struct dispatch *d, const struct dispatch_item *it)
{
	struct request *rq = request_get(d, it);
	struct row *row;
	enum err e;

	if (!rq) {
		d->conf.refuse(it->item, ERR_NOMEM);
		leave(d);
		return;
	}
	if (mono_ms() >= it->deadline_ms) {
		refuse(rq, ERR_TIMEOUT);
		return;
	}
	rq->entry = (struct entry){0};
	e = entry_read(it->bytes, &rq->cx, &rq->entry);
	if (e) {
		refuse(rq, e);
		return;
	}
	begin_spans(rq);
	row = find(d, rq->entry.op);
	if (!serves(d, row)) {
		refuse(rq, ERR_UNAVAILABLE);
		return;
	}
	if (!row) {
		/* A newer gateway knows methods that this version has not. */
		log_warn(&rq->cx, "method.unknown",
		         LOG_STR("method", rq->entry.op),
		         LOG_TEXT("peer", rq->cx.principal));
		answer(rq, ERR_NOT_BUILT);
		return;
	}
	rq->row = row;
	route(rq);
}

void dispatch_item(struct dispatch *d, const struct dispatch_item *it)
{
	/* Counted before `serving` is read: dispatch_close() and then
	 * dispatch_idle() miss nobody. */
	atomic_fetch_add(&d->in_work, 1);
	receive(d, it);
}

/* --- without the bus ------------------------------------------------------------- */

/* Whether it may be tried; what is not plain goes the usual way. */
static bool may_be_at_once(struct request *rq)
{
	struct dispatch *d = rq->d;
	const struct method *m;

	rq->entry = (struct entry){0};
	if (entry_read(rq->it.bytes, &rq->cx, &rq->entry))
		return false;
	rq->row = find(d, rq->entry.op);
	if (!rq->row || rq->row->builtin || !serves(d, rq->row))
		return false;
	m = rq->row->m;
	return (m->peek || m->lane == LANE_INLINE) && !rq->row->secrets &&
	       !wants_events(rq) && may_call(rq) == OK && !is_of_erased(rq);
}

bool dispatch_at_once(struct dispatch *d, const struct dispatch_item *it,
                      struct buf *out)
{
	struct request *rq;

	atomic_fetch_add(&d->in_work, 1);
	rq = request_get(d, it);
	if (!rq) {
		leave(d);
		return false;
	}
	if (may_be_at_once(rq)) {
		rq->at_once = out;
		begin_spans(rq);
		if (rq->row->m->lane == LANE_INLINE) {
			(void)run(rq);
			return true;
		}
		if (peeked(rq))
			return true;
	}
	release(rq);
	return false;
}

/* --- life -------------------------------------------------------------------------- */

struct dispatch *dispatch_new(const struct dispatch_conf *conf)
{
	size_t n = conf->methods_n + BUILTIN_COUNT;
	AUTO(dispatch) d = calloc(1, sizeof(*d) + n * sizeof(d->rows[0]));
	pthread_condattr_t attr;

	if (!d)
		return NULL;
	d->conf = *conf;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->idle, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&d->lock, NULL);
	fill_rows(d);
	return STEAL(d);
}

void dispatch_free(struct dispatch *d)
{
	struct request *rq;

	if (!d)
		return;
	assert(atomic_load(&d->in_work) == 0);
	while ((rq = take_spare(d)))
		request_free(rq);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->idle);
	free(d);
}

void dispatch_open(struct dispatch *d, void *state)
{
	d->state = state;
	atomic_store(&d->serving, true);
}

void dispatch_close(struct dispatch *d)
{
	atomic_store(&d->serving, false);
}

bool dispatch_idle(struct dispatch *d, uint64_t deadline_ms)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
	                         .tv_nsec =
	                                 (long)(deadline_ms % 1000) * 1000000};
	GUARD(&d->lock);

	while (atomic_load(&d->in_work) > 0)
		if (pthread_cond_timedwait(&d->idle, &d->lock, &until) != 0)
			break;
	return atomic_load(&d->in_work) == 0;
}
