#include "svc-content/offline/sense.h"

#include "svc-content/offline/kind.h"
#include "svc-content/offline/subject.h"
#include "svc-content/offline/unfit.h"
#include "svc-content/text.h"

/* Points; chosen on the topics of tests/unit/test_sense.c. */
enum {
	POINTS_RANK = -4,      /* for each commoner sense */
	POINTS_FIELD_TERM = 8, /* belongs to a field of study */
	POINTS_IS_FIELD = 14,  /* is one */
	POINTS_HAS_TERMS = 10, /* others belong to it */
	POINTS_LANGUAGE = 14,  /* "Japanese" is learned, not the people */
	POINTS_RICH = 3,       /* has enough below it to teach */
	POINTS_INSTANCE = -6,  /* a certain person, place or god */
	POINTS_PERSON = -4,
	POINTS_WORD = 12, /* for each word shared with the hint */
	PLAUSIBLE = 12,   /* so far behind, a sense is still offered */
};

static int tagged(const struct wordnet *wn, const struct wn_synset *s)
{
	unsigned count = wordnet_count(wn, s);
	int points = 0;

	for (; count > 0 && points < 16; count >>= 1)
		points += 2;
	return points;
}

static bool has_instance(const struct wn_synset *s)
{
	for (struct wn_links l = wn_links(s); wn_next(&l);)
		if (l.rel == WN_INSTANCE_OF)
			return true;
	return false;
}

static bool in_field(const struct wordnet *wn, const struct wn_synset *s,
                     struct wn_ref discipline)
{
	for (struct wn_links l = wn_links(s); wn_next(&l);)
		if (l.rel == WN_IN_DOMAIN &&
		    wordnet_under(wn, l.to, discipline))
			return true;
	return false;
}

static size_t links_of(const struct wn_synset *s, enum wn_rel rel)
{
	size_t n = 0;

	for (struct wn_links l = wn_links(s); wn_next(&l);)
		n += l.rel == rel;
	return n;
}

static int academic(const struct wordnet *wn, const struct wn_synset *s)
{
	struct wn_synset field;
	int points = 0;

	if (kind_sense(wn, STR("discipline"), WN_LEX_COGNITION, 0, &field)) {
		if (wordnet_under(wn, s->ref, field.ref))
			points += POINTS_IS_FIELD;
		else if (in_field(wn, s, field.ref))
			points += POINTS_FIELD_TERM;
	}
	if (kind_sense(wn, STR("natural_language"), WN_LEX_COMMUNICATION, 0,
	               &field) &&
	    wordnet_under(wn, s->ref, field.ref))
		points += POINTS_LANGUAGE;
	if (links_of(s, WN_DOMAIN_TERM) >= 5)
		points += POINTS_HAS_TERMS;
	if (links_of(s, WN_HYPONYM) + links_of(s, WN_HAS_PART) >= 4)
		points += POINTS_RICH;
	return points;
}

static bool names(const struct wn_synset *s, struct str word)
{
	struct str lemma;

	for (unsigned i = 0; wn_word(s, i, &lemma, NULL); i++)
		if (text_has_word(lemma, word))
			return true;
	return false;
}

int sense_overlap(const struct wordnet *wn, const struct wn_synset *s,
                  struct str hint)
{
	struct str rest = hint, word;
	int points = 0;

	for (word = text_word(&rest); word.n; word = text_word(&rest)) {
		struct wn_synset up = *s;
		int found = text_has_word(s->gloss, word);

		if (text_common(word))
			continue;
		for (int depth = 0; depth < 6 && found < 2; depth++) {
			if (depth > 0 && names(&up, word))
				found = 2;
			if (!wordnet_synset(wn, wn_parent(&up), &up))
				break;
		}
		points += found;
	}
	return points;
}

static bool linked(const struct wn_synset *s, struct wn_ref to)
{
	for (struct wn_links l = wn_links(s); wn_next(&l);)
		if (wn_same(l.to, to) && l.rel != WN_OTHER)
			return true;
	return false;
}

static bool same_field(const struct wn_synset *a, const struct wn_synset *b)
{
	for (struct wn_links l = wn_links(a); wn_next(&l);)
		if (l.rel == WN_IN_DOMAIN &&
		    (wn_same(l.to, b->ref) || linked(b, l.to)))
			return true;
	return false;
}

/* Content words that both glosses use. */
static int shared_words(const struct wn_synset *a, const struct wn_synset *b)
{
	struct str rest = a->gloss, word;
	int n = 0;

	for (word = text_word(&rest); word.n; word = text_word(&rest))
		n += !text_common(word) && word.n > 3 &&
		     text_has_word(b->gloss, word);
	return n;
}

int sense_near(const struct wordnet *wn, const struct wn_synset *s,
               const struct wn_synset *to)
{
	struct str lemma;
	int points = 0;

	if (linked(s, to->ref) || linked(to, s->ref))
		points += 40;
	else if (wordnet_under(wn, s->ref, to->ref) ||
	         wn_same(wn_parent(s), wn_parent(to)))
		points += 25;
	if (same_field(s, to) || same_field(to, s))
		points += 15;
	for (unsigned i = 0; wn_word(to, i, &lemma, NULL); i++)
		points += text_has_word(s->gloss, lemma) ? 8 : 0;
	points += 3 * shared_words(s, to);
	return points;
}

static int score(const struct wordnet *wn, const struct wn_synset *s,
                 size_t rank, const struct sense_context *cx, bool *hinted)
{
	int points = tagged(wn, s) + academic(wn, s);
	int near = 0;

	points += POINTS_RANK * (int)(rank < 6 ? rank : 6);
	if (has_instance(s))
		points += POINTS_INSTANCE;
	else if (s->lex_file == WN_LEX_PERSON)
		points += POINTS_PERSON;
	if (cx->hint.n)
		near += POINTS_WORD * sense_overlap(wn, s, cx->hint);
	if (cx->within)
		near += sense_near(wn, s, cx->within);
	*hinted = near >= POINTS_WORD;
	return points + near;
}

bool sense_choose(const struct wordnet *wn, struct str lemma,
                  const struct sense_context *cx, struct sense_choice *out)
{
	struct wn_senses senses;
	struct wn_synset all[WN_SENSES_MAX];
	int points[WN_SENSES_MAX];
	bool hinted[WN_SENSES_MAX];
	size_t n = 0, best = 0;

	if (!wordnet_lookup(wn, WN_NOUN, lemma, &senses))
		return false;
	for (size_t i = 0; i < senses.n; i++) {
		if (!wordnet_synset(wn, senses.v[i], &all[n]) ||
		    unfit_offends(wn, &all[n]))
			continue;
		points[n] = score(wn, &all[n], i, cx, &hinted[n]);
		if (points[n] > points[best])
			best = n;
		n++;
	}
	if (n == 0)
		return false;
	*out = (struct sense_choice){.taken = all[best],
	                             .score = points[best],
	                             .hinted = hinted[best]};
	for (size_t i = 0; i < n && out->others_n < SENSE_OTHERS_MAX; i++)
		/* Two senses of one kind rarely mislead a learner. */
		if (i != best &&
		    (cx->tell_all || points[i] + PLAUSIBLE >= points[best]) &&
		    all[i].lex_file != all[best].lex_file)
			out->others[out->others_n++] = all[i];
	return true;
}
