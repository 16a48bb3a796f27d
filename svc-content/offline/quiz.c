/*
 * Questions with one right option.  They come from the dictionary (what a word
 * means, what is a kind or a part of what) and from asks.def (how to study).
 *
 * A wrong option must be wrong: it may not be a synonym of the right one, nor
 * stand above or below it, nor have another meaning that would be right.
 */
#include "svc-content/offline/offline.h"
#include "svc-content/offline/plan.h"
#include "svc-content/offline/prose.h"
#include "svc-content/offline/wrong.h"
#include "svc-content/quality.h"
#include "svc-content/text.h"

#define POOL_MAX          48 /* things asked about, and wrong options */
#define POOL_EACH         12
#define MEANING_WORDS_MAX 32
#define FARNESS           4 /* values of farness() */
#define THINGS_FEW        8
#define ASKED_ENOUGH      16 /* points of relate() for what is asked about */

struct maker {
	const struct wordnet *wn;
	struct arena *a;
	const struct subject *topic, *sub; /* sub may be unknown */
	const struct quiz_ask *ask;
	struct blanks in;
	uint64_t seed;
	size_t turn; /* of the subtopic in the plan: others ask about others */
	struct wn_synset pool[POOL_MAX];
	size_t pool_n, things; /* the first of them are asked about, */
	size_t own;            /* and of these the first belong to sub */
	bool lenient;          /* a hint in the wording is no fault */
	struct question *out;
	size_t n;
};

/* --- what may be asked, and what is wrong for certain --------------------------------- */

static void pool_add(struct maker *m, const struct wn_synset *s)
{
	for (size_t i = 0; i < m->pool_n; i++)
		if (wn_same(m->pool[i].ref, s->ref))
			return;
	if (m->pool_n < POOL_MAX)
		m->pool[m->pool_n++] = *s;
}

static void pool_around(struct maker *m, const struct wn_synset *s,
                        unsigned want, int enough)
{
	struct related v[POOL_EACH];
	size_t n = relate(m->wn, s, want, v, COUNTOF(v));

	for (size_t i = 0; i < n; i++)
		if (v[i].score >= enough)
			pool_add(m, &v[i].syn);
}

/*
 * First what is asked about: the subtopic, the topic and what belongs to them.
 * Then their neighbours, which only serve as wrong options.
 */
static void pool_fill(struct maker *m)
{
	struct wn_synset up;

	if (m->sub->known) {
		pool_add(m, &m->sub->syn);
		pool_around(m, &m->sub->syn, WANT_KINDS | WANT_PARTS,
		            ASKED_ENOUGH);
	}
	m->own = m->pool_n;
	if (m->topic->known) {
		pool_add(m, &m->topic->syn);
		pool_around(m, &m->topic->syn,
		            WANT_KINDS | WANT_PARTS | WANT_TERMS, ASKED_ENOUGH);
	}
	m->things = m->pool_n;
	if (m->sub->known)
		pool_around(m, &m->sub->syn, WANT_SISTERS, 1);
	if (!m->topic->known)
		return;
	pool_around(m, &m->topic->syn, WANT_SISTERS, 1);
	if (wordnet_synset(m->wn, wn_parent(&m->topic->syn), &up))
		pool_around(m, &up, WANT_SISTERS, 1);
}

/* --- writing a question ------------------------------------------------------------------ */

static enum err name_of(struct maker *m, const struct wn_synset *s,
                        struct str *out)
{
	AUTO_BUF b = {0};
	struct str lemma;

	if (!wn_word(s, 0, &lemma, NULL))
		return ERR_NOT_FOUND;
	prose_name(&b, lemma);
	return text_keep(m->a, &b, out);
}

static enum err meaning_of(struct maker *m, const struct wn_synset *s,
                           struct str *out)
{
	AUTO_BUF b = {0};
	struct gloss g;
	enum err e;

	prose_gloss(s->gloss, &g);
	prose_plain(&b, g.definition);
	e = text_keep(m->a, &b, out);
	if (!e &&
	    (text_words(*out) < 3 || text_words(*out) > MEANING_WORDS_MAX))
		return ERR_NOT_FOUND;
	return e;
}

static bool in_all(const struct str *options, struct str stem)
{
	for (size_t i = 0; i < OPTIONS_N; i++)
		if (!text_has(options[i], stem))
			return false;
	return true;
}

/*
 * A meaning that holds a good part of the name gives the answer away, unless
 * all options hold that part.
 */
static bool gives_away(const struct maker *m, struct str meaning,
                       struct str name, const struct str *options)
{
	struct str rest = name, word;

	if (text_has_word(meaning, name))
		return true;
	for (word = text_word(&rest); word.n && !m->lenient;
	     word = text_word(&rest)) {
		struct str stem = {word.p, word.n > 5 ? 5 : word.n};

		if (word.n > 3 && text_has(meaning, stem) &&
		    !in_all(options, stem))
			return true;
	}
	return false;
}

/* Puts the right option, now first, in its place by lot. */
static void shuffle(struct question *q, uint64_t seed)
{
	uint64_t h = text_hash(q->text, seed);

	for (size_t i = OPTIONS_N - 1; i > 0; i--) {
		size_t k = (size_t)(h % (i + 1));
		struct str t = q->options[i];

		h /= i + 1;
		q->options[i] = q->options[k];
		q->options[k] = t;
		if (q->correct == i)
			q->correct = k;
		else if (q->correct == k)
			q->correct = i;
	}
}

/* Keeps the question when it is sound and new. */
static bool keep(struct maker *m, struct question *q)
{
	struct verdict v;

	quality_question(q, &v);
	if (!v.valid)
		return false;
	for (size_t i = 0; i < m->n; i++)
		if (str_eq(m->out[i].text, q->text))
			return false;
	shuffle(q, m->seed);
	m->out[m->n++] = *q;
	return true;
}

static enum err why_of(struct maker *m, const struct wn_synset *s,
                       const char *tail, struct str x, struct str *out)
{
	AUTO_BUF b = {0};
	struct str name;
	struct blanks in = {.x = x};
	enum err e = name_of(m, s, &name);

	if (e)
		return e;
	in.s = name;
	prose_define(&b, s, name);
	if (tail) {
		buf_char(&b, ' ');
		text_fill(&b, tail, &in);
	}
	return text_keep(m->a, &b, out);
}

/* --- what does it mean, what is described ----------------------------------------------------- */

/* Things of the topic are better wrong options than its neighbours. */
static size_t farness(const struct maker *m, const struct wn_synset *s,
                      const struct wn_synset *o)
{
	unsigned d = wrong_distance(s, o);
	bool around = o >= m->pool + m->things;

	return d == 0 ? 0 : d == 1 ? 1U + around : 3;
}

typedef enum err say_fn(struct maker *m, const struct wn_synset *s,
                        struct str *out);

/*
 * Three of the pool that are certainly not s, as text made by say(): what is
 * nearest to it first, beginning anywhere, so that not all questions share them.
 */
static enum err wrong_options(struct maker *m, const struct wn_synset *s,
                              say_fn *say, struct question *q)
{
	size_t n = 1, start = s->ref.offset % (m->pool_n ? m->pool_n : 1);
	struct gloss mine, its;

	prose_gloss(s->gloss, &mine);
	for (size_t i = 0; i < FARNESS * m->pool_n && n < OPTIONS_N; i++) {
		const struct wn_synset *o = &m->pool[(start + i) % m->pool_n];
		enum err e;

		if (farness(m, s, o) != i / m->pool_n ||
		    !wrong_apart(m->wn, o, s))
			continue;
		prose_gloss(o->gloss, &its);
		if (wrong_says_same(mine.definition, its.definition) ||
		    wrong_synonymous(m->wn, s, o))
			continue;
		e = say(m, o, &q->options[n]);
		if (e == ERR_NOMEM)
			return e;
		if (!e)
			n++;
	}
	return n == OPTIONS_N ? OK : ERR_NOT_FOUND;
}

static enum err ask_meaning(struct maker *m, const struct wn_synset *s)
{
	struct question q = {.correct = 0};
	AUTO_BUF b = {0};
	struct str name;
	enum err e = name_of(m, s, &name);

	if (!e)
		e = meaning_of(m, s, &q.options[0]);
	if (!e)
		e = wrong_options(m, s, meaning_of, &q);
	if (!e)
		e = why_of(m, s, NULL, STR(""), &q.why);
	if (e)
		return e;
	for (size_t i = 0; i < OPTIONS_N; i++)
		if (gives_away(m, q.options[i], name, q.options))
			return ERR_NOT_FOUND;
	buf_str(&b, STR("What does \""));
	buf_str(&b, name);
	buf_str(&b, STR("\" mean?"));
	e = text_keep(m->a, &b, &q.text);
	return e ? e : keep(m, &q) ? OK : ERR_NOT_FOUND;
}

static enum err ask_name(struct maker *m, const struct wn_synset *s)
{
	struct question q = {.correct = 0};
	AUTO_BUF b = {0};
	struct str meaning;
	enum err e = meaning_of(m, s, &meaning);

	if (!e)
		e = name_of(m, s, &q.options[0]);
	if (!e)
		e = wrong_options(m, s, name_of, &q);
	if (!e)
		e = why_of(m, s, NULL, STR(""), &q.why);
	if (e)
		return e;
	for (size_t i = 0; i < OPTIONS_N; i++)
		if (gives_away(m, meaning, q.options[i], q.options))
			return ERR_NOT_FOUND;
	buf_str(&b, STR("Which of these is described as \""));
	buf_str(&b, meaning);
	buf_str(&b, STR("\"?"));
	e = text_keep(m->a, &b, &q.text);
	return e ? e : keep(m, &q) ? OK : ERR_NOT_FOUND;
}

/* --- what is a kind or a part of what ------------------------------------------------------------ */

static bool central(const struct maker *m, struct wn_ref ref)
{
	return (m->sub->known && wn_same(ref, m->sub->syn.ref)) ||
	       (m->topic->known && wn_same(ref, m->topic->syn.ref));
}

/* What s is a kind of: the topic, if it is that among other things. */
static bool class_of(const struct maker *m, const struct wn_synset *s,
                     struct wn_synset *up)
{
	struct wn_ref ref = wn_parent(s);

	for (struct wn_links l = wn_links(s); wn_next(&l);)
		if (l.rel == WN_HYPERNYM && central(m, l.to))
			ref = l.to;
	return (central(m, ref) || central(m, s->ref)) &&
	       wordnet_synset(m->wn, ref, up) && up->lex_file != WN_LEX_TOPS;
}

static enum err ask_kind(struct maker *m, const struct wn_synset *s)
{
	struct question q = {.correct = 0};
	AUTO_BUF b = {0};
	struct wn_synset up;
	struct str name;
	size_t n = 1, start = s->ref.offset % (m->pool_n ? m->pool_n : 1);
	enum err e;

	/* Plato is a philosopher, but no kind of philosopher. */
	if (prose_proper(s) || !class_of(m, s, &up))
		return ERR_NOT_FOUND;
	e = name_of(m, &up, &name);
	if (!e)
		e = name_of(m, s, &q.options[0]);
	for (size_t i = 0; i < FARNESS * m->pool_n && n < OPTIONS_N && !e;
	     i++) {
		const struct wn_synset *o = &m->pool[(start + i) % m->pool_n];

		if (farness(m, s, o) == i / m->pool_n &&
		    wrong_apart(m->wn, o, s) && wrong_class(m->wn, o, up.ref))
			e = name_of(m, o, &q.options[n++]);
	}
	if (!e && n < OPTIONS_N)
		e = ERR_NOT_FOUND;
	/* "Which is a kind of calculus: integral calculus or algebra?" */
	for (size_t i = 0; i < OPTIONS_N && !e; i++)
		if (gives_away(m, q.options[i], name, q.options))
			e = ERR_NOT_FOUND;
	if (!e)
		e = why_of(m, s, "That makes it a kind of {x}.", name, &q.why);
	if (e)
		return e;
	buf_str(&b, STR("Which of these is a kind of "));
	buf_str(&b, name);
	buf_char(&b, '?');
	e = text_keep(m->a, &b, &q.text);
	return e ? e : keep(m, &q) ? OK : ERR_NOT_FOUND;
}

/*
 * The wrong options are things of the same rank as the whole: what the
 * dictionary does not list as a part might be one all the same.
 */
static enum err ask_part(struct maker *m, const struct wn_synset *s)
{
	struct question q = {.correct = 0};
	AUTO_BUF b = {0};
	struct related v[POOL_EACH];
	struct wn_synset whole;
	struct str name;
	size_t n = 1, found;
	enum err e;

	if (!wordnet_synset(m->wn, wn_first(s, WN_PART_OF), &whole) ||
	    (!central(m, whole.ref) && !central(m, s->ref)))
		return ERR_NOT_FOUND;
	found = relate(m->wn, &whole, WANT_SISTERS, v, COUNTOF(v));
	e = name_of(m, &whole, &name);
	if (!e)
		e = name_of(m, s, &q.options[0]);
	for (size_t i = 0; i < found && n < OPTIONS_N && !e; i++)
		if (wrong_apart(m->wn, &v[i].syn, s) &&
		    wrong_apart(m->wn, &v[i].syn, &whole))
			e = name_of(m, &v[i].syn, &q.options[n++]);
	if (!e &&
	    (n < OPTIONS_N || gives_away(m, q.options[0], name, q.options)))
		e = ERR_NOT_FOUND;
	if (!e)
		e = why_of(m, s, "It is a part of what is called {x}.", name,
		           &q.why);
	if (e)
		return e;
	buf_str(&b, STR("Which of these is a part of what is called \""));
	buf_str(&b, name);
	buf_str(&b, STR("\"?"));
	e = text_keep(m->a, &b, &q.text);
	return e ? e : keep(m, &q) ? OK : ERR_NOT_FOUND;
}

/* --- how to study ------------------------------------------------------------------------------------ */

static enum err ask_study(struct maker *m, const struct ask *row)
{
	const char *const forms[] = {row->question, row->right,
	                             row->wrong[0], row->wrong[1],
	                             row->wrong[2], row->why};
	struct question q = {.correct = 0};
	struct str *const texts[] = {&q.text,       &q.options[0],
	                             &q.options[1], &q.options[2],
	                             &q.options[3], &q.why};

	for (size_t i = 0; i < COUNTOF(forms); i++) {
		AUTO_BUF b = {0};

		text_fill(&b, forms[i], &m->in);
		if (text_keep(m->a, &b, texts[i]))
			return ERR_NOMEM;
	}
	return keep(m, &q) ? OK : ERR_NOT_FOUND;
}

static enum err ask_studies(struct maker *m, enum skill skill, size_t upto)
{
	size_t first = 0, n = 0;

	while (first < asks_n && asks[first].skill != skill)
		first++;
	while (first + n < asks_n && asks[first + n].skill == skill)
		n++;
	for (size_t i = 0; i < n && m->n < upto; i++)
		if (ask_study(m, &asks[first + (i + m->turn) % n]) == ERR_NOMEM)
			return ERR_NOMEM;
	return OK;
}

/* --- a quiz -------------------------------------------------------------------------------------------- */

typedef enum err ask_fn(struct maker *m, const struct wn_synset *s);

/* Recognising is easier than recalling: the order of forms by level. */
static ask_fn *const orders[LEVEL_COUNT][4] = {
	[LEVEL_JUNIOR] = {ask_name, ask_kind, ask_part, ask_meaning},
	[LEVEL_SCHOOL] = {ask_name, ask_meaning, ask_kind, ask_part},
	[LEVEL_UNDERGRAD] = {ask_meaning, ask_name, ask_kind, ask_part},
};

/* What belongs to the subtopic first, then the rest, beginning at its turn. */
static const struct wn_synset *thing(const struct maker *m, size_t i)
{
	size_t rest = m->things - m->own;

	return &m->pool[i < m->own ? i
	                           : m->own + (i - m->own + m->turn) % rest];
}

/* One question about each thing, then the next form for each. */
static enum err ask_things(struct maker *m, size_t upto)
{
	ask_fn *const *forms = orders[m->ask->level];

	for (size_t round = 0; round < COUNTOF(orders[0]); round++)
		for (size_t i = 0; i < m->things && m->n < upto; i++) {
			size_t form = (round + i) % COUNTOF(orders[0]);

			if (forms[form](m, thing(m, i)) == ERR_NOMEM)
				return ERR_NOMEM;
		}
	return OK;
}

/*
 * The subtopic itself comes first.  Where every strict wording would give the
 * answer away ("integral calculus ... integration"), an easy question about it
 * is still better than none.
 */
static enum err ask_subtopic(struct maker *m)
{
	enum err e = OK;

	if (!m->sub->known)
		return OK;
	for (int lenient = 0; lenient < 2 && m->n == 0 && !e; lenient++) {
		m->lenient = lenient != 0;
		for (size_t i = 0; i < COUNTOF(orders[0]) && m->n == 0; i++)
			if (orders[m->ask->level][i](m, &m->sub->syn) ==
			    ERR_NOMEM)
				e = ERR_NOMEM;
	}
	m->lenient = false;
	return e;
}

static enum err fill(struct maker *m, const struct facet *f)
{
	size_t count = m->ask->count;
	enum skill skill = f ? f->skill : SKILL_CONCEPT;
	enum err e;

	pool_fill(m);
	e = ask_subtopic(m);
	/* A facet is a way to look at the topic: a third of its questions are. */
	if (!e && f)
		e = ask_studies(m, skill, m->things ? (count + 2) / 3 : count);
	/* Of few things the facets of a plan would all ask the same. */
	if (!e)
		e = ask_things(m, f && m->things < THINGS_FEW && m->n < count
		                          ? m->n + 1
		                          : count);
	if (!e && !m->sub->known)
		e = ask_studies(m, skill, count);
	if (!e && !m->sub->known)
		e = ask_studies(m, SKILL_GENERAL, count);
	if (!e)
		e = ask_things(m, count);
	if (!e)
		e = ask_studies(m, skill, count);
	if (!e)
		e = ask_studies(m, SKILL_GENERAL, count);
	for (int s = 0; s < SKILL_COUNT && !e; s++)
		e = ask_studies(m, (enum skill)s, count);
	return e ? e : m->n == count ? OK : ERR_INTERNAL;
}

enum err offline_quiz(const struct wordnet *wn, struct arena *a,
                      const struct quiz_ask *ask, struct question *out)
{
	struct maker *m = arena_alloc(a, sizeof(*m));
	struct subject topic, sub = {.known = false};
	const struct facet *f = NULL;
	struct str subtopic = str_trim(ask->subtopic);
	enum err e;

	if (!m)
		return ERR_NOMEM;
	e = subject_of(wn, a, ask->topic, NULL, &topic);
	if (!e)
		e = plan_facet_of(a, &topic, subtopic, &f);
	if (!e && !f)
		e = plan_subtopic(wn, a, &topic, subtopic, &sub);
	if (e)
		return e;
	*m = (struct maker){
		.wn = wn,
		.a = a,
		.topic = &topic,
		.sub = &sub,
		.ask = ask,
		.in = {.t = topic.phrase, .s = subtopic},
		.seed = text_hash(subtopic, text_hash(topic.key, 7)),
		.turn = f ? (size_t)(f - facets)
	                  : (size_t)(text_hash(subtopic, 3) % 64),
		.out = out,
	};
	return fill(m, f);
}
