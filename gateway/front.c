#include "gateway/front.h"

#include "common/base/guard.h"
#include "gateway/accept.h"
#include "gateway/front_set.h"
#include "gateway/gzip.h"
#include "gateway/head.h"
#include "gateway/query.h"

#include <stdio.h>
#include <stdlib.h>

struct front {
	pthread_mutex_t lock; /* a leaf: guards now */
	struct front_set *now;
	char *folder;
	size_t bytes_max;
};

/* --- the folder ------------------------------------------------------------------- */

struct front *front_new(struct str folder, size_t bytes_max,
                        char why[FRONT_WHY_MAX])
{
	struct front *f = calloc(1, sizeof(*f));

	if (!f) {
		(void)snprintf(why, FRONT_WHY_MAX, "STATIC_DIR: no memory");
		return NULL;
	}
	(void)pthread_mutex_init(&f->lock, NULL);
	f->bytes_max = bytes_max;
	f->folder = strndup(folder.p, folder.n);
	if (!f->folder)
		(void)snprintf(why, FRONT_WHY_MAX, "STATIC_DIR: no memory");
	if (!f->folder || !front_reload(f, why)) {
		front_free(f);
		return NULL;
	}
	return f;
}

void front_free(struct front *f)
{
	if (!f)
		return;
	front_put(f->now);
	(void)pthread_mutex_destroy(&f->lock);
	free(f->folder);
	free(f);
}

static struct front_set *swap(struct front *f, struct front_set *next)
{
	GUARD(&f->lock);
	struct front_set *old = f->now;

	f->now = next;
	return old;
}

bool front_reload(struct front *f, char why[FRONT_WHY_MAX])
{
	struct front_set *next =
		front_load(str_from(f->folder), f->bytes_max, why);

	if (next)
		front_put(swap(f, next));
	return next != NULL;
}

const struct front_set *front_get(struct front *f)
{
	GUARD(&f->lock);
	atomic_fetch_add_explicit(&f->now->users, 1, memory_order_relaxed);
	return f->now;
}

void front_put(const struct front_set *s)
{
	/* Only the count and the end are not const. */
	union {
		const struct front_set *is;
		struct front_set *ours;
	} set = {s};

	if (s && atomic_fetch_sub_explicit(&set.ours->users, 1,
	                                   memory_order_acq_rel) == 1)
		front_set_free(set.ours);
}

size_t front_files(const struct front_set *s)
{
	return s->n;
}

size_t front_bytes(const struct front_set *s)
{
	return s->bytes;
}

/* --- paths ------------------------------------------------------------------------- */

/* False: it is malformed, or longer than a request line may be. */
static bool decode(struct str path, char out[HEAD_REQUEST_MAX], struct str *got)
{
	got->p = out;
	return path.n > 0 && path.n <= HEAD_REQUEST_MAX && path.p[0] == '/' &&
	       query_decode(path, false, out, &got->n);
}

static bool is_api(struct str path)
{
	return path.n >= 4 && strncasecmp(path.p, "/api", 4) == 0 &&
	       (path.n == 4 || path.p[4] == '/');
}

bool front_owns(struct str path)
{
	char text[HEAD_REQUEST_MAX];
	struct str decoded;

	return !decode(path, text, &decoded) || !is_api(decoded);
}

/*
 * Whether a path could be one of the front end's: none has dot segments, empty
 * ones, backslashes or control characters, and names that begin with a dot are
 * not served.
 */
static bool is_plain(struct str path)
{
	struct str rest = {path.p + 1, path.n - 1};

	for (size_t i = 0; i < path.n; i++)
		if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f ||
		    path.p[i] == '\\')
			return false;
	while (rest.n) {
		struct str segment = str_cut(&rest, '/');

		if (segment.n == 0 || segment.p[0] == '.')
			return false;
	}
	return true;
}

/* What looks like a file is one that is missing, and no page: a browser that
 * gets HTML for a script tells the user nothing but a syntax error. */
static bool looks_like_file(struct str path)
{
	const char *slash = memrchr(path.p, '/', path.n);

	return memchr(slash, '.', path.n - (size_t)(slash - path.p)) != NULL;
}

static const struct front_file *resolve(const struct front_set *s,
                                        const struct front_ask *ask, bool *page)
{
	char text[HEAD_REQUEST_MAX];
	const struct front_file *f;
	struct str path;
	enum form form;

	if (!decode(ask->path, text, &path) || is_api(path) || !is_plain(path))
		return NULL;
	f = path.n == 1 ? s->index : front_set_find(s, path);
	if (f)
		return f;
	*page = true;
	return !looks_like_file(path) &&
	                       accept_choose(ask->accept, FORMS_HTML, &form)
	               ? s->index
	               : NULL;
}

/* --- ranges (RFC 9110, 14) ----------------------------------------------------------- */

enum range { RANGE_ALL, RANGE_ONE, RANGE_BEYOND };

/* Digits only; what is beyond 64 bits is as good as the greatest. */
static bool read_number(struct str s, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = (unsigned)(unsigned char)s.p[i] - '0';

		if (d > 9)
			return false;
		if (__builtin_mul_overflow(*out, 10, out) ||
		    __builtin_add_overflow(*out, d, out))
			*out = UINT64_MAX;
	}
	return s.n > 0;
}

/* What cannot be read, and several ranges, are as if not asked for. */
static enum range read_range(struct str header, uint64_t size, uint64_t *at,
                             uint64_t *n)
{
	struct str last = header;
	struct str unit = str_trim(str_cut(&last, '='));
	struct str first = str_trim(str_cut(&last, '-'));
	uint64_t from = 0, to = 0;

	last = str_trim(last);
	if (!str_ieq(unit, STR("bytes")) || !memchr(header.p, '-', header.n) ||
	    (first.n && !read_number(first, &from)) ||
	    (last.n && !read_number(last, &to)) || first.n + last.n == 0)
		return RANGE_ALL;
	if (first.n == 0) { /* the last so many */
		if (to == 0 || size == 0)
			return RANGE_BEYOND;
		*n = to < size ? to : size;
		*at = size - *n;
		return RANGE_ONE;
	}
	if (last.n && to < from)
		return RANGE_ALL;
	if (from >= size)
		return RANGE_BEYOND;
	*at = from;
	*n = (last.n && to < size ? to + 1 : size) - from;
	return RANGE_ONE;
}

static enum err cut(const struct front_ask *ask, struct front_reply *out)
{
	uint64_t at = 0, n = 0, size = out->bytes.n;

	if (ask->is_head || ask->range.n == 0 ||
	    (ask->if_range.n && !etag_same(ask->if_range, str_from(out->etag))))
		return OK;
	switch (read_range(ask->range, size, &at, &n)) {
	case RANGE_ALL:
		return OK;
	case RANGE_BEYOND:
		(void)snprintf(out->range, sizeof(out->range), "bytes */%llu",
		               (unsigned long long)size);
		return ERR_RANGE;
	case RANGE_ONE:
		break;
	}
	(void)snprintf(out->range, sizeof(out->range), "bytes %llu-%llu/%llu",
	               (unsigned long long)at, (unsigned long long)(at + n - 1),
	               (unsigned long long)size);
	out->bytes = (struct str){out->bytes.p + at, n};
	out->part = true;
	return OK;
}

/* --- the answer ------------------------------------------------------------------------ */

static enum front_coding choose_coding(const struct front_file *f,
                                       struct str accept_encoding)
{
	if (f->bodies[FRONT_BR].there && gzip_taken(accept_encoding, STR("br")))
		return FRONT_BR;
	if (f->bodies[FRONT_GZIP].there &&
	    gzip_taken(accept_encoding, STR("gzip")))
		return FRONT_GZIP;
	return FRONT_PLAIN;
}

/* A date is what we said or it is another: clients send it back as it was. */
static bool is_same(const struct front_ask *ask, const struct front_reply *r)
{
	if (ask->if_none_match.n)
		return etag_listed(ask->if_none_match, str_from(r->etag));
	return r->modified &&
	       str_eq(ask->if_modified_since, str_from(r->modified));
}

enum err front_answer(const struct front_set *s, const struct front_ask *ask,
                      struct front_reply *out)
{
	static const char *const codings[FRONT_CODINGS] = {NULL, "gzip", "br"};
	const struct front_file *f;
	const struct front_body *body;
	enum front_coding c;

	*out = (struct front_reply){0};
	f = resolve(s, ask, &out->page);
	if (!f)
		return ERR_NOT_FOUND;
	c = choose_coding(f, ask->accept_encoding);
	body = &f->bodies[c];
	out->bytes = buf_view(&body->bytes);
	out->type = f->type;
	out->coding = codings[c];
	out->etag = body->etag;
	out->modified = f->modified[0] ? f->modified : NULL;
	out->cache = f->cache;
	out->coded = f->bodies[FRONT_GZIP].there || f->bodies[FRONT_BR].there;
	out->same = is_same(ask, out);
	return out->same ? OK : cut(ask, out);
}
