/*
 * fuzz_front - six lines: a path, Accept, Accept-Encoding, If-None-Match, Range
 * and If-Range.  Whatever they are, the answer is one of the front end's files,
 * or a part of one, and that which the path names; a page only where no file
 * could be; and nothing for a path that is the API's or leads anywhere else.
 */
#include "gateway/front_set.h"
#include "gateway/query.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool add(struct front_set *s, const char *path, const char *text,
                size_t times)
{
	AUTO_BUF b = {0};
	const char *why;

	while (times--)
		buf_str(&b, str_from(text));
	return front_set_add(s, str_from(path), &b, 1700000000, &why);
}

static struct front_set *make(void)
{
	struct front_set *s = front_set_new(1 << 20);
	const char *why;

	if (!s || !add(s, "/index.html", "<p>page", 1) ||
	    !add(s, "/assets/a-BcD3f_-9.js", "let a;", 500) ||
	    !add(s, "/assets/a-BcD3f_-9.js.br", "b", 9) ||
	    !add(s, "/a b.txt", "0123456789", 1) || !add(s, "/empty", "", 0) ||
	    !add(s, "/api/x.json", "{}", 1) || !front_set_finish(s, &why))
		return NULL;
	return s;
}

static const struct front_file *file_with(const struct front_set *s,
                                          const struct front_reply *r)
{
	for (size_t i = 0; i < s->n; i++)
		for (size_t c = 0; c < FRONT_CODINGS; c++) {
			const struct front_body *b = &s->files[i].bodies[c];

			if (b->there && r->etag == b->etag &&
			    r->bytes.n <= b->bytes.n &&
			    (r->bytes.n == 0 ||
			     (r->bytes.p >= b->bytes.p &&
			      r->bytes.p + r->bytes.n <=
			              b->bytes.p + b->bytes.n)))
				return &s->files[i];
		}
	return NULL;
}

static bool ends_anywhere_else(struct str path)
{
	struct str rest = path;

	if (path.n == 0 || path.p[0] != '/' || memchr(path.p, '\\', path.n) ||
	    (path.n > 3 && strncasecmp(path.p, "/api", 4) == 0 &&
	     (path.n == 4 || path.p[4] == '/')))
		return true;
	(void)str_cut(&rest, '/');
	while (rest.n) {
		struct str segment = str_cut(&rest, '/');

		if (segment.n == 0 || segment.p[0] == '.')
			return true;
	}
	return false;
}

static void range_is_told(const struct front_reply *r, enum err e)
{
	unsigned long long from = 0, to = 0;
	char again[72];
	const char *slash = strchr(r->range, '/');

	if (e == ERR_RANGE) {
		assert(strncmp(r->range, "bytes */", 8) == 0);
		return;
	}
	assert(r->part == (r->range[0] != '\0'));
	if (!r->part)
		return;
	from = strtoull(r->range + 6, NULL, 10);
	to = strtoull(strchr(r->range, '-') + 1, NULL, 10);
	assert(from <= to && r->bytes.n == to - from + 1 && !r->same);
	(void)snprintf(again, sizeof(again), "bytes %llu-%llu%s", from, to,
	               slash);
	assert(strcmp(again, r->range) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct front_set *s;
	struct str rest = {(const char *)data, size};
	struct front_ask ask = {.path = str_cut(&rest, '\n')};
	const struct front_file *f;
	static char text[1 << 20];
	struct str path = {text, 0};
	struct front_reply r;
	enum err e;

	if (!s)
		s = make();
	if (!s || size > sizeof(text))
		return 0;
	ask.accept = str_cut(&rest, '\n');
	ask.accept_encoding = str_cut(&rest, '\n');
	ask.if_none_match = str_cut(&rest, '\n');
	ask.range = str_cut(&rest, '\n');
	ask.if_range = rest;
	e = front_answer(s, &ask, &r);
	assert(e == OK || e == ERR_NOT_FOUND || e == ERR_RANGE);
	if (e == ERR_NOT_FOUND)
		return 0;
	assert(query_decode(ask.path, false, text, &path.n));
	assert(!ends_anywhere_else(path) && front_owns(ask.path));
	range_is_told(&r, e);
	assert(r.type && r.cache && r.etag);
	f = file_with(s, &r);
	assert(f);
	if (r.page || path.n == 1)
		assert(f == s->index);
	else
		assert(str_eq(str_from(f->path), path));
	if (r.page)
		assert(!front_set_find(s, path) && path.p[path.n - 1] != '.');
	return 0;
}
