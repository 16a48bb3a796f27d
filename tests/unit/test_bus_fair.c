/*
 * bus - large transfers beside small calls, cancels, and a replica that does not
 * read: shares and bounds, counted in bytes and frames, not in time.
 */
#include "tests/unit/bus_nursery.h"

#include "common/bus/link.h"

#define STREAMS 8
#define KIB(n)  ((size_t)(n) << 10)

static struct bus_server_stats stats(struct service *sv)
{
	struct bus_server_stats st;

	bus_server_stats(sv->server, &st);
	return st;
}

static struct bus_replica row(struct loop *l)
{
	struct bus_replica r = {0};

	(void)bus_client_replicas(l->client, &r, 1);
	return r;
}

/* --- sharing -------------------------------------------------------------------- */

/* Eight threads of it, so that eight streams are under way at once. */
struct streamer {
	pthread_t thread;
	struct service *sv;
};

struct race {
	struct answer stream[STREAMS];
	struct answer small;
	size_t at_end; /* bytes of all streams when the small one was answered */
};

static size_t bytes_of_all(const struct race *r)
{
	size_t sum = 0;

	for (size_t i = 0; i < STREAMS; i++)
		sum += r->stream[i].n;
	return sum;
}

static void on_small(void *arg, enum err e, struct str bytes, bool more)
{
	struct race *r = arg;

	on_answer(&r->small, e, bytes, more);
	r->at_end = bytes_of_all(r);
}

/*
 * What may pass a small call: the credit that the streams have when it is sent,
 * and what is granted with the frame that takes it along.
 */
static void small_calls_are_not_behind_large_ones(void **state)
{
	const size_t bound = STREAMS * 2 * BUS_CREDIT;
	struct service *sv = service_new("ipc", 0, NULL);
	struct streamer more[STREAMS - 1];
	static struct race r;
	size_t worst = 0, rounds = 0;
	struct loop l;

	(void)state;
	memset(&r, 0, sizeof(r));
	for (size_t i = 0; i < COUNTOF(more); i++)
		assert_int_equal(pthread_create(&more[i].thread, NULL,
		                                service_worker, sv),
		                 0);
	assert_true(loop_init(&l, NULL, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	for (size_t i = 0; i < STREAMS; i++) {
		struct bus_call c = call_of(STR("p20000000"), &r.stream[i]);

		c.stream = true;
		c.max_reply = 64 << 20;
		c.deadline_ms += 60000;
		(void)start(&l, &c);
	}
	for (size_t i = 0; i < STREAMS; i++)
		LOOP_UNTIL(&l, r.stream[i].n > 0);
	while (bytes_of_all(&r) < (size_t)STREAMS * 15000000) {
		struct bus_call c = call_of(STR("e"), NULL);
		size_t begun = bytes_of_all(&r);

		r.small = (struct answer){0};
		c.on_reply = on_small;
		c.arg = &r;
		(void)start(&l, &c);
		LOOP_UNTIL(&l, r.small.finals);
		assert_int_equal(r.small.e, OK);
		if (r.at_end - begun > worst)
			worst = r.at_end - begun;
		rounds++;
	}
	print_message("%zu small calls, at most %zu KiB went first\n", rounds,
	              worst >> 10);
	assert_true(rounds > 10);
	assert_true(worst <= bound);
	/* And the large ones have all come as far, within their credit. */
	for (size_t i = 0; i < STREAMS; i++)
		assert_true(r.stream[i].n > 5000000);
	for (size_t i = 0; i < STREAMS; i++) {
		LOOP_UNTIL(&l, r.stream[i].finals);
		assert_int_equal(r.stream[i].n, 20000000);
	}
	loop_fini(&l);
	pthread_mutex_lock(&sv->lock);
	sv->ending = true;
	pthread_cond_broadcast(&sv->some);
	pthread_mutex_unlock(&sv->lock);
	for (size_t i = 0; i < COUNTOF(more); i++)
		pthread_join(more[i].thread, NULL);
	service_end(sv);
}

/* One end of a connection without a socket: frames by hand, no clock. */
static void link_alone(struct link *l)
{
	static const struct bus_keys none;

	link_init(l, PEER_AUTH, true, PEER_GATEWAY, &none);
	link_reset(l);
	l->met = true;
	l->greet = false;
}

/* How many items of a kind the next frame has. */
static unsigned next_has(struct link *l, enum item_kind kind)
{
	struct str items;
	struct item it;
	unsigned n = 0;
	enum err e;
	nng_msg *m = link_next(l, 1, &e);

	assert_non_null(m);
	items = (struct str){(char *)nng_msg_body(m) + FRAME_HEAD,
	                     nng_msg_len(m) - FRAME_HEAD};
	while (item_next(&items, &it))
		n += it.kind == kind;
	nng_msg_free(m);
	return n;
}

static char large[4 << 20];

static void a_small_item_leaves_with_the_next_frame(void **state)
{
	struct bulk bulks[STREAMS];
	struct item small = {.kind = ITEM_REPLY,
	                     .cid = 1000,
	                     .bytes = {"small", 5}};
	struct link l;

	(void)state;
	link_alone(&l);
	for (size_t i = 0; i < STREAMS; i++) {
		bulks[i] = (struct bulk){.cid = i + 1,
		                         .left = {large, sizeof(large)},
		                         .credit = SIZE_MAX};
		link_bulk(&l, &bulks[i]);
	}
	for (unsigned n = 0; n < BUS_WINDOW; n++) {
		assert_int_equal(link_put(&l, &small, 1), OK);
		assert_int_equal(next_has(&l, ITEM_REPLY), 1);
	}
	/* They took turns: none is more than a part ahead of another. */
	for (size_t i = 1; i < STREAMS; i++) {
		size_t x = bulks[i - 1].left.n, y = bulks[i].left.n;

		assert_true((x > y ? x - y : y - x) <= BUS_PART_MAX);
		assert_true(x < sizeof(large));
	}
	link_fini(&l);
}

/* However many and however large those are that go whole. */
static void a_large_one_has_a_part_in_each_frame(void **state)
{
	struct bulk bulk = {.cid = 1,
	                    .left = {large, sizeof(large)},
	                    .credit = SIZE_MAX};
	struct item whole = {.kind = ITEM_REPLY,
	                     .cid = 1000,
	                     .bytes = {large, BUS_PART_MAX}};
	struct link l;

	(void)state;
	link_alone(&l);
	link_bulk(&l, &bulk);
	for (unsigned n = 0; n < 3 * BUS_WINDOW; n++)
		assert_int_equal(link_put(&l, &whole, 1), OK);
	for (unsigned n = 0; n < BUS_WINDOW - 1; n++)
		assert_true(next_has(&l, ITEM_PART) > 0);
	link_fini(&l);
}

/* --- cancelling ------------------------------------------------------------------- */

static void cancelling_frees_both_ends(void **state)
{
	static char upload[8 << 20];
	struct service *sv = service_new("ipc", 0, NULL);
	struct answer a[4];
	struct loop l;

	(void)state;
	upload[0] = 'h';
	assert_true(loop_init(&l, NULL, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	for (unsigned round = 0; round < 20; round++) {
		const struct str asked[] = {
			{upload, sizeof(upload)}, /* on its way there */
			STR("b30000000"),         /* on its way back */
			STR("p30000000"),         /* being made */
			STR("h"),                 /* being worked on */
		};
		uint64_t ids[COUNTOF(asked)];

		memset(a, 0, sizeof(a));
		for (size_t i = 0; i < COUNTOF(asked); i++) {
			struct bus_call c = call_of(asked[i], &a[i]);

			c.stream = i == 1 || i == 2;
			c.max_reply = 64 << 20;
			ids[i] = start(&l, &c);
		}
		/* Cancelled at another point each time. */
		for (unsigned n = 0; n < round; n++)
			loop_turn(&l, 2);
		for (size_t i = 0; i < COUNTOF(asked); i++)
			bus_client_cancel(l.client, ids[i]);
		LOOP_UNTIL(&l, (held_end(sv), row(&l).in_flight == 0));
		for (size_t i = 0; i < COUNTOF(asked); i++)
			assert_int_equal(a[i].finals, 0);
		assert_int_equal(ask(&l, "e").e, OK);
		assert_int_equal(stats(sv).arriving, 0);
		assert_int_equal(stats(sv).in_work, 0);
		assert_int_equal(row(&l).waiting, 0);
	}
	loop_fini(&l);
	service_end(sv);
}

/* --- a replica that does not read ------------------------------------------------- */

static size_t resident_kib(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	char line[80] = "", *end;

	if (f && fgets(line, sizeof(line), f)) {
		(void)strtoul(line, &end, 10);
		pages = strtoul(end, NULL, 10);
	}
	if (f)
		(void)fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void a_replica_that_does_not_read_costs_a_bounded_queue(void **state)
{
	enum { IN_FLIGHT = 512, BYTES = 4096, CALLS = 200000 };
	static char body[BYTES];
	struct child one = child_new(NULL);
	struct answer a;
	unsigned busy = 0, taken = 0, waiting = 0, unacked = 0;
	size_t before, after;
	struct loop l;

	(void)state;
	body[0] = 'e';
	assert_true(loop_init(&l, NULL, IN_FLIGHT));
	assert_int_equal(bus_client_add(l.client, PEER_AUTH, str_from(one.url)),
	                 OK);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	for (unsigned i = 0; i < 100; i++)
		(void)ask(&l, "e");
	before = resident_kib();
	child_stop(&one);
	/* Calls that give up make no room: the replica still has them. */
	for (unsigned i = 0; i < CALLS; i++) {
		struct bus_call c = call_of((struct str){body, BYTES}, &a);
		uint64_t id;
		enum err e;

		a = (struct answer){0};
		e = bus_client_call(l.client, &c, &id);
		busy += e == ERR_BUSY;
		if (e == OK) {
			taken++;
			bus_client_turn(l.client, mono_ms());
			bus_client_cancel(l.client, id);
		}
		if (row(&l).waiting > waiting)
			waiting = row(&l).waiting;
		if (row(&l).unacked > unacked)
			unacked = row(&l).unacked;
	}
	bus_client_turn(l.client, mono_ms());
	after = resident_kib();
	print_message("%u calls of %u taken, at most %u frames unacknowledged "
	              "and %u behind them, %zd KiB more resident\n",
	              taken, CALLS, unacked, waiting,
	              (ssize_t)after - (ssize_t)before);
	assert_int_equal(taken, IN_FLIGHT);
	assert_int_equal(busy, CALLS - IN_FLIGHT);
	assert_true(unacked <= BUS_WINDOW);
	/* Requests and their cancels, 256 items or 192 KiB to a frame. */
	assert_true(waiting <= IN_FLIGHT * (BYTES + 40) / KIB(128) + 2);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(after < before + 8192);
#endif
	/* It wakes up, and all is as before. */
	assert_int_equal(kill(one.pid, SIGCONT), 0);
	LOOP_UNTIL(&l, row(&l).in_flight == 0);
	assert_int_equal(ask(&l, "e").e, OK);
	assert_int_equal(row(&l).waiting, 0);
	child_kill(&one);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 0);
	loop_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_calls_are_not_behind_large_ones),
		cmocka_unit_test(a_small_item_leaves_with_the_next_frame),
		cmocka_unit_test(a_large_one_has_a_part_in_each_frame),
		cmocka_unit_test(cancelling_frees_both_ends),
		cmocka_unit_test(
			a_replica_that_does_not_read_costs_a_bounded_queue),
	};
	int failed;

	atomic_store(&log_threshold, LOG_ERROR);
	nursery_fill();
	bus_global_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	nursery_empty();
	return failed;
}
