#include "svc-content/offline/wrong.h"

#include "svc-content/offline/prose.h"
#include "svc-content/text.h"

#define TAIL_MIN 6 /* letters that two names end in */

static bool share_word(const struct wn_synset *a, const struct wn_synset *b)
{
	struct str x, y;

	for (unsigned i = 0; wn_word(a, i, &x, NULL); i++)
		for (unsigned k = 0; wn_word(b, k, &y, NULL); k++)
			if (str_ieq(x, y))
				return true;
	return false;
}

bool wrong_synonymous(const struct wordnet *wn, const struct wn_synset *a,
                      const struct wn_synset *b)
{
	struct wn_senses senses;
	struct wn_synset s;
	struct str x, y, word;

	if (!wn_word(a, 0, &x, NULL) || !wn_word(b, 0, &y, NULL) ||
	    !wordnet_lookup(wn, WN_NOUN, y, &senses))
		return false;
	for (size_t i = 0; i < senses.n; i++)
		if (wordnet_synset(wn, senses.v[i], &s))
			for (unsigned k = 0; wn_word(&s, k, &word, NULL); k++)
				if (str_ieq(word, x))
					return true;
	return false;
}

bool wrong_apart(const struct wordnet *wn, const struct wn_synset *a,
                 const struct wn_synset *b)
{
	return !wn_same(a->ref, b->ref) && !share_word(a, b) &&
	       !wordnet_under(wn, a->ref, b->ref) &&
	       !wordnet_under(wn, b->ref, a->ref);
}

bool wrong_class(const struct wordnet *wn, const struct wn_synset *s,
                 struct wn_ref up)
{
	struct wn_senses senses;
	struct str lemma;

	if (!wn_word(s, 0, &lemma, NULL) ||
	    !wordnet_lookup(wn, WN_NOUN, lemma, &senses))
		return false;
	for (size_t i = 0; i < senses.n; i++)
		if (wordnet_under(wn, senses.v[i], up))
			return false;
	return !wordnet_under(wn, up, s->ref);
}

bool wrong_says_same(struct str a, struct str b)
{
	bool swap = text_words(a) > text_words(b);
	struct str rest = swap ? b : a, other = swap ? a : b, word;

	for (word = text_word(&rest); word.n; word = text_word(&rest))
		if (!text_common(word) && !text_has_word(other, word))
			return false;
	return true;
}

/* "Right triangle" and "acute triangle", "geochemistry" and "chemistry". */
static bool share_tail(const struct wn_synset *a, const struct wn_synset *b)
{
	struct str x, y;
	size_t n = 0;

	if (!wn_word(a, 0, &x, NULL) || !wn_word(b, 0, &y, NULL))
		return false;
	while (n < x.n && n < y.n && x.p[x.n - 1 - n] == y.p[y.n - 1 - n])
		n++;
	return n >= TAIL_MIN;
}

unsigned wrong_distance(const struct wn_synset *a, const struct wn_synset *b)
{
	bool like = a->lex_file == b->lex_file &&
	            prose_proper(a) == prose_proper(b);

	return like && share_tail(a, b) ? 0 : like ? 1 : 2;
}
