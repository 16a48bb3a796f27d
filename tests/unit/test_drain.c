/* gateway - the last moments of a listening socket: see also
 * tests/fault/test_rolling.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/inside.h"
#include "tests/unit/gateway_fixture.h"

#include <errno.h>
#include <netinet/in.h>

#define HEALTH "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
#define STATS  "GET /api/gamification/stats HTTP/1.1\r\nHost: x\r\n" ALICE "\r\n"

/* A connection that may still be waiting for its handshake. */
static int knock(unsigned port)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr = {htonl(INADDR_LOOPBACK)},
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

/* What came of it within ms: 0, or the error; -1 nothing yet. */
static int outcome(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int e = 0;
	socklen_t n = sizeof(e);

	if (poll(&p, 1, ms) <= 0)
		return -1;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n), 0);
	return e;
}

static void who_has_come_gets_in_and_who_comes_later_is_refused(void **state)
{
	const struct settings conf = {.bind = STR("127.0.0.1")};
	int listening = -1, early, late, taken;
	unsigned port = 0;

	(void)state;
	assert_int_equal(listen_open(&conf, &listening, 1, &port), OK);
	early = knock(port);
	assert_int_equal(outcome(early, 10000), 0);
	listen_shut(listening);
	late = knock(port);
	/* On loopback a handshake is done when connect() is. */
	assert_int_equal(outcome(late, 0), -1);
	taken = accept(listening, NULL, NULL);
	assert_true(taken >= 0);
	assert_int_equal(send(early, "x", 1, 0), 1);
	assert_int_equal(accept(listening, NULL, NULL), -1);
	listen_close(&listening, 1);
	/* It asks again after a second; it never was connected. */
	assert_int_equal(outcome(late, 30000), ECONNREFUSED);
	assert_int_equal(close(late), 0);
	assert_int_equal(close(early), 0);
	assert_int_equal(close(taken), 0);
}

struct drain {
	struct gateway *gateway;
	uint64_t grace_ms;
	pthread_t thread;
};

static void *drain_at_once(void *arg)
{
	struct drain *d = arg;

	gateway_drain(d->gateway, 0, d->grace_ms);
	return NULL;
}

static bool is_draining(const void *arg)
{
	const struct gateway *g = arg;

	return atomic_load(&g->site.draining);
}

/* What a client is told that asks while the loop is held in the middle of a turn
 * with nothing to do, and the drain begins.  kept: over a connection that the
 * loop knows. */
static struct answer last_answer(const char *asked, bool kept,
                                 uint64_t grace_ms)
{
	static const struct stack_want one_loop[] = {{"GATEWAY_THREADS", "1"}};
	struct stack *s = stack_start(one_loop, 1);
	struct loop *lo = &s->gateway->loops[0];
	struct drain d = {.gateway = s->gateway, .grace_ms = grace_ms};
	struct client probe = client_to(s), c = client_to(s);
	struct answer a;

	assert_int_equal(pthread_mutex_lock(&lo->shown_lock), 0);
	/* Its next tick holds it; until then it answers at once. */
	do {
		client_text(&probe, HEALTH);
		a = client_answer(&probe, false, 8 * LOOP_TICK_MS);
		answer_fini(&a);
	} while (a.status == 200);
	if (!kept) {
		client_close(&c);
		c = client_to(s);
	}
	client_text(&c, asked);
	assert_int_equal(pthread_create(&d.thread, NULL, drain_at_once, &d), 0);
	assert_true(wait_until(is_draining, s->gateway, 10000));
	assert_int_equal(pthread_mutex_unlock(&lo->shown_lock), 0);
	a = client_answer(&c, false, 10000);
	assert_int_equal(pthread_join(d.thread, NULL), 0);
	client_close(&c);
	client_close(&probe);
	stack_stop(s);
	return a;
}

static void what_nobody_has_read_is_answered(void **state)
{
	struct answer a = last_answer(HEALTH, false, 20000);

	(void)state;
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	a = last_answer(HEALTH, true, 20000);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
}

/* It is read at the very end, when nothing can wait for a service any more: that
 * would end the process.  On a machine so slow that the loop was not held yet it
 * is answered. */
static void what_comes_when_the_grace_is_over_is_told_503(void **state)
{
	struct answer a = last_answer(STATS, true, 0);

	(void)state;
	if (a.status != 200)
		is_problem(&a, 503, "SERVICE_UNAVAILABLE");
	answer_fini(&a);
}

static bool one_is_idle(const void *g)
{
	return atomic_load(&((const struct gateway *)g)->site.idle_n) == 1;
}

/* One loop waits for a service, and the other has nothing to do. */
static void every_loop_answers_until_the_last_request_is_done(void **state)
{
	static const struct stack_want two_loops[] = {{"GATEWAY_THREADS", "2"}};
	struct stack *s = stack_start(two_loops, 1);
	struct drain d = {.gateway = s->gateway, .grace_ms = 20000};
	struct client busy = client_to(s), kept[16];
	struct answer a;

	(void)state;
	for (size_t i = 0; i < COUNTOF(kept); i++)
		kept[i] = client_to(s);
	client_text(&busy, "GET /api/progress?mode=hold HTTP/1.1\r\n"
	                   "Host: x\r\n" ALICE "\r\n");
	assert_true(wait_until(is_held, &s->fakes[PEER_CONTENT], 10000));
	assert_int_equal(pthread_create(&d.thread, NULL, drain_at_once, &d), 0);
	assert_true(wait_until(one_is_idle, s->gateway, 10000));
	for (size_t i = 0; i < COUNTOF(kept); i++) {
		client_text(&kept[i], HEALTH);
		a = client_answer(&kept[i], false, 10000);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
		client_close(&kept[i]);
	}
	client_close(&busy);
	assert_int_equal(pthread_join(d.thread, NULL), 0);
	stack_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			who_has_come_gets_in_and_who_comes_later_is_refused),
		cmocka_unit_test(what_nobody_has_read_is_answered),
		cmocka_unit_test(what_comes_when_the_grace_is_over_is_told_503),
		cmocka_unit_test(
			every_loop_answers_until_the_last_request_is_done),
	};

	quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
