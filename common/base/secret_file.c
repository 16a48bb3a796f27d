#include "common/base/secret_file.h"

#include "common/base/log.h"
#include "common/base/uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err complain(const char *path, const char *what, int error)
{
	log_error(NULL, "secret_file.unusable", LOG_TEXT("path", path),
	          LOG_TEXT("step", what), LOG_TEXT("error", strerror(error)));
	return ERR_INVALID;
}

bool secret_path(struct str dir, const char *name, char out[SECRET_PATH_MAX])
{
	int n = snprintf(out, SECRET_PATH_MAX, "%.*s/%s", STR_FMT(dir), name);

	return n > 0 && n < SECRET_PATH_MAX;
}

enum err secret_file_read(const char *path, char out[SECRET_FILE_MAX],
                          size_t *n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t at = 0;
	ssize_t got;
	int error;

	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND
		                       : complain(path, "open", errno);
	do {
		got = read(fd, out + at, SECRET_FILE_MAX - at);
		if (got > 0)
			at += (size_t)got;
	} while ((got > 0 && at < SECRET_FILE_MAX) ||
	         (got < 0 && errno == EINTR));
	error = errno;
	(void)close(fd);
	if (got < 0)
		return complain(path, "read", error);
	if (at == SECRET_FILE_MAX)
		return complain(path, "read", EFBIG);
	while (at && strchr(" \t\r\n", out[at - 1]))
		at--;
	if (at == 0)
		return complain(path, "read", ENODATA);
	*n = at;
	return OK;
}

static bool write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		p += put;
		n -= (size_t)put;
	}
	return true;
}

/* The folder of path, made if it is missing (its parents are not). */
static bool folder(const char *path, char out[SECRET_PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	if (n == 0 || n >= SECRET_PATH_MAX)
		return false;
	memcpy(out, path, n);
	out[n] = '\0';
	return mkdir(out, 0700) == 0 || errno == EEXIST;
}

/* A name is durable only once its folder is. */
static bool sync_folder(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = fsync(fd) == 0;
	(void)close(fd);
	return ok;
}

enum err secret_file_create(const char *path, struct str text)
{
	char dir[SECRET_PATH_MAX], fresh[SECRET_PATH_MAX + UUID_MAX + 2];
	char id[UUID_MAX];
	bool written;
	int fd, error;

	if (!folder(path, dir))
		return complain(path, "folder", errno);
	(void)uuid7(id);
	(void)snprintf(fresh, sizeof(fresh), "%s.%s", path, id);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return complain(path, "create", errno);
	written = write_all(fd, text.p, text.n) && write_all(fd, "\n", 1) &&
	          fsync(fd) == 0;
	error = errno;
	(void)close(fd);
	if (written && link(fresh, path)) {
		error = errno;
		written = false;
	}
	(void)unlink(fresh);
	if (written && !sync_folder(dir)) {
		error = errno;
		written = false;
	}
	if (!written)
		return error == EEXIST ? ERR_EXISTS
		                       : complain(path, "write", error);
	return OK;
}
