/* The parts of db that need no server, and every allocation of a session on
 * SQLite failing in turn; tests/store has the rest. */
#include "common/base/clock.h"
#include "common/base/ctx.h"
#include "common/db/db.h"
#include "common/db/driver.h"
#include "common/event/event.h"
#include "tests/alloc_fault.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/kae-db-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* --- addresses ------------------------------------------------------------- */

static void a_stem_becomes_a_file_per_service(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{"sqlite:///x.db", "sqlite:///x-auth.db"},
		{"sqlite:////abs/x.db", "sqlite:////abs/x-auth.db"},
		{"sqlite:///a.b/x", "sqlite:///a.b/x-auth"},
		{"sqlite:///a/x.y.db", "sqlite:///a/x.y-auth.db"},
		{"sqlite:///.hidden", "sqlite:///.hidden-auth"},
		{"sqlite:///x", "sqlite:///x-auth"},
		{"postgresql://u@h/d", "postgresql://u@h/d"},
		{"sqlite://", "sqlite://"},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF out = {0};

		assert_true(db_url_for(str_from(cases[i].in), "auth", &out));
		assert_true(str_eq(buf_view(&out), str_from(cases[i].want)));
	}
}

static void an_address_of_neither_database_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"x.db",
		"mysql://u@h/d",
		"sqlite://x.db",
		"sqlite:///",
		"sqlite:///:memory:",
		"sqlite:///folder/",
		"sqlite:///x.db?mode=ro",
		"postgres:/h",
		"postgresql://[",
		"postgresql://h/d?no_such_option=1",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		const struct db_conf conf = {.service = "auth",
		                             .url = str_from(bad[i]),
		                             .size = 1};
		struct db_pool *p = NULL;

		assert_int_equal(db_pool_new(&conf, &p), ERR_INVALID);
		assert_null(p);
	}
}

/* --- statements for several services --------------------------------------- */

static void statements_name_their_schema_on_postgresql_only(void **state)
{
	static const struct db_stmt rows[] = {
		{"a", "SELECT x FROM @t JOIN @u", NULL},
		{"b", "SELECT 1", "SELECT y FROM @v"},
	};
	struct db_stmt *st = db_stmts_for(rows, 2, "auth");

	(void)state;
	assert_non_null(st);
	assert_string_equal(st[0].sqlite, "SELECT x FROM t JOIN u");
	assert_string_equal(st[0].postgres, "SELECT x FROM auth.t JOIN auth.u");
	assert_string_equal(st[1].sqlite, "SELECT 1");
	assert_string_equal(st[1].postgres, "SELECT y FROM auth.v");
	free(st);
}

static void a_schema_name_cannot_carry_sql(void **state)
{
	static const char long_name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	const char *const bad[] = {"",      "A",   "1a",  "a-b",    "a.b",
	                           "a;--x", "a b", "a\"", long_name};
	static const struct db_stmt row = {"a", "SELECT 1 FROM @t", NULL};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_null(db_stmts_for(&row, 1, bad[i]));
}

/* --- locks ------------------------------------------------------------------- */

typedef enum err lock_fn(struct str dir, const char *program, char *holder,
                         size_t holder_max);

/* What another process gets; its own locks end with it. */
static enum err in_another_process(lock_fn *lock, const char *program,
                                   const char *want_holder)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		char holder[80] = "";
		enum err e =
			lock(str_from(folder), program, holder, sizeof(holder));

		if (want_holder && !strstr(holder, want_holder))
			_exit(255);
		_exit((int)e);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return (enum err)WEXITSTATUS(status);
}

static void a_folder_has_one_whole_owner(void **state)
{
	char holder[80] = "untouched";

	(void)state;
	assert_int_equal(in_another_process(db_dir_lock, "knowalledge", NULL),
	                 OK);
	assert_int_equal(db_dir_lock(str_from(folder), "knowalledge", holder,
	                             sizeof(holder)),
	                 OK);
	assert_string_equal(holder, "untouched");
	assert_int_equal(in_another_process(db_dir_lock, "knowalledge",
	                                    "(knowalledge)"),
	                 ERR_EXISTS);
	assert_int_equal(in_another_process(db_dir_share, "kae-auth",
	                                    "(knowalledge)"),
	                 ERR_EXISTS);
}

static void services_share_a_folder_with_others_not_with_themselves(
	void **state)
{
	char holder[80] = "";

	(void)state;
	assert_int_equal(db_dir_share(str_from(folder), "kae-auth", holder,
	                              sizeof(holder)),
	                 OK);
	assert_int_equal(in_another_process(db_dir_share, "kae-gdpr", NULL),
	                 OK);
	assert_int_equal(in_another_process(db_dir_share, "kae-auth",
	                                    "(kae-auth)"),
	                 ERR_EXISTS);
	assert_int_equal(in_another_process(db_dir_lock, "knowalledge", "pid "),
	                 ERR_EXISTS);
}

static void a_folder_that_cannot_be_made_is_no_lock(void **state)
{
	char holder[80] = "";

	(void)state;
	assert_int_equal(db_dir_lock(STR("/proc/none"), "x", holder,
	                             sizeof(holder)),
	                 ERR_INVALID);
	assert_int_equal(db_dir_share(STR("/dev/null"), "x", holder, 0),
	                 ERR_INVALID);
}

/* --- memory that fails --------------------------------------------------------- */

static const struct db_migration tables[] = {
	{1, "tables", EVENT_TABLES_SQLITE EVENT_TRACE_SQLITE,
         EVENT_TABLES_POSTGRES("t") EVENT_TRACE_POSTGRES("t")}};
static const struct db_stmt COUNT_ROWS = {"t.count",
                                          "SELECT count(*) FROM outbox", NULL};

static enum err emit(struct db *db, void *arg)
{
	return event_emit(arg, db, PEER_GDPR, STR("u1"), STR("type"),
	                  STR("\x80"), 1);
}

static enum err count(struct db *db, void *arg)
{
	return db_get_i64(db, &COUNT_ROWS, NULL, 0, arg);
}

/* A whole session: open, migrate, write, read, close. */
static enum err session(int64_t *rows)
{
	char url[128];
	struct db_conf conf = {.service = "t",
	                       .size = 2,
	                       .timeout_s = 5,
	                       .recycle_s = 60,
	                       .prepare = true};
	AUTO(event_store) store = event_store_new("t");
	AUTO(db_pool) pool = NULL;
	struct ctx cx = {.service = "test", .rid = STR("test")};
	enum err e;

	(void)snprintf(url, sizeof(url), "sqlite:///%s/deep/x.db", folder);
	conf.url = str_from(url);
	if (!store)
		return ERR_NOMEM;
	cx.deadline_ms = mono_ms() + 5000;
	e = db_pool_new(&conf, &pool);
	if (!e)
		e = db_migrate(pool, tables, COUNTOF(tables));
	if (!e)
		e = db_write(pool, &cx, emit, store);
	if (!e)
		e = db_read(pool, &cx, count, rows);
	return e;
}

static void every_allocation_of_a_session_may_fail(void **state)
{
	bool failed = true;
	int64_t rows = 0, written = 0;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		enum err e;

		assert_true(n < 1000);
		alloc_fault_arm(n);
		e = session(&rows);
		failed = alloc_fault_disarm();
		/* A failure is either met inside or told. */
		assert_true(e == OK || (failed && e == ERR_NOMEM) ||
		            (failed && e == ERR_DATABASE));
		/* What was written is there, what failed is not. */
		assert_int_equal(session(&rows), OK);
		assert_true(rows == written + 1 || rows == written + 2);
		written = rows;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define IN_FOLDER(name) \
	cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
		cmocka_unit_test(a_stem_becomes_a_file_per_service),
		cmocka_unit_test(an_address_of_neither_database_is_refused),
		cmocka_unit_test(
			statements_name_their_schema_on_postgresql_only),
		cmocka_unit_test(a_schema_name_cannot_carry_sql),
		IN_FOLDER(a_folder_has_one_whole_owner),
		IN_FOLDER(
			services_share_a_folder_with_others_not_with_themselves),
		cmocka_unit_test(a_folder_that_cannot_be_made_is_no_lock),
		IN_FOLDER(every_allocation_of_a_session_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
