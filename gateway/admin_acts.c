/* What administrators may have done: breakers closed, caches cleared. */
#include "gateway/admin.h"
#include "gateway/noted.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#define ALL           (1U << PEER_AUTH | 1U << PEER_CONTENT | 1U << PEER_GDPR)
#define NAMESPACE_MAX 64 /* as service.control has it */

static enum err control(struct req *rq, unsigned peers, const char *act,
                        struct str tag)
{
	AUTO_BUF body = {0};

	mp_map(&body, tag.n ? 2 : 1);
	mp_kv_text(&body, "do", act);
	if (tag.n)
		mp_kv_str(&body, "tag", tag);
	if (body.failed)
		return ERR_NOMEM;
	return admin_ask(rq, peers, "service.control", buf_view(&body));
}

static bool peer_from(struct str name, enum bus_peer *out)
{
	for (int p = PEER_AUTH; p < PEER_COUNT; p++) {
		if (str_eq(name, str_from(bus_peer_name((enum bus_peer)p)))) {
			*out = (enum bus_peer)p;
			return true;
		}
	}
	return false;
}

/* --- breakers ----------------------------------------------------------------- */

static enum err no_breaker(struct req *rq)
{
	const struct admin_backend *b;
	AUTO_BUF more = {0};
	size_t next = 0;

	while ((b = admin_backend_next(rq, &next)) != NULL)
		buf_printf(&more, ", and %s", b->name);
	return ctx_fail(&rq->cx, ERR_NOT_FOUND,
	                "There is no such breaker. There are auth, content and "
	                "gdpr%.*s.",
	                STR_FMT(buf_view(&more)));
}

static struct str breaker_name(const struct req *rq)
{
	return rq->match.params[0].value;
}

static const struct admin_backend *backend(const struct req *rq)
{
	return admin_backend_from(rq, breaker_name(rq));
}

enum err admin_ask_breaker(struct req *rq)
{
	const struct admin_backend *b = backend(rq);
	enum bus_peer peer;

	if (b)
		return admin_ask(rq, b->peers, "service.stats",
		                 (struct str){0});
	if (peer_from(breaker_name(rq), &peer))
		return admin_ask(rq, 1U << peer, "service.stats",
		                 (struct str){0});
	return no_breaker(rq);
}

enum err admin_breaker(struct req *rq)
{
	const struct admin_backend *before = backend(rq);
	struct admin_breaker b;
	enum bus_peer peer;

	if (before)
		admin_breaker_before(rq->survey, before, &b);
	else if (peer_from(breaker_name(rq), &peer))
		admin_breaker_of(rq->survey, peer, &b);
	else
		return no_breaker(rq); /* it has gone meanwhile */
	buf_printf(&rq->out,
	           "{\"name\":\"%.*s\",\"state\":\"%s\",\"failure_count\":%.0f,"
	           "\"success_count\":%.0f,\"last_failure_time\":",
	           STR_FMT(breaker_name(rq)), admin_breaker_name(b.state),
	           b.failures, b.successes);
	if (b.failed_s > 0)
		buf_printf(&rq->out, "%.3f}", b.failed_s);
	else
		buf_str(&rq->out, STR("null}"));
	return OK;
}

enum err admin_ask_reset(struct req *rq)
{
	const struct admin_backend *b = backend(rq);
	struct site *st = rq->loop->site;
	enum bus_peer peer;

	if (b)
		return control(rq, b->peers, b->reset, (struct str){0});
	if (!peer_from(breaker_name(rq), &peer))
		return no_breaker(rq);
	/* The other loops look at their next tick. */
	atomic_fetch_add(&st->forgiven[peer], 1);
	bus_client_forgive(rq->loop->bus, peer);
	return OK;
}

enum err admin_note_reset(struct req *rq, struct buf *body)
{
	enum bus_peer peer;

	if (!backend(rq) && !peer_from(breaker_name(rq), &peer))
		return no_breaker(rq);
	noted_pack(body, "breaker_reset", "breaker", breaker_name(rq));
	return OK;
}

/* --- what all did --------------------------------------------------------------- */

struct told {
	unsigned asked, did, cached, away;
};

static struct told told_of(const struct survey *s)
{
	struct told t = {0};

	for (size_t i = 0; s && i < s->n; i++) {
		const struct survey_replica *r = &s->replicas[i];

		t.away += !r->asked;
		t.asked += r->asked;
		t.did += r->asked && !r->err;
		t.cached += r->asked && !r->err && r->cached;
	}
	return t;
}

/* What some have not done is no success; doing it twice does no harm. */
static enum err all_did(struct req *rq, const struct told *t)
{
	if (t->did == t->asked && (t->asked || t->away == 0))
		return OK;
	return ctx_fail(&rq->cx, ERR_UNAVAILABLE,
	                "%u of %u replicas have done it, %u cannot be reached. "
	                "Please repeat the request.",
	                t->did, t->asked, t->away);
}

static void add_told(struct buf *out, const struct told *t)
{
	char iso[CLOCK_ISO_MAX];

	buf_printf(out,
	           ",\"timestamp\":\"%s\",\"replicas\":{\"asked\":%u,"
	           "\"acknowledged\":%u,\"with_cache\":%u,\"away\":%u}}",
	           clock_iso(wall_ms(), iso).p, t->asked, t->did, t->cached,
	           t->away);
}

enum err admin_reset(struct req *rq)
{
	const struct told t = told_of(rq->survey);
	enum err e = all_did(rq, &t);

	if (e)
		return e;
	log_info(&rq->cx, "gateway.breaker_reset",
	         LOG_STR("breaker", breaker_name(rq)),
	         LOG_STR("user", rq->cx.sub));
	buf_printf(&rq->out,
	           "{\"message\":\"the breaker was reset\",\"name\":\"%.*s\","
	           "\"state\":\"closed\"",
	           STR_FMT(breaker_name(rq)));
	add_told(&rq->out, &t);
	return OK;
}

/* --- caches ------------------------------------------------------------------------ */

/* "namespace": absent or null is everything. */
static enum err read_namespace(struct req *rq, struct str *out)
{
	struct str body = buf_view(&rq->input), at;
	struct mp m;

	*out = (struct str){0};
	if (body.n == 0 || !mp_find(body, "namespace", &at))
		return OK;
	m = mp_open(at);
	if (mp_peek(&m) == MP_NIL)
		return OK;
	if (!mp_get_str(&m, out))
		return ctx_fault(&rq->cx, "/namespace", "INVALID_TYPE",
		                 "must be text");
	if (out->n == 0 || out->n > NAMESPACE_MAX)
		return ctx_fault(&rq->cx, "/namespace", "OUT_OF_RANGE",
		                 "must have 1 to %d characters", NAMESPACE_MAX);
	return OK;
}

enum err admin_note_clear(struct req *rq, struct buf *body)
{
	(void)rq;
	noted_pack(body, "cache_cleared", "cache", STR(""));
	return OK;
}

enum err admin_note_invalidate(struct req *rq, struct buf *body)
{
	struct str name;
	enum err e = read_namespace(rq, &name);

	if (!e)
		noted_pack(body, "cache_invalidated", "cache",
		           name.n ? name : STR(""));
	return e;
}

enum err admin_ask_clear(struct req *rq)
{
	return control(rq, ALL, "cache.clear", (struct str){0});
}

enum err admin_ask_invalidate(struct req *rq)
{
	struct str name;
	enum err e = read_namespace(rq, &name);
	enum bus_peer peer;

	if (e)
		return e;
	if (name.n == 0)
		return admin_ask_clear(rq);
	if (peer_from(name, &peer))
		return control(rq, 1U << peer, "cache.clear", (struct str){0});
	return control(rq, ALL, "cache.forget", name);
}

enum err admin_invalidated(struct req *rq)
{
	const struct told t = told_of(rq->survey);
	enum err e = all_did(rq, &t);
	struct str name = {0};

	if (!e)
		e = read_namespace(rq, &name);
	if (e)
		return e;
	buf_printf(&rq->out,
	           "{\"message\":\"what was cached is forgotten\","
	           "\"cleared_by\":\"%.*s\",\"namespace\":",
	           STR_FMT(rq->cx.sub));
	if (name.n)
		json_add_str(&rq->out, name);
	else
		buf_str(&rq->out, STR("null"));
	add_told(&rq->out, &t);
	return rq->out.failed ? ERR_NOMEM : OK;
}
