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

#define GET_HEALTH "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

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

static void *drain_at_once(void *arg)
{
	gateway_drain(arg, 0, 20000);
	return NULL;
}

static bool is_draining(const void *arg)
{
	const struct gateway *g = arg;

	return atomic_load(&g->site.draining);
}

/* The loop is held in the middle of a turn, while one client waits in the queue
 * of the socket and nothing else is to be done. */
static void what_nobody_has_read_is_answered(void **state)
{
	static const struct stack_want one_loop[] = {{"GATEWAY_THREADS", "1"}};
	struct stack *s = stack_start(one_loop, 1);
	struct loop *lo = &s->gateway->loops[0];
	struct client c = client_to(s);
	pthread_t drainer;
	struct answer a;

	(void)state;
	assert_int_equal(pthread_mutex_lock(&lo->shown_lock), 0);
	/* Its next tick holds it; until then it answers. */
	for (;;) {
		client_text(&c, GET_HEALTH);
		a = client_answer(&c, false, 2 * LOOP_TICK_MS);
		answer_fini(&a);
		if (a.status != 200)
			break;
		client_close(&c);
		c = client_to(s);
	}
	assert_int_equal(
		pthread_create(&drainer, NULL, drain_at_once, s->gateway), 0);
	assert_true(wait_until(is_draining, s->gateway, 10000));
	assert_int_equal(pthread_mutex_unlock(&lo->shown_lock), 0);
	a = client_answer(&c, false, 10000);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	assert_int_equal(pthread_join(drainer, NULL), 0);
	client_close(&c);
	stack_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			who_has_come_gets_in_and_who_comes_later_is_refused),
		cmocka_unit_test(what_nobody_has_read_is_answered),
	};

	quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
