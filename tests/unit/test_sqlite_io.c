/*
 * SQLite on a disk that fails: the k-th read, write, sync ... is an error, for
 * k = 1, 2, ..., once or from then on; and a process that is killed while it
 * commits.  What was acknowledged is there, what was refused is not, and the
 * file is whole.
 *
 * A VFS around the system's own does it, made the default for this program.
 */
#include "tests/unit/sqlite_fixture.h"

/* --- a disk that fails -------------------------------------------------------- */

enum op { READ, WRITE, FULL, SYNC, OPEN, MAP, OPS };
static const struct {
	const char *name;
	int code;
} ops[OPS] = {
	[READ] = {"read", SQLITE_IOERR_READ},
	[WRITE] = {"write", SQLITE_IOERR_WRITE},
	[FULL] = {"write to a full disk", SQLITE_FULL},
	[SYNC] = {"sync", SQLITE_IOERR_FSYNC},
	[OPEN] = {"open", SQLITE_CANTOPEN},
	[MAP] = {"shared memory", SQLITE_IOERR_SHMMAP},
};

static struct {
	_Atomic int op; /* OPS: none */
	_Atomic unsigned left, failed;
	_Atomic bool for_good;
} fault = {.op = OPS};

static void arm(enum op op, unsigned kth, bool for_good)
{
	atomic_store(&fault.failed, 0);
	atomic_store(&fault.left, kth);
	atomic_store(&fault.for_good, for_good);
	atomic_store(&fault.op, op);
}

/* How many operations failed. */
static unsigned disarm(void)
{
	atomic_store(&fault.op, OPS);
	return atomic_load(&fault.failed);
}

static bool fails(enum op op)
{
	unsigned left = atomic_load(&fault.left);

	if (atomic_load(&fault.op) != (int)op)
		return false;
	while (left > 0 &&
	       !atomic_compare_exchange_weak(&fault.left, &left, left - 1))
		continue;
	if (left > 1 || (left == 0 && !atomic_load(&fault.for_good)))
		return false;
	atomic_fetch_add(&fault.failed, 1);
	return true;
}

/* The system's file stands behind ours in one piece of memory. */
struct shim {
	sqlite3_file base;
	sqlite3_file *real;
};
#define REAL(f) (((struct shim *)(f))->real)

static int shim_close(sqlite3_file *f)
{
	return REAL(f)->pMethods->xClose(REAL(f));
}

static int shim_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return fails(READ) ? ops[READ].code
	                   : REAL(f)->pMethods->xRead(REAL(f), p, n, at);
}

static int shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	if (fails(FULL) || fails(WRITE)) {
		/* A part of it has reached the disk. */
		(void)REAL(f)->pMethods->xWrite(REAL(f), p, n / 2, at);
		return ops[atomic_load(&fault.op) == FULL ? FULL : WRITE].code;
	}
	return REAL(f)->pMethods->xWrite(REAL(f), p, n, at);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int shim_sync(sqlite3_file *f, int flags)
{
	return fails(SYNC) ? ops[SYNC].code
	                   : REAL(f)->pMethods->xSync(REAL(f), flags);
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return REAL(f)->pMethods->xFileSize(REAL(f), size);
}

static int shim_lock(sqlite3_file *f, int how)
{
	return REAL(f)->pMethods->xLock(REAL(f), how);
}

static int shim_unlock(sqlite3_file *f, int how)
{
	return REAL(f)->pMethods->xUnlock(REAL(f), how);
}

static int shim_reserved(sqlite3_file *f, int *out)
{
	return REAL(f)->pMethods->xCheckReservedLock(REAL(f), out);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
	return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}

static int shim_sector(sqlite3_file *f)
{
	return REAL(f)->pMethods->xSectorSize(REAL(f));
}

static int shim_device(sqlite3_file *f)
{
	return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}

static int shim_shm_map(sqlite3_file *f, int page, int size, int extend,
                        void volatile **out)
{
	return fails(MAP) ? ops[MAP].code
	                  : REAL(f)->pMethods->xShmMap(REAL(f), page, size,
	                                               extend, out);
}

static int shim_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
	return REAL(f)->pMethods->xShmLock(REAL(f), at, n, flags);
}

static void shim_shm_barrier(sqlite3_file *f)
{
	REAL(f)->pMethods->xShmBarrier(REAL(f));
}

static int shim_shm_unmap(sqlite3_file *f, int erase)
{
	return REAL(f)->pMethods->xShmUnmap(REAL(f), erase);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = shim_close,
	.xRead = shim_read,
	.xWrite = shim_write,
	.xTruncate = shim_truncate,
	.xSync = shim_sync,
	.xFileSize = shim_size,
	.xLock = shim_lock,
	.xUnlock = shim_unlock,
	.xCheckReservedLock = shim_reserved,
	.xFileControl = shim_control,
	.xSectorSize = shim_sector,
	.xDeviceCharacteristics = shim_device,
	.xShmMap = shim_shm_map,
	.xShmLock = shim_shm_lock,
	.xShmBarrier = shim_shm_barrier,
	.xShmUnmap = shim_shm_unmap,
};

static sqlite3_vfs *unix_vfs;
static sqlite3_vfs shim_vfs;

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f,
                     int flags, int *out_flags)
{
	struct shim *s = (struct shim *)f;
	int rc;

	(void)vfs;
	f->pMethods = NULL;
	if (fails(OPEN))
		return ops[OPEN].code;
	s->real = (sqlite3_file *)(s + 1);
	rc = unix_vfs->xOpen(unix_vfs, name, s->real, flags, out_flags);
	if (rc == SQLITE_OK)
		f->pMethods = &methods;
	return rc;
}

static void register_shim(void)
{
	unix_vfs = sqlite3_vfs_find(NULL);
	shim_vfs = *unix_vfs;
	shim_vfs.zName = "shim";
	shim_vfs.pNext = NULL;
	shim_vfs.szOsFile = (int)sizeof(struct shim) + unix_vfs->szOsFile;
	shim_vfs.xOpen = shim_open;
	if (sqlite3_vfs_register(&shim_vfs, 1))
		abort();
}

/* --- what a session was told ------------------------------------------------------ */

#define WRITES 8

struct session {
	struct db_pool *pool;
	_Atomic int64_t id;
	enum err got[WRITES + 2]; /* by id */
};

static void *write_some(void *arg)
{
	struct session *s = arg;
	int64_t id;

	while ((id = atomic_fetch_add(&s->id, 1)) <= WRITES)
		s->got[id] = add(s->pool, id, 5000);
	return NULL;
}

/* Opens, writes from two threads, reads; any step may fail. */
static void live(struct session *s)
{
	pthread_t t[2];
	int64_t n = 0;

	s->pool = open_pool();
	atomic_store(&s->id, 1);
	for (int64_t id = 1; id <= WRITES + 1; id++)
		s->got[id] = ERR_NOT_BUILT; /* not tried */
	if (make_table(s->pool, 5000) == OK) {
		for (size_t i = 0; i < COUNTOF(t); i++)
			assert_int_equal(
				pthread_create(&t[i], NULL, write_some, s), 0);
		for (size_t i = 0; i < COUNTOF(t); i++)
			assert_int_equal(pthread_join(t[i], NULL), 0);
	}
	if (ask(s->pool, &COUNT, 0, &n) == OK)
		assert_in_range(n, 0, WRITES);
}

/* With the disk well again: first in the same pool if there is one, then in a
 * new one. */
static void verify(struct session *s)
{
	if (!s->pool)
		s->pool = open_pool();
	assert_int_equal(make_table(s->pool, 20000), OK);
	s->got[WRITES + 1] = add(s->pool, WRITES + 1, 20000);
	assert_int_equal(s->got[WRITES + 1], OK);
	db_pool_free(s->pool);
	s->pool = open_pool();
	assert_int_equal(number(s->pool, &CHECK, 0), 1);
	for (int64_t id = 1; id <= WRITES + 1; id++) {
		int64_t there = number(s->pool, &HAS, id);

		if (s->got[id] != ERR_PEER_LOST) /* then nobody knows */
			assert_int_equal(there, s->got[id] == OK);
		assert_true(s->got[id] == OK || s->got[id] == ERR_DATABASE ||
		            s->got[id] == ERR_NOT_BUILT ||
		            s->got[id] == ERR_PEER_LOST);
	}
	db_pool_free(s->pool);
}

/* How many operations failed: none when there are fewer than k. */
static unsigned fail_at(enum op op, unsigned k, bool for_good, bool close)
{
	struct session s;
	unsigned failed;

	assert_int_equal(make_folder(NULL), 0);
	arm(op, k, for_good);
	live(&s);
	if (close) { /* which copies the WAL into the file */
		db_pool_free(s.pool);
		s.pool = NULL;
	}
	failed = disarm();
	verify(&s);
	assert_int_equal(remove_folder(NULL), 0);
	return failed;
}

static void every_operation_may_fail(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 4 * OPS; way++) {
		enum op op = (enum op)(way / 4);
		bool for_good = way & 1, close = way & 2;
		unsigned k = 1;

		while (fail_at(op, k, for_good, close) > 0)
			k++;
		print_message("%s%s%s: %u places\n", ops[op].name,
		              for_good ? ", from then on" : "",
		              close ? ", closing too" : "", k - 1);
		assert_true(k > 1);
	}
}

/* --- killed while it commits ------------------------------------------------------- */

struct child {
	struct db_pool *pool;
	_Atomic int64_t id;
};

static void *write_and_say(void *arg)
{
	struct child *c = arg;

	for (;;) {
		int64_t id = atomic_fetch_add(&c->id, 1);

		if (add(c->pool, id, 20000) != OK ||
		    write(1, &id, sizeof(id)) != sizeof(id))
			_exit(1);
	}
}

static int be_child(const char *file, const char *from)
{
	struct child c = {.id = strtoll(from, NULL, 10)};
	char at[100];
	pthread_t t;

	(void)snprintf(at, sizeof(at), "sqlite:///%s", file);
	if (open_pool_of(at, &c.pool))
		return 1;
	for (int i = 0; i < 8; i++) {
		if (pthread_create(&t, NULL, write_and_say, &c))
			return 1;
	}
	(void)pthread_join(t, NULL);
	return 1;
}

static void what_was_acknowledged_survives_kill_9(void **state)
{
	static int64_t said[100000];
	size_t n = 0;
	struct db_pool *p = open_pool();

	(void)state;
	assert_int_equal(make_table(p, 20000), OK);
	db_pool_free(p);
	for (int round = 0; round < 6; round++) {
		size_t enough = n + 50 + 37 * (size_t)round;
		char from[24];
		pid_t pid;
		int pipes[2];

		(void)snprintf(from, sizeof(from), "%d", 1 + round * 1000000);
		assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
		pid = again("write", from, pipes[1]);
		(void)close(pipes[1]);
		while (read(pipes[0], &said[n], sizeof(said[0])) ==
		       sizeof(said[0])) {
			if (++n == enough)
				assert_int_equal(kill(pid, SIGKILL), 0);
			assert_true(n < COUNTOF(said));
		}
		(void)close(pipes[0]);
		assert_int_equal(ended(pid), -1);
		assert_true(n >= enough);
	}
	p = open_pool();
	assert_int_equal(number(p, &CHECK, 0), 1);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(number(p, &HAS, said[i]), 1);
	db_pool_free(p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_may_fail),
		IN_FOLDER(what_was_acknowledged_survives_kill_9),
	};

	if (argc > 3 && strcmp(argv[1], "write") == 0)
		return be_child(argv[2], argv[3]);
	register_shim();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
