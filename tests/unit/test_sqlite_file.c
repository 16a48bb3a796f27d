/* SQLite when others use the file, or take it away (common/db/sqlite_file.c and
 * sqlite_writer.c). */
#include "tests/unit/sqlite_fixture.h"

#include <sys/resource.h>

/* --- other processes ------------------------------------------------------------ */

/* Opens the database, reads, closes: as a backup or a curious person does. */
static int visit(const char *file)
{
	sqlite3 *h = NULL;
	int rc = sqlite3_open(file, &h) ||
	         sqlite3_exec(h, "SELECT count(*) FROM t", NULL, NULL, NULL);

	return sqlite3_close(h) || rc;
}

/* Holds the write lock again and again: 300 ms of every 320, five times. */
static int lock_in_bursts(const char *file, const char *mark)
{
	sqlite3 *h = NULL;
	int rc = sqlite3_open(file, &h);

	(void)sqlite3_busy_timeout(h, 20000);
	for (int i = 0; i < 5 && !rc; i++) {
		rc = sqlite3_exec(h, "BEGIN IMMEDIATE", NULL, NULL, NULL);
		if (i == 0)
			(void)close(open(mark, O_CREAT | O_WRONLY, 0600));
		pause_ms(300);
		rc = rc || sqlite3_exec(h, "COMMIT", NULL, NULL, NULL);
		pause_ms(20);
	}
	return sqlite3_close(h) || rc;
}

static enum err hold_reader(struct db *db, void *arg)
{
	struct db_pool *p = arg;
	int64_t n = 0;
	enum err e = db_get_i64(db, &COUNT, NULL, 0, &n);

	/* A second connection, opened while the first is in use. */
	return e ? e : ask(p, &COUNT, 0, &n);
}

/*
 * A process that closes any descriptor of a file loses its locks on it.  Then
 * the visitor believes to be the last one, and removes the WAL under us.
 */
static void a_visitor_leaves_our_log_alone(void **state)
{
	struct db_pool *p = open_pool();
	struct ctx cx = context(20000);
	struct stat before, after;
	char wal[100];

	(void)state;
	(void)snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(make_table(p, 20000), OK);
	assert_int_equal(add(p, 1, 20000), OK);
	assert_int_equal(db_read(p, &cx, hold_reader, p), OK);
	assert_int_equal(stat(wal, &before), 0);
	assert_int_equal(ended(again("visit", "", -1)), 0);
	assert_int_equal(stat(wal, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(add(p, 2, 20000), OK);
	assert_int_equal(number(p, &COUNT, 0), 2);
	db_pool_free(p);
	p = open_pool();
	assert_int_equal(number(p, &COUNT, 0), 2);
	db_pool_free(p);
}

static uint64_t cpu_ms(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static void a_locked_file_is_waited_for_and_read(void **state)
{
	struct db_pool *p = open_pool();
	uint64_t before, cpu = cpu_ms();
	char mark[100];
	pid_t pid;

	(void)state;
	(void)snprintf(mark, sizeof(mark), "%s/locked", folder);
	assert_int_equal(make_table(p, 20000), OK);
	assert_int_equal(number(p, &COUNT, 0), 0);
	pid = again("lock", mark, -1);
	wait_file(mark);
	/* Who cannot wait leaves at its deadline. */
	before = mono_ms();
	assert_int_equal(add(p, 1, 100), ERR_DATABASE);
	assert_true(mono_ms() - before >= 100);
	assert_true(mono_ms() - before < 3000);
	assert_int_equal(number(p, &COUNT, 0), 0);
	/* Who can gets through between two bursts. */
	for (int64_t id = 2; id < 12; id++) {
		assert_int_equal(add(p, id, 20000), OK);
		assert_int_equal(number(p, &COUNT, 0), id - 1);
	}
	assert_int_equal(ended(pid), 0);
	assert_true(cpu_ms() - cpu < 1000);
	assert_int_equal(number(p, &HAS, 1), 0);
	db_pool_free(p);
}

/* --- a file that changes under us ------------------------------------------------- */

static char kept[1 << 20];
static size_t kept_n;

static void read_back(void)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, kept, sizeof(kept));

	assert_true(n > 0);
	kept_n = (size_t)n;
	(void)close(fd);
}

static void write_file(const char *at, const void *p, size_t n, int flags)
{
	int fd = open(at, O_WRONLY | O_CREAT | flags, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	(void)close(fd);
}

static void away(char out[100])
{
	(void)snprintf(out, 100, "%s.away", path);
}

static void move_away(void)
{
	char to[100];

	away(to);
	assert_int_equal(rename(path, to), 0);
}

static void move_back(void)
{
	char from[100];

	away(from);
	assert_int_equal(rename(from, path), 0);
}

static void replace_by_folder(void)
{
	move_away();
	assert_int_equal(mkdir(path, 0700), 0);
}

static void folder_back(void)
{
	assert_int_equal(rmdir(path), 0);
	move_back();
}

static void replace_by_garbage(void)
{
	move_away();
	write_file(path, folder, sizeof(folder), O_TRUNC);
}

static void overwrite(void)
{
	static const char garbage[8192] = "SQLite format 4, or what do I know";

	write_file(path, garbage, sizeof(garbage), 0);
}

static void cut(void)
{
	assert_int_equal(truncate(path, (off_t)(kept_n / 2)), 0);
}

static void empty(void)
{
	assert_int_equal(truncate(path, 0), 0);
}

static void mend(void)
{
	write_file(path, kept, kept_n, 0);
}

/* A reader may go on for a moment with what it has in memory. */
static void wait_unreadable(struct db_pool *p)
{
	uint64_t end = mono_ms() + 5000;
	int64_t n = 0;

	while (ask(p, &COUNT, 0, &n) != ERR_DATABASE) {
		assert_true(mono_ms() < end);
		pause_ms(5);
	}
}

static void a_file_that_changed_is_told_and_may_come_back(void **state)
{
	static const struct {
		void (*hurt)(void);
		void (*heal)(void);
	} cases[] = {
		{move_away, move_back},
		{replace_by_folder, folder_back},
		{replace_by_garbage, move_back},
		{overwrite, mend},
		{cut, mend},
		{empty, mend},
	};
	struct db_pool *p = open_pool();
	int64_t rows = 0;

	(void)state;
	assert_int_equal(make_table(p, 20000), OK);
	while (rows < 200)
		assert_int_equal(add(p, ++rows, 20000), OK);
	/* So that there is something in the file, not only in the WAL. */
	db_pool_free(p);
	p = open_pool();
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct db_pool_stats s;
		struct stat st;

		assert_int_equal(add(p, ++rows, 20000), OK);
		assert_int_equal(number(p, &COUNT, 0), rows);
		read_back();
		cases[i].hurt();
		assert_int_equal(add(p, 9999, 2000), ERR_DATABASE);
		assert_int_equal(db_pool_ping(p, mono_ms() + 2000),
		                 ERR_DATABASE);
		wait_unreadable(p);
		db_pool_stats(p, &s);
		assert_false(s.usable);
		/* It is not made again. */
		if (cases[i].hurt == move_away)
			assert_int_equal(stat(path, &st), -1);
		cases[i].heal();
		assert_int_equal(db_pool_ping(p, mono_ms() + 2000), OK);
		assert_int_equal(add(p, ++rows, 20000), OK);
		assert_int_equal(number(p, &COUNT, 0), rows);
		assert_int_equal(number(p, &HAS, 9999), 0);
		assert_int_equal(number(p, &CHECK, 0), 1);
	}
	db_pool_free(p);
	p = open_pool();
	assert_int_equal(number(p, &COUNT, 0), rows);
	assert_int_equal(number(p, &CHECK, 0), 1);
	db_pool_free(p);
}

static enum err move_in_the_middle(struct db *db, void *arg)
{
	enum err e = insert(db, arg);

	move_away();
	return e;
}

static void a_write_to_a_file_without_a_name_is_not_acknowledged(void **state)
{
	struct db_pool *p = open_pool();
	struct ctx cx = context(20000);
	int64_t id = 7;

	(void)state;
	assert_int_equal(make_table(p, 20000), OK);
	assert_int_equal(db_write(p, &cx, move_in_the_middle, &id),
	                 ERR_PEER_LOST);
	move_back();
	assert_int_equal(add(p, 8, 20000), OK);
	assert_int_equal(number(p, &HAS, 8), 1);
	db_pool_free(p);
}

/* --- a group of writes -------------------------------------------------------------- */

static _Atomic int64_t next_id;
static _Atomic bool enough;

static void *write_on_and_on(void *arg)
{
	uint64_t written = 0;

	while (!atomic_load(&enough)) {
		if (add(arg, atomic_fetch_add(&next_id, 1), 20000))
			return NULL;
		written++;
	}
	return written ? arg : NULL;
}

static enum err take_long(struct db *db, void *arg)
{
	pause_ms(100);
	return insert(db, arg);
}

static void a_long_write_and_short_ones_let_each_other_through(void **state)
{
	struct db_pool *p = open_pool();
	struct db_pool_stats s;
	pthread_t t[8];
	void *wrote = NULL;
	int64_t shorts;

	(void)state;
	atomic_store(&next_id, 1000);
	atomic_store(&enough, false);
	assert_int_equal(make_table(p, 20000), OK);
	for (size_t i = 0; i < COUNTOF(t); i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, write_on_and_on, p), 0);
	for (int64_t id = 1; id <= 5; id++) {
		struct ctx cx = context(5000);

		assert_int_equal(db_write(p, &cx, take_long, &id), OK);
	}
	atomic_store(&enough, true);
	for (size_t i = 0; i < COUNTOF(t); i++) {
		assert_int_equal(pthread_join(t[i], &wrote), 0);
		assert_ptr_equal(wrote, p);
	}
	db_pool_stats(p, &s);
	shorts = atomic_load(&next_id) - 1000;
	/* Each of the eight got through with or between the long ones. */
	assert_true(shorts >= (int64_t)COUNTOF(t));
	assert_int_equal(number(p, &COUNT, 0), shorts + 5);
	assert_int_equal(s.committed, shorts + 5 + 1);
	assert_true(s.commits < s.committed);
	db_pool_free(p);
}

static void an_old_writer_is_replaced_too(void **state)
{
	struct db_conf conf = {.service = "test",
	                       .url = str_from(url),
	                       .size = 1,
	                       .timeout_s = 5};
	struct db_pool_stats s;
	struct db_pool *p = NULL;

	(void)state;
	assert_int_equal(db_pool_new(&conf, &p), OK);
	assert_int_equal(make_table(p, 20000), OK);
	for (int64_t id = 1; id <= 3; id++)
		assert_int_equal(add(p, id, 20000), OK);
	db_pool_stats(p, &s);
	assert_int_equal(s.recycled, 3);
	assert_int_equal(number(p, &COUNT, 0), 3);
	db_pool_free(p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		IN_FOLDER(a_visitor_leaves_our_log_alone),
		IN_FOLDER(a_locked_file_is_waited_for_and_read),
		IN_FOLDER(a_file_that_changed_is_told_and_may_come_back),
		IN_FOLDER(a_write_to_a_file_without_a_name_is_not_acknowledged),
		IN_FOLDER(a_long_write_and_short_ones_let_each_other_through),
		IN_FOLDER(an_old_writer_is_replaced_too),
	};

	if (argc > 2 && strcmp(argv[1], "visit") == 0)
		return visit(argv[2]);
	if (argc > 3 && strcmp(argv[1], "lock") == 0)
		return lock_in_bursts(argv[2], argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
