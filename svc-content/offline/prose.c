#include "svc-content/offline/prose.h"

#include "svc-content/text.h"

/* A definition is cut at a ';' behind this many words. */
#define DEFINITION_WORDS 28

/* --- taking apart ------------------------------------------------------------ */

/* The next part of a gloss: up to a ';' outside quotes and parentheses. */
static struct str part(struct str *rest)
{
	bool quoted = false;
	int depth = 0;
	size_t i;
	struct str head;

	for (i = 0; i < rest->n; i++) {
		char c = rest->p[i];

		if (c == '"')
			quoted = !quoted;
		else if (c == '(' && !quoted)
			depth++;
		else if (c == ')' && !quoted && depth > 0)
			depth--;
		else if (c == ';' && !quoted && depth == 0)
			break;
	}
	head = (struct str){rest->p, i};
	if (i < rest->n)
		i++;
	*rest = (struct str){rest->p + i, rest->n - i};
	return str_trim(head);
}

/* "(biology) the basic unit": a short label in front names the field. */
static struct str label(struct str *s)
{
	const char *end;
	struct str in;

	if (s->n < 3 || s->p[0] != '(')
		return (struct str){NULL, 0};
	end = memchr(s->p, ')', s->n);
	if (!end)
		return (struct str){NULL, 0};
	in = (struct str){s->p + 1, (size_t)(end - s->p) - 1};
	if (in.n == 0 || text_words(in) > 3)
		return (struct str){NULL, 0};
	*s = str_trim((struct str){end + 1, s->n - (size_t)(end + 1 - s->p)});
	return in;
}

/* Fields are nouns; "(of a person)" or "(usually plural)" are not fields. */
static bool is_field(struct str label)
{
	static const char *const no[] = {
		"of",   "used", "usually", "often",    "in",      "plural",
		"with", "the",  "formal",  "informal", "British", "American",
	};
	struct str rest = label, first = text_word(&rest);

	for (size_t i = 0; i < COUNTOF(no); i++)
		if (str_ieq(first, str_from(no[i])))
			return false;
	/* A formula is none: H2SO4. */
	for (size_t i = 0; i < label.n; i++)
		if (label.p[i] >= '0' && label.p[i] <= '9')
			return false;
	return label.n > 0;
}

static bool balanced(struct str s)
{
	int depth = 0, quotes = 0;

	for (size_t i = 0; i < s.n; i++) {
		depth += (s.p[i] == '(') - (s.p[i] == ')');
		quotes += s.p[i] == '"';
	}
	return depth == 0 && quotes % 2 == 0;
}

static struct str unquote(struct str s)
{
	if (s.n && s.p[0] == '"') {
		const char *end = memrchr(s.p + 1, '"', s.n - 1);

		s.p++;
		s.n = end ? (size_t)(end - s.p) : s.n - 1;
	}
	return str_trim(s);
}

void prose_gloss(struct str gloss, struct gloss *out)
{
	struct str rest = gloss, p;
	size_t words = 0;
	bool full = false;

	*out = (struct gloss){.examples_n = 0};
	while (rest.n) {
		p = part(&rest);
		if (p.n == 0)
			continue;
		if (p.p[0] == '"') {
			p = unquote(p);
			if (out->examples_n < PROSE_EXAMPLES_MAX &&
			    text_words(p) >= 3 && balanced(p))
				out->examples[out->examples_n++] = p;
			continue;
		}
		if (!out->definition.p) {
			struct str field = label(&p);

			if (is_field(field))
				out->domain = field;
			out->definition = p;
		} else if (!full) {
			/* One slice spans neighbours: behind a part that is
			 * left out, none is taken. */
			full = out->examples_n > 0 || !balanced(p) ||
			       words + text_words(p) > DEFINITION_WORDS;
			if (!full)
				out->definition.n =
					(size_t)(p.p + p.n - out->definition.p);
		}
		words = text_words(out->definition);
	}
	/* Some glosses open or close a quote that has no other end. */
	if (!balanced(out->definition)) {
		const char *quote =
			memchr(out->definition.p, '"', out->definition.n);

		if (quote)
			out->definition.n = (size_t)(quote - out->definition.p);
	}
}

/* --- writing ------------------------------------------------------------------- */

void prose_name(struct buf *b, struct str lemma)
{
	struct str rest = lemma, word = str_cut(&rest, '_');

	buf_str(b, word);
	while (rest.n) {
		buf_char(b, ' ');
		buf_str(b, str_cut(&rest, '_'));
	}
}

static void raised(struct buf *b, size_t at)
{
	if (at < b->n && !b->failed && b->p[at] >= 'a' && b->p[at] <= 'z')
		b->p[at] = (char)(b->p[at] - 'a' + 'A');
}

void prose_title(struct buf *b, struct str lemma)
{
	size_t at = b->n;

	prose_name(b, lemma);
	raised(b, at);
}

void prose_article(struct buf *b, struct str noun)
{
	static const struct {
		struct str start;
		bool an;
	} odd[] = {
		{STR("hour"), true}, {STR("honest"), true}, {STR("heir"), true},
		{STR("uni"), false}, {STR("use"), false},   {STR("usu"), false},
		{STR("eu"), false},  {STR("one"), false},   {STR("ura"), false},
		{STR("uto"), false}, {STR("unin"), true},   {STR("unim"), true},
	};
	bool an = noun.n && strchr("aeiouAEIOU", noun.p[0]) != NULL;

	for (size_t i = 0; i < COUNTOF(odd); i++) {
		struct str head = {noun.p, odd[i].start.n};

		if (noun.n >= head.n && str_ieq(head, odd[i].start))
			an = odd[i].an;
	}
	buf_str(b, an ? STR("an ") : STR("a "));
}

void prose_list(struct buf *b, const struct wn_synset *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct str lemma;

		if (!wn_word(&s[i], 0, &lemma, NULL))
			continue;
		if (i > 0)
			buf_str(b, i + 1 == n ? STR(" and ") : STR(", "));
		prose_name(b, lemma);
	}
}

void prose_sentence(struct buf *b, struct str s)
{
	size_t at = b->n;

	while (s.n && (s.p[s.n - 1] == ';' || s.p[s.n - 1] == ','))
		s.n--;
	buf_str(b, s);
	raised(b, at);
	prose_stop(b);
}

void prose_stop(struct buf *b)
{
	if (!b->failed && b->n && !strchr(".!?", b->p[b->n - 1]))
		buf_char(b, '.');
}

bool prose_proper(const struct wn_synset *s)
{
	struct str lemma;

	return wn_word(s, 0, &lemma, NULL) && lemma.n && lemma.p[0] >= 'A' &&
	       lemma.p[0] <= 'Z';
}

static bool starts_any(struct str s, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct str w = str_from(words[i]);

		if (s.n >= w.n && str_ieq((struct str){s.p, w.n}, w))
			return true;
	}
	return false;
}

/* Endings of nouns that take no article: "democracy", "swimming". */
static bool mass_noun(struct str name)
{
	static const char *const endings[] = {
		"ism",  "ity",  "acy",  "ics",   "ogy",      "phy",
		"try",  "omy",  "sis",  "ness",  "ship",     "ture",
		"hood", "ence", "ance", "gebra", "calculus", "music",
		"law",  "tion", "ing",  "ment",  "ery",      "history",
	};

	for (size_t i = 0; i < COUNTOF(endings); i++) {
		struct str e = str_from(endings[i]);

		if (name.n > e.n &&
		    str_ieq((struct str){name.p + name.n - e.n, e.n}, e))
			return true;
	}
	return false;
}

/* Things that are counted, so that "A lion is a ..." is English. */
static bool countable(const struct wn_synset *s)
{
	switch ((enum wn_lex)s->lex_file) {
	case WN_LEX_ANIMAL:
	case WN_LEX_ARTIFACT:
	case WN_LEX_BODY:
	case WN_LEX_PLANT:
	case WN_LEX_OBJECT:
	case WN_LEX_PERSON:
	case WN_LEX_SHAPE:
		return true;
	case WN_LEX_TOPS:
	case WN_LEX_ACT:
	case WN_LEX_ATTRIBUTE:
	case WN_LEX_COGNITION:
	case WN_LEX_COMMUNICATION:
	case WN_LEX_EVENT:
	case WN_LEX_FEELING:
	case WN_LEX_FOOD:
	case WN_LEX_GROUP:
	case WN_LEX_LOCATION:
	case WN_LEX_MOTIVE:
	case WN_LEX_PHENOMENON:
	case WN_LEX_POSSESSION:
	case WN_LEX_PROCESS:
	case WN_LEX_QUANTITY:
	case WN_LEX_RELATION:
	case WN_LEX_STATE:
	case WN_LEX_SUBSTANCE:
	case WN_LEX_TIME:
		return false;
	}
	return false;
}

/* "(1879-1955)" in a person's gloss: a life that is over. */
static bool past(struct str gloss)
{
	for (size_t i = 0; i + 2 < gloss.n; i++) {
		size_t k = i + 1, digits = 0;

		if (gloss.p[i] != '(')
			continue;
		for (; k < gloss.n && strchr("0123456789-?BC ", gloss.p[k]);
		     k++)
			digits += gloss.p[k] >= '0' && gloss.p[k] <= '9';
		if (digits >= 2 && k < gloss.n && gloss.p[k] == ')')
			return true;
	}
	return false;
}

static bool plural(struct str name)
{
	return name.n > 3 && name.p[name.n - 1] == 's' &&
	       name.p[name.n - 2] != 's' && name.p[name.n - 2] != 'u' &&
	       name.p[name.n - 2] != 'i';
}

/* Lists of forty countries belong into an appendix. */
#define ASIDE_MAX 60

/* Abbreviations whose full stops would look like ends of sentences. */
static bool spelled_out(struct buf *b, struct str rest, size_t *i)
{
	static const struct {
		struct str abbreviation, words;
	} rows[] = {
		{STR("e.g."), STR("for example")},
		{STR("i.e."), STR("that is")},
		{STR("ca. "), STR("about ")},
	};

	for (size_t k = 0; k < COUNTOF(rows); k++)
		if (str_starts(rest, rows[k].abbreviation) &&
		    (b->n == 0 ||
		     (!b->failed && strchr(" (", b->p[b->n - 1]) != NULL))) {
			buf_str(b, rows[k].words);
			*i += rows[k].abbreviation.n;
			return true;
		}
	return false;
}

void prose_plain(struct buf *b, struct str definition)
{
	size_t i = 0;

	while (i < definition.n) {
		const char *open = definition.p + i, *end;

		end = *open == '(' ? memchr(open, ')', definition.n - i) : NULL;
		if (end && end - open > ASIDE_MAX) {
			i = (size_t)(end + 1 - definition.p);
			/* The blank in front of it goes as well. */
			if (!b->failed && b->n && b->p[b->n - 1] == ' ')
				b->n--;
		} else if (spelled_out(b, (struct str){open, definition.n - i},
		                       &i)) {
			continue;
		} else if (str_starts((struct str){open, definition.n - i},
		                      STR("; and "))) {
			/* "the capital of France; and a center of ..." */
			buf_char(b, ',');
			i++;
		} else {
			buf_char(b, *open);
			i++;
		}
	}
}

static const char *const articles[] = {"a ",   "an ",   "the ",   "any ",
                                       "one ", "each ", "either "};

bool prose_counted(const struct wn_synset *s, struct str name)
{
	static const char *const one[] = {"a ", "an ", "any ", "one "};
	static const char *const the[] = {"the "};
	bool single =
		s->lex_file == WN_LEX_BODY || s->lex_file == WN_LEX_OBJECT;
	struct gloss g;

	prose_gloss(s->gloss, &g);
	if (prose_proper(s))
		return false;
	if (s->lex_file == WN_LEX_ANIMAL)
		return true;
	/* "The heart", "the solar system": there is one of it in sight. */
	if (single && starts_any(g.definition, the, COUNTOF(the)))
		return true;
	if (mass_noun(name) || !starts_any(g.definition, one, COUNTOF(one)))
		return false;
	return countable(s) || s->lex_file == WN_LEX_GROUP ||
	       s->lex_file == WN_LEX_RELATION ||
	       s->lex_file == WN_LEX_QUANTITY || s->lex_file == WN_LEX_EVENT;
}

/* The word before the first preposition or mark: it tells the number. */
static struct str head_noun(struct str definition, bool *cut)
{
	static const char *const ends[] = {
		"of",    "that", "with",  "having", "in",     "from",  "used",
		"which", "for",  "on",    "to",     "native", "whose", "and",
		"or",    "who",  "found", "at",     "by",     "as",
	};
	struct str rest = definition, word, last = {NULL, 0};

	*cut = false;
	for (word = text_word(&rest); word.n; word = text_word(&rest)) {
		for (size_t i = 0; i < COUNTOF(ends); i++)
			if (str_eq(word, str_from(ends[i])))
				return last;
		last = word;
		*cut = rest.n && strchr(",;(", rest.p[0]);
		if (*cut)
			return last;
	}
	return last;
}

/* "large predatory feline of Africa": a noun that only lacks its article. */
static bool bare_singular(struct str definition)
{
	bool cut;
	struct str head = head_noun(definition, &cut);

	return !cut && head.n > 2 && head.n < definition.n &&
	       head.p[head.n - 1] != 's' && !str_ieq(head, STR("various"));
}

/* "the branches of mathematics that ...": no thing is that. */
static bool many(struct str definition)
{
	bool cut;
	struct str head = head_noun(definition, &cut);

	return str_starts(definition, STR("the ")) && plural(head) &&
	       !str_ieq(head, STR("physics")) &&
	       !str_ieq(head, STR("mathematics"));
}

void prose_define(struct buf *b, const struct wn_synset *s, struct str name)
{
	struct gloss g;
	bool article, proper = prose_proper(s);
	size_t at = b->n;

	prose_gloss(s->gloss, &g);
	article = starts_any(g.definition, articles, COUNTOF(articles)) &&
	          (proper || !many(g.definition));
	if (g.domain.n) {
		buf_str(b, STR("In "));
		buf_str(b, g.domain);
		buf_str(b, STR(", "));
	}
	if (proper && s->lex_file == WN_LEX_PERSON) {
		buf_str(b, name);
		buf_str(b, past(s->gloss) ? STR(" was ") : STR(" is "));
		if (!article && !plural(name))
			prose_article(b, g.definition);
	} else if (article && (proper || (mass_noun(name) && !countable(s)))) {
		buf_str(b, name);
		buf_str(b, STR(" is "));
	} else if (article && countable(s) && !plural(name)) {
		prose_article(b, name);
		buf_str(b, name);
		buf_str(b, STR(" is "));
	} else if (s->lex_file == WN_LEX_ANIMAL && !plural(name) &&
	           bare_singular(g.definition)) {
		prose_article(b, name);
		buf_str(b, name);
		buf_str(b, STR(" is "));
		prose_article(b, g.definition);
	} else {
		buf_str(b, STR("the term \""));
		buf_str(b, name);
		buf_str(b, STR("\" means "));
	}
	prose_plain(b, g.definition);
	prose_stop(b);
	raised(b, at);
}
