/*
 * What is too old goes: the rules of svc-gdpr and svc-content, with the clock in
 * the hand.
 */
#include "common/base/clock.h"
#include "common/service/retention.h"
#include "svc-gdpr/consent.h"
#include "tests/store/rights_fixture.h"

#include <inttypes.h>
#include <pthread.h>

#define DAY_MS INT64_C(86400000)

static const struct retention_rule rules[] = {
#define KEEP(category, table, id) {RETENTION_##category, table, STMT(id), NULL},
#include "svc-gdpr/retention.def"
#undef KEEP
};

static struct retention *keeper(uint64_t consent_days)
{
	const struct retention_conf conf = {
		.service = "gdpr",
		.pool = fixture.pool,
		.rules = rules,
		.n = COUNTOF(rules),
		.every_ms = 1000,
		.days = {[RETENTION_AUDIT_LOG] = 2555,
	                 [RETENTION_CONSENT] = consent_days},
	};

	return retention_new(&conf);
}

static uint64_t run(struct retention *r, int64_t now_ms)
{
	struct ctx cx = store_ctx(20000);
	uint64_t rows = 0;

	assert_int_equal(retention_run(r, &cx, 20000, now_ms, &rows), OK);
	return rows;
}

struct recording {
	const char *sub;
	struct consent_change change;
	int64_t now_ms;
};

static enum err record_one(struct db *db, void *arg)
{
	struct recording *r = arg;
	struct ctx cx = ctx_of(r->sub);

	return consent_record(db, &cx, "api", r->now_ms, &r->change, 1);
}

static void record(const char *sub, bool given, int64_t at)
{
	struct recording r = {sub,
	                      {.which = CONSENT_MARKETING, .given = given},
	                      at};

	assert_int_equal(fixture_write(record_one, &r), OK);
}

static int64_t consents(void)
{
	return number("SELECT COUNT(*) FROM consents",
	              "SELECT COUNT(*) FROM gdpr.consents");
}

static int64_t origins(void)
{
	return number("SELECT COUNT(*) FROM consent_origins",
	              "SELECT COUNT(*) FROM gdpr.consent_origins");
}

static enum err erase(struct db *db, void *arg)
{
	return consent_erase(db, str_from(arg));
}

/* All that is there is older than the limit, and of nobody. */
static void clear_all(struct retention *r)
{
	store_exec(fixture.pool, store_is_postgres(&fixture.store)
	                                 ? "DELETE FROM gdpr.pseudonyms"
	                                 : "DELETE FROM pseudonyms");
	(void)run(r, wall_ms());
	assert_int_equal(consents(), 0);
}

static void a_row_stays_to_the_millisecond(void **unused)
{
	/* Later than any row was written, so that the ledger's own guard, which
	 * has the database's clock, is satisfied too. */
	const int64_t now = wall_ms() - DAY_MS;
	const int64_t limit = now - 2555 * DAY_MS;
	const char *ada = somebody();
	AUTO(retention) r = keeper(2555);

	(void)unused;
	clear_all(r);
	record(ada, true, limit - 1);
	record(ada, false, limit);
	record(ada, true, limit + 1);
	record(ada, false, limit + 2); /* in force */
	assert_int_equal(run(r, now), 4);
	assert_int_equal(consents(), 2);
	assert_int_equal(origins(), 2);
	assert_int_equal(run(r, now), 0);
	assert_int_equal(run(r, now + 1), 2);
	assert_int_equal(consents(), 1);
}

static void what_is_in_force_stays_and_an_erased_person_s_goes(void **unused)
{
	const int64_t now = wall_ms() - DAY_MS;
	const int64_t old = now - 2600 * DAY_MS;
	const char *ada = somebody(), *bob = somebody();
	AUTO(retention) r = keeper(2555);
	AUTO_BUF json = {0};

	(void)unused;
	clear_all(r);
	record(ada, false, old);
	record(ada, true, old + 1);
	record(bob, true, old);
	assert_int_equal(fixture_write(erase, (void *)(uintptr_t)bob), OK);
	/* Two of Ada's origins, her first row, Bob's row. */
	assert_int_equal(run(r, now), 4);
	assert_int_equal(look_at(method_gdpr_consent, ada, &json), OK);
	has(&json, "\"marketing\":{\"given\":true,");
	assert_int_equal(run(r, now), 0);
}

static void more_than_a_batch_goes_too(void **unused)
{
	const int64_t now = wall_ms() - DAY_MS;
	const int64_t old = now - 2600 * DAY_MS;
	char text[512];
	AUTO(retention) r = keeper(2555);
	struct retention_stats st;

	(void)unused;
	clear_all(r);
	/* Both databases know it so. */
	(void)snprintf(text, sizeof(text),
	               "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT "
	               "n + 1 FROM s WHERE n < 1203) INSERT INTO %sconsents "
	               "SELECT 'nobody', n, 'marketing', 1, '1.0', 'api', "
	               "%" PRId64 " FROM s",
	               store_is_postgres(&fixture.store) ? "gdpr." : "", old);
	store_exec(fixture.pool, text);
	retention_stats(r, &st);
	assert_int_equal(run(r, now), 1203);
	assert_int_equal(consents(), 0);
	retention_stats(r, &st);
	assert_true(st.purged[RETENTION_CONSENT] >= 1203);
	assert_int_equal(st.last_success_s, (uint64_t)(now / 1000));
}

static void a_rule_that_fails_takes_no_other_with_it(void **unused)
{
	static const struct db_stmt broken = {"test.broken",
	                                      "DELETE FROM no_such_table "
	                                      "WHERE at <= $1 LIMIT $2",
	                                      "DELETE FROM gdpr.no_such_table "
	                                      "WHERE at <= $1 AND 0 < $2"};
	const struct retention_rule two[] = {
		{RETENTION_CONSENT, "consents", STMT(RETAIN_CONSENTS), NULL},
		{RETENTION_CONSENT, "none", &broken, NULL},
		{RETENTION_CONSENT, "consent_origins", STMT(RETAIN_ORIGINS),
	         NULL},
	};
	const struct retention_conf conf = {.service = "gdpr",
	                                    .pool = fixture.pool,
	                                    .rules = two,
	                                    .n = COUNTOF(two),
	                                    .days = {[RETENTION_CONSENT] =
	                                                     2555}};
	const int64_t now = wall_ms() - DAY_MS;
	const int64_t old = now - 2600 * DAY_MS;
	struct ctx cx = store_ctx(20000);
	struct retention_stats st;
	uint64_t rows = 0;
	AUTO(retention) r = keeper(2555), half = retention_new(&conf);

	(void)unused;
	clear_all(r);
	record(somebody(), true, old);
	record(somebody(), true, old);
	store_exec(fixture.pool, store_is_postgres(&fixture.store)
	                                 ? "DELETE FROM gdpr.pseudonyms"
	                                 : "DELETE FROM pseudonyms");
	assert_int_not_equal(retention_run(half, &cx, 20000, now, &rows), OK);
	/* The rule that fails takes neither of the others with it. */
	assert_int_equal(rows, 4);
	assert_int_equal(consents(), 0);
	retention_stats(half, &st);
	assert_int_equal(st.failed, 1);
	assert_int_equal(st.last_success_s, 0);
	assert_int_equal(run(r, now), 0);
}

struct holding {
	pthread_barrier_t *held, *let_go;
};

static enum err hold_rows(struct db *db, void *arg)
{
	static const struct db_stmt lock = {
		"test.hold", "SELECT 1 FROM consents WHERE seq = 1",
		"SELECT 1 FROM gdpr.consents WHERE seq = 1 FOR UPDATE"};
	struct holding *h = arg;
	enum err e = db_run(db, &lock, NULL, 0, NULL);

	(void)pthread_barrier_wait(h->held);
	(void)pthread_barrier_wait(h->let_go);
	return e;
}

static void *holder(void *arg)
{
	MUST(fixture_write(hold_rows, arg) == OK);
	return NULL;
}

/* On SQLite there is one writer, and whoever holds a row holds all. */
static void a_row_that_others_hold_is_left_for_the_next_time(void **unused)
{
	const int64_t now = wall_ms() - DAY_MS;
	const int64_t old = now - 2600 * DAY_MS;
	const char *ada = somebody();
	pthread_barrier_t held, let_go;
	struct holding h = {&held, &let_go};
	AUTO(retention) r = keeper(2555);
	pthread_t thread;

	(void)unused;
	if (!store_is_postgres(&fixture.store))
		return;
	clear_all(r);
	record(ada, true, old);
	record(ada, false, old + 1);
	record(ada, true, old + 2);
	assert_int_equal(pthread_barrier_init(&held, NULL, 2), 0);
	assert_int_equal(pthread_barrier_init(&let_go, NULL, 2), 0);
	assert_int_equal(pthread_create(&thread, NULL, holder, &h), 0);
	(void)pthread_barrier_wait(&held);
	assert_int_equal(run(r, now), 3 + 1); /* three origins, one row */
	(void)pthread_barrier_wait(&let_go);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(run(r, now), 1);
	(void)pthread_barrier_destroy(&held);
	(void)pthread_barrier_destroy(&let_go);
}

struct many {
	struct retention *r;
	int64_t now;
};

static void *run_too(void *arg)
{
	struct many *m = arg;
	struct ctx cx = store_ctx(20000);
	uint64_t rows;
	enum err e = retention_run(m->r, &cx, 20000, m->now, &rows);

	MUST(e == OK || e == ERR_BUSY);
	return NULL;
}

static void replicas_at_once_delete_each_row_once(void **unused)
{
	const int64_t now = wall_ms() - DAY_MS;
	const int64_t old = now - 2600 * DAY_MS;
	AUTO(retention) r = keeper(2555);
	struct many m = {r, now};
	struct retention_stats before, after;

	(void)unused;
	clear_all(r);
	for (int i = 0; i < 20; i++)
		record(somebody(), true, old);
	store_exec(fixture.pool, store_is_postgres(&fixture.store)
	                                 ? "DELETE FROM gdpr.pseudonyms"
	                                 : "DELETE FROM pseudonyms");
	retention_stats(r, &before);
	store_threads(4, run_too, &m);
	(void)run(r, now);
	retention_stats(r, &after);
	assert_int_equal(consents(), 0);
	assert_int_equal(after.purged[RETENTION_CONSENT] -
	                         before.purged[RETENTION_CONSENT],
	                 40);
}

static void enter(const char *id, int64_t at, const char *reported_at)
{
	char text[512];

	(void)snprintf(text, sizeof(text),
	               "INSERT INTO %sbreaches (id, type, severity, affected, "
	               "everyone, notified, digest, by_sub, at, reported_at) "
	               "VALUES ('%s', 't', 'high', 'x', 1, 0, '%s', 'adm', "
	               "%" PRId64 ", %s)",
	               store_is_postgres(&fixture.store) ? "gdpr." : "", id, id,
	               at, reported_at);
	store_exec(fixture.pool, text);
}

static void a_breach_goes_when_it_is_old_and_was_reported(void **unused)
{
	const int64_t now = wall_ms();
	const int64_t limit = now - 2555 * DAY_MS;
	AUTO(retention) r = keeper(2555);

	(void)unused;
	enter("a", limit, "1");
	enter("b", limit, "NULL");
	enter("c", limit + 1, "1");
	(void)run(r, now);
	assert_int_equal(number("SELECT COUNT(*) FROM breaches WHERE id IN "
	                        "('b', 'c')",
	                        "SELECT COUNT(*) FROM gdpr.breaches WHERE id "
	                        "IN ('b', 'c')"),
	                 2);
	assert_int_equal(number("SELECT COUNT(*) FROM breaches",
	                        "SELECT COUNT(*) FROM gdpr.breaches"),
	                 2);
}

static int each(void **unused)
{
	if (rights_each(unused))
		return -1;
	store_exec(fixture.pool, store_is_postgres(&fixture.store)
	                                 ? "DELETE FROM gdpr.breaches"
	                                 : "DELETE FROM breaches");
	return 0;
}

#define CASE(claim) cmocka_unit_test_setup_teardown(claim, each, rights_after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_row_stays_to_the_millisecond),
		CASE(what_is_in_force_stays_and_an_erased_person_s_goes),
		CASE(more_than_a_batch_goes_too),
		CASE(a_rule_that_fails_takes_no_other_with_it),
		CASE(a_row_that_others_hold_is_left_for_the_next_time),
		CASE(replicas_at_once_delete_each_row_once),
		CASE(a_breach_goes_when_it_is_old_and_was_reported),
	};

	return cmocka_run_group_tests(tests, rights_up, rights_down);
}
