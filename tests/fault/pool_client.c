/*
 * pool_client - a pool with the settings of the environment, and a load on it
 * that a fault test steers over stdin.
 *
 *     once read 2000          one operation, with that deadline in ms
 *     once hold 2000 500      ... and a number for it
 *     start write 8 2000      eight threads, until:
 *     stop
 *     stats
 *
 * Each line is answered by one JSON object with "answer" in it; log lines have
 * none.  A write puts its number into public.ledger and adds one to
 * public.counter, so that who reads both knows what was done once, twice or
 * not at all.  Numbers are given once and in order: all that "failed" does not
 * name were acknowledged.
 */
#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/log.h"
#include "common/db/db.h"
#include "common/service/wiring.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 64
#define PAUSE_US    2000 /* after a failure, as a client would wait */

struct outcome {
	int64_t id;
	enum err e;
	uint64_t ms;
};

struct op;
struct load {
	struct db_pool *pool;
	const struct op *op;
	uint64_t deadline_ms; /* as a length */
	int64_t number;       /* a write's own, or what the command says */
};

struct op {
	const char *name;
	enum err (*run)(struct load *l, struct ctx *cx);
};

/* All threads of one load share it. */
struct crowd {
	struct load load;
	pthread_t threads[THREADS_MAX];
	unsigned n;
	_Atomic bool stop;
	pthread_mutex_t lock; /* below */
	struct outcome *failed;
	size_t failed_n, failed_max;
	uint64_t ops, longest_ms;
	int64_t first;
};

static _Atomic int64_t next_number = 1;

/* --- operations --------------------------------------------------------------- */

static const struct db_stmt READ = {"fault.read",
                                    "SELECT n FROM public.counter", NULL};
static const struct db_stmt BUMP = {"fault.bump",
                                    "UPDATE public.counter SET n = n + 1",
                                    NULL};
static const struct db_stmt RECORD = {
	"fault.record", "INSERT INTO public.ledger (id) VALUES ($1)", NULL};
static const struct db_stmt HOLD = {"fault.hold",
                                    "SELECT 1 FROM pg_sleep($1::float8 / 1000)",
                                    NULL};
static const struct db_stmt FILL = {"fault.fill",
                                    "INSERT INTO public.big (b) VALUES ($1)",
                                    NULL};

static enum err read_counter(struct db *db, void *arg)
{
	int64_t n = 0;

	(void)arg;
	return db_get_i64(db, &READ, NULL, 0, &n);
}

static enum err record(struct db *db, void *arg)
{
	const struct db_val id = DB_I64(*(int64_t *)arg);
	int64_t changed = 0;
	enum err e = db_run(db, &RECORD, &id, 1, NULL);

	return e ? e : db_change(db, &BUMP, NULL, 0, &changed);
}

static enum err hold(struct db *db, void *arg)
{
	const struct db_val ms = DB_F64((double)*(int64_t *)arg);
	int64_t one = 0;

	return db_get_i64(db, &HOLD, &ms, 1, &one);
}

static enum err fill(struct db *db, void *arg)
{
	size_t n = (size_t) * (int64_t *)arg;
	char *bytes = malloc(n + 1);
	struct db_val v;
	enum err e;

	if (!bytes)
		return ERR_NOMEM;
	randombytes_buf(bytes, n); /* so that nothing is compressed */
	v = DB_BLOB(((struct str){bytes, n}));
	e = db_run(db, &FILL, &v, 1, NULL);
	free(bytes);
	return e;
}

static enum err run_read(struct load *l, struct ctx *cx)
{
	return db_read(l->pool, cx, read_counter, NULL);
}

static enum err run_write(struct load *l, struct ctx *cx)
{
	l->number = atomic_fetch_add(&next_number, 1);
	return db_write(l->pool, cx, record, &l->number);
}

/* As one of a pipeline. */
static enum err run_ask(struct load *l, struct ctx *cx)
{
	return db_read_one(l->pool, cx, read_counter, NULL);
}

static enum err run_hold(struct load *l, struct ctx *cx)
{
	return db_read(l->pool, cx, hold, &l->number);
}

static enum err run_fill(struct load *l, struct ctx *cx)
{
	return db_write(l->pool, cx, fill, &l->number);
}

static enum err run_ping(struct load *l, struct ctx *cx)
{
	return db_pool_ping(l->pool, cx->deadline_ms);
}

static const struct op ops[] = {
	{"read", run_read}, {"write", run_write}, {"hold", run_hold},
	{"fill", run_fill}, {"ping", run_ping},   {"ask", run_ask},
};

static const struct op *op_named(struct str name)
{
	for (size_t i = 0; i < COUNTOF(ops); i++)
		if (str_eq(name, str_from(ops[i].name)))
			return &ops[i];
	return NULL;
}

static struct outcome run_one(struct load *l)
{
	uint64_t before = mono_ms();
	struct ctx cx = {.service = "content",
	                 .rid = STR("fault"),
	                 .ip = STR("127.0.0.1"),
	                 .deadline_ms = before + l->deadline_ms};
	struct outcome o = {.e = l->op->run(l, &cx)};

	o.ms = mono_ms() - before;
	o.id = l->number;
	return o;
}

/* --- a load ------------------------------------------------------------------- */

static void keep(struct crowd *c, const struct outcome *o)
{
	pthread_mutex_lock(&c->lock);
	c->ops++;
	if (o->ms > c->longest_ms)
		c->longest_ms = o->ms;
	if (o->e && c->failed_n == c->failed_max) {
		c->failed_max = c->failed_max ? c->failed_max * 2 : 64;
		c->failed =
			realloc(c->failed, c->failed_max * sizeof(*c->failed));
		assert(c->failed);
	}
	if (o->e)
		c->failed[c->failed_n++] = *o;
	pthread_mutex_unlock(&c->lock);
}

/* At least once, however soon the stop comes. */
static void *worker(void *arg)
{
	struct crowd *c = arg;
	struct load mine = c->load;

	do {
		struct outcome o = run_one(&mine);

		keep(c, &o);
		if (o.e)
			(void)usleep(PAUSE_US);
	} while (!atomic_load(&c->stop));
	return NULL;
}

static void start(struct crowd *c, unsigned threads)
{
	c->first = atomic_load(&next_number);
	c->ops = c->longest_ms = 0;
	c->failed_n = 0;
	atomic_store(&c->stop, false);
	for (c->n = 0; c->n < threads && c->n < THREADS_MAX; c->n++)
		if (pthread_create(&c->threads[c->n], NULL, worker, c))
			break;
	(void)printf("{\"answer\":\"start\",\"threads\":%u}\n", c->n);
}

static void stop(struct crowd *c)
{
	atomic_store(&c->stop, true);
	for (unsigned i = 0; i < c->n; i++)
		(void)pthread_join(c->threads[i], NULL);
	c->n = 0;
	(void)printf("{\"answer\":\"stop\",\"ops\":%" PRIu64
	             ",\"longest_ms\":%" PRIu64 ",\"first\":%" PRId64
	             ",\"last\":%" PRId64 ",\"failed\":[",
	             c->ops, c->longest_ms, c->first,
	             atomic_load(&next_number) - 1);
	for (size_t i = 0; i < c->failed_n; i++)
		(void)printf("%s[%" PRId64 ",\"%s\",%" PRIu64 "]", i ? "," : "",
		             c->failed[i].id, err_name(c->failed[i].e),
		             c->failed[i].ms);
	(void)printf("]}\n");
}

/* --- commands ------------------------------------------------------------------- */

static void stats(const struct db_pool *p)
{
	struct db_pool_stats s;

	db_pool_stats(p, &s);
	(void)printf("{\"answer\":\"stats\",\"size\":%u,\"ceiling\":%u,"
	             "\"in_use\":%u,\"overflow\":%u,\"waiters\":%u,"
	             "\"opened\":%" PRIu64 ",\"recycled\":%" PRIu64
	             ",\"failed_pings\":%" PRIu64 ",\"timeouts\":%" PRIu64
	             ",\"conflicts\":%" PRIu64 ",\"borrows\":%" PRIu64
	             ",\"usable\":%s}\n",
	             s.size, s.ceiling, s.in_use, s.overflow, s.waiters,
	             s.opened, s.recycled, s.failed_pings, s.timeouts,
	             s.conflicts, s.borrows, s.usable ? "true" : "false");
}

static int64_t number(struct str *rest)
{
	int64_t n = 0;

	return str_to_i64(str_cut(rest, ' '), &n) ? n : 0;
}

static void obey(struct crowd *c, struct str line)
{
	struct str what = str_cut(&line, ' ');
	int64_t threads;

	if (str_eq(what, STR("stats"))) {
		stats(c->load.pool);
		return;
	}
	if (str_eq(what, STR("stop"))) {
		stop(c);
		return;
	}
	c->load.op = op_named(str_cut(&line, ' '));
	assert(c->load.op && c->n == 0);
	threads = str_eq(what, STR("start")) ? number(&line) : 0;
	c->load.deadline_ms = (uint64_t)number(&line);
	c->load.number = number(&line);
	if (threads > 0) {
		start(c, (unsigned)threads);
	} else {
		struct outcome o = run_one(&c->load);

		(void)printf("{\"answer\":\"once\",\"error\":\"%s\","
		             "\"ms\":%" PRIu64 ",\"id\":%" PRId64 "}\n",
		             err_name(o.e), o.ms, o.id);
	}
}

int main(void)
{
	struct crowd c = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct settings conf;
	struct db_conf db;
	char line[256];

	if (sodium_init() < 0 || !conf_load(&conf, FOR_CONTENT, stderr))
		return 2;
	wiring_db_conf(&conf, PEER_CONTENT, conf.database_url, &db);
	if (db_pool_new(&db, &c.load.pool))
		return 2;
	(void)printf("{\"answer\":\"ready\"}\n");
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		obey(&c, str_from(line));
		(void)fflush(stdout);
	}
	if (c.n)
		stop(&c);
	free(c.failed);
	db_pool_free(c.load.pool);
	conf_fini(&conf);
	return 0;
}
