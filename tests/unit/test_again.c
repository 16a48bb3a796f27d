/*
 * A request whose first attempt is stuck in one replica of svc-auth, and whose
 * second one meets its lock in the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gateway_fixture.h"

#define KEYED ALICE JSON "Idempotency-Key: k-1\r\n"
#define BODY  "{\"name\":\"laptop\"}"

/* What the two replicas do with auth.keys_add; they share it. */
static struct {
	atomic_bool stuck;  /* the first call stays, unacknowledged */
	atomic_uint busy_n; /* so many of the calls after it meet the lock */
	atomic_uint calls;
} script;

static void on_add(struct bus_item *it, struct ctx *cx, const struct entry *en)
{
	unsigned n = atomic_fetch_add(&script.calls, 1);
	struct reply r = {0};

	/* A receive callback that does not return: nothing is acknowledged. */
	while (n == 0 && atomic_load(&script.stuck))
		(void)poll(NULL, 0, 1);
	if (n <= atomic_load(&script.busy_n)) {
		(void)ctx_fail(cx, ERR_KEY_BUSY, "%s", err_text(ERR_KEY_BUSY));
		cx->problem.retry_after_s = 1;
		end_with(it, cx, ERR_KEY_BUSY, &r);
		return;
	}
	echo(&r.body, cx, en);
	r.status = 201;
	end_with(it, cx, OK, &r);
}

static void on_auth(void *arg, struct bus_item *it)
{
	AUTO(arena) a = arena_new(65536);
	struct ctx cx = {.service = "fake", .arena = a};
	struct entry en = {0};

	if (entry_read(bus_item_bytes(it), &cx, &en) != OK) {
		bus_item_refuse(it, ERR_INVALID);
		return;
	}
	if (!answer_gateway(arg, it, &cx, &en))
		on_add(it, &cx, &en);
}

static struct bus_server *auth_replica(struct fake *f, const char *url)
{
	struct bus_server *server = bus_server_new(&(struct bus_server_conf){
		.self = PEER_AUTH, .on_item = on_auth, .arg = f});

	f->self = PEER_AUTH;
	f->database = "up";
	assert_non_null(server);
	assert_int_equal(bus_server_listen(server, str_from(url)), OK);
	f->server = server;
	return server;
}

struct rig {
	struct stack *st;
	struct fake second;
};

static int set_up(void **state)
{
	static const struct stack_want want[] = {{"BUS_SUSPECT_MS", "100"}};
	struct rig *r = calloc(1, sizeof(*r));
	char url[2][40];

	assert_non_null(r);
	script.stuck = false;
	script.busy_n = script.calls = 0;
	r->st = stack_new(want, COUNTOF(want));
	(void)snprintf(url[0], sizeof(url[0]), "%.38s", r->st->urls[PEER_AUTH]);
	(void)snprintf(url[1], sizeof(url[1]), "%.36s-b", url[0]);
	(void)auth_replica(&r->st->fakes[PEER_AUTH], url[0]);
	(void)auth_replica(&r->second, url[1]);
	fake_start(r->st, PEER_CONTENT);
	fake_start(r->st, PEER_GDPR);
	(void)snprintf(r->st->urls[PEER_AUTH], sizeof(r->st->urls[0]), "%s,%s",
	               url[0], url[1]);
	assert_int_equal(stack_run(r->st), OK);
	assert_true(wait_until(is_ready, r->st->gateway, 10000));
	*state = r;
	return 0;
}

static void end(struct rig *r)
{
	if (!r->st)
		return;
	script.stuck = false;
	stack_stop(r->st);
	r->st = NULL;
	fake_stop(&r->second);
}

static int tear_down(void **state)
{
	end(*state);
	free(*state);
	return 0;
}

static bool called(const void *n)
{
	return atomic_load(&script.calls) >= *(const unsigned *)n;
}

static void the_gateway_waits_for_its_own_first_attempt(void **state)
{
	struct rig *r = *state;
	struct answer a;

	script.stuck = true;
	script.busy_n = 4;
	a = ask(r->st, "POST", "/api/auth/keys", KEYED, BODY);
	assert_int_equal(a.status, 201);
	assert_non_null(memmem(a.body.p, a.body.n, "\"idk\":\"k-1\"", 11));
	assert_non_null(memmem(a.body.p, a.body.n, "\"name\":\"laptop\"", 15));
	/* The stuck one, four that met its lock, and the one that did not. */
	assert_int_equal(script.calls, 6);
	answer_fini(&a);
}

static void a_client_that_sends_two_is_told(void **state)
{
	struct rig *r = *state;
	struct answer a;

	script.busy_n = UINT32_MAX;
	a = ask(r->st, "POST", "/api/auth/keys", KEYED, BODY);
	is_problem(&a, 409, "CONFLICT");
	assert_true(str_eq(header_of(&a, "Retry-After"), STR("1")));
	assert_int_equal(script.calls, 1);
	answer_fini(&a);
}

static void without_a_key_a_call_goes_out_once(void **state)
{
	static const unsigned one = 1;
	struct rig *r = *state;
	struct client c = client_to(r->st);
	struct answer a;

	script.stuck = true;
	client_text(&c, "POST /api/auth/keys HTTP/1.1\r\nHost: t\r\n" ALICE JSON
	                "Content-Length: 17\r\n\r\n" BODY);
	assert_true(wait_until(called, &one, 5000));
	/* Ten times as long as it takes to be suspect. */
	(void)poll(NULL, 0, 1000);
	assert_int_equal(script.calls, 1);
	script.stuck = false;
	a = client_answer(&c, false, 10000);
	assert_int_equal(a.status, 409); /* its own lock, as busy_n is 0 */
	answer_fini(&a);
	client_close(&c);
}

static void a_client_that_leaves_is_not_asked_for_any_more(void **state)
{
	static const unsigned some = 4;
	struct rig *r = *state;
	struct client c = client_to(r->st);
	unsigned before;

	script.stuck = true;
	script.busy_n = UINT32_MAX;
	client_text(&c, "POST /api/auth/keys HTTP/1.1\r\nHost: t\r\n" KEYED
	                "Content-Length: 17\r\n\r\n" BODY);
	assert_true(wait_until(called, &some, 5000));
	client_close(&c);
	/* The loop notices within its tick, and the pauses are below 0.4 s. */
	(void)poll(NULL, 0, 1500);
	before = script.calls;
	(void)poll(NULL, 0, 1000);
	assert_int_equal(script.calls, before);
}

static void who_waits_at_the_end_is_told(void **state)
{
	static const unsigned some = 4;
	struct rig *r = *state;
	struct client c = client_to(r->st);
	struct answer a;

	script.stuck = true;
	script.busy_n = UINT32_MAX;
	client_text(&c, "POST /api/auth/keys HTTP/1.1\r\nHost: t\r\n" KEYED
	                "Content-Length: 17\r\n\r\n" BODY);
	assert_true(wait_until(called, &some, 5000));
	end(r);
	a = client_answer(&c, false, 10000);
	is_problem(&a, 503, "SERVICE_UNAVAILABLE");
	answer_fini(&a);
	client_close(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_gateway_waits_for_its_own_first_attempt),
		TEST(a_client_that_sends_two_is_told),
		TEST(without_a_key_a_call_goes_out_once),
		TEST(a_client_that_leaves_is_not_asked_for_any_more),
		TEST(who_waits_at_the_end_is_told),
	};

	bus_global_init();
	quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
