/* Reading the front end's folder: see front.h for what is taken. */
#include "gateway/front_set.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOLDER_MAX     1025 /* as conf.def has it, with a NUL */
#define PATH_BYTES_MAX 2048
#define MARGIN         ((size_t)4 << 10) /* of a buffer that grows */
/* openat2() asks to be tried again while somebody renames folders. */
#define TRIES 16

/* Not O_PATH: reading is what is wanted.  A FIFO must not wait for a writer. */
#define FILE_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

struct walk {
	struct front_set *set;
	int root;
	size_t depth;
	char path[PATH_BYTES_MAX]; /* of what is looked at, with a '/' first */
	size_t n;
	const char *why; /* what is wrong with it; NULL: errno says it */
};

static bool refuse(struct walk *w, const char *why)
{
	w->why = why;
	return false;
}

/* True: the rest is read. */
static bool skip(const struct walk *w, const char *reason)
{
	log_warn(NULL, "front.skipped",
	         LOG_STR("path", ((struct str){w->path, w->n})),
	         LOG_TEXT("reason", reason));
	return true;
}

/* --- one file -------------------------------------------------------------------- */

/* -1 with errno.  Never a file outside of the folder. */
static int open_file(const struct walk *w, int folder, const char *name)
{
	const struct open_how how = {
		.flags = FILE_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = -1;

	for (int i = 0; i < TRIES; i++) {
		fd = (int)syscall(SYS_openat2, w->root, w->path + 1, &how,
		                  sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	/* Kernels before 5.6, and filters of system calls that do not know it. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(folder, name, FILE_FLAGS | O_NOFOLLOW);
	return fd;
}

/* To the end of the file, wherever that is by then. */
static bool read_all(struct walk *w, int fd, struct buf *out)
{
	for (;;) {
		ssize_t n;

		if (out->n > w->set->bytes_max - w->set->bytes)
			return refuse(w, "with it there are more than "
			                 "STATIC_MAX_MB");
		if (!buf_reserve(out, 1))
			return refuse(w, "there is no memory for it");
		n = read(fd, out->p + out->n, out->cap - out->n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		out->n += (size_t)n;
	}
}

static bool take_open(struct walk *w, int fd)
{
	AUTO_BUF bytes = {.max = 2 * w->set->bytes_max + MARGIN};
	int64_t now_s = wall_ms() / 1000;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return false;
	if (!S_ISREG(st.st_mode))
		return skip(w, "it is no file");
	/* Room for all of it at once, and to see its end, if it stays as it
	 * is. */
	if (st.st_size > 0 && (size_t)st.st_size <= w->set->bytes_max &&
	    !buf_reserve(&bytes, (size_t)st.st_size + 1))
		return refuse(w, "there is no memory for it");
	if (!read_all(w, fd, &bytes))
		return false;
	return front_set_add(w->set, (struct str){w->path, w->n}, &bytes,
	                     st.st_mtime < now_s ? st.st_mtime : now_s,
	                     &w->why);
}

static bool take_file(struct walk *w, int folder, const char *name)
{
	int fd = open_file(w, folder, name);
	bool ok;

	if (fd < 0) {
		switch (errno) {
		case EXDEV:
			return skip(w, "it leads out of the folder");
		case ELOOP:
			return skip(w, "it is a link");
		case ENOENT:
			return skip(w, "it is not there");
		case ENXIO:
			return skip(w, "it is no file");
		default:
			return false;
		}
	}
	ok = take_open(w, fd);
	(void)close(fd);
	return ok;
}

/* --- folders --------------------------------------------------------------------- */

static bool take_folder(struct walk *w, int fd);

static bool take_below(struct walk *w, int folder, const char *name)
{
	int fd;

	if (w->depth == FRONT_DEPTH_MAX)
		return refuse(w, "it lies too deep");
	fd = openat(folder, name,
	            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT && skip(w, "it is not there");
	w->depth++;
	if (!take_folder(w, fd))
		return false;
	w->depth--;
	return true;
}

static bool is_text(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f ||
		    name.p[i] == '\\')
			return false;
	return utf8_valid(name);
}

static bool take_entry(struct walk *w, int folder, const char *name)
{
	struct stat st;

	if (!is_text(str_from(name)))
		return skip(w, "its name is no plain text");
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT && skip(w, "it is not there");
	if (S_ISDIR(st.st_mode))
		return take_below(w, folder, name);
	if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))
		return take_file(w, folder, name);
	return skip(w, "it is no file");
}

/* Takes fd. */
/* NOLINTNEXTLINE(misc-no-recursion) FRONT_DEPTH_MAX bounds it */
static bool take_folder(struct walk *w, int fd)
{
	DIR *d = fdopendir(fd);
	const size_t n = w->n;
	const struct dirent *entry;
	bool ok = true;

	if (!d) {
		(void)close(fd);
		return refuse(w, "there is no memory to read it");
	}
	while (ok && (entry = readdir(d))) {
		size_t name_n = strlen(entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		if (n + 1 + name_n >= PATH_BYTES_MAX) {
			ok = refuse(w, "what is in it has too long a path");
			break;
		}
		w->path[n] = '/';
		memcpy(w->path + n + 1, entry->d_name, name_n + 1);
		w->n = n + 1 + name_n;
		ok = take_entry(w, dirfd(d), entry->d_name);
	}
	if (ok) {
		w->n = n;
		w->path[n] = '\0';
	}
	(void)closedir(d);
	return ok;
}

struct front_set *front_load(struct str folder, size_t bytes_max,
                             char why[FRONT_WHY_MAX])
{
	char name[FOLDER_MAX];
	AUTO(front_set) set = front_set_new(bytes_max);
	struct walk w = {.set = set, .root = -1};
	int fd;

	(void)snprintf(name, sizeof(name), "%.*s", STR_FMT(folder));
	errno = ENOMEM;
	if (set)
		w.root = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w.root < 0) {
		(void)snprintf(why, FRONT_WHY_MAX, "STATIC_DIR: %s: %.99s",
		               name, strerror(errno));
		return NULL;
	}
	fd = openat(w.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !take_folder(&w, fd)) {
		(void)snprintf(why, FRONT_WHY_MAX, "STATIC_DIR: %s%s: %.99s",
		               name, w.path, w.why ? w.why : strerror(errno));
		(void)close(w.root);
		return NULL;
	}
	(void)close(w.root);
	if (!front_set_finish(set, &w.why)) {
		(void)snprintf(why, FRONT_WHY_MAX, "STATIC_DIR: %s: %.99s",
		               name, w.why);
		return NULL;
	}
	return STEAL(set); /* NOLINT: AUTO frees it, unseen */
}
