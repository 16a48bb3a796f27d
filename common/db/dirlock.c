#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/db/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* "dir/.lock", or with a program "dir/.lock-program", NUL terminated. */
static bool lock_path(struct buf *b, struct str dir, const char *program)
{
	buf_str(b, dir.n ? dir : STR("."));
	buf_str(b, STR("/.lock"));
	if (program) {
		buf_char(b, '-');
		buf_str(b, str_from(program));
	}
	buf_char(b, '\0');
	return !b->failed;
}

static void read_holder(int fd, char *holder, size_t max)
{
	ssize_t n = max ? pread(fd, holder, max - 1, 0) : -1;

	if (max)
		holder[n > 0 ? n : 0] = '\0';
	if (n > 0)
		holder[strcspn(holder, "\n")] = '\0';
}

static void write_holder(int fd, const char *program)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "pid %ld (%.64s)\n",
	                 (long)getpid(), program);

	/* Only people read it: what holds the lock is the open file. */
	if (ftruncate(fd, 0) == 0 && n > 0)
		(void)!pwrite(fd, line, (size_t)n, 0);
}

/* OK: the file stays open, and locked, as long as this process lives. */
static enum err hold(const char *path, int how, const char *program,
                     char *holder, size_t max, int *out)
{
	int fd = db_make_parents(path)
	                 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)
	                 : -1;

	if (fd < 0) {
		log_error(NULL, "db.cannot_lock", LOG_TEXT("file", path),
		          LOG_TEXT("why", strerror(errno)));
		return ERR_INVALID;
	}
	if (flock(fd, how | LOCK_NB)) {
		read_holder(fd, holder, max);
		(void)close(fd);
		return ERR_EXISTS;
	}
	write_holder(fd, program);
	*out = fd;
	return OK;
}

enum err db_dir_lock(struct str dir, const char *program, char *holder,
                     size_t holder_max)
{
	AUTO_BUF path = {0};
	int fd = -1;

	if (!lock_path(&path, dir, NULL))
		return ERR_NOMEM;
	return hold(path.p, LOCK_EX, program, holder, holder_max, &fd);
}

enum err db_dir_share(struct str dir, const char *program, char *holder,
                      size_t holder_max)
{
	AUTO_BUF whole = {0}, own = {0};
	int own_fd = -1, whole_fd = -1;
	enum err e;

	if (!lock_path(&whole, dir, NULL) || !lock_path(&own, dir, program))
		return ERR_NOMEM;
	e = hold(own.p, LOCK_EX, program, holder, holder_max, &own_fd);
	if (e)
		return e;
	e = hold(whole.p, LOCK_SH, program, holder, holder_max, &whole_fd);
	if (e)
		(void)close(own_fd);
	return e;
}
