/*
 * audit_fixture - a new database of svc-gdpr for each test of the audit log,
 * since what was appended cannot be deleted; rows for it; SQL that goes past
 * the program, and past the triggers.
 */
#ifndef TESTS_STORE_AUDIT_FIXTURE_H
#define TESTS_STORE_AUDIT_FIXTURE_H

#include "svc-gdpr/audit.h"
#include "svc-gdpr/audit_verify.h"
#include "tests/store/gdpr_fixture.h"

#define ADA "01900000-0000-7000-8000-0000000000ad"
#define BOB "01900000-0000-7000-8000-0000000000b0"
#define ADM "01900000-0000-7000-8000-0000000000a0"

/* --- SQL past the program: "@" stands for the schema's prefix ---------------- */

static inline const struct db_stmt *sql_stmt(const char *text)
{
	static struct {
		struct db_stmt st;
		const char *text; /* a literal */
		char name[24], sql[1024];
	} kept[400];
	static size_t n;
	const char *prefix = store_is_postgres(&fixture.store) ? "gdpr." : "";
	size_t at = 0;

	assert_true(n < COUNTOF(kept));
	kept[n].text = text;
	for (size_t i = 0; i < n; i++)
		if (strcmp(kept[i].text, text) == 0)
			return &kept[i].st;
	for (; *text; text++) {
		int len = *text == '@'
		                  ? snprintf(kept[n].sql + at, 8, "%s", prefix)
		                  : snprintf(kept[n].sql + at, 2, "%c", *text);

		at += (size_t)len;
		assert_true(at < sizeof(kept[n].sql) - 8);
	}
	(void)snprintf(kept[n].name, sizeof(kept[n].name), "test.sql.%zu", n);
	kept[n].st = (struct db_stmt){kept[n].name, kept[n].sql, NULL};
	return &kept[n++].st;
}

struct sql_run {
	const struct db_stmt *st;
};

static inline enum err sql_fn(struct db *db, void *arg)
{
	const struct sql_run *r = arg;

	return db_run(db, r->st, NULL, 0, NULL);
}

static inline enum err sql_try(const char *text)
{
	struct sql_run r = {sql_stmt(text)};

	return fixture_write(sql_fn, &r);
}

static inline void sql(const char *text)
{
	assert_int_equal(sql_try(text), OK);
}

static inline int64_t sql_i64(const char *text)
{
	return store_i64(fixture.pool, sql_stmt(text));
}

/* As somebody does who owns the database and knows how. */
static inline void triggers_off(void)
{
	static const char *const sqlite[] = {
		"DROP TRIGGER audit_log_UPDATE",
		"DROP TRIGGER audit_log_DELETE",
		"DROP TRIGGER audit_log_INSERT",
		"DROP TRIGGER audit_log_once",
		"DROP TRIGGER audit_head_UPDATE",
		"DROP TRIGGER audit_head_DELETE",
		"DROP TRIGGER audit_head_INSERT",
		"DROP TRIGGER audit_checkpoint_UPDATE",
		"DROP TRIGGER audit_checkpoint_DELETE",
		"DROP TRIGGER audit_checkpoint_INSERT",
		"DROP TRIGGER audit_person_UPDATE",
		"DROP TRIGGER audit_person_INSERT",
		"DROP TRIGGER audit_detail_UPDATE",
		"DROP TRIGGER audit_detail_INSERT",
	};
	static const char *const postgres[] = {
		"ALTER TABLE gdpr.audit_log DISABLE TRIGGER USER",
		"ALTER TABLE gdpr.audit_head DISABLE TRIGGER USER",
		"ALTER TABLE gdpr.audit_checkpoint DISABLE TRIGGER USER",
		"ALTER TABLE gdpr.audit_person DISABLE TRIGGER USER",
		"ALTER TABLE gdpr.audit_detail DISABLE TRIGGER USER",
	};
	bool pg = store_is_postgres(&fixture.store);
	const char *const *all = pg ? postgres : sqlite;
	size_t n = pg ? COUNTOF(postgres) : COUNTOF(sqlite);

	for (size_t i = 0; i < n; i++)
		sql(all[i]);
}

/* --- rows -------------------------------------------------------------------------- */

struct appending {
	struct ctx cx;
	struct audit_note note;
	enum err then; /* what the transaction ends with */
};

static inline enum err append_fn(struct db *db, void *arg)
{
	const struct appending *a = arg;
	enum err e = audit_append(db, &a->cx, &a->note);

	return e ? e : a->then;
}

static inline enum err append_note(const struct audit_note *note,
                                   const char *actor)
{
	struct appending a = {.cx = store_ctx(60000), .note = *note};

	a.cx.sub = str_from(actor);
	a.cx.role = ROLE_USER;
	a.cx.ip = STR("203.0.113.7");
	a.cx.ua = STR("Firefox");
	return fixture_write(append_fn, &a);
}

/* Something that `actor` did to what is `sub`'s. */
static inline void did(const char *actor, const char *sub)
{
	const struct audit_note note = {
		.event = AUDIT_IS(API_KEY_CREATED),
		.sub = str_from(sub),
		.resource_type = "api_key",
		.resource_id = STR("key-1"),
		.data = {{"name", STR("laptop"), 0}},
	};

	assert_int_equal(append_note(&note, actor), OK);
}

static inline void did_at(const char *actor, int64_t at_ms)
{
	const struct audit_note note = {.event = AUDIT_IS(LOGIN),
	                                .sub = str_from(actor),
	                                .at_ms = at_ms};

	assert_int_equal(append_note(&note, actor), OK);
}

static inline struct audit_report verified(const struct audit_at *expect)
{
	struct audit_report r = {.expect = expect};

	assert_int_equal(fixture_read(audit_verify, &r), OK);
	return r;
}

static inline void is_whole(int64_t rows)
{
	struct audit_report r = verified(NULL);

	if (r.why)
		fail_msg("seq %lld: %s", (long long)r.bad, r.why);
	assert_int_equal(r.rows, rows);
}

static inline int audit_up(void **state)
{
	return fixture_up(state);
}

static inline int audit_down(void **state)
{
	return fixture_down(state);
}

#endif
