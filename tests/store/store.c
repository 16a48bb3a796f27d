#include "tests/store/store.h"

#include <ftw.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

bool store_is_postgres(const struct store *s)
{
	return s->folder[0] == '\0';
}

static void drop_schema(const struct store *s)
{
	char sql[128];
	struct db_pool *p = store_pool(s);

	(void)snprintf(sql, sizeof(sql), "DROP SCHEMA IF EXISTS %s CASCADE",
	               s->service);
	store_exec(p, sql);
	db_pool_free(p);
}

static const char *server_url(void)
{
	const char *url = getenv("KAE_TEST_DATABASE_URL");

	return url && *url ? url : NULL;
}

bool store_will_be_postgres(void)
{
	return server_url();
}

void store_open(struct store *s, const char *service)
{
	const char *url = server_url();

	memset(s, 0, sizeof(*s));
	s->service = service;
	if (url) {
		assert_true(strlen(url) < sizeof(s->url));
		(void)snprintf(s->url, sizeof(s->url), "%s", url);
		drop_schema(s);
		return;
	}
	(void)snprintf(s->folder, sizeof(s->folder), "/tmp/kae-store-XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	(void)snprintf(s->url, sizeof(s->url), "sqlite:///%s/t.db", s->folder);
}

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void store_close(struct store *s)
{
	if (!store_is_postgres(s))
		(void)nftw(s->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct db_conf store_conf(const struct store *s)
{
	const char *prepare = getenv("KAE_TEST_DB_PREPARE");

	return (struct db_conf){.service = s->service,
	                        .url = str_from(s->url),
	                        .size = 4,
	                        .max_overflow = 4,
	                        .timeout_s = 30,
	                        .recycle_s = 3600,
	                        .pre_ping = true,
	                        .prepare = !prepare ||
	                                   strcmp(prepare, "off") != 0};
}

struct db_pool *store_pool(const struct store *s)
{
	struct db_conf conf = store_conf(s);
	struct db_pool *p = NULL;

	assert_int_equal(db_pool_new(&conf, &p), OK);
	return p;
}

struct ctx store_ctx(uint64_t ms)
{
	return (struct ctx){.service = "test",
	                    .rid = STR("test"),
	                    .deadline_ms = mono_ms() + ms};
}

/* Connections remember statements by address and servers by name, so each of
 * these is kept and has a name of its own. */
struct kept {
	struct db_stmt st;
	char name[24], sql[512];
};

static struct kept *keep(const char *sql)
{
	static struct kept all[256];
	static unsigned n;
	struct kept *k = &all[n];

	assert_true(n < COUNTOF(all));
	assert_true(strlen(sql) < sizeof(k->sql));
	(void)snprintf(k->name, sizeof(k->name), "test.exec.%u", n++);
	(void)snprintf(k->sql, sizeof(k->sql), "%s", sql);
	k->st = (struct db_stmt){k->name, k->sql, NULL};
	return k;
}

static enum err run_one(struct db *db, void *arg)
{
	const struct db_stmt *st = arg;

	return db_run(db, st, NULL, 0, NULL);
}

void store_exec(struct db_pool *p, const char *sql)
{
	struct ctx cx = store_ctx(20000);

	assert_int_equal(db_write(p, &cx, run_one, &keep(sql)->st), OK);
}

struct number {
	const struct db_stmt *st;
	int64_t value;
};

static enum err get_one(struct db *db, void *arg)
{
	struct number *n = arg;

	return db_get_i64(db, n->st, NULL, 0, &n->value);
}

int64_t store_i64(struct db_pool *p, const struct db_stmt *st)
{
	struct number n = {.st = st};
	struct ctx cx = store_ctx(20000);

	assert_int_equal(db_read(p, &cx, get_one, &n), OK);
	return n.value;
}

void store_must(bool claim, const char *what)
{
	if (claim)
		return;
	(void)fprintf(stderr, "not true: %s\n", what);
	abort();
}

int store_spawn(const char *const argv[])
{
	char *copy[16] = {0};
	pid_t pid;
	int status = -1;

	for (size_t i = 0; argv[i] && i + 1 < COUNTOF(copy); i++) {
		copy[i] = strdup(argv[i]);
		assert_non_null(copy[i]);
	}
	if (!copy[0] ||
	    posix_spawnp(&pid, copy[0], NULL, NULL, copy, environ) ||
	    waitpid(pid, &status, 0) != pid)
		status = -1;
	for (size_t i = 0; i < COUNTOF(copy); i++)
		free(copy[i]);
	return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void store_threads(unsigned n, void *(*fn)(void *arg), void *arg)
{
	pthread_t t[STORE_THREADS_MAX];

	assert_true(n <= STORE_THREADS_MAX);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn, arg), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
}
