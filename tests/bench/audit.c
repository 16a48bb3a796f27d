/*
 * audit - what a row of the audit log costs, and proving it.
 *
 *     [KAE_TEST_DATABASE_URL=postgresql://...] audit [threads]
 *
 * Appended one in a transaction by some threads at once, then 256 in one as
 * event.apply does, then the whole chain verified.  The schema gdpr of that
 * database is new: it must not be there.
 */
#include "common/base/clock.h"
#include "common/base/uuid.h"
#include "svc-gdpr/audit_verify.h"
#include "svc-gdpr/migrations.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ONE_BY_ONE  200 /* per thread */
#define BATCH       256
#define BATCHES     40
#define THREADS_MAX 64

static struct db_pool *pool;

static struct ctx own_ctx(void)
{
	return (struct ctx){.service = "bench",
	                    .rid = STR("bench"),
	                    .ip = STR("203.0.113.7"),
	                    .ua = STR("Mozilla/5.0 (X11; Linux x86_64)"),
	                    .sub = STR("01900000-0000-7000-8000-0000000000ad"),
	                    .deadline_ms = mono_ms() + 600000};
}

static void must(enum err e, const char *what)
{
	if (!e)
		return;
	(void)fprintf(stderr, "audit: %s: %s\n", what, err_name(e));
	exit(1);
}

static enum err append(struct db *db, void *arg)
{
	const struct ctx *cx = arg;
	const struct audit_note note = {.event = AUDIT_IS(LOGIN),
	                                .sub = cx->sub,
	                                .resource_type = "session",
	                                .resource_id = STR("a-session")};

	return audit_append(db, cx, &note);
}

static void *append_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < ONE_BY_ONE; i++) {
		struct ctx cx = own_ctx();

		must(db_write(pool, &cx, append, &cx), "append");
	}
	return NULL;
}

struct batch {
	struct event ev[BATCH];
	const struct event *due[BATCH];
};

static enum err take(struct db *db, void *arg)
{
	struct batch *b = arg;

	return audit_take(db, b->due, BATCH);
}

static void take_many(struct batch *b)
{
	struct ctx cx = own_ctx();
	const struct audit_note note = {.event = AUDIT_IS(LOGIN)};
	char sub[8][UUID_MAX]; /* 32 events of a person */
	AUTO_BUF body = {0};

	audit_pack(&body, &cx, &note);
	for (size_t i = 0; i < BATCH; i++) {
		if (i % 32 == 0)
			(void)uuid7(sub[i / 32]);
		b->ev[i] = (struct event){.source = STR("auth"),
		                          .sub = str_from(sub[i / 32]),
		                          .type = AUDIT_TYPE,
		                          .body = buf_view(&body),
		                          .at = wall_ms()};
		(void)uuid7(b->ev[i].id);
		b->due[i] = &b->ev[i];
	}
	must(db_write(pool, &cx, take, b), "take");
}

static void tell(const char *what, double rows, uint64_t from_us)
{
	(void)printf("%-28s %9.0f rows/s\n", what,
	             rows / ((double)(mono_us() - from_us) / 1e6));
}

/* The files of the SQLite database of this run. */
static void remove_folder(const char *folder)
{
	static const char *const names[] = {"a.db", "a.db-wal", "a.db-shm"};
	char path[100];

	for (size_t i = 0; i < COUNTOF(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(folder);
}

int main(int argc, char **argv)
{
	const char *url = getenv("KAE_TEST_DATABASE_URL");
	char file[] = "/tmp/kae-bench-audit-XXXXXX", text[100];
	int64_t asked = 4;
	struct db_conf conf = {.service = "gdpr",
	                       .max_overflow = 4,
	                       .timeout_s = 30,
	                       .recycle_s = 3600,
	                       .prepare = true};
	struct audit_report report = {0};
	struct ctx cx = own_ctx();
	pthread_t t[THREADS_MAX];
	struct batch *b = calloc(1, sizeof(*b));
	uint64_t from;

	if (argc > 1 && (!str_to_i64(str_from(argv[1]), &asked) || asked < 1 ||
	                 asked > THREADS_MAX))
		return 2;
	if (!b || (!url && !mkdtemp(file)))
		return 1;
	(void)snprintf(text, sizeof(text), "sqlite:///%s/a.db", file);
	conf.url = str_from(url ? url : text);
	conf.size = (unsigned)asked;
	must(db_pool_new(&conf, &pool), "pool");
	must(db_migrate(pool, gdpr_migrations, GDPR_MIGRATIONS), "migrate");

	from = mono_us();
	for (int64_t i = 0; i < asked; i++)
		if (pthread_create(&t[i], NULL, append_many, NULL))
			return 1;
	for (int64_t i = 0; i < asked; i++)
		(void)pthread_join(t[i], NULL);
	tell("one in a transaction", (double)asked * ONE_BY_ONE, from);

	from = mono_us();
	for (int i = 0; i < BATCHES; i++)
		take_many(b);
	tell("256 in a transaction", BATCH * BATCHES, from);

	from = mono_us();
	must(db_read(pool, &cx, audit_verify, &report), "verify");
	tell(report.why ? report.why : "verified", (double)report.rows, from);
	free(b);
	db_pool_free(pool);
	if (!url)
		remove_folder(file);
	return report.why ? 1 : 0;
}
