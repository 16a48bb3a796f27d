#include "gateway/noted.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"

void noted_pack(struct buf *b, const char *event, const char *resource_type,
                struct str resource_id)
{
	mp_map(b, 3);
	mp_kv_text(b, "event", event);
	mp_kv_text(b, "resource_type", resource_type);
	mp_kv_str(b, "resource_id", resource_id);
}

/* Then it goes on as one that needs no note does at once. */
static void noted(void *arg, enum err e, struct str bytes, bool more)
{
	struct req *rq = arg;
	struct reply_view v = {0};

	(void)more; /* never with stream = false */
	rq->wait = WAIT_NONE;
	if (!e)
		e = reply_read(bytes, &rq->cx, &v);
	if (!e)
		e = v.err;
	if (e) {
		rq->err = ctx_fail(&rq->cx, ERR_UNAVAILABLE,
		                   "This cannot be noted in the audit log now, "
		                   "so it was not done. Please try again.");
		rq->step = STEP_REPLY;
		req_resume(rq);
	} else if (own_go_on(rq) != WAIT) {
		req_resume(rq);
	}
}

static enum err ask(struct req *rq, struct str note)
{
	const struct entry en = {.op = STR("auth.audit"), .body = note};
	uint64_t deadline_ms = mono_ms() + NOTED_MS;
	struct ctx cx = rq->cx;
	struct bus_call call = {
		.to = PEER_AUTH,
		.route_class = rq->route->rate,
		.deadline_ms = deadline_ms < cx.deadline_ms ? deadline_ms
	                                                    : cx.deadline_ms,
		.on_reply = noted,
		.arg = rq,
	};

	/* Each act is noted, also where its client takes it for a repeat. */
	cx.idk = (struct str){0};
	buf_clear(&rq->loop->entry);
	entry_pack(&rq->loop->entry, &cx, &en);
	if (rq->loop->entry.failed)
		return ERR_NOMEM;
	call.bytes = buf_view(&rq->loop->entry);
	return bus_client_call(rq->loop->bus, &call, &rq->call);
}

enum next noted_begin(struct req *rq, const struct own *own)
{
	AUTO_BUF note = {0};
	enum err e = own->note(rq, &note);

	if (!e && note.failed)
		e = ERR_NOMEM;
	if (!e)
		e = ask(rq, buf_view(&note));
	rq->err = e;
	if (e) {
		rq->step = STEP_REPLY;
		return NEXT;
	}
	rq->wait = WAIT_BUS;
	return WAIT;
}
