/* Outlines: create_subtopics. */
#include "svc-content/generate/generate.h"
#include "svc-content/generate/pack.h"
#include "svc-content/methods.h"
#include "svc-content/offline/offline.h"
#include "svc-content/offline/subject.h"
#include "svc-content/text.h"

#include "common/service/cached.h"

struct outline_ask {
	struct str topic, lang;
};

static void pack_outline(struct buf *body, const struct outline *o)
{
	AUTO_BUF b = {0};

	mp_kv_array(&b, "subtopics", OUTLINE_N);
	for (size_t i = 0; i < OUTLINE_N; i++)
		mp_str(&b, o->subtopics[i]);
	mp_kv_i64(&b, "count", OUTLINE_N);
	mp_kv_f64(&b, "quality_score", o->score);
	pack_body(body, &b, &o->warnings);
}

static enum err outline_read(const struct piece *p, struct arena *a,
                             struct str text, struct str mark,
                             struct complaint *why, struct buf *body)
{
	struct outline o;
	enum err e = answer_outline(a, text, mark, &o, why);

	(void)p;
	if (!e && !why->n)
		pack_outline(body, &o);
	return e ? e : body->failed ? ERR_NOMEM : OK;
}

static enum err outline_offline(const struct content *ct, struct arena *a,
                                struct piece *const *p, size_t n)
{
	enum err e = OK;

	for (size_t i = 0; i < n && !e; i++) {
		const struct outline_ask *ask = p[i]->ask;
		AUTO_BUF body = {0};
		struct outline o;

		e = offline_outline(ct->wn, a, ask->topic, ask->lang, &o);
		if (e)
			break;
		if (p[i]->note.n)
			warnings_add(&o.warnings, p[i]->note);
		pack_outline(&body, &o);
		e = text_keep(a, &body, &p[i]->body);
	}
	return e;
}

const struct shape shape_outline = {
	.template = TEMPLATE_SUBTOPICS,
	.route = "create_subtopics",
	.read = outline_read,
	.offline = outline_offline,
};

/* The piece of a request, with what it points to. */
struct outline_job {
	struct outline_ask ask;
	struct slot slots[2];
	struct piece piece;
	struct fetch fetch;
};

static enum err prepare(struct outline_job *j, struct content *ct,
                        struct ctx *cx, const struct create_subtopics_in *in)
{
	*j = (struct outline_job){
		.ask = {in->topic, pack_language(cx, in->language)},
		.slots = {{.name = "topic", .text = in->topic},
	                  {.name = "count", .number = OUTLINE_N}},
	};
	j->piece = (struct piece){.shape = &shape_outline,
	                          .ask = &j->ask,
	                          .lang = j->ask.lang,
	                          .slots = j->slots,
	                          .slots_n = COUNTOF(j->slots),
	                          .ttl_ms = ct->outline_ttl_ms,
	                          .keep_offline = true};
	j->fetch =
		(struct fetch){.ct = ct, .cx = cx, .pieces = &j->piece, .n = 1};
	return text_key(cx->arena, in->topic, &j->piece.topic_key);
}

static enum err reply(const struct outline_job *j, struct reply *out)
{
	const struct fetch *f = &j->fetch;
	struct buf *b = &out->body;
	struct str pairs, warnings;

	if (!pack_open(j->piece.body, &pairs, &warnings))
		return ERR_INTERNAL;
	if (f->cached)
		cached_tell(out, f->cx, &f->info);
	mp_map(b, 6);
	mp_raw(b, pairs);
	pack_warnings(b, warnings, f->warning);
	mp_kv_str(b, "topic", str_trim(j->ask.topic));
	mp_kv_text(b, "source", source_name(j->piece.source));
	return b->failed ? ERR_NOMEM : OK;
}

bool content_outline_peek(void *state, struct ctx *cx, const void *in,
                          struct reply *out)
{
	struct outline_job j;

	return !prepare(&j, state, cx, in) && pieces_peek(&j.fetch) &&
	       !reply(&j, out);
}

enum err generate_subtopics(struct content *ct, struct ctx *cx, const void *in,
                            const struct sink *sink, struct reply *out)
{
	struct outline_job j;
	enum err e = prepare(&j, ct, cx, in);

	j.fetch.sink = sink;
	if (!e)
		e = pieces_fetch(&j.fetch);
	if (!e)
		e = reply(&j, out);
	if (e)
		return e;
	sink_item(sink, "subtopics", 0, buf_view(&out->body));
	if (j.fetch.hold)
		quota_tell(j.fetch.hold, cx, out);
	return OK;
}
