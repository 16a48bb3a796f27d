#include "svc-gdpr/spool.h"

#include "common/base/log.h"
#include "common/codec/mp.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static enum err fault(const struct spool *s, const char *step)
{
	log_error(s->cx, "export.spool", LOG_TEXT("step", step),
	          LOG_TEXT("error", strerrorname_np(errno)));
	return ERR_UNAVAILABLE;
}

/* Where the file system knows no file without a name: one that loses it. */
static int open_unnamed(const char *folder)
{
	char path[PATH_MAX];
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || snprintf(path, sizeof(path), "%s/.export-XXXXXX",
	                        folder) >= (int)sizeof(path))
		return fd;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		(void)unlink(path);
	return fd;
}

enum err spool_open(struct spool *s, const struct ctx *cx, struct str folder,
                    uint64_t max)
{
	char path[PATH_MAX];

	*s = (struct spool){.fd = -1, .max = max, .cx = cx};
	if (snprintf(path, sizeof(path), "%.*s", STR_FMT(folder)) >=
	    (int)sizeof(path))
		return ERR_UNAVAILABLE;
	s->fd = open_unnamed(path);
	return s->fd < 0 ? fault(s, "open") : OK;
}

void spool_fini(struct spool *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
	buf_fini(&s->block);
}

enum err spool_flush(struct spool *s)
{
	struct str left = buf_view(&s->block);

	while (left.n) {
		ssize_t n = write(s->fd, left.p, left.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fault(s, "write");
		left.p += n;
		left.n -= (size_t)n;
	}
	buf_clear(&s->block);
	return OK;
}

enum err spool_add(struct spool *s, struct str bytes)
{
	while (bytes.n) {
		size_t n = SPOOL_BLOCK - s->block.n;

		n = n < bytes.n ? n : bytes.n;
		if (s->n + n > s->max)
			return ERR_TOO_LARGE;
		buf_add(&s->block, bytes.p, n);
		if (s->block.failed)
			return ERR_NOMEM;
		s->n += n;
		bytes.p += n;
		bytes.n -= n;
		if (s->block.n == SPOOL_BLOCK) {
			enum err e = spool_flush(s);

			if (e)
				return e;
		}
	}
	return OK;
}

/* --- reading --------------------------------------------------------------------- */

void spool_in_fini(struct spool_in *in)
{
	buf_fini(&in->block);
}

/* Behind what the block has; nothing at the end. */
static enum err read_more(struct spool_in *in)
{
	size_t want = in->end - in->at < SPOOL_BLOCK
	                      ? (size_t)(in->end - in->at)
	                      : SPOOL_BLOCK;
	ssize_t n;

	if (want == 0)
		return OK;
	if (!buf_reserve(&in->block, want))
		return ERR_NOMEM;
	do
		n = pread(in->s->fd, in->block.p + in->block.n, want,
		          (off_t)in->at);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return fault(in->s, "read");
	in->block.n += (size_t)n;
	in->at += (uint64_t)n;
	return OK;
}

enum err spool_block(struct spool_in *in, struct str *out)
{
	enum err e;

	buf_clear(&in->block);
	e = read_more(in);
	*out = buf_view(&in->block);
	return e;
}

enum err spool_value(struct spool_in *in, struct str *out)
{
	for (;;) {
		struct str left = {in->block.p + in->used,
		                   in->block.n - in->used};
		struct mp m = mp_open(left);
		size_t before;
		enum err e;

		if (left.n && mp_skip(&m, out)) {
			in->used += out->n;
			return OK;
		}
		if (left.n >= SPOOL_VALUE_MAX)
			return ERR_TOO_LARGE;
		if (in->used)
			memmove(in->block.p, left.p, left.n);
		in->block.n = left.n;
		in->used = 0;
		before = in->block.n;
		e = read_more(in);
		if (e)
			return e;
		if (in->block.n == before) {
			*out = (struct str){0};
			return left.n ? ERR_INTERNAL : OK;
		}
	}
}
