/*
 * db - what a read by key costs when several are asked for at once: db_read() of
 * one statement, a thread each, beside the same put off and asked together, as
 * the few threads of a service do it (LANE_READ); in turns, over one pool.
 *
 *     KAE_TEST_DATABASE_URL=postgresql://... db [reads at once...]
 *
 * A ratio is the median of the ratios inside each round.
 */
#include "common/db/db.h"
#include "common/base/clock.h"
#include "common/base/ctx.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ROWS        10000
#define ROUNDS      7
#define ROUND_MS    1000
#define THREADS_MAX 64
#define LANE        4 /* threads that ask together */

static const struct db_stmt CREATE = {
	"bench.create", "CREATE TABLE bench_t (id INTEGER PRIMARY KEY, s TEXT)",
	"CREATE TABLE IF NOT EXISTS public.bench_t (id bigint PRIMARY KEY, "
	"s text)"};
static const struct db_stmt EMPTY = {"bench.empty", "DELETE FROM bench_t",
                                     "TRUNCATE public.bench_t"};
static const struct db_stmt FILL = {
	"bench.fill",
	"INSERT INTO bench_t (id, s) WITH RECURSIVE c(i) AS (SELECT 1 UNION "
	"ALL SELECT i + 1 FROM c WHERE i < $1) SELECT i, 'a row of some "
	"hundred bytes, as a person or a key is, number ' || i FROM c",
	"INSERT INTO public.bench_t (id, s) SELECT i, 'a row of some "
	"hundred bytes, as a person or a key is, number ' || i "
	"FROM generate_series(1, $1) i"};
static const struct db_stmt FIND = {
	"bench.find", "SELECT s FROM bench_t WHERE id = $1",
	"SELECT s FROM public.bench_t WHERE id = $1"};

struct run {
	struct db_pool *pool;
	unsigned together; /* reads of a thread; 0: db_read() */
	_Atomic bool end;
	_Atomic uint64_t done, wrong;
	_Atomic unsigned seed;
};

static enum err fill(struct db *db, void *arg)
{
	const struct db_val v = DB_I64(ROWS);
	enum err e = db_run(db, &CREATE, NULL, 0, NULL);

	(void)arg;
	if (!e)
		e = db_run(db, &EMPTY, NULL, 0, NULL);
	return e ? e : db_run(db, &FILL, &v, 1, NULL);
}

struct look {
	struct db_val id;
	size_t bytes;
};

static enum err take(void *arg, const struct db_row *row)
{
	struct look *l = arg;

	l->bytes = db_row_str(row, 0).n;
	return OK;
}

static enum err find(struct db *db, void *arg)
{
	struct look *l = arg;
	const struct db_sink sink = {take, l};

	return db_run(db, &FIND, &l->id, 1, &sink);
}

/* One request. */
struct asked {
	struct db_deferred d; /* first */
	struct db_pool *pool;
	struct ctx cx;
	struct look l;
	enum err e;
};

static void handler(struct asked *a)
{
	a->l.bytes = 0;
	a->e = db_read_one(a->pool, &a->cx, find, &a->l);
}

static void on_answer(struct db_deferred *d)
{
	handler((struct asked *)(void *)d);
}

static struct ctx new_cx(struct arena *arena)
{
	return (struct ctx){.service = "bench",
	                    .rid = STR("bench"),
	                    .arena = arena,
	                    .deadline_ms = mono_ms() + 10000};
}

static struct db_val some_id(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return DB_I64(1 + (int64_t)((*x >> 33) % ROWS));
}

static uint64_t ask_together(struct run *r, struct arena *arena, uint64_t *x)
{
	struct asked all[THREADS_MAX];
	struct db_deferred *d[THREADS_MAX];
	uint64_t wrong = 0;
	unsigned n = 0;

	arena_reset(arena);
	for (unsigned i = 0; i < r->together; i++) {
		struct asked *a = &all[i];

		*a = (struct asked){.d = {.done = on_answer},
		                    .pool = r->pool,
		                    .cx = new_cx(arena),
		                    .l = {.id = some_id(x)}};
		a->cx.deferred = &a->d;
		handler(a);
		if (db_deferred_asked(&a->d))
			d[n++] = &a->d;
	}
	db_ask_deferred(d, n);
	for (unsigned i = 0; i < r->together; i++)
		wrong += all[i].e || all[i].l.bytes < 50;
	return wrong;
}

static uint64_t read_one(struct run *r, uint64_t *x)
{
	struct ctx cx = new_cx(NULL);
	struct look l = {.id = some_id(x)};

	return db_read(r->pool, &cx, find, &l) || l.bytes < 50;
}

static void *reader(void *arg)
{
	struct run *r = arg;
	uint64_t x = atomic_fetch_add(&r->seed, 1) + 1, done = 0, wrong = 0;
	AUTO(arena) arena = arena_new(1 << 20);

	while (!atomic_load_explicit(&r->end, memory_order_relaxed)) {
		wrong += r->together ? ask_together(r, arena, &x)
		                     : read_one(r, &x);
		done += r->together ? r->together : 1;
	}
	atomic_fetch_add(&r->done, done);
	atomic_fetch_add(&r->wrong, wrong);
	return NULL;
}

/* Reads per second, n of them at once. */
static double round_of(struct db_pool *pool, unsigned n, bool together)
{
	const unsigned threads = together && n > LANE ? LANE : n;
	struct run r = {.pool = pool, .together = together ? n / threads : 0};
	const struct timespec t = {ROUND_MS / 1000, ROUND_MS % 1000 * 1000000L};
	pthread_t th[THREADS_MAX];
	uint64_t before = mono_us();

	for (unsigned i = 0; i < threads; i++) {
		if (pthread_create(&th[i], NULL, reader, &r))
			exit(1);
	}
	(void)nanosleep(&t, NULL);
	atomic_store(&r.end, true);
	for (unsigned i = 0; i < threads; i++)
		(void)pthread_join(th[i], NULL);
	if (r.wrong) {
		(void)fprintf(stderr, "%llu reads failed\n",
		              (unsigned long long)r.wrong);
		exit(1);
	}
	return (double)r.done * 1e6 / (double)(mono_us() - before);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* KAE_BENCH_ROUNDS: fewer, for who takes turns with a peer. */
static unsigned rounds_asked(void)
{
	const char *text = getenv("KAE_BENCH_ROUNDS");
	unsigned long n = text ? strtoul(text, NULL, 10) : ROUNDS;

	return n < 1 || n > ROUNDS ? ROUNDS : (unsigned)n;
}

static void measure(struct db_pool *pool, unsigned n)
{
	const unsigned rounds = rounds_asked();
	double one[ROUNDS], both[ROUNDS], ratio[ROUNDS];
	struct db_pool_stats before, after;

	db_pool_stats(pool, &before);
	for (unsigned i = 0; i < rounds; i++) {
		one[i] = round_of(pool, n, false);
		both[i] = round_of(pool, n, true);
		ratio[i] = both[i] / one[i];
	}
	db_pool_stats(pool, &after);
	qsort(one, rounds, sizeof(one[0]), by_size);
	qsort(both, rounds, sizeof(both[0]), by_size);
	qsort(ratio, rounds, sizeof(ratio[0]), by_size);
	(void)printf("%2u at once: db_read %.1fk/s, together %.1fk/s, ratio "
	             "%.2f [%.2f to %.2f], %.1f reads a pipeline\n",
	             n, one[rounds / 2] / 1e3, both[rounds / 2] / 1e3,
	             ratio[rounds / 2], ratio[0], ratio[rounds - 1],
	             after.batches > before.batches
	                     ? (double)(after.asked - before.asked) /
	                               (double)(after.batches - before.batches)
	                     : 0);
}

/* The files of a database in a folder of its own. */
static void remove_all(const char *dir)
{
	static const char *const ends[] = {"", "-wal", "-shm"};

	for (size_t i = 0; i < COUNTOF(ends); i++) {
		char file[80];

		(void)snprintf(file, sizeof(file), "%s/b.db%s", dir, ends[i]);
		(void)unlink(file);
	}
	(void)rmdir(dir);
}

static enum err measure_all(const struct db_conf *conf, int argc, char **argv)
{
	static const unsigned counts[] = {1, 4, 8, 32};
	struct ctx cx = {.service = "bench",
	                 .rid = STR("bench"),
	                 .deadline_ms = mono_ms() + 60000};
	AUTO(db_pool) pool = NULL;
	enum err e = db_pool_new(conf, &pool);

	if (!e)
		e = db_write(pool, &cx, fill, NULL);
	for (int i = 1; i < argc && !e; i++) {
		unsigned long n = strtoul(argv[i], NULL, 10);

		measure(pool, n < 1             ? 1
		              : n > THREADS_MAX ? THREADS_MAX
		                                : (unsigned)n);
	}
	for (size_t i = 0; i < COUNTOF(counts) && argc < 2 && !e; i++)
		measure(pool, counts[i]);
	return e;
}

int main(int argc, char **argv)
{
	const char *url = getenv("KAE_TEST_DATABASE_URL");
	bool own = !url || !*url;
	char dir[] = "/tmp/kae-bench-XXXXXX", path[80];
	struct db_conf conf = {.service = "bench",
	                       .size = 10,
	                       .max_overflow = 20,
	                       .timeout_s = 30,
	                       .recycle_s = 3600,
	                       .pre_ping = true,
	                       .prepare = true};
	enum err e;

	if (own && !mkdtemp(dir))
		return 1;
	(void)snprintf(path, sizeof(path), "sqlite:///%s/b.db", dir);
	conf.url = str_from(own ? path : url);
	(void)printf("%s\n", own ? "SQLite" : "PostgreSQL");
	e = measure_all(&conf, argc, argv);
	if (own)
		remove_all(dir);
	if (e)
		(void)fprintf(stderr, "db: %s\n", err_name(e));
	return e != OK;
}
