#include "gateway/multipart.h"

#include "common/base/utf8.h"
#include "common/codec/mp.h"
#include "gateway/token.h"

#include <stdio.h>

struct part {
	struct str name, filename, type, data;
	bool is_file;
};

/* A body on its way. */
struct form {
	struct str body;
	char delimiter[MULTIPART_BOUNDARY_MAX + 5]; /* CR LF "--" boundary */
	size_t delimiter_n;
	struct part parts[MULTIPART_PARTS_MAX];
	size_t n;
	struct multipart_error *at;
};

static bool refuse(struct form *f, const char *where, const char *reason)
{
	f->at->offset = (size_t)(where - f->body.p);
	f->at->reason = reason;
	return false;
}

/* --- parameters ------------------------------------------------------------------- */

/*
 * Behind a value: a token, or a quoted string, whose backslashes stay, because
 * browsers write quotes as %22 and a backslash is one of a path; an escaped
 * quote does not end it.  NULL: neither.
 */
static const char *end_of_value(struct str s)
{
	const char *p = s.p, *end = s.p + s.n;

	if (p == end || *p != '"') {
		while (p < end && token_has(*p))
			p++;
		return p > s.p ? p : NULL;
	}
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && end - p > 1 && (p[1] == '"' || p[1] == '\\'))
			p++;
	return p < end ? p + 1 : NULL;
}

/* Takes ";name=value" off the front.  False: what is left is none. */
static bool next_parameter(struct str *rest, struct str *name,
                           struct str *value)
{
	struct str s = *rest = str_trim(*rest);
	const char *end;

	if (s.n == 0 || *s.p != ';' || !memchr(s.p, '=', s.n))
		return false;
	(void)str_cut(&s, ';');
	*name = str_trim(str_cut(&s, '='));
	end = end_of_value(s);
	if (!end || !token_is(*name))
		return false;
	*value = (struct str){s.p, (size_t)(end - s.p)};
	if (*s.p == '"')
		*value = (struct str){s.p + 1, value->n - 2};
	*rest = (struct str){end, s.n - (size_t)(end - s.p)};
	return true;
}

static struct str take_type(struct str *rest)
{
	const char *semicolon = rest->n ? memchr(rest->p, ';', rest->n) : NULL;
	size_t n = semicolon ? (size_t)(semicolon - rest->p) : rest->n;
	struct str type = {rest->p, n};

	*rest = (struct str){rest->p + n, rest->n - n};
	return str_trim(type);
}

bool multipart_is(struct str content_type)
{
	return content_type.n &&
	       str_ieq(take_type(&content_type), STR("multipart/form-data"));
}

/* bchars of RFC 2046; a blank may not be the last. */
static bool is_boundary(struct str s)
{
	static const char marks[] = "'()+_,-./:=? ";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i], lower = c | 0x20;

		if (!((c >= '0' && c <= '9') ||
		      (lower >= 'a' && lower <= 'z') ||
		      memchr(marks, c, sizeof(marks) - 1)))
			return false;
	}
	return s.n >= 1 && s.n <= MULTIPART_BOUNDARY_MAX && s.p[s.n - 1] != ' ';
}

bool multipart_boundary(struct str content_type, struct str *out)
{
	struct str name, value, found = {NULL, 0};

	(void)take_type(&content_type);
	while (next_parameter(&content_type, &name, &value)) {
		if (!str_ieq(name, STR("boundary")))
			continue;
		if (found.p)
			return false;
		found = value;
	}
	if (content_type.n || !found.p || !is_boundary(found))
		return false;
	*out = found;
	return true;
}

/* --- the head of a part ------------------------------------------------------------- */

static bool is_clean(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	return utf8_valid(s);
}

/* What a client calls a file may be a whole path of its machine. */
static struct str strip_folders(struct str s)
{
	for (size_t i = s.n; i-- > 0;)
		if (s.p[i] == '/' || s.p[i] == '\\')
			return (struct str){s.p + i + 1, s.n - i - 1};
	return s;
}

static bool take_name(struct form *f, struct part *p, struct str value)
{
	if (p->name.p)
		return refuse(f, value.p, "a part has two names");
	if (value.n == 0 || value.n > MULTIPART_NAME_MAX || !is_clean(value) ||
	    memchr(value.p, '\\', value.n))
		return refuse(f, value.p, "a part's name is no name");
	p->name = value;
	f->at->part = value;
	for (size_t i = 0; i < f->n; i++)
		if (str_eq(f->parts[i].name, value))
			return refuse(f, value.p, "a name stands twice");
	return true;
}

static bool take_filename(struct form *f, struct part *p, struct str value)
{
	if (p->is_file)
		return refuse(f, value.p, "a part has two filenames");
	p->is_file = true;
	p->filename = strip_folders(value);
	if (str_eq(p->filename, STR(".")) || str_eq(p->filename, STR("..")))
		p->filename.n = 0;
	if (p->filename.n > MULTIPART_FILENAME_MAX || !is_clean(value))
		return refuse(f, value.p, "a filename is no name");
	return true;
}

static bool take_disposition(struct form *f, struct part *p, struct str rest)
{
	const char *where = rest.p;
	struct str name, value;

	if (p->name.p)
		return refuse(f, where, "a part has two Content-Dispositions");
	if (!str_ieq(take_type(&rest), STR("form-data")))
		return refuse(f, where,
		              "a part's Content-Disposition is not form-data");
	while (next_parameter(&rest, &name, &value)) {
		bool ok = true;

		if (str_ieq(name, STR("name")))
			ok = take_name(f, p, value);
		else if (str_ieq(name, STR("filename")))
			ok = take_filename(f, p, value);
		else if (str_ieq(name, STR("filename*")))
			ok = refuse(f, name.p, "filename* is not for forms");
		if (!ok)
			return false;
	}
	if (rest.n)
		return refuse(f, rest.p, "a Content-Disposition is malformed");
	if (!p->name.p)
		return refuse(f, where, "a part has no name");
	return true;
}

/* type "/" subtype, and parameters that are not looked at. */
static bool is_media_type(struct str s)
{
	struct str subtype = take_type(&s), type = str_cut(&subtype, '/');

	return token_is(type) && token_is(subtype);
}

static bool take_header(struct form *f, struct part *p, struct str name,
                        struct str value)
{
	static const struct str plain[] = {STR("7bit"), STR("8bit"),
	                                   STR("binary")};

	if (str_ieq(name, STR("content-disposition")))
		return take_disposition(f, p, value);
	if (str_ieq(name, STR("content-type"))) {
		if (p->type.p)
			return refuse(f, value.p, "a part has two types");
		if (value.n > MULTIPART_TYPE_MAX || !is_media_type(value))
			return refuse(f, value.p, "a part's type is malformed");
		p->type = value;
	}
	if (!str_ieq(name, STR("content-transfer-encoding")))
		return true;
	for (size_t i = 0; i < COUNTOF(plain); i++)
		if (str_ieq(value, plain[i]))
			return true;
	return refuse(f, value.p,
	              "a part has a Content-Transfer-Encoding that is not "
	              "taken");
}

/* Between the delimiter and the blank line: every line ends with CR LF. */
static bool read_head(struct form *f, struct part *p, struct str head)
{
	for (unsigned lines = 0; head.n; lines++) {
		struct str value = {head.p, 0}, name;
		const char *end = memmem(head.p, head.n, "\r\n", 2);

		value.n = (size_t)(end - head.p);
		head = (struct str){end + 2, head.n - value.n - 2};
		if (lines == MULTIPART_LINES_MAX)
			return refuse(f, value.p,
			              "a part has too many headers");
		if (!memchr(value.p, ':', value.n))
			return refuse(f, value.p, "a header has no colon");
		name = str_cut(&value, ':');
		value = str_trim(value);
		if (!token_is(name) || !is_clean(value))
			return refuse(f, name.p, "a header is malformed");
		if (!take_header(f, p, name, value))
			return false;
	}
	return true;
}

/* --- the body --------------------------------------------------------------------- */

/* A field without a file is text, in the one character set that there is. */
static bool check_text(struct form *f, const struct part *p)
{
	struct str rest = p->type.n ? p->type : STR("text/plain");
	struct str name, value;

	if (!str_ieq(take_type(&rest), STR("text/plain")))
		return refuse(f, p->type.p,
		              "a part that is no file is not text/plain");
	while (next_parameter(&rest, &name, &value))
		if (str_ieq(name, STR("charset")) &&
		    !str_ieq(value, STR("utf-8")) &&
		    !str_ieq(value, STR("us-ascii")))
			return refuse(f, p->type.p, "text is not UTF-8");
	if (!utf8_valid(p->data) ||
	    (p->data.n && memchr(p->data.p, '\0', p->data.n)))
		return refuse(f, p->data.p, "text is not UTF-8, or has a NUL");
	return true;
}

/*
 * Takes "--" and blanks behind a delimiter, to the end of its line.  *p is then
 * behind it, NULL where the form ends.
 */
static bool end_delimiter(struct form *f, const char **p)
{
	const char *end = f->body.p + f->body.n, *at = *p;
	bool close = end - at >= 2 && memcmp(at, "--", 2) == 0;

	at += close ? 2 : 0;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	if (close && at == end) {
		*p = NULL;
		return true;
	}
	if (end - at < 2 || memcmp(at, "\r\n", 2) != 0)
		return refuse(f, *p,
		              "a line begins like the boundary and is none");
	*p = close ? NULL : at + 2;
	return true;
}

static const char *find_delimiter(const struct form *f, const char *from)
{
	return memmem(from, f->body.n - (size_t)(from - f->body.p),
	              f->delimiter, f->delimiter_n);
}

/* *p is behind the line of a delimiter, and then behind the next one. */
static bool read_part(struct form *f, const char **p)
{
	/* The CR LF of that line, or of the blank one, may be the first bytes
	 * of the next delimiter. */
	const char *end = find_delimiter(f, *p - 2), *blank;
	struct part part = {0};

	f->at->part = (struct str){NULL, 0};
	if (!end)
		return refuse(f, f->body.p + f->body.n,
		              "the form does not end with its boundary");
	if (f->n == MULTIPART_PARTS_MAX)
		return refuse(f, *p, "the form has too many parts");
	blank = memmem(*p, (size_t)(end + 2 - *p), "\r\n\r\n", 4);
	if (!blank)
		return refuse(f, *p, "a part's head does not end");
	if (blank + 2 - *p > MULTIPART_HEAD_MAX)
		return refuse(f, *p, "a part's head is too long");
	if (!read_head(f, &part, (struct str){*p, (size_t)(blank + 2 - *p)}))
		return false;
	if (!part.name.p)
		return refuse(f, *p, "a part has no Content-Disposition");
	part.data.p = blank + 4;
	part.data.n = end > part.data.p ? (size_t)(end - part.data.p) : 0;
	if (!part.is_file && !check_text(f, &part))
		return false;
	if (!part.is_file || part.filename.n || part.data.n)
		f->parts[f->n++] = part;
	*p = end + f->delimiter_n;
	return true;
}

/* The first delimiter may stand at the very beginning. */
static const char *find_first(const struct form *f)
{
	size_t n = f->delimiter_n - 2;
	const char *found;

	if (f->body.n >= n && memcmp(f->body.p, f->delimiter + 2, n) == 0)
		return f->body.p + n;
	found = f->body.n ? find_delimiter(f, f->body.p) : NULL;
	return found ? found + f->delimiter_n : NULL;
}

static bool read_form(struct form *f)
{
	const char *p = find_first(f);

	if (!p)
		return refuse(f, f->body.p, "the boundary is not in the body");
	for (;;) {
		if (!end_delimiter(f, &p))
			return false;
		if (!p)
			return true;
		if (!read_part(f, &p))
			return false;
	}
}

/* --- the map ------------------------------------------------------------------------ */

static void write_part(const struct part *p, struct buf *out)
{
	mp_str(out, p->name);
	if (!p->is_file) {
		mp_str(out, p->data);
		return;
	}
	mp_map(out, 3);
	mp_kv_str(out, "name", p->filename);
	mp_kv_str(out, "type",
	          p->type.n ? p->type : STR("application/octet-stream"));
	mp_text(out, "data");
	mp_bin(out, p->data);
}

bool multipart_to_mp(struct str body, struct str boundary, struct buf *out,
                     struct multipart_error *at)
{
	struct form f = {.body = {body.n ? body.p : "", body.n}, .at = at};
	size_t before = out->n;

	*at = (struct multipart_error){0};
	f.delimiter_n = (size_t)snprintf(f.delimiter, sizeof(f.delimiter),
	                                 "\r\n--%.*s", STR_FMT(boundary));
	if (!read_form(&f))
		return false;
	mp_map(out, f.n);
	for (size_t i = 0; i < f.n; i++)
		write_part(&f.parts[i], out);
	if (!out->failed)
		return true;
	out->n = before;
	at->nomem = true;
	at->reason = "there is no memory for it";
	return false;
}
