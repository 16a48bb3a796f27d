#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* One byte beyond max tells a file that is too large from one that just fits. */
static bool read_all(int fd, size_t max, struct buf *out)
{
	while (out->n <= max) {
		ssize_t n = read(fd, out->p + out->n, max + 1 - out->n);

		if (n == 0)
			return true;
		if (n > 0)
			out->n += (size_t)n;
		else if (errno != EINTR)
			return false;
	}
	errno = EFBIG;
	return false;
}

bool file_read(const char *path, size_t max, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok;
	int why;

	if (fd < 0)
		return false;
	errno = ENOMEM;
	ok = buf_reserve(out, max + 2) && read_all(fd, max, out);
	why = errno;
	(void)close(fd);
	if (ok)
		out->p[out->n] = '\0';
	errno = why;
	return ok;
}
