/*
 * template - what language models are asked, and how what people typed gets into
 * it (design D39).
 *
 * A prompt is two messages:
 *
 *   system   who the model is, the rules, a secret mark that must not come back
 *   user     the text of the template, the line of the language, and
 *            DATA: {"topic":"...","subtopic":"...", ...}
 *
 * Why:     a topic is data, never an instruction.  It stands in one place alone,
 *          as a JSON string behind the word that says so, in the form of its
 *          text_key() (no control or invisible characters, no capitals), cut at
 *          TEMPLATE_SLOT_MAX characters.
 *          So a prompt says nothing that its cache key does not, and what is
 *          answered repeats nobody's own spelling.
 * Owns:    prompts live in the arena.  Threads: any.
 */
#ifndef SVC_CONTENT_GENERATE_TEMPLATE_H
#define SVC_CONTENT_GENERATE_TEMPLATE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

#define TEMPLATE_SLOT_MAX 200 /* characters */
#define TEMPLATE_SLOTS    8

enum template_id {
#define TEMPLATE(id, name, version, base, each, day, description, schema, \
                 text)                                                    \
	TEMPLATE_##id,
#include "svc-content/generate/template.def"
#undef TEMPLATE
	TEMPLATE_COUNT
};

struct template
{
	const char *name, *version; /* name: also that of the schema */
	unsigned base, each;        /* tokens */
	const char *day, *description, *schema, *text;
};
const struct template *template_row(enum template_id id);

/* Tokens that an answer of n items may have. */
unsigned template_tokens(enum template_id id, size_t n);

/* The system message, without its mark; the same for all templates. */
struct str template_system(void);

/* One member of the data: a text, or several, or a number. */
struct slot {
	const char *name;
	struct str text; /* p NULL: see below */
	const struct str *list;
	size_t n;
	int64_t number; /* list NULL */
};

/* The user message.  fold false: texts stand as they were written, which no
 * provider is to see.  ERR_INVALID: a slot is no UTF-8. */
enum err template_user(enum template_id id, struct str lang,
                       const struct slot *slots, size_t n, bool fold,
                       struct arena *a, struct str *out) MUST_CHECK;

/* Whether a text repeats the mark, or a sentence of what was asked. */
bool template_leaks(struct str text, struct str mark);

#endif
