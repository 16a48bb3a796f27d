/*
 * wordnet - the WordNet 3.0 dictionary, read where it lies.
 *
 * Why:     the offline provider needs a few dozen synsets an answer out of
 *          30 MB.  The files are mapped and searched in place (they are sorted),
 *          so there is no load time, no index to keep and one copy in memory
 *          for all processes of a machine.
 * Bounds:  a lemma is at most WN_LEMMA_MAX bytes, a word has at most
 *          WN_SENSES_MAX senses per part of speech; more are not seen.
 * Errors:  the files are foreign bytes: what does not parse is "not found".
 *          A file that is cut short while it is mapped cannot be survived
 *          (SIGBUS); packages replace files by rename, which is safe.
 * Owns:    the mappings.  Every struct str below points into them and lives as
 *          long as the struct wordnet.
 * Threads: any number of readers; nothing changes after wordnet_open().
 */
#ifndef SVC_CONTENT_OFFLINE_WORDNET_H
#define SVC_CONTENT_OFFLINE_WORDNET_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define WN_LEMMA_MAX     96
#define WN_SENSES_MAX    64
#define WN_ANCESTORS_MAX 48 /* no noun has more */

enum wn_pos { WN_NOUN, WN_VERB, WN_ADJ, WN_ADV, WN_POS_COUNT };

/* Lexicographer files of nouns (lexnames(5)): the broadest classes there are. */
enum wn_lex {
	WN_LEX_TOPS = 3,
	WN_LEX_ACT,
	WN_LEX_ANIMAL,
	WN_LEX_ARTIFACT,
	WN_LEX_ATTRIBUTE,
	WN_LEX_BODY,
	WN_LEX_COGNITION,
	WN_LEX_COMMUNICATION,
	WN_LEX_EVENT,
	WN_LEX_FEELING,
	WN_LEX_FOOD,
	WN_LEX_GROUP,
	WN_LEX_LOCATION,
	WN_LEX_MOTIVE,
	WN_LEX_OBJECT,
	WN_LEX_PERSON,
	WN_LEX_PHENOMENON,
	WN_LEX_PLANT,
	WN_LEX_POSSESSION,
	WN_LEX_PROCESS,
	WN_LEX_QUANTITY,
	WN_LEX_RELATION,
	WN_LEX_SHAPE,
	WN_LEX_STATE,
	WN_LEX_SUBSTANCE,
	WN_LEX_TIME,
};

enum wn_rel {
	WN_ANTONYM,
	WN_HYPERNYM,
	WN_INSTANCE_OF,
	WN_HYPONYM,
	WN_INSTANCE,
	WN_MEMBER_OF,
	WN_SUBSTANCE_OF,
	WN_PART_OF,
	WN_HAS_MEMBER,
	WN_HAS_SUBSTANCE,
	WN_HAS_PART,
	WN_DERIVED,
	WN_IN_DOMAIN,   /* ;c  this belongs to a field */
	WN_DOMAIN_TERM, /* -c  a term of this field */
	WN_USAGE,       /* ;u  slang, slur, trade name ... */
	WN_OTHER,
};

/* Where a synset stands; offset 0 is no synset. */
struct wn_ref {
	enum wn_pos pos;
	uint32_t offset;
};

static inline bool wn_same(struct wn_ref a, struct wn_ref b)
{
	return a.pos == b.pos && a.offset == b.offset;
}

struct wn_synset {
	struct wn_ref ref;
	unsigned lex_file; /* enum wn_lex for nouns */
	unsigned words_n, links_n;
	struct str words, links; /* read by wn_word() and wn_links() */
	struct str gloss;        /* definition; "examples" */
};

struct wn_senses {
	size_t n; /* most frequent first */
	struct wn_ref v[WN_SENSES_MAX];
};

struct wordnet;

/* ERR_NOT_FOUND: a file is missing, or this is no WordNet. */
enum err wordnet_open(const char *dir, struct wordnet **out) MUST_CHECK;
void wordnet_close(struct wordnet *wn); /* NULL is fine */
AUTO_TYPE(wordnet, struct wordnet *, wordnet_close)

/*
 * lemma in any ASCII case, words joined by ' ' or '_'.  False when it is not
 * in the dictionary (inflected forms are wordnet_base()'s business).
 */
bool wordnet_lookup(const struct wordnet *wn, enum wn_pos pos, struct str lemma,
                    struct wn_senses *out);
/*
 * The dictionary form of a noun: itself, or its singular ("mice", "galaxies",
 * "solar systems").  out takes WN_LEMMA_MAX bytes.  False: unknown noun.
 */
bool wordnet_base(const struct wordnet *wn, struct str word, char *out,
                  struct str *base);
/* The same, of a word that is a plural: "bridges" is "bridge", not a name. */
bool wordnet_singular(const struct wordnet *wn, struct str word, char *out,
                      struct str *base);
bool wordnet_synset(const struct wordnet *wn, struct wn_ref ref,
                    struct wn_synset *out);
/* How often the synset was tagged in the sense-tagged texts; 0 for most. */
unsigned wordnet_count(const struct wordnet *wn, const struct wn_synset *s);
/* Which sense of its i-th word the synset is: 1 is the commonest, 0 unknown. */
unsigned wordnet_rank(const struct wordnet *wn, const struct wn_synset *s,
                      unsigned i);

/* The i-th word, words joined by '_', and its id inside the lex file. */
bool wn_word(const struct wn_synset *s, unsigned i, struct str *lemma,
             unsigned *lex_id);

/* A cursor over the links of a synset: for (l = wn_links(s); wn_next(&l);). */
struct wn_links {
	struct str rest;
	unsigned left;
	enum wn_rel rel; /* of the link read last */
	struct wn_ref to;
};
struct wn_links wn_links(const struct wn_synset *s);
bool wn_next(struct wn_links *l);
/* The first link of that kind, to a noun; offset 0 without one. */
struct wn_ref wn_first(const struct wn_synset *s, enum wn_rel rel);
/* What it is a kind (or an instance) of: the first of either. */
struct wn_ref wn_parent(const struct wn_synset *s);
/* ref and all that stands above it, nearest first, each once. */
size_t wordnet_ancestors(const struct wordnet *wn, struct wn_ref ref,
                         struct wn_ref out[WN_ANCESTORS_MAX]);
/* True when ancestor is above (or the same as) ref. */
bool wordnet_under(const struct wordnet *wn, struct wn_ref ref,
                   struct wn_ref ancestor);

#endif
