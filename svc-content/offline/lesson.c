/* Lessons: an explanation of a subtopic in whole sentences, a use of it in the
 * world and words to search a video with. */
#include "svc-content/offline/offline.h"
#include "svc-content/offline/plan.h"
#include "svc-content/offline/prose.h"
#include "svc-content/quality.h"
#include "svc-content/text.h"

#define AROUND_MAX   16
#define THING_ENOUGH 16 /* points */
#define NAMED_MAX    4  /* in "kinds such as A, B, C and D" */

/* What stands around the topic: found once for all lessons. */
struct around {
	struct related v[AROUND_MAX];
	size_t n;
};

struct writer {
	const struct wordnet *wn;
	struct arena *a;
	const struct subject *topic;
	const struct around *around; /* of the topic */
	const struct lesson_ask *ask;
	struct blanks in;  /* {t} the topic, {s} what is studied */
	struct str name;   /* {s} without an article */
	uint64_t hash;     /* of the subtopic: picks between wordings */
	size_t turn;       /* of its skill in the plan, or among the things */
	bool thing;        /* of the dictionary, no facet */
	struct buf text;   /* what is written so far */
	struct buf next;   /* the sentences that come next */
	size_t words, max; /* written, and at most */
};

/* --- sentences ----------------------------------------------------------------- */

/* Takes what is in next, if there is room for it; the first always has. */
static void put(struct writer *w)
{
	size_t n = text_words(buf_view(&w->next));

	if (w->next.failed)
		w->text.failed = true;
	if (n > 0 && (w->words < 25 || w->words + n <= w->max)) {
		if (w->text.n)
			buf_char(&w->text, ' ');
		buf_str(&w->text, buf_view(&w->next));
		w->words += n;
	}
	buf_clear(&w->next);
}

static void put_form(struct writer *w, const char *form)
{
	text_fill(&w->next, form, &w->in);
	put(w);
}

static size_t related(const struct writer *w, const struct wn_synset *s,
                      unsigned want, struct wn_synset *out, size_t max)
{
	struct related v[NAMED_MAX + 2];
	size_t n = relate(w->wn, s, want, v, COUNTOF(v)), kept = 0;

	for (size_t i = 0; i < n && kept < max; i++)
		if (v[i].score > 0)
			out[kept++] = v[i].syn;
	return kept;
}

/* "Kinds of it include A, B and C." */
static void put_list(struct writer *w, const struct wn_synset *s, unsigned want,
                     const char *one, const char *more)
{
	struct wn_synset v[NAMED_MAX];
	size_t n = related(w, s, want, v, NAMED_MAX);

	if (n == 0)
		return;
	text_fill(&w->next, n == 1 ? one : more, &w->in);
	prose_list(&w->next, v, n);
	prose_stop(&w->next);
	put(w);
}

static void put_definition(struct writer *w, const struct wn_synset *s)
{
	AUTO_BUF name = {0};
	struct str lemma;

	if (!wn_word(s, 0, &lemma, NULL))
		return;
	prose_name(&name, lemma);
	if (name.failed)
		w->text.failed = true;
	prose_define(&w->next, s, buf_view(&name));
	put(w);
}

/* "entity" and "whole" explain nothing. */
static bool telling(const struct wn_synset *s)
{
	return s->lex_file != WN_LEX_TOPS && wn_parent(s).offset != 0;
}

static void put_above(struct writer *w, const struct wn_synset *s)
{
	struct wn_synset up;

	if (!wordnet_synset(w->wn, wn_parent(s), &up) || !telling(&up) ||
	    wn_same(up.ref, w->topic->syn.ref))
		return;
	put_definition(w, &up);
}

static void put_example(struct writer *w, const struct wn_synset *s)
{
	struct gloss g;

	prose_gloss(s->gloss, &g);
	if (g.examples_n == 0)
		return;
	buf_str(&w->next, STR("The word is used like this: \""));
	prose_sentence(&w->next, g.examples[0]);
	buf_str(&w->next, STR("\""));
	put(w);
}

/* Others that stand to the topic as s does: those that come after it. */
static size_t others(const struct writer *w, const struct wn_synset *s,
                     unsigned want, struct wn_synset *out, size_t max)
{
	const struct around *all = w->around;
	size_t kept = 0;

	for (size_t i = 0; i < all->n && kept < max; i++) {
		const struct related *r = &all->v[(i + w->turn + 1) % all->n];

		if (want >> r->relation & 1 && r->score > 0 &&
		    !wn_same(r->syn.ref, s->ref))
			out[kept++] = r->syn;
	}
	return kept;
}

/* A neighbour that it might be taken for. */
static void put_sister(struct writer *w, const struct wn_synset *s)
{
	struct wn_synset other;
	struct gloss g;
	struct str lemma;

	/* Neighbours outside the topic confuse more than they explain. */
	if (!wn_same(wn_parent(s), w->topic->syn.ref) ||
	    others(w, s, WANT_KINDS, &other, 1) == 0 ||
	    !wn_word(&other, 0, &lemma, NULL))
		return;
	prose_gloss(other.gloss, &g);
	buf_str(&w->next, STR("Compare it with "));
	prose_name(&w->next, lemma);
	buf_str(&w->next, STR(", a neighbour of it: "));
	prose_plain(&w->next, g.definition);
	prose_stop(&w->next);
	put(w);
}

/*
 * Two pieces of advice on how to work, four in a long text.  A skill has
 * eight; its turn in the plan decides, so that neighbours differ.
 */
static void put_advice(struct writer *w, enum skill skill)
{
	const struct skill_row *row = skill_row(skill);
	const char *const any[] = {
		row->how[0],    row->check,     row->levels[w->ask->level],
		row->how[1],    row->styles[3], row->styles[0],
		row->styles[1], row->styles[2],
	};
	const char *const plain[] = {row->check, row->levels[w->ask->level]};
	bool styled = w->ask->style != STYLE_GENERAL;
	/* Pairs overlap by one at most: those of facets begin even, those of
	 * things odd, and the further ones are not neighbours. */
	static const size_t steps[] = {1, 3, 2, 5};
	size_t step = steps[w->turn / 4 % COUNTOF(steps)];
	size_t at = 2 * w->turn + w->thing + (size_t)w->ask->level;
	size_t n = w->ask->detail == DETAIL_HIGH ? 4 : 2;

	if (styled) {
		put_form(w, row->styles[w->ask->style - 1]);
		n /= 2;
	}
	for (size_t i = 0; i < n; i++)
		put_form(w, styled ? plain[(at + i) % COUNTOF(plain)]
		                   : any[(at + i * step) % COUNTOF(any)]);
}

/* --- a facet of the topic ---------------------------------------------------------- */

/* What our own table says; "data structures are the ways ...". */
static void put_meaning(struct writer *w)
{
	struct str name = w->topic->bare;
	bool many = name.n > 1 && name.p[name.n - 1] == 's' &&
	            name.p[name.n - 2] >= 'a' && name.p[name.n - 2] != 's';
	AUTO_BUF b = {0};

	buf_str(&b, name);
	buf_str(&b, many ? STR(" are ") : STR(" is "));
	buf_str(&b, w->topic->meaning);
	if (b.failed)
		w->text.failed = true;
	prose_sentence(&w->next, buf_view(&b));
	put(w);
}

static void put_draw(struct writer *w, enum draw draw)
{
	const struct wn_synset *s = &w->topic->syn;

	if (!w->topic->known) {
		if (draw == DRAW_MEANING && w->topic->meaning.n) {
			put_meaning(w);
		}
		return;
	}
	switch (draw) {
	case DRAW_NONE:
		break;
	case DRAW_MEANING:
		prose_define(&w->next, s, w->topic->bare);
		put(w);
		break;
	case DRAW_KINDS:
		put_list(w, s, WANT_KINDS, "One kind to begin with is ",
		         "Kinds to begin with are ");
		break;
	case DRAW_PARTS:
		put_list(w, s, WANT_PARTS, "One part to begin with is ",
		         "Parts to begin with are ");
		break;
	case DRAW_TERMS:
		put_list(w, s, WANT_TERMS | WANT_PARTS | WANT_KINDS,
		         "One word to begin with is ",
		         "Words to begin with are ");
		break;
	case DRAW_NEAR:
		put_list(w, s, WANT_SISTERS, "Another of the same kind is ",
		         "Others of the same kind are ");
		break;
	}
}

/* Title and text: "History of calculus: Look for when ...". */
static void put_title(struct writer *w, const char *look)
{
	buf_str(&w->next, w->ask->subtopic);
	buf_str(&w->next, STR(": "));
	text_fill(&w->next, look, &w->in);
	put(w);
}

/* Lions do not "come in at a point", nor do they stand on the map. */
static bool thing_suits(const struct wn_synset *s, enum skill skill)
{
	static const enum wn_lex places[] = {WN_LEX_LOCATION, WN_LEX_OBJECT};
	static const enum wn_lex steps[] = {
		WN_LEX_PROCESS, WN_LEX_PHENOMENON, WN_LEX_ACT,
		WN_LEX_EVENT,   WN_LEX_SUBSTANCE,  WN_LEX_BODY,
	};
	bool space = skill == SKILL_SPACE;
	const enum wn_lex *of = space ? places : steps;
	size_t n = space ? COUNTOF(places) : COUNTOF(steps);

	if (!space && skill != SKILL_PROCESS)
		return true;
	for (size_t i = 0; i < n; i++)
		if (s->lex_file == of[i])
			return true;
	return false;
}

static const struct wn_synset *thing_for(const struct around *all,
                                         const struct facet *f)
{
	size_t n = all->n;

	while (n > 0 && all->v[n - 1].score < THING_ENOUGH)
		n--;
	for (size_t i = 0; i < n; i++) {
		const struct related *r =
			&all->v[((size_t)(f - facets) + i) % n];

		if (thing_suits(&r->syn, f->skill))
			return &r->syn;
	}
	return NULL;
}

/*
 * A thing of the topic to hold on to, with its definition: "Ask, for instance,
 * where {x} belongs."  Facets of one skill get different things.
 */
static void put_thing(struct writer *w, const struct facet *f)
{
	struct blanks in = w->in;
	AUTO_BUF name = {0};
	AUTO_BUF bare = {0};
	const struct wn_synset *s = thing_for(w->around, f);
	struct str lemma;

	if (!s || !wn_word(s, 0, &lemma, NULL) || str_ieq(lemma, w->topic->key))
		return;
	prose_name(&bare, lemma);
	if (prose_counted(s, lemma))
		buf_str(&name, STR("the "));
	buf_str(&name, buf_view(&bare));
	if (name.failed || bare.failed)
		w->text.failed = true;
	in.x = buf_view(&name);
	text_fill(&w->next, skill_row(f->skill)->lead[w->turn % 2], &in);
	buf_char(&w->next, ' ');
	prose_define(&w->next, s, buf_view(&bare));
	put(w);
}

static void write_facet(struct writer *w, const struct facet *f)
{
	put_title(w, f->look);
	put_draw(w, f->draw);
	if (f->draw == DRAW_NONE)
		put_thing(w, f);
	put_advice(w, f->skill);
	if (w->ask->detail == DETAIL_HIGH && w->topic->known &&
	    f->draw != DRAW_MEANING) {
		prose_define(&w->next, &w->topic->syn, w->topic->bare);
		put(w);
	}
}

/* --- something nobody here knows ------------------------------------------------------ */

static const struct facet unknown_facet = {
	.skill = SKILL_CONCEPT,
	.draw = DRAW_MEANING,
	.look = "This is one part of {t}; find out which question it answers, "
		"which words it needs and how it connects to the parts before "
		"and after it.",
	.task = "Write three questions about {s} and look for the answers in "
		"two sources that do not quote each other.",
};

/* --- something the dictionary knows ------------------------------------------------------ */

static bool is_linked(const struct wn_synset *s, struct wn_ref to,
                      const enum wn_rel *rels, size_t n)
{
	for (struct wn_links l = wn_links(s); wn_next(&l);)
		for (size_t i = 0; i < n; i++)
			if (l.rel == rels[i] && wn_same(l.to, to))
				return true;
	return false;
}

/* How it hangs on the topic, with others that do so too; where there are none,
 * and by lot, one of two plain sentences. */
static void put_among(struct writer *w, const struct wn_synset *s,
                      unsigned want, const char *among, const char *const * or)
{
	struct wn_synset v[NAMED_MAX - 1];
	size_t n = w->turn % 3 == 0 ? others(w, s, want, v, COUNTOF(v)) : 0;

	if (n < 2) {
		put_form(w, or [w->turn % 2]);
		return;
	}
	text_fill(&w->next, among, &w->in);
	prose_list(&w->next, v, n);
	prose_stop(&w->next);
	put(w);
}

/* How the subtopic hangs on the topic, as a sentence and as a way to study. */
static enum skill put_place(struct writer *w, const struct wn_synset *s)
{
	static const enum wn_rel up[] = {WN_HYPERNYM, WN_INSTANCE_OF};
	static const enum wn_rel part[] = {WN_PART_OF, WN_MEMBER_OF,
	                                   WN_SUBSTANCE_OF};
	static const char *const kinds[] = {
		"What holds for {t} as a whole holds for it too.",
		"It shares the general features of {t} and adds some of its "
		"own.",
	};
	static const char *const parts[] = {
		"It is a part of {t}, so ask what it contributes to the whole.",
		"It is a part of {t}; ask what would be missing without it.",
	};
	static const char *const terms[] = {
		"Texts on {t} often take it as known, so it pays to learn it "
		"early.",
		"It is one of the things that the study of {t} deals with.",
	};
	struct wn_ref to = w->topic->syn.ref;

	if (is_linked(s, to, up, COUNTOF(up))) {
		put_among(w, s, WANT_KINDS,
		          "Beside it in the study of {t} stand ", kinds);
		return SKILL_COMPARE;
	}
	if (is_linked(s, to, part, COUNTOF(part))) {
		put_among(w, s, WANT_PARTS, "It is a part of {t}, as are ",
		          parts);
		return s->lex_file == WN_LEX_LOCATION ? SKILL_SPACE
		       : s->lex_file == WN_LEX_BODY ||
		                       s->lex_file == WN_LEX_ARTIFACT
		               ? SKILL_STRUCTURE
		               : SKILL_CONCEPT;
	}
	put_among(w, s, WANT_TERMS,
	          "In the study of {t} it goes together with ", terms);
	return s->lex_file == WN_LEX_PROCESS ? SKILL_PROCESS : SKILL_CONCEPT;
}

static void write_known(struct writer *w, const struct subject *sub)
{
	enum skill way;

	prose_define(&w->next, &sub->syn, w->name);
	put(w);
	way = put_place(w, &sub->syn);
	put_list(w, &sub->syn, WANT_KINDS, "A kind of it is ",
	         "Kinds of it include ");
	put_list(w, &sub->syn, WANT_PARTS, "A part of it is ",
	         "Its parts include ");
	if (w->ask->detail != DETAIL_LOW) {
		put_sister(w, &sub->syn);
		put_example(w, &sub->syn);
	}
	put_advice(w, way);
	if (w->ask->detail == DETAIL_HIGH) {
		struct wn_synset v[3];
		size_t n = related(w, &sub->syn, WANT_KINDS | WANT_PARTS, v, 3);

		put_above(w, &sub->syn);
		for (size_t i = 0; i < n; i++)
			put_definition(w, &v[i]);
		put_list(w, &sub->syn, WANT_TERMS,
		         "A word that goes with it is ",
		         "Words that go with it are ");
	}
}

/* --- one lesson -------------------------------------------------------------------------- */

/*
 * What {s} stands for: the thing itself, as the dictionary writes it, or the
 * topic where the subtopic is only a side of it.
 */
static enum err set_names(struct writer *w, const struct subject *sub,
                          bool facet)
{
	AUTO_BUF b = {0};
	struct str lemma;

	w->in.s = facet ? w->topic->phrase : sub->name;
	if (!sub->known || !wn_word(&sub->syn, 0, &lemma, NULL)) {
		if (facet)
			return OK;
		buf_char(&b, '"');
		buf_str(&b, w->ask->subtopic);
		buf_char(&b, '"');
		return text_keep(w->a, &b, &w->in.s);
	}
	w->name = sub->name;
	prose_name(&b, lemma);
	if (b.failed)
		return ERR_NOMEM;
	if (!str_ieq(buf_view(&b), sub->name))
		return OK;
	if (prose_counted(&sub->syn, sub->name)) {
		buf_clear(&b);
		buf_str(&b, STR("the "));
		prose_name(&b, lemma);
		w->name.p = NULL;
	}
	if (text_keep(w->a, &b, &w->in.s))
		return ERR_NOMEM;
	w->name = w->name.p ? w->in.s
	                    : (struct str){w->in.s.p + 4, w->in.s.n - 4};
	return OK;
}

static enum err write_use(struct writer *w, const struct subject *sub,
                          const struct facet *f, struct str *out)
{
	AUTO_BUF b = {0};
	struct blanks in = w->in;
	enum kind kind = sub->known ? sub->kind : w->topic->kind;

	/* A tower in Paris is of use as a part of the city. */
	if (w->topic->kind == KIND_PLACE && sub->known &&
	    prose_proper(&sub->syn))
		kind = KIND_PLACE;
	if (!sub->known)
		in.s = w->topic->phrase;
	text_fill(&b, kind_use(kind, w->hash), &in);
	if (b.n && b.p[0] >= 'a' && b.p[0] <= 'z')
		b.p[0] = (char)(b.p[0] - 'a' + 'A');
	if (f) {
		buf_str(&b, STR(" Try this: "));
		text_fill(&b, f->task, &w->in);
	}
	return text_keep(w->a, &b, out);
}

static enum err write_search(struct writer *w, struct str *out)
{
	static const char *const ends[LEVEL_COUNT] = {
		" explained for beginners", " explained", " lecture"};
	AUTO_BUF b = {0};

	buf_str(&b, w->ask->subtopic);
	if (!text_has(w->ask->subtopic, w->topic->name)) {
		buf_char(&b, ' ');
		buf_str(&b, w->topic->name);
	}
	buf_str(&b, str_from(ends[w->ask->level]));
	return text_keep(w->a, &b, out);
}

static const size_t words_max[] = {
	[DETAIL_LOW] = 100, [DETAIL_MEDIUM] = 150, [DETAIL_HIGH] = 300};

static enum err tell(struct writer *w, const struct subject *sub,
                     const struct facet *f, struct lesson *out)
{
	struct verdict v;
	enum err e;

	if (sub->known)
		write_known(w, sub);
	else
		write_facet(w, f ? f : &unknown_facet);
	e = text_keep(w->a, &w->text, &out->explanation);
	if (!e)
		e = write_use(w, sub, f, &out->application);
	if (!e)
		e = write_search(w, &out->search);
	if (e)
		return e;
	quality_lesson(out->explanation, w->ask->subtopic, &v);
	/* What is only a way to study must not look like knowledge. */
	out->score = v.score * (sub->known        ? 1
	                        : !f              ? 0.5
	                        : w->topic->known ? 0.8
	                                          : 0.6);
	for (size_t i = 0; i < v.warnings_n; i++)
		warnings_add(&out->warnings, str_from(v.warnings[i]));
	if (!sub->known)
		warnings_add(&out->warnings,
		             f ? STR("This is guidance for studying, made "
		                     "without a text on the matter.")
		               : STR("The offline dictionary does not know "
		                     "this subtopic: this is guidance for "
		                     "studying it."));
	warnings_language(&out->warnings, w->ask->lang);
	return OK;
}

/* Where s stands among what is around the topic; behind it, by lot. */
static size_t place_of(const struct around *around, const struct wn_synset *s)
{
	for (size_t i = 0; i < around->n; i++)
		if (wn_same(around->v[i].syn.ref, s->ref))
			return i;
	return s->ref.offset % AROUND_MAX;
}

static enum err lesson(const struct wordnet *wn, struct arena *a,
                       const struct subject *topic, const struct around *around,
                       const struct lesson_ask *ask, struct lesson *out)
{
	struct writer w = {
		.wn = wn,
		.a = a,
		.topic = topic,
		.around = around,
		.ask = ask,
		.in = {.t = topic->phrase, .x = topic->bare},
		.hash = text_hash(ask->subtopic, 1),
		.max = words_max[ask->detail],
	};
	const struct facet *f = NULL;
	struct subject sub = {.known = false};
	enum err e;

	*out = (struct lesson){.score = 0};
	e = plan_facet_of(a, topic, ask->subtopic, &f);
	if (!e && !f)
		e = plan_subtopic(wn, a, topic, ask->subtopic, &sub);
	w.thing = sub.known;
	w.turn = f           ? facet_turn(f, topic->kind)
	         : sub.known ? place_of(around, &sub.syn)
	                     : (size_t)(w.hash % 8);
	if (!e)
		e = set_names(&w, &sub, f != NULL);
	if (!e)
		e = tell(&w, &sub, f, out);
	buf_fini(&w.text);
	buf_fini(&w.next);
	return e;
}

enum err offline_lessons(const struct wordnet *wn, struct arena *a,
                         const struct lesson_ask *ask, const struct str *focus,
                         size_t n, struct lesson *out)
{
	struct subject topic;
	struct around *around = arena_alloc(a, sizeof(*around));
	enum err e = around ? subject_of(wn, a, ask->topic, NULL, &topic)
	                    : ERR_NOMEM;

	if (!e)
		around->n =
			topic.known
				? relate(wn, &topic.syn,
		                         WANT_KINDS | WANT_PARTS | WANT_TERMS,
		                         around->v, AROUND_MAX)
				: 0;
	for (size_t i = 0; i < n && !e; i++) {
		struct lesson_ask one = *ask;

		one.subtopic = str_trim(focus[i]);
		e = lesson(wn, a, &topic, around, &one, &out[i]);
	}
	return e;
}
