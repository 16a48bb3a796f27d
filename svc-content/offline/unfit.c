#include "svc-content/offline/unfit.h"

#include "svc-content/text.h"

/* Glosses are in lower case, so memmem() rules most of them out fast. */
static bool mentions(struct str s, const char *word)
{
	return memmem(s.p, s.n, word, strlen(word)) &&
	       text_has_word(s, str_from(word));
}

static const char *const blocked[] = {
#define BLOCKED(word) word,
#define OUTDATED(word)
#define ODD(lemma)
#include "svc-content/offline/unfit.def"
#undef BLOCKED
#undef OUTDATED
#undef ODD
};
static const char *const outdated[] = {
#define BLOCKED(word)
#define OUTDATED(word) word,
#define ODD(lemma)
#include "svc-content/offline/unfit.def"
#undef BLOCKED
#undef OUTDATED
#undef ODD
};
static const char *const odd[] = {
#define BLOCKED(word)
#define OUTDATED(word)
#define ODD(lemma) lemma,
#include "svc-content/offline/unfit.def"
#undef BLOCKED
#undef OUTDATED
#undef ODD
};

static bool listed(const char *const *words, size_t n, struct str word)
{
	for (size_t i = 0; i < n; i++)
		if ((word.p[0] | 32) == words[i][0] &&
		    str_ieq(word, str_from(words[i])))
			return true;
	return false;
}

static bool named_unfit(const struct wn_synset *s)
{
	struct str rest = s->gloss, lemma, word;

	for (word = text_word(&rest); word.n; word = text_word(&rest))
		if (listed(blocked, COUNTOF(blocked), word))
			return true;
	for (unsigned i = 0; wn_word(s, i, &lemma, NULL); i++)
		while (lemma.n) {
			word = str_cut(&lemma, '_');
			if (word.n &&
			    (listed(blocked, COUNTOF(blocked), word) ||
			     listed(outdated, COUNTOF(outdated), word)))
				return true;
		}
	return false;
}

bool unfit_odd(const struct wn_synset *s)
{
	struct str lemma;

	if (!wn_word(s, 0, &lemma, NULL))
		return true;
	for (size_t i = 0; i < COUNTOF(odd); i++)
		if (str_ieq(lemma, str_from(odd[i])))
			return true;
	return false;
}

bool unfit_offends(const struct wordnet *wn, const struct wn_synset *s)
{
	static const char *const marks[] = {
		"ethnic slur", "offensive",   "derogatory", "disparaging",
		"obscene",     "vulgar",      "slang",      "contempt",
		"pejorative",  "street name", "slur",
	};
	static const char *const usages[] = {
		"slang", "disparagement", "ethnic_slur", "obscenity", "argot",
	};

	for (size_t i = 0; i < COUNTOF(marks); i++)
		if (mentions(s->gloss, marks[i]))
			return true;
	for (struct wn_links l = wn_links(s); wn_next(&l);) {
		struct wn_synset usage;
		struct str lemma;

		if (l.rel != WN_USAGE || !wordnet_synset(wn, l.to, &usage) ||
		    !wn_word(&usage, 0, &lemma, NULL))
			continue;
		for (size_t i = 0; i < COUNTOF(usages); i++)
			if (str_eq(lemma, str_from(usages[i])))
				return true;
	}
	return named_unfit(s);
}

bool unfit_delicate(const struct wn_synset *s)
{
	static const char *const marks[] = {
		"sexual",      "sexually", "genital", "genitals", "pubic",
		"erotic",      "sex",      "penis",   "vagina",   "anus",
		"semen",       "rape",     "naked",   "nude",     "prostitute",
		"pornography", "brothel",
	};

	for (size_t i = 0; i < COUNTOF(marks); i++)
		if (mentions(s->gloss, marks[i]) ||
		    mentions(s->words, marks[i]))
			return true;
	return false;
}
