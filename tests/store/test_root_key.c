/*
 * Root keys (root_key.h): made, taken over from before there were any, sealed
 * anew under another KEY_ENCRYPTION_KEY, and refused.
 */
#include "tests/store/auth_fixture.h"

#include "svc-gdpr/erasure.h"
#include "svc-gdpr/migrations.h"
#include "svc-gdpr/receipt.h"

#define OLD   "old-key-of-thirty-two-characters-or-more"
#define NEW   "new-key-of-thirty-two-characters-or-more"
#define THIRD "third-key-of-thirty-two-characters-or-so"

/* --- opening -------------------------------------------------------------------- */

/* As a process that starts with these keys, over any service's database. */
static enum err open_as(struct root_key *r, struct db_pool *pool,
                        root_probe_fn *probe, struct str text,
                        struct root_keys *out)
{
	const struct settings s = {.env = ENV_PRODUCTION,
	                           .key_encryption_key = text};
	struct ctx cx = store_ctx(30000);

	return root_key_open(r, pool, &cx, &s, probe, out);
}

static enum err open_with(const char *text, struct root_keys *out)
{
	return open_as(fx.root, fx.pool, signing_probe, str_from(text), out);
}

static struct str id_of(const char *text, struct kek_ring *ring)
{
	assert_null(kek_parse(str_from(text), ring));
	return str_from(ring->kek[0].id);
}

struct seen {
	char kek[KEK_ID + 1];
	unsigned char sealed[SEAL_MAX];
	size_t n, rows;
};

static enum err take(void *arg, const struct db_row *row)
{
	struct seen *s = arg;
	struct str sealed = db_row_str(row, 1);

	MUST(sealed.n <= sizeof(s->sealed));
	(void)snprintf(s->kek, sizeof(s->kek), "%.*s",
	               STR_FMT(db_row_str(row, 0)));
	memcpy(s->sealed, sealed.p, sealed.n);
	s->n = sealed.n;
	s->rows++;
	return OK;
}

static enum err read_row(struct db *db, void *arg)
{
	static const struct db_stmt st = {
		"test.root", "SELECT kek, sealed FROM root_key",
		"SELECT kek, sealed FROM auth.root_key"};
	const struct db_sink sink = {take, arg};

	return db_run(db, &st, NULL, 0, &sink);
}

static struct seen row(void)
{
	struct ctx cx = store_ctx(30000);
	struct seen s = {.n = 0};

	assert_int_equal(db_read(fx.pool, &cx, read_row, &s), OK);
	return s;
}

static void assert_sealed_under(const char *text)
{
	struct kek_ring ring;
	struct seen s = row();

	assert_int_equal(s.rows, 1);
	assert_true(str_eq(str_from(s.kek), id_of(text, &ring)));
}

/* Refused with this key, and the row is as it was. */
static void assert_refuses(const char *text)
{
	struct root_keys out = {.seal = {{7}}}, before = out;
	struct seen was = row(), is;

	assert_int_equal(open_with(text, &out), ERR_INVALID);
	assert_memory_equal(&out, &before, sizeof(out));
	is = row();
	assert_int_equal(is.rows, was.rows);
	assert_string_equal(is.kek, was.kek);
	assert_memory_equal(is.sealed, was.sealed, was.n);
}

static void assert_gives(const char *text, const struct root_keys *want)
{
	struct root_keys got = {0};

	assert_int_equal(open_with(text, &got), OK);
	assert_memory_equal(&got, want, sizeof(got));
}

/* --- new databases ----------------------------------------------------------------- */

static int empty(void **state)
{
	struct ctx cx = store_ctx(30000);

	(void)state;
	return db_write(fx.pool, &cx, clear, NULL) ? -1 : 0;
}

static void a_new_database_gets_random_keys_once(void **state)
{
	struct root_keys a = {0};
	struct seal_key derived;
	struct seen s;

	(void)state;
	assert_int_equal(open_with(OLD, &a), OK);
	seal_key_from_text(STR(OLD), &derived);
	assert_memory_not_equal(&a.seal, &derived, sizeof(derived));
	assert_memory_not_equal(&a.seal, &a.hash, sizeof(a.hash));
	assert_gives(OLD, &a);
	s = row();
	assert_null(memmem(s.sealed, s.n, &a.seal, sizeof(a.seal)));
	assert_null(memmem(s.sealed, s.n, &a.hash, sizeof(a.hash)));
	assert_sealed_under(OLD);
}

/* --- another key --------------------------------------------------------------------- */

static void a_key_is_replaced_by_another(void **state)
{
	struct root_keys a = {0};

	(void)state;
	assert_int_equal(open_with(OLD, &a), OK);
	assert_refuses(NEW); /* which lacks the old one */
	assert_gives(OLD "," NEW, &a);
	assert_sealed_under(OLD); /* the first seals */
	assert_gives(NEW "," OLD, &a);
	assert_sealed_under(NEW);
	assert_gives(NEW, &a);
	assert_refuses(OLD);
	assert_refuses(THIRD);
	/* And back, as after a restored backup. */
	assert_gives(THIRD "," OLD "," NEW, &a);
	assert_sealed_under(THIRD);
}

#define REPLICAS 8

struct crowd {
	atomic_uint next, good;
	struct root_keys got[REPLICAS];
};

static void *replica(void *arg)
{
	struct crowd *c = arg;
	unsigned i = atomic_fetch_add(&c->next, 1);
	AUTO(root_key) r = root_key_new("auth");

	MUST(r != NULL);
	if (!open_as(r, fx.pool, signing_probe, STR(NEW "," OLD), &c->got[i]))
		atomic_fetch_add(&c->good, 1);
	return NULL;
}

static void replicas_that_seal_anew_at_once_agree(void **state)
{
	struct crowd c = {.next = 0};
	struct root_keys a = {0};

	(void)state;
	assert_int_equal(open_with(OLD, &a), OK);
	store_threads(REPLICAS, replica, &c);
	assert_int_equal(c.good, REPLICAS);
	for (int i = 0; i < REPLICAS; i++)
		assert_memory_equal(&c.got[i], &a, sizeof(a));
	assert_sealed_under(NEW);
	assert_gives(NEW, &a);
}

static void replicas_that_begin_at_once_make_one(void **state)
{
	struct crowd c = {.next = 0};

	(void)state;
	store_threads(REPLICAS, replica, &c);
	assert_int_equal(c.good, REPLICAS);
	for (int i = 1; i < REPLICAS; i++)
		assert_memory_equal(&c.got[i], &c.got[0], sizeof(c.got[0]));
	assert_gives(NEW, &c.got[0]);
}

/* Another key's id, or bytes of elsewhere, open nothing. */
static void an_altered_row_is_refused(void **state)
{
	struct root_keys a = {0};
	const char *blobs[] = {
		"''", store_is_postgres(&fx.store) ? "'\\x00'" : "x'00'",
		store_is_postgres(&fx.store) ? "repeat('x', 500)::bytea"
					     : "zeroblob(500)"};
	struct kek_ring ring;
	char sql[160];

	(void)state;
	assert_int_equal(open_with(OLD, &a), OK);
	(void)snprintf(sql, sizeof(sql), "UPDATE %sroot_key SET kek = '%s'",
	               store_is_postgres(&fx.store) ? "auth." : "",
	               id_of(NEW, &ring).p);
	store_exec(fx.pool, sql);
	assert_refuses(OLD);
	assert_refuses(NEW);
	assert_refuses(NEW "," OLD);
	for (size_t i = 0; i < COUNTOF(blobs); i++) {
		(void)snprintf(sql, sizeof(sql),
		               "UPDATE %sroot_key SET kek = '%s', sealed = %s",
		               store_is_postgres(&fx.store) ? "auth." : "",
		               id_of(OLD, &ring).p, blobs[i]);
		store_exec(fx.pool, sql);
		assert_refuses(OLD);
	}
}

static bool says_of(struct root_key *r, enum health_state want,
                    const char *words)
{
	struct ctx cx = store_ctx(30000);
	char detail[160];

	root_key_look(r, fx.pool, &cx);
	return root_key_check(r, detail, sizeof(detail)) == want &&
	       strstr(detail, words);
}

static void a_process_says_that_it_could_not_start_again(void **state)
{
	AUTO(root_key) old = root_key_new("auth");
	AUTO(root_key) both = root_key_new("auth");
	struct root_keys a = {0};

	(void)state;
	assert_true(says_of(old, HEALTH_UP, "not opened"));
	assert_int_equal(open_as(old, fx.pool, signing_probe, STR(OLD), &a),
	                 OK);
	assert_true(says_of(old, HEALTH_UP, "of 1 given"));
	assert_int_equal(open_as(both, fx.pool, signing_probe, STR(OLD "," NEW),
	                         &a),
	                 OK);
	assert_gives(NEW "," OLD, &a);
	assert_true(says_of(fx.root, HEALTH_UP, "of 2 given"));
	assert_true(says_of(both, HEALTH_DEGRADED, "comes first here"));
	assert_true(says_of(old, HEALTH_DEGRADED, "a restart would lack"));
}

/* --- from before there were root keys ------------------------------------------------- */

static struct root_keys legacy(const char *text)
{
	struct root_keys k;

	seal_key_from_text(str_from(text), &k.seal);
	k.hash = k.seal;
	return k;
}

/* svc-auth has run with this key, as it did before. */
static void has_run_with(const char *text)
{
	struct root_keys keys = legacy(text);
	const struct auth_conf conf = {.settings = &fx.settings,
	                               .pool = fx.pool,
	                               .keys = &keys,
	                               .events = fx.events,
	                               .idem = fx.idem,
	                               .kick = kick,
	                               .push = push};
	AUTO(arena) arena = arena_new((size_t)1 << 20);
	struct ctx cx = store_ctx(30000);

	auth_free(STEAL(fx.auth));
	assert_int_equal(empty(NULL), 0);
	cx.arena = arena;
	assert_int_equal(auth_new(&conf, &cx, &fx.auth), OK);
}

static void what_was_sealed_before_stays_readable(void **state)
{
	struct root_keys want = legacy(OLD);
	AUTO_BUF token = {0};
	struct member m = {0};
	struct jwt_claims c;

	(void)state;
	has_run_with(OLD);
	join("elder", &m);
	{
		AUTO_CALL in = login(str_from(m.key));

		buf_str(&token, text(&in, "token"));
	}
	assert_refuses(NEW);
	assert_int_equal(row().rows, 0);
	assert_gives(OLD, &want);
	assert_sealed_under(OLD);

	fx.settings.key_encryption_key = STR(NEW "," OLD);
	assert_int_equal(restart(), OK);
	assert_sealed_under(NEW);
	fx.settings.key_encryption_key = STR(NEW);
	assert_int_equal(restart(), OK);
	assert_int_equal(accepted(fx.auth, buf_view(&token), &c), OK);
	assert_int_equal(verdict(str_from(m.key)), OK);
}

static void an_upgrade_and_another_key_may_come_at_once(void **state)
{
	struct root_keys want = legacy(OLD);

	(void)state;
	has_run_with(OLD);
	assert_refuses(NEW "," THIRD);
	assert_gives(NEW "," OLD, &want);
	assert_sealed_under(NEW);
	assert_gives(NEW, &want);
}

/* Before there were lists, a comma was a character like any other. */
static void a_key_with_a_comma_in_it_is_taken_over(void **state)
{
	struct root_keys want = legacy(OLD "," NEW);

	(void)state;
	has_run_with(OLD "," NEW);
	assert_refuses(OLD);
	assert_gives(OLD "," NEW, &want);
	assert_sealed_under(OLD);
}

static enum err fails(struct db *db, const struct seal_key *key,
                      enum root_claim *out)
{
	(void)db;
	(void)key;
	*out = ROOT_UNUSED;
	return ERR_DATABASE;
}

static void a_failing_database_writes_nothing_and_may_be_tried_again(
	void **state)
{
	struct root_keys a = {0};

	(void)state;
	assert_int_equal(open_as(fx.root, fx.pool, fails, STR(OLD), &a),
	                 ERR_DATABASE);
	assert_int_equal(row().rows, 0);
	assert_int_equal(open_with(OLD, &a), OK);
}

/* --- of svc-gdpr ------------------------------------------------------------------------ */

static struct gdpr {
	struct store store;
	struct db_pool *pool;
	struct root_key *root;
} gdpr;

static int gdpr_up(void **state)
{
	(void)state;
	store_open(&gdpr.store, "gdpr");
	gdpr.pool = store_pool(&gdpr.store);
	gdpr.root = root_key_new("gdpr");
	return gdpr.root && !db_migrate(gdpr.pool, gdpr_migrations,
	                                GDPR_MIGRATIONS)
	               ? 0
	               : -1;
}

static int gdpr_down(void **state)
{
	(void)state;
	root_key_free(gdpr.root);
	db_pool_free(gdpr.pool);
	store_close(&gdpr.store);
	return 0;
}

static enum err gdpr_open(const char *text, struct root_keys *out)
{
	return open_as(gdpr.root, gdpr.pool, desk_probe, str_from(text), out);
}

static void assert_taken_over(void)
{
	struct root_keys want = legacy(OLD), got = {0};

	assert_int_equal(gdpr_open(NEW "," OLD, &got), OK);
	assert_memory_equal(&got, &want, sizeof(got));
}

static void a_new_gdpr_database_gets_random_keys(void **state)
{
	struct root_keys old = legacy(OLD), got = {0};

	(void)state;
	assert_int_equal(gdpr_open(OLD, &got), OK);
	assert_memory_not_equal(&got.seal, &old.seal, sizeof(old.seal));
}

static enum err add_receipt_key(struct db *db, void *arg)
{
	struct root_keys old = legacy(OLD);
	struct seal_key use;
	struct receipt_key made;

	(void)arg;
	seal_key_for(&old.seal, "kae-receipt-keys", &use);
	return receipt_key_load(db, &use, 1, &made);
}

static void keys_of_receipts_tell_what_sealed_them(void **state)
{
	struct ctx cx = store_ctx(30000);
	struct root_keys got = {0};

	(void)state;
	assert_int_equal(db_write(gdpr.pool, &cx, add_receipt_key, NULL), OK);
	assert_int_equal(gdpr_open(NEW, &got), ERR_INVALID);
	assert_taken_over();
}

#define RECEIPT "00000000-0000-7000-8000-000000000001"

static enum err order_erasure(struct db *db, void *arg)
{
	AUTO_BUF body = {0};

	mp_map(&body, 3);
	mp_kv_text(&body, "receipt", RECEIPT);
	mp_kv_text(&body, "sub", "00000000-0000-7000-8000-000000000002");
	mp_kv_i64(&body, "at", 1700000000000);
	return erasure_ordered(arg, db, buf_view(&body));
}

static void erasures_under_way_tell_what_sealed_them(void **state)
{
	struct ctx cx = store_ctx(30000);
	struct root_keys old = legacy(OLD), got = {0};
	struct eraser_desk *d = NULL;

	(void)state;
	assert_int_equal(desk_new(&(struct desk_conf){.pool = gdpr.pool,
	                                              .keys = &old},
	                          &d),
	                 OK);
	assert_int_equal(db_write(gdpr.pool, &cx, order_erasure, d), OK);
	desk_free(d);
	assert_int_equal(gdpr_open(NEW, &got), ERR_INVALID);
	assert_taken_over();
}

/* One that is older may be at work beside us, and order an erasure. */
static void a_used_database_takes_the_oldest_key_over(void **state)
{
	(void)state;
	store_exec(gdpr.pool,
	           store_is_postgres(&gdpr.store)
	                   ? "INSERT INTO gdpr.inbox (source, sub, seq) "
	                     "VALUES ('auth', 's', 1)"
	                   : "INSERT INTO inbox (source, sub, seq) "
	                     "VALUES ('auth', 's', 1)");
	assert_taken_over();
}

#define ANEW(f) cmocka_unit_test_setup(f, empty)
#define GDPR(f) cmocka_unit_test_setup_teardown(f, gdpr_up, gdpr_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ANEW(a_new_database_gets_random_keys_once),
		ANEW(a_key_is_replaced_by_another),
		ANEW(replicas_that_seal_anew_at_once_agree),
		ANEW(replicas_that_begin_at_once_make_one),
		ANEW(an_altered_row_is_refused),
		ANEW(a_process_says_that_it_could_not_start_again),
		ANEW(a_failing_database_writes_nothing_and_may_be_tried_again),
		TEST(what_was_sealed_before_stays_readable),
		TEST(an_upgrade_and_another_key_may_come_at_once),
		TEST(a_key_with_a_comma_in_it_is_taken_over),
		GDPR(a_new_gdpr_database_gets_random_keys),
		GDPR(keys_of_receipts_tell_what_sealed_them),
		GDPR(erasures_under_way_tell_what_sealed_them),
		GDPR(a_used_database_takes_the_oldest_key_over),
	};

	return cmocka_run_group_tests(tests, up, down);
}
