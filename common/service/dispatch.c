#include "common/service/dispatch_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <assert.h>
#include <stdlib.h>

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
	enum lane lane = dispatch_lane_of(m);

	if (e) {
		log_warn(&rq->cx, "method.denied", LOG_TEXT("method", m->name),
		         LOG_TEXT("peer", rq->cx.principal),
		         LOG_TEXT("error", err_name(e)));
		request_answer(rq, e);
		return;
	}
	if (is_of_erased(rq)) {
		erased_count(rq->d->conf.erased, 0, 1);
		request_answer(rq, ERR_BAD_TOKEN);
		return;
	}
	if (rq->it.peer != PEER_GATEWAY)
		wipe_identity(&rq->cx);
	if (request_wants_events(rq))
		lane = LANE_DB;
	if (lane == LANE_INLINE) {
		(void)request_run(rq);
		return;
	}
	if (!request_wants_events(rq) && brings_secret(rq))
		lane = LANE_SLOW;
	if (m->peek && lane == dispatch_lane_of(m) &&
	    !request_wants_events(rq) && request_looked(rq))
		return;
	request_enter_lane(rq, lane);
}

static void receive(struct dispatch *d, const struct dispatch_item *it)
{
	struct request *rq = request_get(d, it);
	struct row *row;
	enum err e;

	if (!rq) {
		d->conf.refuse(it->item, ERR_NOMEM);
		dispatch_leave(d);
		return;
	}
	if (mono_ms() >= it->deadline_ms) {
		request_refuse(rq, ERR_TIMEOUT);
		return;
	}
	rq->entry = (struct entry){0};
	e = entry_read(it->bytes, &rq->cx, &rq->entry);
	if (e) {
		request_refuse(rq, e);
		return;
	}
	request_begin_spans(rq);
	row = dispatch_find(d, rq->entry.op);
	if (!dispatch_serves(d, row)) {
		request_refuse(rq, ERR_UNAVAILABLE);
		return;
	}
	if (!row) {
		/* A newer gateway knows methods that this version has not. */
		log_warn(&rq->cx, "method.unknown",
		         LOG_STR("method", rq->entry.op),
		         LOG_TEXT("peer", rq->cx.principal));
		request_answer(rq, ERR_NOT_BUILT);
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

	entry_hand(rq->near->cx, &rq->cx);
	rq->entry = *rq->near->entry;
	rq->row = dispatch_find(d, rq->entry.op);
	if (!rq->row || rq->row->builtin || !dispatch_serves(d, rq->row))
		return false;
	m = rq->row->m;
	return (m->peek || m->lane == LANE_INLINE) && !rq->row->secrets &&
	       !request_wants_events(rq) && may_call(rq) == OK &&
	       !is_of_erased(rq);
}

bool dispatch_at_once(struct dispatch *d, const struct entry_near *near)
{
	struct request *rq;

	atomic_fetch_add(&d->in_work, 1);
	rq = request_get(
		d, &(struct dispatch_item){.deadline_ms = near->cx->deadline_ms,
	                                   .peer = PEER_GATEWAY});
	if (!rq) {
		dispatch_leave(d);
		return false;
	}
	rq->near = near;
	if (may_be_at_once(rq)) {
		request_begin_spans(rq);
		if (rq->row->m->lane == LANE_INLINE) {
			(void)request_run(rq);
			return true;
		}
		if (request_peeked(rq))
			return true;
	}
	request_release(rq);
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
	dispatch_fill_rows(d);
	return STEAL(d);
}

void dispatch_free(struct dispatch *d)
{
	if (!d)
		return;
	assert(atomic_load(&d->in_work) == 0);
	dispatch_free_spare(d);
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
