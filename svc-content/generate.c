/* Handlers that make material: each is its generation without a listener. */
#include "svc-content/generate/generate.h"
#include "svc-content/generate/template.h"
#include "svc-content/image/topic.h"
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
static void pack_prompt(struct buf *b, const char *name, const char *version,
                        const char *description, int64_t tokens,
                        const char *day, struct str text)
{
	mp_map(b, 6);
	mp_kv_text(b, "name", name);
	mp_kv_text(b, "version", version);
	mp_kv_text(b, "description", description);
	mp_kv_i64(b, "max_tokens", tokens);
	mp_kv_text(b, "created_at", day);
	mp_kv_str(b, "template", text);
}

enum err method_prompts(void *state, struct ctx *cx, const void *in,
                        struct reply *out)
{
	struct buf *b = &out->body;
	struct str picture;
	enum err e = topic_user(cx->arena, STR("en"), &picture);

	(void)state;
	(void)in;
	if (e)
		return e;
	mp_map(b, 2);
	mp_kv_array(b, "templates", TEMPLATE_COUNT + 1);
	for (unsigned i = 0; i < TEMPLATE_COUNT; i++) {
		const struct template *t = template_row((enum template_id)i);

		pack_prompt(b, t->name, t->version, t->description,
		            t->base + t->each, t->day, str_from(t->text));
	}
	pack_prompt(b, TOPIC_SCHEMA, TOPIC_VERSION, "What a picture is about.",
	            TOPIC_TOKENS, TOPIC_DAY, picture);
	mp_kv_str(b, "system_context", template_system());
	return b->failed ? ERR_NOMEM : OK;
}
