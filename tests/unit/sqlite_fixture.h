/*
 * sqlite_fixture - what the tests of SQLite under fault share: a pool over a
 * file in a new folder, a table of ids, and this program run again as another
 * process.
 */
#ifndef TESTS_UNIT_SQLITE_FIXTURE_H
#define TESTS_UNIT_SQLITE_FIXTURE_H

#include "common/base/clock.h"
#include "common/base/ctx.h"
#include "common/db/db.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[80], url[100];

static const struct db_stmt CREATE = {
	"t.create",
	"CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, s TEXT)", NULL};
static const struct db_stmt INSERT = {"t.insert",
                                      "INSERT INTO t (id, s) VALUES ($1, $2)",
                                      NULL};
static const struct db_stmt COUNT = {"t.count", "SELECT count(*) FROM t", NULL};
static const struct db_stmt HAS = {
	"t.has", "SELECT count(*) FROM t WHERE id = $1 AND length(s) = 100",
	NULL};
static const struct db_stmt CHECK = {
	"t.check",
	"SELECT count(*) FROM pragma_integrity_check WHERE "
	"integrity_check = 'ok'",
	NULL};

static inline struct ctx context(uint64_t ms)
{
	return (struct ctx){.service = "test",
	                    .rid = STR("test"),
	                    .deadline_ms = mono_ms() + ms};
}

static inline void pause_ms(unsigned ms)
{
	const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	(void)nanosleep(&t, NULL);
}

static inline enum err open_pool_of(const char *at, struct db_pool **out)
{
	const struct db_conf conf = {.service = "test",
	                             .url = str_from(at),
	                             .size = 3,
	                             .max_overflow = 3,
	                             .timeout_s = 30,
	                             .recycle_s = 3600,
	                             .pre_ping = true};

	return db_pool_new(&conf, out);
}

static inline struct db_pool *open_pool(void)
{
	struct db_pool *p = NULL;

	assert_int_equal(open_pool_of(url, &p), OK);
	return p;
}

static inline enum err create(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &CREATE, NULL, 0, NULL);
}

static inline enum err insert(struct db *db, void *arg)
{
	char text[101];
	const struct db_val v[] = {DB_I64(*(const int64_t *)arg),
	                           DB_STR(((struct str){text, 100}))};

	memset(text, 'x', sizeof(text));
	return db_run(db, &INSERT, v, COUNTOF(v), NULL);
}

static inline enum err make_table(struct db_pool *p, uint64_t ms)
{
	struct ctx cx = context(ms);

	return db_write(p, &cx, create, NULL);
}

static inline enum err add(struct db_pool *p, int64_t id, uint64_t ms)
{
	struct ctx cx = context(ms);

	return db_write(p, &cx, insert, &id);
}

static inline enum err take_i64(void *arg, const struct db_row *row)
{
	*(int64_t *)arg = db_row_i64(row, 0);
	return OK;
}

static inline enum err ask(struct db_pool *p, const struct db_stmt *st,
                           int64_t id, int64_t *out)
{
	const struct db_sink sink = {take_i64, out};
	const struct db_val v = DB_I64(id);
	struct ctx cx = context(20000);

	return db_ask(p, &cx, st, &v, 1, &sink);
}

/* A number that must be had. */
static inline int64_t number(struct db_pool *p, const struct db_stmt *st,
                             int64_t id)
{
	int64_t n = -1;

	assert_int_equal(ask(p, st, id, &n), OK);
	return n;
}

static inline void wait_file(const char *name)
{
	uint64_t end = mono_ms() + 20000;

	while (access(name, F_OK)) {
		assert_true(mono_ms() < end);
		pause_ms(2);
	}
}

/* This program as another process: argv[1] says what it does. */
static inline pid_t again(const char *what, const char *arg, int out)
{
	char *argv[] = {(char[]){"test"}, strdup(what), strdup(path),
	                strdup(arg), NULL};
	posix_spawn_file_actions_t fa;
	pid_t pid = -1;

	assert_int_equal(posix_spawn_file_actions_init(&fa), 0);
	if (out >= 0)
		assert_int_equal(posix_spawn_file_actions_adddup2(&fa, out, 1),
		                 0);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &fa, NULL, argv,
	                             environ),
	                 0);
	(void)posix_spawn_file_actions_destroy(&fa);
	for (size_t i = 1; i < 4; i++)
		free(argv[i]);
	return pid;
}

static inline int ended(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline int remove_one(const char *at, const struct stat *st, int flag,
                             struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(at);
}

static inline int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/kae-sqlite-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/t.db", folder);
	(void)snprintf(url, sizeof(url), "sqlite:///%s", path);
	return 0;
}

static inline int remove_folder(void **state)
{
	(void)state;
	return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define IN_FOLDER(name) \
	cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

#endif
