/* Calls, as those who make them see them. */
#include "svc-content/llm/inner.h"

#include "common/base/guard.h"

#include <stdlib.h>

#define IMAGE_TOKENS 1000 /* about what an image counts for */

static void wake(struct llm *l)
{
	(void)curl_multi_wakeup(l->multi);
}

/* --- begin --------------------------------------------------------------------- */

static bool schema_is_sound(const struct llm_ask *ask)
{
	struct str name = ask->schema_name;
	json_t *j;

	if (ask->schema.n == 0)
		return true;
	if (name.n == 0 || name.n > LLM_SCHEMA_NAME)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz"
		            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
		            name.p[i]))
			return false;
	/* It goes into the request as it is. */
	j = json_loadb(ask->schema.p, ask->schema.n, 0, NULL);
	json_decref(j);
	return j;
}

static bool message_is_sound(const struct llm_message *m)
{
	static const struct str types[] = {STR("image/png"), STR("image/jpeg"),
	                                   STR("image/gif"), STR("image/webp")};

	if (m->image.n == 0)
		return true;
	for (size_t i = 0; i < COUNTOF(types); i++)
		if (str_eq(m->image_type, types[i]))
			return m->role == LLM_USER;
	return false;
}

static bool is_sound(const struct llm *l, const struct llm_ask *ask)
{
	size_t bytes = 0;

	if (ask->messages_n == 0 || ask->messages_n > LLM_MESSAGES_MAX ||
	    !ask->endpoint || ask->first > l->n || ask->user.n > LLM_USER_MAX ||
	    !schema_is_sound(ask))
		return false;
	for (size_t i = 0; i < ask->messages_n; i++) {
		const struct llm_message *m = &ask->messages[i];

		if (!message_is_sound(m) || m->text.n > LLM_REQUEST_MAX ||
		    m->image.n > LLM_REQUEST_MAX)
			return false;
		bytes += m->text.n + m->image.n;
	}
	return bytes <= LLM_REQUEST_MAX;
}

/* Texts in c->kept, one after the other. */
static void keep(struct llm_call *c, const struct llm_ask *ask)
{
	const struct str texts[] = {ask->schema_name, ask->schema, ask->user,
	                            ask->rid};
	struct str *of[] = {&c->request.schema_name, &c->request.schema,
	                    &c->request.user, &c->rid};
	const char *p;

	request_messages(&c->kept, ask);
	c->request.messages.n = c->kept.n;
	for (size_t i = 0; i < COUNTOF(texts); i++)
		buf_str(&c->kept, texts[i]);
	p = c->kept.p;
	c->request.messages.p = p;
	p += c->request.messages.n;
	for (size_t i = 0; !c->kept.failed && i < COUNTOF(texts); i++) {
		*of[i] = (struct str){p, texts[i].n};
		p += texts[i].n;
	}
}

static struct llm_call *call_new(struct llm *l, const struct llm_ask *ask)
{
	struct llm_call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->llm = l;
	c->kept.max = 2 * LLM_REQUEST_MAX;
	c->text.max = LLM_TEXT_MAX;
	c->endpoint = ask->endpoint;
	c->request.json = ask->json;
	c->request.max_tokens = ask->max_tokens;
	c->request.temperature = ask->temperature;
	c->deadline_ms = ask->deadline_ms;
	c->first = c->at = ask->first;
	c->only = ask->only;
	c->on_text = ask->on_text;
	c->arg = ask->arg;
	c->result.reason = "";
	for (size_t i = 0; i < ask->messages_n; i++) {
		bool image = ask->messages[i].image.n > 0;

		c->vision = c->vision || image;
		c->tokens_in += llm_tokens(ask->messages[i].text) +
		                (image ? IMAGE_TOKENS : 0);
	}
	keep(c, ask);
	return c;
}

static void call_destroy(struct llm_call *c)
{
	buf_fini(&c->kept);
	buf_fini(&c->text);
	free(c);
}

/* False when too many run. */
static bool hand_over(struct llm *l, struct llm_call *c)
{
	GUARD(&l->lock);

	if (l->calls == LLM_CALLS_MAX || l->ending)
		return false;
	l->calls++;
	c->next = l->incoming;
	l->incoming = c;
	return true;
}

enum err llm_begin(struct llm *l, const struct llm_ask *ask,
                   struct llm_call **out)
{
	struct llm_call *c;

	if (!l)
		return ERR_UNAVAILABLE;
	if (!is_sound(l, ask))
		return ERR_INVALID;
	c = call_new(l, ask);
	if (!c)
		return ERR_NOMEM;
	if (c->kept.failed || !hand_over(l, c)) {
		enum err e = c->kept.failed ? ERR_NOMEM : ERR_BUSY;

		call_destroy(c);
		return e;
	}
	wake(l);
	*out = c;
	return OK;
}

/* --- the loop's side ------------------------------------------------------------- */

bool call_text(struct llm_call *c, struct str text)
{
	GUARD(&c->llm->lock);

	buf_str(&c->text, text);
	if (c->waiter && c->on_text)
		pthread_cond_signal(c->waiter);
	return !c->text.failed;
}

void call_void_text(struct llm_call *c)
{
	GUARD(&c->llm->lock);

	if (c->text.n == 0 && !c->text.failed)
		return;
	buf_clear(&c->text);
	c->epoch++;
}

bool call_is_cancelled(struct llm_call *c)
{
	GUARD(&c->llm->lock);

	return c->cancelled || c->llm->ending;
}

static bool finish(struct llm_call *c)
{
	GUARD(&c->llm->lock);

	c->llm->calls--;
	c->result.text = buf_view(&c->text);
	c->ended = true;
	if (c->waiter)
		pthread_cond_signal(c->waiter);
	return c->abandoned;
}

void call_end(struct llm_call *c)
{
	if (finish(c))
		call_destroy(c);
}

/* --- waiting ------------------------------------------------------------------------ */

/* Text that is to be handed on: copied, since it grows meanwhile. */
struct handing {
	struct llm_call *call;
	bool is_void;
	struct buf text;
};

static bool has_text(struct llm_call *c, struct handing *h)
{
	if (!c->on_text)
		return false;
	h->is_void = c->handed_epoch != c->epoch && c->handed > 0;
	if (c->handed_epoch != c->epoch) {
		c->handed_epoch = c->epoch;
		c->handed = 0;
	}
	h->call = c;
	buf_clear(&h->text);
	if (c->text.n > c->handed)
		buf_add(&h->text, c->text.p + c->handed, c->text.n - c->handed);
	c->handed = c->text.n;
	return h->is_void || h->text.n;
}

enum found { FOUND_NONE, FOUND_RUNNING, FOUND_TEXT, FOUND_ENDED };

/* Under the lock.  *i: of which. */
static enum found look(struct llm_call *const *calls, size_t n,
                       pthread_cond_t *waiter, struct handing *h, size_t *i)
{
	enum found found = FOUND_NONE;

	for (size_t k = 0; k < n; k++) {
		if (!calls[k] || calls[k]->returned)
			continue;
		calls[k]->waiter = waiter;
		*i = k;
		if (has_text(calls[k], h))
			return FOUND_TEXT;
		if (calls[k]->ended)
			return FOUND_ENDED;
		found = FOUND_RUNNING;
	}
	return found;
}

static enum found wait_for(struct llm *l, struct llm_call *const *calls,
                           size_t n, pthread_cond_t *cond, struct handing *h,
                           size_t *i)
{
	enum found found;
	GUARD(&l->lock);

	for (;;) {
		found = look(calls, n, cond, h, i);
		if (found != FOUND_RUNNING)
			break;
		pthread_cond_wait(cond, &l->lock);
	}
	if (found == FOUND_ENDED || found == FOUND_NONE)
		for (size_t k = 0; k < n; k++)
			if (calls[k])
				calls[k]->waiter = NULL;
	return found;
}

static void hand_on(struct handing *h)
{
	if (h->is_void)
		h->call->on_text(h->call->arg, (struct str){NULL, 0});
	if (h->text.n)
		h->call->on_text(h->call->arg, buf_view(&h->text));
}

static struct llm *llm_of(struct llm_call *const *calls, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (calls[i] && !calls[i]->returned)
			return calls[i]->llm;
	return NULL;
}

size_t llm_next(struct llm_call *const *calls, size_t n)
{
	struct handing h = {.text.max = LLM_TEXT_MAX};
	struct llm *l = llm_of(calls, n);
	pthread_cond_t cond;
	enum found found;
	size_t i = n;

	if (!l)
		return n;
	pthread_cond_init(&cond, NULL);
	do {
		found = wait_for(l, calls, n, &cond, &h, &i);
		if (found == FOUND_TEXT)
			hand_on(&h);
	} while (found == FOUND_TEXT);
	pthread_cond_destroy(&cond);
	buf_fini(&h.text);
	if (found == FOUND_NONE)
		return n;
	calls[i]->returned = true;
	return i;
}

const struct llm_result *llm_result(const struct llm_call *c)
{
	return &c->result;
}

enum err llm_run(struct llm *l, const struct llm_ask *ask,
                 struct llm_call **out)
{
	enum err e = llm_begin(l, ask, out);

	if (!e)
		(void)!llm_next(out, 1);
	return e;
}

void llm_cancel(struct llm_call *c)
{
	{
		GUARD(&c->llm->lock);

		c->cancelled = true;
	}
	wake(c->llm);
}

/* Whether the loop still has it, and will free it. */
static bool abandon(struct llm_call *c)
{
	GUARD(&c->llm->lock);

	c->cancelled = c->abandoned = true;
	return !c->ended;
}

void llm_call_free(struct llm_call *c)
{
	struct llm *l;

	if (!c)
		return;
	l = c->llm;
	if (abandon(c))
		wake(l);
	else
		call_destroy(c);
}
