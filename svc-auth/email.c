#include "svc-auth/email.h"

static bool alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9');
}

/* atext of RFC 5322, 3.2.3. */
static bool atom_char(char c)
{
	return alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool atom(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!atom_char(s.p[i]))
			return false;
	return s.n > 0;
}

static bool label(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!alnum(s.p[i]) && s.p[i] != '-')
			return false;
	return s.n > 0 && s.n <= EMAIL_LABEL_MAX && s.p[0] != '-' &&
	       s.p[s.n - 1] != '-';
}

static bool digits(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

/* Each part between dots is `good`; how many there are, or 0.  *last: the last
 * of them. */
static size_t parts(struct str s, bool (*good)(struct str), struct str *last)
{
	struct str rest = s;
	size_t n = 0;

	/* str_cut() does not tell "a." from "a". */
	if (s.n == 0 || s.p[s.n - 1] == '.')
		return 0;
	while (rest.n) {
		*last = str_cut(&rest, '.');
		if (!good(*last))
			return 0;
		n++;
	}
	return n;
}

bool email_valid(struct str s)
{
	struct str domain = s, last = {NULL, 0};
	struct str local = str_cut(&domain, '@');

	if (s.n > EMAIL_MAX || local.n > EMAIL_LOCAL_MAX)
		return false;
	return parts(local, atom, &last) > 0 &&
	       parts(domain, label, &last) > 1 && !digits(last);
}

struct str email_fold(struct str s, char out[EMAIL_MAX + 1])
{
	size_t n = s.n < EMAIL_MAX ? s.n : EMAIL_MAX;

	for (size_t i = 0; i < n; i++) {
		char c = s.p[i];

		out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	out[n] = '\0';
	return (struct str){out, n};
}
