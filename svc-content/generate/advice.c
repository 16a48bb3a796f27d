/* What to learn next: recommendations. */
#include "svc-content/generate/generate.h"
#include "svc-content/generate/pack.h"
#include "svc-content/methods.h"
#include "svc-content/offline/offline.h"
#include "svc-content/offline/subject.h"
#include "svc-content/records.h"
#include "svc-content/text.h"

/* So many of what is finished a model is told, the latest. */
#define FINISHED_MAX 40

struct advice_ask {
	struct str topic;
	struct str *done;
	size_t n;
};

/* The body: [[[subtopic, reason] ...], warnings] */
static void pack_advice(struct buf *body, const struct advice *a,
                        const struct warnings *w)
{
	AUTO_BUF b = {0};

	for (size_t i = 0; i < ADVICE_N; i++) {
		mp_str(&b, a[i].subtopic);
		mp_str(&b, a[i].reason);
	}
	pack_body(body, &b, w);
}

static enum err advice_read(const struct piece *p, struct arena *a,
                            struct str text, struct str mark,
                            struct complaint *why, struct buf *body)
{
	const struct advice_ask *ask = p->ask;
	const struct warnings none = {0};
	struct advice advice[ADVICE_N];
	enum err e =
		answer_advice(a, text, mark, ask->done, ask->n, advice, why);

	if (!e && !why->n)
		pack_advice(body, advice, &none);
	return e ? e : body->failed ? ERR_NOMEM : OK;
}

static enum err advice_offline(const struct content *ct, struct arena *a,
                               struct piece *const *p, size_t n)
{
	enum err e = OK;

	for (size_t i = 0; i < n && !e; i++) {
		const struct advice_ask *ask = p[i]->ask;
		struct advice advice[ADVICE_N];
		struct warnings w = {0};
		AUTO_BUF body = {0};

		e = offline_advice(ct->wn, a, ask->topic, ask->done, ask->n,
		                   advice);
		if (e)
			break;
		warnings_language(&w, p[i]->lang);
		if (p[i]->note.n)
			warnings_add(&w, p[i]->note);
		pack_advice(&body, advice, &w);
		e = text_keep(a, &body, &p[i]->body);
	}
	return e;
}

const struct shape shape_advice = {
	.template = TEMPLATE_RECOMMENDATION,
	.route = "recommendations",
	.read = advice_read,
	.offline = advice_offline,
};

static enum err finished(struct content *ct, struct ctx *cx, struct str key,
                         struct advice_ask *ask)
{
	struct mastered *m;
	enum err e = records_done(ct, cx, cx->sub, key, &m, &ask->n);

	if (e)
		return e;
	ask->done = arena_alloc(cx->arena, (ask->n + 1) * sizeof(*ask->done));
	if (!ask->done)
		return ERR_NOMEM;
	for (size_t i = 0; i < ask->n; i++)
		ask->done[i] = m[i].key;
	return OK;
}

static enum err reply(const struct fetch *f, struct reply *out)
{
	struct buf *b = &out->body;
	struct str pairs, warnings;
	struct mp m;

	if (!pack_open(f->pieces[0].body, &pairs, &warnings))
		return ERR_INTERNAL;
	m = mp_open(pairs);
	mp_array(b, ADVICE_N);
	for (size_t i = 0; i < ADVICE_N; i++) {
		size_t from = b->n;
		struct str subtopic, reason;

		if (!mp_get_str(&m, &subtopic) || !mp_get_str(&m, &reason))
			return ERR_INTERNAL;
		mp_map(b, 4);
		mp_kv_str(b, "subtopic", subtopic);
		mp_kv_str(b, "reason", reason);
		pack_warnings(b, warnings, f->warning);
		mp_kv_text(b, "source", source_name(f->pieces[0].source));
		if (!b->failed)
			sink_item(f->sink, "recommendation", i,
			          (struct str){b->p + from, b->n - from});
	}
	return b->failed ? ERR_NOMEM : OK;
}

enum err generate_recommendations(struct content *ct, struct ctx *cx,
                                  const void *in, const struct sink *sink,
                                  struct reply *out)
{
	const struct recommendations_in *r = in;
	struct advice_ask ask = {.topic = r->topic};
	struct slot slots[3] = {{.name = "topic", .text = r->topic},
	                        {.name = "count", .number = ADVICE_N},
	                        {.name = "finished"}};
	struct piece piece = {.shape = &shape_advice,
	                      .ask = &ask,
	                      .items = ADVICE_N,
	                      .lang = pack_language(cx, r->language),
	                      .slots = slots,
	                      .slots_n = COUNTOF(slots),
	                      .ttl_ms = ct->gen.lesson_ttl_ms};
	struct fetch f = {
		.ct = ct, .cx = cx, .sink = sink, .pieces = &piece, .n = 1};
	enum err e = text_key(cx->arena, r->topic, &piece.topic_key);

	if (!e)
		e = finished(ct, cx, piece.topic_key, &ask);
	slots[2].list = ask.done;
	slots[2].n = ask.n < FINISHED_MAX ? ask.n : FINISHED_MAX;
	if (!e)
		e = pieces_fetch(&f);
	if (!e)
		e = reply(&f, out);
	if (!e && f.hold)
		quota_tell(f.hold, cx, out);
	return e;
}
