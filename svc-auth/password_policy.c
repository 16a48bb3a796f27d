#include "svc-auth/password_policy.h"

#include "svc-auth/blocklist.h"

#include "common/base/utf8.h"

#define AFFIX_MAX   4 /* digits and marks at one end that change little */
#define CONTEXT_MIN 4 /* a shorter name stands in too many passwords */

/* ASVS 6.1.2: words about us that nobody should build a password on. */
static const char *const context_words[] = {"knowalledge", "knowall"};

static const struct {
	const char *code, *words;
} verdicts[] = {
	[PASSWORD_GOOD] = {"", ""},
	[PASSWORD_SHORT] = {"LENGTH", "A password has at least 8 characters."},
	[PASSWORD_LONG] = {"LENGTH", "A password has at most 256 characters."},
	[PASSWORD_COMMON] =
		{"COMMON",
                 "This password is among those that are guessed first. Choose another one."},
	[PASSWORD_PERSONAL] =
		{"SIMILAR",
                 "This password is too much like your user_id or e-mail address."},
	[PASSWORD_PRODUCT] =
		{"SIMILAR",
                 "This password is too much like the name of this site."},
};

/* --- what everybody changes ------------------------------------------------ */

static bool letter(int32_t cp)
{
	return (cp >= 'a' && cp <= 'z') || cp >= 0x80;
}

/* Digits and marks that stand for letters. */
static void undo_marks(struct folded *f)
{
	static const struct {
		char mark, meant;
	} pairs[] = {{'0', 'o'}, {'1', 'i'}, {'!', 'i'}, {'3', 'e'},
	             {'4', 'a'}, {'@', 'a'}, {'5', 's'}, {'$', 's'},
	             {'7', 't'}, {'+', 't'}};

	for (size_t i = 0; i < f->n; i++)
		for (size_t k = 0; k < COUNTOF(pairs); k++)
			if (f->cp[i] == pairs[k].mark)
				f->cp[i] = pairs[k].meant;
}

/* Without up to AFFIX_MAX others than letters at each end. */
static struct folded *trim(const struct folded *f, struct folded *out)
{
	size_t from = 0, to = f->n;

	while (from < to && from < AFFIX_MAX && !letter(f->cp[from]))
		from++;
	while (to > from && f->n - to < AFFIX_MAX && !letter(f->cp[to - 1]))
		to--;
	out->n = to - from;
	memcpy(out->cp, f->cp + from, out->n * sizeof(out->cp[0]));
	return out;
}

/* The length of what it is a repetition of; its own when of nothing. */
static size_t period(const struct folded *f)
{
	for (size_t p = 1; p <= f->n / 2; p++)
		if (f->n % p == 0 && memcmp(f->cp, f->cp + p,
		                            (f->n - p) * sizeof(f->cp[0])) == 0)
			return p;
	return f->n;
}

/* "aaaaaaaa", "abababab", "abcdefgh", "87654321". */
static bool monotonous(const struct folded *f)
{
	size_t same = 1;

	for (size_t i = 2; i < f->n; i++)
		same += f->cp[i] - f->cp[i - 1] == f->cp[1] - f->cp[0];
	return period(f) <= 2 || (f->n > 2 && same + 1 == f->n);
}

static bool listed(const struct folded *f)
{
	return f->n > 0 &&
	       (blocklist_has(f->cp, f->n) || blocklist_has(f->cp, period(f)));
}

static bool common(const struct folded *f)
{
	FOLDED plain, work;

	if (listed(f) || monotonous(f) || listed(trim(f, &work)))
		return true;
	plain = *f;
	undo_marks(&plain);
	if (listed(&plain))
		return true;
	/* "p@ssword123": the digits at the end are no letters. */
	(void)trim(f, &work);
	undo_marks(&work);
	return listed(&work);
}

/* --- what it is about -------------------------------------------------------- */

/* Whether f has the word, and is less than a password without it. */
static bool built_on(const struct folded *f, struct str word)
{
	FOLDED w;

	if (!fold(word, &w) || w.n < CONTEXT_MIN || f->n >= w.n + PASSWORD_MIN)
		return false;
	return memmem(f->cp, f->n * sizeof(f->cp[0]), w.cp,
	              w.n * sizeof(w.cp[0])) != NULL;
}

static bool personal(const struct folded *f, struct str handle,
                     struct str email)
{
	struct str rest = email;

	return built_on(f, handle) || built_on(f, email) ||
	       built_on(f, str_cut(&rest, '@'));
}

static bool about_us(const struct folded *f)
{
	for (size_t i = 0; i < COUNTOF(context_words); i++)
		if (built_on(f, str_from(context_words[i])))
			return true;
	return false;
}

enum password_verdict password_judge(struct str typed, struct str handle,
                                     struct str email)
{
	size_t length = utf8_length(typed);
	FOLDED f, plain;

	if (length < PASSWORD_MIN)
		return PASSWORD_SHORT;
	if (length > PASSWORD_MAX)
		return PASSWORD_LONG;
	/* What folds to nothing is invisible. */
	if (!fold(typed, &f) || f.n == 0 || common(&f))
		return PASSWORD_COMMON;
	plain = f;
	undo_marks(&plain);
	if (personal(&f, handle, email) || personal(&plain, handle, email))
		return PASSWORD_PERSONAL;
	return about_us(&f) || about_us(&plain) ? PASSWORD_PRODUCT
	                                        : PASSWORD_GOOD;
}

enum err password_good(struct ctx *cx, const char *pointer, struct str typed,
                       struct str handle, struct str email)
{
	enum password_verdict v = password_judge(typed, handle, email);

	if (v == PASSWORD_GOOD)
		return OK;
	return ctx_fault(cx, pointer, verdicts[v].code, "%s",
	                 verdicts[v].words);
}
