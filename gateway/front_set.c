#include "gateway/front_set.h"

#include "gateway/gzip.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Once, when the folder is read: worth more than what is made for one answer. */
#define LEVEL     6
#define HASH_LEN  8 /* of the names that vite makes */
#define NO_MEMORY "there is no memory for its files"

static const struct {
	const char *end, *type;
	bool packs;
} media[] = {
#define MEDIA(end, type, packs) {end, type, packs},
#include "gateway/media.def"
#undef MEDIA
};

struct front_set *front_set_new(size_t bytes_max)
{
	struct front_set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->users = 1;
	s->bytes_max = bytes_max;
	return s;
}

static void file_fini(struct front_file *f)
{
	for (size_t c = 0; c < FRONT_CODINGS; c++)
		buf_fini(&f->bodies[c].bytes);
	free(f->path);
}

void front_set_free(struct front_set *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		file_fini(&s->files[i]);
	free(s->files);
	free(s);
}

/* --- one file ------------------------------------------------------------------ */

static struct str name_of(struct str path)
{
	const char *slash = memrchr(path.p, '/', path.n);

	return slash ? (struct str){slash + 1,
	                            path.n - (size_t)(slash + 1 - path.p)}
	             : path;
}

static void find_media(struct front_file *f)
{
	struct str name = name_of(str_from(f->path));
	const char *dot = name.n ? memrchr(name.p, '.', name.n) : NULL;

	f->type = "application/octet-stream";
	for (size_t i = 0; dot && i < COUNTOF(media); i++) {
		if (strcasecmp(media[i].end, dot + 1) != 0)
			continue;
		f->type = media[i].type;
		f->packs = media[i].packs;
	}
}

/*
 * Whether eight characters are a hash and no word or date: of base64url or hex,
 * with a digit or a capital, and not digits alone.  A hash that looks like a
 * word is only asked for anew.
 */
static bool looks_hashed(const char *s)
{
	unsigned digits = 0, capitals = 0;

	for (size_t i = 0; i < HASH_LEN; i++) {
		unsigned char c = (unsigned char)s[i], lower = c | 0x20;

		digits += c >= '0' && c <= '9';
		capitals += c >= 'A' && c <= 'Z';
		if (!((c >= '0' && c <= '9') ||
		      (lower >= 'a' && lower <= 'z') || c == '_' || c == '-'))
			return false;
	}
	return digits < HASH_LEN && digits + capitals > 0;
}

/* "/assets/index-BcD3f_-9.js" */
static bool is_fingerprinted(struct str path)
{
	struct str name = name_of(path);
	const char *dot = name.n ? memrchr(name.p, '.', name.n) : NULL;
	size_t stem = dot ? (size_t)(dot - name.p) : 0;

	return str_starts(path, STR("/assets/")) && stem > HASH_LEN + 1 &&
	       name.p[stem - HASH_LEN - 1] == '-' &&
	       looks_hashed(name.p + stem - HASH_LEN);
}

/* IMF-fixdate (RFC 9110, 5.6.7), which no locale changes. */
static void write_date(int64_t at_s, char out[FRONT_DATE_MAX])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t t = (time_t)at_s;
	struct tm tm;

	out[0] = '\0';
	if (at_s < 0 || !gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900)
		return;
	(void)snprintf(out, FRONT_DATE_MAX,
	               "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
	               days + (size_t)tm.tm_wday * 3, tm.tm_mday,
	               months + (size_t)tm.tm_mon * 3, tm.tm_year + 1900,
	               tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static bool hold(struct front_set *s, size_t n, const char **why)
{
	if (n > s->bytes_max - s->bytes) {
		*why = "its files have more than STATIC_MAX_MB";
		return false;
	}
	s->bytes += n;
	return true;
}

static bool grow(struct front_set *s)
{
	size_t cap = s->cap ? s->cap * 2 : 64;
	struct front_file *files;

	if (s->n < s->cap)
		return true;
	files = realloc(s->files, cap * sizeof(*files));
	if (!files)
		return false;
	s->files = files;
	s->cap = cap;
	return true;
}

/* A buffer has up to twice the room, and these stay. */
static void trim(struct buf *b)
{
	char *p = b->n && b->n < b->cap ? realloc(b->p, b->n) : NULL;

	if (!p)
		return;
	b->p = p;
	b->cap = b->n;
}

bool front_set_add(struct front_set *s, struct str path, struct buf *body,
                   int64_t modified_s, const char **why)
{
	struct front_file f = {0};

	if (s->n == FRONT_FILES_MAX) {
		*why = "it has too many files";
		return false;
	}
	f.path = grow(s) ? strndup(path.p, path.n) : NULL;
	if (!f.path) {
		*why = NO_MEMORY;
		return false;
	}
	if (!hold(s, body->n, why)) {
		free(f.path);
		return false;
	}
	find_media(&f);
	f.cache = is_fingerprinted(str_from(f.path))
	                  ? "public, max-age=31536000, immutable"
	                  : "no-cache";
	write_date(modified_s, f.modified);
	trim(body);
	f.bodies[FRONT_PLAIN].there = true;
	f.bodies[FRONT_PLAIN].bytes = *body;
	*body = (struct buf){0};
	s->files[s->n++] = f;
	return true;
}

/* --- all of them ------------------------------------------------------------------ */

static int by_path(const void *a, const void *b)
{
	const struct front_file *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static struct front_file *find(const struct front_set *s, struct str path)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct str have = str_from(s->files[mid].path);
		size_t n = have.n < path.n ? have.n : path.n;
		int c = memcmp(have.p, path.p, n);

		c = c ? c : (have.n > path.n) - (have.n < path.n);
		if (c == 0)
			return &s->files[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const struct front_file *front_set_find(const struct front_set *s,
                                        struct str path)
{
	return path.n ? find(s, path) : NULL;
}

/* One that is not shorter is of no use, or was never compressed. */
static void join_sibling(struct front_set *s, struct front_file *f)
{
	static const struct {
		struct str end;
		enum front_coding coding;
	} ends[] = {{STR(".gz"), FRONT_GZIP}, {STR(".br"), FRONT_BR}};
	struct front_body *from = &f->bodies[FRONT_PLAIN], *to;
	struct str path = str_from(f->path);
	struct front_file *of;

	for (size_t i = 0; i < COUNTOF(ends); i++) {
		struct str end = ends[i].end;

		if (path.n <= end.n ||
		    memcmp(path.p + path.n - end.n, end.p, end.n) != 0)
			continue;
		of = find(s, (struct str){path.p, path.n - end.n});
		if (!of || !of->bodies[FRONT_PLAIN].there)
			continue;
		to = &of->bodies[ends[i].coding];
		from->there = false;
		if (from->bytes.n >= of->bodies[FRONT_PLAIN].bytes.n)
			continue;
		*to = (struct front_body){.there = true, .bytes = from->bytes};
		from->bytes = (struct buf){0};
	}
}

/* Siblings that have become a coding of another, or were of no use, go. */
static void compact(struct front_set *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		struct front_file *f = &s->files[i];

		if (f->bodies[FRONT_PLAIN].there) {
			s->files[n++] = *f;
			continue;
		}
		s->bytes -= f->bodies[FRONT_PLAIN].bytes.n;
		file_fini(f);
	}
	s->n = n;
}

/* False: the bound, or no memory. */
static bool pack(struct front_set *s, struct gzip *g, struct front_file *f,
                 const char **why)
{
	const struct buf *plain = &f->bodies[FRONT_PLAIN].bytes;
	struct front_body *to = &f->bodies[FRONT_GZIP];

	if (!f->packs || to->there || plain->n < GZIP_MIN)
		return true;
	to->bytes.max = plain->n + 1;
	if (!gzip_write(g, buf_view(plain), &to->bytes)) {
		*why = NO_MEMORY;
		return !to->bytes.failed;
	}
	trim(&to->bytes);
	to->there = true;
	return hold(s, to->bytes.n, why);
}

static void tag(struct front_file *f)
{
	static const char *const names[FRONT_CODINGS] = {NULL, "gzip", "br"};

	for (size_t c = 0; c < FRONT_CODINGS; c++)
		if (f->bodies[c].there)
			(void)etag_of(buf_view(&f->bodies[c].bytes), names[c],
			              f->bodies[c].etag);
}

bool front_set_finish(struct front_set *s, const char **why)
{
	AUTO(gzip) g = gzip_new(LEVEL);

	if (!g) {
		*why = NO_MEMORY;
		return false;
	}
	if (s->n)
		qsort(s->files, s->n, sizeof(*s->files), by_path);
	for (size_t i = 0; i < s->n; i++)
		join_sibling(s, &s->files[i]);
	compact(s);
	for (size_t i = 0; i < s->n; i++) {
		if (!pack(s, g, &s->files[i], why))
			return false;
		tag(&s->files[i]);
	}
	s->index = find(s, STR("/index.html"));
	if (!s->index)
		*why = "it has no index.html";
	return s->index != NULL;
}
