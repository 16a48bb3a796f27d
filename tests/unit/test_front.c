/* The front end's files: which are taken, and what a request gets of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "gateway/front_set.h"
#include "tests/alloc_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#define MB    ((size_t)1 << 20)
#define PAGE  "<!doctype html><title>page</title>"
#define JS    "/assets/index-BcD3f_-9.js"
#define HTML  "text/html,application/xhtml+xml,*/*;q=0.8"
#define MTIME 1700000000 /* Tue, 14 Nov 2023 22:13:20 GMT */

/* --- a set without a folder ------------------------------------------------------- */

static bool add(struct front_set *s, const char *path, const char *text,
                size_t n)
{
	AUTO_BUF b = {0};
	const char *why = NULL;

	for (size_t i = 0; i < n; i++)
		buf_char(&b, text[i % strlen(text)]);
	return !b.failed && front_set_add(s, str_from(path), &b, MTIME, &why);
}

static struct front_set *set_new(void)
{
	struct front_set *s = front_set_new(MB);
	const char *why = NULL;

	assert_true(add(s, "/index.html", PAGE, strlen(PAGE)));
	assert_true(add(s, JS, "let a=1;", 4000));
	assert_true(add(s, JS ".br", "B", 100));
	assert_true(add(s, "/app.css", "a{}", 9));
	assert_true(add(s, "/digits.txt", "0123456789", 10));
	assert_true(add(s, "/empty.txt", "", 0));
	assert_true(add(s, "/a b/\xc3\xa9.txt", "e", 1));
	assert_true(add(s, "/api/secret.json", "{}", 2));
	assert_true(add(s, "/lone.gz", "x", 1));
	assert_true(front_set_finish(s, &why));
	return s;
}

static enum err get(const struct front_set *s, const char *path,
                    struct front_reply *out)
{
	const struct front_ask ask = {.path = str_from(path)};

	return front_answer(s, &ask, out);
}

static void a_path_names_a_file_a_page_or_nothing(void **state)
{
	static const struct {
		const char *path, *accept, *bytes; /* NULL: nothing */
	} cases[] = {
		{"/", "", PAGE},
		{"/index.html", "", PAGE},
		{"/app.css", "text/css", "a{}a{}a{}"},
		{"/app.css", "image/png", "a{}a{}a{}"},
		{"/%61pp%2ecss", "", "a{}a{}a{}"},
		{"/a%20b/%C3%A9.txt", "", "e"},
		{"/a%20b%2f%C3%A9.txt", "", "e"},
		{"/empty.txt", "", ""},
		{"/lone.gz", "", "x"},
		/* the application's own */
		{"/settings", "", PAGE},
		{"/settings", HTML, PAGE},
		{"/settings", "text/*", PAGE},
		{"/settings/", HTML, PAGE},
		{"/a/b/c", "*/*", PAGE},
		{"/a.b/c", HTML, PAGE},
		{"/a b", HTML, PAGE},
		{"/assets", HTML, PAGE},
		{"/apiary", HTML, PAGE},
		{"/settings", "application/json", NULL},
		{"/settings", "text/html;q=0", NULL},
		/* what is missing is told, and is no page */
		{"/assets/x.js", HTML, NULL},
		{"/favicon.ico", HTML, NULL},
		{"/app.css/", HTML, PAGE},
		{"/app.CSS", HTML, NULL},
		/* a coding is no file */
		{JS ".br", "", NULL},
		/* never ours */
		{"/api", HTML, NULL},
		{"/api/", HTML, NULL},
		{"/api/nope", HTML, NULL},
		{"/API/nope", HTML, NULL},
		{"/%61pi/nope", HTML, NULL},
		{"/api%2fnope", HTML, NULL},
		{"/api/secret.json", "", NULL},
		/* no way out, and no page either */
		{"/..", HTML, NULL},
		{"/../", HTML, NULL},
		{"/../etc/passwd", HTML, NULL},
		{"/%2e%2e/etc/passwd", HTML, NULL},
		{"/%2e%2e%2fetc%2fpasswd", HTML, NULL},
		{"/assets/../index.html", HTML, NULL},
		{"/assets/..%2f..%2f..%2fetc/passwd", HTML, NULL},
		{"/..%5c..%5cetc%5cpasswd", HTML, NULL},
		{"/a\\..\\b", HTML, NULL},
		{"/./index.html", HTML, NULL},
		{"/.", HTML, NULL},
		{"/.env", HTML, NULL},
		{"/.git/config", HTML, NULL},
		{"/assets/.hidden", HTML, NULL},
		{"//", HTML, NULL},
		{"//etc/passwd", HTML, NULL},
		{"/assets//x", HTML, NULL},
		{"/%2f", HTML, NULL},
		{"/%00", HTML, NULL},
		{"/index.html%00.png", HTML, NULL},
		{"/%0d%0aX: y", HTML, NULL},
		{"/%7f", HTML, NULL},
		{"/%ff", HTML, NULL},
		{"/%c0%ae%c0%ae/x", HTML, NULL},
		{"/%", HTML, NULL},
		{"/%4", HTML, NULL},
		{"/%zz", HTML, NULL},
		{"/%25%32%65%25%32%65/x", HTML, PAGE}, /* once only */
		{"", HTML, NULL},
		{"*", HTML, NULL},
		{"index.html", HTML, NULL},
	};
	AUTO(front_set) s = set_new();

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct front_ask ask = {
			.path = str_from(cases[i].path),
			.accept = str_from(cases[i].accept),
		};
		struct front_reply r;
		enum err e = front_answer(s, &ask, &r);

		if (e != (cases[i].bytes ? OK : ERR_NOT_FOUND) ||
		    (!e && !str_eq(r.bytes, str_from(cases[i].bytes))))
			fail_msg("%s, %s: %d", cases[i].path, cases[i].accept,
			         e);
	}
}

static void a_path_of_any_length_is_looked_up_or_refused(void **state)
{
	AUTO(front_set) s = set_new();
	static char path[9000];
	struct front_reply r;

	(void)state;
	for (size_t n = 1; n < sizeof(path); n += 61) {
		const struct front_ask ask = {.path = {path, n},
		                              .accept = STR("*/*")};

		memset(path, 'a', n);
		path[0] = '/';
		assert_int_equal(front_answer(s, &ask, &r),
		                 n <= 4094 ? OK : ERR_NOT_FOUND);
		for (size_t i = 1; i + 2 < n; i += 3)
			memcpy(path + i, "%41", 3);
		assert_int_equal(front_answer(s, &ask, &r),
		                 n <= 4094 ? OK : ERR_NOT_FOUND);
	}
}

static void a_file_is_what_its_name_ends_with(void **state)
{
	static const struct {
		const char *name, *type;
	} cases[] = {
		{"/a.html", "text/html; charset=utf-8"},
		{"/a.js", "text/javascript; charset=utf-8"},
		{"/a.MJS", "text/javascript; charset=utf-8"},
		{"/a.css", "text/css; charset=utf-8"},
		{"/a.svg", "image/svg+xml; charset=utf-8"},
		{"/a.json", "application/json"},
		{"/a.js.map", "application/json"},
		{"/a.webmanifest", "application/manifest+json"},
		{"/a.wasm", "application/wasm"},
		{"/a.woff2", "font/woff2"},
		{"/a.ico", "image/vnd.microsoft.icon"},
		{"/a.png", "image/png"},
		{"/a.exe", "application/octet-stream"},
		{"/html", "application/octet-stream"},
		{"/a.", "application/octet-stream"},
		{"/a.html/b", "application/octet-stream"},
	};
	AUTO(front_set) s = front_set_new(MB);
	const char *why = NULL;
	struct front_reply r;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_true(add(s, cases[i].name, "x", 1));
	assert_true(add(s, "/index.html", "x", 1));
	assert_true(front_set_finish(s, &why));
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		assert_int_equal(get(s, cases[i].name, &r), OK);
		if (strcmp(r.type, cases[i].type) != 0)
			fail_msg("%s: %s", cases[i].name, r.type);
	}
}

static void only_a_name_with_a_hash_may_be_kept(void **state)
{
	static const struct {
		const char *name;
		bool kept;
	} cases[] = {
		{"/index.html", false},
		{"/assets/index-BcD3f_-9.js", true},
		{"/assets/index-deadbee1.css", true},
		{"/assets/a-b-c-0a1b2c3d.woff2", true},
		{"/assets/deep/x-Abcdefgh.js", true},
		{"/assets/logo-original.png", false},
		{"/assets/photo-20260101.jpg", false},
		{"/assets/index.js", false},
		{"/assets/index-BcD3f_.js", false},
		{"/assets/BcD3f_-9.js", false},
		{"/assets/-BcD3f_-9.js", false},
		{"/assets/index-BcD3f_-9", false},
		{"/assets/index-BcD3f+-9.js", false},
		{"/index-BcD3f_-9.js", false},
		{"/other/index-BcD3f_-9.js", false},
	};
	AUTO(front_set) s = front_set_new(MB);
	const char *why = NULL;
	struct front_reply r;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_true(add(s, cases[i].name, "x", 1));
	assert_true(front_set_finish(s, &why));
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		assert_int_equal(get(s, cases[i].name, &r), OK);
		if (strcmp(r.cache,
		           cases[i].kept ? "public, max-age=31536000, immutable"
		                         : "no-cache") != 0)
			fail_msg("%s: %s", cases[i].name, r.cache);
	}
}

/* --- conditions, codings, ranges --------------------------------------------------- */

static void what_the_client_has_is_not_sent_again(void **state)
{
	AUTO(front_set) s = set_new();
	struct front_ask ask = {.path = STR("/app.css")};
	struct front_reply r, other;

	(void)state;
	assert_int_equal(front_answer(s, &ask, &r), OK);
	assert_false(r.same);
	assert_string_equal(r.modified, "Tue, 14 Nov 2023 22:13:20 GMT");
	assert_int_equal(get(s, "/digits.txt", &other), OK);
	assert_string_not_equal(r.etag, other.etag);
	ask.if_none_match = str_from(r.etag);
	assert_int_equal(front_answer(s, &ask, &other), OK);
	assert_true(other.same);
	/* The tag counts, and the date not beside it. */
	ask.if_none_match = STR("\"other\"");
	ask.if_modified_since = STR("Tue, 14 Nov 2023 22:13:20 GMT");
	assert_int_equal(front_answer(s, &ask, &other), OK);
	assert_false(other.same);
	ask.if_none_match = STR("");
	assert_int_equal(front_answer(s, &ask, &other), OK);
	assert_true(other.same);
	ask.if_modified_since = STR("Tue, 14 Nov 2023 22:13:21 GMT");
	assert_int_equal(front_answer(s, &ask, &other), OK);
	assert_false(other.same);
	/* A condition that holds comes before a range. */
	ask.if_none_match = STR("*");
	ask.range = STR("bytes=0-0");
	assert_int_equal(front_answer(s, &ask, &other), OK);
	assert_true(other.same && !other.part);
}

static size_t unpacked(struct str bytes, char *out, size_t n)
{
	z_stream z = {0};
	union {
		const char *p;
		void *untouched;
	} in = {bytes.p};

	assert_int_equal(inflateInit2(&z, 31), Z_OK);
	z.next_in = in.untouched;
	z.avail_in = (unsigned)bytes.n;
	z.next_out = (Bytef *)out;
	z.avail_out = (unsigned)n;
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	n = z.total_out;
	(void)inflateEnd(&z);
	return n;
}

static void the_coding_is_the_best_that_is_taken(void **state)
{
	static const struct {
		const char *taken, *coding;
	} cases[] = {
		{"", NULL},         {"gzip, deflate, br, zstd", "br"},
		{"br", "br"},       {"gzip, deflate", "gzip"},
		{"*", "br"},        {"br;q=0, *", "gzip"},
		{"identity", NULL}, {"br;q=0, gzip;q=0", NULL},
		{"deflate", NULL},
	};
	AUTO(front_set) s = set_new();
	struct front_reply r, tags[3] = {0};
	char text[5000];
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct front_ask ask = {.path = STR(JS),
		                              .accept_encoding =
		                                      str_from(cases[i].taken)};

		assert_int_equal(front_answer(s, &ask, &r), OK);
		assert_true(r.coded);
		if (!str_eq(str_from(r.coding), str_from(cases[i].coding)))
			fail_msg("%s: %s", cases[i].taken, r.coding);
		if (!r.coding)
			tags[0] = r;
		else if (*r.coding == 'g')
			tags[1] = r;
		else
			tags[2] = r;
	}
	/* Other bytes have other tags. */
	assert_string_not_equal(tags[0].etag, tags[1].etag);
	assert_string_not_equal(tags[0].etag, tags[2].etag);
	assert_string_not_equal(tags[1].etag, tags[2].etag);
	assert_int_equal(tags[0].bytes.n, 4000);
	assert_int_equal(tags[2].bytes.n, 100);
	n = unpacked(tags[1].bytes, text, sizeof(text));
	assert_true(str_eq((struct str){text, n}, tags[0].bytes));
	/* What is short, or no text, is sent as it is. */
	assert_int_equal(get(s, "/app.css", &r), OK);
	assert_false(r.coded);
}

static void a_sibling_that_is_not_shorter_is_of_no_use(void **state)
{
	AUTO(front_set) s = front_set_new(MB);
	const struct front_ask ask = {.path = STR("/a.png"),
	                              .accept_encoding = STR("gzip, br")};
	const char *why = NULL;
	struct front_reply r;

	(void)state;
	assert_true(add(s, "/index.html", PAGE, 10));
	assert_true(add(s, "/a.png", "p", 2000));
	assert_true(add(s, "/a.png.gz", "z", 2000));
	assert_true(add(s, "/a.png.br", "z", 1999));
	assert_true(add(s, "/a.png.gz.gz", "z", 3));
	assert_true(front_set_finish(s, &why));
	assert_int_equal(front_answer(s, &ask, &r), OK);
	assert_string_equal(r.coding, "br");
	/* What was taken away has also left the sum. */
	assert_int_equal(front_files(s), 3);
	assert_int_equal(front_bytes(s), 10 + 2000 + 1999 + 3);
	assert_int_equal(get(s, "/a.png.gz", &r), ERR_NOT_FOUND);
}

static void a_range_is_cut_refused_or_ignored(void **state)
{
	static const struct {
		const char *range, *if_range, *bytes, *says;
	} cases[] = {
		{"bytes=0-3", "", "0123", "bytes 0-3/10"},
		{"bytes=3-3", "", "3", "bytes 3-3/10"},
		{"bytes=9-", "", "9", "bytes 9-9/10"},
		{"bytes=0-", "", "0123456789", "bytes 0-9/10"},
		{"bytes=5-500", "", "56789", "bytes 5-9/10"},
		{"bytes=-3", "", "789", "bytes 7-9/10"},
		{"bytes=-10", "", "0123456789", "bytes 0-9/10"},
		{"bytes=-9999999999999999999999", "", "0123456789",
	         "bytes 0-9/10"},
		{"BYTES= 1 - 2 ", "", "12", "bytes 1-2/10"},
		{"bytes=0-99999999999999999999999", "", "0123456789",
	         "bytes 0-9/10"},
		/* nothing there */
		{"bytes=10-", "", NULL, "bytes */10"},
		{"bytes=99999999999999999999999-", "", NULL, "bytes */10"},
		{"bytes=18446744073709551615-18446744073709551615", "", NULL,
	         "bytes */10"},
		{"bytes=-0", "", NULL, "bytes */10"},
		/* as if it were not asked for */
		{"", "", "0123456789", ""},
		{"bytes=", "", "0123456789", ""},
		{"bytes=-", "", "0123456789", ""},
		{"bytes=5", "", "0123456789", ""},
		{"bytes=4-2", "", "0123456789", ""},
		{"bytes=a-b", "", "0123456789", ""},
		{"bytes=+1-2", "", "0123456789", ""},
		{"bytes=1-2-3", "", "0123456789", ""},
		{"bytes=0-1,3-4", "", "0123456789", ""},
		{"bytes 0-1", "", "0123456789", ""},
		{"items=0-1", "", "0123456789", ""},
		{"-", "", "0123456789", ""},
		/* only of the same bytes */
		{"bytes=0-1", "\"other\"", "0123456789", ""},
		{"bytes=99-", "\"other\"", "0123456789", ""},
		{"bytes=0-1", "Tue, 14 Nov 2023 22:13:20 GMT", "0123456789",
	         ""},
		{"bytes=0-1", "its own", "01", "bytes 0-1/10"},
	};
	AUTO(front_set) s = set_new();
	struct front_reply r;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct front_ask ask = {.path = STR("/digits.txt")};
		enum err e;

		assert_int_equal(front_answer(s, &ask, &r), OK);
		ask.range = str_from(cases[i].range);
		ask.if_range = strcmp(cases[i].if_range, "its own") == 0
		                       ? str_from(r.etag)
		                       : str_from(cases[i].if_range);
		e = front_answer(s, &ask, &r);
		if (e != (cases[i].bytes ? OK : ERR_RANGE) ||
		    strcmp(r.range, cases[i].says) != 0 ||
		    (!e && (!str_eq(r.bytes, str_from(cases[i].bytes)) ||
		            r.part != (*r.range != '\0'))))
			fail_msg("%s: %d, %s", cases[i].range, e, r.range);
		ask.is_head = true;
		assert_int_equal(front_answer(s, &ask, &r), OK);
		assert_false(r.part);
		assert_int_equal(r.bytes.n, 10);
	}
}

static void what_is_made_to_compress_counts_too(void **state)
{
	static const struct {
		size_t bytes_max;
		bool ok;
	} cases[] = {{3999, false}, {4000, false}, {5000, true}};
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO(front_set) s = front_set_new(cases[i].bytes_max);
		bool ok = add(s, "/index.html", "let a=1;", 4000) &&
		          front_set_finish(s, &why);

		assert_int_equal(ok, cases[i].ok);
		assert_true(front_bytes(s) <= cases[i].bytes_max);
	}
}

static void nothing_can_be_cut_from_an_empty_file(void **state)
{
	static const char *const ranges[] = {"bytes=0-", "bytes=-1",
	                                     "bytes=0-0"};
	AUTO(front_set) s = set_new();
	struct front_reply r;

	(void)state;
	for (size_t i = 0; i < COUNTOF(ranges); i++) {
		const struct front_ask ask = {.path = STR("/empty.txt"),
		                              .range = str_from(ranges[i])};

		assert_int_equal(front_answer(s, &ask, &r), ERR_RANGE);
		assert_string_equal(r.range, "bytes */0");
	}
}

/* --- the folder --------------------------------------------------------------------- */

struct folder {
	char path[64], outside[64];
};

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static const char *at(const struct folder *f, const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", f->path, name);
	return path;
}

static struct folder folder_new(void)
{
	struct folder f = {"/tmp/kae-front-XXXXXX", "/tmp/kae-other-XXXXXX"};

	assert_non_null(mkdtemp(f.path));
	assert_non_null(mkdtemp(f.outside));
	write_file(f.path, "index.html", PAGE);
	assert_int_equal(mkdir(at(&f, "assets"), 0755), 0);
	write_file(f.path, "assets/app.js", "let a");
	write_file(f.outside, "secret.txt", "SECRET");
	return f;
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

static void folder_free(const struct folder *f)
{
	(void)nftw(f->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	(void)nftw(f->outside, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *load_fails(const struct folder *f, size_t bytes_max)
{
	static char why[FRONT_WHY_MAX];

	why[0] = '\0';
	assert_null(front_new(str_from(f->path), bytes_max, why));
	return why;
}

static struct front *load(const struct folder *f)
{
	char why[FRONT_WHY_MAX] = "";
	struct front *front = front_new(str_from(f->path), MB, why);

	if (!front)
		fail_msg("%s", why);
	return front;
}

static bool has(struct front *front, const char *path)
{
	const struct front_set *s = front_get(front);
	struct front_reply r;
	bool there = get(s, path, &r) == OK && !r.page;

	front_put(s);
	return there;
}

static void a_folder_is_served_whole_and_nothing_else(void **state)
{
	struct folder f = folder_new();
	char target[128];
	AUTO(front) front = NULL;
	const struct front_set *s;

	(void)state;
	write_file(f.path, ".env", "KEY=1");
	assert_int_equal(mkdir(at(&f, ".git"), 0755), 0);
	write_file(f.path, ".git/config", "x");
	assert_int_equal(mkdir(at(&f, "empty"), 0755), 0);
	assert_int_equal(symlink("app.js", at(&f, "assets/inner.js")), 0);
	assert_int_equal(symlink("../index.html", at(&f, "assets/up.html")), 0);
	(void)snprintf(target, sizeof(target), "%s/secret.txt", f.outside);
	assert_int_equal(symlink(target, at(&f, "secret.txt")), 0);
	(void)snprintf(target, sizeof(target), "../%s/secret.txt",
	               strrchr(f.outside, '/') + 1);
	assert_int_equal(symlink(target, at(&f, "climbs.txt")), 0);
	assert_int_equal(symlink(f.outside, at(&f, "other")), 0);
	assert_int_equal(symlink(".", at(&f, "loop")), 0);
	assert_int_equal(symlink("self.txt", at(&f, "self.txt")), 0);
	assert_int_equal(symlink("nowhere", at(&f, "dangling.txt")), 0);
	assert_int_equal(symlink("/proc/self/environ", at(&f, "env.txt")), 0);
	assert_int_equal(symlink("/dev/zero", at(&f, "zero.txt")), 0);
	assert_int_equal(mkfifo(at(&f, "fifo.txt"), 0644), 0);
	assert_int_equal(symlink("fifo.txt", at(&f, "pipe.txt")), 0);
	write_file(f.path, "back\\slash.txt", "x");
	write_file(f.path, "line\nfeed.txt", "x");
	write_file(f.path, "bad\xff.txt", "x");
	front = load(&f);
	assert_true(has(front, "/index.html"));
	assert_true(has(front, "/assets/app.js"));
	assert_true(has(front, "/assets/inner.js"));
	assert_true(has(front, "/assets/up.html"));
	s = front_get(front);
	assert_int_equal(front_files(s), 4);
	front_put(s);
	folder_free(&f);
}

static void a_build_may_lie_behind_a_link(void **state)
{
	struct folder f = folder_new();
	struct folder link = f;
	char why[FRONT_WHY_MAX];
	AUTO(front) front = NULL;

	(void)state;
	(void)snprintf(link.path, sizeof(link.path), "%.40s/current",
	               f.outside);
	assert_int_equal(symlink(f.path, link.path), 0);
	front = front_new(str_from(link.path), MB, why);
	assert_non_null(front);
	assert_true(has(front, "/assets/app.js"));
	folder_free(&f);
}

static void what_cannot_be_served_is_told_in_a_line(void **state)
{
	struct folder f = folder_new(), none = {"/nonexistent/dist", ""};
	char file[512], name[40] = "d";
	const char *why;

	(void)state;
	why = load_fails(&none, MB);
	assert_string_equal(why, "STATIC_DIR: /nonexistent/dist: "
	                         "No such file or directory");
	(void)snprintf(file, sizeof(file), "%s", at(&f, "index.html"));
	(void)snprintf(none.path, sizeof(none.path), "%.60s", file);
	assert_non_null(strstr(load_fails(&none, MB), "Not a directory"));
	why = load_fails(&f, 20);
	assert_non_null(strstr(why, "STATIC_MAX_MB"));
	assert_int_equal(unlink(file), 0);
	assert_non_null(strstr(load_fails(&f, MB), "no index.html"));
	write_file(f.path, "index.html", PAGE);
	for (int i = 0; i <= FRONT_DEPTH_MAX; i++) {
		char path[512];

		(void)snprintf(path, sizeof(path), "%s", at(&f, name));
		assert_int_equal(mkdir(path, 0755), 0);
		(void)snprintf(name + 2 * i + 1, 3, "/d");
	}
	why = load_fails(&f, MB);
	assert_non_null(strstr(why, "too deep"));
	assert_null(strchr(why, '\n'));
	folder_free(&f);
}

static void a_request_keeps_what_it_has_begun_with(void **state)
{
	struct folder f = folder_new();
	AUTO(front) front = load(&f);
	const struct front_set *old = front_get(front), *new;
	char why[FRONT_WHY_MAX], from[512], to[512];
	struct front_reply was, is;

	(void)state;
	assert_int_equal(get(old, "/assets/app.js", &was), OK);
	/* Replaced by a rename, and another cut in place. */
	write_file(f.path, "assets/new", "let b = 2");
	(void)snprintf(from, sizeof(from), "%s", at(&f, "assets/new"));
	(void)snprintf(to, sizeof(to), "%s", at(&f, "assets/app.js"));
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(truncate(at(&f, "index.html"), 1), 0);
	assert_true(str_eq(was.bytes, STR("let a")));
	assert_true(front_reload(front, why));
	assert_true(str_eq(was.bytes, STR("let a")));
	assert_int_equal(get(old, "/", &was), OK);
	assert_true(str_eq(was.bytes, STR(PAGE)));
	new = front_get(front);
	assert_int_equal(get(new, "/assets/app.js", &is), OK);
	assert_true(str_eq(is.bytes, STR("let b = 2")));
	assert_int_equal(get(new, "/", &is), OK);
	assert_int_equal(is.bytes.n, 1);
	front_put(new);
	/* One that cannot be read changes nothing. */
	assert_int_equal(unlink(at(&f, "index.html")), 0);
	assert_false(front_reload(front, why));
	assert_non_null(strstr(why, "index.html"));
	assert_true(has(front, "/index.html"));
	front_put(old);
	folder_free(&f);
}

/* The kernel answers openat2() as one that has never heard of it. */
static bool forget_openat2(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
	                 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {COUNTOF(code), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

#define CANNOT_FILTER 77

static int serve_without_openat2(const struct folder *f)
{
	char why[FRONT_WHY_MAX];
	struct front *front;
	bool ok;

	if (!forget_openat2())
		return CANNOT_FILTER;
	front = front_new(str_from(f->path), MB, why);
	ok = front && has(front, "/assets/app.js") &&
	     !has(front, "/secret.txt") && !has(front, "/assets/inner.js");
	front_free(front);
	return ok ? 0 : 1;
}

static void without_openat2_no_link_is_followed(void **state)
{
	struct folder f = folder_new();
	char target[128];
	int status = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(symlink("app.js", at(&f, "assets/inner.js")), 0);
	(void)snprintf(target, sizeof(target), "%s/secret.txt", f.outside);
	assert_int_equal(symlink(target, at(&f, "secret.txt")), 0);
	pid = fork();
	if (pid == 0)
		_exit(serve_without_openat2(&f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	folder_free(&f);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT_FILTER)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void an_unreadable_file_is_told(void **state)
{
	struct folder f = folder_new();
	int status = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(chmod(f.path, 0755), 0);
	assert_int_equal(chmod(at(&f, "assets/app.js"), 0), 0);
	pid = fork();
	if (pid == 0) { /* root may read anything, so somebody else tries */
		const char *why;

		if (geteuid() == 0 && setuid(65534) != 0)
			_exit(1);
		why = load_fails(&f, MB);
		_exit(strstr(why, "/assets/app.js: Permission denied") ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	folder_free(&f);
}

static void no_memory_serves_nothing(void **state)
{
	struct folder f = folder_new();
	bool failed = true;

	(void)state;
	for (unsigned i = 0; i < 70; i++) { /* the table grows twice */
		char name[16];

		(void)snprintf(name, sizeof(name), "%u.txt", i);
		write_file(f.path, name, "x");
	}
	for (unsigned n = 1; failed; n++) {
		char why[FRONT_WHY_MAX] = "";
		struct front *front;

		assert_true(n < 2000);
		alloc_fault_arm(n);
		front = front_new(str_from(f.path), MB, why);
		failed = alloc_fault_disarm();
		/* What cannot be made shorter is kept as it is. */
		if (!front && !failed)
			fail_msg("%s", why);
		assert_true(front || why[0]);
		front_free(front);
	}
	folder_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_names_a_file_a_page_or_nothing),
		cmocka_unit_test(a_path_of_any_length_is_looked_up_or_refused),
		cmocka_unit_test(a_file_is_what_its_name_ends_with),
		cmocka_unit_test(only_a_name_with_a_hash_may_be_kept),
		cmocka_unit_test(what_the_client_has_is_not_sent_again),
		cmocka_unit_test(the_coding_is_the_best_that_is_taken),
		cmocka_unit_test(a_sibling_that_is_not_shorter_is_of_no_use),
		cmocka_unit_test(a_range_is_cut_refused_or_ignored),
		cmocka_unit_test(what_is_made_to_compress_counts_too),
		cmocka_unit_test(nothing_can_be_cut_from_an_empty_file),
		cmocka_unit_test(a_folder_is_served_whole_and_nothing_else),
		cmocka_unit_test(a_build_may_lie_behind_a_link),
		cmocka_unit_test(what_cannot_be_served_is_told_in_a_line),
		cmocka_unit_test(a_request_keeps_what_it_has_begun_with),
		cmocka_unit_test(without_openat2_no_link_is_followed),
		cmocka_unit_test(an_unreadable_file_is_told),
		cmocka_unit_test(no_memory_serves_nothing),
	};

	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
