#include "svc-content/text.h"

#include "common/base/b64.h"

#include <sodium.h>
#include <utf8proc.h>

#define KEY_OPTIONS                                               \
	((utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPAT |  \
	                     UTF8PROC_COMPOSE | UTF8PROC_IGNORE | \
	                     UTF8PROC_CASEFOLD))

/* Blanks of every kind are U+0020 after NFKC, but for tabs and line ends. */
static size_t collapse(char *p, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		bool blank = p[i] == ' ' || (p[i] >= '\t' && p[i] <= '\r');

		if (!blank)
			p[out++] = p[i];
		else if (out > 0 && p[out - 1] != ' ')
			p[out++] = ' ';
	}
	return out > 0 && p[out - 1] == ' ' ? out - 1 : out;
}

enum err text_key(struct arena *a, struct str s, struct str *key)
{
	utf8proc_ssize_t n, left;
	utf8proc_int32_t *cps;

	if (s.n == 0) {
		*key = STR("");
		return OK;
	}
	n = utf8proc_decompose((const utf8proc_uint8_t *)s.p,
	                       (utf8proc_ssize_t)s.n, NULL, 0, KEY_OPTIONS);
	if (n < 0)
		return ERR_INVALID;
	/* reencode() writes UTF-8 and a NUL over the code points. */
	cps = arena_alloc(a, ((size_t)n + 1) * sizeof(*cps));
	if (!cps)
		return ERR_NOMEM;
	n = utf8proc_decompose((const utf8proc_uint8_t *)s.p,
	                       (utf8proc_ssize_t)s.n, cps, n, KEY_OPTIONS);
	if (n < 0)
		return ERR_INVALID;
	left = utf8proc_reencode(cps, n, KEY_OPTIONS);
	if (left < 0)
		return ERR_INVALID;
	*key = (struct str){(char *)cps, collapse((char *)cps, (size_t)left)};
	return OK;
}

enum err text_keep(struct arena *a, const struct buf *b, struct str *out)
{
	struct str kept =
		b->failed ? (struct str){NULL, 0} : arena_str(a, buf_view(b));

	if (!kept.p)
		return ERR_NOMEM;
	*out = kept;
	return OK;
}

static bool space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t text_words(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += !space(s.p[i]) && (i == 0 || space(s.p[i - 1]));
	return n;
}

/* Bytes of a full stop that no blank needs to follow: the ideographic one and
 * its full-width relatives, those of Arabic and Urdu.  0: there is none. */
static size_t foreign_stop(struct str s, size_t i)
{
	static const struct str stops[] = {
		STR("\xe3\x80\x82"), STR("\xef\xbc\x81"), STR("\xef\xbc\x9f"),
		STR("\xd8\x9f"),     STR("\xdb\x94"),
	};

	for (size_t k = 0; k < COUNTOF(stops); k++)
		if (str_starts((struct str){s.p + i, s.n - i}, stops[k]))
			return stops[k].n;
	return 0;
}

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

/* What may stand between a full stop and the blank behind it. */
static bool closing(char c)
{
	return c == '"' || c == ')' || c == '\'';
}

size_t text_sentences(struct str s)
{
	size_t n = 0, i = 0;
	bool words = false;

	while (i < s.n) {
		char c = s.p[i];
		bool stop = c == '.' || c == '!' || c == '?';
		size_t foreign = foreign_stop(s, i);
		size_t next = i + (foreign ? foreign : 1);

		if (stop)
			while (next < s.n && closing(s.p[next]))
				next++;
		if ((foreign || (stop && (next == s.n || space(s.p[next])))) &&
		    words) {
			n++;
			words = false;
		} else {
			words = words || letter(c);
		}
		i = next;
	}
	return n;
}

static bool find(struct str s, struct str needle, bool borders)
{
	if (needle.n == 0)
		return false;
	for (size_t i = 0; i + needle.n <= s.n; i++) {
		size_t end = i + needle.n;

		if (strncasecmp(s.p + i, needle.p, needle.n) != 0)
			continue;
		if (!borders || ((i == 0 || !letter(s.p[i - 1])) &&
		                 (end == s.n || !letter(s.p[end]))))
			return true;
	}
	return false;
}

bool text_has(struct str s, struct str needle)
{
	return find(s, needle, false);
}

bool text_has_word(struct str s, struct str needle)
{
	return find(s, needle, true);
}

struct str text_word(struct str *rest)
{
	size_t i = 0, start;

	while (i < rest->n && !letter(rest->p[i]))
		i++;
	start = i;
	while (i < rest->n && (letter(rest->p[i]) || rest->p[i] == '-'))
		i++;
	*rest = (struct str){rest->p + i, rest->n - i};
	return (struct str){rest->p - (i - start), i - start};
}

bool text_common(struct str word)
{
	static const char *const common[] = {
		"about",     "after",   "also",    "among",   "and",
		"another",   "any",     "are",     "become",  "been",
		"being",     "both",    "can",     "each",    "especially",
		"etc",       "for",     "form",    "from",    "had",
		"has",       "have",    "having",  "his",     "into",
		"its",       "kind",    "made",    "many",    "more",
		"most",      "not",     "occur",   "often",   "one",
		"only",      "other",   "over",    "part",    "people",
		"person",    "set",     "several", "some",    "someone",
		"something", "such",    "than",    "that",    "the",
		"their",     "them",    "then",    "there",   "these",
		"they",      "thing",   "things",  "this",    "those",
		"through",   "type",    "used",    "uses",    "using",
		"usually",   "various", "very",    "was",     "were",
		"when",      "where",   "which",   "while",   "who",
		"whose",     "with",    "within",  "without", "you",
	};

	if (word.n < 3)
		return true;
	for (size_t i = 0; i < COUNTOF(common); i++)
		if (str_ieq(word, str_from(common[i])))
			return true;
	return false;
}

uint64_t text_hash(struct str s, uint64_t seed)
{
	uint64_t h = 0xcbf29ce484222325U ^ (seed * 0x9e3779b97f4a7c15U);

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3U;
	/* The last bytes have not reached the upper bits yet. */
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93U;
	return h ^ (h >> 29);
}

struct str text_digest(const struct str *parts, size_t n,
                       char out[TEXT_DIGEST_MAX])
{
	unsigned char sum[crypto_hash_sha256_BYTES];
	crypto_hash_sha256_state st;

	crypto_hash_sha256_init(&st);
	for (size_t i = 0; i < n; i++) {
		uint64_t len = parts[i].n;
		unsigned char head[8];

		/* Lengths keep ("ab","c") and ("a","bc") apart. */
		for (size_t k = 0; k < sizeof(head); k++)
			head[k] = (unsigned char)(len >> (8 * k));
		crypto_hash_sha256_update(&st, head, sizeof(head));
		crypto_hash_sha256_update(&st,
		                          (const unsigned char *)parts[i].p,
		                          parts[i].n);
	}
	crypto_hash_sha256_final(&st, sum);
	return hex(sum, sizeof(sum), out);
}

void text_fill(struct buf *b, const char *form, const struct blanks *in)
{
	for (const char *p = form; *p; p++) {
		if (p[0] == '{' && p[1] && p[2] == '}') {
			buf_str(b, p[1] == 't'   ? in->t
			           : p[1] == 's' ? in->s
			                         : in->x);
			p += 2;
		} else {
			buf_char(b, *p);
		}
	}
}
