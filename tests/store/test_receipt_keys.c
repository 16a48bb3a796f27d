/*
 * The pairs of keys of erasure receipts: made once, replaced when an operator takes
 * the private half away, and good for ever to verify with.
 */
#include "common/base/clock.h"
#include "common/codec/mp.h"
#include "svc-gdpr/migrations.h"
#include "svc-gdpr/receipt.h"
#include "tests/store/store.h"

static struct {
	struct store store;
	struct db_pool *pool;
	struct seal_key seal;
	int64_t now_ms;
} fx;

static int up(void **state)
{
	(void)state;
	store_open(&fx.store, "gdpr");
	fx.pool = store_pool(&fx.store);
	fx.now_ms = 1700000000000;
	memset(&fx.seal, 7, sizeof(fx.seal));
	return db_migrate(fx.pool, gdpr_migrations, GDPR_MIGRATIONS) ? -1 : 0;
}

static int down(void **state)
{
	(void)state;
	db_pool_free(fx.pool);
	store_close(&fx.store);
	return 0;
}

/* As docs/operations.md says. */
static void take_private_halves(void)
{
	store_exec(fx.pool, store_is_postgres(&fx.store)
	                            ? "UPDATE gdpr.receipt_keys SET sealed = ''"
	                            : "UPDATE receipt_keys SET sealed = ''");
}

static enum err load(struct db *db, void *arg)
{
	return receipt_key_load(db, &fx.seal, fx.now_ms, arg);
}

static struct receipt_key loaded(void)
{
	struct ctx cx = store_ctx(30000);
	struct receipt_key k = {0};

	assert_int_equal(db_write(fx.pool, &cx, load, &k), OK);
	return k;
}

static enum err pack(struct db *db, void *arg)
{
	buf_clear(arg);
	return receipt_keys_pack(db, arg);
}

static void sign(const struct receipt_key *k, struct buf *jws)
{
	AUTO_BUF payload = {0};

	mp_map(&payload, 1);
	mp_kv_text(&payload, "receipt_id", "x");
	assert_int_equal(receipt_sign(k, buf_view(&payload), jws), OK);
}

static void assert_genuine(const struct buf *jws)
{
	struct ctx cx = store_ctx(30000);
	AUTO_BUF keys = {0}, out = {0};

	assert_int_equal(db_read(fx.pool, &cx, pack, &keys), OK);
	assert_null(receipt_verify(buf_view(jws), buf_view(&keys), &out));
}

static void a_pair_is_made_once(void **state)
{
	struct receipt_key first = loaded(), again = loaded();

	(void)state;
	assert_memory_equal(&again, &first, sizeof(first));
}

static void a_replaced_pair_verifies_and_signs_no_more(void **state)
{
	struct receipt_key old = loaded(), new, again;
	AUTO_BUF before = {0}, after = {0};

	(void)state;
	sign(&old, &before);
	take_private_halves();
	new = loaded();
	assert_string_not_equal(new.kid, old.kid);
	sign(&new, &after);
	assert_genuine(&before);
	assert_genuine(&after);
	again = loaded();
	assert_memory_equal(&again, &new, sizeof(new));
}

/* Also where the clock went back between the two. */
static void the_pair_that_can_sign_is_taken(void **state)
{
	struct receipt_key old = loaded(), new, again;

	(void)state;
	take_private_halves();
	fx.now_ms -= 1000;
	new = loaded();
	assert_string_not_equal(new.kid, old.kid);
	again = loaded();
	assert_string_equal(again.kid, new.kid);
}

static void another_key_opens_none(void **state)
{
	struct ctx cx = store_ctx(30000);
	struct receipt_key k = loaded();

	(void)state;
	memset(&fx.seal, 8, sizeof(fx.seal));
	assert_int_equal(db_write(fx.pool, &cx, load, &k), ERR_INTERNAL);
	take_private_halves();
	k = loaded();
	assert_int_not_equal(k.kid[0], '\0');
}

#define ON_NEW(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_NEW(a_pair_is_made_once),
		ON_NEW(a_replaced_pair_verifies_and_signs_no_more),
		ON_NEW(the_pair_that_can_sign_is_taken),
		ON_NEW(another_key_opens_none),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
