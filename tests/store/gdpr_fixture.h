/*
 * gdpr_fixture - a migrated database of svc-gdpr, emptied before each test.
 *
 * Header only: each store test is one program.
 */
#ifndef TESTS_STORE_GDPR_FIXTURE_H
#define TESTS_STORE_GDPR_FIXTURE_H

#include "svc-gdpr/migrations.h"
#include "tests/store/store.h"

#include <stdlib.h>

static struct {
	struct store store;
	struct db_pool *pool;
} fixture;

static inline enum err fixture_write(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(60000);

	return db_write(fixture.pool, &cx, fn, arg);
}

static inline enum err fixture_read(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(60000);

	return db_read(fixture.pool, &cx, fn, arg);
}

static inline enum err fixture_clear(struct db *db, void *arg)
{
	static const struct db_stmt tables[] = {
		{"test.1", "DELETE FROM person", "DELETE FROM gdpr.person"},
		{"test.2", "DELETE FROM ledger", "DELETE FROM gdpr.ledger"},
		{"test.3", "DELETE FROM unlocked", "DELETE FROM gdpr.unlocked"},
		{"test.4", "DELETE FROM streak_run",
	         "DELETE FROM gdpr.streak_run"},
		{"test.5", "DELETE FROM rank_bucket",
	         "DELETE FROM gdpr.rank_bucket"},
		{"test.6", "DELETE FROM inbox", "DELETE FROM gdpr.inbox"},
		{"test.7", "DELETE FROM rank_move",
	         "DELETE FROM gdpr.rank_move"},
	};
	enum err e = OK;

	(void)arg;
	for (size_t i = 0; !e && i < COUNTOF(tables); i++)
		e = db_run(db, &tables[i], NULL, 0, NULL);
	return e;
}

static inline void fixture_empty(void)
{
	if (fixture_write(fixture_clear, NULL))
		abort();
}

static inline int fixture_each(void **state)
{
	(void)state;
	return fixture_write(fixture_clear, NULL) ? -1 : 0;
}

static inline int fixture_up(void **state)
{
	(void)state;
	store_open(&fixture.store, "gdpr");
	fixture.pool = store_pool(&fixture.store);
	return db_migrate(fixture.pool, gdpr_migrations, GDPR_MIGRATIONS) ? -1
	                                                                  : 0;
}

static inline int fixture_down(void **state)
{
	(void)state;
	db_pool_free(fixture.pool);
	store_close(&fixture.store);
	return 0;
}

#endif
