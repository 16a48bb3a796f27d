#include "svc-content/offline/wordnet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)256 << 20)
struct map {
	char *p; /* never written: the pages are read-only */
	size_t n;
};

struct wordnet {
	struct map index[WN_POS_COUNT], data[WN_POS_COUNT];
	struct map noun_exc, counts;
};

static const char *const pos_names[WN_POS_COUNT] = {"noun", "verb", "adj",
                                                    "adv"};

static const struct {
	char symbol[3];
	enum wn_rel rel;
} rels[] = {
	{"!", WN_ANTONYM},       {"@", WN_HYPERNYM},
	{"@i", WN_INSTANCE_OF},  {"~", WN_HYPONYM},
	{"~i", WN_INSTANCE},     {"#m", WN_MEMBER_OF},
	{"#s", WN_SUBSTANCE_OF}, {"#p", WN_PART_OF},
	{"%m", WN_HAS_MEMBER},   {"%s", WN_HAS_SUBSTANCE},
	{"%p", WN_HAS_PART},     {"+", WN_DERIVED},
	{";c", WN_IN_DOMAIN},    {"-c", WN_DOMAIN_TERM},
	{";u", WN_USAGE},
};

/* --- files ------------------------------------------------------------------ */

static bool map_file(const char *dir, const char *name, const char *part,
                     struct map *out)
{
	char path[1024];
	struct stat st;
	void *p = MAP_FAILED;
	int fd, n;

	n = snprintf(path, sizeof(path), "%s/%s%s", dir, name, part);
	if (n < 0 || (size_t)n >= sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
	    (uintmax_t)st.st_size <= FILE_MAX)
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd,
		         0);
	close(fd);
	if (p == MAP_FAILED)
		return false;
	*out = (struct map){p, (size_t)st.st_size};
	return true;
}

static void unmap(struct map *m)
{
	if (m->p)
		munmap(m->p, m->n);
	*m = (struct map){NULL, 0};
}

void wordnet_close(struct wordnet *wn)
{
	if (!wn)
		return;
	for (int i = 0; i < WN_POS_COUNT; i++) {
		unmap(&wn->index[i]);
		unmap(&wn->data[i]);
	}
	unmap(&wn->noun_exc);
	unmap(&wn->counts);
	free(wn);
}

/* Every noun hangs below "entity": where it cannot be read, nothing can. */
static bool plausible(const struct wordnet *wn)
{
	struct wn_senses senses;
	struct wn_synset s;

	return wordnet_lookup(wn, WN_NOUN, STR("entity"), &senses) &&
	       wordnet_synset(wn, senses.v[0], &s) && s.gloss.n > 0;
}

enum err wordnet_open(const char *dir, struct wordnet **out)
{
	AUTO(wordnet) wn = calloc(1, sizeof(*wn));

	if (!wn)
		return ERR_NOMEM;
	for (int i = 0; i < WN_POS_COUNT; i++)
		if (!map_file(dir, "index.", pos_names[i], &wn->index[i]) ||
		    !map_file(dir, "data.", pos_names[i], &wn->data[i]))
			return ERR_NOT_FOUND; /* NOLINT: AUTO frees wn */
	/* Without these two the answers are poorer, not wrong. */
	if (!map_file(dir, "noun.exc", "", &wn->noun_exc))
		wn->noun_exc = (struct map){NULL, 0};
	if (!map_file(dir, "cntlist.rev", "", &wn->counts))
		wn->counts = (struct map){NULL, 0};
	if (!plausible(wn))
		return ERR_NOT_FOUND;
	*out = STEAL(wn);
	return OK;
}

/* --- lines ------------------------------------------------------------------ */

static struct str line_at(const struct map *m, size_t at)
{
	const char *end = memchr(m->p + at, '\n', m->n - at);

	return (struct str){m->p + at,
	                    end ? (size_t)(end - m->p) - at : m->n - at};
}

static int compare(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

/*
 * Finds the line whose first word is key, by halving.  The files are sorted by
 * bytes, and the blank after the first word sorts before every byte of a word,
 * so comparing first words orders lines as the files do.
 */
static bool find_line(const struct map *m, struct str key, struct str *rest)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2, at = mid;
		struct str line, word;
		int c;

		while (at > lo && m->p[at - 1] != '\n')
			at--;
		line = line_at(m, at);
		word = str_cut(&line, ' ');
		c = compare(key, word);
		if (c == 0) {
			*rest = line;
			return true;
		}
		if (c < 0)
			hi = at;
		else
			lo = (size_t)(line.p + line.n - m->p) + 1;
	}
	return false;
}

static bool number(struct str s, unsigned base, uint32_t *out)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 9)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
		             : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
		                                    : 16;

		if (d >= base)
			return false;
		v = v * base + d;
	}
	if (v > UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool take(struct str *rest, unsigned base, uint32_t *out)
{
	return number(str_cut(rest, ' '), base, out);
}

/* --- looking up --------------------------------------------------------------- */

/* Dictionary spelling: ASCII lower case, '_' between words. */
static bool spell(struct str word, char out[WN_LEMMA_MAX], struct str *lemma)
{
	size_t n = 0;

	for (size_t i = 0; i < word.n; i++) {
		char c = word.p[i];

		if (n >= WN_LEMMA_MAX - 1)
			return false;
		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (c == ' ')
			c = '_';
		out[n++] = c;
	}
	out[n] = '\0';
	*lemma = (struct str){out, n};
	return n > 0;
}

bool wordnet_lookup(const struct wordnet *wn, enum wn_pos pos, struct str lemma,
                    struct wn_senses *out)
{
	char text[WN_LEMMA_MAX];
	struct str key, rest;
	uint32_t senses, symbols;

	if (!spell(lemma, text, &key) ||
	    !find_line(&wn->index[pos], key, &rest))
		return false;
	/* pos, senses, symbols, that many symbols, senses again, tagged. */
	str_cut(&rest, ' ');
	if (!take(&rest, 10, &senses) || !take(&rest, 10, &symbols))
		return false;
	for (uint32_t i = 0; i < symbols && rest.n; i++)
		str_cut(&rest, ' ');
	str_cut(&rest, ' ');
	str_cut(&rest, ' ');
	out->n = 0;
	while (out->n < senses && out->n < WN_SENSES_MAX) {
		uint32_t at;

		if (!take(&rest, 10, &at))
			break;
		out->v[out->n++] = (struct wn_ref){pos, at};
	}
	return out->n > 0;
}

static const struct {
	struct str ending, becomes;
} plurals[] = {
	{STR("ies"), STR("y")},   {STR("ses"), STR("s")},
	{STR("xes"), STR("x")},   {STR("zes"), STR("z")},
	{STR("ches"), STR("ch")}, {STR("shes"), STR("sh")},
	{STR("men"), STR("man")}, {STR("oes"), STR("o")},
	{STR("s"), STR("")},
};

static bool known(const struct wordnet *wn, struct str lemma)
{
	struct str rest;

	return find_line(&wn->index[WN_NOUN], lemma, &rest);
}

/* Puts tail at the end of the first keep bytes of out. */
static bool with_tail(char *out, size_t keep, struct str tail, struct str *base)
{
	if (keep + tail.n >= WN_LEMMA_MAX)
		return false;
	if (tail.n)
		memcpy(out + keep, tail.p, tail.n);
	out[keep + tail.n] = '\0';
	*base = (struct str){out, keep + tail.n};
	return true;
}

static bool irregular(const struct wordnet *wn, struct str lemma, char *out,
                      struct str *base)
{
	size_t last = lemma.n;
	struct str rest;

	while (last > 0 && lemma.p[last - 1] != '_')
		last--;
	if (!wn->noun_exc.p ||
	    !find_line(&wn->noun_exc,
	               (struct str){lemma.p + last, lemma.n - last}, &rest))
		return false;
	return with_tail(out, last, str_cut(&rest, ' '), base) &&
	       known(wn, *base);
}

bool wordnet_singular(const struct wordnet *wn, struct str word, char *out,
                      struct str *base)
{
	char text[WN_LEMMA_MAX];
	struct str lemma;

	if (!spell(word, text, &lemma))
		return false;
	memcpy(out, text, lemma.n + 1);
	if (irregular(wn, lemma, out, base))
		return true;
	for (size_t i = 0; i < COUNTOF(plurals); i++) {
		struct str e = plurals[i].ending;

		if (lemma.n < e.n + 2 ||
		    memcmp(lemma.p + lemma.n - e.n, e.p, e.n) != 0)
			continue;
		memcpy(out, text, lemma.n + 1);
		if (with_tail(out, lemma.n - e.n, plurals[i].becomes, base) &&
		    known(wn, *base))
			return true;
	}
	return false;
}

bool wordnet_base(const struct wordnet *wn, struct str word, char *out,
                  struct str *base)
{
	char text[WN_LEMMA_MAX];
	struct str lemma;

	if (!spell(word, text, &lemma))
		return false;
	if (!known(wn, lemma))
		return wordnet_singular(wn, word, out, base);
	memcpy(out, text, lemma.n + 1);
	*base = (struct str){out, lemma.n};
	return true;
}

/* --- synsets ------------------------------------------------------------------ */

/* Cuts n words with their ids. */
static bool span(struct str *rest, unsigned n, struct str *out)
{
	const char *start = rest->p;

	for (unsigned i = 0; i < 2 * n; i++)
		if (str_cut(rest, ' ').n == 0)
			return false;
	*out = (struct str){start, (size_t)(rest->p - start)};
	return true;
}

bool wordnet_synset(const struct wordnet *wn, struct wn_ref ref,
                    struct wn_synset *out)
{
	struct wn_synset s = {.ref = ref};
	const struct map *m;
	struct str rest;
	uint32_t offset, lex, words, links;
	const char *bar;

	if (ref.pos >= WN_POS_COUNT)
		return false;
	m = &wn->data[ref.pos];
	if (ref.offset == 0 || ref.offset >= m->n)
		return false;
	rest = line_at(m, ref.offset);
	bar = rest.n ? memchr(rest.p, '|', rest.n) : NULL;
	if (!bar)
		return false;
	s.gloss = str_trim(
		(struct str){bar + 1, (size_t)(rest.p + rest.n - bar) - 1});
	rest.n = (size_t)(bar - rest.p);
	/* A synset begins with its own offset: the check of both. */
	if (!take(&rest, 10, &offset) || offset != ref.offset ||
	    !take(&rest, 10, &lex))
		return false;
	str_cut(&rest, ' ');
	if (!take(&rest, 16, &words) || words == 0 || words > 255 ||
	    !span(&rest, words, &s.words))
		return false;
	if (!take(&rest, 10, &links) || links > 999)
		return false;
	/* Some have hundreds of links, and most readers want the first few:
	 * wn_next() checks each as it comes. */
	s.links = rest;
	s.lex_file = lex;
	s.words_n = words;
	s.links_n = links;
	*out = s;
	return true;
}

bool wn_word(const struct wn_synset *s, unsigned i, struct str *lemma,
             unsigned *lex_id)
{
	struct str rest = s->words, word = {NULL, 0};
	uint32_t id = 0;

	if (i >= s->words_n)
		return false;
	for (unsigned k = 0; k <= i; k++) {
		word = str_cut(&rest, ' ');
		if (!take(&rest, 16, &id))
			return false;
	}
	/* Adjectives carry a marker of position: "galore(ip)". */
	for (size_t k = 1; k < word.n; k++)
		if (word.p[k] == '(')
			word.n = k;
	*lemma = word;
	if (lex_id)
		*lex_id = id;
	return true;
}

/* "mercury%1:27:00::": the stable name of a word's sense. */
static bool count_of(const struct wordnet *wn, const struct wn_synset *s,
                     unsigned i, uint32_t *rank, uint32_t *count)
{
	char key[WN_LEMMA_MAX + 16], text[WN_LEMMA_MAX];
	struct str lemma, rest;
	unsigned id;
	int n;

	if (s->ref.pos != WN_NOUN || !wn->counts.p ||
	    !wn_word(s, i, &lemma, &id) || !spell(lemma, text, &lemma))
		return false;
	n = snprintf(key, sizeof(key), "%s%%1:%02u:%02u::", text, s->lex_file,
	             id);
	if (n < 0 || (size_t)n >= sizeof(key) ||
	    !find_line(&wn->counts, (struct str){key, (size_t)n}, &rest))
		return false;
	return take(&rest, 10, rank) && take(&rest, 10, count);
}

unsigned wordnet_count(const struct wordnet *wn, const struct wn_synset *s)
{
	uint32_t sum = 0, rank, count;

	for (unsigned i = 0; i < s->words_n; i++)
		if (count_of(wn, s, i, &rank, &count) && count < 1000000)
			sum += count;
	return sum;
}

unsigned wordnet_rank(const struct wordnet *wn, const struct wn_synset *s,
                      unsigned i)
{
	struct wn_senses senses;
	struct str lemma;

	if (!wn_word(s, i, &lemma, NULL) ||
	    !wordnet_lookup(wn, s->ref.pos, lemma, &senses))
		return 0;
	for (size_t k = 0; k < senses.n; k++)
		if (wn_same(senses.v[k], s->ref))
			return (unsigned)k + 1;
	return 0;
}

/* --- links ---------------------------------------------------------------------- */

struct wn_links wn_links(const struct wn_synset *s)
{
	return (struct wn_links){.rest = s->links, .left = s->links_n};
}

static enum wn_rel rel_from(const char *p, size_t n)
{
	for (size_t i = 0; i < COUNTOF(rels); i++)
		if (p[0] == rels[i].symbol[0] &&
		    (n == 1 ? '\0' : p[1]) == rels[i].symbol[1])
			return rels[i].rel;
	return WN_OTHER;
}

static bool pos_from(char letter, enum wn_pos *out)
{
	static const char letters[] = "nvasr";
	static const enum wn_pos pos[] = {WN_NOUN, WN_VERB, WN_ADJ, WN_ADJ,
	                                  WN_ADV};
	const char *at = letter ? strchr(letters, letter) : NULL;

	if (at)
		*out = pos[at - letters];
	return at != NULL;
}

/* "~i 09270894 n 0000 ": but for the symbol, every field has its place. */
bool wn_next(struct wn_links *l)
{
	const char *p = l->rest.p;
	size_t symbol, size;

	if (l->left == 0 || l->rest.n < 2)
		return false;
	symbol = p[1] == ' ' ? 1 : 2;
	size = symbol + 17;
	if (l->rest.n < size || p[symbol] != ' ' || p[symbol + 9] != ' ' ||
	    p[size - 1] != ' ' ||
	    !number((struct str){p + symbol + 1, 8}, 10, &l->to.offset) ||
	    !pos_from(p[symbol + 10], &l->to.pos))
		return false;
	l->rel = rel_from(p, symbol);
	l->rest = (struct str){p + size, l->rest.n - size};
	l->left--;
	return true;
}

struct wn_ref wn_first(const struct wn_synset *s, enum wn_rel rel)
{
	for (struct wn_links l = wn_links(s); wn_next(&l);)
		if (l.rel == rel && l.to.pos == WN_NOUN)
			return l.to;
	return (struct wn_ref){WN_NOUN, 0};
}

struct wn_ref wn_parent(const struct wn_synset *s)
{
	for (struct wn_links l = wn_links(s); wn_next(&l);)
		if (l.rel == WN_HYPERNYM || l.rel == WN_INSTANCE_OF)
			return l.to;
	return (struct wn_ref){WN_NOUN, 0};
}

size_t wordnet_ancestors(const struct wordnet *wn, struct wn_ref ref,
                         struct wn_ref out[WN_ANCESTORS_MAX])
{
	size_t n = 0;

	out[n++] = ref;
	for (size_t i = 0; i < n; i++) {
		struct wn_synset s;

		if (!wordnet_synset(wn, out[i], &s))
			continue;
		for (struct wn_links l = wn_links(&s); wn_next(&l);) {
			size_t k = 0;

			if (l.rel != WN_HYPERNYM && l.rel != WN_INSTANCE_OF)
				continue;
			while (k < n && !wn_same(out[k], l.to))
				k++;
			if (k == n && n < WN_ANCESTORS_MAX)
				out[n++] = l.to;
		}
	}
	return n;
}

bool wordnet_under(const struct wordnet *wn, struct wn_ref ref,
                   struct wn_ref ancestor)
{
	struct wn_ref up[WN_ANCESTORS_MAX];
	size_t n = wordnet_ancestors(wn, ref, up);

	for (size_t i = 0; i < n; i++)
		if (wn_same(up[i], ancestor))
			return true;
	return false;
}
