#include "common/bus/stream.h"

#define LENGTH 4 /* bytes of n */

enum err stream_begin(const struct ctx *cx, struct reply *r)
{
	AUTO_BUF all = {.max = STREAM_HEAD_MAX};
	size_t n;
	enum err e;

	if (!r->part || r->begun)
		return ERR_INTERNAL;
	buf_add(&all, "\0\0\0\0", LENGTH);
	reply_pack(&all, cx, OK, r);
	if (all.failed)
		return ERR_NOMEM;
	n = all.n - LENGTH;
	all.p[2] = (char)(n >> 8);
	all.p[3] = (char)n;
	e = r->part(r->to, buf_view(&all));
	r->begun = true; /* some of it may be gone all the same */
	return e;
}

enum err stream_send(struct reply *r, struct str bytes)
{
	return r->begun ? r->part(r->to, bytes) : ERR_INTERNAL;
}

static size_t wanted(const struct buf *head)
{
	const unsigned char *p = (const unsigned char *)head->p;
	size_t n;

	if (head->n < LENGTH)
		return LENGTH;
	n = (size_t)p[2] << 8 | p[3];
	return p[0] || p[1] || n == 0 || n > STREAM_HEAD_MAX ? SIZE_MAX
	                                                     : LENGTH + n;
}

bool stream_take(struct stream_in *in, struct str *bytes)
{
	while (!in->whole && !in->head.failed) {
		size_t want = wanted(&in->head), n;

		if (want == SIZE_MAX) {
			in->head.failed = true;
			break;
		}
		if (in->head.n == want) {
			in->whole = true;
			break;
		}
		if (bytes->n == 0)
			break;
		n = want - in->head.n;
		n = n < bytes->n ? n : bytes->n;
		buf_add(&in->head, bytes->p, n);
		bytes->p += n;
		bytes->n -= n;
	}
	return in->whole;
}

struct str stream_head(const struct stream_in *in)
{
	return (struct str){in->head.p + LENGTH, in->head.n - LENGTH};
}

bool stream_is(struct str bytes)
{
	return bytes.n > 0 && bytes.p[0] == '\0';
}
