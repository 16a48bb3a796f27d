#include "common/service/dispatch_inner.h"

#include "common/base/log.h"

static const char *const outcome_names[OUTCOME_COUNT] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_REFUSED] = "refused",
	[OUTCOME_FAILED] = "failed",
};

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

void request_refuse(struct request *rq, enum err e)
{
	request_end_spans(rq, e);
	count(rq, OUTCOME_FAILED);
	forget_secrets(rq);
	if (rq->near)
		rq->near->out->failed = true; /* only without memory */
	else
		rq->d->conf.refuse(rq->it.item, e);
	request_release(rq);
}

static void say(struct request *rq, struct str bytes)
{
	if (rq->near)
		buf_str(rq->near->out, bytes);
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
		          LOG_STR("method", request_method(rq)),
		          LOG_TEXT("error", err_name(e)));
		e = ERR_INTERNAL;
	}
	return e;
}

/* Whose parts have gone: all that can be said is whether they were all. */
static void end_stream(struct request *rq, enum err e)
{
	if (e) {
		request_refuse(rq, e);
		return;
	}
	count(rq, OUTCOME_OK);
	request_end_spans(rq, OK);
	rq->d->conf.end(rq->it.item, (struct str){0});
	request_release(rq);
}

void request_answer(struct request *rq, enum err e)
{
	struct reply_view v;
	bool handed;

	e = settle(rq, e);
	request_end_handler(rq);
	if (rq->reply.begun) {
		end_stream(rq, e);
		return;
	}
	handed = rq->near && !e && reply_hand(&rq->cx, &rq->reply, &v);
	if (!handed)
		reply_pack(&rq->packed, &rq->cx, e, &rq->reply);
	if (rq->packed.failed) {
		request_refuse(rq, ERR_NOMEM);
		return;
	}
	count(rq, !e                  ? OUTCOME_OK
	          : err_http(e) < 500 ? OUTCOME_REFUSED
	                              : OUTCOME_FAILED);
	request_end_spans(rq, e);
	forget_secrets(rq);
	if (handed)
		rq->near->take(rq->near->arg, &v);
	else
		say(rq, buf_view(&rq->packed));
	request_release(rq);
}
