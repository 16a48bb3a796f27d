/* Lessons: create_presentation. */
#include "svc-content/generate/generate.h"
#include "svc-content/generate/pack.h"
#include "svc-content/methods.h"
#include "svc-content/offline/offline.h"
#include "svc-content/offline/subject.h"
#include "svc-content/records.h"
#include "svc-content/text.h"

#include "common/base/clock.h"

#define LESSON_SLOTS 6

static void pack_lesson(struct buf *body, const struct lesson *l)
{
	AUTO_BUF b = {0};

	mp_kv_str(&b, "explanation", l->explanation);
	mp_kv_str(&b, "real_world_application", l->application);
	mp_kv_str(&b, "youtube_search_query", l->search);
	mp_kv_nil(&b, "error");
	mp_kv_f64(&b, "quality_score", l->score);
	pack_body(body, &b, &l->warnings);
}

static enum err lesson_read(const struct piece *p, struct arena *a,
                            struct str text, struct str mark,
                            struct complaint *why, struct buf *body)
{
	const struct lesson_ask *ask = p->ask;
	struct lesson l;
	enum err e = answer_lesson(a, text, mark, ask->subtopic, &l, why);

	if (!e && !why->n)
		pack_lesson(body, &l);
	return e ? e : body->failed ? ERR_NOMEM : OK;
}

static enum err keep_lesson(struct arena *a, struct lesson *l, struct piece *p)
{
	AUTO_BUF body = {0};

	if (p->note.n)
		warnings_add(&l->warnings, p->note);
	pack_lesson(&body, l);
	return text_keep(a, &body, &p->body);
}

static enum err lessons_offline(const struct content *ct, struct arena *a,
                                struct piece *const *p, size_t n)
{
	struct str focus[PIECES_MAX];
	struct lesson *l = arena_alloc(a, n * sizeof(*l));
	enum err e = l ? OK : ERR_NOMEM;

	for (size_t i = 0; i < n; i++)
		focus[i] = ((const struct lesson_ask *)p[i]->ask)->subtopic;
	if (!e)
		e = offline_lessons(ct->wn, a, p[0]->ask, focus, n, l);
	for (size_t i = 0; i < n && !e; i++)
		e = keep_lesson(a, &l[i], p[i]);
	return e;
}

const struct shape shape_lesson = {
	.template = TEMPLATE_EXPLANATION,
	.route = "create_presentation",
	.read = lesson_read,
	.offline = lessons_offline,
};

/* --- the pieces of a request ---------------------------------------------------------- */

struct show_job {
	struct content *ct;
	struct ctx *cx;
	const struct create_presentation_in *in;
	struct presentation p;
	struct str keys[FOCUS_MAX];
	struct lesson_ask asks[FOCUS_MAX];
	struct slot slots[FOCUS_MAX][LESSON_SLOTS];
	struct piece pieces[FOCUS_MAX];
	struct fetch fetch;
};

static const char *mastery_word(struct str key, const struct mastered *m,
                                size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(m[i].key, key))
			return m[i].level >= 3 ? "Advanced" : "Intermediate";
	return "Beginner";
}

static void prepare_one(struct show_job *j, size_t i, const char *mastery)
{
	static const int64_t words[] = {
		[DETAIL_LOW] = 100, [DETAIL_MEDIUM] = 150, [DETAIL_HIGH] = 300};
	static const char *const styles[STYLE_COUNT] = {"general", "visual",
	                                                "auditory",
	                                                "kinesthetic",
	                                                "reading and writing"};
	const struct create_presentation_in *in = j->in;
	struct lesson_ask *ask = &j->asks[i];
	const struct slot slots[LESSON_SLOTS] = {
		{.name = "topic", .text = in->topic},
		{.name = "subtopic", .text = in->focus.v[i]},
		{.name = "education",
	         .text = str_from(level_words(ask->level))},
		{.name = "mastery", .text = str_from(mastery)},
		{.name = "style", .text = str_from(styles[ask->style])},
		{.name = "words", .number = words[ask->detail]},
	};

	memcpy(j->slots[i], slots, sizeof(slots));
	j->pieces[i] = (struct piece){.shape = &shape_lesson,
	                              .ask = ask,
	                              .items = 1,
	                              .lang = ask->lang,
	                              .slots = j->slots[i],
	                              .slots_n = LESSON_SLOTS,
	                              .topic_key = j->p.topic.key,
	                              .ttl_ms = j->ct->gen.lesson_ttl_ms};
}

static enum err set_keys(struct show_job *j)
{
	const struct create_presentation_in *in = j->in;
	enum err e = text_key(j->cx->arena, in->topic, &j->p.topic.key);

	for (size_t i = 0; i < in->focus.n && i < FOCUS_MAX && !e; i++)
		e = text_key(j->cx->arena, in->focus.v[i], &j->keys[j->p.n++]);
	return e;
}

/* What they know already changes what a model is asked, and nothing else. */
static enum err prepare(struct show_job *j)
{
	const struct create_presentation_in *in = j->in;
	struct mastered *m = NULL;
	size_t n = 0;
	enum err e;

	j->p = (struct presentation){.sub = j->cx->sub,
	                             .topic.text = str_trim(in->topic),
	                             .subtopic_keys = j->keys,
	                             .now_ms = wall_ms()};
	e = set_keys(j);
	if (!e && j->ct->llm)
		e = records_done(j->ct, j->cx, j->cx->sub, j->p.topic.key, &m,
		                 &n);
	for (size_t i = 0; i < j->p.n && !e; i++) {
		j->asks[i] = (struct lesson_ask){
			.topic = in->topic,
			.subtopic = in->focus.v[i],
			.lang = pack_language(j->cx, in->language),
			.level = level_from(in->educationLevel),
			.detail = detail_from(in->levelOfDetail),
			.style = style_from(in->learningStyle),
		};
		prepare_one(j, i, mastery_word(j->keys[i], m, n));
	}
	return e;
}

/* --- the answer ------------------------------------------------------------------------ */

static void pack_item(struct buf *b, const struct show_job *j, size_t i)
{
	const struct piece *p = &j->pieces[i];
	struct str pairs, warnings;

	if (!pack_open(p->body, &pairs, &warnings)) {
		b->failed = true;
		return;
	}
	mp_map(b, 8);
	mp_kv_str(b, "subtopic", j->in->focus.v[i]);
	mp_raw(b, pairs);
	pack_warnings(b, warnings, (struct str){NULL, 0});
	mp_kv_text(b, "source", source_name(p->source));
}

static void tell_item(void *arg, size_t i)
{
	const struct show_job *j = arg;
	AUTO_BUF b = {0};

	pack_item(&b, j, i);
	if (!b.failed)
		sink_item(j->fetch.sink, "explanation", i, buf_view(&b));
}

/* An idem_fn. */
static enum err show(struct db *db, void *arg, struct reply *out)
{
	const struct show_job *j = arg;
	struct buf *b = &out->body;

	mp_map(b, 5);
	mp_kv_array(b, "explanations", j->p.n);
	for (size_t i = 0; i < j->p.n; i++)
		pack_item(b, j, i);
	mp_kv_i64(b, "success_count", (int64_t)j->p.n);
	mp_kv_i64(b, "failed_count", 0);
	pack_warnings(b, (struct str){NULL, 0}, j->fetch.warning);
	mp_kv_text(b, "source", source_name(pack_source(j->pieces, j->p.n)));
	return records_present(db, j->cx, &j->p);
}

/* What an earlier run of this has made and told is not made again. */
static enum err take_had(struct show_job *j, const struct sink *sink)
{
	enum err e = OK;

	for (size_t i = 0; i < j->p.n && !e; i++) {
		struct piece *p = &j->pieces[i];
		AUTO_BUF body = {0};
		struct str had;
		enum source s;

		if (!sink_have(sink, "explanation", i, &had) ||
		    !pack_again(had, STR("subtopic"), &body, &s))
			continue;
		e = text_keep(j->cx->arena, &body, &p->body);
		if (!e)
			p->source = s;
	}
	return e;
}

enum err generate_presentation(struct content *ct, struct ctx *cx,
                               const void *in, const struct sink *sink,
                               struct reply *out)
{
	struct show_job *j = arena_alloc(cx->arena, sizeof(*j));
	enum err e;

	if (!j)
		return ERR_NOMEM;
	memset(j, 0, sizeof(*j));
	j->ct = ct;
	j->cx = cx;
	j->in = in;
	e = prepare(j);
	if (!e)
		e = take_had(j, sink);
	j->fetch = (struct fetch){.ct = ct,
	                          .cx = cx,
	                          .sink = sink,
	                          .pieces = j->pieces,
	                          .n = j->p.n,
	                          .ready = sink ? tell_item : NULL,
	                          .arg = j};
	if (!e)
		e = pieces_fetch(&j->fetch);
	if (!e)
		e = idem_write(ct->idem, cx, show, j, out);
	if (!e && j->fetch.hold && !out->replayed)
		quota_tell(j->fetch.hold, cx, out);
	return e;
}
