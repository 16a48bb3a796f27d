/* bus - who is who: secrets of two, and what a third can do without them. */
#include "tests/unit/bus_rogue.h"

#define ALL_TEXT "the one secret that all four programs know"

/* The keys of a program, from what it was given. */
static struct bus_keys keys_of(enum bus_peer self, const char *pairs)
{
	struct bus_keys k = test_keys(ALL_TEXT);

	assert_null(bus_keys_parse_pairs(str_from(pairs), self, &k));
	return k;
}

#define GW_AUTH   "gateway and auth know this and nobody else"
#define GDPR_AUTH "gdpr and auth know this and nobody else does"
#define NEW_PAIR  "gateway and auth will know this one next"
#define OTHER     "of no interest to the two that are tested"

static struct bus_keys auth_keys(void)
{
	return keys_of(PEER_AUTH, "gateway=" GW_AUTH ",gdpr=" GDPR_AUTH);
}

static struct bus_keys gateway_keys(void)
{
	return keys_of(PEER_GATEWAY,
	               "auth=" GW_AUTH ",content=" OTHER ",gdpr=" OTHER);
}

static struct bus_keys gdpr_keys(void)
{
	return keys_of(PEER_GDPR,
	               "gateway=" OTHER ",auth=" GDPR_AUTH ",content=" OTHER);
}

static void two_with_their_own_secret_talk(void **state)
{
	struct bus_keys server = auth_keys(), client = gateway_keys();
	struct service *sv = service_new("tcp", 0, &server);
	struct answer a;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, &client, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(ask(&l, "e").e, OK);
	a = ask(&l, "b500000");
	assert_int_equal(a.n, 500000);
	assert_int_equal(stats(sv).bad_frames, 0);
	loop_fini(&l);
	service_end(sv);
}

static void a_secret_of_two_is_replaced_without_a_break(void **state)
{
	static const struct {
		const char *gateway, *auth;
	} steps[] = {
		{"auth=" GW_AUTH ",auth=" NEW_PAIR, "gateway=" GW_AUTH},
		{"auth=" GW_AUTH ",auth=" NEW_PAIR,
	         "gateway=" GW_AUTH ",gateway=" NEW_PAIR},
		{"auth=" NEW_PAIR ",auth=" GW_AUTH,
	         "gateway=" GW_AUTH ",gateway=" NEW_PAIR},
		{"auth=" NEW_PAIR, "gateway=" NEW_PAIR ",gateway=" GW_AUTH},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(steps); i++) {
		char text[400];
		struct bus_keys server, client;
		struct service *sv;
		struct loop l;

		(void)snprintf(text, sizeof(text), "%s,gdpr=" OTHER,
		               steps[i].auth);
		server = keys_of(PEER_AUTH, text);
		(void)snprintf(text, sizeof(text),
		               "%s,gdpr=" OTHER ",content=" OTHER,
		               steps[i].gateway);
		client = keys_of(PEER_GATEWAY, text);
		sv = service_new("ipc", 0, &server);
		assert_true(loop_init(&l, &client, 0));
		loop_to(&l, sv);
		LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
		assert_int_equal(ask(&l, "e").e, OK);
		assert_int_equal(stats(sv).bad_frames, 0);
		loop_fini(&l);
		service_end(sv);
	}
}

/* What a program that was taken over knows, and whom it says it is. */
#define OLD "an old secret of thirty-two characters"
#define NEW "a new secret of thirty-two characters!"

/* 100 calls, of which some are under way when the keys change. */
static void call_while(struct loop *l, struct service *sv, const char *client,
                       const char *server)
{
	struct bus_keys c = test_keys(client), s = test_keys(server);
	struct answer a[100] = {{0}};

	for (unsigned i = 0; i < COUNTOF(a); i++) {
		struct bus_call call = call_of(STR("e"), &a[i]);

		(void)start(l, &call);
		if (i % 10 == 0)
			loop_turn(l, 0);
		if (i == 33)
			bus_client_rekey(l->client, &c);
		if (i == 66)
			assert_int_equal(bus_server_rekey(sv->server, &s), OK);
	}
	for (unsigned i = 0; i < COUNTOF(a); i++) {
		LOOP_UNTIL(l, a[i].finals);
		assert_int_equal(a[i].e, OK);
	}
}

static void secrets_are_rotated_without_a_lost_call(void **state)
{
	static const char *const steps[][2] = {
		{OLD "," NEW, OLD},         {OLD "," NEW, OLD "," NEW},
		{NEW "," OLD, OLD "," NEW}, {NEW "," OLD, NEW "," OLD},
		{NEW, NEW "," OLD},         {NEW, NEW},
	};
	struct bus_server_stats n;
	struct bus_keys old = test_keys(OLD);
	struct service *sv;
	struct loop l;
	struct bus_keys stranger = test_keys(OLD);

	(void)state;
	sv = service_new("tcp", 0, &old);
	assert_true(loop_init(&l, &old, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	for (size_t i = 0; i < COUNTOF(steps); i++)
		call_while(&l, sv, steps[i][0], steps[i][1]);
	bus_server_stats(sv->server, &n);
	assert_int_equal(n.bad_frames, 0);

	/* And the old one is worth nothing any more. */
	bus_client_rekey(l.client, &stranger);
	assert_int_not_equal(ask(&l, "e").e, OK);
	bus_server_stats(sv->server, &n);
	assert_true(n.bad_mac > 0);
	loop_fini(&l);
	service_end(sv);
}

static void nobody_else_can_claim_to_be_the_gateway(void **state)
{
	struct bus_keys server = auth_keys();
	struct bus_keys gdpr = gdpr_keys(), only_all = test_keys(ALL_TEXT);
	const struct {
		const struct bus_keys *keys;
		enum bus_peer claimed;
		bool taken;
	} cases[] = {
		{&gdpr, PEER_GDPR, true},     /* as itself */
		{&gdpr, PEER_GATEWAY, false}, /* signed as gdpr */
		{&only_all, PEER_GATEWAY, false},
		{&only_all, PEER_GDPR, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct service *sv = service_new("tcp", 0, &server);
		struct rogue r = {0};

		dial(&r, cases[i].claimed, sv->url, cases[i].keys);
		assert_true(hears(&r)); /* the greeting: it has that secret */
		put(&r, ITEM_REQUEST, 1, 0, STR("e"));
		send_frame(&r, next_frame(&r));
		if (cases[i].taken) {
			assert_true(hears(&r));
		} else {
			wait_gone(&r);
			assert_false(hears(&r));
		}
		assert_int_equal(stats(sv).bad_mac, !cases[i].taken);
		assert_int_equal(atomic_load(&sv->begun), cases[i].taken);
		rogue_end(&r);
		service_end(sv);
	}
}

/* With the right secret for its first word, it goes on as somebody else. */
static void nobody_becomes_the_gateway_later(void **state)
{
	struct bus_keys server = auth_keys(), gdpr = gdpr_keys();
	struct service *sv = service_new("tcp", 0, &server);
	struct rogue r = {0};
	nng_msg *m;

	(void)state;
	dial(&r, PEER_GDPR, sv->url, &gdpr);
	assert_true(hears(&r));
	put(&r, ITEM_REQUEST, 1, 0, STR("e"));
	send_frame(&r, next_frame(&r));
	assert_true(hears(&r));
	put(&r, ITEM_REQUEST, 2, 0, STR("e"));
	m = next_frame(&r);
	body(m)[2] = PEER_GATEWAY;
	frame_sign(nng_msg_body(m), nng_msg_len(m),
	           gdpr.with[PEER_AUTH].key[0]);
	send_frame(&r, m);
	wait_gone(&r);
	assert_int_equal(stats(sv).bad_edge, 1);
	assert_int_equal(atomic_load(&sv->begun), 1);
	rogue_end(&r);
	service_end(sv);
}

/* It may greet, having the secret of all, but nothing it answers is believed. */
static void nobody_else_answers_for_a_service(void **state)
{
	struct bus_keys client = gateway_keys();
	struct bus_keys only_all = test_keys(ALL_TEXT);
	struct answer a = {0};
	struct bus_call c = call_of(STR("e"), &a);
	struct bus_replica row;
	struct rogue r = {0};
	struct loop l;
	char url[128];
	uint64_t id;

	(void)state;
	fresh_url(url, sizeof(url), "ipc");
	atomic_store(&rogue_pipe, 0);
	listen_as(&r, PEER_AUTH, url, &only_all);
	(void)nng_pipe_notify(r.s, NNG_PIPE_EV_ADD_POST, note_pipe, NULL);
	assert_true(loop_init(&l, &client, 0));
	assert_int_equal(bus_client_add(l.client, PEER_AUTH, str_from(url)),
	                 OK);
	while (atomic_load(&rogue_pipe) == 0)
		loop_turn(&l, 5);
	answer(&r, next_frame(&r));
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	id = start(&l, &c);
	/* It cannot check what it hears: it only learns the boot to reply to. */
	for (struct str frame = {0}; frame.n == 0;) {
		nng_msg *m;

		loop_turn(&l, 1);
		m = receive(&r, &frame);
		if (!m)
			continue;
		memcpy(&r.link.peer_boot, frame.p + 4, 8);
		r.link.peer_boot = __builtin_bswap64(r.link.peer_boot);
		nng_msg_free(m);
	}
	r.link.met = true;
	r.link.peer = PEER_GATEWAY;
	put(&r, ITEM_REPLY, id, 0, STR("believe me"));
	answer(&r, next_frame(&r));
	LOOP_UNTIL(&l, a.finals);
	/* Whether the call had left by then is a matter of moments. */
	assert_true(a.e == ERR_PEER_LOST || a.e == ERR_UNAVAILABLE);
	assert_int_equal(bus_client_replicas(l.client, &row, 1), 1);
	assert_int_equal(row.bad_frames, 1);
	loop_fini(&l);
	rogue_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_with_their_own_secret_talk),
		cmocka_unit_test(a_secret_of_two_is_replaced_without_a_break),
		cmocka_unit_test(secrets_are_rotated_without_a_lost_call),
		cmocka_unit_test(nobody_else_can_claim_to_be_the_gateway),
		cmocka_unit_test(nobody_becomes_the_gateway_later),
		cmocka_unit_test(nobody_else_answers_for_a_service),
	};

	bus_global_init();
	atomic_store(&log_threshold, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
