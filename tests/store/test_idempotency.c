/*
 * Keys, answers and effects over a store, on the database that
 * KAE_TEST_DATABASE_URL names or on SQLite.
 */
#include "common/codec/mp.h"
#include "common/service/idempotency.h"
#include "tests/store/store.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SCHEMA "test_idem"
#define ADA    STR("0190a000-0000-7000-8000-00000000ada0")
#define BOB    STR("0190a000-0000-7000-8000-00000000b0b0")
#define DAY_MS ((uint64_t)24 * 3600 * 1000)

static const struct db_migration migrations[] = {
	{1, "keys", IDEM_TABLE_SQLITE, IDEM_TABLE_POSTGRES(SCHEMA)},
	{2, "effects", "CREATE TABLE done (what TEXT NOT NULL);",
         "CREATE TABLE " SCHEMA ".done (what TEXT NOT NULL);"},
};

static const struct db_stmt do_it = {"test.do",
                                     "INSERT INTO done (what) VALUES ($1)",
                                     "INSERT INTO " SCHEMA
                                     ".done (what) VALUES ($1)"};
static const struct db_stmt count_done = {"test.done",
                                          "SELECT COUNT(*) FROM done",
                                          "SELECT COUNT(*) FROM " SCHEMA
                                          ".done"};
static const struct db_stmt count_kept = {"test.kept",
                                          "SELECT COUNT(*) FROM idempotency",
                                          "SELECT COUNT(*) FROM " SCHEMA
                                          ".idempotency"};

static struct {
	struct store store;
	struct db_pool *pool;
	struct idem *idem;
} fx;

static const char *qualified(const char *sqlite, const char *postgres)
{
	return store_is_postgres(&fx.store) ? postgres : sqlite;
}
#define EXEC(head, table, tail)                                \
	store_exec(fx.pool, qualified(head " " table " " tail, \
	                              head " " SCHEMA "." table " " tail))

static struct idem *idem_over(struct db_pool *pool)
{
	struct idem *s = idem_new(&(struct idem_conf){
		.service = SCHEMA, .pool = pool, .retention_ms = DAY_MS});

	assert_non_null(s);
	return s;
}

static int up(void **state)
{
	struct db_pool *pool;
	enum err e;

	(void)state;
	store_open(&fx.store, SCHEMA);
	pool = store_pool(&fx.store);
	e = db_migrate(pool, migrations, COUNTOF(migrations));
	db_pool_free(pool);
	return e ? -1 : 0;
}

static int down(void **state)
{
	(void)state;
	store_close(&fx.store);
	return 0;
}

/* A pool of its own for each, as a service has one pool and one idem: they name
 * statements alike. */
static int each_up(void **state)
{
	(void)state;
	fx.pool = store_pool(&fx.store);
	EXEC("DELETE FROM", "idempotency", "");
	EXEC("DELETE FROM", "done", "");
	fx.idem = idem_over(fx.pool);
	return 0;
}

static int each_down(void **state)
{
	(void)state;
	idem_free(STEAL(fx.idem));
	db_pool_free(STEAL(fx.pool));
	return 0;
}

/* --- one request ------------------------------------------------------------- */

/* What is asked, and what the handler does. */
struct ask {
	struct str sub, key; /* p NULL: ADA and "k" */
	struct str sid, ip;
	const char *method; /* NULL: "note.add" */
	struct str body;    /* msgpack */
	uint32_t scopes;
	bool session, reads;
	/* The handler: */
	enum err fails;
	size_t answer_n; /* bytes of text in the answer besides */
	void (*inside)(void *arg);
	void *arg;
	struct idem *idem; /* NULL: the fixture's */
};

struct told {
	struct ctx cx;
	struct effect ef;
	struct reply reply;
	enum err e;
	unsigned runs; /* of the handler */
};

static void told_end(struct told *t)
{
	arena_free(t->cx.arena);
	buf_fini(&t->reply.body);
}
#define AUTO_TOLD __attribute__((cleanup(told_end))) struct told

struct run {
	const struct ask *a;
	struct told *t;
};

static enum err handler(struct db *db, void *arg, struct reply *out)
{
	struct run *r = arg;
	const struct ask *a = r->a;
	const struct db_val v[] = {DB_TEXT("x")};
	enum err e = db_run(db, &do_it, v, 1, NULL);

	r->t->runs++;
	out->status = 201;
	out->headers_n = 1;
	out->headers[0].name = STR("Location");
	out->headers[0].value = STR("/done/1");
	mp_map(&out->body, 2);
	mp_kv_text(&out->body, "did", "x");
	mp_str(&out->body, STR("padding"));
	mp_str_head(&out->body, a->answer_n);
	for (size_t i = 0; i < a->answer_n; i++)
		buf_char(&out->body, 'x');
	if (a->inside)
		a->inside(a->arg);
	return e ? e : a->fails;
}

static void prepare(const struct ask *a, struct told *t)
{
	t->cx = store_ctx(30000);
	t->cx.arena = arena_new((size_t)8 << 20);
	MUST(t->cx.arena != NULL);
	t->cx.sub = a->sub.p ? a->sub : ADA;
	t->cx.sid = a->sid;
	t->cx.ip = a->ip;
	t->cx.idk = a->key.p ? a->key : STR("k");
	t->cx.scopes = a->scopes;
	t->ef = (struct effect){.method = a->method ? a->method : "note.add",
	                        .session = a->session,
	                        .body = a->body};
	t->cx.effect = &t->ef;
}

/* As dispatch does it. */
static struct told *carry_out(const struct ask *a, struct told *t)
{
	struct idem *s = a->idem ? a->idem : fx.idem;
	struct run r = {a, t};

	prepare(a, t);
	t->e = idem_begin(s, &t->cx, &t->reply);
	if (!t->e && !t->reply.replayed)
		t->e = a->reads ? idem_read(s, &t->cx, handler, &r, &t->reply)
		                : idem_write(s, &t->cx, handler, &r, &t->reply);
	idem_end(s, &t->cx);
	return t;
}

#define ASK(...)          ((struct ask){__VA_ARGS__})
#define CARRY_OUT(t, ...) carry_out(&ASK(__VA_ARGS__), (t))

static void expect(const struct told *t, enum err e, bool replayed)
{
	assert_int_equal(t->e, e);
	assert_int_equal(t->reply.replayed, replayed);
	if (e) {
		assert_int_equal(t->reply.body.n, 0);
		return;
	}
	assert_int_equal(t->runs, !replayed);
	assert_true(t->ef.written);
	assert_int_equal(t->reply.status, 201);
	assert_true(
		str_eq(mp_find_str(buf_view(&t->reply.body), "did", STR("?")),
	               STR("x")));
	assert_int_equal(t->reply.headers_n, replayed ? 2 : 1);
	assert_true(str_eq(t->reply.headers[0].value, STR("/done/1")));
	if (replayed)
		assert_true(str_eq(t->reply.headers[1].name,
		                   STR("Idempotent-Replayed")));
}

static int64_t done(void)
{
	return store_i64(fx.pool, &count_done);
}

static int64_t kept(void)
{
	return store_i64(fx.pool, &count_kept);
}

static struct idem_stats stats(void)
{
	struct idem_stats st;

	idem_stats(fx.idem, &st);
	return st;
}

/* --- once, and again ------------------------------------------------------------- */

static void a_repeat_gets_the_first_answer_and_does_nothing(void **state)
{
	AUTO_TOLD first = {0}, again = {0}, third = {0};

	(void)state;
	expect(CARRY_OUT(&first), OK, false);
	expect(CARRY_OUT(&again), OK, true);
	expect(CARRY_OUT(&third), OK, true);
	assert_true(str_eq(buf_view(&first.reply.body),
	                   buf_view(&again.reply.body)));
	assert_int_equal(done(), 1);
	assert_int_equal(kept(), 1);
	assert_int_equal(stats().stored, 1);
	assert_int_equal(stats().replayed, 2);
}

static void without_a_key_nothing_is_kept(void **state)
{
	AUTO_TOLD first = {0}, again = {0};

	(void)state;
	expect(CARRY_OUT(&first, .key = STR("")), OK, false);
	expect(CARRY_OUT(&again, .key = STR("")), OK, false);
	assert_int_equal(done(), 2);
	assert_int_equal(kept(), 0);
	assert_int_equal(stats().stored, 0);
}

static void a_function_that_reads_writes_with_a_key_only(void **state)
{
	AUTO_TOLD plain = {0}, keyed = {0}, again = {0};

	(void)state;
	assert_int_equal(CARRY_OUT(&plain, .key = STR(""), .reads = true)->e ==
	                         OK,
	                 false);
	assert_int_equal(done(), 0);
	expect(CARRY_OUT(&keyed, .reads = true), OK, false);
	expect(CARRY_OUT(&again, .reads = true), OK, true);
	assert_int_equal(done(), 1);
}

static void a_refusal_leaves_nothing_and_is_decided_anew(void **state)
{
	static const enum err refusals[] = {ERR_EXISTS, ERR_NOT_FOUND,
	                                    ERR_INTERNAL, ERR_NOMEM};

	(void)state;
	for (size_t i = 0; i < COUNTOF(refusals); i++) {
		AUTO_TOLD t = {0};

		expect(CARRY_OUT(&t, .fails = refusals[i]), refusals[i], false);
		assert_int_equal(t.reply.headers_n, 0);
		assert_false(t.ef.written);
	}
	assert_int_equal(done(), 0);
	assert_int_equal(kept(), 0);
	{
		AUTO_TOLD t = {0};

		expect(CARRY_OUT(&t), OK, false);
	}
}

static void another_request_with_the_key_is_refused(void **state)
{
	AUTO_TOLD first = {0}, again = {0};
	/* {"a": 1, "b": [2]}, in two orders, then what differs. */
	static const struct str same[] = {
		STR("\x82\xa1"
	            "a\x01\xa1"
	            "b\x91\x02"),
		STR("\x82\xa1"
	            "b\x91\x02\xa1"
	            "a\x01"),
	};
	static const struct ask others[] = {
		{.body = {"\x80", 1}},
		{.body = {NULL, 0}},
		{.body = {"\x82\xa1"
	                  "a\x02\xa1"
	                  "b\x91\x02",
	                  8}},
		{.body = {"\x82\xa1"
	                  "a\x01\xa1"
	                  "b\x91\x02",
	                  8},
	         .scopes = SCOPE_READ},
	};

	(void)state;
	expect(CARRY_OUT(&first, .body = same[0]), OK, false);
	expect(CARRY_OUT(&again, .body = same[1]), OK, true);
	for (size_t i = 0; i < COUNTOF(others); i++) {
		AUTO_TOLD t = {0};

		expect(carry_out(&others[i], &t), ERR_OTHER_BODY, false);
		assert_int_equal(t.runs, 0);
	}
	assert_int_equal(done(), 1);
	assert_int_equal(stats().reused, COUNTOF(others));
}

static void input_that_is_no_msgpack_is_refused(void **state)
{
	AUTO_TOLD t = {0};

	(void)state;
	expect(CARRY_OUT(&t, .body = STR("\x82\xa1")), ERR_INVALID, false);
	assert_int_equal(done(), 0);
}

static void keys_of_different_owners_are_different_keys(void **state)
{
	static const struct ask asks[] = {
		{.sub = {"ada", 3}},
		{.sub = {"bob", 3}},
		{.sub = {"ada", 3}, .method = "note.drop"},
		{.sub = {"ada", 3}, .method = "leave", .session = true},
		{.sub = {"ada", 3},
	         .method = "leave",
	         .session = true,
	         .sid = {"s1", 2}},
		{.sub = {"", 0}, .ip = {"192.0.2.1", 9}},
		{.sub = {"", 0}, .ip = {"192.0.3.1", 9}},
		{.sub = {"", 0}, .ip = {"2001:db8::1", 11}},
		{.sub = {"", 0}, .ip = {"2001:db8:0:1::1", 15}},
		{.sub = {"", 0}, .ip = {"not an address", 14}},
	};
	static const struct ask same[] = {
		{.sub = {"ada", 3}, .sid = {"s2", 2}},
		{.sub = {"", 0}, .ip = {"192.0.2.200", 11}},
		{.sub = {"", 0}, .ip = {"::ffff:192.0.2.9", 16}},
		{.sub = {"", 0}, .ip = {"2001:db8::ffff:1", 16}},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(asks) + COUNTOF(same); i++) {
		bool again = i >= COUNTOF(asks);
		struct ask a = again ? same[i - COUNTOF(asks)] : asks[i];
		AUTO_TOLD t = {0};

		a.key = STR("a-key-of-16-chars");
		expect(carry_out(&a, &t), OK, again);
	}
	assert_int_equal(done(), COUNTOF(asks));
}

static void without_a_login_a_key_must_be_hard_to_guess(void **state)
{
	AUTO_TOLD t = {0}, good = {0};

	(void)state;
	expect(CARRY_OUT(&t, .sub = STR(""), .key = STR("123456789012345")),
	       ERR_BAD_REQUEST, false);
	assert_int_equal(t.cx.problem.code, ERR_BAD_REQUEST);
	expect(CARRY_OUT(&good, .sub = STR(""), .key = STR("1234567890123456")),
	       OK, false);
}

static void an_answer_may_have_a_mebibyte(void **state)
{
	AUTO_TOLD fits = {0}, again = {0}, large = {0};

	(void)state;
	expect(CARRY_OUT(&fits, .answer_n = IDEM_ANSWER_MAX - 128), OK, false);
	expect(CARRY_OUT(&again, .answer_n = 0), OK, true);
	assert_true(str_eq(buf_view(&fits.reply.body),
	                   buf_view(&again.reply.body)));
	expect(CARRY_OUT(&large, .key = STR("l"), .answer_n = IDEM_ANSWER_MAX),
	       ERR_INTERNAL, false);
	assert_int_equal(done(), 1);
}

/* --- at once ------------------------------------------------------------------------- */

static void a_key_in_work_is_busy_until_its_end(void **state)
{
	AUTO_TOLD first = {0}, second = {0}, third = {0};

	(void)state;
	prepare(&ASK(), &first);
	assert_int_equal(idem_begin(fx.idem, &first.cx, &first.reply), OK);
	expect(CARRY_OUT(&second), ERR_KEY_BUSY, false);
	assert_int_equal(second.cx.problem.retry_after_s, 1);
	{
		AUTO_TOLD other = {0};

		expect(CARRY_OUT(&other, .key = STR("another")), OK, false);
	}
	idem_end(fx.idem, &first.cx);
	expect(CARRY_OUT(&third), OK, false);
	assert_int_equal(stats().busy, 1);
}

struct meeting {
	struct idem *other;
	struct told late;
};

/* While the first is inside its transaction. */
static void meet(void *arg)
{
	struct meeting *m = arg;

	(void)CARRY_OUT(&m->late, .idem = m->other);
}

static void among_replicas_the_transaction_holds_the_key(void **state)
{
	AUTO(db_pool) pool = NULL;
	AUTO(idem) other = NULL;
	struct meeting m = {0};
	AUTO_TOLD first = {0}, again = {0};

	(void)state;
	if (!store_is_postgres(&fx.store))
		return; /* one process has the file */
	pool = store_pool(&fx.store);
	other = idem_over(pool);
	m.other = other;
	expect(CARRY_OUT(&first, .inside = meet, .arg = &m), OK, false);
	expect(&m.late, ERR_KEY_BUSY, false);
	assert_int_equal(m.late.cx.problem.retry_after_s, 1);
	told_end(&m.late);
	expect(CARRY_OUT(&again, .idem = other), OK, true);
	assert_int_equal(done(), 1);
}

#define THREADS 12
#define ROUNDS  10

struct crowd {
	struct idem *idem[2];
	struct str key;
	atomic_uint next, did, repeated, busy;
};

static void *one_of_them(void *arg)
{
	struct crowd *c = arg;
	unsigned i = atomic_fetch_add(&c->next, 1);
	AUTO_TOLD t = {0};

	(void)CARRY_OUT(&t, .key = c->key, .idem = c->idem[i % 2]);
	if (t.e == ERR_KEY_BUSY)
		atomic_fetch_add(&c->busy, 1);
	else if (t.reply.replayed)
		atomic_fetch_add(&c->repeated, 1);
	else if (!t.e)
		atomic_fetch_add(&c->did, 1);
	return NULL;
}

static void a_crowd_with_one_key_has_one_effect(void **state)
{
	AUTO(db_pool)
	pool = store_is_postgres(&fx.store) ? store_pool(&fx.store) : NULL;
	AUTO(idem) other = idem_over(pool ? pool : fx.pool);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct crowd c = {.idem = {fx.idem, other}};
		char key[24];

		(void)snprintf(key, sizeof(key), "round %d", i);
		c.key = str_from(key);
		store_threads(THREADS, one_of_them, &c);
		assert_int_equal(c.did, 1);
		assert_int_equal(c.did + c.repeated + c.busy, THREADS);
	}
	assert_int_equal(done(), ROUNDS);
	assert_int_equal(kept(), ROUNDS);
}

/* --- a commit without an answer ------------------------------------------------- */

/* From here on the backend ends while it commits what was done. */
static void lose_commits(void)
{
	store_exec(fx.pool,
	           "CREATE OR REPLACE FUNCTION " SCHEMA ".die() RETURNS "
	           "trigger LANGUAGE plpgsql AS $$ BEGIN "
	           "PERFORM pg_terminate_backend(pg_backend_pid()); "
	           "PERFORM pg_sleep(1); RETURN NULL; END $$");
	store_exec(fx.pool,
	           "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON " SCHEMA
	           ".done DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
	           "EXECUTE FUNCTION " SCHEMA ".die()");
}

static void keep_commits(void)
{
	store_exec(fx.pool, "DROP TRIGGER die ON " SCHEMA ".done");
}

/* Puts the row there that the lost commit would have left. */
static void commit_instead(void *arg)
{
	const struct told *t = arg;
	AUTO_BUF answer = {0};
	char id[65], print[65], bytes[512], sql[1024];

	reply_pack(&answer, &t->cx, OK, &t->reply);
	MUST(!answer.failed && answer.n < 200);
	(void)sodium_bin2hex(id, sizeof(id), t->ef.id, IDEM_HASH);
	(void)sodium_bin2hex(print, sizeof(print), t->ef.print, IDEM_HASH);
	(void)sodium_bin2hex(bytes, sizeof(bytes),
	                     (const unsigned char *)answer.p, answer.n);
	(void)snprintf(sql, sizeof(sql),
	               "INSERT INTO " SCHEMA
	               ".idempotency VALUES ('\\x%s', '', '\\x%s', '\\x%s', "
	               "%lld)",
	               id, print, bytes, (long long)wall_ms());
	store_exec(fx.pool, sql);
}

static void a_lost_commit_is_looked_up(void **state)
{
	AUTO_TOLD unknown = {0}, there = {0}, again = {0};

	(void)state;
	if (!store_is_postgres(&fx.store))
		return; /* nobody can come between */
	lose_commits();
	expect(CARRY_OUT(&unknown), ERR_PEER_LOST, false);
	expect(CARRY_OUT(&there, .inside = commit_instead, .arg = &there), OK,
	       false);
	keep_commits();
	expect(CARRY_OUT(&again), OK, true);
	assert_true(str_eq(buf_view(&there.reply.body),
	                   buf_view(&again.reply.body)));
}

/* --- time ------------------------------------------------------------------------------ */

static void a_key_past_its_time_runs_anew(void **state)
{
	AUTO_TOLD first = {0}, late = {0}, anew = {0}, again = {0};

	(void)state;
	expect(CARRY_OUT(&first), OK, false);
	EXEC("UPDATE", "idempotency", "SET at = at - 86390000");
	expect(CARRY_OUT(&late), OK, true);
	EXEC("UPDATE", "idempotency", "SET at = at - 20000");
	/* Also with another body: the key is as new. */
	expect(CARRY_OUT(&anew, .body = STR("\x80")), OK, false);
	expect(CARRY_OUT(&again, .body = STR("\x80")), OK, true);
	assert_int_equal(done(), 2);
	assert_int_equal(kept(), 1);
}

#define PAST (2 * IDEM_BATCH + 10)

static void the_purge_takes_what_is_past_in_batches(void **state)
{
	struct ctx cx = store_ctx(30000);
	AUTO_TOLD fresh = {0};
	uint64_t n = 0;

	(void)state;
	expect(CARRY_OUT(&fresh), OK, false);
	store_exec(
		fx.pool,
		qualified(
			"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1010) INSERT INTO idempotency SELECT CAST(i AS BLOB), '', x'00', x'00', i FROM c",
			"INSERT INTO " SCHEMA
			".idempotency SELECT decode(lpad(i::text, 8, '0'), 'hex'), '', '\\x00', '\\x00', i FROM generate_series(1, 1010) AS i"));
	assert_int_equal(kept(), PAST + 1);
	assert_int_equal(idem_purge(fx.idem, &cx, wall_ms(), &n), OK);
	assert_int_equal(n, PAST);
	assert_int_equal(kept(), 1);
	assert_int_equal(stats().purged, PAST);
	assert_int_equal(idem_purge(fx.idem, &cx, wall_ms(), &n), OK);
	assert_int_equal(n, 0);
	assert_int_equal(idem_purge(fx.idem, &cx,
	                            wall_ms() + (int64_t)DAY_MS + 1000, &n),
	                 OK);
	assert_int_equal(n, 1);
}

static void the_purge_thread_ends_with_its_owner(void **state)
{
	(void)state;
	assert_int_equal(idem_purge_start(fx.idem), OK);
	assert_int_equal(idem_purge_start(fx.idem), OK);
}

static enum err forget(struct db *db, void *arg)
{
	int64_t rows = 0;

	return idem_forget(arg, db, ADA, &rows);
}

static void erasing_a_person_takes_their_answers_along(void **state)
{
	AUTO_TOLD ada = {0}, bob = {0}, gone = {0}, stays = {0};
	struct ctx cx = store_ctx(30000);

	(void)state;
	expect(CARRY_OUT(&ada), OK, false);
	expect(CARRY_OUT(&bob, .sub = BOB), OK, false);
	assert_int_equal(db_write(fx.pool, &cx, forget, fx.idem), OK);
	assert_int_equal(kept(), 1);
	expect(CARRY_OUT(&stays, .sub = BOB), OK, true);
	expect(CARRY_OUT(&gone), OK, false);
}

/* --- sealed ------------------------------------------------------------------------------ */

/* Marks with the label, and says so when it is not the same. */
static bool mark(const void *arg, struct str plain, struct str label,
                 struct buf *out)
{
	(void)arg;
	buf_str(out, label);
	for (size_t i = 0; i < plain.n; i++)
		buf_char(out, (char)(plain.p[i] ^ 0x55));
	return !out->failed;
}

static bool unmark(const void *arg, struct str sealed, struct str label,
                   struct buf *out)
{
	(void)arg;
	if (!str_starts(sealed, label))
		return false;
	for (size_t i = label.n; i < sealed.n; i++)
		buf_char(out, (char)(sealed.p[i] ^ 0x55));
	return !out->failed;
}

static const struct idem_seal marking = {.seal = mark, .unseal = unmark};

/* Each row gets the answer of the other. */
#define SWAP(t)                                                         \
	"UPDATE " t "idempotency SET answer = (SELECT o.answer FROM " t \
	"idempotency AS o WHERE o.id <> " t "idempotency.id)"

static void sealed_answers_are_opened_for_their_own_row(void **state)
{
	AUTO_TOLD first = {0}, again = {0}, second = {0}, swapped = {0};

	(void)state;
	idem_seal(fx.idem, &marking);
	expect(CARRY_OUT(&first), OK, false);
	expect(CARRY_OUT(&again), OK, true);
	assert_true(str_eq(buf_view(&first.reply.body),
	                   buf_view(&again.reply.body)));
	expect(CARRY_OUT(&second, .key = STR("another")), OK, false);
	store_exec(fx.pool, qualified(SWAP(""), SWAP(SCHEMA ".")));
	expect(CARRY_OUT(&swapped), ERR_INTERNAL, false);
	assert_int_equal(done(), 2);
}

static void a_row_that_cannot_be_read_is_no_answer(void **state)
{
	AUTO_TOLD first = {0}, t = {0};

	(void)state;
	expect(CARRY_OUT(&first), OK, false);
	EXEC("UPDATE", "idempotency", "SET answer = print");
	expect(CARRY_OUT(&t), ERR_INTERNAL, false);
	assert_int_equal(done(), 1);
}

static void another_seal_finds_no_row_of_before(void **state)
{
	struct idem_seal other = marking;
	AUTO_TOLD first = {0}, anew = {0};

	(void)state;
	idem_seal(fx.idem, &marking);
	expect(CARRY_OUT(&first), OK, false);
	memset(other.key, 7, sizeof(other.key));
	idem_seal(fx.idem, &other);
	expect(CARRY_OUT(&anew), OK, false);
	assert_int_equal(kept(), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, each_up, each_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_repeat_gets_the_first_answer_and_does_nothing),
		TEST(without_a_key_nothing_is_kept),
		TEST(a_function_that_reads_writes_with_a_key_only),
		TEST(a_refusal_leaves_nothing_and_is_decided_anew),
		TEST(another_request_with_the_key_is_refused),
		TEST(input_that_is_no_msgpack_is_refused),
		TEST(keys_of_different_owners_are_different_keys),
		TEST(without_a_login_a_key_must_be_hard_to_guess),
		TEST(an_answer_may_have_a_mebibyte),
		TEST(a_key_in_work_is_busy_until_its_end),
		TEST(among_replicas_the_transaction_holds_the_key),
		TEST(a_crowd_with_one_key_has_one_effect),
		TEST(a_lost_commit_is_looked_up),
		TEST(a_key_past_its_time_runs_anew),
		TEST(the_purge_takes_what_is_past_in_batches),
		TEST(the_purge_thread_ends_with_its_owner),
		TEST(erasing_a_person_takes_their_answers_along),
		TEST(sealed_answers_are_opened_for_their_own_row),
		TEST(a_row_that_cannot_be_read_is_no_answer),
		TEST(another_seal_finds_no_row_of_before),
	};

	return cmocka_run_group_tests(tests, up, down);
}
