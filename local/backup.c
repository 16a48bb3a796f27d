#include "local/backup.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MS 30000

static const struct service {
	enum bus_peer peer;
	const char *name;
} services[] = {
	{PEER_AUTH, "auth"},
	{PEER_CONTENT, "content"},
	{PEER_GDPR, "gdpr"},
};
#define SERVICES COUNTOF(services)

static int fail(const char *what, const char *why)
{
	(void)fprintf(stderr, "backup: %s: %s\n", what, why);
	return 1;
}

/* NUL terminated paths of the files that there are. */
static int find_files(struct program_env *env, struct buf files[SERVICES])
{
	for (size_t i = 0; i < SERVICES; i++) {
		AUTO_BUF url = {0};
		struct str path;

		if (!wiring_db_url(&env->conf, services[i].peer, &url))
			return fail(services[i].name, "out of memory");
		if (!db_sqlite_path(buf_view(&url), &path))
			return fail(services[i].name,
			            "not on SQLite; use pg_dump "
			            "(docs/operations.md)");
		buf_str(&files[i], path);
		buf_char(&files[i], '\0');
		if (files[i].failed)
			return fail(services[i].name, "out of memory");
		if (access(files[i].p, R_OK))
			return fail(files[i].p, strerror(errno));
	}
	return 0;
}

/* So that nobody writes to any of them: BEGIN IMMEDIATE locks all that are
 * attached. */
static int lock_all(sqlite3 *h, const struct buf files[SERVICES])
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_busy_timeout(h, WAIT_MS);

	for (size_t i = 0; rc == SQLITE_OK && i < SERVICES; i++) {
		rc = sqlite3_prepare_v2(h, "ATTACH ?1 AS ?2", -1, &st, NULL);
		if (rc == SQLITE_OK)
			rc = sqlite3_bind_text(st, 1, files[i].p, -1,
			                       SQLITE_STATIC);
		if (rc == SQLITE_OK)
			rc = sqlite3_bind_text(st, 2, services[i].name, -1,
			                       SQLITE_STATIC);
		if (rc == SQLITE_OK)
			(void)sqlite3_step(st);
		rc = sqlite3_finalize(st);
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(h, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	return rc;
}

static int copy(sqlite3 *from, sqlite3 *to)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");

	if (!b)
		return sqlite3_errcode(to);
	(void)sqlite3_backup_step(b, -1);
	return sqlite3_backup_finish(b);
}

static int ok_or_not(void *arg, int n, char **values, char **names)
{
	bool *ok = arg;

	(void)names;
	*ok = n == 1 && values[0] && strcmp(values[0], "ok") == 0;
	return 0;
}

static int copy_file(const char *file, const char *dir, const char *name)
{
	char path[4096];
	sqlite3 *from = NULL, *to = NULL;
	bool ok = false;
	int rc;

	if (snprintf(path, sizeof(path), "%s/%s.db", dir, name) >=
	    (int)sizeof(path))
		return fail(dir, "too long");
	if (access(path, F_OK) == 0)
		return fail(path, "there is one already");
	rc = sqlite3_open_v2(file, &from, SQLITE_OPEN_READONLY, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_open(path, &to);
	if (rc == SQLITE_OK)
		rc = copy(from, to);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(to, "PRAGMA quick_check", ok_or_not, &ok,
		                  NULL);
	(void)sqlite3_close(from);
	(void)sqlite3_close(to);
	if (rc != SQLITE_OK)
		return fail(path, sqlite3_errstr(rc));
	return ok ? 0 : fail(path, "the copy is not sound");
}

int backup_cli(struct program_env *env, const char *dir)
{
	struct buf files[SERVICES] = {{0}};
	sqlite3 *h = NULL;
	int rc = SQLITE_OK;
	int code = find_files(env, files);

	(void)umask(0077);
	if (!code && mkdir(dir, 0700) && errno != EEXIST)
		code = fail(dir, strerror(errno));
	if (!code) {
		rc = sqlite3_open(":memory:", &h);
		if (rc == SQLITE_OK)
			rc = lock_all(h, files);
		if (rc != SQLITE_OK)
			code = fail("locking", sqlite3_errstr(rc));
	}
	for (size_t i = 0; !code && i < SERVICES; i++)
		code = copy_file(files[i].p, dir, services[i].name);
	(void)sqlite3_close(h); /* and nothing was changed */
	for (size_t i = 0; i < SERVICES; i++)
		buf_fini(&files[i]);
	if (!code)
		(void)printf("%s: auth.db, content.db and gdpr.db, as of one "
		             "moment\n",
		             dir);
	return code;
}
