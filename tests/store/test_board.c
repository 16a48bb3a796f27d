/*
 * The leaderboard under many awards at once, on the database that
 * KAE_TEST_DATABASE_URL names or on SQLite: nobody waits for a bucket, and what is
 * read is right whether moves are counted in the buckets yet or not.
 */
#include "svc-gdpr/apply.h"
#include "svc-gdpr/board.h"

#include "common/base/uuid.h"
#include "common/codec/mp.h"
#include "tests/store/gdpr_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define NOON INT64_C(1767268800000) /* 2026-01-01T12:00:00Z */

/* --- small helpers ----------------------------------------------------------- */

enum when { FOLDS = '0', WAITS = '1' }; /* the last digit of an event's id */

struct act {
	char sub[16];
	int64_t at;
	enum when when;
	db_fn *then; /* in the same transaction, or NULL */
};

static enum err apply(struct db *db, const struct act *a, const char *source,
                      const char *type, struct str body)
{
	struct event ev = {.source = str_from(source),
	                   .sub = str_from(a->sub),
	                   .type = str_from(type),
	                   .body = body,
	                   .seq = 1,
	                   .at = a->at};
	const struct event *const due[] = {&ev};
	enum err e;

	(void)uuid7(ev.id);
	ev.id[UUID_MAX - 2] = (char)a->when;
	e = gdpr_apply(NULL, db, &ev);
	return e ? e : gdpr_apply_last(NULL, db, due, COUNTOF(due));
}

/* A db_fn: a quiz, and then what else is to happen. */
static enum err award_fn(struct db *db, void *arg)
{
	struct act *a = arg;
	AUTO_BUF b = {0};
	enum err e;

	mp_map(&b, 4);
	mp_kv_i64(&b, "score", 95);
	mp_kv_i64(&b, "total", 100);
	mp_kv_bool(&b, "earns", true);
	mp_kv_i64(&b, "at", a->at);
	MUST(!b.failed);
	e = apply(db, a, "content", "quiz.submitted", buf_view(&b));
	return !e && a->then ? a->then(db, a) : e;
}

static enum err join_fn(struct db *db, void *arg)
{
	const struct act *a = arg;
	AUTO_BUF b = {0};

	mp_map(&b, 2);
	mp_kv_text(&b, "hnd", a->sub);
	mp_kv_i64(&b, "at", a->at);
	MUST(!b.failed);
	return apply(db, a, "auth", "user.registered", buf_view(&b));
}

/* Learners' names sort as their numbers do. */
static struct act of(unsigned who, int64_t at, enum when when)
{
	struct act a = {.at = at, .when = when};

	(void)snprintf(a.sub, sizeof(a.sub), "p%03u", who);
	return a;
}

static enum err quiz(unsigned who, int64_t at, enum when when)
{
	struct act a = of(who, at, when);

	return fixture_write(award_fn, &a);
}

static void join(unsigned who)
{
	struct act a = of(who, NOON, WAITS);

	MUST(fixture_write(join_fn, &a) == OK);
}

enum number {
	MOVES,
	TAKEN,
	COUNTED,
	BUCKETS,
	WRITER_0,
	WRITER_1,
	WAITING,
};
static const struct db_stmt numbers[] = {
	[MOVES] = {"test.moves", "SELECT COUNT(*) FROM rank_move",
                   "SELECT COUNT(*) FROM gdpr.rank_move"},
	[TAKEN] = {"test.taken",
                   "SELECT COUNT(*) FROM rank_move WHERE taken <> 0",
                   "SELECT COUNT(*) FROM gdpr.rank_move WHERE taken <> 0"},
	[COUNTED] = {"test.counted",
                     "SELECT COALESCE(SUM(people), 0) FROM rank_bucket "
                     "WHERE level = 3",
                     "SELECT COALESCE(SUM(people), 0) FROM gdpr.rank_bucket "
                     "WHERE level = 3"},
	[BUCKETS] = {"test.buckets", "SELECT COUNT(*) FROM rank_bucket",
                     "SELECT COUNT(*) FROM gdpr.rank_bucket"},
	/* Which transaction has written the one bucket of a level. */
	[WRITER_0] = {"test.writer_0", NULL,
                      "SELECT xmin::text::bigint FROM gdpr.rank_bucket "
                      "WHERE level = 0"},
	[WRITER_1] = {"test.writer_1", NULL,
                      "SELECT xmin::text::bigint FROM gdpr.rank_bucket "
                      "WHERE level = 1"},
	[WAITING] = {"test.waiting", NULL,
                     "SELECT COUNT(*) FROM pg_catalog.pg_locks WHERE NOT "
                     "granted AND relation = 'gdpr.rank_bucket'::regclass"},
};

static int64_t number(enum number which)
{
	return store_i64(fixture.pool, &numbers[which]);
}

struct look {
	unsigned who;
	int64_t rank, broken;
};

static enum err look_fn(struct db *db, void *arg)
{
	struct look *l = arg;
	struct act a = of(l->who, NOON, WAITS);
	struct person p;
	enum err e =
		board_rank(db, str_from(a.sub), (struct str){0}, &p, &l->rank);

	return e ? e : person_check(db, &l->broken);
}

/* The rank; demands the proof of all buckets. */
static int64_t rank_of(unsigned who)
{
	struct look l = {.who = who};

	MUST(fixture_read(look_fn, &l) == OK);
	MUST(l.broken == 0);
	return l.rank;
}

/* --- moves and buckets --------------------------------------------------------- */

static void a_move_is_in_the_rank_before_it_is_counted(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		join(i);
		assert_int_equal(quiz(i, NOON, WAITS), OK);
	}
	assert_int_equal(quiz(3, NOON, WAITS), OK);
	assert_int_equal(number(MOVES), 4);
	assert_int_equal(number(COUNTED), 0);
	assert_int_equal(rank_of(3), 1);
	assert_int_equal(rank_of(1), 2);
	assert_int_equal(rank_of(2), 3);
}

static void a_fold_counts_all_moves_once(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		join(i);
		assert_int_equal(quiz(i, NOON, WAITS), OK);
	}
	for (int64_t folds = 1; folds <= 2; folds++) {
		assert_int_equal(quiz(2, NOON, FOLDS), OK);
		assert_int_equal(number(MOVES), 0);
		assert_int_equal(number(COUNTED), 3);
		assert_int_equal(rank_of(2), 1);
		assert_int_equal(rank_of(1), 2);
		assert_int_equal(rank_of(3), 3);
	}
}

static enum err fail_fn(struct db *db, void *arg)
{
	(void)db;
	(void)arg;
	return ERR_CONFLICT;
}

static void what_a_fold_that_is_rolled_back_took_stays(void **state)
{
	struct act a = of(1, NOON, FOLDS);

	(void)state;
	a.then = fail_fn;
	join(1);
	assert_int_equal(quiz(1, NOON, WAITS), OK);
	assert_int_not_equal(fixture_write(award_fn, &a), OK);
	assert_int_equal(number(MOVES), 1);
	assert_int_equal(number(TAKEN), 0);
	assert_int_equal(rank_of(1), 1);
	assert_int_equal(quiz(1, NOON, FOLDS), OK);
	assert_int_equal(number(MOVES), 0);
	assert_int_equal(rank_of(1), 1);
}

static enum err erase_fn(struct db *db, void *arg)
{
	int64_t rows = 0;

	return person_delete(db, str_from((const char *)arg), &rows);
}

static void who_is_erased_is_in_no_bucket_and_no_move(void **state)
{
	struct act a = of(1, NOON, WAITS);

	(void)state;
	join(1);
	assert_int_equal(quiz(1, NOON, FOLDS), OK);
	assert_int_equal(quiz(1, NOON, WAITS), OK);
	assert_int_equal(fixture_write(erase_fn, a.sub), OK);
	assert_int_equal(number(MOVES), 0);
	assert_int_equal(number(COUNTED), 0);
}

static void a_level_where_nobody_moves_is_not_written(void **state)
{
	int64_t before_0, before_1;

	(void)state;
	join(1);
	assert_int_equal(quiz(1, NOON, FOLDS), OK);
	before_0 = number(WRITER_0);
	before_1 = number(WRITER_1);
	assert_int_equal(quiz(1, NOON, FOLDS), OK); /* 380 of 512 */
	assert_int_equal(number(WRITER_0), before_0);
	assert_int_not_equal(number(WRITER_1), before_1);
	assert_int_equal(rank_of(1), 1);
}

/* --- where levels meet ------------------------------------------------------------ */

#define MINUTE INT64_C(60000)

static const int64_t xps[] = {
	1,
	31,
	32,
	33,
	511,
	512,
	513,
	16383,
	16384,
	16385,
	40000,
	((int64_t)1 << 37) - 1,
	(int64_t)1 << 40, /* ranks as the one before */
};
static const int64_t ats[] = {
	0,
	NOON,
	NOON + 1,
	NOON + MINUTE,
	NOON + 2048 * MINUTE,
	NOON + 32768 * MINUTE,
	((int64_t)1 << 26) * MINUTE, /* of the last minute that there is */
	((int64_t)1 << 40) * MINUTE,
};
#define TWINS (COUNTOF(xps) * COUNTOF(ats))

struct twin {
	char name[8];
	int64_t xp, at, key;
};

static struct twin twin(size_t i)
{
	struct twin t = {.xp = xps[i / COUNTOF(ats)],
	                 .at = ats[i % COUNTOF(ats)]};

	t.key = board_key(t.xp, t.at);
	(void)snprintf(t.name, sizeof(t.name), "m%03u", (unsigned)i);
	return t;
}

/* Two people with these XP: one on the board, and n..., whose handle is not known
 * yet. */
static enum err add_twins(struct db *db, void *arg)
{
#define ADD_PEOPLE(t)                                                    \
	"INSERT INTO " t "person (sub, handle, total_xp, xp_at, "        \
	"rank_key, created_at, updated_at) VALUES ($1, $1, $2, $3, $4, " \
	"0, 0), ('n' || $1, NULL, $2, $3, NULL, 0, 0)"
#define ADD_MOVE(t) \
	"INSERT INTO " t "rank_move (old_key, new_key) VALUES (-1, $1)"
	static const struct db_stmt people = {"test.people", ADD_PEOPLE(""),
	                                      ADD_PEOPLE("gdpr.")};
	static const struct db_stmt move = {"test.move", ADD_MOVE(""),
	                                    ADD_MOVE("gdpr.")};
	enum err e = OK;

	(void)arg;
	for (size_t i = 0; !e && i < TWINS; i++) {
		struct twin t = twin(i);
		const struct db_val v[] = {DB_TEXT(t.name), DB_I64(t.xp),
		                           DB_I64(t.at), DB_I64(t.key)};

		e = db_run(db, &people, v, COUNTOF(v), NULL);
		if (!e)
			e = db_run(db, &move, &v[3], 1, NULL);
	}
	return e;
}

static bool ahead(const struct twin *a, const struct twin *b)
{
	if (a->key != b->key)
		return a->key > b->key;
	return a->at != b->at ? a->at < b->at : strcmp(a->name, b->name) < 0;
}

static int64_t rank_as(struct db *db, const char *sub, const char *hnd)
{
	struct person p;
	int64_t rank = 0;

	MUST(board_rank(db, str_from(sub), str_from(hnd), &p, &rank) == OK);
	return rank;
}

static enum err look_at_twins(struct db *db, void *arg)
{
	int64_t broken = 1;

	(void)arg;
	MUST(board_check(db, &broken) == OK);
	MUST(broken == 0);
	for (size_t i = 0; i < TWINS; i++) {
		const struct twin me = twin(i);
		char nameless[16];
		int64_t want = 1, ties = 0;

		(void)snprintf(nameless, sizeof(nameless), "n%s", me.name);
		for (size_t k = 0; k < TWINS; k++) {
			const struct twin other = twin(k);

			want += ahead(&other, &me);
			ties += other.key == me.key && other.at == me.at;
		}
		MUST(rank_as(db, me.name, "") == want);
		MUST(rank_as(db, me.name, "a") == want); /* has a handle */
		MUST(rank_as(db, nameless, me.name) == want);
		MUST(rank_as(db, nameless, "z") - rank_as(db, nameless, "a") ==
		     ties);
	}
	return OK;
}

static enum err fold_fn(struct db *db, void *arg)
{
	(void)arg;
	return board_fold(db);
}

static void ranks_are_exact_where_levels_meet(void **state)
{
	(void)state;
	assert_int_equal(fixture_write(add_twins, NULL), OK);
	assert_int_equal(fixture_read(look_at_twins, NULL), OK);
	assert_int_equal(fixture_write(fold_fn, NULL), OK);
	assert_int_equal(number(MOVES), 0);
	assert_int_equal(fixture_read(look_at_twins, NULL), OK);
}

/* --- beside earlier versions ---------------------------------------------------- */

/* The statements of a fold as the version of migration 8 says them. */
#define OLD_TAKEN(t)                                                \
	"FROM (SELECT CASE n WHEN 1 THEN new_key ELSE old_key END " \
	"AS k, n FROM " t "rank_move CROSS JOIN "                   \
	"(SELECT 1 AS n UNION ALL SELECT -1) AS ends "              \
	"WHERE taken = 1) AS m CROSS JOIN "                         \
	"(SELECT 0 AS level, CAST($1 AS INTEGER) AS shift "         \
	"UNION ALL SELECT 1, CAST($2 AS INTEGER) "                  \
	"UNION ALL SELECT 2, CAST($3 AS INTEGER) "                  \
	"UNION ALL SELECT 3, CAST($4 AS INTEGER)) AS l WHERE k >= 0"
#define OLD_TAKE(t) "UPDATE " t "rank_move SET taken = 1"
#define OLD_ADD(t)                                                                  \
	"INSERT INTO " t "rank_bucket (level, bucket, people) "                     \
	"SELECT level, k >> shift, CAST(SUM(n) AS BIGINT) " OLD_TAKEN(              \
		t) " GROUP BY 1, 2 HAVING SUM(n) <> 0 ON CONFLICT (level, bucket) " \
		   "DO UPDATE SET people = rank_bucket.people + excluded.people"
#define OLD_SWEEP(t)                                         \
	"DELETE FROM " t "rank_bucket WHERE people = 0 AND " \
	"(level, bucket) IN (SELECT level, k >> shift " OLD_TAKEN(t) ")"
#define OLD_DROP(t) "DELETE FROM " t "rank_move WHERE taken = 1"

static enum err old_fold(struct db *db, void *arg)
{
	static const struct {
		struct db_stmt st;
		size_t values;
	} steps[] = {
		{{"old.take", OLD_TAKE(""),
	          OLD_TAKE("gdpr.") " WHERE (SELECT pg_try_advisory_xact_lock("
	                            "hashtextextended('gdpr.rank_move', 0)))"},
	         0},
		{{"old.add", OLD_ADD(""), OLD_ADD("gdpr.")}, 4},
		{{"old.sweep", OLD_SWEEP(""), OLD_SWEEP("gdpr.")}, 4},
		{{"old.drop", OLD_DROP(""), OLD_DROP("gdpr.")}, 0},
	};
	const struct db_val shifts[] = {DB_I64(35), DB_I64(26), DB_I64(11),
	                                DB_I64(0)};
	enum err e = OK;

	(void)arg;
	for (size_t i = 0; !e && i < COUNTOF(steps); i++)
		e = db_run(db, &steps[i].st, shifts, steps[i].values, NULL);
	return e;
}

/* As an award before migration 8: somebody comes ($5 = 1) or goes (-1). */
#define OLD_MOVE(t)                                                       \
	"INSERT INTO " t "rank_bucket (level, bucket, people) VALUES "    \
	"(0, $1, $5), (1, $2, $5), (2, $3, $5), (3, $4, $5) ON CONFLICT " \
	"(level, bucket) DO UPDATE "                                      \
	"SET people = rank_bucket.people + excluded.people"
#define OLD_LEAVE(t)                                                     \
	"DELETE FROM " t "rank_bucket WHERE people = 0 AND ("            \
	"(level = 0 AND bucket = $1) OR (level = 1 AND bucket = $2) OR " \
	"(level = 2 AND bucket = $3) OR (level = 3 AND bucket = $4))"

static enum err old_moves(struct db *db, int64_t by)
{
	static const struct db_stmt move = {"old.move", OLD_MOVE(""),
	                                    OLD_MOVE("gdpr.")};
	static const struct db_stmt leave = {"old.leave", OLD_LEAVE(""),
	                                     OLD_LEAVE("gdpr.")};
	enum err e = OK;

	for (size_t i = 0; !e && i < TWINS; i++) {
		int64_t k = twin(i).key;
		const struct db_val v[] = {DB_I64(k >> 35), DB_I64(k >> 26),
		                           DB_I64(k >> 11), DB_I64(k),
		                           DB_I64(by)};

		e = db_run(db, &move, v, 5, NULL);
		if (!e && by < 0)
			e = db_run(db, &leave, v, 4, NULL);
	}
	return e;
}

static enum err old_come(struct db *db, void *arg)
{
	(void)arg;
	return old_moves(db, 1);
}

static enum err old_go(struct db *db, void *arg)
{
	(void)arg;
	return old_moves(db, -1);
}

static enum err drop_moves(struct db *db, void *arg)
{
	static const struct db_stmt drop = {"test.drop",
	                                    "DELETE FROM rank_move",
	                                    "DELETE FROM gdpr.rank_move"};

	(void)arg;
	return db_run(db, &drop, NULL, 0, NULL);
}

static enum err twins_leave(struct db *db, void *arg)
{
#define LEAVE(t)                                                \
	"INSERT INTO " t "rank_move (old_key, new_key) SELECT " \
	"rank_key, -1 FROM " t "person WHERE rank_key IS NOT NULL"
	static const struct db_stmt leave = {"test.leave", LEAVE(""),
	                                     LEAVE("gdpr.")};

	(void)arg;
	return db_run(db, &leave, NULL, 0, NULL);
}

static void a_fold_of_an_earlier_version_keeps_every_level(void **state)
{
	(void)state;
	assert_int_equal(fixture_write(add_twins, NULL), OK);
	assert_int_equal(fixture_write(old_fold, NULL), OK);
	assert_int_equal(number(MOVES), 0);
	assert_int_equal(fixture_read(look_at_twins, NULL), OK);
	assert_int_equal(fixture_write(twins_leave, NULL), OK);
	assert_int_equal(fixture_write(old_fold, NULL), OK);
	assert_int_equal(number(BUCKETS), 0);
}

static void awards_that_write_buckets_keep_every_level(void **state)
{
	(void)state;
	assert_int_equal(fixture_write(add_twins, NULL), OK);
	assert_int_equal(fixture_write(drop_moves, NULL), OK);
	assert_int_equal(fixture_write(old_come, NULL), OK);
	assert_int_equal(fixture_read(look_at_twins, NULL), OK);
	assert_int_equal(fixture_write(old_go, NULL), OK);
	assert_int_equal(number(BUCKETS), 0);
}

static void who_leaves_last_takes_every_bucket_along(void **state)
{
	(void)state;
	assert_int_equal(fixture_write(add_twins, NULL), OK);
	assert_int_equal(fixture_write(fold_fn, NULL), OK);
	assert_int_equal(fixture_write(twins_leave, NULL), OK);
	assert_int_equal(fixture_write(fold_fn, NULL), OK);
	assert_int_equal(number(BUCKETS), 0);
}

/* --- an upgrade ----------------------------------------------------------------------- */

#define WITHOUT_SUMS 8 /* the last migration without wider buckets */

static int before_up(void **state)
{
	(void)state;
	store_open(&fixture.store, "gdpr");
	fixture.pool = store_pool(&fixture.store);
	return db_migrate(fixture.pool, gdpr_migrations, WITHOUT_SUMS) ? -1 : 0;
}

static void *upgrade(void *arg)
{
	enum err *e = arg;

	*e = db_migrate(fixture.pool, gdpr_migrations, GDPR_MIGRATIONS);
	return NULL;
}

static void what_is_counted_already_is_in_the_wider_buckets(void **state)
{
	enum err e = ERR_INTERNAL;

	(void)state;
	assert_int_equal(fixture_write(add_twins, NULL), OK);
	assert_int_equal(fixture_write(old_fold, NULL), OK);
	(void)upgrade(&e);
	assert_int_equal(e, OK);
	assert_int_equal(fixture_read(look_at_twins, NULL), OK);
}

struct upgrading {
	pthread_t thread;
	enum err e;
	_Atomic bool over;
};

static void *upgrade_once(void *arg)
{
	struct upgrading *u = arg;

	(void)upgrade(&u->e);
	atomic_store(&u->over, true);
	return NULL;
}

/* A fold that ends while the migration waits for it, or when that has given up. */
static enum err fold_meanwhile(struct db *db, void *arg)
{
	struct upgrading *u = arg;

	MUST(old_fold(db, NULL) == OK);
	MUST(pthread_create(&u->thread, NULL, upgrade_once, u) == 0);
	while (number(WAITING) == 0 && !atomic_load(&u->over))
		continue;
	return OK;
}

static void a_fold_that_an_upgrade_meets_is_in_the_wider_buckets(void **state)
{
	struct upgrading u = {.e = ERR_INTERNAL};

	(void)state;
	assert_int_equal(fixture_write(add_twins, NULL), OK);
	assert_int_equal(fixture_write(fold_meanwhile, &u), OK);
	assert_int_equal(pthread_join(u.thread, NULL), 0);
	if (u.e == ERR_DATABASE)
		(void)upgrade(&u.e); /* as a replica does */
	assert_int_equal(u.e, OK);
	assert_int_equal(number(MOVES), 0);
	assert_int_equal(fixture_read(look_at_twins, NULL), OK);
}

/* --- at once --------------------------------------------------------------------- */

static enum err settle(struct db *db)
{
	static const struct db_stmt one = {"test.one", "SELECT 1", NULL};
	int64_t n;

	return db_get_i64(db, &one, NULL, 0, &n);
}

/* While a fold of somebody with as many XP is not committed. */
static enum err others_go_on(struct db *db, void *arg)
{
	struct act other = of(2, NOON, FOLDS);
	struct ctx cx = store_ctx(5000);

	(void)arg;
	MUST(settle(db) == OK); /* the fold has been done */
	MUST(db_write(fixture.pool, &cx, award_fn, &other) == OK);
	MUST(number(MOVES) == 2); /* not committed; left to the next */
	return OK;
}

static void nobody_waits_for_a_fold(void **state)
{
	struct act a = of(1, NOON, FOLDS);

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		join(i);
		assert_int_equal(quiz(i, NOON, WAITS), OK);
	}
	assert_int_equal(quiz(3, NOON, FOLDS), OK);
	assert_int_equal(quiz(3, NOON, WAITS), OK);
	a.then = others_go_on;
	assert_int_equal(fixture_write(award_fn, &a), OK);
	assert_int_equal(number(MOVES), 1);
	assert_int_equal(rank_of(3), 1);
	assert_int_equal(rank_of(1), 2);
	assert_int_equal(rank_of(2), 3);
	assert_int_equal(quiz(3, NOON, FOLDS), OK);
	assert_int_equal(number(MOVES), 0);
	assert_int_equal(rank_of(2), 3);
}

#define LEARNERS 8
#define EACH     24 /* 4560 XP: nine buckets of level 0 */

static _Atomic unsigned next_learner;
static _Atomic bool over;

static void *learn(void *arg)
{
	unsigned me = atomic_fetch_add(&next_learner, 1);

	(void)arg;
	for (unsigned i = 0; i < EACH; i++)
		MUST(quiz(me, NOON + i, i % 3 ? WAITS : FOLDS) == OK);
	return NULL;
}

static void *watch(void *arg)
{
	int64_t *looks = arg;

	do {
		(void)rank_of((unsigned)*looks % LEARNERS);
		++*looks;
	} while (!atomic_load(&over));
	return NULL;
}

static void ranks_are_right_whenever_one_looks(void **state)
{
	struct db_pool_stats before, after;
	int64_t looks = 0;
	pthread_t watcher;

	(void)state;
	atomic_store(&next_learner, 0);
	atomic_store(&over, false);
	for (unsigned i = 0; i < LEARNERS; i++) {
		join(i);
		MUST(quiz(i, NOON, WAITS) == OK); /* XP have a rank */
	}
	db_pool_stats(fixture.pool, &before);
	assert_int_equal(pthread_create(&watcher, NULL, watch, &looks), 0);
	store_threads(LEARNERS, learn, NULL);
	atomic_store(&over, true);
	assert_int_equal(pthread_join(watcher, NULL), 0);
	db_pool_stats(fixture.pool, &after);
	/* Deadlocks would be run again, and counted. */
	assert_int_equal(after.conflicts, before.conflicts);
	for (unsigned i = 0; i < LEARNERS; i++)
		assert_int_equal(rank_of(i), i + 1);
	assert_int_equal(quiz(0, NOON, FOLDS), OK);
	assert_int_equal(number(MOVES), 0);
	assert_int_equal(number(COUNTED), LEARNERS);
	for (unsigned i = 0; i < LEARNERS; i++)
		assert_int_equal(rank_of(i), i + 1);
}

#define POSTGRES_ONLY 2 /* at the end of the list */

int main(void)
{
#define EACH_EMPTY(f) cmocka_unit_test_setup(f, fixture_each)
#define EACH_BEFORE(f) \
	cmocka_unit_test_setup_teardown(f, before_up, fixture_down)
	const struct CMUnitTest tests[] = {
		EACH_EMPTY(a_move_is_in_the_rank_before_it_is_counted),
		EACH_EMPTY(a_fold_counts_all_moves_once),
		EACH_EMPTY(what_a_fold_that_is_rolled_back_took_stays),
		EACH_EMPTY(who_is_erased_is_in_no_bucket_and_no_move),
		EACH_EMPTY(ranks_are_exact_where_levels_meet),
		EACH_EMPTY(who_leaves_last_takes_every_bucket_along),
		EACH_EMPTY(a_fold_of_an_earlier_version_keeps_every_level),
		EACH_EMPTY(awards_that_write_buckets_keep_every_level),
		EACH_EMPTY(ranks_are_right_whenever_one_looks),
		/* Rows tell who wrote them, and there are several writers. */
		EACH_EMPTY(a_level_where_nobody_moves_is_not_written),
		EACH_EMPTY(nobody_waits_for_a_fold),
	};
	const struct CMUnitTest upgrades[] = {
		EACH_BEFORE(what_is_counted_already_is_in_the_wider_buckets),
		/* Somebody may be at it. */
		EACH_BEFORE(
			a_fold_that_an_upgrade_meets_is_in_the_wider_buckets),
	};
	size_t n = COUNTOF(tests), upgrades_n = COUNTOF(upgrades);

	if (!store_will_be_postgres()) {
		n -= POSTGRES_ONLY;
		upgrades_n--;
	}
	return _cmocka_run_group_tests("board", tests, n, fixture_up,
	                               fixture_down) +
	       _cmocka_run_group_tests("board.upgrade", upgrades, upgrades_n,
	                               NULL, NULL);
}
