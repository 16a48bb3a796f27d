#include "svc-gdpr/document.h"

#include "common/base/clock.h"
#include "common/base/utf8.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

/* --- text that is nothing but text ------------------------------------------------- */

/* What is not seen, or moves what is: written out instead. */
static bool is_hidden(uint32_t c)
{
	return (c < 0x20 && c != '\n' && c != '\t') ||
	       (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
	       (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe007f);
}

static void add_char(struct buf *out, struct str c, uint32_t code)
{
	switch (code) {
	case '&':
		buf_str(out, STR("&amp;"));
		return;
	case '<':
		buf_str(out, STR("&lt;"));
		return;
	case '>':
		buf_str(out, STR("&gt;"));
		return;
	case '"':
		buf_str(out, STR("&quot;"));
		return;
	case '\'':
		buf_str(out, STR("&#39;"));
		return;
	default:
		break;
	}
	if (is_hidden(code))
		buf_printf(out, "<i>U+%04X</i>", code);
	else
		buf_str(out, c);
}

void document_escape(struct buf *out, struct str s)
{
	size_t at = 0;

	while (at < s.n) {
		size_t from = at;
		uint32_t code = 0;

		if (utf8_next(s, &at, &code)) {
			add_char(out, (struct str){s.p + from, at - from},
			         code);
		} else {
			buf_str(out, STR("\xef\xbf\xbd"));
			at++;
		}
	}
}

/* --- tables ------------------------------------------------------------------------------ */

static void add_value(struct document *d, struct str value)
{
	struct mp m = mp_open(value);
	AUTO_BUF json = {0};
	struct str text;

	if (mp_peek(&m) == MP_NIL) {
		buf_str(&d->text, STR("<td>"));
		return;
	}
	buf_str(&d->text, STR("<td><bdi>"));
	if (mp_get_str(&m, &text)) {
		document_escape(&d->text, text);
	} else if (mp_to_json(value, &json)) {
		document_escape(&d->text, buf_view(&json));
	} else {
		d->text.failed = true;
	}
	buf_str(&d->text, STR("</bdi>"));
}

/* A row of values, or of the names above them. */
static void add_row(struct document *d, struct str row, bool names)
{
	struct mp m = mp_open(row);
	uint32_t pairs = 0;
	struct str key, value;

	buf_str(&d->text, STR("<tr>"));
	if (!mp_get_map(&m, &pairs))
		pairs = 0;
	for (; pairs > 0 && mp_get_str(&m, &key) && mp_skip(&m, &value);
	     pairs--) {
		if (names) {
			buf_str(&d->text, STR("<th>"));
			document_escape(&d->text, key);
		} else {
			add_value(d, value);
		}
	}
	buf_str(&d->text, STR("\n"));
}

static enum err add_table(struct document *d, struct rows *r)
{
	int64_t n = r->left;
	enum err e = OK;

	buf_str(&d->text, STR("<h3>"));
	document_escape(&d->text, r->table);
	buf_printf(&d->text, " (%lld)</h3>\n", (long long)n);
	if (n == 0)
		return OK;
	buf_str(&d->text, STR("<table border=\"1\">\n"));
	while (!e && r->left) {
		bool first = r->left == n, more;

		e = rows_next(r, &more);
		if (e)
			break;
		if (first)
			add_row(d, r->row, true);
		add_row(d, r->row, false);
		e = document_pass(d);
	}
	buf_str(&d->text, STR("</table>\n"));
	return e;
}

static enum err add_store(struct document *d, enum export_store s)
{
	struct rows r;
	bool more = true;
	enum err e = OK;

	buf_printf(&d->text, "<h2>%s</h2>\n", store_name(s));
	rows_begin(&r, d->from, s);
	while (!e && more) {
		e = rows_next(&r, &more);
		if (!e && more)
			e = add_table(d, &r);
	}
	rows_fini(&r);
	return e;
}

enum err document_html(struct document *d)
{
	char iso[CLOCK_ISO_MAX];
	enum err e = OK;

	buf_str(&d->text, STR("<!doctype html>\n<html lang=\"en\">\n<head>\n"
	                      "<meta charset=\"utf-8\">\n<title>Your data"
	                      "</title>\n</head>\n<body>\n<h1>Your data</h1>\n"
	                      "<p>All that this KnowAllEdge server holds about "
	                      "the account <bdi>"));
	document_escape(&d->text, d->cx->hnd);
	buf_printf(&d->text,
	           "</bdi>, as of %.*s (Articles 15 and 20 GDPR). The same as "
	           "JSON, for programs: ask for application/json.</p>\n",
	           STR_FMT(clock_iso(d->now_ms, iso)));
	for (enum export_store s = 0; s < STORE_COUNT && !e; s++)
		e = add_store(d, s);
	buf_str(&d->text, STR("</body>\n</html>\n"));
	if (!e && d->text.failed)
		e = ERR_NOMEM;
	return e ? e : spool_add(d->to, buf_view(&d->text));
}
