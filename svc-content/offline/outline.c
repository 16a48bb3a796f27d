/* Fifteen subtopics of a topic: what the dictionary relates to it, between the
 * facets that open and close a course. */
#include "svc-content/offline/offline.h"
#include "svc-content/offline/plan.h"
#include "svc-content/quality.h"
#include "svc-content/text.h"

#define RELATED_SHOWN  9 /* so that six facets frame them */
#define RELATED_KINDS  7
#define RELATED_TERMS  4
#define RELATED_ENOUGH 21 /* points */

struct item {
	struct str title, key;
	unsigned stage;
};

struct draft {
	struct item v[OUTLINE_N];
	size_t n;
};

/* False when a subtopic of that name is there already. */
static enum err add(struct arena *a, struct draft *d, const struct subject *s,
                    struct str title, unsigned stage, bool *added)
{
	struct item it = {.title = title, .stage = stage};
	enum err e;

	*added = false;
	if (title.n == 0 || d->n == OUTLINE_N)
		return OK;
	e = text_key(a, title, &it.key);
	if (e)
		return e;
	if (str_eq(it.key, s->key))
		return OK;
	for (size_t i = 0; i < d->n; i++)
		if (str_eq(d->v[i].key, it.key))
			return OK;
	d->v[d->n++] = it;
	*added = true;
	return OK;
}

/* The title without its "(tube)". */
static struct str bare(struct str title)
{
	const char *hint = memmem(title.p, title.n, " (", 2);

	return (struct str){title.p, hint ? (size_t)(hint - title.p) : title.n};
}

/* "Pipe (tube)" beside "Pipe": a lesson could not tell them apart. */
static bool has_name(const struct draft *d, struct str title)
{
	for (size_t i = 0; i < d->n; i++)
		if (str_ieq(bare(d->v[i].title), bare(title)))
			return true;
	return false;
}

static enum err add_related(const struct wordnet *wn, struct arena *a,
                            const struct subject *s, struct draft *d)
{
	static const size_t most[] = {
		[RELATION_KIND] = RELATED_KINDS,
		[RELATION_PART] = RELATED_KINDS,
		[RELATION_TERM] = RELATED_TERMS,
		[RELATION_SISTER] = 0,
	};
	struct related *v = arena_alloc(a, RELATED_MAX * sizeof(*v));
	size_t used[COUNTOF(most)] = {0}, n;
	enum err e = OK;

	if (!v)
		return ERR_NOMEM;
	n = relate(wn, &s->syn, WANT_KINDS | WANT_PARTS | WANT_TERMS, v,
	           RELATED_MAX);
	for (size_t i = 0; i < n && d->n < RELATED_SHOWN && !e; i++) {
		struct str title;
		bool added = false;

		if (v[i].score < RELATED_ENOUGH ||
		    used[v[i].relation] >= most[v[i].relation])
			continue;
		e = plan_related_title(a, &v[i], s, &title);
		if (!e && !has_name(d, title))
			e = add(a, d, s, title, 2, &added);
		used[v[i].relation] += added;
	}
	return e;
}

/* Facets by rank, highest first; the table's order breaks ties. */
static enum err add_facets(struct arena *a, const struct subject *s,
                           struct draft *d)
{
	enum err e = OK;

	for (unsigned rank = 9; rank > 0 && d->n < OUTLINE_N; rank--)
		for (size_t i = 0; i < facets_n && d->n < OUTLINE_N; i++) {
			struct str title;
			bool added;

			/* No "history of history". */
			if (facets[i].rank != rank ||
			    !facet_suits(&facets[i], s->kind) ||
			    text_has_word(str_from(facets[i].title), s->name))
				continue;
			e = plan_facet_title(a, &facets[i], s, &title);
			if (!e)
				e = add(a, d, s, title, facets[i].stage,
				        &added);
			if (e)
				return e;
		}
	return e;
}

/* Insertion keeps the order inside a stage. */
static void by_stage(struct draft *d)
{
	for (size_t i = 1; i < d->n; i++) {
		struct item it = d->v[i];
		size_t k = i;

		for (; k > 0 && d->v[k - 1].stage > it.stage; k--)
			d->v[k] = d->v[k - 1];
		d->v[k] = it;
	}
}

enum err offline_outline(const struct wordnet *wn, struct arena *a,
                         struct str topic, struct str lang, struct outline *out)
{
	struct subject s;
	struct draft d = {.n = 0};
	struct verdict v;
	size_t related;
	enum err e;

	e = subject_of(wn, a, topic, NULL, &s);
	if (!e && s.known)
		e = add_related(wn, a, &s, &d);
	if (e)
		return e;
	related = d.n;
	e = add_facets(a, &s, &d);
	if (e)
		return e;
	if (d.n < OUTLINE_N)
		return ERR_INTERNAL; /* facets.def is too short for the kind */
	by_stage(&d);
	*out = (struct outline){.warnings = s.warnings};
	for (size_t i = 0; i < OUTLINE_N; i++)
		out->subtopics[i] = d.v[i].title;
	warnings_language(&out->warnings, lang);
	warnings_dictionary(&out->warnings, wn != NULL);
	e = quality_outline(out->subtopics, OUTLINE_N, OUTLINE_N, a, &v);
	if (e)
		return e;
	out->score = !s.known       ? (s.meaning.n ? 0.5 : 0.4)
	             : related >= 6 ? 0.95
	             : related > 0  ? 0.85
	                            : 0.75;
	if (v.score < 1)
		out->score *= v.score;
	return OK;
}
