#include "tests/offline_score.h"
#include "tests/offline_prose.h"

#include "svc-content/offline/subject.h"
#include "svc-content/text.h"

#include <stdlib.h>

#define QUIZ_N     3
#define GRAM       5     /* words in a row */
#define SEEN_MAX   65536 /* sentences remembered, a power of two */
#define SENTENCES  40
#define TEXT_WORDS 600

const struct score_topic score_topics[] = {
#define TOPIC(name, subject, level, meaning) \
	{name, subject, LEVEL_##level, meaning},
#include "tests/data/topics.def"
#undef TOPIC
};
const size_t score_topics_n = COUNTOF(score_topics);

static const struct {
	double floor;
	const char *claim;
} rules[] = {
#define RULE(id, floor, claim) {floor, claim},
#include "tests/offline_score.def"
#undef RULE
};

/* What is no fault but must not grow: counted, and told as a share. */
struct measure {
	size_t n, of;
};

struct score {
	const struct wordnet *wn;
	FILE *faults;
	size_t checked[SCORE_RULES], failed[SCORE_RULES];
	size_t topics, lessons, questions;
	size_t places[OPTIONS_N];
	struct measure longest; /* the right option is the longest */
	struct measure within;  /* sentences told twice in a topic */
	struct measure grams;   /* five words in a row, likewise */
	struct measure across;  /* sentences of other topics, topic blanked */

	struct measure study;    /* questions on how to study */
	struct measure repeated; /* questions asked before in the topic */
	uint64_t seen[SEEN_MAX];
};

/* One topic while it is judged. */
struct bench {
	struct score *s;
	const struct score_topic *t;
	struct str topic;
	struct subject subject;
	struct outline o;
	struct lesson l[OUTLINE_N];
	uint64_t sentences[OUTLINE_N][SENTENCES];
	size_t sentences_n[OUTLINE_N];
	uint64_t grams[OUTLINE_N][TEXT_WORDS];
	size_t grams_n[OUTLINE_N];
	uint64_t asked[OUTLINE_N * QUIZ_N];
	size_t asked_n;
};

struct score *score_new(const struct wordnet *wn, FILE *faults)
{
	struct score *s = calloc(1, sizeof(*s));

	if (s) {
		s->wn = wn;
		s->faults = faults;
	}
	return s;
}

void score_free(struct score *s)
{
	free(s);
}

static void check(struct bench *b, enum score_rule rule, bool holds,
                  struct str text)
{
	b->s->checked[rule]++;
	if (holds)
		return;
	b->s->failed[rule]++;
	if (b->s->faults)
		(void)fprintf(b->s->faults, "%s: %s: %.*s\n", b->t->name,
		              rules[rule].claim, STR_FMT(text));
}

static void count(struct measure *m, bool hit)
{
	m->of++;
	m->n += hit;
}

/* --- texts --------------------------------------------------------------------- */

/* A hash of text with every mention of a and b blanked. */
static uint64_t masked(struct str text, struct str a, struct str b)
{
	uint64_t h = 11;
	size_t i = 0;

	while (i < text.n) {
		struct str rest = {text.p + i, text.n - i};
		struct str ha = {rest.p, a.n < rest.n ? a.n : rest.n};
		struct str hb = {rest.p, b.n < rest.n ? b.n : rest.n};

		if (b.n && str_ieq(hb, b)) {
			i += b.n;
			h = text_hash(STR("*"), h);
		} else if (a.n && str_ieq(ha, a)) {
			i += a.n;
			h = text_hash(STR("*"), h);
		} else {
			h = text_hash((struct str){rest.p, 1}, h);
			i++;
		}
	}
	return h;
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

static bool decent(struct str text)
{
	for (size_t i = 0; i < COUNTOF(blocked); i++)
		if (text_has_word(text, str_from(blocked[i])))
			return false;
	return true;
}

static void check_prose(struct bench *b, struct str text)
{
	check(b, SCORE_WHOLE, english_whole(text), text);
	check(b, SCORE_ARTICLE, english_articles(text), text);
	check(b, SCORE_DECENT, decent(text), text);
}

/* --- outlines -------------------------------------------------------------------- */

/* Words that make no subtopic another one. */
static bool filler(struct str w)
{
	static const char *const no[] = {
		"a",    "an",      "the",      "of",    "in",   "on",
		"and",  "about",   "to",       "for",   "with", "kind",
		"type", "form",    "main",     "basic", "from", "different",
		"sort", "variety", "varietie",
	};

	for (size_t i = 0; i < COUNTOF(no); i++)
		if (str_ieq(w, str_from(no[i])))
			return true;
	return false;
}

/* The words that count, whatever their order and number. */
static uint64_t gist(struct str title)
{
	uint64_t sum = 0;

	for (struct str w = text_word(&title); w.n; w = text_word(&title)) {
		char low[64];
		size_t n = w.n < sizeof(low) ? w.n : sizeof(low);

		for (size_t i = 0; i < n; i++)
			low[i] = (char)(w.p[i] >= 'A' && w.p[i] <= 'Z'
			                        ? w.p[i] + 32
			                        : w.p[i]);
		if (n > 3 && low[n - 1] == 's' && low[n - 2] != 's')
			n--;
		if (!filler((struct str){low, n}))
			sum += text_hash((struct str){low, n}, 3);
	}
	return sum;
}

static void judge_outline(struct bench *b)
{
	struct str topic = b->subject.name;
	bool alike = false;

	for (size_t i = 0; i < OUTLINE_N; i++) {
		struct str title = b->o.subtopics[i];

		for (size_t k = 0; k < i; k++)
			if (gist(title) == gist(b->o.subtopics[k])) {
				alike = true;
				check(b, SCORE_COUNT, false, title);
			}
		check(b, SCORE_TITLE,
		      title.n >= 3 && text_words(title) <= SUBTOPIC_WORDS_MAX &&
		              !str_ieq(title, topic) &&
		              !(title.p[0] >= 'a' && title.p[0] <= 'z' &&
		                !str_starts(title, topic)) &&
		              !english_bad_run(title) &&
		              !english_doubled(title),
		      title);
		check(b, SCORE_DECENT, decent(title), title);
	}
	if (!alike)
		check(b, SCORE_COUNT, true, topic);
	/* What is known is told; of two meanings, the one a learner wants. */
	if (b->t->meaning)
		check(b, SCORE_SENSE,
		      b->subject.meaning.n &&
		              (!*b->t->meaning ||
		               text_has(b->subject.meaning,
		                        str_from(b->t->meaning))),
		      b->subject.meaning);
	else
		check(b, SCORE_HONEST,
		      !b->subject.known && b->o.warnings.n > 0 &&
		              b->o.score <= 0.5,
		      topic);
}

/* --- lessons ----------------------------------------------------------------------- */

static struct str bare(struct str title)
{
	const char *hint = memmem(title.p, title.n, " (", 2);

	return (struct str){title.p, hint ? (size_t)(hint - title.p) : title.n};
}

static void remember(struct bench *b, size_t i, struct str text)
{
	struct str rest = text, phrase = b->subject.phrase;
	struct str words[TEXT_WORDS];
	size_t n = 0;

	for (struct str s = english_sentence(&rest);
	     s.n && b->sentences_n[i] < SENTENCES; s = english_sentence(&rest))
		b->sentences[i][b->sentences_n[i]++] =
			masked(s, phrase, bare(b->o.subtopics[i]));
	rest = text;
	for (struct str w = english_token(&rest); w.n && n < TEXT_WORDS;
	     w = english_token(&rest))
		words[n++] = w;
	for (size_t k = 0; k + GRAM <= n; k++)
		b->grams[i][b->grams_n[i]++] =
			text_hash((struct str){words[k].p,
		                               (size_t)(words[k + GRAM - 1].p +
		                                        words[k + GRAM - 1].n -
		                                        words[k].p)},
		                  5);
}

static size_t shared(const uint64_t *a, size_t a_n, const uint64_t *b,
                     size_t b_n)
{
	size_t n = 0;

	for (size_t i = 0; i < a_n; i++)
		for (size_t k = 0; k < b_n; k++)
			if (a[i] == b[k]) {
				n++;
				break;
			}
	return n;
}

static void judge_own(struct bench *b, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		size_t n = shared(b->sentences[i], b->sentences_n[i],
		                  b->sentences[k], b->sentences_n[k]);

		check(b, SCORE_OWN, 2 * n < b->sentences_n[i] + (n == 0),
		      b->o.subtopics[i]);
	}
	for (size_t j = 0; j < b->sentences_n[i]; j++) {
		bool told = false;

		for (size_t k = 0; k < OUTLINE_N && !told; k++)
			told = k != i &&
			       shared(&b->sentences[i][j], 1, b->sentences[k],
			              b->sentences_n[k]);
		count(&b->s->within, told);
	}
	for (size_t j = 0; j < b->grams_n[i]; j++) {
		bool told = false;

		for (size_t k = 0; k < OUTLINE_N && !told; k++)
			told = k != i && shared(&b->grams[i][j], 1, b->grams[k],
			                        b->grams_n[k]);
		count(&b->s->grams, told);
	}
}

/* Sentences of earlier topics; those of this one are added after it. */
static void judge_across(struct bench *b, bool add)
{
	uint64_t *seen = b->s->seen;

	for (size_t i = 0; i < OUTLINE_N; i++)
		for (size_t j = 0; j < b->sentences_n[i]; j++) {
			uint64_t h = b->sentences[i][j] | 1;
			size_t at = h >> 4 & (SEEN_MAX - 1), tries = 0;

			while (seen[at] && seen[at] != h && tries++ < 64)
				at = (at + 1) & (SEEN_MAX - 1);
			if (add)
				seen[at] = h;
			else
				count(&b->s->across, seen[at] == h);
		}
}

static void judge_lessons(struct bench *b)
{
	for (size_t i = 0; i < OUTLINE_N; i++) {
		const struct lesson *l = &b->l[i];
		struct str title = b->o.subtopics[i];

		b->s->lessons++;
		check(b, SCORE_LEAD,
		      text_sentences(l->explanation) >= 2 &&
		              text_words(l->explanation) >= 20 &&
		              text_sentences(l->application) >= 1,
		      l->explanation);
		check(b, SCORE_MENTION, text_has(l->explanation, bare(title)),
		      title);
		check_prose(b, l->explanation);
		check_prose(b, l->application);
		check(b, SCORE_DECENT, decent(l->search), l->search);
		remember(b, i, l->explanation);
	}
	for (size_t i = 0; i < OUTLINE_N; i++)
		judge_own(b, i);
	judge_across(b, false);
	judge_across(b, true);
}

/* --- quizzes ------------------------------------------------------------------------- */

static bool senses_of(const struct wordnet *wn, struct str word,
                      struct wn_senses *out)
{
	char text[WN_LEMMA_MAX];
	struct str base;

	out->n = 0;
	return wordnet_base(wn, word, text, &base) &&
	       wordnet_lookup(wn, WN_NOUN, base, out);
}

/* Some meaning of word stands under (or is) up. */
static bool ever_under(const struct wordnet *wn, struct str word,
                       struct wn_ref up)
{
	struct wn_senses s;

	if (!senses_of(wn, word, &s))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (wordnet_under(wn, s.v[i], up))
			return true;
	return false;
}

/* "Which is a kind of X?": the X that makes right right, and not wrong. */
static bool only_kind(const struct wordnet *wn, struct str x, struct str right,
                      struct str wrong)
{
	struct wn_senses s;

	if (!senses_of(wn, x, &s))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (ever_under(wn, right, s.v[i]) &&
		    !ever_under(wn, wrong, s.v[i]))
			return true;
	return false;
}

/* The words of text stand in gloss, in order; asides were left out. */
static bool told_in(struct str gloss, struct str text)
{
	struct str word;

	for (word = text_word(&text); word.n; word = text_word(&text)) {
		struct str other;

		/* Written for "e.g." and "i.e.". */
		if (str_eq(word, STR("for")) || str_eq(word, STR("example")) ||
		    str_eq(word, STR("that")) || str_eq(word, STR("is")))
			continue;
		other = text_word(&gloss);
		while (other.n && !str_ieq(other, word))
			other = text_word(&gloss);
		if (!other.n)
			return false;
	}
	return true;
}

static bool glossed(const struct wordnet *wn, struct str word, struct str text)
{
	struct wn_senses s;

	if (!senses_of(wn, word, &s))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		struct wn_synset syn;

		if (wordnet_synset(wn, s.v[i], &syn) &&
		    told_in(syn.gloss, text))
			return true;
	}
	return false;
}

/* a and b share a meaning: both would be right. */
static bool synonyms(const struct wordnet *wn, struct str a, struct str b)
{
	struct wn_senses x, y;

	if (!senses_of(wn, a, &x) || !senses_of(wn, b, &y))
		return false;
	for (size_t i = 0; i < x.n; i++)
		for (size_t k = 0; k < y.n; k++)
			if (wn_same(x.v[i], y.v[k]))
				return true;
	return false;
}

static bool quoted(struct str text, struct str *out)
{
	const char *a = memchr(text.p, '"', text.n), *z;

	if (!a)
		return false;
	z = memrchr(text.p, '"', text.n);
	*out = (struct str){a + 1, (size_t)(z - a) - 1};
	return z > a;
}

enum form { FORM_MEANING, FORM_NAME, FORM_KIND, FORM_PART, FORM_STUDY };

static enum form form_of(struct str text, struct str *x)
{
	static const struct str kind = STR("Which of these is a kind of ");

	if (str_starts(text, kind)) {
		*x = (struct str){text.p + kind.n, text.n - kind.n - 1};
		return FORM_KIND;
	}
	if (str_starts(text, STR("What does \"")) && quoted(text, x) &&
	    text_has(text, STR("\" mean?")))
		return FORM_MEANING;
	if (str_starts(text, STR("Which of these is described as \"")) &&
	    quoted(text, x))
		return FORM_NAME;
	if (str_starts(text, STR("Which of these is a part of ")) &&
	    quoted(text, x))
		return FORM_PART;
	return FORM_STUDY;
}

static bool one_right(const struct wordnet *wn, enum form form, struct str x,
                      struct str right, struct str wrong)
{
	switch (form) {
	case FORM_MEANING:
		return glossed(wn, x, right) && !glossed(wn, x, wrong);
	case FORM_NAME:
		return glossed(wn, right, x) && !glossed(wn, wrong, x) &&
		       !synonyms(wn, right, wrong);
	case FORM_KIND:
		return only_kind(wn, x, right, wrong);
	case FORM_PART:
	case FORM_STUDY:
		break;
	}
	return !synonyms(wn, right, wrong);
}

/* Most words that count of the shorter text stand in the longer one too. */
static bool say_same(struct str a, struct str b)
{
	struct str rest = text_words(a) < text_words(b) ? a : b;
	struct str other = text_words(a) < text_words(b) ? b : a;
	size_t n = 0, found = 0;

	for (struct str w = text_word(&rest); w.n; w = text_word(&rest)) {
		if (text_common(w))
			continue;
		n++;
		found += text_has_word(other, w);
	}
	return n > 0 && found == n;
}

/* Both are things of one class in the dictionary, or texts of one length. */
static bool same_kind(const struct wordnet *wn, enum form form, struct str a,
                      struct str b)
{
	struct wn_senses x, y;

	if (form == FORM_STUDY || form == FORM_MEANING)
		return true;
	if (!senses_of(wn, a, &x) || !senses_of(wn, b, &y))
		return false;
	for (size_t i = 0; i < x.n; i++)
		for (size_t k = 0; k < y.n; k++) {
			struct wn_synset p, q;

			if (wordnet_synset(wn, x.v[i], &p) &&
			    wordnet_synset(wn, y.v[k], &q) &&
			    p.lex_file == q.lex_file)
				return true;
		}
	return false;
}

static void judge_options(struct bench *b, const struct question *q)
{
	const struct wordnet *wn = b->s->wn;
	struct str right = q->options[q->correct], x = {NULL, 0};
	enum form form = form_of(q->text, &x);
	bool differ = true, longest = true;

	count(&b->s->study, form == FORM_STUDY);
	for (size_t i = 0; i < OPTIONS_N; i++) {
		struct str o = q->options[i];

		for (size_t k = 0; k < i; k++)
			differ = differ && !str_ieq(o, q->options[k]);
		differ = differ && o.n > 0;
		check(b, SCORE_DECENT, decent(o), o);
		if (i == q->correct)
			continue;
		longest = longest && o.n < right.n;
		check(b, SCORE_ONE_RIGHT, one_right(wn, form, x, right, o),
		      q->text);
		check(b, SCORE_APART,
		      form != FORM_MEANING || !say_same(right, o), right);
		check(b, SCORE_SAME_KIND, same_kind(wn, form, right, o),
		      q->text);
	}
	check(b, SCORE_OPTIONS, differ, q->text);
	count(&b->s->longest, longest);
	check(b, SCORE_HIDDEN,
	      form == FORM_STUDY || !text_has_word(q->text, right), q->text);
}

static void judge_question(struct bench *b, const struct question *q)
{
	uint64_t h = text_hash(q->text, 9);

	b->s->questions++;
	b->s->places[q->correct]++;
	judge_options(b, q);
	check_prose(b, q->text);
	check_prose(b, q->why);
	count(&b->s->repeated, shared(&h, 1, b->asked, b->asked_n));
}

static enum err judge_quiz(struct bench *b, struct arena *a, size_t i)
{
	struct quiz_ask ask = {.topic = b->topic,
	                       .subtopic = b->o.subtopics[i],
	                       .level = b->t->level,
	                       .count = QUIZ_N};
	struct question q[QUIZ_N];
	enum err e = offline_quiz(b->s->wn, a, &ask, q);

	for (size_t k = 0; k < QUIZ_N && !e; k++) {
		for (size_t j = 0; j < k; j++)
			check(b, SCORE_FRESH, !str_ieq(q[k].text, q[j].text),
			      q[k].text);
		judge_question(b, &q[k]);
	}
	for (size_t k = 0; k < QUIZ_N && !e; k++)
		b->asked[b->asked_n++] = text_hash(q[k].text, 9);
	return e;
}

/* --- a topic --------------------------------------------------------------------------- */

enum err score_add(struct score *s, const struct score_topic *t)
{
	AUTO(arena) a = arena_new((size_t)64 << 20);
	struct bench *b = a ? arena_alloc(a, sizeof(*b)) : NULL;
	struct lesson_ask ask = {.level = t->level, .detail = DETAIL_MEDIUM};
	enum err e;

	if (!b)
		return ERR_NOMEM;
	*b = (struct bench){.s = s, .t = t, .topic = str_from(t->name)};
	ask.topic = b->topic;
	s->topics++;
	e = subject_of(s->wn, a, b->topic, NULL, &b->subject);
	if (!e)
		e = offline_outline(s->wn, a, b->topic, STR("en"), &b->o);
	if (!e)
		e = offline_lessons(s->wn, a, &ask, b->o.subtopics, OUTLINE_N,
		                    b->l);
	if (e)
		return e;
	judge_outline(b);
	judge_lessons(b);
	for (size_t i = 0; i < OUTLINE_N && !e; i++)
		e = judge_quiz(b, a, i);
	return e;
}

/* --- telling ----------------------------------------------------------------------------- */

static void print_measure(FILE *out, const char *what, struct measure m)
{
	(void)fprintf(out, "%-58s %5.1f %%\n", what,
	              m.of ? 100.0 * (double)m.n / (double)m.of : 0);
}

static double kept(const struct score *s, size_t rule)
{
	return s->checked[rule]
	               ? 1 - (double)s->failed[rule] / (double)s->checked[rule]
	               : 1;
}

void score_print(const struct score *s, FILE *out)
{
	(void)fprintf(out, "%zu topics, %zu lessons, %zu questions\n",
	              s->topics, s->lessons, s->questions);
	for (size_t i = 0; i < SCORE_RULES; i++)
		(void)fprintf(out, "%-64s %6.2f %%  (%zu of %zu fail)\n",
		              rules[i].claim, 100 * kept(s, i), s->failed[i],
		              s->checked[i]);
	print_measure(out, "sentences that stand twice in a topic", s->within);
	print_measure(out, "five words in a row, likewise", s->grams);
	print_measure(out, "sentences of other topics, the names blanked",
	              s->across);
	print_measure(out, "questions on how to study", s->study);
	print_measure(out, "questions asked before in the topic", s->repeated);
	print_measure(out, "questions whose right option is the longest",
	              s->longest);
	for (size_t i = 0; i < OPTIONS_N; i++)
		(void)fprintf(
			out, "right option in place %zu: %.1f %%\n", i + 1,
			100.0 * (double)s->places[i] /
				(double)(s->questions ? s->questions : 1));
}

size_t score_misses(const struct score *s, FILE *out)
{
	size_t n = 0;

	for (size_t i = 0; i < SCORE_RULES; i++)
		if (kept(s, i) < rules[i].floor) {
			(void)fprintf(out, "below its floor: %s\n",
			              rules[i].claim);
			n++;
		}
	return n;
}
