/* bus - frames that must not be: refused, counted, nothing of them executed. */
#include "tests/unit/bus_rogue.h"

/* One request in a frame that `spoil` has changed. */
typedef nng_msg *spoil_fn(struct rogue *r, nng_msg *m);

static nng_msg *version_2(struct rogue *r, nng_msg *m)
{
	body(m)[1] = 2;
	sign(r, m);
	return m;
}

static nng_msg *other_sender(struct rogue *r, nng_msg *m)
{
	body(m)[2] = PEER_CONTENT;
	sign(r, m);
	return m;
}

static nng_msg *cut(struct rogue *r, nng_msg *m)
{
	assert_int_equal(nng_msg_chop(m, 1), 0);
	sign(r, m);
	return m;
}

static nng_msg *head_only(struct rogue *r, nng_msg *m)
{
	(void)r;
	assert_int_equal(nng_msg_chop(m, nng_msg_len(m) - 10), 0);
	return m;
}

static nng_msg *nothing(struct rogue *r, nng_msg *m)
{
	(void)r;
	nng_msg_clear(m);
	return m;
}

static nng_msg *tampered(struct rogue *r, nng_msg *m)
{
	(void)r;
	body(m)[nng_msg_len(m) - 1] ^= 1;
	return m;
}

static nng_msg *unsigned_(struct rogue *r, nng_msg *m)
{
	(void)r;
	memmove(body(m) + FRAME_HEAD, body(m) + FRAME_HEAD_MAX,
	        nng_msg_len(m) - FRAME_HEAD_MAX);
	assert_int_equal(nng_msg_chop(m, FRAME_MAC), 0);
	body(m)[3] = 0;
	return m;
}

static nng_msg *other_key(struct rogue *r, nng_msg *m)
{
	struct bus_keys k = test_keys("not the secret of these services");

	(void)r;
	frame_sign(nng_msg_body(m), nng_msg_len(m), k.all.key[0]);
	return m;
}

static void shift_time(nng_msg *m, int64_t ms)
{
	uint64_t t;

	memcpy(&t, body(m) + 36, 8);
	t = __builtin_bswap64(__builtin_bswap64(t) + (uint64_t)ms);
	memcpy(body(m) + 36, &t, 8);
}

static nng_msg *of_yesterday(struct rogue *r, nng_msg *m)
{
	shift_time(m, -86400000);
	sign(r, m);
	return m;
}

static nng_msg *of_next_minute(struct rogue *r, nng_msg *m)
{
	shift_time(m, 60000);
	sign(r, m);
	return m;
}

static nng_msg *twice(struct rogue *r, nng_msg *m)
{
	nng_msg *copy;

	assert_int_equal(nng_msg_dup(&copy, m), 0);
	send_frame(r, m);
	return copy;
}

static nng_msg *ahead(struct rogue *r, nng_msg *m)
{
	body(m)[27] = (char)(body(m)[27] + 1);
	sign(r, m);
	return m;
}

static nng_msg *other_connection(struct rogue *r, nng_msg *m)
{
	body(m)[12] ^= 1; /* the nonce */
	sign(r, m);
	return m;
}

/* The service learns the boot from the first frame and keeps to it. */
static nng_msg *other_boot(struct rogue *r, nng_msg *m)
{
	if (r->link.serving == false) {
		send_frame(r, m);
		put(r, ITEM_REQUEST, 2, 0, STR("e"));
		m = next_frame(r);
	}
	body(m)[4] ^= 1;
	sign(r, m);
	return m;
}

static nng_msg *acks_the_future(struct rogue *r, nng_msg *m)
{
	body(m)[30] = 1;
	sign(r, m);
	return m;
}

static nng_msg *reply_kind(struct rogue *r, nng_msg *m)
{
	size_t head = frame_head_size(r->keys.all.n > 0);

	body(m)[head + 4] = ITEM_REPLY;
	memset(body(m) + head + 16, 0, 4);
	sign(r, m);
	return m;
}

static nng_msg *not_ours(struct rogue *r, nng_msg *m)
{
	body(m)[0] = 'k';
	sign(r, m);
	return m;
}

/* A good frame first: who it is cannot change afterwards. */
static nng_msg *becomes_another(struct rogue *r, nng_msg *m)
{
	send_frame(r, m);
	put(r, ITEM_REQUEST, 2, 0, STR("e"));
	m = next_frame(r);
	body(m)[2] = PEER_GDPR;
	sign(r, m);
	return m;
}

static void add_items(nng_msg *m, unsigned n, size_t bytes)
{
	char *p = calloc(1, ITEM_HEAD + bytes);
	struct item it = {.kind = ITEM_REQUEST, .arg = 5000};

	assert_non_null(p);
	for (unsigned i = 0; i < n; i++) {
		it.cid = 100 + i;
		it.bytes = (struct str){p + ITEM_HEAD, bytes};
		item_head_put(p, &it);
		assert_int_equal(nng_msg_append(m, p, ITEM_HEAD + bytes), 0);
	}
	free(p);
}

static nng_msg *too_many_items(struct rogue *r, nng_msg *m)
{
	add_items(m, BUS_FRAME_ITEMS, 1);
	sign(r, m);
	return m;
}

static nng_msg *too_large_an_item(struct rogue *r, nng_msg *m)
{
	add_items(m, 1, BUS_PART_MAX + 1);
	sign(r, m);
	return m;
}

/* By less than nng's own limit, which ends the connection uncounted. */
static nng_msg *too_large_a_frame(struct rogue *r, nng_msg *m)
{
	size_t head = frame_head_size(r->keys.all.n > 0);

	add_items(m, 3, BUS_PART_MAX);
	add_items(m, 1, head + BUS_FRAME_MAX + 1 - nng_msg_len(m) - ITEM_HEAD);
	sign(r, m);
	return m;
}

static nng_msg *far_too_large_a_frame(struct rogue *r, nng_msg *m)
{
	add_items(m, 100, BUS_PART_MAX);
	sign(r, m);
	return m;
}

#define COUNTED(what) offsetof(struct bus_server_stats, what)

static const struct spoiling {
	spoil_fn *spoil;
	bool keys_only;
	unsigned begun; /* requests that may run all the same */
	size_t counted; /* as what; 0: nng has hung up */
} spoilings[] = {
	{version_2, false, 0, COUNTED(bad_version)},
	{not_ours, false, 0, COUNTED(bad_version)},
	{other_sender, false, 0, COUNTED(bad_edge)},
	{becomes_another, false, 1, COUNTED(bad_edge)},
	{cut, false, 0, COUNTED(bad_form)},
	{head_only, false, 0, COUNTED(bad_form)},
	{nothing, false, 0, COUNTED(bad_form)},
	{tampered, true, 0, COUNTED(bad_mac)},
	{unsigned_, true, 0, COUNTED(bad_mac)},
	{other_key, true, 0, COUNTED(bad_mac)},
	{of_yesterday, true, 0, COUNTED(bad_time)},
	{of_next_minute, true, 0, COUNTED(bad_time)},
	{twice, false, 1, COUNTED(replayed)},
	{ahead, false, 0, COUNTED(replayed)},
	{other_connection, false, 0, COUNTED(replayed)},
	{other_boot, false, 1, COUNTED(replayed)},
	{acks_the_future, false, 0, COUNTED(bad_form)},
	{reply_kind, false, 0, COUNTED(bad_form)},
	{too_many_items, false, 0, COUNTED(oversize)},
	{too_large_an_item, false, 0, COUNTED(oversize)},
	{too_large_a_frame, false, 0, COUNTED(oversize)},
	{far_too_large_a_frame, false, 0, 0},
};

/* The bad frames counted under one reason. */
static uint64_t counted(const struct bus_server_stats *st, size_t offset)
{
	uint64_t n;

	memcpy(&n, (const char *)st + offset, sizeof(n));
	return n;
}

/* Two requests, so that the first of a frame is seen not to be executed. */
static void spoil_one(size_t which, const char *kind,
                      const struct bus_keys *keys)
{
	const struct spoiling *sp = &spoilings[which];
	struct service *sv = service_new(kind, 0, keys);
	struct bus_server_stats st;
	struct rogue r = {0};
	struct loop l;
	nng_msg *m;

	dial(&r, PEER_GATEWAY, sv->url, keys);
	assert_true(hears(&r)); /* the greeting */
	put(&r, ITEM_REQUEST, 1, 0, STR("e"));
	m = sp->spoil(&r, next_frame(&r));
	send_frame(&r, m);
	wait_gone(&r);
	while (hears(&r))
		assert_true(sp->begun > 0);
	st = stats(sv);
	if (st.bad_frames != (sp->counted ? 1 : 0))
		fail_msg("case %zu was not refused", which);
	/* As what it was, and as nothing else. */
	if (sp->counted && counted(&st, sp->counted) != 1)
		fail_msg("case %zu was taken for another fault", which);
	assert_int_equal(st.bad_form + st.bad_version + st.oversize +
	                         st.bad_mac + st.bad_time + st.replayed +
	                         st.bad_edge,
	                 st.bad_frames);
	assert_int_equal(atomic_load(&sv->begun), sp->begun);
	/* Others are served as before. */
	assert_true(loop_init(&l, keys, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	assert_int_equal(ask(&l, "e").e, OK);
	loop_fini(&l);
	rogue_end(&r);
	service_end(sv);
}

static void spoiled_frames_are_refused_with_keys(void **state)
{
	struct bus_keys keys = test_keys("a secret of at least 32 characters");

	(void)state;
	for (size_t i = 0; i < COUNTOF(spoilings); i++)
		spoil_one(i, "tcp", &keys);
}

static void spoiled_frames_are_refused_without_keys(void **state)
{
	struct bus_keys none = {0};

	(void)state;
	for (size_t i = 0; i < COUNTOF(spoilings); i++) {
		if (spoilings[i].keys_only)
			continue;
		spoil_one(i, "ipc", &none);
	}
}

/* Well-formed frames that break the rules of the conversation. */
static void items_out_of_order_are_refused(void **state)
{
	static const struct {
		struct {
			enum item_kind kind;
			uint64_t cid;
			unsigned flags;
		} items[3];
		unsigned n;
		bool bad;
	} cases[] = {
		{{{ITEM_REQUEST, 1, 0}, {ITEM_REQUEST, 1, 0}}, 2, true},
		{{{ITEM_PART, 1, ITEM_FIRST}, {ITEM_PART, 1, ITEM_FIRST}},
	         2,
	         true},
		{{{ITEM_PART, 1, ITEM_FIRST}, {ITEM_REQUEST, 1, 0}}, 2, true},
		/* Late, or for what was refused meanwhile: nothing happens. */
		{{{ITEM_PART, 1, 0}, {ITEM_PART, 1, ITEM_LAST}}, 2, false},
		{{{ITEM_CANCEL, 9, 0}, {ITEM_CANCEL, 9, 0}}, 2, false},
		{{{ITEM_CREDIT, 9, 0}}, 1, false},
		{{{ITEM_PART, 1, ITEM_FIRST},
	          {ITEM_CANCEL, 1, 0},
	          {ITEM_PART, 1, ITEM_LAST}},
	         3,
	         false},
	};
	struct bus_keys none = {0};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct service *sv = service_new("tcp", 0, &none);
		struct rogue r = {0};

		dial(&r, PEER_GATEWAY, sv->url, &none);
		assert_true(hears(&r));
		for (unsigned k = 0; k < cases[i].n; k++)
			put(&r, cases[i].items[k].kind, cases[i].items[k].cid,
			    cases[i].items[k].flags,
			    cases[i].items[k].kind == ITEM_REQUEST ||
			                    cases[i].items[k].kind == ITEM_PART
			            ? STR("e")
			            : (struct str){0});
		send_frame(&r, next_frame(&r));
		if (cases[i].bad)
			wait_gone(&r);
		assert_int_equal(hears(&r), !cases[i].bad);
		assert_int_equal(stats(sv).bad_frames, cases[i].bad);
		assert_int_equal(atomic_load(&sv->begun), 0);
		rogue_end(&r);
		service_end(sv);
	}
}

static void a_request_without_time_left_is_not_begun(void **state)
{
	struct bus_keys keys = {0};
	struct service *sv = service_new("tcp", 0, &keys);
	struct item in[] = {
		{.kind = ITEM_REQUEST, .cid = 1, .bytes = STR("e")},
		{.kind = ITEM_PART, .cid = 2, .flags = ITEM_FIRST | ITEM_LAST},
	};
	struct rogue r = {0};
	struct str frame, items;
	struct item it;
	nng_msg *m;

	(void)state;
	dial(&r, PEER_GATEWAY, sv->url, &keys);
	assert_true(hears(&r));
	for (size_t i = 0; i < COUNTOF(in); i++)
		assert_int_equal(link_put(&r.link, &in[i], mono_ms()), OK);
	send_frame(&r, next_frame(&r));
	m = receive(&r, &frame);
	assert_non_null(m);
	assert_int_equal(link_accept(&r.link, frame, wall_ms(), &items),
	                 FRAME_OK);
	for (uint64_t cid = 1; cid <= 2; cid++) {
		assert_true(item_next(&items, &it));
		assert_int_equal(it.kind, ITEM_REFUSE);
		assert_int_equal(it.code, ERR_TIMEOUT);
		assert_true(it.cid == cid);
	}
	nng_msg_free(m);
	assert_int_equal(atomic_load(&sv->begun), 0);
	assert_int_equal(stats(sv).expired, 2);
	rogue_end(&r);
	service_end(sv);
}

static void who_may_not_call_is_refused(void **state)
{
	static const enum bus_peer callers[] = {PEER_AUTH, PEER_CONTENT};
	struct bus_keys keys = test_keys("a secret of at least 32 characters");

	(void)state;
	for (size_t i = 0; i < COUNTOF(callers); i++) {
		struct service *sv = service_new("tcp", 0, &keys);
		struct rogue r = {0};

		dial(&r, callers[i], sv->url, &keys);
		assert_true(hears(&r));
		put(&r, ITEM_REQUEST, 1, 0, STR("e"));
		send_frame(&r, next_frame(&r));
		wait_gone(&r);
		assert_false(hears(&r));
		assert_int_equal(stats(sv).bad_frames, 1);
		assert_int_equal(atomic_load(&sv->begun), 0);
		rogue_end(&r);
		service_end(sv);
	}
}

/* A recorded conversation, sent to the same service on a new connection. */
static void a_recording_is_of_no_use(void **state)
{
	struct bus_keys keys = test_keys("a secret of at least 32 characters");
	struct service *sv = service_new("tcp", 0, &keys);
	struct rogue r = {0}, thief = {0};
	nng_msg *m, *copy;

	(void)state;
	dial(&r, PEER_GATEWAY, sv->url, &keys);
	assert_true(hears(&r));
	put(&r, ITEM_REQUEST, 1, 0, STR("e"));
	m = next_frame(&r);
	assert_int_equal(nng_msg_dup(&copy, m), 0);
	send_frame(&r, m);
	assert_true(hears(&r));
	assert_int_equal(atomic_load(&sv->begun), 1);
	dial(&thief, PEER_GATEWAY, sv->url, &keys);
	assert_true(hears(&thief));
	send_frame(&thief, copy);
	wait_gone(&thief);
	assert_false(hears(&thief));
	assert_int_equal(atomic_load(&sv->begun), 1);
	assert_int_equal(stats(sv).replayed, 1);
	rogue_end(&thief);
	rogue_end(&r);
	service_end(sv);
}

/* --- a rogue service --------------------------------------------------------------- */

/* What a service may say wrongly to a client that has one call open. */
static void a_client_does_not_believe_a_wrong_service(void **state)
{
	static const struct {
		enum bus_peer self;
		spoil_fn *greeting, *reply;
		bool up; /* is the greeting believed */
	} cases[] = {
		{PEER_AUTH, NULL, NULL, true},
		{PEER_GDPR, NULL, NULL, false},
		{PEER_AUTH, version_2, NULL, false},
		{PEER_AUTH, other_key, NULL, false},
		{PEER_AUTH, of_yesterday, NULL, false},
		{PEER_AUTH, other_connection, NULL, false},
		{PEER_AUTH, NULL, tampered, true},
		{PEER_AUTH, NULL, other_boot, true},
		{PEER_AUTH, NULL, other_connection, true},
		{PEER_AUTH, NULL, ahead, true},
		{PEER_AUTH, NULL, cut, true},
	};
	struct bus_keys keys = test_keys("a secret of at least 32 characters");

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct answer a = {0};
		struct bus_call c = call_of(STR("e"), &a);
		struct rogue r = {0};
		struct loop l;
		nng_msg *m;
		char url[128];
		uint64_t id;

		fresh_url(url, sizeof(url), "ipc");
		atomic_store(&rogue_pipe, 0);
		listen_as(&r, cases[i].self, url, &keys);
		(void)nng_pipe_notify(r.s, NNG_PIPE_EV_ADD_POST, note_pipe,
		                      NULL);
		assert_true(loop_init(&l, &keys, 0));
		assert_int_equal(
			bus_client_add(l.client, PEER_AUTH, str_from(url)), OK);
		while (atomic_load(&rogue_pipe) == 0)
			loop_turn(&l, 5);
		m = next_frame(&r);
		answer(&r, cases[i].greeting ? cases[i].greeting(&r, m) : m);
		if (!cases[i].up) {
			for (uint64_t end = mono_ms() + 100; mono_ms() < end;)
				loop_turn(&l, 10);
			assert_int_equal(bus_client_up(l.client, PEER_AUTH), 0);
			(void)start(&l, &c);
			LOOP_UNTIL(&l, a.finals);
			assert_int_equal(a.e, ERR_UNAVAILABLE);
			loop_fini(&l);
			rogue_end(&r);
			continue;
		}
		LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
		id = start(&l, &c);
		while (r.link.owed == 0) {
			loop_turn(&l, 1);
			(void)hears(&r);
		}
		put(&r, ITEM_REPLY, id, 0, STR("hello"));
		m = next_frame(&r);
		answer(&r, cases[i].reply ? cases[i].reply(&r, m) : m);
		LOOP_UNTIL(&l, a.finals);
		assert_int_equal(a.e, cases[i].reply ? ERR_PEER_LOST : OK);
		loop_fini(&l);
		rogue_end(&r);
	}
}

static void addresses_that_are_none_are_errors(void **state)
{
	static const char *const bad[] = {
		"",
		"auth",
		"http://a:1",
		"tcp://",
		"tcp://host",
		"tcp://:1",
		"tcp://host:",
		"tcp://host:x",
		"tcp://host:65536",
		"tcp://[::1",
		"ipc://",
		"inproc://",
		"ipc:///tmp/a,nonsense",
		"ipc:///tmp/012345678901234567890123456789012345678901"
		"012345"
		"0123456789012345678901234567890123456789012345678901234567",
	};
	struct bus_server_conf conf = {.self = PEER_AUTH,
	                               .on_item = service_item};
	struct bus_server *s = bus_server_new(&conf);
	struct service *sv = service_new("ipc", 0, NULL);
	struct loop l;
	int threshold = atomic_exchange(&log_threshold, -1);

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		if (bus_client_add(l.client, PEER_AUTH, str_from(bad[i])) !=
		    ERR_INVALID)
			fail_msg("client took '%s'", bad[i]);
		if (!strchr(bad[i], ',') &&
		    bus_server_listen(s, str_from(bad[i])) != ERR_INVALID)
			fail_msg("server took '%s'", bad[i]);
	}
	/* tcp that others could reach needs keys. */
	assert_int_equal(bus_server_listen(s, STR("tcp://0.0.0.0:0")),
	                 ERR_INVALID);
	assert_int_equal(bus_server_listen(s, str_from(sv->url)), ERR_EXISTS);
	/* Nobody calls the gateway. */
	assert_int_equal(bus_client_add(l.client, PEER_GATEWAY,
	                                STR("inproc://gateway")),
	                 ERR_INVALID);
	atomic_store(&log_threshold, threshold);
	loop_fini(&l);
	service_end(sv);
	bus_server_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spoiled_frames_are_refused_with_keys),
		cmocka_unit_test(spoiled_frames_are_refused_without_keys),
		cmocka_unit_test(items_out_of_order_are_refused),
		cmocka_unit_test(a_request_without_time_left_is_not_begun),
		cmocka_unit_test(who_may_not_call_is_refused),
		cmocka_unit_test(a_recording_is_of_no_use),
		cmocka_unit_test(a_client_does_not_believe_a_wrong_service),
		cmocka_unit_test(addresses_that_are_none_are_errors),
	};

	bus_global_init();
	atomic_store(&log_threshold, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
