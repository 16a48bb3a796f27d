/*
 * rank - what one's own rank and the first page of the leaderboard cost among a
 * thousand people and among a million (design D42).
 *
 *     [KAE_TEST_DATABASE_URL=postgresql://...] rank [most people]
 *
 * On SQLite in a file of its own, or on that PostgreSQL.  People are made by one
 * statement with few sizes of XP, so that ties are as common as they are with
 * quizzes, and buckets are counted from them.  A rank is one statement, a page is a
 * transaction, as in the service.
 */
#include "svc-gdpr/board.h"
#include "svc-gdpr/migrations.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ASKED 1000
#define PAGE  100

/* One in four has one of the twenty commonest sums; all came within a day. */
#define KEYED                                                   \
	"(sub, handle, total_xp, xp_at, rank_key, created_at, " \
	"updated_at) SELECT 's' || i, 'h' || i, xp, at, "       \
	"(xp << 26) | (67108863 - at / 60000), at, at FROM p"
#define BUCKETS(t)                                                  \
	"INSERT INTO " t "rank_bucket (level, bucket, people) "     \
	"SELECT l.column1, rank_key >> l.column2, COUNT(*) FROM " t \
	"person, (VALUES (0, 35), (1, 26), (2, 11), (3, 0)) l GROUP BY 1, 2"
static const struct db_stmt fill_people = {
	"bench.people",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
	"WHERE i < $1), p(i, xp, at) AS MATERIALIZED (SELECT i, "
	"CASE WHEN i % 4 = 0 THEN 50 * (1 + abs(random()) % 20) "
	"ELSE 1 + abs(random()) % 40000 END, "
	"1767268800000 + abs(random()) % 86400000 FROM n) "
	"INSERT INTO person " KEYED,
	"WITH p(i, xp, at) AS MATERIALIZED (SELECT i, CASE WHEN i % 4 = 0 "
	"THEN 50 * (1 + floor(random() * 20)::bigint) "
	"ELSE 1 + floor(random() * 40000)::bigint END, "
	"1767268800000 + floor(random() * 86400000)::bigint "
	"FROM generate_series(1, $1) i) INSERT INTO gdpr.person " KEYED};
static const struct db_stmt fill_buckets = {"bench.buckets", BUCKETS(""),
                                            BUCKETS("gdpr.")};
static const struct db_stmt empty_people = {
	"bench.empty", "DELETE FROM person",
	"TRUNCATE gdpr.person, gdpr.rank_bucket, gdpr.rank_move"};
static const struct db_stmt empty_buckets = {"bench.empty_buckets",
                                             "DELETE FROM rank_bucket",
                                             "SELECT 1"};
/* As a server does by itself sooner or later. */
static const struct db_stmt look_around = {
	"bench.analyze", "SELECT 1",
	"ANALYZE gdpr.person, gdpr.rank_bucket, gdpr.rank_move"};

struct trial {
	int64_t people;
	size_t number; /* of the ask */
	int64_t got;
	uint64_t rank_us[ASKED], page_us[ASKED];
	int64_t broken;
};

static enum err fill(struct db *db, void *arg)
{
	const struct trial *r = arg;
	const struct db_val v[] = {DB_I64(r->people)};
	enum err e = db_run(db, &empty_people, NULL, 0, NULL);

	if (!e)
		e = db_run(db, &empty_buckets, NULL, 0, NULL);
	if (!e)
		e = db_run(db, &fill_people, v, COUNTOF(v), NULL);
	if (!e)
		e = db_run(db, &fill_buckets, NULL, 0, NULL);
	return e ? e : db_run(db, &look_around, NULL, 0, NULL);
}

static enum err check(struct db *db, void *arg)
{
	struct trial *r = arg;

	return board_check(db, &r->broken);
}

static enum err own_rank(struct db *db, void *arg)
{
	struct trial *r = arg;
	char sub[24];
	struct person p;

	(void)snprintf(sub, sizeof(sub), "s%lld",
	               1 + (long long)r->number * 7919 % r->people);
	return board_rank(db, str_from(sub), (struct str){0}, &p, &r->got);
}

static enum err count(void *arg, const struct board_row *row)
{
	struct trial *r = arg;

	r->got = row->rank;
	return OK;
}

static enum err first_page(struct db *db, void *arg)
{
	return board_top(db, PAGE, count, arg);
}

static enum err ask(struct db_pool *pool, struct ctx *cx, struct trial *r)
{
	enum err e = OK;

	for (r->number = 0; r->number < ASKED && !e; r->number++) {
		uint64_t start = mono_us(), then;

		e = db_read_one(pool, cx, own_rank, r);
		then = mono_us();
		r->rank_us[r->number] = then - start;
		if (!e)
			e = db_read(pool, cx, first_page, r);
		r->page_us[r->number] = mono_us() - then;
		if (!e && r->got != PAGE)
			e = ERR_INTERNAL;
	}
	return e;
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void tell(const char *what, uint64_t us[ASKED])
{
	qsort(us, ASKED, sizeof(us[0]), by_time);
	(void)printf(", %s p50 %llu us, p99 %llu us", what,
	             (unsigned long long)us[ASKED / 2],
	             (unsigned long long)us[ASKED * 99 / 100]);
}

static enum err measure(struct db_pool *pool, bool postgres, int64_t people)
{
	struct ctx cx = {.service = "gdpr",
	                 .rid = STR("bench"),
	                 .deadline_ms = mono_ms() + 900000};
	struct trial *r = calloc(1, sizeof(*r));
	enum err e = r ? OK : ERR_NOMEM;

	if (!e) {
		r->people = people;
		e = db_write(pool, &cx, fill, r);
	}
	if (!e)
		e = db_read(pool, &cx, check, r);
	/* The second time: the first reads the file into the page cache. */
	for (int i = 0; !e && i < 2; i++)
		e = ask(pool, &cx, r);
	if (!e && r->broken)
		e = ERR_INTERNAL;
	if (!e) {
		(void)printf("%s %lld people",
		             postgres ? "PostgreSQL" : "SQLite",
		             (long long)people);
		tell("rank", r->rank_us);
		tell("page", r->page_us);
		(void)printf("\n");
		(void)fflush(stdout);
	}
	free(r);
	return e;
}

/*
 * With connections of their own: for a statement that was planned when there were a
 * thousand people the server goes on to compare what that was expected to cost, and
 * plans it anew each time for long.
 */
static enum err measure_one(const struct db_conf *conf, bool postgres,
                            int64_t people)
{
	AUTO(db_pool) pool = NULL;
	enum err e = db_pool_new(conf, &pool);

	if (!e)
		e = db_migrate(pool, gdpr_migrations, GDPR_MIGRATIONS);
	return e ? e : measure(pool, postgres, people);
}

static enum err measure_all(const char *url, bool postgres, int64_t most)
{
	const struct db_conf conf = {.service = "gdpr",
	                             .url = str_from(url),
	                             .size = 2,
	                             .timeout_s = 900,
	                             .recycle_s = 3600,
	                             .prepare = true};
	enum err e = OK;

	for (int64_t n = 1000; n <= most && !e; n *= 10)
		e = measure_one(&conf, postgres, n);
	return e;
}

/* The files of a database in a folder of its own. */
static void remove_all(const char *dir)
{
	static const char *const ends[] = {"", "-wal", "-shm"};

	for (size_t i = 0; i < COUNTOF(ends); i++) {
		char file[80];

		(void)snprintf(file, sizeof(file), "%s/rank.db%s", dir,
		               ends[i]);
		(void)unlink(file);
	}
	(void)rmdir(dir);
}

int main(int argc, char **argv)
{
	const char *url = getenv("KAE_TEST_DATABASE_URL");
	const bool postgres = url && *url;
	const int64_t most = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000;
	char dir[] = "/tmp/kae-rank-XXXXXX", path[80];
	enum err e;

	if (postgres) {
		e = measure_all(url, true, most);
	} else {
		if (!mkdtemp(dir))
			return 1;
		(void)snprintf(path, sizeof(path), "sqlite:///%s/rank.db", dir);
		e = measure_all(path, false, most);
		remove_all(dir);
	}
	if (e)
		(void)fprintf(stderr, "rank: %s\n", err_name(e));
	return e != OK;
}
