#include "gateway/gzip.h"

#include "gateway/weight.h"

#include <stdlib.h>
#include <zlib.h>

/* deflateInit2(): the largest window, with a header and trailer of gzip. */
#define GZIP_WINDOW 31
#define GZIP_MEMORY 8

struct gzip {
	z_stream z;
};

static void *allocate(void *arg, unsigned n, unsigned size)
{
	(void)arg;
	return calloc(n, size);
}

static void release(void *arg, void *p)
{
	(void)arg;
	free(p);
}

struct gzip *gzip_new(int level)
{
	struct gzip *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->z.zalloc = allocate;
	g->z.zfree = release;
	if (deflateInit2(&g->z, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
	                 Z_DEFAULT_STRATEGY) != Z_OK) {
		free(g);
		return NULL;
	}
	return g;
}

void gzip_free(struct gzip *g)
{
	if (!g)
		return;
	(void)deflateEnd(&g->z);
	free(g);
}

/* zlib reads through a pointer that is not const unless it is asked to. */
static Bytef *bytes_of(struct str s)
{
	union {
		const char *p;
		void *untouched;
	} bytes = {s.p};

	return bytes.untouched;
}

bool gzip_write(struct gzip *g, struct str in, struct buf *out)
{
	/* One that would not be shorter than what goes in is not wanted, so
	 * that is all the room it needs. */
	if (in.n == 0 || in.n > UINT32_MAX || !buf_reserve(out, in.n))
		return false;
	if (deflateReset(&g->z) != Z_OK)
		return false;
	g->z.next_in = bytes_of(in);
	g->z.avail_in = (unsigned)in.n;
	g->z.next_out = (Bytef *)(void *)(out->p + out->n);
	g->z.avail_out = (unsigned)in.n;
	if (deflate(&g->z, Z_FINISH) != Z_STREAM_END)
		return false;
	out->n += in.n - g->z.avail_out;
	return true;
}

bool gzip_taken(struct str accept_encoding, struct str coding)
{
	int named = -1, any = -1, plain = -1;

	while (accept_encoding.n) {
		struct str parameters = str_cut(&accept_encoding, ',');
		struct str name = str_trim(str_cut(&parameters, ';'));
		int weight = weight_of(parameters);

		if (weight < 0)
			continue;
		if (str_ieq(name, coding))
			named = weight;
		else if (str_eq(name, STR("*")))
			any = weight;
		else if (str_ieq(name, STR("identity")))
			plain = weight;
	}
	if (named < 0)
		named = any;
	return named > 0 && named >= plain;
}
