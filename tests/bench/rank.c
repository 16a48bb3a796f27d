/*
 * rank - what a rank costs among a thousand people and among a million
 * (design D42), on SQLite in a file of its own.
 *
 * People are made by one statement with few sizes of XP, so that ties are as
 * common as they are with quizzes, and buckets are counted from them.
 */
#include "svc-gdpr/board.h"
#include "svc-gdpr/migrations.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ASKED 2000

/* One in four has one of the twenty commonest sums; all came within a day. */
static const struct db_stmt fill_people = {
	"bench.people",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
	"WHERE i < $1), p(i, xp, at) AS MATERIALIZED (SELECT i, "
	"CASE WHEN i % 4 = 0 THEN 50 * (1 + abs(random()) % 20) "
	"ELSE 1 + abs(random()) % 40000 END, "
	"1767268800000 + abs(random()) % 86400000 FROM n) "
	"INSERT INTO person (sub, handle, total_xp, xp_at, rank_key, "
	"created_at, updated_at) SELECT 's' || i, 'h' || i, xp, at, "
	"(xp << 26) | (67108863 - at / 60000), at, at FROM p",
	NULL};
static const struct db_stmt fill_buckets = {
	"bench.buckets",
	"INSERT INTO rank_bucket (level, bucket, people) "
	"SELECT l.column1, rank_key >> l.column2 AS b, COUNT(*) FROM person, "
	"(VALUES (0, 35), (1, 26), (2, 11), (3, 0)) l GROUP BY 1, 2",
	NULL};

struct trial {
	int64_t people;
	uint64_t us[ASKED];
	int64_t broken;
};

static enum err fill(struct db *db, void *arg)
{
	const struct trial *r = arg;
	const struct db_val v[] = {DB_I64(r->people)};
	enum err e = db_run(db, &fill_people, v, COUNTOF(v), NULL);

	return e ? e : db_run(db, &fill_buckets, NULL, 0, NULL);
}

static enum err ask(struct db *db, void *arg)
{
	struct trial *r = arg;

	for (size_t i = 0; i < ASKED; i++) {
		char sub[24];
		struct person p;
		int64_t rank = 0;
		uint64_t start;
		enum err e;

		(void)snprintf(sub, sizeof(sub), "s%lld",
		               1 + (long long)i * 7919 % r->people);
		e = person_get(db, str_from(sub), &p);
		start = mono_us();
		if (!e)
			e = board_rank(db, &p, str_from(p.handle), &rank);
		if (e)
			return e;
		r->us[i] = mono_us() - start;
	}
	return board_check(db, &r->broken);
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static enum err measure(const char *path, int64_t people)
{
	char url[128];
	struct db_conf conf = {.service = "gdpr",
	                       .size = 2,
	                       .timeout_s = 600,
	                       .recycle_s = 3600,
	                       .prepare = true};
	struct ctx cx = {.service = "gdpr",
	                 .rid = STR("bench"),
	                 .deadline_ms = mono_ms() + 600000};
	AUTO(db_pool) pool = NULL;
	struct trial *r = calloc(1, sizeof(*r));
	enum err e = r ? OK : ERR_NOMEM;

	(void)snprintf(url, sizeof(url), "sqlite:///%s", path);
	conf.url = str_from(url);
	if (!e)
		e = db_pool_new(&conf, &pool);
	if (!e)
		e = db_migrate(pool, gdpr_migrations, GDPR_MIGRATIONS);
	if (!e) {
		r->people = people;
		e = db_write(pool, &cx, fill, r);
	}
	/* The second time: the first reads the file into the page cache. */
	for (int i = 0; !e && i < 2; i++)
		e = db_read(pool, &cx, ask, r);
	if (!e && r->broken)
		e = ERR_INTERNAL;
	if (!e) {
		qsort(r->us, ASKED, sizeof(r->us[0]), by_time);
		printf("%8lld people: p50 %llu us, p99 %llu us, max %llu us\n",
		       (long long)people, (unsigned long long)r->us[ASKED / 2],
		       (unsigned long long)r->us[ASKED * 99 / 100],
		       (unsigned long long)r->us[ASKED - 1]);
	}
	free(r);
	return e;
}

int main(void)
{
	static const int64_t sizes[] = {1000, 1000000};

	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		char dir[] = "/tmp/kae-rank-XXXXXX";
		char path[64];
		static const char *const ends[] = {"", "-wal", "-shm"};
		enum err e = ERR_INTERNAL;

		if (!mkdtemp(dir))
			return 1;
		(void)snprintf(path, sizeof(path), "%s/rank.db", dir);
		e = measure(path, sizes[i]);
		for (size_t k = 0; k < COUNTOF(ends); k++) {
			char file[80];

			(void)snprintf(file, sizeof(file), "%s%s", path,
			               ends[k]);
			(void)unlink(file);
		}
		(void)rmdir(dir);
		if (e) {
			(void)fprintf(stderr, "rank: %s\n", err_name(e));
			return 1;
		}
	}
	return 0;
}
