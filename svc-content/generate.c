/* Handlers that make material: each is its generation without a listener. */
#include "svc-content/generate/generate.h"
#include "svc-content/generate/template.h"
#include "svc-content/methods.h"

#include "common/codec/mp.h"

enum err method_create_subtopics(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	return generate_subtopics(state, cx, in, NULL, out);
}

enum err method_create_presentation(void *state, struct ctx *cx, const void *in,
                                    struct reply *out)
{
	return generate_presentation(state, cx, in, NULL, out);
}

enum err method_quiz_generate(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	return generate_quiz(state, cx, in, NULL, out);
}

enum err method_recommendations(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	return generate_recommendations(state, cx, in, NULL, out);
}

/* What models are asked, for administrators. */
enum err method_prompts(void *state, struct ctx *cx, const void *in,
                        struct reply *out)
{
	struct buf *b = &out->body;

	(void)state;
	(void)cx;
	(void)in;
	mp_map(b, 2);
	mp_kv_array(b, "templates", TEMPLATE_COUNT);
	for (unsigned i = 0; i < TEMPLATE_COUNT; i++) {
		const struct template *t = template_row((enum template_id)i);

		mp_map(b, 6);
		mp_kv_text(b, "name", t->name);
		mp_kv_text(b, "version", t->version);
		mp_kv_text(b, "description", t->description);
		mp_kv_i64(b, "max_tokens", t->base + t->each);
		mp_kv_text(b, "created_at", t->day);
		mp_kv_text(b, "template", t->text);
	}
	mp_kv_str(b, "system_context", template_system());
	return b->failed ? ERR_NOMEM : OK;
}
