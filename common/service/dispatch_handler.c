#include "common/service/dispatch_inner.h"

#include "common/base/log.h"

bool request_wants_events(const struct request *rq)
{
	return !rq->row->builtin && str_eq(rq->cx.form, STR("events"));
}

enum err request_read_fields(struct request *rq)
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

	if (!request_wants_events(rq))
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
	if (!request_wants_events(rq))
		return dispatch_takes_key(rq->d, rq->row->m);
	return rq->d->conf.idem && rq->d->conf.events &&
	       rq->cx.last_event.n == 0;
}

enum err request_run_method(struct request *rq)
{
	enum err e = rq->in ? OK : request_read_fields(rq);

	if (e)
		return e;
	if (has_effect(rq))
		return run_effect(rq);
	return run_handler(rq);
}
