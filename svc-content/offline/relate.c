#include "svc-content/offline/relate.h"

#include "svc-content/offline/prose.h"
#include "svc-content/offline/subject.h"
#include "svc-content/offline/unfit.h"
#include "svc-content/text.h"

enum {
	POINTS_KIND = 20,
	POINTS_PART = 22,
	POINTS_TERM = 12,
	POINTS_SISTER = 10,
	POINTS_NAMED = 6,  /* carries the name of the whole */
	POINTS_FIRST = 4,  /* the first meaning of its word */
	POINTS_LATER = -4, /* for each meaning before it, at most four */
	POINTS_PERSON = -12,
	POINTS_PROPER = -10, /* "Bach" is no kind of music to begin with */
	POINTS_RARE = -9,    /* one long foreign-looking word nobody tagged */
	POINTS_LOOSE = -4,   /* a phrase nobody tagged, under another name */
	POINTS_OTHER = -8,   /* a kind of something else before this */
	SCAN_MAX = 400,      /* links looked at; "person" has hundreds */
	SCAN_SISTERS = 100,  /* of neighbours any few will do */
};

static bool relation_of(enum wn_rel rel, enum relation *out)
{
	switch (rel) {
	case WN_HYPONYM:
	case WN_INSTANCE:
		*out = RELATION_KIND;
		return true;
	case WN_HAS_PART:
	case WN_HAS_MEMBER:
	case WN_HAS_SUBSTANCE:
		*out = RELATION_PART;
		return true;
	case WN_DOMAIN_TERM:
		*out = RELATION_TERM;
		return true;
	case WN_ANTONYM:
	case WN_HYPERNYM:
	case WN_INSTANCE_OF:
	case WN_MEMBER_OF:
	case WN_SUBSTANCE_OF:
	case WN_PART_OF:
	case WN_DERIVED:
	case WN_IN_DOMAIN:
	case WN_USAGE:
	case WN_OTHER:
		break;
	}
	return false;
}

/* Citizens are no parts of their city, and "hush" no term of poetry. */
static bool pointless(const struct wn_synset *s, const struct wn_synset *of,
                      enum relation relation)
{
	return (relation == RELATION_PART && s->lex_file == WN_LEX_PERSON &&
	        of->lex_file != WN_LEX_GROUP) ||
	       str_starts(s->gloss, STR("(poetic")) || unfit_odd(s);
}

/* Trade names, archaic and informal words are not subtopics. */
static bool marked(const struct wn_synset *s)
{
	for (struct wn_links l = wn_links(s); wn_next(&l);)
		if (l.rel == WN_USAGE)
			return true;
	return false;
}

static bool ends_in(struct str s, struct str tail)
{
	return s.n > tail.n && tail.n >= 3 &&
	       str_ieq((struct str){s.p + s.n - tail.n, tail.n}, tail);
}

/* "plant cell" of "cell", "ionic bond" of "chemical bond", "lioness". */
static bool shares_name(const struct wn_synset *s, const struct wn_synset *of)
{
	struct str word, lemma;

	for (unsigned i = 0; wn_word(of, i, &lemma, NULL); i++) {
		const char *gap = memrchr(lemma.p, '_', lemma.n);
		struct str head = lemma;

		if (gap)
			head = (struct str){gap,
			                    (size_t)(lemma.p + lemma.n - gap)};
		for (unsigned k = 0; wn_word(s, k, &word, NULL); k++)
			if (ends_in(word, head) ||
			    (word.n > lemma.n && text_has(word, lemma)))
				return true;
	}
	return false;
}

static int weight(const struct wn_synset *s, unsigned count)
{
	unsigned below = s->links_n;
	int points = 0;

	for (; count > 0 && points < 12; count >>= 1)
		points += 2;
	for (; below > 1 && points < 24; below >>= 1)
		points += 2;
	return points;
}

static const int base[] = {
	[RELATION_KIND] = POINTS_KIND,
	[RELATION_PART] = POINTS_PART,
	[RELATION_TERM] = POINTS_TERM,
	[RELATION_SISTER] = POINTS_SISTER,
};

static void judge(const struct wordnet *wn, const struct wn_synset *of,
                  struct related *r)
{
	unsigned rank = wordnet_rank(wn, &r->syn, 0);
	unsigned count = wordnet_count(wn, &r->syn);
	struct str lemma = {NULL, 0};
	bool phrase, named = shares_name(&r->syn, of);

	(void)wn_word(&r->syn, 0, &lemma, NULL);
	phrase = lemma.n && memchr(lemma.p, '_', lemma.n);
	r->first = rank == 1;
	r->score = base[r->relation] + weight(&r->syn, count);
	if (r->relation == RELATION_KIND &&
	    !wn_same(wn_parent(&r->syn), of->ref))
		r->score += POINTS_OTHER;
	if (named)
		r->score += POINTS_NAMED;
	else if (phrase && count == 0 && r->relation == RELATION_KIND)
		r->score += POINTS_LOOSE;
	r->score += rank <= 1 ? POINTS_FIRST
	                      : POINTS_LATER * (int)(rank < 5 ? rank - 1 : 4);
	if (r->syn.lex_file == WN_LEX_PERSON && of->lex_file != WN_LEX_PERSON)
		r->score += POINTS_PERSON;
	if (prose_proper(&r->syn) && of->lex_file != WN_LEX_LOCATION &&
	    of->lex_file != WN_LEX_OBJECT && of->lex_file != WN_LEX_EVENT &&
	    !prose_proper(of))
		r->score += POINTS_PROPER;
	if (!phrase && count == 0 && r->syn.links_n <= 2)
		r->score += POINTS_RARE;
}

static bool seen(const struct related *v, size_t n, struct wn_ref ref)
{
	for (size_t i = 0; i < n; i++)
		if (wn_same(v[i].syn.ref, ref))
			return true;
	return false;
}

/* Keeps the best max, best first; r belongs among them. */
static void insert(struct related *v, size_t *n, size_t max,
                   const struct related *r)
{
	size_t i = *n;

	if (*n == max)
		i--;
	else
		(*n)++;
	for (; i > 0 && v[i - 1].score < r->score; i--)
		v[i] = v[i - 1];
	v[i] = *r;
}

static void gather(const struct wordnet *wn, const struct wn_synset *from,
                   const struct wn_synset *of, unsigned want, bool sisters,
                   struct related *out, size_t *n, size_t max)
{
	size_t looked = 0, most = sisters ? SCAN_SISTERS : SCAN_MAX;
	/* Beside Einstein stand other physicists, not kinds of them. */
	bool instances = sisters && prose_proper(of);

	for (struct wn_links l = wn_links(from);
	     wn_next(&l) && looked < most;) {
		struct related r;

		if (l.to.pos != WN_NOUN || !relation_of(l.rel, &r.relation) ||
		    (instances && l.rel != WN_INSTANCE))
			continue;
		if (sisters)
			r.relation = l.rel == WN_HYPONYM || l.rel == WN_INSTANCE
			                     ? RELATION_SISTER
			                     : RELATION_PART;
		looked++;
		if (!(want >> r.relation & 1) || wn_same(l.to, of->ref) ||
		    seen(out, *n, l.to) || !wordnet_synset(wn, l.to, &r.syn))
			continue;
		judge(wn, of, &r);
		/* Most have no place among the best: they need no more. */
		if (*n == max && r.score <= out[max - 1].score)
			continue;
		if (!marked(&r.syn) && !pointless(&r.syn, of, r.relation) &&
		    !unfit_delicate(&r.syn) && !unfit_offends(wn, &r.syn))
			insert(out, n, max, &r);
	}
}

size_t relate(const struct wordnet *wn, const struct wn_synset *s,
              unsigned want, struct related *out, size_t max)
{
	struct wn_synset up;
	size_t n = 0;

	if (max == 0)
		return 0;
	gather(wn, s, s, want & ~(unsigned)WANT_SISTERS, false, out, &n, max);
	if (want & WANT_SISTERS && wordnet_synset(wn, wn_parent(s), &up))
		gather(wn, &up, s, WANT_SISTERS, true, out, &n, max);
	return n;
}
