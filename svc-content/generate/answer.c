#include "svc-content/generate/answer.h"

#include "svc-content/generate/clean.h"
#include "svc-content/generate/template.h"
#include "svc-content/quality.h"
#include "svc-content/text.h"

#include "common/base/utf8.h"

#include <jansson.h>

#define ANSWER_MAX ((size_t)256 << 10)
#define LINE_MAX   200 /* characters of a subtopic: it comes back as one */

AUTO_TYPE(json, json_t *, json_decref)

/* One answer while it is read. */
struct reader {
	struct arena *a;
	struct complaint *why;
	struct str mark;
};

static void complain(struct reader *r, const char *reason)
{
	struct complaint *w = r->why;

	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->v[i], reason) == 0)
			return;
	if (w->n < COMPLAINTS_MAX)
		w->v[w->n++] = reason;
}

static void complain_all(struct reader *r, const struct verdict *v)
{
	for (size_t i = 0; i < v->issues_n; i++)
		complain(r, v->issues[i]);
	r->why->refusal |= v->refusal;
}

/* --- JSON ---------------------------------------------------------------------------- */

/* From the first bracket to the last: what stands around it are fences, or a
 * model's "Here it is:". */
static struct str unwrap(struct str s)
{
	size_t from = 0, to = s.n;

	while (from < s.n && s.p[from] != '{' && s.p[from] != '[')
		from++;
	while (to > from && s.p[to - 1] != '}' && s.p[to - 1] != ']')
		to--;
	return (struct str){s.p + from, to - from};
}

/* NULL: complained. */
static json_t *parse(struct reader *r, struct str text)
{
	struct str s = unwrap(text);
	json_t *root = NULL;

	if (template_leaks(text, r->mark))
		complain(r, "the answer repeats its instructions");
	else if (text.n > ANSWER_MAX)
		complain(r, "the answer is too long");
	else if (s.n > 0)
		root = json_loadb(s.p, s.n, JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		complain(r, "the answer is not one JSON value of the shape");
	return root;
}

/* The array: root itself, or its member name. */
static const json_t *items_of(struct reader *r, const json_t *root,
                              const char *name)
{
	const json_t *v =
		json_is_array(root) ? root : json_object_get(root, name);

	if (!json_is_array(v))
		complain(r,
		         "the answer is not of the shape that was asked for");
	return json_is_array(v) ? v : NULL;
}

/* The text of v, clean; empty, with a complaint, when it is none. */
static enum err text_of(struct reader *r, const json_t *v, bool lines,
                        struct str *out)
{
	enum err e = ERR_INVALID;

	*out = (struct str){"", 0};
	if (json_is_string(v))
		e = clean_text(r->a,
		               (struct str){json_string_value(v),
		                            json_string_length(v)},
		               lines, out);
	if (e == ERR_NOMEM)
		return e;
	if (e || out->n == 0)
		complain(r, "a text is missing or empty");
	else if (template_leaks(*out, r->mark)) /* in escapes, until now */
		complain(r, "the answer repeats its instructions");
	return OK;
}

static enum err member(struct reader *r, const json_t *of, const char *name,
                       bool lines, struct str *out)
{
	return text_of(r, json_object_get(of, name), lines, out);
}

/* --- outlines ------------------------------------------------------------------------- */

/* "3. Loops" and "- Loops" are Loops; "3D printing" stays. */
static struct str unnumbered(struct str s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	if (n > 0 && n + 1 < s.n && (s.p[n] == '.' || s.p[n] == ')') &&
	    s.p[n + 1] == ' ')
		n += 2;
	else if (s.n > 2 && (s.p[0] == '-' || s.p[0] == '*') && s.p[1] == ' ')
		n = 2;
	else
		n = 0;
	return str_trim((struct str){s.p + n, s.n - n});
}

static enum err subtopic_of(struct reader *r, const json_t *v, struct str *out)
{
	static const char *const names[] = {"subtopic", "title", "name"};
	enum err e;

	for (size_t i = 0; i < COUNTOF(names) && json_is_object(v); i++)
		if (json_object_get(v, names[i]))
			v = json_object_get(v, names[i]);
	e = text_of(r, v, false, out);
	*out = unnumbered(*out);
	if (!e && utf8_length(*out) > LINE_MAX)
		complain(r, "a subtopic has more than 200 characters");
	return e;
}

static enum err is_new(struct reader *r, const struct str *had, size_t n,
                       struct str s, bool *yes)
{
	struct str key, other;
	enum err e = text_key(r->a, s, &key);

	*yes = true;
	for (size_t i = 0; i < n && !e && *yes; i++) {
		e = text_key(r->a, had[i], &other);
		*yes = e || !str_eq(key, other);
	}
	return e == ERR_NOMEM ? e : OK;
}

static enum err outline_items(struct reader *r, const json_t *items,
                              struct outline *out)
{
	size_t n = 0;
	enum err e = OK;

	for (size_t i = 0; i < json_array_size(items) && n < OUTLINE_N && !e;
	     i++) {
		struct str s = {NULL, 0};
		bool fresh = false;

		e = subtopic_of(r, json_array_get(items, i), &s);
		if (!e)
			e = is_new(r, out->subtopics, n, s, &fresh);
		if (!e && fresh)
			out->subtopics[n++] = s;
	}
	if (!e && n < OUTLINE_N)
		complain(r, "there are not fifteen different subtopics");
	return e;
}

static void keep_warnings(struct warnings *w, const struct verdict *v)
{
	for (size_t i = 0; i < v->warnings_n && w->n < WARNINGS_MAX; i++)
		w->v[w->n++] = str_from(v->warnings[i]);
}

enum err answer_outline(struct arena *a, struct str text, struct str mark,
                        struct outline *out, struct complaint *why)
{
	struct reader r = {a, why, mark};
	AUTO(json) root = NULL;
	const json_t *items;
	struct verdict v;
	enum err e;

	*why = (struct complaint){.n = 0};
	*out = (struct outline){.score = 0};
	root = parse(&r, text);
	items = root ? items_of(&r, root, "subtopics") : NULL;
	if (!items)
		return OK;
	e = outline_items(&r, items, out);
	if (e || why->n)
		return e;
	e = quality_outline(out->subtopics, OUTLINE_N, OUTLINE_N, a, &v);
	if (e)
		return e;
	complain_all(&r, &v);
	keep_warnings(&out->warnings, &v);
	out->score = v.score;
	return OK;
}

/* --- lessons -------------------------------------------------------------------------- */

enum err answer_lesson(struct arena *a, struct str text, struct str mark,
                       struct str subtopic, struct lesson *out,
                       struct complaint *why)
{
	struct reader r = {a, why, mark};
	AUTO(json) root = NULL;
	struct verdict v;
	enum err e;

	*why = (struct complaint){.n = 0};
	*out = (struct lesson){.score = 0};
	root = parse(&r, text);
	if (!root)
		return OK;
	e = member(&r, root, "explanation", true, &out->explanation);
	if (!e)
		e = member(&r, root, "real_world_application", true,
		           &out->application);
	if (!e)
		e = member(&r, root, "youtube_search_query", false,
		           &out->search);
	if (e || why->n)
		return e;
	quality_lesson(out->explanation, subtopic, &v);
	complain_all(&r, &v);
	keep_warnings(&out->warnings, &v);
	out->score = v.score;
	return OK;
}

/* --- questions ------------------------------------------------------------------------- */

/* The option that is meant: itself, but for blanks and case; or its letter. */
static size_t option_of(const struct question *q, struct str answer)
{
	size_t at = OPTIONS_N, n = 0;

	for (size_t i = 0; i < OPTIONS_N; i++)
		if (str_eq(q->options[i], answer))
			return i;
	for (size_t i = 0; i < OPTIONS_N; i++)
		if (str_ieq(q->options[i], answer)) {
			at = i;
			n++;
		}
	if (n == 1)
		return at;
	if (answer.n == 1 && answer.p[0] >= 'A' && answer.p[0] <= 'D')
		return (size_t)(answer.p[0] - 'A');
	return OPTIONS_N;
}

static enum err options_of(struct reader *r, const json_t *v,
                           struct question *q)
{
	enum err e = OK;

	if (json_array_size(v) != OPTIONS_N) {
		complain(r, "a question has not exactly four options");
		return OK;
	}
	for (size_t i = 0; i < OPTIONS_N && !e; i++)
		e = text_of(r, json_array_get(v, i), false, &q->options[i]);
	return e;
}

static enum err question_of(struct reader *r, const json_t *v,
                            struct question *q)
{
	struct str correct = {NULL, 0};
	size_t before = r->why->n;
	struct verdict verdict;
	enum err e = member(r, v, "question", true, &q->text);

	if (!e)
		e = options_of(r, json_object_get(v, "options"), q);
	if (!e)
		e = member(r, v, "correct_answer", false, &correct);
	if (!e)
		e = member(r, v, "explanation", true, &q->why);
	if (e || r->why->n > before)
		return e;
	q->correct = option_of(q, correct);
	if (q->correct == OPTIONS_N)
		complain(r, "correct_answer is not one of the options");
	else {
		quality_question(q, &verdict);
		complain_all(r, &verdict);
	}
	return OK;
}

enum err answer_quiz(struct arena *a, struct str text, struct str mark,
                     size_t n, struct question *out, struct complaint *why)
{
	struct reader r = {a, why, mark};
	struct str asked[QUIZ_MAX];
	AUTO(json) root = NULL;
	const json_t *items;
	size_t had = 0;
	enum err e = OK;

	*why = (struct complaint){.n = 0};
	root = parse(&r, text);
	items = root ? items_of(&r, root, "questions") : NULL;
	for (size_t i = 0; i < json_array_size(items) && had < n && !e; i++) {
		bool fresh = false;

		out[had] = (struct question){.correct = OPTIONS_N};
		e = question_of(&r, json_array_get(items, i), &out[had]);
		if (!e && !why->n)
			e = is_new(&r, asked, had, out[had].text, &fresh);
		if (!e && fresh) {
			asked[had] = out[had].text;
			had++;
		}
	}
	if (!e && items && had < n && !why->n)
		complain(&r,
		         "there are fewer different questions than asked for");
	return e;
}

/* --- advice ----------------------------------------------------------------------------- */

static enum err is_done(struct reader *r, struct str s, const struct str *done,
                        size_t n, bool *yes)
{
	struct str key;
	enum err e = text_key(r->a, s, &key);

	*yes = false;
	for (size_t i = 0; i < n && !e && !*yes; i++)
		*yes = str_eq(key, done[i]);
	return e == ERR_NOMEM ? e : OK;
}

/* One that is no use is passed over. */
static enum err advice_of(struct reader *r, const json_t *v,
                          const struct str *done, size_t done_n,
                          struct advice *out, bool *good)
{
	enum err e =
		subtopic_of(r, json_object_get(v, "subtopic"), &out->subtopic);

	*good = false;
	if (!e)
		e = member(r, v, "reason", false, &out->reason);
	if (!e && !r->why->n)
		e = is_done(r, out->subtopic, done, done_n, good);
	*good = !e && !r->why->n && !*good;
	return e;
}

enum err answer_advice(struct arena *a, struct str text, struct str mark,
                       const struct str *done, size_t n,
                       struct advice out[ADVICE_N], struct complaint *why)
{
	struct reader r = {a, why, mark};
	struct str had[ADVICE_N];
	AUTO(json) root = NULL;
	const json_t *items;
	size_t k = 0;
	enum err e = OK;

	*why = (struct complaint){.n = 0};
	root = parse(&r, text);
	items = root ? items_of(&r, root, "recommendations") : NULL;
	for (size_t i = 0; i < json_array_size(items) && k < ADVICE_N && !e;
	     i++) {
		bool good = false, fresh = false;

		e = advice_of(&r, json_array_get(items, i), done, n, &out[k],
		              &good);
		if (!e && good)
			e = is_new(&r, had, k, out[k].subtopic, &fresh);
		if (!e && fresh) {
			had[k] = out[k].subtopic;
			k++;
		}
	}
	if (!e && items && k < ADVICE_N && !why->n)
		complain(&r, "there are fewer new subtopics than asked for");
	return e;
}
