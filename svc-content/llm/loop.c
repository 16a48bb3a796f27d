/* The thread that runs all calls: which provider is asked, when, and again. */
#include "svc-content/llm/inner.h"

#include "common/base/clock.h"
#include "common/base/ctx.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <sodium.h>

#define POLL_MS      1000
#define ANSWER_GUESS 1024 /* tokens, where no limit is set */
#define ADAPTED_MAX  5    /* parts of requests that one call finds refused */

static struct provider *provider_of(const struct llm_call *c)
{
	return &c->llm->providers[c->at];
}

/* --- ends ------------------------------------------------------------------------ */

static void over(struct llm_call *c, enum why why)
{
	c->step = STEP_OVER;
	c->result.err = why_err(why);
	c->result.reason = why_name(why);
	call_void_text(c);
}

static void answered(struct llm_call *c, const struct completion *r)
{
	c->step = STEP_OVER;
	c->result.err = OK;
	c->result.finish = r->refused    ? LLM_REFUSED
	                   : r->finished ? r->finish
	                                 : LLM_OTHER;
}

/* To the next provider.  What is told in the end is the last that was asked,
 * or why none was. */
static void move_on(struct llm_call *c, enum why why)
{
	figures_llm_fallback(c->llm->figures, provider_of(c), why_name(why));
	if (c->last == WHY_NONE || why_kind(why) != FAULT_SKIPPED)
		c->last = why;
	c->at++;
	c->tries = 0;
	c->step = STEP_SEEK;
}

/* --- begins ------------------------------------------------------------------------ */

/* A pause must leave at least as much time again for the answer; otherwise the
 * next provider, and at last the offline one, is the better choice. */
static bool fits(const struct llm_call *c, uint64_t wait_ms, uint64_t now_ms)
{
	return wait_ms <= clock_left(c->deadline_ms, now_ms) / 2;
}

static void pause_for(struct llm_call *c, uint64_t wait_ms, uint64_t now_ms)
{
	c->step = STEP_PAUSE;
	c->pause_ms = now_ms + wait_ms;
}

struct gate {
	enum breaker_pass pass;
	unsigned can;
	uint64_t wait_ms;
};

static struct gate gate_of(struct llm_call *c, uint64_t now_ms)
{
	struct provider *p = provider_of(c);
	struct gate g = {.pass = BREAKER_REFUSED};
	GUARD(&c->llm->lock);

	g.can = p->can;
	if (now_ms < p->not_before_ms)
		g.wait_ms = p->not_before_ms - now_ms;
	else if (!c->vision || (p->can & CAN_VISION))
		g.pass = breaker_ask(&p->breaker, now_ms);
	return g;
}

/* What the provider may be asked by this process has room for one more. */
static bool has_room(struct llm_call *c)
{
	uint64_t most =
		c->request.max_tokens ? c->request.max_tokens : ANSWER_GUESS;

	return !c->llm->quota ||
	       quota_provider_take(c->llm->quota, c->at, c->tokens_in + most,
	                           &c->taken);
}

static void unasked(struct llm_call *c, enum breaker_pass pass)
{
	GUARD(&c->llm->lock);

	breaker_unsure(&provider_of(c)->breaker, pass);
}

static void try_provider(struct llm_call *c, uint64_t now_ms)
{
	struct provider *p = provider_of(c);
	struct gate g = gate_of(c, now_ms);

	if (c->vision && !(g.can & CAN_VISION)) {
		move_on(c, WHY_NO_VISION);
		return;
	}
	if (g.wait_ms && fits(c, g.wait_ms, now_ms)) {
		/* Not all at the same moment. */
		pause_for(c,
		          g.wait_ms + randombytes_uniform(
					      (uint32_t)g.wait_ms / 10 + 1),
		          now_ms);
		return;
	}
	if (g.wait_ms || g.pass == BREAKER_REFUSED) {
		move_on(c, g.wait_ms ? WHY_RATE_LIMITED : WHY_BREAKER_OPEN);
		return;
	}
	if (!has_room(c)) {
		unasked(c, g.pass);
		move_on(c, WHY_HELD_BACK);
		return;
	}
	c->result.provider = c->at;
	c->result.provider_name = p->name;
	c->result.model = p->model;
	c->tries++;
	c->step = STEP_RUN;
	if (attempt_begin(c, g.pass, now_ms))
		return;
	unasked(c, g.pass);
	over(c, WHY_NO_MEMORY);
}

static void seek(struct llm_call *c, uint64_t now_ms)
{
	while (c->step == STEP_SEEK) {
		if (c->at >= c->llm->n || (c->only && c->at != c->first))
			over(c,
			     c->last == WHY_NONE ? WHY_BREAKER_OPEN : c->last);
		else
			try_provider(c, now_ms);
	}
}

/* --- what became of an attempt ----------------------------------------------------- */

static uint64_t wait_of(const struct llm_call *c, const struct llm_fault *f)
{
	uint64_t most = c->llm->retry_ms;

	if (f->hinted)
		return f->wait_ms +
		       randombytes_uniform((uint32_t)(f->wait_ms / 10) + 1);
	for (unsigned k = 1; k < c->tries && most < LLM_RETRY_MAX_MS; k++)
		most *= 2;
	if (most > LLM_RETRY_MAX_MS)
		most = LLM_RETRY_MAX_MS;
	return randombytes_uniform((uint32_t)most + 1);
}

enum turn { TURN_NONE, TURN_OPENED, TURN_CLOSED };

/* Under the lock.  What one call is told of waiting holds for all of them. */
static void hold_off(struct provider *p, uint64_t wait_ms, uint64_t now_ms)
{
	if (wait_ms > LLM_HOLD_MAX_MS)
		wait_ms = LLM_HOLD_MAX_MS;
	if (p->not_before_ms < now_ms + wait_ms)
		p->not_before_ms = now_ms + wait_ms;
}

/* What the provider is thought of from now on. */
static enum turn judge(struct llm_call *c, const struct llm_fault *f,
                       uint64_t wait_ms, uint64_t now_ms)
{
	struct provider *p = provider_of(c);
	enum breaker_state before;
	GUARD(&c->llm->lock);

	before = p->breaker.state;
	switch (why_kind(f->why)) {
	case FAULT_NONE:
		p->successes++;
		breaker_worked(&p->breaker, c->a.pass);
		break;
	case FAULT_PERMANENT: /* it lives */
		breaker_worked(&p->breaker, c->a.pass);
		break;
	case FAULT_LIMITED:
		hold_off(p, wait_ms, now_ms);
		breaker_unsure(&p->breaker, c->a.pass);
		break;
	case FAULT_RETRY:
		if (f->hinted)
			hold_off(p, wait_ms, now_ms);
		(void)breaker_failed(&p->breaker, c->a.pass, now_ms, 0);
		break;
	case FAULT_CONFIG:
	case FAULT_SPENT:
		breaker_trip(&p->breaker, now_ms, 0);
		break;
	case FAULT_OURS:
	case FAULT_SKIPPED:
		breaker_unsure(&p->breaker, c->a.pass);
		break;
	}
	if (why_kind(f->why) != FAULT_NONE && why_kind(f->why) != FAULT_OURS) {
		p->failures++;
		p->last_failure_ms = wall_ms();
	}
	if (p->breaker.state == before)
		return TURN_NONE;
	return p->breaker.state == BREAKER_OPEN     ? TURN_OPENED
	       : p->breaker.state == BREAKER_CLOSED ? TURN_CLOSED
	                                            : TURN_NONE;
}

static void tell(const struct llm_call *c, const struct llm_fault *f,
                 enum turn t)
{
	const struct ctx cx = {.service = "content", .rid = c->rid};
	const char *name = provider_of(c)->name;
	enum fault_kind kind = why_kind(f->why);

	if (kind == FAULT_CONFIG)
		log_error(&cx, "llm.misconfigured", LOG_TEXT("provider", name),
		          LOG_TEXT("reason", why_name(f->why)),
		          LOG_I64("status", c->a.status),
		          LOG_TEXT("upstream_request", c->a.request_id));
	else if (kind != FAULT_NONE && kind != FAULT_OURS)
		log_warn(&cx, "llm.failed", LOG_TEXT("provider", name),
		         LOG_TEXT("reason", why_name(f->why)),
		         LOG_I64("status", c->a.status),
		         LOG_U64("tries", c->tries),
		         LOG_TEXT("upstream_request", c->a.request_id));
	if (t == TURN_OPENED)
		log_warn(&cx, "llm.breaker_open", LOG_TEXT("provider", name));
	if (t == TURN_CLOSED)
		log_info(&cx, "llm.breaker_closed", LOG_TEXT("provider", name));
}

/* Whether the provider refuses a part of the request without which it may take
 * it; that part is remembered and not sent to it again. */
static bool adapt(struct llm_call *c, const struct llm_fault *f)
{
	struct provider *p = provider_of(c);
	unsigned used = c->a.can, lose = 0;

	if (why_kind(f->why) != FAULT_PERMANENT || c->adapted == ADAPTED_MAX)
		return false;
	if (f->format && c->request.json && c->request.schema.n &&
	    (used & CAN_SCHEMA))
		lose = CAN_SCHEMA;
	else if (f->format && c->request.json && (used & CAN_OBJECT))
		lose = CAN_OBJECT;
	else if (f->usage && (used & CAN_STREAM) && (used & CAN_USAGE))
		lose = CAN_USAGE;
	else if (f->user && c->request.user.n && (used & CAN_USER))
		lose = CAN_USER;
	if (!lose && !(f->max_tokens && c->request.max_tokens))
		return false;
	c->adapted++;
	{
		GUARD(&c->llm->lock);

		p->can = lose ? p->can & ~lose
		              : (p->can & ~(unsigned)CAN_MAX_COMPLETION) |
		                         (~used & CAN_MAX_COMPLETION);
	}
	return true;
}

/* It is asked again where there is time for the pause and for what has just
 * failed once more: a provider that takes long to fail is not given all of the
 * deadline. */
static bool asks_again(const struct llm_call *c, const struct llm_fault *f,
                       uint64_t wait_ms, uint64_t now_ms)
{
	enum fault_kind kind = why_kind(f->why);

	return (kind == FAULT_RETRY || kind == FAULT_LIMITED) &&
	       c->tries < LLM_TRIES &&
	       fits(c, wait_ms + (now_ms - c->a.began_ms), now_ms);
}

static void decide(struct llm_call *c, const struct llm_fault *f, bool opened,
                   uint64_t wait_ms, uint64_t now_ms)
{
	enum fault_kind kind = why_kind(f->why);

	if (kind == FAULT_NONE) {
		answered(c, &c->a.reply);
		return;
	}
	call_void_text(c);
	if (adapt(c, f)) {
		c->tries--; /* it was another question */
		c->step = STEP_SEEK;
	} else if (kind == FAULT_OURS) {
		over(c, f->why);
	} else if (!opened && asks_again(c, f, wait_ms, now_ms)) {
		c->last = f->why;
		pause_for(c, wait_ms, now_ms);
	} else {
		move_on(c, f->why);
	}
}

static void conclude(struct llm_call *c, CURLcode code, uint64_t now_ms)
{
	struct llm_fault f = attempt_fault(c, code);
	uint64_t wait_ms = wait_of(c, &f);
	enum turn turn = judge(c, &f, wait_ms, now_ms);

	figures_llm_call(c->llm->figures, c, provider_of(c),
	                 f.why == WHY_NONE ? "ok" : why_name(f.why),
	                 now_ms - c->a.began_ms);
	tell(c, &f, turn);
	attempt_end(c);
	decide(c, &f, turn == TURN_OPENED, wait_ms, now_ms);
}

/* --- the loop ------------------------------------------------------------------------ */

static void nearer(uint64_t *next_ms, uint64_t at_ms)
{
	if (at_ms < *next_ms)
		*next_ms = at_ms;
}

static void give_up(struct llm_call *c, enum why why, uint64_t now_ms)
{
	if (c->step == STEP_RUN) {
		c->a.fault = (struct llm_fault){.why = why};
		conclude(c, CURLE_ABORTED_BY_CALLBACK, now_ms);
	} else {
		over(c, why);
	}
}

static void turn_call(struct llm_call *c, uint64_t now_ms, uint64_t *next_ms)
{
	if (call_is_cancelled(c)) {
		give_up(c, WHY_CANCELLED, now_ms);
		return;
	}
	if (now_ms >= c->deadline_ms) {
		give_up(c, WHY_DEADLINE, now_ms);
		return;
	}
	nearer(next_ms, c->deadline_ms);
	if (c->step == STEP_RUN && attempt_is_over(c, now_ms, next_ms))
		conclude(c, CURLE_OK, now_ms);
	if (c->step == STEP_PAUSE && now_ms >= c->pause_ms)
		c->step = STEP_SEEK;
	if (c->step == STEP_PAUSE)
		nearer(next_ms, c->pause_ms);
	seek(c, now_ms);
}

/* True when the loop is to end as soon as it has nothing to do. */
static bool take_in(struct llm *l)
{
	GUARD(&l->lock);

	while (l->incoming) {
		struct llm_call *c = l->incoming;

		l->incoming = c->next;
		c->next = l->active;
		l->active = c;
	}
	return l->ending;
}

static void sweep(struct llm *l)
{
	struct llm_call **at = &l->active;

	while (*at) {
		struct llm_call *c = *at;

		if (c->step != STEP_OVER) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		call_end(c);
	}
}

/* Whether something has ended by it. */
static bool transfer(struct llm *l)
{
	bool any = false;
	int open = 0, rest = 0;
	CURLMsg *m;

	(void)curl_multi_perform(l->multi, &open);
	while ((m = curl_multi_info_read(l->multi, &rest)) != NULL) {
		struct llm_call *c = NULL;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE ||
		    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c))
			continue;
		conclude(c, code, mono_ms());
		any = true;
	}
	return any;
}

void *loop_thread(void *arg)
{
	struct llm *l = arg;

	for (;;) {
		bool ending = take_in(l);
		uint64_t now = mono_ms();
		uint64_t next = now + POLL_MS;

		for (struct llm_call *c = l->active; c; c = c->next)
			turn_call(c, now, &next);
		sweep(l);
		if (ending && !l->active)
			return NULL;
		if (transfer(l))
			continue;
		(void)curl_multi_poll(l->multi, NULL, 0,
		                      (int)clock_left(next, mono_ms()), NULL);
	}
}
