#include "svc-content/offline/subject.h"

#include "svc-content/offline/prose.h"
#include "svc-content/offline/sense.h"
#include "svc-content/text.h"

/* --- our own table ------------------------------------------------------------ */

struct row {
	const char *key;
	const char *lemma; /* a sense of the dictionary ... */
	unsigned lex, id;
	enum kind kind; /* ... or ours */
	const char *hints, *meaning;
};

static const struct row rows[] = {
#define SENSE(key, lemma, lex, id, kind) \
	{key, lemma, lex, id, KIND_##kind, NULL, NULL},
#define OURS(key, kind, hints, meaning) \
	{key, NULL, 0, 0, KIND_##kind, hints, meaning},
#include "svc-content/offline/senses.def"
#undef SENSE
#undef OURS
};

static const struct row *row_for(struct str key)
{
	for (size_t i = 0; i < COUNTOF(rows); i++)
		if (str_ieq(key, str_from(rows[i].key)))
			return &rows[i];
	return NULL;
}

static struct str without_the(struct str key)
{
	return str_starts(key, STR("the ")) ? (struct str){key.p + 4, key.n - 4}
	                                    : key;
}

static bool hints_at(const struct row *row, struct str hint)
{
	struct str rest = hint, word;

	for (word = text_word(&rest); word.n; word = text_word(&rest))
		if (text_has_word(str_from(row->hints), word))
			return true;
	return false;
}

/* --- warnings ------------------------------------------------------------------ */

void warnings_add(struct warnings *w, struct str text)
{
	if (w->n < WARNINGS_MAX && text.n)
		w->v[w->n++] = text;
}

void warnings_language(struct warnings *w, struct str lang)
{
	if (lang.n &&
	    !str_ieq((struct str){lang.p, lang.n < 2 ? lang.n : 2}, STR("en")))
		warnings_add(w, STR("The offline provider answers in English "
		                    "only."));
}

void warnings_dictionary(struct warnings *w, bool present)
{
	if (!present)
		warnings_add(w, STR("The offline dictionary is not installed: "
		                    "answers are study plans."));
}

/* --- reading the topic ------------------------------------------------------------ */

static bool cut_head(struct str *s, const char *head)
{
	struct str h = str_from(head);

	if (s->n <= h.n || !str_ieq((struct str){s->p, h.n}, h))
		return false;
	*s = str_trim((struct str){s->p + h.n, s->n - h.n});
	return true;
}

static bool cut_tail(struct str *s, const char *tail)
{
	struct str t = str_from(tail);

	if (s->n <= t.n || !str_ieq((struct str){s->p + s->n - t.n, t.n}, t))
		return false;
	*s = str_trim((struct str){s->p, s->n - t.n});
	return true;
}

/* Words around a topic that say how, not what. */
static struct str unwrap(struct str s)
{
	static const char *const heads[] = {
		"an introduction to ",
		"introduction to ",
		"intro to ",
		"the basics of ",
		"basics of ",
		"fundamentals of ",
		"what is ",
		"what are ",
		"learn ",
	};
	static const char *const tails[] = {
		" for beginners", " basics", " fundamentals", " 101", "?",
	};

	for (size_t i = 0; i < COUNTOF(heads); i++)
		if (cut_head(&s, heads[i]))
			break;
	for (size_t i = 0; i < COUNTOF(tails); i++)
		if (cut_tail(&s, tails[i]))
			break;
	return s;
}

/* "Mercury (planet)": what stands in the parentheses at the end. */
static struct str hint_of(struct str *name)
{
	const char *open;
	struct str hint;

	if (name->n < 4 || name->p[name->n - 1] != ')')
		return (struct str){NULL, 0};
	open = memrchr(name->p, '(', name->n);
	if (!open || open == name->p)
		return (struct str){NULL, 0};
	hint = (struct str){open + 1, (size_t)(name->p + name->n - open) - 2};
	*name = str_trim((struct str){name->p, (size_t)(open - name->p)});
	return hint;
}

/* --- saying what was taken ---------------------------------------------------------- */

/* What to write to mean s: the class of things it belongs to. */
static bool hint_for(const struct wordnet *wn, const struct wn_synset *s,
                     struct str *hint)
{
	struct wn_synset up;

	return wordnet_synset(wn, wn_parent(s), &up) &&
	       wn_word(&up, 0, hint, NULL);
}

static bool hint_used(const struct wordnet *wn, const struct wn_synset *v,
                      size_t n, struct str hint)
{
	struct str other;

	for (size_t i = 0; i < n; i++)
		if (hint_for(wn, &v[i], &other) && str_eq(hint, other))
			return true;
	return false;
}

static enum err tell_others(const struct wordnet *wn, struct arena *a,
                            const struct wn_synset *others, size_t n,
                            struct subject *out)
{
	AUTO_BUF b = {0};
	struct str hint, text = {NULL, 0};
	size_t shown = 0;

	buf_char(&b, '"');
	buf_str(&b, out->name);
	buf_str(&b, STR("\" has more than one meaning. Taken here: "));
	buf_str(&b, out->meaning);
	buf_str(&b, STR(". For another one write "));
	for (size_t i = 0; i < n && shown < 3; i++) {
		if (wn_same(others[i].ref, out->syn.ref) ||
		    !hint_for(wn, &others[i], &hint) ||
		    hint_used(wn, others, i, hint))
			continue;
		buf_str(&b, shown++ ? STR(" or \"") : STR("\""));
		buf_str(&b, out->name);
		buf_str(&b, STR(" ("));
		prose_name(&b, hint);
		buf_str(&b, STR(")\""));
	}
	buf_char(&b, '.');
	if (shown == 0)
		return OK;
	if (text_keep(a, &b, &text))
		return ERR_NOMEM;
	warnings_add(&out->warnings, text);
	return OK;
}

static enum err tell_unknown(struct arena *a, struct subject *out)
{
	AUTO_BUF b = {0};
	struct str text = {NULL, 0};

	buf_str(&b, STR("The offline dictionary does not know \""));
	buf_str(&b, out->name);
	buf_str(&b, STR("\": this is a study plan of questions and methods, "
	                "not of facts about it."));
	if (text_keep(a, &b, &text))
		return ERR_NOMEM;
	warnings_add(&out->warnings, text);
	return OK;
}

/* --- taking a meaning ------------------------------------------------------------------ */

/* Names that take an article: "the French Revolution", "the Moon". */
static bool article_name(const struct subject *s)
{
	static const char *const ends[] = {
		" revolution", " war",       " empire",  " reformation",
		" depression", " union",     " nations", " states",
		" kingdom",    " republic",  " plague",  " ages",
		" sea",        " ocean",     " desert",  " river",
		" islands",    " mountains", " system",
	};

	static const char *const names[] = {
		"moon",   "sun",    "renaissance", "enlightenment",
		"bible",  "koran",  "holocaust",   "netherlands",
		"alps",   "andes",  "himalayas",   "crusades",
		"nile",   "amazon", "sahara",      "balkans",
		"talmud", "torah",  "vatican",     "philippines",
	};

	for (size_t i = 0; i < COUNTOF(names); i++)
		if (str_eq(s->key, str_from(names[i])))
			return prose_proper(&s->syn);
	for (size_t i = 0; i < COUNTOF(ends); i++) {
		struct str e = str_from(ends[i]), k = s->key;

		if (k.n > e.n && str_eq((struct str){k.p + k.n - e.n, e.n}, e))
			return prose_proper(&s->syn);
	}
	return false;
}

/* How a subject was found, and how what was found is written. */
struct naming {
	struct str lemma; /* the word of the dictionary or of our table */
	bool whole;       /* the whole name was looked up, not a part of it */
	bool plural;      /* it was written in the plural */
};

/* Plurals that say something else than their singular. */
static bool stays_plural(struct str key)
{
	static const char *const ends[] = {"rights", "studies", "sports",
	                                   "arts", "games"};
	struct str rest = key, word, last = {NULL, 0};

	for (word = text_word(&rest); word.n; word = text_word(&rest))
		last = word;
	for (size_t i = 0; i < COUNTOF(ends); i++)
		if (str_eq(last, str_from(ends[i])))
			return true;
	return false;
}

/* "The earthquake" stands for all of them, but "emotion" needs no article. */
static bool plural_article(const struct wn_synset *s)
{
	static const enum wn_lex none[] = {
		WN_LEX_FEELING, WN_LEX_SUBSTANCE, WN_LEX_FOOD,
		WN_LEX_STATE,   WN_LEX_ATTRIBUTE,
	};

	for (size_t i = 0; i < COUNTOF(none); i++)
		if (s->lex_file == none[i])
			return false;
	return !prose_proper(s);
}

static bool takes_article(const struct naming *how, const struct subject *s)
{
	if (!s->known || str_eq(s->bare, STR("this topic")))
		return false;
	if (str_starts(s->key, STR("the ")))
		return how->lemma.n > 0;
	if (how->plural && stays_plural(s->key))
		return false;
	return article_name(s) || (how->plural && plural_article(&s->syn)) ||
	       (how->whole && prose_counted(&s->syn, s->bare));
}

/* "the lion", "democracy", "Paris": as it stands in a sentence. */
static enum err set_phrase(struct arena *a, const struct naming *how,
                           struct subject *out)
{
	AUTO_BUF b = {0};
	enum err e;

	out->bare = text_words(out->name) > SUBJECT_LONG_WORDS + 1 ||
	                            out->name.n > SUBJECT_LONG_BYTES
	                    ? STR("this topic")
	                    : out->name;
	if (how->lemma.n && !(how->plural && stays_plural(out->key))) {
		prose_name(&b, how->lemma);
		e = text_keep(a, &b, &out->bare);
		if (e)
			return e;
		buf_clear(&b);
	}
	out->phrase = out->bare;
	if (!takes_article(how, out))
		return OK;
	buf_str(&b, STR("the "));
	buf_str(&b, out->bare);
	return text_keep(a, &b, &out->phrase);
}

static enum kind kind_taught(const struct wordnet *wn,
                             const struct wn_synset *s)
{
	enum kind k = kind_of(wn, s);

	/* "Nurse" has no early life, and "city" no one government. */
	if ((k == KIND_PERSON || k == KIND_PLACE) && !prose_proper(s))
		return KIND_ANY;
	return k;
}

static void take(const struct wordnet *wn, const struct wn_synset *s,
                 struct subject *out)
{
	struct gloss g;

	prose_gloss(s->gloss, &g);
	out->known = true;
	out->syn = *s;
	out->kind = kind_taught(wn, s);
	out->meaning = g.definition;
}

static enum err take_choice(const struct wordnet *wn, struct arena *a,
                            const struct sense_choice *c, enum kind kind,
                            struct subject *out)
{
	take(wn, &c->taken, out);
	if (kind != KIND_ANY)
		out->kind = kind;
	if (c->hinted || c->others_n == 0)
		return OK;
	return tell_others(wn, a, c->others, c->others_n, out);
}

/* Our own meaning, with the dictionary's as the others. */
static enum err take_ours(const struct wordnet *wn, struct arena *a,
                          const struct row *row, struct str hint,
                          struct subject *out)
{
	static const struct sense_context none;
	struct sense_choice c;
	enum err e = tell_unknown(a, out);

	out->kind = row->kind;
	out->meaning = str_from(row->meaning);
	if (e || hint.n || !wn || !sense_choose(wn, out->key, &none, &c))
		return e;
	if (c.others_n < SENSE_OTHERS_MAX)
		c.others_n++;
	memmove(c.others + 1, c.others, (c.others_n - 1) * sizeof(c.others[0]));
	c.others[0] = c.taken;
	return tell_others(wn, a, c.others, c.others_n, out);
}

/* --- looking for a meaning ---------------------------------------------------------------- */

/* What to look up: "human heart" is in the dictionary as "heart". */
static struct str look_up(const struct wordnet *wn, struct str key)
{
	struct str look = without_the(key), rest = look, base;
	char text[WN_LEMMA_MAX];

	if (wn && cut_head(&rest, "human ") &&
	    !wordnet_base(wn, look, text, &base))
		return rest;
	return look;
}

/* Base as s writes it: "dna" is "DNA". */
static struct str spelled(const struct wn_synset *s, struct str base)
{
	struct str word;

	for (unsigned i = 0; wn_word(s, i, &word, NULL); i++)
		if (str_ieq(word, base))
			return word;
	return (struct str){NULL, 0};
}

/* "bridges": not the man of that name. */
static bool find_plural(const struct wordnet *wn, struct str key,
                        const struct sense_context *cx, struct sense_choice *c,
                        char *text, struct str *base)
{
	struct sense_choice one;

	if (c->taken.lex_file != WN_LEX_PERSON || !prose_proper(&c->taken) ||
	    !wordnet_singular(wn, key, text, base) ||
	    !sense_choose(wn, *base, cx, &one) || prose_proper(&one.taken))
		return false;
	*c = one;
	return true;
}

/* The whole name, in the dictionary; our table may fix its meaning. */
static bool find_whole(const struct wordnet *wn, struct str key,
                       struct str hint, const struct subject *within,
                       const struct row **row, struct sense_choice *c,
                       struct naming *how)
{
	struct sense_context cx = {
		.within = within && within->known ? &within->syn : NULL,
		.hint = hint,
	};
	char text[WN_LEMMA_MAX];
	struct str base;
	struct wn_synset fixed;

	if (!wordnet_base(wn, key, text, &base))
		return false;
	if (!*row && !within && base.n != key.n)
		*row = row_for(base);
	cx.tell_all = *row != NULL;
	how->plural = base.n != key.n;
	if (!sense_choose(wn, base, &cx, c))
		return false;
	if (find_plural(wn, key, &cx, c, text, &base))
		how->plural = true;
	if (*row && (*row)->lemma && !hint.n &&
	    kind_sense(wn, str_from((*row)->lemma), (*row)->lex, (*row)->id,
	               &fixed) &&
	    !wn_same(fixed.ref, c->taken.ref)) {
		if (c->others_n < SENSE_OTHERS_MAX)
			c->others[c->others_n++] = c->taken;
		c->taken = fixed;
	}
	how->lemma = spelled(&c->taken, base);
	how->whole = how->lemma.n > 0;
	return true;
}

/* "java island", "python snake": a word and what tells its meaning. */
static bool find_hinted(const struct wordnet *wn, struct str key,
                        struct sense_choice *c)
{
	for (size_t i = key.n; i > 1; i--) {
		struct str head = {key.p, i - 1};
		struct str tail = {key.p + i, key.n - i};
		struct sense_context cx = {.hint = tail};
		char text[WN_LEMMA_MAX];
		struct str base;

		if (key.p[i - 1] != ' ' ||
		    !wordnet_base(wn, head, text, &base) ||
		    !sense_choose(wn, base, &cx, c))
			continue;
		/* The hint must name a class above it, not just occur. */
		if (sense_overlap(wn, &c->taken, tail) >=
		    2 * (int)text_words(tail))
			return true;
	}
	return false;
}

static const struct row *row_hinted(struct str key, struct str *hint)
{
	for (size_t i = key.n; i > 1; i--) {
		const struct row *row;

		if (key.p[i - 1] != ' ')
			continue;
		*hint = (struct str){key.p + i, key.n - i};
		row = row_for((struct str){key.p, i - 1});
		if (row && row->meaning && hints_at(row, *hint))
			return row;
	}
	return NULL;
}

/* Kinds whose facets suit a phrase of which only the head is known. */
static bool lends_kind(enum kind k)
{
	static const enum kind lent[] = {
		KIND_FIELD,   KIND_MATH,      KIND_LANGUAGE, KIND_ART,
		KIND_HEALTH,  KIND_FOOD,      KIND_LIVING,   KIND_EVENT,
		KIND_PROCESS, KIND_SUBSTANCE,
	};

	for (size_t i = 0; i < COUNTOF(lent); i++)
		if (lent[i] == k)
			return true;
	return false;
}

/* A phrase of two or three words takes the kind of its last noun. */
static enum kind kind_of_head(const struct wordnet *wn, struct str key)
{
	static const struct sense_context none;
	struct str rest = key, word, last = {NULL, 0};
	struct sense_choice c;
	char text[WN_LEMMA_MAX];
	struct str base;
	enum kind k;

	if (text_words(key) < 2 || text_words(key) > 3)
		return KIND_ANY;
	for (word = text_word(&rest); word.n; word = text_word(&rest)) {
		/* "Rust ownership" is not about property. */
		if (row_for(word) || text_common(word))
			return KIND_ANY;
		last = word;
	}
	if (!wordnet_base(wn, last, text, &base) ||
	    !sense_choose(wn, base, &none, &c))
		return KIND_ANY;
	k = kind_taught(wn, &c.taken);
	return lends_kind(k) ? k : KIND_ANY;
}

/* What cannot be found becomes a study plan. */
static enum err resolve(const struct wordnet *wn, struct arena *a,
                        struct str hint, const struct subject *within,
                        struct naming *how, struct subject *out)
{
	struct str look = look_up(wn, out->key);
	const struct row *row = within ? NULL : row_for(look);
	struct sense_choice c;

	*how = (struct naming){.whole = false};
	if (row && row->meaning && (!hint.n || !wn || hints_at(row, hint))) {
		how->lemma = str_from(row->key);
		return take_ours(wn, a, row, hint, out);
	}
	if (!wn)
		return tell_unknown(a, out);
	if (find_whole(wn, look, hint, within, &row, &c, how)) {
		/* "Human heart" is not called "heart" by who asks for it. */
		if (look.n != without_the(out->key).n)
			how->lemma.n = 0;
		return take_choice(wn, a, &c,
		                   row && !hint.n ? row->kind : KIND_ANY, out);
	}
	row = row_hinted(out->key, &hint);
	if (row)
		return take_ours(wn, a, row, hint, out);
	if (find_hinted(wn, out->key, &c))
		return take_choice(wn, a, &c, KIND_ANY, out);
	out->kind = kind_of_head(wn, out->key);
	return tell_unknown(a, out);
}

enum err subject_of(const struct wordnet *wn, struct arena *a, struct str topic,
                    const struct subject *within, struct subject *out)
{
	struct subject s = {.topic = str_trim(topic), .kind = KIND_ANY};
	struct naming how;
	struct str hint;
	enum err e;

	s.name = unwrap(s.topic);
	hint = hint_of(&s.name);
	e = text_key(a, s.name, &s.key);
	if (!e)
		e = resolve(wn, a, hint, within, &how, &s);
	if (!e)
		e = set_phrase(a, &how, &s);
	if (!e)
		*out = s;
	return e;
}
