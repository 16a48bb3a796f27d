/* bus - replicas that come, go, stop, drain and change their address. */
#include "tests/unit/bus_nursery.h"

#include "common/base/trace.h"
#include "common/bus/calls.h"

#include <arpa/inet.h>
#include <netdb.h>

static void add(struct loop *l, const char *url)
{
	assert_int_equal(bus_client_add(l->client, PEER_AUTH, str_from(url)),
	                 OK);
}

static unsigned up(struct loop *l)
{
	return bus_client_up(l->client, PEER_AUTH);
}

static struct bus_replica row(struct loop *l, size_t i)
{
	struct bus_replica r[8];

	assert_true(bus_client_replicas(l->client, r, 8) > i);
	return r[i];
}

/* nng drops a frame without freeing it that meets the end of its pipe. */
static void end(struct loop *l, struct child *c)
{
	child_kill(c);
	LOOP_UNTIL(l, up(l) == 0);
	loop_fini(l);
}

/* --- dying ---------------------------------------------------------------------- */

static void a_killed_service_fails_calls_that_must_not_run_twice(void **state)
{
	struct child one = child_new(NULL);
	struct answer a[50] = {{0}};
	struct bus_call c;
	struct loop l;
	uint64_t id, killed_ms;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	LOOP_UNTIL(&l, up(&l) == 1);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		c = call_of(STR("h"), &a[i]);
		(void)start(&l, &c);
	}
	assert_int_equal(ask(&l, "e").e, OK); /* they have arrived */
	child_kill(&one);
	killed_ms = mono_ms();
	for (size_t i = 0; i < COUNTOF(a); i++) {
		LOOP_UNTIL(&l, a[i].finals);
		assert_int_equal(a[i].e, ERR_PEER_LOST);
		assert_true(a[i].done_ms < killed_ms + 2000);
	}
	assert_int_equal(row(&l, 0).state, BUS_DOWN);
	assert_int_equal(row(&l, 0).in_flight, 0);
	/* One that has not been begun waits a while for somebody to begin it. */
	a[0] = (struct answer){0};
	c = call_of(STR("e"), &a[0]);
	assert_int_equal(bus_client_call(l.client, &c, &id), OK);
	LOOP_UNTIL(&l, a[0].finals);
	assert_int_equal(a[0].e, ERR_UNAVAILABLE);
	loop_fini(&l);
}

static void they_fail_though_another_replica_is_up(void **state)
{
	struct child one = child_new(NULL), two = child_new(NULL);
	struct answer a[10] = {{0}};
	struct bus_call c;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	LOOP_UNTIL(&l, up(&l) == 1);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		c = call_of(STR("h"), &a[i]);
		(void)start(&l, &c);
	}
	assert_int_equal(ask(&l, "e").e, OK);
	add(&l, two.url);
	LOOP_UNTIL(&l, up(&l) == 2);
	child_kill(&one);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		LOOP_UNTIL(&l, a[i].finals);
		assert_int_equal(a[i].e, ERR_PEER_LOST);
	}
	assert_int_equal(row(&l, 1).sent, 0);
	end(&l, &two);
}

static void calls_that_may_run_twice_move_to_the_other_replica(void **state)
{
	struct child one = child_new(NULL), two = child_new(NULL);
	struct answer a[400] = {{0}};
	unsigned sent = 0, done = 0;
	bool killed = false;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	add(&l, two.url);
	LOOP_UNTIL(&l, up(&l) == 2);
	while (done < COUNTOF(a)) {
		while (sent < COUNTOF(a) && sent - done < 40) {
			struct bus_call c = call_of(STR("s"), &a[sent++]);

			c.retry = true;
			(void)start(&l, &c);
		}
		if (done > 100 && !killed) {
			bus_client_turn(l.client, mono_ms());
			child_kill(&one);
			killed = true;
		}
		loop_turn(&l, 50);
		while (done < sent && a[done].finals)
			assert_int_equal(a[done++].e, OK);
	}
	LOOP_UNTIL(&l, up(&l) == 1);
	end(&l, &two);
}

static struct span told[8];
static size_t told_n;

static void keep_span(void *arg, const struct span *s)
{
	(void)arg;
	if (told_n < COUNTOF(told))
		told[told_n++] = *s;
}

/* A call that is moved says where it has been, and each attempt is a span of
 * its own that the bytes have named. */
static void a_trip_has_every_attempt(void **state)
{
	struct child one = child_new(NULL), two = child_new(NULL);
	char bytes[] = "h................h";
	const struct trace_parent from = {.id = {1, 2}, .sampled = true};
	struct bus_trip trip = {.span_at = 1};
	struct answer a = {0};
	struct span parent;
	struct bus_call c;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	LOOP_UNTIL(&l, up(&l) == 1);
	c = call_of((struct str){bytes, sizeof(bytes) - 1}, &a);
	c.retry = true;
	c.trip = &trip;
	(void)start(&l, &c);
	assert_int_equal(ask(&l, "e").e, OK); /* it has arrived */
	assert_int_equal(trip.attempts, 1);
	assert_int_equal(trip.at[0].to_us, 0);
	add(&l, two.url);
	LOOP_UNTIL(&l, up(&l) == 2);
	child_kill(&one);
	LOOP_UNTIL(&l, trip.attempts == 2);
	child_kill(&two);
	LOOP_UNTIL(&l, a.finals);
	assert_int_equal(trip.n, 2);
	assert_string_equal(trip.at[0].replica, one.url);
	assert_string_equal(trip.at[1].replica, two.url);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(trip.at[i].outcome, ERR_PEER_LOST);
		assert_true(trip.at[i].to_us >= trip.at[i].from_us);
		assert_true(trip.at[i].span != 0);
	}
	assert_true(trip.at[0].span != trip.at[1].span);
	assert_string_equal(bytes, "h................h");

	span_root(&parent, &from, "gateway", SPAN_SERVER, STR("p"));
	trace_listen(keep_span, NULL);
	told_n = 0;
	bus_trip_spans(&trip, NULL, PEER_AUTH, STR("auth.x"));
	assert_int_equal(told_n, 0);
	bus_trip_spans(&trip, &parent, PEER_AUTH, STR("auth.x"));
	trace_listen(NULL, NULL);
	assert_int_equal(told_n, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(told[i].own.span, trip.at[i].span);
		assert_int_equal(told[i].parent, parent.own.span);
		assert_int_equal(told[i].kind, SPAN_CLIENT);
		assert_true(told[i].failed);
	}
	loop_fini(&l);
}

static void a_call_for_one_replica_goes_to_no_other(void **state)
{
	struct child one = child_new(NULL), two = child_new(NULL);
	struct answer a[20] = {{0}};
	struct bus_call c;
	struct loop l;
	uint64_t id;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	add(&l, two.url);
	LOOP_UNTIL(&l, up(&l) == 2);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		c = call_of(STR("h"), &a[i]);
		c.only = i < COUNTOF(a) / 2 ? one.url : two.url;
		c.retry = true; /* it is not sent again all the same */
		(void)start(&l, &c);
	}
	LOOP_UNTIL(&l, row(&l, 0).sent == 10 && row(&l, 1).sent == 10);
	assert_int_equal(ask(&l, "e").e, OK);
	child_kill(&one);
	for (size_t i = 0; i < COUNTOF(a) / 2; i++) {
		LOOP_UNTIL(&l, a[i].finals);
		assert_int_equal(a[i].e, ERR_PEER_LOST);
	}
	c = call_of(STR("e"), &a[0]);
	c.only = one.url;
	c.retry = true;
	assert_int_equal(bus_client_call(l.client, &c, &id), ERR_UNAVAILABLE);
	c.only = "inproc://nobody";
	assert_int_equal(bus_client_call(l.client, &c, &id), ERR_UNAVAILABLE);
	assert_int_equal(a[COUNTOF(a) - 1].finals, 0);
	end(&l, &two);
}

static void a_lone_replica_is_waited_for(void **state)
{
	struct child one = child_new(NULL), again;
	struct answer held = {0}, lost = {0}, fresh = {0};
	struct bus_call c = call_of(STR("h"), &held);
	struct loop l;
	uint64_t start_ms;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	LOOP_UNTIL(&l, up(&l) == 1);
	c.retry = true;
	(void)start(&l, &c);
	assert_int_equal(ask(&l, "e").e, OK);
	child_kill(&one);
	LOOP_UNTIL(&l, up(&l) == 0);
	/* Nobody has begun it, so it need not be one that may run twice. */
	c = call_of(STR("e"), &fresh);
	(void)start(&l, &c);
	again = child_new(one.url);
	LOOP_UNTIL(&l, fresh.finals);
	assert_int_equal(fresh.e, OK);
	/* The moved one is being held by the new service. */
	assert_int_equal(held.finals, 0);
	child_kill(&again);
	/* Nobody comes back: a second later it is over. */
	start_ms = mono_ms();
	c = call_of(STR("e"), &lost);
	c.retry = true;
	LOOP_UNTIL(&l, up(&l) == 0);
	(void)start(&l, &c);
	LOOP_UNTIL(&l, lost.finals && held.finals);
	assert_int_equal(lost.e, ERR_UNAVAILABLE);
	assert_int_equal(held.e, ERR_PEER_LOST);
	assert_true(lost.done_ms >= start_ms + BUS_HOLD_MS);
	loop_fini(&l);
}

/* --- stopping ------------------------------------------------------------------- */

static void a_stopped_service_is_suspect_and_avoided(void **state)
{
	struct child one = child_new(NULL), two = child_new(NULL);
	struct answer a[20] = {{0}};
	struct bus_call c;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	add(&l, two.url);
	LOOP_UNTIL(&l, up(&l) == 2);
	child_stop(&one);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		c = call_of(STR("e"), &a[i]);
		c.retry = true;
		(void)start(&l, &c);
	}
	for (size_t i = 0; i < COUNTOF(a); i++) {
		LOOP_UNTIL(&l, a[i].finals);
		assert_int_equal(a[i].e, OK);
	}
	assert_int_equal(row(&l, 0).state, BUS_SUSPECT);
	assert_true(row(&l, 0).moved > 0);
	assert_int_equal(kill(one.pid, SIGCONT), 0);
	LOOP_UNTIL(&l, row(&l, 0).state == BUS_UP);
	/* What it answers late is counted, not believed. */
	LOOP_UNTIL(&l, row(&l, 0).in_flight == 0);
	assert_true(row(&l, 0).late > 0);
	child_kill(&one);
	end(&l, &two);
}

static void requests_that_waited_out_their_time_are_not_begun(void **state)
{
	struct child one = child_new(NULL);
	struct answer a[40] = {{0}}, asked;
	struct bus_call c;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one.url);
	LOOP_UNTIL(&l, up(&l) == 1);
	child_stop(&one);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		c = call_of(STR("e"), &a[i]);
		c.deadline_ms = mono_ms() + 30;
		(void)start(&l, &c);
		bus_client_turn(l.client, mono_ms());
	}
	for (size_t i = 0; i < COUNTOF(a); i++) {
		LOOP_UNTIL(&l, a[i].finals);
		assert_int_equal(a[i].e, ERR_TIMEOUT);
	}
	assert_int_equal(kill(one.pid, SIGCONT), 0);
	asked = ask(&l, "e");
	assert_int_equal(asked.e, OK);
	LOOP_UNTIL(&l, row(&l, 0).in_flight == 0);
	end(&l, &one);
}

/* --- starting -------------------------------------------------------------------- */

static void one_that_begins_nothing_costs_the_others_no_call(void **state)
{
	struct service *starting = service_new("inproc", 0, NULL);
	struct service *ready = service_new("inproc", 0, NULL);
	struct loop l;

	(void)state;
	atomic_store(&starting->closed, true);
	assert_true(loop_init(&l, NULL, 0));
	add(&l, starting->url);
	add(&l, ready->url);
	LOOP_UNTIL(&l, up(&l) == 2);
	/* None of these may run twice: they move because they were not begun. */
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(ask(&l, "e").e, OK);
	assert_int_equal(atomic_load(&ready->begun), 1000);
	/* It was asked now and then, not each time. */
	assert_true(atomic_load(&starting->turned_away) >= 1);
	assert_true(atomic_load(&starting->turned_away) <= 20);
	atomic_store(&starting->closed, false);
	LOOP_UNTIL(&l,
	           ask(&l, "e").e == OK && atomic_load(&starting->begun) > 0);
	loop_fini(&l);
	service_end(starting);
	service_end(ready);
}

static void a_lone_one_that_begins_nothing_is_waited_for(void **state)
{
	struct service *sv = service_new("inproc", 0, NULL);
	struct answer a[50] = {{0}};
	struct bus_call c;
	struct loop l;
	uint64_t begun_ms;

	(void)state;
	atomic_store(&sv->closed, true);
	assert_true(loop_init(&l, NULL, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, up(&l) == 1);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		c = call_of(STR("e"), &a[i]);
		c.retry = i % 2 == 0;
		(void)start(&l, &c);
	}
	LOOP_UNTIL(&l, atomic_load(&sv->turned_away) > 1);
	assert_int_equal(a[0].finals, 0);
	atomic_store(&sv->closed, false);
	for (size_t i = 0; i < COUNTOF(a); i++) {
		LOOP_UNTIL(&l, a[i].finals);
		assert_int_equal(a[i].e, OK);
	}
	/* One that stays closed is not waited for longer than the bound. */
	atomic_store(&sv->closed, true);
	begun_ms = mono_ms();
	a[0] = (struct answer){0};
	c = call_of(STR("e"), &a[0]);
	c.retry = true;
	(void)start(&l, &c);
	LOOP_UNTIL(&l, a[0].finals);
	assert_int_equal(a[0].e, ERR_UNAVAILABLE);
	assert_true(a[0].done_ms >= begun_ms + BUS_HOLD_MS);
	assert_true(a[0].done_ms < begun_ms + 5 * BUS_HOLD_MS);
	loop_fini(&l);
	service_end(sv);
}

/* White box: nothing but its word ends the time that it is not asked. */
static void one_that_says_that_it_has_started_is_asked_at_once(void **state)
{
	struct service *sv = service_new("inproc", 0, NULL);
	struct answer a = {0};
	struct bus_call c = call_of(STR("e"), &a);
	struct replica *r;
	struct loop l;

	(void)state;
	atomic_store(&sv->closed, true);
	assert_true(loop_init(&l, NULL, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, up(&l) == 1);
	(void)start(&l, &c);
	r = l.client->of[PEER_AUTH].v[0];
	LOOP_UNTIL(&l, r->refusing_ms);
	r->refusing_ms = UINT64_MAX;
	atomic_store(&sv->closed, false);
	bus_server_serves(sv->server);
	LOOP_UNTIL(&l, a.finals);
	assert_int_equal(a.e, OK);
	assert_int_equal(r->refusing_ms, 0);
	assert_int_equal(l.pushes, 1);
	loop_fini(&l);
	service_end(sv);
}

/* --- choosing ------------------------------------------------------------------- */

static void a_draining_service_is_not_called_and_loses_nothing(void **state)
{
	struct service *one = service_new("inproc", 0, NULL);
	struct service *two = service_new("inproc", 0, NULL);
	struct answer held[10] = {{0}};
	struct bus_call c;
	struct loop l;
	unsigned before;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, one->url);
	LOOP_UNTIL(&l, up(&l) == 1);
	for (size_t i = 0; i < COUNTOF(held); i++) {
		c = call_of(STR("h"), &held[i]);
		(void)start(&l, &c);
	}
	LOOP_UNTIL(&l, atomic_load(&one->begun) == COUNTOF(held));
	add(&l, two->url);
	LOOP_UNTIL(&l, up(&l) == 2);
	bus_server_drain(one->server);
	/* A call that meets the notice on its way is moved, though it must not
	 * run twice: it was not begun. */
	for (int i = 0; i < 100; i++)
		assert_int_equal(ask(&l, "e").e, OK);
	before = atomic_load(&one->begun);
	assert_int_equal(before, COUNTOF(held));
	assert_int_equal(bus_server_in_work(one->server), COUNTOF(held));
	service_end(one); /* answers what it holds */
	for (size_t i = 0; i < COUNTOF(held); i++) {
		LOOP_UNTIL(&l, held[i].finals);
		assert_int_equal(held[i].e, OK);
	}
	loop_fini(&l);
	service_end(two);
}

static void the_slower_replica_gets_few_calls(void **state)
{
	struct service *slow = service_new("inproc", 0, NULL);
	struct service *fast = service_new("inproc", 0, NULL);
	struct answer a[500] = {{0}};
	unsigned sent = 0, done = 0;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, NULL, 0));
	add(&l, slow->url);
	add(&l, fast->url);
	LOOP_UNTIL(&l, up(&l) == 2);
	atomic_store(&slow->delay_us, 5000);
	while (done < COUNTOF(a)) {
		while (sent < COUNTOF(a) && sent - done < 8) {
			struct bus_call c = call_of(STR("s"), &a[sent++]);

			(void)start(&l, &c);
		}
		loop_turn(&l, 50);
		while (done < sent && a[done].finals)
			assert_int_equal(a[done++].e, OK);
	}
	assert_true(atomic_load(&slow->begun) > 0);
	assert_true(atomic_load(&slow->begun) < COUNTOF(a) / 5);
	loop_fini(&l);
	service_end(slow);
	service_end(fast);
}

/* White box: when the first replica of the client may be asked again. */
static uint64_t ejected_ms(struct loop *l)
{
	return l->client->of[PEER_AUTH].v[0]->ejected_ms;
}

/* A service there comes and goes; it is to be ejected for want_ms. */
static void come_and_go(struct loop *l, const char *url, bool working,
                        uint64_t want_ms)
{
	struct service *sv = service_try(url, 0, NULL);
	uint64_t before_ms;

	assert_non_null(sv);
	LOOP_UNTIL(l, up(l) == 1);
	if (working)
		assert_int_equal(ask(l, "e").e, OK);
	service_end(sv);
	before_ms = mono_ms(); /* the loop has not turned meanwhile */
	/* It may be seen to leave before its connection is seen to end. */
	LOOP_UNTIL(l, up(l) == 0 && ejected_ms(l) > before_ms);
	assert_true(ejected_ms(l) >= before_ms + want_ms);
	assert_true(ejected_ms(l) <= mono_ms() + want_ms);
}

static void each_loss_in_a_row_ejects_for_twice_as_long(void **state)
{
	struct loop l;
	char url[64];

	(void)state;
	fresh_url(url, sizeof(url), "inproc");
	assert_true(loop_init(&l, NULL, 0));
	add(&l, url);
	for (unsigned n = 0; n < 9; n++)
		come_and_go(&l, url, false, n < 7 ? 50u << n : 5000);
	/* One answer, and all is forgiven. */
	come_and_go(&l, url, true, 50);
	/* So it is by an operator's word. */
	come_and_go(&l, url, false, 100);
	bus_client_forgive(l.client, PEER_AUTH);
	assert_int_equal(ejected_ms(&l), 0);
	come_and_go(&l, url, false, 50);
	loop_fini(&l);
}

static void one_that_was_lost_is_avoided_and_tried_again(void **state)
{
	struct service *steady = service_new("inproc", 0, NULL), *back;
	struct answer a = {0};
	struct loop l;
	char url[64];

	(void)state;
	fresh_url(url, sizeof(url), "inproc");
	assert_true(loop_init(&l, NULL, 0));
	add(&l, url);
	for (unsigned n = 0; n < 5; n++)
		come_and_go(&l, url, false, 50u << n);
	loop_to(&l, steady);
	back = service_try(url, 0, NULL);
	assert_non_null(back);
	LOOP_UNTIL(&l, up(&l) == 2);
	/* The last time it was lost it was ejected for 0.8 s. */
	for (;;) {
		a = ask(&l, "e");
		assert_int_equal(a.e, OK);
		if (mono_ms() >= ejected_ms(&l))
			break;
		assert_int_equal(atomic_load(&back->begun), 0);
	}
	LOOP_UNTIL(&l, ask(&l, "e").e == OK && atomic_load(&back->begun) > 0);
	assert_true(mono_ms() >= ejected_ms(&l));
	loop_fini(&l);
	service_end(back);
	service_end(steady);
}

static void retries_stay_within_their_budget(void **state)
{
	static const struct {
		unsigned before; /* calls of the last seconds */
		unsigned moved;  /* of HELD that are lost */
	} cases[] = {
		{0, MOVE_FLOOR},
		/* A fifth of all; those that are lost are calls, too. */
		{1000, (1000 + 300) / 5},
	};
	enum { HELD = 300 };
	static struct answer a[HELD];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct child one = child_new(NULL), two = child_new(NULL);
		unsigned lost = 0;
		struct loop l;

		memset(a, 0, sizeof(a));
		assert_true(loop_init(&l, NULL, 0));
		add(&l, one.url);
		LOOP_UNTIL(&l, up(&l) == 1);
		for (unsigned n = 0; n + 1 < cases[i].before; n++)
			assert_int_equal(ask(&l, "e").e, OK);
		for (unsigned n = 0; n < HELD; n++) {
			struct bus_call c = call_of(STR("h"), &a[n]);

			c.retry = true;
			(void)start(&l, &c);
		}
		if (cases[i].before)
			assert_int_equal(ask(&l, "e").e, OK);
		else
			for (unsigned n = 0; n < 20; n++)
				loop_turn(&l, 5);
		add(&l, two.url);
		LOOP_UNTIL(&l, up(&l) == 2);
		child_kill(&one);
		LOOP_UNTIL(&l, up(&l) == 1);
		for (unsigned n = 0; n < HELD; n++) {
			lost += a[n].finals;
			if (a[n].finals)
				assert_int_equal(a[n].e, ERR_PEER_LOST);
		}
		assert_int_equal(row(&l, 0).moved, cases[i].moved);
		assert_int_equal(row(&l, 1).sent, cases[i].moved);
		assert_int_equal(lost, HELD - cases[i].moved);
		end(&l, &two);
	}
}

/* --- names ---------------------------------------------------------------------- */

static pthread_mutex_t dns_lock = PTHREAD_MUTEX_INITIALIZER;
static char dns[3][32];

static bool add_address(struct addrinfo ***at, const char *addr,
                        const char *service)
{
	struct {
		struct addrinfo a;
		struct sockaddr_in in;
	} *one = calloc(1, sizeof(*one));

	if (!one)
		return false;
	one->in.sin_family = AF_INET;
	one->in.sin_addr.s_addr = inet_addr(addr);
	one->in.sin_port =
		htons((uint16_t)strtoul(service ? service : "0", NULL, 10));
	one->a.ai_family = AF_INET;
	one->a.ai_addr = (struct sockaddr *)&one->in;
	one->a.ai_addrlen = sizeof(one->in);
	**at = &one->a;
	*at = &one->a.ai_next;
	return true;
}

/* Stand in for libc's in this program: numbers as they are, and the addresses
 * above for any name. */
int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict hints,
                struct addrinfo **restrict res)
{
	struct addrinfo **at = res;
	struct in_addr a4;
	GUARD(&dns_lock);

	(void)hints;
	*res = NULL;
	if (!host || inet_pton(AF_INET, host, &a4) == 1)
		return add_address(&at, host ? host : "0.0.0.0", service)
		               ? 0
		               : EAI_MEMORY;
	for (size_t i = 0; i < COUNTOF(dns) && dns[i][0]; i++)
		if (!add_address(&at, dns[i], service))
			return EAI_MEMORY;
	return *res ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(list);
		list = next;
	}
}

static void dns_set(const char *a, const char *b)
{
	GUARD(&dns_lock);

	(void)snprintf(dns[0], sizeof(dns[0]), "%s", a);
	(void)snprintf(dns[1], sizeof(dns[1]), "%s", b);
}

static size_t rows(struct loop *l)
{
	return bus_client_replicas(l->client, NULL, 0);
}

static void a_name_is_followed_as_it_grows_and_shrinks(void **state)
{
	struct bus_keys keys = test_keys("a secret of at least 32 characters");
	struct service *one = service_try("tcp://127.0.0.1:0", 0, &keys);
	struct service *two;
	struct answer held = {0};
	struct bus_call c = call_of(STR("h"), &held);
	struct loop l;
	unsigned port = bus_server_port(one->server);
	char url[64];

	(void)state;
	(void)snprintf(url, sizeof(url), "tcp://127.0.0.2:%u", port);
	two = service_try(url, 0, &keys);
	assert_non_null(two);
	dns_set("127.0.0.1", "");
	assert_true(loop_init(&l, &keys, 0));
	(void)snprintf(url, sizeof(url), "tcp://replicas.test:%u", port);
	add(&l, url);
	LOOP_UNTIL(&l, up(&l) == 1);
	assert_int_equal(rows(&l), 1);
	(void)start(&l, &c);
	LOOP_UNTIL(&l, atomic_load(&one->begun) == 1);
	/* The same address twice, in another order, is still two. */
	dns_set("127.0.0.2", "127.0.0.1");
	LOOP_UNTIL(&l, up(&l) == 2);
	/* A removed one finishes what it has and is called no more. */
	dns_set("127.0.0.2", "");
	LOOP_UNTIL(&l, ask(&l, "e").e == OK && atomic_load(&two->begun) > 0);
	for (uint64_t end = mono_ms() + 2500; mono_ms() < end;)
		loop_turn(&l, 50);
	assert_int_equal(held.finals, 0);
	held_end(one);
	LOOP_UNTIL(&l, held.finals);
	assert_int_equal(held.e, OK);
	LOOP_UNTIL(&l, rows(&l) == 1);
	/* A name server that knows nothing takes nothing away. */
	dns_set("", "");
	for (uint64_t end = mono_ms() + 2500; mono_ms() < end;)
		loop_turn(&l, 50);
	assert_int_equal(ask(&l, "e").e, OK);
	loop_fini(&l);
	service_end(one);
	service_end(two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_killed_service_fails_calls_that_must_not_run_twice),
		cmocka_unit_test(they_fail_though_another_replica_is_up),
		cmocka_unit_test(
			calls_that_may_run_twice_move_to_the_other_replica),
		cmocka_unit_test(a_trip_has_every_attempt),
		cmocka_unit_test(a_call_for_one_replica_goes_to_no_other),
		cmocka_unit_test(a_lone_replica_is_waited_for),
		cmocka_unit_test(a_stopped_service_is_suspect_and_avoided),
		cmocka_unit_test(
			requests_that_waited_out_their_time_are_not_begun),
		cmocka_unit_test(
			one_that_begins_nothing_costs_the_others_no_call),
		cmocka_unit_test(a_lone_one_that_begins_nothing_is_waited_for),
		cmocka_unit_test(
			one_that_says_that_it_has_started_is_asked_at_once),
		cmocka_unit_test(
			a_draining_service_is_not_called_and_loses_nothing),
		cmocka_unit_test(the_slower_replica_gets_few_calls),
		cmocka_unit_test(each_loss_in_a_row_ejects_for_twice_as_long),
		cmocka_unit_test(one_that_was_lost_is_avoided_and_tried_again),
		cmocka_unit_test(retries_stay_within_their_budget),
		cmocka_unit_test(a_name_is_followed_as_it_grows_and_shrinks),
	};
	int failed;

	atomic_store(&log_threshold, LOG_ERROR);
	nursery_fill();
	bus_global_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	nursery_empty();
	return failed;
}
