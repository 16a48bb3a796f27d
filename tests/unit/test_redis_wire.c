#include "tests/unit/redis_server.h"

#include "common/cache/redis_wire.h"
#include "common/cache/remote.h"

/* The remote tier over the real wire and a real server; what remote.c does in
 * every state is test_remote's. */

static struct redis_server server;

/* An instance: a remote and what it was told to forget. */
struct instance {
	struct redis_wire *wire;
	struct remote *remote;
	_Atomic unsigned forgotten[CACHE_SLOTS + 1];
};

static void forgot(void *arg, unsigned slot)
{
	struct instance *in = arg;

	in->forgotten[slot]++;
}

static void await_state(const struct instance *in, enum remote_state state)
{
	uint64_t until = mono_ms() + 20000;
	struct remote_stats st;

	for (;;) {
		remote_stats(in->remote, &st);
		if (st.state == state &&
		    (state != REMOTE_IN_STEP || st.clock_known))
			return;
		assert_true(mono_ms() < until);
		nap();
	}
}

static struct instance *start(const struct redis_url *url)
{
	struct instance *in = calloc(1, sizeof(*in));
	struct remote_conf conf = {.space = STR("test"),
	                           .connect_timeout_ms = 5000,
	                           .timeout_ms = 5000,
	                           .forget = forgot,
	                           .arg = in};

	assert_non_null(in);
	in->wire = redis_wire_new(url, STR("kae-test"));
	assert_non_null(in->wire);
	conf.wire = redis_wire_of(in->wire);
	in->remote = remote_new(&conf);
	assert_non_null(in->remote);
	return in;
}

static void stop(struct instance *in)
{
	remote_free(in->remote);
	redis_wire_free(in->wire);
	free(in);
}

static enum err get(struct instance *in, struct str key, struct remote_found *f,
                    struct remote_marks *m)
{
	const uint16_t slot = remote_slot(key);

	return remote_get(in->remote, key, &slot, 1, mono_ms() + 5000, f, m);
}

static void what_is_set_is_got(void **state)
{
	struct redis_url url = redis_at_path(&server);
	struct instance *in = start(&url);
	struct remote_found f = {0};
	struct remote_marks m;
	struct str key = STR("a key");

	(void)state;
	await_state(in, REMOTE_IN_STEP);
	assert_int_equal(get(in, key, &f, &m), OK);
	assert_false(f.found);
	assert_true(m.known);
	remote_set(in->remote, key, &m, false, STR("a value"), 60000, 30000);
	assert_int_equal(get(in, key, &f, &m), OK);
	assert_true(f.found);
	assert_false(f.negative);
	assert_true(str_eq(buf_view(&f.bytes), STR("a value")));
	assert_in_range(f.ttl_ms, 50000, 60000);
	assert_int_equal(f.stale_ms, 30000);
	assert_true(remote_proof_ms(in->remote) > 0);
	remote_forget(in->remote, remote_slot(key), key);
	assert_int_equal(get(in, key, &f, &m), OK);
	assert_false(f.found);
	assert_int_equal(in->forgotten[remote_slot(key)], 1);
	buf_fini(&f.bytes);
	stop(in);
}

static int start_server(void **state)
{
	(void)state;
	redis_start(&server);
	return 0;
}

static int end_server(void **state)
{
	(void)state;
	redis_end(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_set_is_got),
	};

	return cmocka_run_group_tests(tests, start_server, end_server);
}
