/*
 * fuzz_multipart - the first line of the input is a Content-Type, the rest a
 * body: what is taken is a map of texts and files whose names differ, within
 * the bounds, and written as a form again it is read as the same map.
 */
#include "common/base/utf8.h"
#include "common/codec/mp.h"
#include "gateway/multipart.h"

#include <assert.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct field {
	struct str name, text, filename, type, data;
	bool is_file;
};

static size_t read_map(struct str bytes, struct field f[MULTIPART_PARTS_MAX])
{
	struct mp m = mp_open(bytes);
	uint32_t n = 0;

	assert(mp_valid(bytes) && mp_get_map(&m, &n));
	assert(n <= MULTIPART_PARTS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		struct str value, data;
		struct mp at;

		f[i] = (struct field){0};
		assert(mp_get_str(&m, &f[i].name) && utf8_valid(f[i].name));
		assert(f[i].name.n >= 1 && f[i].name.n <= MULTIPART_NAME_MAX);
		for (uint32_t k = 0; k < i; k++)
			assert(!str_eq(f[k].name, f[i].name));
		assert(mp_skip(&m, &value));
		at = mp_open(value);
		if (mp_get_str(&at, &f[i].text)) {
			assert(utf8_valid(f[i].text));
			continue;
		}
		f[i].is_file = true;
		f[i].filename = mp_find_str(value, "name", (struct str){0});
		f[i].type = mp_find_str(value, "type", (struct str){0});
		assert(f[i].filename.p && f[i].type.p);
		assert(utf8_valid(f[i].filename) && utf8_valid(f[i].type));
		assert(f[i].filename.n <= MULTIPART_FILENAME_MAX);
		assert(f[i].type.n <= MULTIPART_TYPE_MAX);
		assert(f[i].filename.n == 0 ||
		       (!memchr(f[i].filename.p, '/', f[i].filename.n) &&
		        !memchr(f[i].filename.p, '\\', f[i].filename.n)));
		assert(mp_find(value, "data", &data));
		at = mp_open(data);
		assert(mp_get_bin(&at, &f[i].data));
		assert(f[i].filename.n || f[i].data.n);
	}
	return n;
}

/* One that stands nowhere in the input. */
static struct str fresh_boundary(struct str in, char out[32])
{
	for (unsigned i = 0;; i++) {
		int n = snprintf(out, 32, "new%u", i);

		if (in.n == 0 || !memmem(in.p, in.n, out, (size_t)n))
			return (struct str){out, (size_t)n};
	}
}

/* A quote is in a filename that ended behind a backslash, and cannot be written
 * back as it was. */
static bool is_writable(const struct field *f, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (f[i].filename.n &&
		    memchr(f[i].filename.p, '"', f[i].filename.n))
			return false;
	return true;
}

static void write_form(const struct field *f, size_t n, struct str boundary,
                       struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		buf_printf(out,
		           "--%.*s\r\nContent-Disposition: form-data; "
		           "name=\"%.*s\"",
		           STR_FMT(boundary), STR_FMT(f[i].name));
		if (f[i].is_file)
			buf_printf(out,
			           "; filename=\"%.*s\"\r\nContent-Type: %.*s",
			           STR_FMT(f[i].filename), STR_FMT(f[i].type));
		buf_str(out, STR("\r\n\r\n"));
		buf_str(out, f[i].is_file ? f[i].data : f[i].text);
		buf_str(out, STR("\r\n"));
	}
	buf_printf(out, "--%.*s--\r\n", STR_FMT(boundary));
}

static void is_the_same_again(struct str in, struct str mp)
{
	struct field f[MULTIPART_PARTS_MAX];
	size_t n = read_map(mp, f);
	struct multipart_error at;
	AUTO_BUF form = {0};
	AUTO_BUF again = {0};
	char text[32];
	struct str boundary = fresh_boundary(in, text);

	if (!is_writable(f, n))
		return;
	write_form(f, n, boundary, &form);
	assert(multipart_to_mp(buf_view(&form), boundary, &again, &at));
	assert(str_eq(buf_view(&again), mp));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size}, body = in;
	struct str type = str_cut(&body, '\n'), boundary;
	struct multipart_error at = {0};
	AUTO_BUF mp = {0};

	if (!multipart_boundary(type, &boundary))
		return 0;
	assert(boundary.p > type.p &&
	       boundary.p + boundary.n <= type.p + type.n);
	assert(boundary.n >= 1 && boundary.n <= MULTIPART_BOUNDARY_MAX);
	buf_str(&mp, STR("before"));
	if (!multipart_to_mp(body, boundary, &mp, &at)) {
		assert(at.reason && at.offset <= body.n && mp.n == 6);
		return 0;
	}
	is_the_same_again(in, (struct str){mp.p + 6, mp.n - 6});
	return 0;
}
