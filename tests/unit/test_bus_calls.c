/* bus - calls, replies, parts and streams between one client and one server. */
#include "tests/unit/bus_fixture.h"

#include "tests/alloc_fault.h"

/* The three ways to be connected; each test of world() runs over all. */
static const struct transport {
	const char *kind;
	bool keys;
} transports[] = {{"inproc", false}, {"ipc", false}, {"tcp", true}};

struct world {
	struct service *sv;
	struct loop l;
	struct bus_keys keys;
};

static void world_begin(struct world *w, const struct transport *t)
{
	w->keys = (struct bus_keys){0};
	if (t->keys)
		w->keys = test_keys("a secret of at least 32 characters");
	w->sv = service_new(t->kind, 0, &w->keys);
	assert_true(loop_init(&w->l, &w->keys, 0));
	loop_to(&w->l, w->sv);
	LOOP_UNTIL(&w->l, bus_client_up(w->l.client, PEER_AUTH) == 1);
}

static void world_end(struct world *w)
{
	loop_fini(&w->l);
	service_end(w->sv);
}

#define EACH_TRANSPORT(w)                                            \
	for (size_t t_ = 0; t_ < COUNTOF(transports) &&              \
	                    (world_begin(w, &transports[t_]), true); \
	     world_end(w), t_++)

#define MANY 10000

static void ten_thousand_calls_are_each_answered_once(void **state)
{
	struct world w;
	struct answer *a;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		a = calloc(MANY, sizeof(*a));
		for (unsigned sent = 0, done = 0; done < MANY;) {
			while (sent < MANY && sent - done < 500) {
				char text[16];
				struct bus_call c;

				(void)snprintf(text, sizeof(text), "e%u", sent);
				c = call_of(str_from(text), &a[sent]);
				(void)start(&w.l, &c);
				sent++;
			}
			loop_turn(&w.l, 1000);
			while (done < sent && a[done].finals)
				done++;
		}
		for (unsigned i = 0; i < MANY; i++) {
			char text[16];

			(void)snprintf(text, sizeof(text), "e%u", i);
			assert_int_equal(a[i].e, OK);
			assert_string_equal(a[i].head, text);
		}
		free(a);
	}
}

static void a_slow_item_does_not_hold_its_neighbours(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		struct answer slow = {0}, fast[20] = {{0}};
		struct bus_call c = call_of(STR("h"), &slow);

		(void)start(&w.l, &c);
		for (size_t i = 0; i < COUNTOF(fast); i++) {
			c = call_of(STR("e"), &fast[i]);
			(void)start(&w.l, &c);
		}
		for (size_t i = 0; i < COUNTOF(fast); i++)
			LOOP_UNTIL(&w.l, fast[i].finals);
		assert_int_equal(slow.finals, 0);
		held_end(w.sv);
		LOOP_UNTIL(&w.l, slow.finals);
		assert_string_equal(slow.head, "held");
	}
}

static void a_megabyte_goes_and_comes_back_whole(void **state)
{
	static const size_t sizes[] = {BUS_PART_MAX, BUS_PART_MAX + 1, 1 << 20,
	                               3 << 20};
	struct world w;
	char *p = malloc(3 << 20);

	(void)state;
	memset(p, 'e', 3 << 20);
	EACH_TRANSPORT(&w)
	{
		for (size_t i = 0; i < COUNTOF(sizes); i++) {
			struct answer a = {0};
			struct bus_call c =
				call_of((struct str){p, sizes[i]}, &a);

			c.max_reply = 3 << 20;
			(void)start(&w.l, &c);
			LOOP_UNTIL(&w.l, a.finals);
			assert_int_equal(a.e, OK);
			assert_int_equal(a.n, sizes[i]);
			assert_int_equal(a.parts, 0);
		}
	}
	free(p);
}

/* The thread sanitizer makes a megabyte take a second. */
#ifdef __SANITIZE_THREAD__
#define LARGE      4000000
#define LARGE_CALL "b4000000"
#else
#define LARGE      16000000
#define LARGE_CALL "b16000000"
#endif

static void small_calls_pass_between_the_parts_of_large_ones(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		struct answer large[4] = {{0}}, small = {0};
		struct bus_call c;

		for (size_t i = 0; i < COUNTOF(large); i++) {
			c = call_of(STR(LARGE_CALL), &large[i]);
			c.max_reply = 16 << 20;
			c.deadline_ms = mono_ms() + 80000;
			(void)start(&w.l, &c);
		}
		c = call_of(STR("e"), &small);
		(void)start(&w.l, &c);
		LOOP_UNTIL(&w.l, small.finals);
		for (size_t i = 0; i < COUNTOF(large); i++)
			assert_int_equal(large[i].finals, 0);
		for (size_t i = 0; i < COUNTOF(large); i++) {
			LOOP_UNTIL(&w.l, large[i].finals);
			assert_int_equal(large[i].n, LARGE);
		}
	}
}

static void a_stream_comes_in_parts_and_ends_once(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		struct answer a = {0};
		struct bus_call c = call_of(STR("p1000000"), &a);

		c.stream = true;
		(void)start(&w.l, &c);
		LOOP_UNTIL(&w.l, a.finals);
		assert_int_equal(a.e, OK);
		assert_int_equal(a.n, 1000000);
		assert_true(a.parts > 10);
	}
}

static void a_stream_waits_for_a_slow_reader(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		struct answer a = {0}, other = {0};
		struct bus_call c = call_of(STR("p2000000"), &a);
		uint64_t id;
		size_t granted = 0;

		c.stream = c.hold_credit = true;
		c.max_reply = 4 << 20;
		id = start(&w.l, &c);
		/* It stops at its credit, with others unharmed. */
		LOOP_UNTIL(&w.l, a.n >= 256 << 10);
		for (int i = 0; i < 50; i++) {
			other = ask(&w.l, "e");
			assert_int_equal(other.e, OK);
		}
		assert_int_equal(a.n, 256 << 10);
		assert_true(atomic_load(&w.sv->streamed) <= 256 << 10);
		while (!a.finals) {
			size_t n = a.n - granted;

			assert_true(n <= 256 << 10);
			granted += n;
			bus_client_credit(w.l.client, id, n);
			loop_turn(&w.l, 50);
		}
		assert_int_equal(a.n, 2000000);
	}
}

static void cancelled_calls_are_never_answered(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		struct answer held = {0}, stream = {0};
		struct bus_call c = call_of(STR("h"), &held);
		uint64_t id = start(&w.l, &c);
		bool seen = false;

		LOOP_UNTIL(&w.l, atomic_load(&w.sv->begun) == 1);
		bus_client_cancel(w.l.client, id);
		bus_client_cancel(w.l.client, id); /* twice is fine */
		bus_client_cancel(w.l.client, 12345);
		/* The service is told. */
		while (!seen) {
			loop_turn(&w.l, 10);
			GUARD(&w.sv->lock);
			seen = bus_item_cancelled(w.sv->held[0]);
		}
		held_end(w.sv);
		/* From inside its own callback, too. */
		c = call_of(STR("p50000000"), &stream);
		c.stream = true;
		c.max_reply = 64 << 20;
		stream.cancel_loop = &w.l;
		stream.cancel_id = start(&w.l, &c);
		LOOP_UNTIL(&w.l, atomic_load(&w.sv->part_err) != OK);
		assert_int_equal(ask(&w.l, "e").e, OK);
		assert_int_equal(held.finals, 0);
		assert_int_equal(stream.finals, 0);
		assert_int_equal(stream.parts, 1);
	}
}

static unsigned in_flight(struct loop *l)
{
	struct bus_replica r[4];
	size_t n = bus_client_replicas(l->client, r, 4);
	unsigned sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += r[i].in_flight;
	return sum;
}

static void a_deadline_ends_the_wait_but_not_the_burden(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		struct answer a = {0};
		struct bus_call c = call_of(STR("h"), &a);
		uint64_t id;

		c.deadline_ms = mono_ms() + 60;
		(void)start(&w.l, &c);
		LOOP_UNTIL(&w.l, a.finals);
		assert_int_equal(a.e, ERR_TIMEOUT);
		assert_true(a.done_ms >= c.deadline_ms);
		/* The service still has it: its replica is not idle. */
		assert_int_equal(in_flight(&w.l), 1);
		held_end(w.sv);
		LOOP_UNTIL(&w.l, in_flight(&w.l) == 0);
		c.deadline_ms = mono_ms();
		assert_int_equal(bus_client_call(w.l.client, &c, &id),
		                 ERR_TIMEOUT);
	}
}

static void refusals_arrive_as_their_codes(void **state)
{
	static const struct {
		enum err said, heard;
	} cases[] = {
		{ERR_BUSY, ERR_BUSY},
		{ERR_TIMEOUT, ERR_TIMEOUT},
		{ERR_INTERNAL, ERR_INTERNAL},
		{OK, ERR_INTERNAL},
		{ERR_UNAVAILABLE, ERR_UNAVAILABLE},
	};
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		for (size_t i = 0; i < COUNTOF(cases); i++) {
			char text[16];

			(void)snprintf(text, sizeof(text), "r%u",
			               (unsigned)cases[i].said);
			assert_int_equal(ask(&w.l, text).e, cases[i].heard);
		}
	}
}

static void sizes_beyond_the_bounds_are_errors(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		static const char *const big[] = {"b2000", "b3000000",
		                                  "p3000000"};
		struct answer a = {0};
		struct bus_call c;
		uint64_t id;

		for (size_t i = 0; i < COUNTOF(big); i++) {
			a = (struct answer){0};
			c = call_of(str_from(big[i]), &a);
			c.max_reply = i == 0 ? 1000 : 1000000;
			(void)start(&w.l, &c);
			LOOP_UNTIL(&w.l, a.finals);
			assert_int_equal(a.e, ERR_TOO_LARGE);
		}
		LOOP_UNTIL(&w.l, in_flight(&w.l) == 0);
		c.bytes = (struct str){"", BUS_REQUEST_MAX + 1};
		assert_int_equal(bus_client_call(w.l.client, &c, &id),
		                 ERR_TOO_LARGE);
	}
}

static void bounds_on_both_sides_answer_busy_at_once(void **state)
{
	struct service *sv = service_new("inproc", 3, NULL);
	struct answer a[8] = {{0}};
	struct bus_call c;
	struct loop l;
	unsigned busy = 0;
	uint64_t id;

	(void)state;
	assert_true(loop_init(&l, NULL, 5));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	for (unsigned i = 0; i < 5; i++) {
		c = call_of(STR("h"), &a[i]);
		(void)start(&l, &c);
	}
	assert_int_equal(bus_client_call(l.client, &c, &id), ERR_BUSY);
	LOOP_UNTIL(&l, in_flight(&l) == 3);
	for (unsigned i = 0; i < 5; i++)
		busy += a[i].finals && a[i].e == ERR_BUSY;
	assert_int_equal(busy, 2);
	held_end(sv);
	LOOP_UNTIL(&l, in_flight(&l) == 0);
	assert_int_equal(ask(&l, "e").e, OK);
	loop_fini(&l);
	service_end(sv);
}

static void a_push_reaches_clients_that_never_called(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		/* Until the service has heard us. */
		while (w.l.pushes == 0) {
			bus_server_push(w.sv->server, STR("news"));
			loop_turn(&w.l, 5);
		}
		assert_string_equal(w.l.pushed, "news");
	}
}

/* Frames that both have sent when nothing moves any more. */
static void idle_ends_fall_silent(void **state)
{
	struct world w;

	(void)state;
	EACH_TRANSPORT(&w)
	{
		struct bus_server_stats before, after;

		for (int i = 0; i < 20; i++)
			assert_int_equal(ask(&w.l, "s").e, OK);
		bus_server_stats(w.sv->server, &before);
		for (uint64_t end = mono_ms() + 100; mono_ms() < end;)
			loop_turn(&w.l, 10);
		bus_server_stats(w.sv->server, &after);
		assert_true(after.frames_in + after.frames_out <=
		            before.frames_in + before.frames_out + 2);
	}
}

struct asking {
	struct bus_caller *c;
	unsigned who;
	bool ok;
};

static void *ask_many(void *arg)
{
	struct asking *a = arg;

	a->ok = true;
	for (unsigned i = 0; i < 500 && a->ok; i++) {
		char text[32];
		AUTO_BUF out = {0};
		struct bus_call c = {.to = PEER_AUTH,
		                     .deadline_ms = mono_ms() + 8000};

		(void)snprintf(text, sizeof(text), "%c%u-%u", i % 7 ? 'e' : 's',
		               a->who, i);
		c.bytes = str_from(text);
		a->ok = bus_caller_call(a->c, &c, &out) == OK &&
		        str_eq(buf_view(&out), c.bytes);
	}
	return NULL;
}

static void callers_from_eight_threads_get_their_own_replies(void **state)
{
	(void)state;
	for (size_t t = 0; t < COUNTOF(transports); t++) {
		struct bus_keys keys = {0};
		struct bus_client_conf conf = {.self = PEER_GATEWAY,
		                               .keys = &keys};
		struct asking a[8];
		pthread_t threads[8];
		struct bus_caller *c;
		struct service *sv;

		if (transports[t].keys)
			keys = test_keys("a secret of at least 32 characters");
		sv = service_new(transports[t].kind, 0, &keys);
		c = bus_caller_new(&conf);
		assert_non_null(c);
		assert_int_equal(
			bus_caller_add(c, PEER_AUTH, str_from(sv->url)), OK);
		assert_int_equal(bus_caller_add(c, PEER_CONTENT,
		                                STR("ftp://x")),
		                 ERR_INVALID);
		for (uint64_t end = mono_ms() + 5000;
		     bus_caller_up(c, PEER_AUTH) == 0 && mono_ms() < end;)
			(void)usleep(1000);
		for (unsigned i = 0; i < 8; i++) {
			a[i] = (struct asking){c, i, false};
			assert_int_equal(pthread_create(&threads[i], NULL,
			                                ask_many, &a[i]),
			                 0);
		}
		for (unsigned i = 0; i < 8; i++) {
			pthread_join(threads[i], NULL);
			assert_true(a[i].ok);
		}
		bus_caller_free(c);
		service_end(sv);
	}
}

static void without_memory_a_server_keeps_its_secrets(void **state)
{
	const struct transport tcp = {"tcp", true};
	struct bus_keys other =
		test_keys("another secret of thirty-two characters");
	struct world w;

	(void)state;
	world_begin(&w, &tcp);
	alloc_fault_arm(1);
	assert_int_equal(bus_server_rekey(w.sv->server, &other), ERR_NOMEM);
	(void)alloc_fault_disarm();
	assert_int_equal(ask(&w.l, "e").e, OK);
	world_end(&w);
}

static void the_server_is_freed_only_after_its_answers_arrived(void **state)
{
	(void)state;
	for (size_t t = 0; t < COUNTOF(transports); t++) {
		struct world w;
		struct answer a[50] = {{0}};
		struct bus_call c;

		world_begin(&w, &transports[t]);
		for (unsigned i = 0; i < 50; i++) {
			c = call_of(STR("e"), &a[i]);
			(void)start(&w.l, &c);
		}
		while (atomic_load(&w.sv->begun) < 50)
			bus_client_turn(w.l.client, mono_ms());
		/* What is on its way is not looked at until the server is
		 * gone. */
		service_end(w.sv);
		for (unsigned i = 0; i < 50; i++) {
			LOOP_UNTIL(&w.l, a[i].finals);
			assert_int_equal(a[i].e, OK);
		}
		loop_fini(&w.l);
	}
}

/*
 * Every allocation of a short life fails in turn.  Calls may fail; nothing may
 * crash, leak or hang, and afterwards all works.  What waits for an answer that
 * memory has cost waits patience_ms.
 */
static bool short_life(uint64_t patience_ms)
{
	struct service *sv;
	struct loop l;
	struct answer a[3] = {{0}};
	uint64_t id, end = mono_ms() + patience_ms;
	bool good = false;
	static char large[200000];
	char url[128];

	fresh_url(url, sizeof(url), "inproc");
	sv = service_try(url, 0, NULL);
	if (!loop_init(&l, NULL, 0)) {
		service_end(sv);
		return false;
	}
	large[0] = 'e';
	if (sv && bus_client_add(l.client, PEER_AUTH, str_from(url)) == OK) {
		struct str in[3] = {STR("e"),
		                    {large, sizeof(large)},
		                    STR("b200000")};
		bool sent = true;

		while (bus_client_up(l.client, PEER_AUTH) == 0 &&
		       mono_ms() < end)
			loop_turn(&l, 10);
		for (int i = 0; i < 3; i++) {
			struct bus_call c = call_of(in[i], &a[i]);

			c.deadline_ms = mono_ms() + patience_ms;
			sent &= bus_client_call(l.client, &c, &id) == OK;
		}
		for (int i = 0; sent && i < 3; i++)
			LOOP_UNTIL(&l, a[i].finals);
		good = sent && !a[0].e && !a[1].e && !a[2].e;
	}
	loop_fini(&l);
	service_end(sv);
	return good;
}

static void each_failing_allocation_is_survived(void **state)
{
	bool failed = true;

	(void)state;
#ifdef __SANITIZE_THREAD__
	failed = false; /* the countdown is not made for threads */
#endif
	for (unsigned n = 1; failed; n++) {
		assert_true(n < 500);
		alloc_fault_arm(n);
		(void)short_life(250);
		failed = alloc_fault_disarm();
	}
	assert_true(short_life(30000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_calls_are_each_answered_once),
		cmocka_unit_test(a_slow_item_does_not_hold_its_neighbours),
		cmocka_unit_test(a_megabyte_goes_and_comes_back_whole),
		cmocka_unit_test(
			small_calls_pass_between_the_parts_of_large_ones),
		cmocka_unit_test(a_stream_comes_in_parts_and_ends_once),
		cmocka_unit_test(a_stream_waits_for_a_slow_reader),
		cmocka_unit_test(cancelled_calls_are_never_answered),
		cmocka_unit_test(a_deadline_ends_the_wait_but_not_the_burden),
		cmocka_unit_test(refusals_arrive_as_their_codes),
		cmocka_unit_test(sizes_beyond_the_bounds_are_errors),
		cmocka_unit_test(bounds_on_both_sides_answer_busy_at_once),
		cmocka_unit_test(a_push_reaches_clients_that_never_called),
		cmocka_unit_test(idle_ends_fall_silent),
		cmocka_unit_test(
			callers_from_eight_threads_get_their_own_replies),
		cmocka_unit_test(without_memory_a_server_keeps_its_secrets),
		cmocka_unit_test(
			the_server_is_freed_only_after_its_answers_arrived),
		cmocka_unit_test(each_failing_allocation_is_survived),
	};

	bus_global_init();
	atomic_store(&log_threshold, LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
