/*
 * The audit log on the database that KAE_TEST_DATABASE_URL names, or on SQLite:
 * order, what the triggers refuse, what the hashes find, erasure, pruning.
 */
#include "svc-gdpr/apply.h"
#include "svc-gdpr/audit_tables.h"

#include "common/base/uuid.h"
#include "common/codec/mp.h"
#include "tests/store/audit_fixture.h"

#include <stdatomic.h>

#define DAY_MS INT64_C(86400000)

static int64_t days_ago(int64_t days)
{
	return wall_ms() - days * DAY_MS;
}

/* --- appending ------------------------------------------------------------------ */

static void an_empty_log_is_whole(void **state)
{
	struct audit_report r = verified(NULL);
	char text[AUDIT_HEAD_MAX];

	(void)state;
	assert_null(r.why);
	assert_int_equal(r.rows, 0);
	assert_int_equal(r.head.seq, 0);
	assert_true(str_eq(audit_at_text(&r.head, text),
	                   STR("0:00000000000000000000000000000000"
	                       "00000000000000000000000000000000")));
}

static void rows_are_a_chain(void **state)
{
	(void)state;
	did(ADA, ADA);
	did(ADM, ADA);
	did("", "");
	is_whole(3);
	assert_int_equal(verified(NULL).head.seq, 3);
}

/* More rows than a page of the walk. */
static void a_long_log_is_walked_to_its_end(void **state)
{
	const struct audit_note note = {.event = AUDIT_IS(LOGIN),
	                                .sub = STR(ADA)};

	(void)state;
	for (int i = 0; i < AUDIT_PAGE + 1; i++)
		assert_int_equal(append_note(&note, ADA), OK);
	is_whole(AUDIT_PAGE + 1);
}

static void a_row_names_nobody(void **state)
{
	(void)state;
	did(ADA, ADA);
	did(ADM, ADA);
	did(BOB, BOB);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_log WHERE "
	                         "subject = '" ADA "' OR actor = '" ADA "' "
	                         "OR resource_type LIKE '%laptop%'"),
	                 0);
	/* One pseudonym per person, wherever they are in it. */
	assert_int_equal(sql_i64("SELECT COUNT(DISTINCT subject) "
	                         "FROM @audit_log WHERE length(subject) = 32"),
	                 2);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_person"), 3);
	assert_int_equal(
		sql_i64("SELECT COUNT(*) FROM @audit_log l JOIN @audit_person "
	                "p ON p.pseudonym = l.subject WHERE p.sub = '" ADA "'"),
		2);
}

/* A transaction that fails behind the append, as at a crash. */
static void what_is_not_committed_leaves_no_gap(void **state)
{
	struct appending a = {.cx = store_ctx(60000),
	                      .note = {.event = AUDIT_IS(LOGIN),
	                               .sub = STR(ADA)},
	                      .then = ERR_DENIED};

	(void)state;
	did(BOB, BOB);
	assert_int_equal(fixture_write(append_fn, &a), ERR_DENIED);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_person "
	                         "WHERE sub = '" ADA "'"),
	                 0);
	did(BOB, BOB);
	is_whole(2);
}

/* --- events ------------------------------------------------------------------------ */

struct delivery {
	struct event ev[4];
	const struct event *due[4];
	size_t n;
};

static enum err deliver_fn(struct db *db, void *arg)
{
	struct delivery *d = arg;

	return gdpr_apply_last(NULL, db, d->due, d->n);
}

static void deliver(struct delivery *d)
{
	for (size_t i = 0; i < d->n; i++)
		d->due[i] = &d->ev[i];
	assert_int_equal(fixture_write(deliver_fn, d), OK);
}

static struct event event_of(const char *sub, struct str body)
{
	struct event ev = {.source = STR("auth"),
	                   .sub = str_from(sub),
	                   .type = AUDIT_TYPE,
	                   .body = body,
	                   .seq = 1,
	                   .at = wall_ms()};

	(void)uuid7(ev.id);
	return ev;
}

static void an_event_is_in_the_log_once(void **state)
{
	const struct audit_note note = {.event = AUDIT_IS(LOGIN_FAILED),
	                                .outcome = AUDIT_FAILED};
	struct ctx cx = store_ctx(1000);
	struct delivery d = {.n = 2};
	AUTO_BUF body = {0};

	(void)state;
	audit_pack(&body, &cx, &note);
	d.ev[0] = d.ev[1] = event_of("nobody", buf_view(&body));
	deliver(&d);
	deliver(&d);
	is_whole(1);
	/* Nobody is a subject without a person. */
	assert_int_equal(
		sql_i64("SELECT COUNT(*) FROM @audit_log WHERE subject = ''"),
		1);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_person"), 0);
}

/* Refusing them would hold up all later events of the person. */
static void an_event_without_sense_is_left_out(void **state)
{
	static const char *const keys[] = {"ev", "cat", "out", "role"};
	const struct audit_note note = {.event = AUDIT_IS(LOGIN)};
	struct ctx cx = store_ctx(1000);
	struct delivery d = {.n = 3};
	AUTO_BUF good = {0};
	AUTO_BUF bad = {0};
	AUTO_BUF map = {0};

	(void)state;
	mp_map(&bad, COUNTOF(keys) + 1);
	for (size_t i = 0; i < COUNTOF(keys); i++)
		mp_kv_str(&bad, keys[i], STR("\xff"));
	mp_kv_map(&bad, "data", 0);
	mp_map(&map, 0);
	audit_pack(&good, &cx, &note);
	d.ev[0] = event_of(ADA, buf_view(&bad));
	d.ev[1] = event_of(ADA, buf_view(&map));
	d.ev[2] = event_of(ADA, buf_view(&good));
	deliver(&d);
	is_whole(1);
}

/* A clock that is ahead would keep the log from being pruned. */
static void a_time_to_come_is_now(void **state)
{
	(void)state;
	did_at(ADA, wall_ms() + 1000 * DAY_MS);
	assert_in_range(sql_i64("SELECT MAX(at) FROM @audit_log"), 1,
	                wall_ms());
}

/* --- only appending ------------------------------------------------------------------ */

static void nothing_but_appending_is_allowed(void **state)
{
	static const char *const both[] = {
		"UPDATE @audit_log SET outcome = 'ok' WHERE seq = 2",
		"UPDATE @audit_log SET seq = 9 WHERE seq = 2",
		"DELETE FROM @audit_log WHERE seq = 3",
		"DELETE FROM @audit_log WHERE seq = 1",
		"DELETE FROM @audit_log",
		"UPDATE @audit_head SET seq = 2",
		"UPDATE @audit_head SET seq = 4",
		"UPDATE @audit_head SET hash = (SELECT hash FROM @audit_log "
		"WHERE seq = 1)",
		"DELETE FROM @audit_head",
		"INSERT INTO @audit_head (id, seq, hash) SELECT 2, seq, hash "
		"FROM @audit_head",
		/* a checkpoint at rows that are young, or at none */
		"INSERT INTO @audit_checkpoint (seq, hash, log_seq, at) "
		"SELECT seq, hash, 3, 0 FROM @audit_log WHERE seq = 2",
		"INSERT INTO @audit_checkpoint (seq, hash, log_seq, at) "
		"SELECT 99, hash, 3, 0 FROM @audit_log WHERE seq = 2",
		"INSERT INTO @audit_checkpoint (seq, hash, log_seq, at) "
		"SELECT 1, hash, 3, 0 FROM @audit_log WHERE seq = 2",
		"UPDATE @audit_person SET sub = '" BOB "' "
		"WHERE sub = '" ADA "'",
		"UPDATE @audit_detail SET salt = body WHERE seq = 1",
		"INSERT INTO @audit_log SELECT 1, 'new', at, event, category, "
		"source, outcome, subject, actor, role, resource_type, detail, "
		"hash FROM @audit_log WHERE seq = 2",
	};
	static const char *const sqlite[] = {
		"INSERT OR REPLACE INTO audit_log SELECT 1, 'new', at, event, "
		"category, source, outcome, subject, actor, role, "
		"resource_type, detail, hash FROM audit_log WHERE seq = 2",
		"UPDATE OR REPLACE audit_log SET seq = 1 WHERE seq = 2",
		"REPLACE INTO audit_head (id, seq, hash) "
		"SELECT id, 2, hash FROM audit_head",
		"REPLACE INTO audit_person (sub, pseudonym) SELECT sub, "
		"'x' FROM audit_person WHERE sub = '" ADA "'",
		"REPLACE INTO audit_detail (seq, salt, body) "
		"SELECT 1, salt, body FROM audit_detail WHERE seq = 2",
	};
	static const char *const postgres[] = {
		"TRUNCATE gdpr.audit_log",
		"TRUNCATE gdpr.audit_head",
		"TRUNCATE gdpr.audit_checkpoint",
		"TRUNCATE gdpr.audit_person",
		"TRUNCATE gdpr.audit_detail",
		"TRUNCATE gdpr.audit_log, gdpr.audit_head CASCADE",
		"INSERT INTO gdpr.audit_head (id, seq, hash) "
		"SELECT id, 2, hash FROM gdpr.audit_head "
		"ON CONFLICT (id) DO UPDATE SET seq = excluded.seq",
	};
	bool pg = store_is_postgres(&fixture.store);
	const char *const *own = pg ? postgres : sqlite;
	size_t own_n = pg ? COUNTOF(postgres) : COUNTOF(sqlite);

	(void)state;
	did(ADA, ADA);
	did(ADM, ADA);
	did(BOB, BOB);
	for (size_t i = 0; i < COUNTOF(both); i++)
		if (sql_try(both[i]) == OK)
			fail_msg("allowed: %s", both[i]);
	for (size_t i = 0; i < own_n; i++)
		if (sql_try(own[i]) == OK)
			fail_msg("allowed: %s", own[i]);
	is_whole(3);
}

/* SQLite's trigger does not fail then, it ignores: what was there stays. */
static void an_id_cannot_be_put_in_place_of_another(void **state)
{
	bool pg = store_is_postgres(&fixture.store);
	enum err e;

	(void)state;
	did(ADA, ADA);
	did(BOB, BOB);
	e = sql_try(pg ? "INSERT INTO gdpr.audit_log SELECT 3, id, at, event, "
	                 "category, source, outcome, subject, actor, role, "
	                 "resource_type, detail, hash FROM gdpr.audit_log "
	                 "WHERE seq = 1 ON CONFLICT (id) DO UPDATE SET seq = 3"
	               : "INSERT OR REPLACE INTO audit_log SELECT 3, id, at, "
	                 "event, category, source, outcome, subject, actor, "
	                 "role, resource_type, detail, hash FROM audit_log "
	                 "WHERE seq = 1");
	assert_true(pg ? e != OK : e == OK);
	is_whole(2);
}

/* --- tampering --------------------------------------------------------------------------- */

#define SET(what) "UPDATE @audit_log SET " what " WHERE seq = 3"

/* Each of them on a log of five rows of which the third is an administrator's
 * about Ada. */
static const struct tampering {
	const char *sql[3];
	int64_t bad;
} tamperings[] = {
	{{SET("id = 'x'")}, 3},
	{{SET("at = at + 1")}, 3},
	{{SET("event = 'logout'")}, 3},
	{{SET("category = 'admin'")}, 3},
	{{SET("source = 'content'")}, 3},
	{{SET("outcome = 'failed'")}, 3},
	{{SET("subject = ''")}, 3},
	{{SET("actor = subject")}, 3},
	{{SET("role = 'admin'")}, 3},
	{{SET("resource_type = resource_type || '0'")}, 3},
	/* a letter moved from one field into the next */
	{{SET("event = 'api_key_create', category = 'd' || category")}, 3},
	{{SET("detail = hash")}, 3},
	{{SET("hash = detail")}, 3},
	{{"UPDATE @audit_detail SET body = salt WHERE seq = 3"}, 3},
	{{"UPDATE @audit_detail SET salt = body WHERE seq = 3"}, 3},
	{{"DELETE FROM @audit_detail WHERE seq = 3"}, 3},
	{{"UPDATE @audit_detail SET seq = 9 WHERE seq = 3",
          "UPDATE @audit_detail SET seq = 3 WHERE seq = 4",
          "UPDATE @audit_detail SET seq = 4 WHERE seq = 9"},
         3},
	{{"DELETE FROM @audit_log WHERE seq = 3"}, 3},
	{{"DELETE FROM @audit_log WHERE seq = 1"}, 1},
	{{"DELETE FROM @audit_log WHERE seq = 5"}, 5},
	{{"DELETE FROM @audit_log"}, 1},
	/* a row out, and those behind it moved up */
	{{"DELETE FROM @audit_log WHERE seq = 3",
          "UPDATE @audit_log SET seq = 3 WHERE seq = 4",
          "UPDATE @audit_log SET seq = 4 WHERE seq = 5"},
         3},
	/* two change places */
	{{"UPDATE @audit_log SET seq = 9 WHERE seq = 2",
          "UPDATE @audit_log SET seq = 2 WHERE seq = 4",
          "UPDATE @audit_log SET seq = 4 WHERE seq = 9"},
         2},
	/* one doubled at the end */
	{{"INSERT INTO @audit_log SELECT 6, 'x', at, event, category, source, "
          "outcome, subject, actor, role, resource_type, detail, hash "
          "FROM @audit_log WHERE seq = 5"},
         6},
	{{"UPDATE @audit_head SET hash = (SELECT hash FROM @audit_log "
          "WHERE seq = 4)"},
         5},
	{{"UPDATE @audit_head SET seq = 4"}, 5},
	{{"UPDATE @audit_head SET seq = 7"}, 6},
	{{"DELETE FROM @audit_head"}, 0},
	/* a beginning that nobody stated */
	{{"INSERT INTO @audit_checkpoint (seq, hash, log_seq, at) "
          "SELECT seq, hash, 5, 0 FROM @audit_log WHERE seq = 2",
          "DELETE FROM @audit_log WHERE seq <= 2"},
         2},
	/* an erasure that was not: the row for it is not part of the chain */
	{{"DELETE FROM @audit_detail WHERE seq = 3",
          "INSERT INTO @audit_log SELECT 6, 'x', at, 'account_erased', "
          "category, source, outcome, subject, actor, role, resource_type, "
          "'', hash FROM @audit_log WHERE seq = 3"},
         6},
};

static void five_rows(void)
{
	did(ADA, ADA);
	did(BOB, BOB);
	did(ADM, ADA);
	did(BOB, BOB);
	did(ADA, ADA);
}

/* What was done is undone with the transaction, so one log serves for all. */
struct attempt {
	const struct db_stmt *st[3];
	struct audit_report report;
};

static enum err tamper_fn(struct db *db, void *arg)
{
	struct attempt *a = arg;
	enum err e = OK;

	for (size_t k = 0; k < COUNTOF(a->st) && a->st[k] && !e; k++)
		e = db_run(db, a->st[k], NULL, 0, NULL);
	if (!e)
		e = audit_verify(db, &a->report);
	return e ? e : ERR_DENIED;
}

static void every_tampering_is_found_at_its_place(void **state)
{
	(void)state;
	five_rows();
	triggers_off();
	for (size_t i = 0; i < COUNTOF(tamperings); i++) {
		const struct tampering *t = &tamperings[i];
		struct attempt a = {0};

		for (size_t k = 0; k < COUNTOF(t->sql) && t->sql[k]; k++)
			a.st[k] = sql_stmt(t->sql[k]);
		assert_int_equal(fixture_write(tamper_fn, &a), ERR_DENIED);
		if (!a.report.why || (a.report.bad != t->bad && t->bad))
			fail_msg("%s: seq %lld %s", t->sql[0],
			         (long long)a.report.bad,
			         a.report.why ? a.report.why : "whole");
	}
	is_whole(5);
}

/* Only who noted a head can tell. */
static void an_end_that_was_cut_off_is_missed_by_a_noted_head(void **state)
{
	struct audit_at third, wrong;

	(void)state;
	did(ADA, ADA);
	did(ADA, ADA);
	did(ADA, ADA);
	third = wrong = verified(NULL).head;
	did(ADA, ADA);
	assert_null(verified(&third).why);
	wrong.hash[7] ^= 1;
	assert_non_null(verified(&wrong).why);
	assert_int_equal(verified(&wrong).bad, 3);
	triggers_off();
	sql("DELETE FROM @audit_log WHERE seq >= 3");
	sql("UPDATE @audit_head SET seq = 2, hash = (SELECT hash "
	    "FROM @audit_log WHERE seq = 2)");
	is_whole(2);
	assert_non_null(verified(&third).why);
	assert_int_equal(verified(&third).bad, 3);
}

static void a_head_is_read_as_it_is_printed(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"1",
		"1:",
		"x:00",
		"1:0g",
		"-1:00",
		"1:000000000000000000000000000000000000000000000000000000000000"
		"00",
		"1:0000000000000000000000000000000000000000000000000000000000"
		"00000000",
		"1:000000000000000000000000000000000000000000000000000000000000"
		"000g",
	};
	char text[AUDIT_HEAD_MAX];
	struct audit_at head, back;

	(void)state;
	did(ADA, ADA);
	head = verified(NULL).head;
	assert_true(audit_at_from_str(audit_at_text(&head, text), &back));
	assert_memory_equal(&head, &back, sizeof(head));
	for (size_t i = 0; i < COUNTOF(bad); i++)
		if (audit_at_from_str(str_from(bad[i]), &back))
			fail_msg("taken: %s", bad[i]);
}

/* --- erasure ------------------------------------------------------------------------------- */

struct forgetting {
	struct ctx cx;
	const char *sub;
	int64_t rows;
};

static enum err forget_fn(struct db *db, void *arg)
{
	struct forgetting *f = arg;

	return audit_forget(db, &f->cx, str_from(f->sub), &f->rows);
}

static int64_t forget(const char *sub)
{
	struct forgetting f = {store_ctx(60000), sub, -1};

	assert_int_equal(fixture_write(forget_fn, &f), OK);
	return f.rows;
}

static void an_erased_person_leaves_a_pseudonym_and_a_whole_log(void **state)
{
	struct audit_at before;

	(void)state;
	did(ADA, ADA);
	did(BOB, BOB);
	did(ADM, ADA); /* done to her */
	did(ADA, BOB); /* done by her: her address is in it */
	before = verified(NULL).head;
	assert_int_equal(forget(ADA), 3);
	is_whole(5); /* and account_erased */
	assert_null(verified(&before).why);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_person "
	                         "WHERE sub = '" ADA "'"),
	                 0);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_detail"), 1);
	assert_int_equal(sql_i64("SELECT MAX(seq) FROM @audit_detail"), 2);
	/* What was done is still there, under a name of nobody. */
	assert_int_equal(
		sql_i64("SELECT COUNT(*) FROM @audit_log WHERE subject = "
	                "(SELECT subject FROM @audit_log WHERE seq = 1)"),
		3);
	/* Once more changes nothing. */
	assert_int_equal(forget(ADA), 0);
	is_whole(5);
	did(BOB, BOB);
	is_whole(6);
}

static enum err bury(struct db *db, void *arg)
{
	AUTO(erased) t = erased_new("gdpr");
	enum err e = t ? erased_bury(t, db, STR(ADM), STR(BOB), wall_ms())
	               : ERR_NOMEM;

	return e ? e : audit_forget(db, arg, STR(ADM), NULL);
}

static enum err exhume(struct db *db, void *arg)
{
	static const struct db_stmt st = {"test.exhume", "DELETE FROM erased",
	                                  "DELETE FROM gdpr.erased"};

	(void)arg;
	return db_run(db, &st, NULL, 0, NULL);
}

static void an_event_of_a_deed_of_somebody_erased_names_nobody(void **state)
{
	const struct audit_note note = {.event = AUDIT_IS(LOGIN),
	                                .actor = STR(ADM),
	                                .role = ROLE_ADMIN};
	struct ctx cx = store_ctx(60000);
	struct delivery d = {.n = 2};
	AUTO_BUF body = {0};

	(void)state;
	cx.ip = STR("203.0.113.77");
	audit_pack(&body, &cx, &note);
	d.ev[0] = event_of(BOB, buf_view(&body));
	d.ev[1] = event_of(BOB, buf_view(&body));
	assert_int_equal(fixture_write(bury, &cx), OK);
	deliver(&d);
	is_whole(2);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_person "
	                         "WHERE sub = '" ADM "'"),
	                 0);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_log WHERE "
	                         "actor = '' AND role = 'admin'"),
	                 2);
	/* As much longer as what an address and a browser take. */
	assert_int_equal(fixture_write(exhume, NULL), OK);
	d.ev[0] = event_of(BOB, buf_view(&body));
	d.n = 1;
	deliver(&d);
	is_whole(3);
	assert_true(sql_i64("SELECT MAX(length(body)) - MIN(length(body)) "
	                    "FROM @audit_detail") >= (int64_t)cx.ip.n);
}

/* The erasure of one person is no excuse for the details of another. */
static void details_are_missed_of_those_who_were_not_erased(void **state)
{
	(void)state;
	did(ADA, ADA);
	did(BOB, BOB);
	assert_int_equal(forget(ADA), 1);
	is_whole(3);
	sql("DELETE FROM @audit_detail WHERE seq = 2");
	assert_int_equal(verified(NULL).bad, 2);
}

static void of_somebody_unknown_there_is_nothing_to_forget(void **state)
{
	(void)state;
	did("", "");
	assert_int_equal(forget(ADA), 0);
	assert_int_equal(forget(""), 0);
	is_whole(1);
}

/* --- pruning --------------------------------------------------------------------------------- */

struct pruning {
	struct ctx cx;
	int64_t most, pruned;
};

static enum err prune_fn(struct db *db, void *arg)
{
	struct pruning *p = arg;

	return audit_prune(db, &p->cx, wall_ms(), p->most, &p->pruned);
}

static int64_t prune(int64_t most)
{
	struct pruning p = {store_ctx(60000), most, -1};

	assert_int_equal(fixture_write(prune_fn, &p), OK);
	return p.pruned;
}

static void old_rows_go_and_the_rest_is_whole(void **state)
{
	struct audit_at at[8];

	(void)state;
	for (size_t i = 1; i <= 5; i++) {
		did_at(ADA, days_ago(AUDIT_KEEP_DAYS + 3));
		at[i] = verified(NULL).head;
	}
	did(ADA, ADA);
	at[6] = verified(NULL).head;
	assert_int_equal(prune(2), 2);
	is_whole(5); /* four, and the row that states it */
	assert_int_equal(prune(AUDIT_PRUNE_MAX), 3);
	is_whole(3);
	assert_int_equal(verified(NULL).first, 6);
	assert_int_equal(prune(AUDIT_PRUNE_MAX), 0);
	is_whole(3);
	assert_int_equal(sql_i64("SELECT MIN(seq) FROM @audit_detail"), 6);
	/* Heads from before: where a checkpoint lies, and where none does. */
	assert_null(verified(&at[6]).why);
	assert_null(verified(&at[5]).why);
	assert_null(verified(&at[2]).why);
	assert_int_equal(verified(&at[3]).bad, 3);
	at[5].hash[0] ^= 1;
	assert_int_equal(verified(&at[5]).bad, 5);
	at[2].hash[0] ^= 1;
	assert_int_equal(verified(&at[2]).bad, 2);
	did(BOB, BOB);
	is_whole(4);
}

#define PUT_BACK                                                      \
	"INSERT INTO @audit_log SELECT 1, 'x', at, event, category, " \
	"source, outcome, subject, actor, role, resource_type, "      \
	"detail, hash FROM @audit_log WHERE seq = 2"

static void young_rows_stay_also_behind_a_checkpoint(void **state)
{
	(void)state;
	did_at(ADA, days_ago(AUDIT_KEEP_DAYS + 3));
	did_at(ADA, days_ago(AUDIT_KEEP_DAYS - 3));
	did_at(ADA, days_ago(AUDIT_KEEP_DAYS + 3));
	assert_int_equal(prune(AUDIT_PRUNE_MAX), 1);
	assert_int_equal(prune(AUDIT_PRUNE_MAX), 0);
	/* Old, but behind one that is not. */
	assert_int_not_equal(sql_try("DELETE FROM @audit_log WHERE seq = 3"),
	                     OK);
	assert_int_not_equal(
		sql_try("INSERT INTO @audit_checkpoint (seq, hash, log_seq, "
	                "at) SELECT seq, hash, 4, 0 FROM @audit_log "
	                "WHERE seq = 3"),
		OK);
	assert_int_not_equal(sql_try("DELETE FROM @audit_checkpoint"), OK);
	assert_int_not_equal(
		sql_try("UPDATE @audit_checkpoint SET seq = 3, hash = "
	                "(SELECT hash FROM @audit_log WHERE seq = 3)"),
		OK);
	is_whole(3);
	/* Nor can what went be put back. */
	assert_int_not_equal(sql_try(PUT_BACK), OK);
	is_whole(3);
	triggers_off();
	sql(PUT_BACK);
	assert_int_equal(verified(NULL).bad, 1);
}

static void a_log_that_went_without_being_pruned_is_found(void **state)
{
	(void)state;
	did_at(ADA, days_ago(AUDIT_KEEP_DAYS + 3));
	did(ADA, ADA);
	/* The trigger lets a checkpoint lie here: but no row states it. */
	sql("INSERT INTO @audit_checkpoint (seq, hash, log_seq, at) "
	    "SELECT seq, hash, 2, 0 FROM @audit_log WHERE seq = 1");
	sql("DELETE FROM @audit_log WHERE seq = 1");
	assert_int_equal(verified(NULL).bad, 1);
}

static void an_erased_person_is_pruned_with_the_rest(void **state)
{
	(void)state;
	did_at(ADA, days_ago(AUDIT_KEEP_DAYS + 3));
	assert_int_equal(forget(ADA), 1);
	assert_int_equal(prune(AUDIT_PRUNE_MAX), 1);
	is_whole(2);
}

/* --- many at once ------------------------------------------------------------------------------ */

#define THREADS 8
#define EACH    25

static void *append_many(void *arg)
{
	static const char *const people[] = {ADA, BOB, ADM};
	atomic_uint *next = arg;
	unsigned me = atomic_fetch_add(next, 1);

	for (unsigned i = 0; i < EACH; i++) {
		const struct audit_note note = {
			.event = AUDIT_IS(LOGIN),
			.sub = str_from(people[(me + i) % COUNTOF(people)])};

		MUST(append_note(&note, people[i % COUNTOF(people)]) == OK);
	}
	return NULL;
}

/* One connection for each of them. */
static void wide_pool(void)
{
	struct db_conf conf = store_conf(&fixture.store);

	db_pool_free(fixture.pool);
	fixture.pool = NULL;
	conf.size = THREADS;
	assert_int_equal(db_pool_new(&conf, &fixture.pool), OK);
}

static void appends_of_many_threads_are_one_chain(void **state)
{
	atomic_uint next = 0;

	(void)state;
	wide_pool();
	store_threads(THREADS, append_many, &next);
	is_whole(THREADS * EACH);
	assert_int_equal(sql_i64("SELECT COUNT(*) FROM @audit_person"), 3);
}

/*
 * Two sources, each with events that lock a person and rows of the log in one
 * transaction: of Ada and then Bob, and of Bob alone.  Were the head locked
 * between the people, the first would hold it and wait for Bob, whom the second
 * holds and waits for the head.
 */
struct mixed {
	struct event_store *events;
	atomic_uint next;
};

static void pack_event(struct buf *b, const char *sub, struct str type,
                       int64_t seq, struct str body)
{
	char id[UUID_MAX];

	mp_map(b, 6);
	mp_kv_str(b, "id", uuid7(id));
	mp_kv_text(b, "sub", sub);
	mp_kv_str(b, "type", type);
	mp_kv_i64(b, "seq", seq);
	mp_kv_i64(b, "at", wall_ms());
	mp_text(b, "b");
	mp_raw(b, body);
}

static void pack_call(struct buf *b, const char *src, int64_t from)
{
	const char *const people[] = {ADA, BOB};
	bool auth = strcmp(src, "auth") == 0;
	const struct audit_note note = {.event = AUDIT_IS(DATA_EXPORT)};
	struct ctx cx = store_ctx(1000);
	struct str type = auth ? STR("user.registered") : STR("quiz.submitted");
	AUTO_BUF deed = {0};
	AUTO_BUF told = {0};

	mp_map(&deed, 4);
	mp_kv_text(&deed, "hnd", "ada");
	mp_kv_i64(&deed, "score", 1);
	mp_kv_i64(&deed, "total", 2);
	mp_kv_bool(&deed, "earns", true);
	audit_pack(&told, &cx, &note);
	mp_map(b, 2);
	mp_kv_text(b, "src", src);
	mp_kv_array(b, "events", auth ? 4 : 2);
	for (size_t i = auth ? 0 : 1; i < COUNTOF(people); i++) {
		pack_event(b, people[i], type, from, buf_view(&deed));
		pack_event(b, people[i], AUDIT_TYPE, from + 1, buf_view(&told));
	}
	MUST(!b->failed);
}

static void *apply_many(void *arg)
{
	struct mixed *m = arg;
	const char *src = atomic_fetch_add(&m->next, 1) ? "content" : "auth";

	for (int64_t i = 0; i < EACH; i++) {
		AUTO(arena) arena = arena_new(1 << 20);
		struct ctx cx = store_ctx(60000);
		AUTO_BUF body = {0};
		AUTO_BUF reply = {0};

		MUST(arena);
		cx.arena = arena;
		cx.principal = src;
		pack_call(&body, src, 2 * i + 1);
		MUST(event_apply_last(m->events, fixture.pool, &cx,
		                      buf_view(&body), gdpr_apply,
		                      gdpr_apply_last, NULL, &reply) == OK);
	}
	return NULL;
}

static void appends_wait_for_nobodys_person(void **state)
{
	struct mixed m = {.events = event_store_new("gdpr")};
	struct db_pool_stats stats;

	(void)state;
	assert_non_null(m.events);
	/* The rows are there already: what two make at once is a conflict. */
	sql("INSERT INTO @person (sub, created_at, updated_at) "
	    "VALUES ('" ADA "', 0, 0), ('" BOB "', 0, 0)");
	store_threads(2, apply_many, &m);
	event_store_free(m.events);
	is_whole(3 * EACH);
	db_pool_stats(fixture.pool, &stats);
	assert_int_equal(stats.conflicts, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, audit_up, audit_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_empty_log_is_whole),
		TEST(rows_are_a_chain),
		TEST(a_long_log_is_walked_to_its_end),
		TEST(a_row_names_nobody),
		TEST(what_is_not_committed_leaves_no_gap),
		TEST(an_event_is_in_the_log_once),
		TEST(an_event_without_sense_is_left_out),
		TEST(a_time_to_come_is_now),
		TEST(nothing_but_appending_is_allowed),
		TEST(an_id_cannot_be_put_in_place_of_another),
		TEST(every_tampering_is_found_at_its_place),
		TEST(an_end_that_was_cut_off_is_missed_by_a_noted_head),
		TEST(a_head_is_read_as_it_is_printed),
		TEST(an_erased_person_leaves_a_pseudonym_and_a_whole_log),
		TEST(an_event_of_a_deed_of_somebody_erased_names_nobody),
		TEST(details_are_missed_of_those_who_were_not_erased),
		TEST(of_somebody_unknown_there_is_nothing_to_forget),
		TEST(old_rows_go_and_the_rest_is_whole),
		TEST(young_rows_stay_also_behind_a_checkpoint),
		TEST(a_log_that_went_without_being_pruned_is_found),
		TEST(an_erased_person_is_pruned_with_the_rest),
		TEST(appends_of_many_threads_are_one_chain),
		TEST(appends_wait_for_nobodys_person),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
