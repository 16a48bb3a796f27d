/*
 * What of idempotency keys needs no second database: the two hashes, and every
 * allocation failing.  tests/store/test_idempotency.c has the rest.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "common/service/idem_hash.h"
#include "tests/alloc_fault.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what was asked ------------------------------------------------------------ */

static bool print_of(const struct str body, const struct ctx *cx,
                     unsigned char out[IDEM_HASH])
{
	const struct effect ef = {.method = "m", .body = body};

	return idem_hash_print(NULL, cx, &ef, out);
}

static void json_print(const char *json, unsigned char out[IDEM_HASH])
{
	const struct ctx cx = {.role = ROLE_USER};
	struct json_error at;
	AUTO_BUF mp = {0};

	assert_true(json_to_mp(str_from(json), &mp, &at));
	assert_true(print_of(buf_view(&mp), &cx, out));
}

static bool same_print(const char *a, const char *b)
{
	unsigned char x[IDEM_HASH], y[IDEM_HASH];

	json_print(a, x);
	json_print(b, y);
	return memcmp(x, y, IDEM_HASH) == 0;
}

static void the_order_of_members_does_not_matter(void **state)
{
	static const char *const same[][2] = {
		{"{}", " { } "},
		{"{\"a\":1,\"b\":2}", "{ \"b\": 2, \"a\": 1 }"},
		{"{\"a\":{\"b\":1,\"c\":[1,2]},\"d\":null}",
	         "{\"d\":null,\"a\":{\"c\":[1,2],\"b\":1}}"},
		{"[{\"a\":1,\"b\":2},3]", "[{\"b\":2,\"a\":1},3]"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(same); i++)
		if (!same_print(same[i][0], same[i][1]))
			fail_msg("%s", same[i][1]);
}

static void everything_else_does(void **state)
{
	static const char *const all[] = {
		"{}",
		"[]",
		"null",
		"0",
		"\"\"",
		"false",
		"true",
		"1",
		"1.0",
		"-1",
		"\"1\"",
		"[1,2]",
		"[2,1]",
		"[[1],2]",
		"[1,[2]]",
		"[[1,2]]",
		"{\"a\":1}",
		"{\"a\":2}",
		"{\"b\":1}",
		"{\"a\":1,\"b\":1}",
		"{\"a\":[1]}",
		"{\"a\":{}}",
		"{\"a\":null}",
		"{\"a\":\"b\",\"c\":\"d\"}",
		"{\"a\":\"d\",\"c\":\"b\"}",
		"{\"a\":{\"b\":1}}",
		"{\"b\":{\"a\":1}}",
		"{\"a\":{\"b\":1},\"c\":{}}",
		"{\"a\":{},\"c\":{\"b\":1}}",
		"[\"ab\",\"c\"]",
		"[\"a\",\"bc\"]",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(all); i++)
		for (size_t k = 0; k < i; k++)
			if (same_print(all[i], all[k]))
				fail_msg("%s and %s", all[i], all[k]);
}

static void who_may_what_is_in_it(void **state)
{
	static const struct ctx all[] = {
		{.role = ROLE_USER},
		{.role = ROLE_ADMIN},
		{.role = ROLE_USER, .scopes = SCOPE_READ},
		{.role = ROLE_USER, .scopes = SCOPE_READ | SCOPE_WRITE},
	};
	unsigned char x[IDEM_HASH], y[IDEM_HASH];

	(void)state;
	for (size_t i = 0; i < COUNTOF(all); i++) {
		for (size_t k = 0; k < i; k++) {
			assert_true(print_of(STR("\x80"), &all[i], x));
			assert_true(print_of(STR("\x80"), &all[k], y));
			assert_memory_not_equal(x, y, IDEM_HASH);
		}
	}
}

static void the_three_inputs_are_kept_apart(void **state)
{
	const struct ctx cx = {.role = ROLE_USER};
	const struct effect all[] = {
		{.method = "m", .query = STR("\x80")},
		{.method = "m", .path = STR("\x80")},
		{.method = "m", .body = STR("\x80")},
		{.method = "m"},
		{.method = "n"},
	};
	unsigned char x[IDEM_HASH], y[IDEM_HASH];

	(void)state;
	for (size_t i = 0; i < COUNTOF(all); i++) {
		for (size_t k = 0; k < i; k++) {
			assert_true(idem_hash_print(NULL, &cx, &all[i], x));
			assert_true(idem_hash_print(NULL, &cx, &all[k], y));
			assert_memory_not_equal(x, y, IDEM_HASH);
		}
	}
}

static void a_key_gives_other_hashes(void **state)
{
	static const unsigned char key[IDEM_HASH] = {1};
	const struct ctx cx = {.sub = STR("ada"), .idk = STR("k")};
	const struct effect ef = {.method = "m"};
	unsigned char x[IDEM_HASH], y[IDEM_HASH];

	(void)state;
	idem_hash_id(NULL, &cx, &ef, x);
	idem_hash_id(key, &cx, &ef, y);
	assert_memory_not_equal(x, y, IDEM_HASH);
	assert_true(idem_hash_print(NULL, &cx, &ef, x));
	assert_true(idem_hash_print(key, &cx, &ef, y));
	assert_memory_not_equal(x, y, IDEM_HASH);
}

static void what_is_no_msgpack_has_no_print(void **state)
{
	static const struct str bad[] = {
		STR("\xc1"),
		STR("\x81"),
		STR("\x81\xa1"),
		STR("\x80\x80"),
		STR("\x91"),
		STR("\xdf\xff\xff\xff\xff"),
		STR("\xa5"
	            "abc"),
		STR("\xdd\xff\xff\xff\xff\x01"),
	};
	const struct ctx cx = {.role = ROLE_USER};
	unsigned char out[IDEM_HASH];
	char deep[100];

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_false(print_of(bad[i], &cx, out));
	memset(deep, 0x91, sizeof(deep));
	assert_false(print_of((struct str){deep, sizeof(deep)}, &cx, out));
	deep[MP_DEPTH_MAX - 1] = 1;
	assert_true(print_of((struct str){deep, MP_DEPTH_MAX}, &cx, out));
}

/* --- every allocation ------------------------------------------------------------- */

static const struct db_migration migrations[] = {
	{1, "keys", IDEM_TABLE_SQLITE "CREATE TABLE done (what TEXT NOT NULL);",
         ""},
};
static const struct db_stmt do_it = {"test.do", "INSERT INTO done VALUES ($1)",
                                     NULL};
static const struct db_stmt count_it = {
	"test.count",
	"SELECT (SELECT COUNT(*) FROM done) * 1000 + COUNT(*) "
	"FROM idempotency",
	NULL};

struct rig {
	char dir[64], url[96];
	struct db_pool *pool;
};

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct db_conf conf = {.service = "test",
	                       .size = 2,
	                       .timeout_s = 30,
	                       .recycle_s = 3600};

	assert_non_null(r);
	(void)snprintf(r->dir, sizeof(r->dir), "/tmp/kae-idem-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	(void)snprintf(r->url, sizeof(r->url), "sqlite:///%s/t.db", r->dir);
	conf.url = str_from(r->url);
	assert_int_equal(db_pool_new(&conf, &r->pool), OK);
	assert_int_equal(db_migrate(r->pool, migrations, 1), OK);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	char path[400];
	struct dirent *e;
	DIR *d;

	db_pool_free(r->pool);
	d = opendir(r->dir);
	while (d && (e = readdir(d))) {
		(void)snprintf(path, sizeof(path), "%s/%s", r->dir, e->d_name);
		(void)unlink(path);
	}
	if (d)
		(void)closedir(d);
	assert_int_equal(rmdir(r->dir), 0);
	free(r);
	return 0;
}

/* Any seal that allocates. */
static bool turned(const void *arg, struct str in, struct str label,
                   struct buf *out)
{
	(void)arg;
	(void)label;
	for (size_t i = 0; i < in.n; i++)
		buf_char(out, (char)~in.p[i]);
	return !out->failed;
}

static enum err handler(struct db *db, void *arg, struct reply *out)
{
	const struct db_val v[] = {DB_TEXT("x")};

	(void)arg;
	mp_map(&out->body, 1);
	mp_kv_text(&out->body, "did", "x");
	out->status = 201;
	return db_run(db, &do_it, v, 1, NULL);
}

/* As dispatch does it; the reply is freed here. */
static enum err request(struct idem *s, struct str key, bool *replayed)
{
	AUTO(arena) arena = arena_new((size_t)1 << 20);
	struct effect ef = {.method = "m", .body = STR("\x80")};
	struct ctx cx = {.service = "test",
	                 .arena = arena,
	                 .rid = STR("r"),
	                 .deadline_ms = mono_ms() + 20000,
	                 .sub = STR("ada"),
	                 .idk = key,
	                 .effect = &ef};
	struct reply reply = {0};
	enum err e;

	if (!arena)
		return ERR_NOMEM;
	e = idem_begin(s, &cx, &reply);
	if (!e && !reply.replayed)
		e = idem_write(s, &cx, handler, NULL, &reply);
	idem_end(s, &cx);
	*replayed = reply.replayed;
	if (!e && (reply.status != 201 || reply.body.failed ||
	           !mp_valid(buf_view(&reply.body))))
		e = ERR_INTERNAL;
	buf_fini(&reply.body);
	return e;
}

static enum err count(struct db *db, void *arg)
{
	return db_get_i64(db, &count_it, NULL, 0, arg);
}

/* 1000 for each effect, 1 for each row. */
static int64_t counted(struct rig *r)
{
	struct ctx cx = {.deadline_ms = mono_ms() + 20000, .rid = STR("r")};
	int64_t n = -1;

	assert_int_equal(db_read(r->pool, &cx, count, &n), OK);
	return n;
}

static enum err live(struct rig *r, struct str key, bool *replayed)
{
	AUTO(idem)
	s = idem_new(&(struct idem_conf){
		.service = "test", .pool = r->pool, .retention_ms = 60000});

	if (!s)
		return ERR_NOMEM;
	idem_seal(s, &(struct idem_seal){.seal = turned, .unseal = turned});
	return request(s, key, replayed);
}

/* Fails the nth allocation of a request; false when there were fewer. */
static bool fails(struct rig *r, unsigned nth, struct str key, bool *replayed)
{
	int64_t before = counted(r), after;
	enum err e;
	bool failed;

	alloc_fault_arm(nth);
	e = live(r, key, replayed);
	failed = alloc_fault_disarm();
	after = counted(r);
	/* SQLite and the pool allocate too, so a failure may be theirs. */
	assert_true(e == OK || e == ERR_NOMEM || e == ERR_DATABASE);
	assert_true(!e || failed);
	/* The effect and its row come together, or neither. */
	assert_int_equal(after - before, e || *replayed ? 0 : 1001);
	return failed;
}

static void every_allocation_of_a_first_request_may_fail(void **state)
{
	bool replayed = false, failed = true;
	char key[16];

	for (unsigned n = 1; failed; n++) {
		(void)snprintf(key, sizeof(key), "k%u", n);
		failed = fails(*state, n, str_from(key), &replayed);
		assert_false(replayed);
		/* What a failure left behind must be fit to be asked again. */
		assert_int_equal(live(*state, str_from(key), &replayed), OK);
		replayed = false;
		assert_true(n < 10000);
	}
}

static void every_allocation_of_a_repeat_may_fail(void **state)
{
	bool replayed = false, failed = true;

	assert_int_equal(live(*state, STR("k"), &replayed), OK);
	assert_false(replayed);
	for (unsigned n = 1; failed; n++) {
		failed = fails(*state, n, STR("k"), &replayed);
		assert_true(n < 10000);
	}
	assert_true(replayed);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_order_of_members_does_not_matter),
		cmocka_unit_test(everything_else_does),
		cmocka_unit_test(who_may_what_is_in_it),
		cmocka_unit_test(the_three_inputs_are_kept_apart),
		cmocka_unit_test(a_key_gives_other_hashes),
		cmocka_unit_test(what_is_no_msgpack_has_no_print),
		TEST(every_allocation_of_a_first_request_may_fail),
		TEST(every_allocation_of_a_repeat_may_fail),
	};

	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
