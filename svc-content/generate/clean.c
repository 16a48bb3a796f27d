#include "svc-content/generate/clean.h"

#include "common/base/utf8.h"
#include "svc-content/text.h"

#define TEXT_MAX   ((size_t)32 << 10)
#define PASSES_MAX 8

/* A reader of the text and what is made of it; drops in one pass. */
struct cleaner {
	struct str s;
	size_t at;
	struct buf out;
	bool lines, bold;
};

static struct str rest(const struct cleaner *c)
{
	return (struct str){c->s.p + c->at, c->s.n - c->at};
}

static bool starts(struct str s, struct str word)
{
	return s.n >= word.n && strncasecmp(s.p, word.p, word.n) == 0;
}

static bool ends_name(char c)
{
	return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	         (c >= '0' && c <= '9'));
}

/* --- tags ------------------------------------------------------------------------- */

/* Where what begins at s with <name ends: behind </name>, or at the end. */
static size_t element(struct str s, struct str name)
{
	if (s.n < name.n + 1 || !starts((struct str){s.p + 1, s.n - 1}, name) ||
	    (s.n > name.n + 1 && !ends_name(s.p[name.n + 1])))
		return 0;
	for (size_t i = 1; i + name.n + 2 <= s.n; i++) {
		const char *end;

		if (s.p[i] != '<' || s.p[i + 1] != '/' ||
		    !starts((struct str){s.p + i + 2, s.n - i - 2}, name))
			continue;
		end = memchr(s.p + i, '>', s.n - i);
		return end ? (size_t)(end - s.p) + 1 : s.n;
	}
	return s.n;
}

static bool opens_tag(struct str s)
{
	return s.n > 1 && s.p[0] == '<' &&
	       (!ends_name(s.p[1]) || s.p[1] == '/' || s.p[1] == '!' ||
	        s.p[1] == '?');
}

/* Whether only a name, and perhaps a slash, stands between the brackets. */
static bool bare(struct str inside)
{
	for (size_t i = 0; i < inside.n; i++)
		if (ends_name(inside.p[i]) && inside.p[i] != '/' &&
		    inside.p[i] != '-' && inside.p[i] != '_')
			return false;
	return inside.n > 0;
}

static bool drop_tag(struct cleaner *c)
{
	struct str s = rest(c), inside;
	const char *end;
	size_t n;

	if (!opens_tag(s))
		return false;
	n = element(s, STR("script"));
	if (!n)
		n = element(s, STR("style"));
	if (n) {
		c->at += n;
		return true;
	}
	end = memchr(s.p, '>', s.n);
	if (!end) { /* it never ends: what follows is text without a bracket */
		c->at++;
		return true;
	}
	inside = (struct str){s.p + 1, (size_t)(end - s.p) - 1};
	if (bare(inside)) {
		buf_str(&c->out, STR("\xe2\x80\xb9"));
		buf_str(&c->out, inside);
		buf_str(&c->out, STR("\xe2\x80\xba"));
	}
	c->at += inside.n + 2;
	return true;
}

/* --- addresses ---------------------------------------------------------------------- */

static bool ends_address(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '"' ||
	       c == '\'' || c == '<' || c == '>' || c == ')' || c == ']';
}

/* Schemes that lead somewhere or do something, wherever they stand. */
static bool drop_address(struct cleaner *c)
{
	static const struct str forms[] = {
		STR("http://"),     STR("https://"),  STR("ftp://"),
		STR("javascript:"), STR("vbscript:"), STR("data:text"),
		STR("data:image"),  STR("www."),      STR("mailto:"),
		STR("file://"),
	};
	struct str s = rest(c);

	for (size_t i = 0; i < COUNTOF(forms); i++) {
		size_t n = forms[i].n;

		if (!starts(s, forms[i]))
			continue;
		while (n < s.n && !ends_address(s.p[n]))
			n++;
		c->at += n;
		return true;
	}
	return false;
}

/* "[words](address)": the words stay, and are looked at as any other. */
static bool drop_link(struct cleaner *c)
{
	struct str s = rest(c);
	bool image = starts(s, STR("!["));
	const char *words, *end;

	if (!image && (s.n == 0 || s.p[0] != '['))
		return false;
	words = memmem(s.p, s.n, "](", 2);
	if (!words || memchr(s.p, '\n', (size_t)(words - s.p)))
		return false;
	end = memchr(words, ')', s.n - (size_t)(words - s.p));
	if (!end)
		return false;
	buf_str(&c->out, (struct str){s.p + 1 + image,
	                              (size_t)(words - s.p) - 1 - image});
	c->at += (size_t)(end - s.p) + 1;
	return true;
}

/* --- marks and blanks ----------------------------------------------------------------- */

static bool line_begins(const struct cleaner *c)
{
	return c->out.n == 0 || c->out.p[c->out.n - 1] == '\n';
}

/* Not "2**3", not "**kwargs". */
static bool opens_bold(const struct cleaner *c, struct str s)
{
	const char *line = memchr(s.p, '\n', s.n);
	size_t n = line ? (size_t)(line - s.p) : s.n;

	return (c->at == 0 || ends_name(c->s.p[c->at - 1])) && n > 4 &&
	       s.p[2] != ' ' && memmem(s.p + 3, n - 3, "**", 2);
}

static bool drop_mark(struct cleaner *c)
{
	struct str s = rest(c);
	size_t n = 0;

	if (starts(s, STR("```")))
		n = 3;
	else if (starts(s, STR("**")) && (c->bold || opens_bold(c, s)))
		n = 2;
	else if (line_begins(c))
		while (n < s.n && s.p[n] == '#')
			n++;
	/* "#include" is no heading. */
	if (n > 0 && s.p[0] == '#' && n < s.n && s.p[n] != ' ')
		n = 0;
	c->bold = n == 2 && s.p[0] == '*' ? !c->bold : c->bold;
	c->at += n;
	return n > 0;
}

static bool invisible(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0xad ||
	       (cp >= 0x200b && cp <= 0x200f && cp != 0x200c && cp != 0x200d) ||
	       (cp >= 0x202a && cp <= 0x202e) ||
	       (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff ||
	       (cp >= 0xfff0 && cp <= 0xfffc) ||
	       (cp >= 0xe0000 && cp <= 0xe0fff);
}

/* Before a blank or break: what ended in one already needs no other. */
static void add_blank(struct cleaner *c, char blank)
{
	struct buf *b = &c->out;

	if (b->n == 0 || b->p[b->n - 1] == '\n')
		return;
	if (b->p[b->n - 1] == ' ') {
		if (blank == '\n')
			b->p[b->n - 1] = '\n';
		return;
	}
	buf_char(b, blank);
}

static bool take_character(struct cleaner *c)
{
	size_t from = c->at;
	uint32_t cp;

	if (!utf8_next(c->s, &c->at, &cp))
		return false;
	if (cp == '\n' || cp == 0x2028 || cp == 0x2029)
		add_blank(c, c->lines ? '\n' : ' ');
	else if (cp == ' ' || cp == '\t' || cp == '\r' || cp == 0xa0)
		add_blank(c, ' ');
	else if (!invisible(cp))
		buf_add(&c->out, c->s.p + from, c->at - from);
	return true;
}

static enum err pass(struct cleaner *c)
{
	while (c->at < c->s.n)
		if (!drop_tag(c) && !drop_address(c) && !drop_link(c) &&
		    !drop_mark(c) && !take_character(c))
			return ERR_INVALID;
	while (c->out.n > 0 && (c->out.p[c->out.n - 1] == ' ' ||
	                        c->out.p[c->out.n - 1] == '\n'))
		c->out.n--;
	return c->out.failed ? ERR_NOMEM : OK;
}

enum err clean_text(struct arena *a, struct str s, bool lines, struct str *out)
{
	struct str now = s;
	enum err e = s.n > TEXT_MAX ? ERR_INVALID : OK;

	/* What is dropped may join what stood around it to something new
	 * ("java" "script:"), so until nothing changes; who nests deeper
	 * is refused. */
	for (unsigned i = 0; !e; i++) {
		struct cleaner c = {.s = now, .lines = lines};
		struct str next = {NULL, 0};
		bool same;

		e = pass(&c);
		if (!e)
			e = text_keep(a, &c.out, &next);
		buf_fini(&c.out);
		same = !e && str_eq(next, now);
		now = next; /* a copy, also when it is the same */
		if (e || same)
			break;
		e = i == PASSES_MAX ? ERR_INVALID : OK;
	}
	if (!e)
		*out = now.p ? now : STR("");
	return e;
}
