#include "tests/offline_prose.h"

#include "svc-content/text.h"

static bool blank(char c)
{
	return c == ' ' || c == '\n' || c == '\t';
}

/* The next word with what clings to it. */
struct str english_token(struct str *rest)
{
	size_t i = 0, from;

	while (i < rest->n && blank(rest->p[i]))
		i++;
	from = i;
	while (i < rest->n && !blank(rest->p[i]))
		i++;
	*rest = (struct str){rest->p + i, rest->n - i};
	return (struct str){rest->p - (i - from), i - from};
}

static bool ends_sentence(struct str word)
{
	/* "(as in music etc.) that", '(of clerks etc.)"?' */
	if (text_has(word, STR("etc.)")) && word.p[word.n - 1] != '.' &&
	    word.p[word.n - 1] != '?')
		return false;
	while (word.n && strchr("\")'", word.p[word.n - 1]))
		word.n--;
	return word.n && strchr(".!?", word.p[word.n - 1]);
}

struct str english_sentence(struct str *rest)
{
	struct str s = {rest->p, 0}, word = english_token(rest);

	while (word.n && !ends_sentence(word))
		word = english_token(rest);
	s.n = (size_t)(rest->p - s.p);
	return str_trim(s);
}

static bool paired(struct str s)
{
	int depth = 0;
	size_t quotes = 0;

	for (size_t i = 0; i < s.n; i++) {
		depth += (s.p[i] == '(') - (s.p[i] == ')');
		quotes += s.p[i] == '"';
		if (depth < 0)
			return false;
	}
	return depth == 0 && quotes % 2 == 0;
}

bool english_bad_run(struct str s)
{
	static const char *const runs[] = {"  ", " ,", " . ", ",,", "..",
	                                   ";.", ",.", "{",   "}"};

	for (size_t i = 0; i < COUNTOF(runs); i++)
		if (memmem(s.p, s.n, runs[i], strlen(runs[i])))
			return true;
	return false;
}

/* "the the"; but "that that" and names such as "Duran Duran" exist. */
bool english_doubled(struct str s)
{
	struct str last = {NULL, 0};

	for (struct str w = english_token(&s); w.n; w = english_token(&s)) {
		if (last.n && str_ieq(last, w) && !str_ieq(w, STR("that")))
			return true;
		last = w;
	}
	return false;
}

bool english_whole(struct str text)
{
	struct str rest = text;

	if (text.n == 0 || !paired(text) || english_bad_run(text) ||
	    english_doubled(text) || !ends_sentence(text))
		return false;
	for (struct str s = english_sentence(&rest); s.n;
	     s = english_sentence(&rest)) {
		char c = s.p[0] == '"' && s.n > 1 ? s.p[1] : s.p[0];
		struct str word = s, first = english_token(&word);
		bool inner = false; /* "iOS", "pH" */

		for (size_t i = 1; i < first.n; i++)
			inner = inner ||
			        (first.p[i] >= 'A' && first.p[i] <= 'Z');
		if (c >= 'a' && c <= 'z' && !inner)
			return false;
	}
	return true;
}

/* By letters, but for the words that sound otherwise. */
static bool wants_an(struct str w)
{
	static const char *const an[] = {"hour", "honest", "honor", "honour",
	                                 "heir", "x-ray",  "unin",  "unim",
	                                 "unid", "unu",    "una"};
	static const char *const no[] = {"uni", "use",  "usu",  "eu",  "one-",
	                                 "one", "once", "ura",  "uto", "ubi",
	                                 "ute", "ewe",  "usab", "u-"};

	for (size_t i = 0; i < COUNTOF(an); i++)
		if (str_ieq((struct str){w.p, strlen(an[i]) < w.n
		                                      ? strlen(an[i])
		                                      : w.n},
		            str_from(an[i])))
			return true;
	for (size_t i = 0; i < COUNTOF(no); i++)
		if (str_ieq((struct str){w.p, strlen(no[i]) < w.n
		                                      ? strlen(no[i])
		                                      : w.n},
		            str_from(no[i])))
			return false;
	return w.n && strchr("aeiouAEIOU", w.p[0]) != NULL;
}

bool english_articles(struct str text)
{
	struct str rest = text;

	for (struct str w = english_token(&rest); w.n;
	     w = english_token(&rest)) {
		struct str after = rest, next = english_token(&after);
		bool a = str_ieq(w, STR("a")), an = str_ieq(w, STR("an"));

		while (next.n && strchr("\"(", next.p[0])) {
			next.p++;
			next.n--;
		}
		/* Single letters and initials are spoken as letters. */
		if ((!a && !an) || next.n < 3 ||
		    (unsigned char)next.p[0] >= 128 ||
		    (next.p[1] >= 'A' && next.p[1] <= 'Z') || next.p[1] == '-')
			continue;
		if (an != wants_an(next))
			return false;
	}
	return true;
}
