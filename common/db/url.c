#include "common/db/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SQLITE_PREFIX STR("sqlite:///")

bool db_sqlite_path(struct str url, struct str *path)
{
	struct str s;

	if (!str_starts(url, SQLITE_PREFIX))
		return false;
	s = (struct str){url.p + SQLITE_PREFIX.n, url.n - SQLITE_PREFIX.n};
	/* No options, no memory databases: each would surprise somebody. */
	if (s.n == 0 || s.p[0] == ':' || s.p[s.n - 1] == '/' ||
	    memchr(s.p, '?', s.n) || memchr(s.p, '\0', s.n))
		return false;
	*path = s;
	return true;
}

bool db_is_postgres(struct str url)
{
	return (str_starts(url, STR("postgresql://")) ||
	        str_starts(url, STR("postgres://"))) &&
	       !memchr(url.p, '\0', url.n);
}

/* The service goes before the last dot of the file name, or to its end. */
bool db_url_for(struct str url, const char *service, struct buf *out)
{
	size_t dot = url.n;
	struct str path;

	if (!db_sqlite_path(url, &path)) {
		buf_str(out, url);
		return !out->failed;
	}
	for (size_t i = url.n; i > 0 && url.p[i - 1] != '/'; i--) {
		/* A leading dot hides a file; it ends no name. */
		if (url.p[i - 1] == '.' && url.p[i - 2] != '/') {
			dot = i - 1;
			break;
		}
	}
	buf_add(out, url.p, dot);
	buf_char(out, '-');
	buf_str(out, str_from(service));
	buf_add(out, url.p + dot, url.n - dot);
	return !out->failed;
}

bool db_make_parents(const char *file)
{
	char *path = strdup(file);
	bool made = path != NULL;

	/* From the second byte: the root is there. */
	for (char *p = path ? path + 1 : NULL; p && made; p++) {
		p = strchr(p, '/');
		if (!p)
			break;
		*p = '\0';
		made = mkdir(path, 0700) == 0 || errno == EEXIST;
		*p = '/';
	}
	free(path);
	return made;
}
