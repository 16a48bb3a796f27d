#include "svc-content/offline/plan.h"

#include "svc-content/offline/prose.h"
#include "svc-content/offline/sense.h"
#include "svc-content/text.h"

#define TITLE_BYTES 160
/* Points of sense_near() from which a word belongs to the topic. */
#define BELONGS 8

/* "calculus in ..." begins with a capital; "iOS in ..." is left alone. */
static void raise_first(struct buf *b)
{
	size_t i = 0;

	if (b->failed)
		return;
	while (i < b->n && b->p[i] >= 'a' && b->p[i] <= 'z')
		i++;
	if (i > 0 && (i == b->n || b->p[i] == ' '))
		b->p[0] = (char)(b->p[0] - 'a' + 'A');
}

static void fill_title(struct buf *b, const struct facet *f, struct str phrase,
                       struct str bare)
{
	struct blanks in = {.t = phrase, .x = bare};

	text_fill(b, f->title, &in);
	raise_first(b);
}

enum err plan_facet_title(struct arena *a, const struct facet *f,
                          const struct subject *s, struct str *out)
{
	AUTO_BUF b = {0};

	fill_title(&b, f, s->phrase, s->bare);
	if (!b.failed && (text_words(buf_view(&b)) > SUBTOPIC_WORDS_MAX ||
	                  b.n > TITLE_BYTES)) {
		buf_clear(&b);
		fill_title(&b, f, STR("this topic"), STR("this topic"));
	}
	return text_keep(a, &b, out);
}

/* "Leyte_invasion" is a name with a common noun in it. */
static bool says_what(struct str word)
{
	for (size_t i = 0; i + 1 < word.n; i++)
		if (word.p[i] == '_' && word.p[i + 1] >= 'a' &&
		    word.p[i + 1] <= 'z')
			return true;
	return false;
}

/* The first word, but for battles: "Leyte invasion" tells more than "Leyte". */
static bool title_word(const struct wn_synset *s, struct str *out)
{
	struct str word;

	if (!wn_word(s, 0, out, NULL))
		return false;
	if (s->lex_file != WN_LEX_ACT || !prose_proper(s))
		return true;
	for (unsigned i = 1; wn_word(s, i, &word, NULL); i++)
		if (!says_what(*out) && says_what(word))
			*out = word;
	return true;
}

enum err plan_related_title(struct arena *a, const struct related *r,
                            const struct subject *s, struct str *out)
{
	AUTO_BUF b = {0};
	struct str lemma;

	*out = STR("");
	if (!title_word(&r->syn, &lemma))
		return OK;
	prose_title(&b, lemma);
	if (b.failed)
		return ERR_NOMEM;
	/* "Law (law)" would say nothing. */
	if (str_ieq(buf_view(&b), s->name))
		return OK;
	if (!r->first) {
		buf_str(&b, STR(" ("));
		buf_str(&b, s->name);
		buf_char(&b, ')');
	}
	if (b.failed)
		return ERR_NOMEM;
	if (text_words(buf_view(&b)) > SUBTOPIC_WORDS_MAX ||
	    b.n > TITLE_BYTES || b.n < 3)
		return OK;
	return text_keep(a, &b, out);
}

enum err plan_facet_of(struct arena *a, const struct subject *s,
                       struct str title, const struct facet **out)
{
	AUTO_BUF b = {0};

	(void)a;
	*out = NULL;
	for (size_t i = 0; i < facets_n && !*out; i++) {
		if (!facet_suits(&facets[i], s->kind))
			continue;
		buf_clear(&b);
		fill_title(&b, &facets[i], s->phrase, s->bare);
		if (!b.failed && !str_ieq(buf_view(&b), title)) {
			buf_clear(&b);
			fill_title(&b, &facets[i], STR("this topic"),
			           STR("this topic"));
		}
		if (b.failed)
			return ERR_NOMEM;
		if (str_ieq(buf_view(&b), title))
			*out = &facets[i];
	}
	return OK;
}

/*
 * The dictionary knows one meaning, of a class where words that it lacks seldom
 * hide: "chlorophyll" and "mitochondria" are safe in any lesson, while
 * "Docker", which it takes for a person, is not.
 */
static bool means_one_thing(const struct wordnet *wn, const struct subject *s)
{
	static const enum wn_lex open[] = {
		WN_LEX_ARTIFACT,
		WN_LEX_FOOD,
		WN_LEX_LOCATION,
		WN_LEX_PERSON,
	};
	struct wn_senses senses;
	char text[WN_LEMMA_MAX];
	struct str base;

	for (size_t i = 0; i < COUNTOF(open); i++)
		if (s->syn.lex_file == open[i])
			return false;
	return wordnet_base(wn, s->key, text, &base) &&
	       wordnet_lookup(wn, WN_NOUN, base, &senses) && senses.n == 1;
}

enum err plan_subtopic(const struct wordnet *wn, struct arena *a,
                       const struct subject *topic, struct str title,
                       struct subject *out)
{
	enum err e = subject_of(wn, a, title, topic, out);

	if (e || !out->known)
		return e;
	/* Warnings about other meanings are for topics: here the topic tells. */
	out->warnings.n = 0;
	if (topic->known) {
		out->known =
			wn_same(out->syn.ref, topic->syn.ref) ||
			sense_near(wn, &out->syn, &topic->syn) >= BELONGS ||
			means_one_thing(wn, out);
	} else {
		/* Nothing to check against: only phrases of one meaning. */
		out->known = memchr(out->key.p, ' ', out->key.n) &&
		             means_one_thing(wn, out);
	}
	if (!out->known)
		out->kind = topic->kind;
	return OK;
}
