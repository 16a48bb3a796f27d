#include "tests/unit/redis_proxy.h"
#include "tests/unit/remote_fixture.h"

/*
 * A store that is slow, broken, empty, full, hostile or somebody else's: nobody
 * waits beyond what he gave, nothing old is believed, and when it is well again
 * so is the tier.
 */

static struct redis_server server;

static void is_well_again(struct instance *in)
{
	EVENTUALLY(put(in, "well", "again"));
	forget(in, "well");
	EVENTUALLY(stats_of(in).pending == 0);
	assert_false(get(in, "well").found);
}

/* --- what it keeps is gone or not of us -------------------------------------------- */

static void a_store_that_was_emptied_is_a_new_epoch_for_all(void **state)
{
	static const char *const emptied[][3] = {
		{"FLUSHALL", NULL, NULL},
		{"FLUSHDB", NULL, NULL},
		{"UNLINK", "kae:1:{test}:g", NULL}, /* as eviction does */
		{"SET", "kae:1:{test}:g", "somebody else's"},
	};
	struct instance *a = instance_new(&server), *b = instance_new(&server);

	(void)state;
	for (size_t i = 0; i < COUNTOF(emptied); i++) {
		uint64_t all = b->forgotten[CACHE_SLOT_ALL];
		size_t n = emptied[i][2] ? 3 : emptied[i][1] ? 2 : 1;

		assert_true(put(a, "old", "value"));
		freeReplyObject(redis_ask(&server, n, emptied[i]));
		assert_false(get(a, "old").found);
		EVENTUALLY(put(a, "new", "value"));
		EVENTUALLY(b->forgotten[CACHE_SLOT_ALL] > all);
		EVENTUALLY(finds(b, "new", "value"));
		assert_false(get(b, "old").found);
	}
	instance_end(a);
	instance_end(b);
}

static void a_forgetting_in_an_emptied_store_is_not_lost(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before = heard(b, "x");

	(void)state;
	assert_true(put(b, "x", "old"));
	REDIS_TELL(&server, "UNLINK", "kae:1:{test}:g");
	forget(a, "x");
	EVENTUALLY(heard(b, "x") > before);
	assert_false(get(b, "x").found);
	is_well_again(a);
	is_well_again(b);
	instance_end(a);
	instance_end(b);
}

static void generations_that_have_gone_back_are_a_new_epoch(void **state)
{
	struct instance *in = instance_new(&server);
	char slot[8];
	uint64_t epochs;

	(void)state;
	(void)snprintf(slot, sizeof(slot), "%u", remote_slot(STR("back")));
	assert_true(put(in, "back", "1"));
	forget(in, "back");
	assert_true(put(in, "back", "2"));
	epochs = stats_of(in).epochs;
	/* In step: a get meets it. */
	REDIS_TELL(&server, "HSET", "kae:1:{test}:g", slot, "0");
	assert_false(get(in, "back").found);
	EVENTUALLY(stats_of(in).epochs == epochs + 1);
	/* Away: the next reading meets it. */
	EVENTUALLY(put(in, "back", "3"));
	forget(in, "back");
	assert_true(put(in, "back", "4"));
	cut_off(in, true);
	REDIS_TELL(&server, "HDEL", "kae:1:{test}:g", slot);
	cut_off(in, false);
	assert_int_equal(stats_of(in).epochs, epochs + 2);
	assert_false(get(in, "back").found);
	instance_end(in);
}

static void generations_that_are_none_begin_anew(void **state)
{
	static const char *const broken[][2] = {
		{"5", "many"},
		{"5", "-1"},
		{"16384", ""},
		{"e", "none"},
		{"e", "0123456789abcdeF"},
		{"e", "0000000000000000"},
		{"r", "another run"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(broken); i++) {
		struct instance *in = instance_new(&server);

		cut_off(in, true);
		REDIS_TELL(&server, "HSET", "kae:1:{test}:g", broken[i][0],
		           broken[i][1]);
		cut_off(in, false);
		is_well_again(in);
		instance_end(in);
	}
}

static void scripts_that_were_flushed_are_sent_again(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before;

	(void)state;
	assert_true(put(b, "s", "value"));
	before = heard(b, "s");
	forget(a, "r"); /* so that it takes the scripts for known */
	REDIS_TELL(&server, "SCRIPT", "FLUSH");
	assert_true(put(a, "t", "1") || put(a, "t", "1"));
	REDIS_TELL(&server, "SCRIPT", "FLUSH");
	forget(a, "s");
	/* It failed, but was not taken for done. */
	assert_false(get(a, "s").found);
	EVENTUALLY(heard(b, "s") > before);
	assert_false(get(b, "s").found);
	assert_int_equal(stats_of(a).connects, 1);
	instance_end(a);
	instance_end(b);
}

static void what_is_kept_by_our_name_is_believed_only_if_ours(void **state)
{
	const char *key = "kae:1:{test}:v:odd";
	struct instance *in = instance_new(&server);
	const struct got g = get(in, "odd");
	char *huge = malloc((8 << 20) + 1);

	(void)state;
	assert_non_null(huge);
	memset(huge, 'x', 8 << 20);
	huge[8 << 20] = '\0';
	REDIS_TELL(&server, "SET", key, "garbage", "PX", "60000");
	assert_false(get(in, "odd").found);
	REDIS_TELL(&server, "SET", key, huge, "PX", "60000");
	assert_false(get(in, "odd").found);
	REDIS_TELL(&server, "UNLINK", key);
	REDIS_TELL(&server, "LPUSH", key, "a list");
	assert_false(get(in, "odd").found);
	/* A set puts it right. */
	assert_true(put(in, "odd", "value"));
	/* One that would never go is nobody's. */
	REDIS_TELL(&server, "PERSIST", key);
	assert_false(get(in, "odd").found);
	assert_int_equal(stats_of(in).connects, 1);
	assert_int_equal(g.err, OK);
	free(huge);
	instance_end(in);
}

static void a_message_that_is_none_is_a_reason_to_read_again(void **state)
{
	static const char *const texts[] = {"", "x", "0000000000000001 5 7"};
	struct instance *in = instance_new(&server);

	(void)state;
	for (size_t i = 0; i < COUNTOF(texts); i++) {
		REDIS_TELL(&server, "PUBLISH", "kae:1:{test}:forget", texts[i]);
		is_well_again(in);
	}
	assert_int_equal(stats_of(in).connects, 1);
	/* The last had a slot and another epoch: forgotten to be sure. */
	assert_true(in->forgotten[5] > 0);
	instance_end(in);
}

/* --- the server refuses -------------------------------------------------------------- */

static void a_full_store_takes_no_values_but_forgets(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before;

	(void)state;
	assert_true(put(a, "full", "value"));
	before = heard(b, "full");
	REDIS_TELL(&server, "CONFIG", "SET", "maxmemory", "1");
	assert_true(finds(a, "full", "value"));
	assert_false(put(a, "more", "value"));
	assert_true(stats_of(a).sets_dropped > 0);
	forget(a, "full");
	assert_false(get(a, "full").found);
	assert_false(get(b, "full").found);
	EVENTUALLY(heard(b, "full") > before);
	assert_int_equal(stats_of(a).pending, 0);
	assert_int_equal(stats_of(a).breaker, BREAKER_CLOSED);
	/* Also one that comes while it is full gets in step. */
	cut_off(b, true);
	cut_off(b, false);
	REDIS_TELL(&server, "CONFIG", "SET", "maxmemory", "0");
	is_well_again(a);
	instance_end(a);
	instance_end(b);
}

static void a_replica_is_not_written_to_nor_believed(void **state)
{
	struct instance *in = instance_new(&server);
	char port[8];

	(void)state;
	(void)snprintf(port, sizeof(port), "%d", free_port());
	assert_true(put(in, "r", "value"));
	REDIS_TELL(&server, "REPLICAOF", "127.0.0.1", port);
	/* A probe finds it, also when nobody asks for anything. */
	EVENTUALLY(stats_of(in).state == REMOTE_AWAY);
	forget(in, "r");
	assert_int_equal(get(in, "r").err, ERR_UNAVAILABLE);
	REDIS_TELL(&server, "REPLICAOF", "NO", "ONE");
	await_in_step(in);
	assert_false(get(in, "r").found);
	is_well_again(in);
	instance_end(in);
}

static void a_changed_password_is_an_outage_until_it_is_right(void **state)
{
	struct instance *in = instance_new(&server);

	(void)state;
	REDIS_TELL(&server, "ACL", "SETUSER", "admin", "on", "nopass", "~*",
	           "&*", "+@all");
	REDIS_TELL(&server, "CONFIG", "SET", "requirepass", "secret");
	{
		redisContext *c = redisConnectUnix(server.path);

		freeReplyObject(redisCommand(c, "AUTH secret"));
		freeReplyObject(redisCommand(c, "CLIENT KILL TYPE normal"));
		EVENTUALLY(stats_of(in).state == REMOTE_AWAY);
		assert_int_equal(get(in, "p").err, ERR_UNAVAILABLE);
		EVENTUALLY(stats_of(in).failures > 2);
		freeReplyObject(
			redisCommand(c, "CONFIG SET requirepass %s", ""));
		redisFree(c);
	}
	await_in_step(in);
	is_well_again(in);
	instance_end(in);
}

static void who_we_are_comes_from_the_url(void **state)
{
	static const struct {
		const char *user, *password;
		bool ok;
	} cases[] = {{"kae", "p@ss", true},
	             {"kae", "wrong", false},
	             {"nobody", "p@ss", false}};
	struct redis_url url = redis_at_port(&server);

	(void)state;
	REDIS_TELL(&server, "ACL", "SETUSER", "kae", "on", ">p@ss",
	           "~kae:1:{test}:*", "&kae:1:{test}:*", "+@all", "-info",
	           "-client");
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct instance *in;

		url.db = 3;
		(void)snprintf(url.user, sizeof(url.user), "%s", cases[i].user);
		(void)snprintf(url.password, sizeof(url.password), "%s",
		               cases[i].password);
		in = instance_try(&url, 5000);
		assert_non_null(in);
		if (cases[i].ok) {
			await_in_step(in);
			is_well_again(in);
		} else {
			EVENTUALLY(stats_of(in).failures > 1);
			assert_int_equal(stats_of(in).state, REMOTE_AWAY);
		}
		instance_end(in);
	}
}

static void too_many_clients_is_an_outage_until_there_is_room(void **state)
{
	struct instance *in = instance_new(&server);
	redisContext *c = redisConnectUnix(server.path);

	(void)state;
	freeReplyObject(redisCommand(c, "CONFIG SET maxclients 1"));
	freeReplyObject(redisCommand(c, "CLIENT KILL TYPE pubsub"));
	EVENTUALLY(stats_of(in).failures > 2);
	assert_true(stats_of(in).state != REMOTE_IN_STEP);
	freeReplyObject(redisCommand(c, "CONFIG SET maxclients 1000"));
	redisFree(c);
	await_in_step(in);
	is_well_again(in);
	instance_end(in);
}

/* --- the server is slow ---------------------------------------------------------------- */

/* A server that stands still, from its making to its end. */
static void stop_server(bool stopped)
{
	assert_int_equal(kill(server.pid, stopped ? SIGSTOP : SIGCONT), 0);
}

static void a_server_that_stands_still_costs_no_more_than_was_given(
	void **state)
{
	struct instance *in = instance_new(&server);
	uint64_t began, refused = 0;

	(void)state;
	assert_true(put(in, "slow", "value"));
	stop_server(true);
	for (unsigned i = 0; i < REMOTE_FAILURES; i++) {
		began = mono_ms();
		/* Given less than ten, a get says nothing of the store. */
		assert_int_equal(get_within(in, "slow", 150).err, ERR_TIMEOUT);
		assert_in_range(mono_ms() - began, 150, 3000);
	}
	assert_int_equal(stats_of(in).breaker, BREAKER_OPEN);
	began = mono_ms();
	for (unsigned i = 0; i < 1000; i++)
		refused += get_within(in, "slow", 20).err == ERR_UNAVAILABLE;
	assert_true(refused > 900 && mono_ms() - began < 2000);
	forget(in, "slow");
	stop_server(false);
	EVENTUALLY(!get(in, "slow").err);
	assert_int_equal(stats_of(in).breaker, BREAKER_CLOSED);
	assert_false(get(in, "slow").found);
	is_well_again(in);
	instance_end(in);
}

static void a_server_that_stands_still_too_long_is_lost(void **state)
{
	struct redis_url url = redis_at_path(&server);
	struct instance *in = instance_at(&url, 300);
	uint64_t proof;

	(void)state;
	assert_true(put(in, "hang", "value"));
	stop_server(true);
	EVENTUALLY(stats_of(in).state == REMOTE_AWAY);
	proof = remote_proof_ms(in->remote);
	forget(in, "hang");
	assert_int_equal(stats_of(in).pending, 1);
	EVENTUALLY(stats_of(in).failures > 2);
	assert_int_equal(remote_proof_ms(in->remote), proof);
	stop_server(false);
	await_in_step(in);
	assert_false(get(in, "hang").found);
	is_well_again(in);
	instance_end(in);
}

static void sets_to_a_server_that_stands_still_are_bounded(void **state)
{
	static char bytes[REMOTE_VALUE_MAX];
	struct instance *in = instance_new(&server);
	struct got g = get(in, "bulk");

	(void)state;
	stop_server(true);
	for (unsigned i = 0; i < 64; i++)
		remote_set(in->remote, STR("bulk"), &g.marks, false,
		           (struct str){bytes, sizeof(bytes)}, 60000, 0);
	assert_true(stats_of(in).sets_dropped > 50);
	stop_server(false);
	is_well_again(in);
	instance_end(in);
}

static void a_value_that_was_long_on_its_way_lives_that_much_less(void **state)
{
	struct instance *in = instance_new(&server);
	struct got g = get(in, "way");
	uint64_t sent;

	(void)state;
	stop_server(true);
	sent = mono_ms();
	remote_set(in->remote, STR("way"), &g.marks, false, STR("v"), 60000, 0);
	EVENTUALLY(mono_ms() > sent + 700);
	stop_server(false);
	EVENTUALLY(finds(in, "way", "v"));
	g = get(in, "way");
	assert_in_range(g.ttl_ms, 30000, 60000 - 650);
	instance_end(in);
}

static void a_clock_that_is_told_late_lets_nothing_live_longer(void **state)
{
	struct instance *in = instance_new(&server);
	uint64_t stopped;
	struct got g;

	(void)state;
	in->stop_at_time = server.pid;
	EVENTUALLY(in->stop_at_time == 0);
	stopped = mono_ms();
	EVENTUALLY(mono_ms() > stopped + REMOTE_PROBE_MS / 2);
	stop_server(false);
	g = get(in, "clock"); /* answered after the time */
	g.marks.asked_ms -= 20000;
	remote_set(in->remote, STR("clock"), &g.marks, false, STR("v"), 60000,
	           0);
	g = get(in, "clock");
	assert_true(g.found);
	assert_in_range(g.ttl_ms, 20000, 40000);
	instance_end(in);
}

/* --- another process -------------------------------------------------------------------- */

static void a_server_that_comes_back_is_not_believed_for_its_dump(void **state)
{
	struct instance *in = instance_new(&server);
	char file[96];
	uint64_t epochs;

	(void)state;
	for (int with_dump = 0; with_dump < 2; with_dump++) {
		assert_true(put(in, "dump", "value"));
		if (with_dump)
			REDIS_TELL(&server, "SAVE");
		epochs = stats_of(in).epochs;
		redis_kill(&server);
		EVENTUALLY(stats_of(in).state == REMOTE_AWAY);
		assert_int_equal(get(in, "dump").err, ERR_UNAVAILABLE);
		redis_start(&server);
		await_in_step(in);
		assert_int_equal(stats_of(in).epochs, epochs + 1);
		assert_false(get(in, "dump").found);
		is_well_again(in);
	}
	(void)snprintf(file, sizeof(file), "%s/dump.rdb", server.folder);
	assert_int_equal(unlink(file), 0);
	instance_end(in);
}

static void two_servers_of_one_address_are_not_taken_for_one(void **state)
{
	struct redis_server other = {0};
	struct redis_proxy proxy;
	struct redis_url url = redis_at_port(&server);
	struct instance *in;

	(void)state;
	redis_start(&other);
	proxy_start(&proxy, server.port, other.port);
	proxy.mode = PROXY_APART;
	(void)snprintf(url.port, sizeof(url.port), "%d", proxy.port & 0xffff);
	in = instance_try(&url, 5000);
	assert_non_null(in);
	EVENTUALLY(stats_of(in).failures > 2);
	assert_int_equal(stats_of(in).connects, 0);
	proxy.mode = PROXY_PASS;
	await_in_step(in);
	instance_end(in);
	proxy_end(&proxy);
	redis_end(&other);
}

/* --- what it says is no answer ------------------------------------------------------------ */

#define NEST "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"

static void what_makes_no_sense_is_a_lost_connection(void **state)
{
	static const struct {
		int mode;
		const char *text;
	} cases[] = {
		{PROXY_SAY, "HTTP/1.1 400 Bad Request\r\n\r\n"},
		{PROXY_SAY, "\r\n\r\n\r\n"},
		{PROXY_SAY, "$-2\r\n"},
		{PROXY_SAY, "$99999999999999999999\r\n"},
		{PROXY_SAY, "*2147483647\r\n"},
		{PROXY_SAY, "*-5\r\n"},
		{PROXY_SAY, NEST NEST},
		{PROXY_SAY, ":1\r\n"},
		{PROXY_SAY, "*0\r\n"},
		{PROXY_SAY, "*3\r\n:1\r\n$-1\r\n*-1\r\n"},
		{PROXY_SAY, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"},
		{PROXY_SAY, "-LOADING Redis is loading the dataset\r\n"},
		{PROXY_SAY, "-ERR unknown command\r\n"},
		{PROXY_SAY, "-\r\n"},
		{PROXY_HALF, NULL},
		{PROXY_MUTE, NULL},
		{PROXY_CLOSE, NULL},
	};
	struct redis_proxy proxy;
	struct redis_url url = redis_at_port(&server);

	(void)state;
	proxy_start(&proxy, server.port, 0);
	(void)snprintf(url.port, sizeof(url.port), "%d", proxy.port & 0xffff);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct instance *in = instance_at(&url, 300);
		uint64_t failures = stats_of(in).failures;

		EVENTUALLY(put(in, "sense", "value"));
		proxy.text = cases[i].text;
		proxy.mode = cases[i].mode;
		/* In step at first, then while it connects again. */
		while (stats_of(in).state == REMOTE_IN_STEP) {
			struct got g = get_within(in, "sense", 20);

			assert_false(!g.err && g.found &&
			             strcmp(g.text, "value") != 0);
		}
		forget(in, "sense");
		EVENTUALLY(stats_of(in).failures > failures + 1);
		assert_int_equal(get(in, "sense").err, ERR_UNAVAILABLE);
		proxy.mode = PROXY_PASS;
		await_in_step(in);
		assert_false(get(in, "sense").found);
		instance_end(in);
	}
	proxy_end(&proxy);
}

static void what_a_lost_connection_swallowed_is_said_again(void **state)
{
	struct redis_proxy proxy;
	struct redis_url url = redis_at_port(&server);
	struct instance *in, *other = instance_new(&server);
	uint64_t before;

	(void)state;
	proxy_start(&proxy, server.port, 0);
	(void)snprintf(url.port, sizeof(url.port), "%d", proxy.port & 0xffff);
	in = instance_at(&url, 5000);
	assert_true(put(other, "swallowed", "value"));
	before = heard(other, "swallowed");
	proxy.mode = PROXY_CLOSE;
	forget(in, "swallowed"); /* in step, as far as it knows */
	EVENTUALLY(stats_of(in).pending == 1);
	assert_true(finds(other, "swallowed", "value"));
	proxy.mode = PROXY_PASS;
	EVENTUALLY(stats_of(in).pending == 0);
	await_in_step(in);
	assert_false(get(in, "swallowed").found);
	EVENTUALLY(heard(other, "swallowed") > before);
	assert_false(get(other, "swallowed").found);
	instance_end(in);
	instance_end(other);
	proxy_end(&proxy);
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

/* With a server of its own, as each spoils it in another way. */
#define ALONE(test) \
	cmocka_unit_test_setup_teardown(test, start_server, end_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(a_store_that_was_emptied_is_a_new_epoch_for_all),
		ALONE(a_forgetting_in_an_emptied_store_is_not_lost),
		ALONE(generations_that_have_gone_back_are_a_new_epoch),
		ALONE(generations_that_are_none_begin_anew),
		ALONE(scripts_that_were_flushed_are_sent_again),
		ALONE(what_is_kept_by_our_name_is_believed_only_if_ours),
		ALONE(a_message_that_is_none_is_a_reason_to_read_again),
		ALONE(a_full_store_takes_no_values_but_forgets),
		ALONE(a_replica_is_not_written_to_nor_believed),
		ALONE(a_changed_password_is_an_outage_until_it_is_right),
		ALONE(who_we_are_comes_from_the_url),
		ALONE(too_many_clients_is_an_outage_until_there_is_room),
		ALONE(a_server_that_stands_still_costs_no_more_than_was_given),
		ALONE(a_server_that_stands_still_too_long_is_lost),
		ALONE(sets_to_a_server_that_stands_still_are_bounded),
		ALONE(a_value_that_was_long_on_its_way_lives_that_much_less),
		ALONE(a_clock_that_is_told_late_lets_nothing_live_longer),
		ALONE(a_server_that_comes_back_is_not_believed_for_its_dump),
		ALONE(two_servers_of_one_address_are_not_taken_for_one),
		ALONE(what_makes_no_sense_is_a_lost_connection),
		ALONE(what_a_lost_connection_swallowed_is_said_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
