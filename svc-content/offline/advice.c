/* What to study next: the first subtopics of the outline that are not done. */
#include "svc-content/offline/offline.h"
#include "svc-content/offline/plan.h"
#include "svc-content/offline/prose.h"
#include "svc-content/text.h"

static enum err is_done(struct arena *a, struct str subtopic,
                        const struct str *done, size_t n, bool *out)
{
	struct str key;
	enum err e = text_key(a, subtopic, &key);

	*out = false;
	for (size_t i = 0; i < n && !e && !*out; i++)
		*out = str_eq(key, done[i]);
	return e;
}

static enum err reason_for(const struct wordnet *wn, struct arena *a,
                           const struct subject *topic, struct str title,
                           size_t finished, struct str *out)
{
	AUTO_BUF b = {0};
	const struct facet *f;
	struct subject sub;
	struct blanks in = {.t = topic->phrase, .s = title};
	enum err e = plan_facet_of(a, topic, title, &f);

	if (e)
		return e;
	buf_str(&b, finished ? STR("Next in the plan. ")
	                     : STR("A good place to begin. "));
	if (f) {
		text_fill(&b, f->look, &in);
		return text_keep(a, &b, out);
	}
	e = plan_subtopic(wn, a, topic, title, &sub);
	if (e)
		return e;
	if (sub.known)
		prose_define(&b, &sub.syn, sub.name);
	else
		text_fill(&b, "It belongs to {t}.", &in);
	return text_keep(a, &b, out);
}

/* Whoever has finished the outline finds more sides of the topic here. */
static enum err beyond(struct arena *a, const struct subject *topic, size_t i,
                       struct str *title)
{
	*title = STR("");
	if (!facet_suits(&facets[i], topic->kind))
		return OK;
	return plan_facet_title(a, &facets[i], topic, title);
}

struct picks {
	const struct wordnet *wn;
	struct arena *a;
	const struct subject *topic;
	const struct str *done;
	size_t done_n, n;
	struct advice *out;
};

static enum err pick(struct picks *p, struct str title)
{
	bool done;
	enum err e = is_done(p->a, title, p->done, p->done_n, &done);

	if (e || done)
		return e;
	for (size_t i = 0; i < p->n; i++)
		if (str_eq(p->out[i].subtopic, title))
			return OK;
	p->out[p->n].subtopic = title;
	e = reason_for(p->wn, p->a, p->topic, title, p->done_n,
	               &p->out[p->n].reason);
	p->n += !e;
	return e;
}

enum err offline_advice(const struct wordnet *wn, struct arena *a,
                        struct str topic, const struct str *done, size_t n,
                        struct advice out[ADVICE_N])
{
	struct subject s;
	struct outline plan;
	struct picks p = {wn, a, &s, done, n, 0, out};
	enum err e = subject_of(wn, a, topic, NULL, &s);

	if (!e)
		e = offline_outline(wn, a, topic, STR("en"), &plan);
	for (size_t i = 0; i < OUTLINE_N && p.n < ADVICE_N && !e; i++)
		e = pick(&p, plan.subtopics[i]);
	for (size_t i = 0; i < facets_n && p.n < ADVICE_N && !e; i++) {
		struct str title;

		e = beyond(a, &s, i, &title);
		if (!e && title.n)
			e = pick(&p, title);
	}
	/* All is done: what was learned first is forgotten first. */
	for (size_t i = 0; p.n < ADVICE_N && !e; i++) {
		p.out[p.n].subtopic = plan.subtopics[i];
		p.out[p.n].reason = STR("You have finished everything here: "
		                        "come back to this to keep it fresh.");
		p.n++;
	}
	return e;
}
