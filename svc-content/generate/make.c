#include "svc-content/generate/make.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "svc-content/llm/llm.h"

#define TEMPERATURE 0.7
/* An answer that is no use goes back to the model, but not all of a long one. */
#define QUOTE_MAX ((size_t)16 << 10)

/* One piece on its way. */
struct errand {
	struct piece *p;
	struct llm_ask ask;
	struct llm_message messages[4];
	bool repairing;
};

struct making {
	const struct make *m;
	struct str system;
	char user[TEXT_DIGEST_MAX];
	size_t done; /* of n, made or failed */
	struct errand errands[PIECES_MAX];
	struct llm_call *calls[PIECES_MAX];
};

/* --- asking -------------------------------------------------------------------------- */

static enum err set_out(struct making *mk)
{
	const struct make *m = mk->m;
	const struct str who[] = {STR("llm user"), m->cx->sub};
	AUTO_BUF b = {0};

	text_digest(who, COUNTOF(who), mk->user);
	buf_str(&b, template_system());
	buf_printf(&b, "\nSecret, never to be repeated: %s", m->ct->gen.mark);
	return text_keep(m->cx->arena, &b, &mk->system);
}

static void prepare(struct making *mk, size_t i)
{
	struct errand *er = &mk->errands[i];
	const struct template *t;

	er->p = mk->m->pieces[i];
	t = template_row(er->p->shape->template);
	er->messages[0] =
		(struct llm_message){.role = LLM_SYSTEM, .text = mk->system};
	er->messages[1] =
		(struct llm_message){.role = LLM_USER, .text = er->p->user};
	er->ask = (struct llm_ask){
		.messages = er->messages,
		.messages_n = 2,
		.endpoint = er->p->shape->route,
		.json = true,
		.schema_name = str_from(t->name),
		.schema = str_from(t->schema),
		.max_tokens =
			template_tokens(er->p->shape->template, er->p->items),
		.temperature = TEMPERATURE,
		.deadline_ms = mk->m->deadline_ms,
		.user = {mk->user, 32},
	};
}

static void end(struct making *mk, size_t i)
{
	llm_call_free(mk->calls[i]);
	mk->calls[i] = NULL;
	mk->done++;
	sink_progress(mk->m->sink, "making", mk->done, mk->m->n);
}

static void begin(struct making *mk, size_t i)
{
	llm_call_free(mk->calls[i]);
	mk->calls[i] = NULL;
	if (mono_ms() >= mk->m->deadline_ms ||
	    llm_begin(mk->m->ct->llm, &mk->errands[i].ask, &mk->calls[i]))
		end(mk, i);
}

/* The same provider again, told what was wrong. */
static enum err repair(struct making *mk, size_t i, const struct llm_result *r,
                       const struct complaint *why)
{
	struct errand *er = &mk->errands[i];
	struct str said = {r->text.p, r->text.n < QUOTE_MAX ? r->text.n : 0};
	struct arena *a = mk->m->cx->arena;
	AUTO_BUF b = {0};
	size_t n = 2;
	struct str reasons;
	enum err e;

	buf_str(&b, STR("That answer is no use:"));
	for (size_t k = 0; k < why->n; k++)
		buf_printf(&b, "\n- %s", why->v[k]);
	buf_str(&b, STR("\nAnswer the same task again, without these faults."));
	e = text_keep(a, &b, &reasons);
	if (!e)
		said = arena_str(a, said);
	if (e || !said.p)
		return ERR_NOMEM;
	if (said.n)
		er->messages[n++] = (struct llm_message){.role = LLM_ASSISTANT,
		                                         .text = said};
	er->messages[n++] =
		(struct llm_message){.role = LLM_USER, .text = reasons};
	er->ask.messages_n = n;
	er->ask.first = r->provider;
	er->ask.only = true;
	er->repairing = true;
	sink_progress(mk->m->sink, "repair", mk->done, mk->m->n);
	begin(mk, i);
	return OK;
}

/* Behind the one that has shown that it cannot. */
static void pass_on(struct making *mk, size_t i, unsigned provider)
{
	struct errand *er = &mk->errands[i];

	if (provider + 1 >= llm_providers(mk->m->ct->llm)) {
		end(mk, i);
		return;
	}
	er->ask.messages_n = 2;
	er->ask.first = provider + 1;
	er->ask.only = false;
	er->repairing = false;
	sink_progress(mk->m->sink, "next_provider", mk->done, mk->m->n);
	begin(mk, i);
}

/* --- judging -------------------------------------------------------------------------- */

static enum err judge(struct making *mk, size_t i, const struct llm_result *r,
                      struct complaint *why)
{
	struct piece *p = mk->errands[i].p;
	const struct make *m = mk->m;
	AUTO_BUF body = {0};
	enum err e;

	*why = (struct complaint){.n = 0};
	switch (r->finish) {
	case LLM_LENGTH:
		why->v[why->n++] = "the answer is cut off: be shorter";
		return OK;
	case LLM_FILTER:
	case LLM_REFUSED:
		why->v[why->n++] = "the model refuses";
		why->refusal = true;
		return OK;
	case LLM_STOP:
	case LLM_OTHER:
		break;
	}
	e = p->shape->read(p, m->cx->arena, r->text, str_from(m->ct->gen.mark),
	                   why, &body);
	if (!e && !why->n)
		e = text_keep(m->cx->arena, &body, &p->body);
	return e;
}

static void tell(const struct making *mk, size_t i, const struct llm_result *r,
                 const struct complaint *why)
{
	const struct errand *er = &mk->errands[i];

	log_warn(mk->m->cx, "generate.invalid",
	         LOG_TEXT("template",
	                  template_row(er->p->shape->template)->name),
	         LOG_TEXT("provider", r->provider_name ? r->provider_name : ""),
	         LOG_TEXT("reason", why->v[0]),
	         LOG_BOOL("repair", er->repairing));
}

static enum err take(struct making *mk, size_t i)
{
	const struct llm_result *r = llm_result(mk->calls[i]);
	struct errand *er = &mk->errands[i];
	struct complaint why;
	enum err e;

	if (mk->m->hold && r->provider_name)
		quota_used(mk->m->hold, r->provider_name, r->model,
		           r->tokens_in, r->tokens_out, r->cost);
	if (r->err) {
		if (er->repairing)
			pass_on(mk, i, r->provider);
		else
			end(mk, i); /* no other provider is left */
		return OK;
	}
	e = judge(mk, i, r, &why);
	if (e)
		return e;
	if (why.n == 0) {
		er->p->source = SOURCE_LLM;
		if (mk->m->made)
			mk->m->made(mk->m->arg, i);
		end(mk, i);
		return OK;
	}
	tell(mk, i, r, &why);
	if (!er->repairing && !why.refusal)
		return repair(mk, i, r, &why);
	pass_on(mk, i, r->provider);
	return OK;
}

enum err make_pieces(const struct make *m)
{
	struct making *mk = arena_alloc(m->cx->arena, sizeof(*mk));
	enum err e;
	size_t i;

	if (!mk)
		return ERR_NOMEM;
	memset(mk, 0, sizeof(*mk));
	mk->m = m;
	e = set_out(mk);
	if (e)
		return e;
	for (i = 0; i < m->n; i++) {
		prepare(mk, i);
		begin(mk, i);
	}
	while (!e && (i = llm_next(mk->calls, m->n)) < m->n)
		e = take(mk, i);
	for (i = 0; i < m->n; i++)
		llm_call_free(mk->calls[i]);
	return e;
}

uint64_t make_estimate(const struct piece *const *pieces, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += llm_tokens(template_system()) +
		       llm_tokens(pieces[i]->user) +
		       template_tokens(pieces[i]->shape->template,
		                       pieces[i]->items);
	return sum;
}
