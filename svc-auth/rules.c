#include "svc-auth/rules.h"

#include "common/base/b64.h"

#include <ctype.h>
#include <time.h>

static const char *const reserved[] = {
	"admin",  "administrator", "all",     "anonymous",
	"api",    "auth",          "content", "deleted",
	"erased", "everyone",      "false",   "gateway",
	"gdpr",   "guest",         "help",    "knowalledge",
	"me",     "moderator",     "nan",     "nil",
	"nobody", "none",          "null",    "owner",
	"root",   "security",      "self",    "service",
	"staff",  "support",       "system",  "test_user",
	"true",   "undefined",     "unknown", "user_id",
};

static const struct {
	const char *code, *words;
} verdicts[] = {
	[HANDLE_GOOD] = {"", ""},
	[HANDLE_LENGTH] = {"LENGTH", "user_id has 3 to 64 characters."},
	[HANDLE_LETTERS] =
		{"CHARACTERS",
                 "user_id may contain only letters, digits, '.', '_' and '-'."},
	[HANDLE_RESERVED] = {"RESERVED",
                             "This user_id is reserved. Choose another one."},
};

enum handle_verdict handle_check(struct str handle)
{
	if (handle.n < HANDLE_MIN || handle.n > HANDLE_MAX)
		return HANDLE_LENGTH;
	for (size_t i = 0; i < handle.n; i++) {
		char c = handle.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!letter && !(c >= '0' && c <= '9') && c != '.' &&
		    c != '_' && c != '-')
			return HANDLE_LETTERS;
	}
	for (size_t i = 0; i < COUNTOF(reserved); i++)
		if (str_ieq(handle, str_from(reserved[i])))
			return HANDLE_RESERVED;
	return HANDLE_GOOD;
}

const char *handle_words(enum handle_verdict v)
{
	return verdicts[v].words;
}

const char *handle_code(enum handle_verdict v)
{
	return verdicts[v].code;
}

struct str handle_fold(struct str handle, char out[HANDLE_MAX + 1])
{
	size_t n = handle.n < HANDLE_MAX ? handle.n : HANDLE_MAX;

	for (size_t i = 0; i < n; i++) {
		char c = handle.p[i];

		/* Not tolower(): its answer depends on the locale. */
		out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	out[n] = '\0';
	return (struct str){out, n};
}

/* --- keys ----------------------------------------------------------------- */

struct str api_key_make(char out[API_KEY_MAX])
{
	unsigned char raw[API_KEY_BYTES];
	struct str text;

	randombytes_buf(raw, sizeof(raw));
	memcpy(out, "sk_", 3);
	text = b64url(raw, sizeof(raw), out + 3);
	explicit_bzero(raw, sizeof(raw));
	return (struct str){out, text.n + 3};
}

bool api_key_well_formed(struct str key)
{
	unsigned char raw[API_KEY_BYTES];
	size_t n = 0;
	bool ok;

	if (!str_starts(key, STR("sk_")))
		return false;
	ok = b64url_decode((struct str){key.p + 3, key.n - 3}, raw, sizeof(raw),
	                   &n) &&
	     n == sizeof(raw);
	explicit_bzero(raw, sizeof(raw));
	return ok;
}

void api_key_hash(struct str key, unsigned char out[API_KEY_HASH])
{
	(void)crypto_hash_sha256(out, (const unsigned char *)key.p, key.n);
}

uint32_t role_scopes(enum role r)
{
	switch (r) {
	case ROLE_ADMIN:
		return SCOPES_USUAL | SCOPE_ADMIN;
	case ROLE_USER:
		return SCOPES_USUAL;
	case ROLE_GUEST:
	case ROLE_SERVICE:
		break;
	}
	return 0;
}

/* --- times ---------------------------------------------------------------- */

/* Takes exactly `digits` digits off the front of *s. */
static bool number(struct str *s, size_t digits, int *out)
{
	int v = 0;

	if (s->n < digits)
		return false;
	for (size_t i = 0; i < digits; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return false;
		v = v * 10 + (s->p[i] - '0');
	}
	*s = (struct str){s->p + digits, s->n - digits};
	*out = v;
	return true;
}

static bool letter(struct str *s, char c)
{
	if (s->n == 0 || toupper((unsigned char)s->p[0]) != c)
		return false;
	*s = (struct str){s->p + 1, s->n - 1};
	return true;
}

/* Milliseconds of an optional fraction; further digits are cut off. */
static bool fraction(struct str *s, int *ms)
{
	size_t n = 0;

	*ms = 0;
	if (!letter(s, '.'))
		return true;
	while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9') {
		if (n < 3)
			*ms = *ms * 10 + (s->p[n] - '0');
		n++;
	}
	for (size_t i = n; i < 3; i++)
		*ms *= 10;
	*s = (struct str){s->p + n, s->n - n};
	return n > 0;
}

static bool zone(struct str *s, int *minutes)
{
	bool minus;
	int h = 0, m = 0;

	*minutes = 0;
	if (letter(s, 'Z'))
		return true;
	minus = s->n && s->p[0] == '-';
	if (!letter(s, '+') && !letter(s, '-'))
		return false;
	if (!number(s, 2, &h) || !letter(s, ':') || !number(s, 2, &m) ||
	    h > 23 || m > 59)
		return false;
	*minutes = minus ? -(h * 60 + m) : h * 60 + m;
	return true;
}

bool time_from_iso(struct str s, int64_t *epoch_ms)
{
	struct tm want = {0}, got;
	int year = 0, month = 0, ms = 0, minutes = 0;
	time_t t;

	if (!number(&s, 4, &year) || !letter(&s, '-') ||
	    !number(&s, 2, &month) || !letter(&s, '-') ||
	    !number(&s, 2, &want.tm_mday) || !letter(&s, 'T') ||
	    !number(&s, 2, &want.tm_hour) || !letter(&s, ':') ||
	    !number(&s, 2, &want.tm_min) || !letter(&s, ':') ||
	    !number(&s, 2, &want.tm_sec) || !fraction(&s, &ms) ||
	    !zone(&s, &minutes) || s.n)
		return false;
	want.tm_year = year - 1900;
	want.tm_mon = month - 1;
	got = want;
	t = timegm(&got);
	/* timegm() carries what is out of range: 31 February comes back as
	 * March, which tells that it was never a date. */
	if (got.tm_mon != want.tm_mon || got.tm_mday != want.tm_mday ||
	    got.tm_hour != want.tm_hour || got.tm_min != want.tm_min ||
	    got.tm_sec != want.tm_sec)
		return false;
	*epoch_ms = ((int64_t)t - (int64_t)minutes * 60) * 1000 + ms;
	return true;
}
