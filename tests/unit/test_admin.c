#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/obs/health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
	struct metrics *metrics;
	struct health *health;
	struct admin *admin;
};

static int setup(void **state)
{
	static struct fixture f;
	struct admin_conf conf = {.bind = "127.0.0.1"};

	f.metrics = metrics_new();
	f.health = health_new();
	conf.metrics = f.metrics;
	conf.health = f.health;
	*state = &f;
	return f.metrics && f.health && admin_start(&conf, &f.admin) == OK ? 0
	                                                                   : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	admin_stop(f->admin);
	health_free(f->health);
	metrics_free(f->metrics);
	return 0;
}

static int dial(const struct fixture *f)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)admin_port(f->admin)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const struct timeval patience = {.tv_sec = 30};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
	                            sizeof(patience)),
	                 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Sends what is given and reads until the server closes. */
static void talk(const struct fixture *f, struct str what, struct buf *out)
{
	int fd = dial(f);
	char part[4096];
	ssize_t n;

	(void)!send(fd, what.p, what.n, MSG_NOSIGNAL);
	while ((n = recv(fd, part, sizeof(part), 0)) > 0)
		buf_add(out, part, (size_t)n);
	buf_char(out, '\0');
	(void)close(fd);
}

static void get(const struct fixture *f, const char *method, const char *target,
                struct buf *out)
{
	AUTO_BUF rq = {0};

	buf_printf(&rq,
	           "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	           method, target);
	talk(f, buf_view(&rq), out);
}

static unsigned status_of(const struct buf *reply)
{
	assert_true(reply->n > 12 && strncmp(reply->p, "HTTP/1.1 ", 9) == 0);
	return (unsigned)strtoul(reply->p + 9, NULL, 10);
}

static const char *body_of(const struct buf *reply)
{
	const char *at = strstr(reply->p, "\r\n\r\n");

	assert_non_null(at);
	return at + 4;
}

static void livez_is_200_whatever_the_phase(void **state)
{
	static const char *const targets[] = {"/livez", "/healthz",
	                                      "/livez?verbose"};

	for (size_t i = 0; i < COUNTOF(targets); i++) {
		AUTO_BUF out = {0};

		get(*state, "GET", targets[i], &out);
		assert_int_equal(status_of(&out), 200);
		assert_non_null(strstr(out.p, "application/json"));
		assert_non_null(strstr(out.p, "no-store"));
		assert_string_equal(body_of(&out), "{\"status\":\"alive\"}\n");
	}
}

static void readyz_follows_the_phases(void **state)
{
	struct fixture *f = *state;
	static const struct {
		enum health_phase auth, gdpr;
		unsigned all, one;
	} cases[] = {
		{PHASE_STARTING, PHASE_READY, 503, 503},
		{PHASE_READY, PHASE_READY, 200, 200},
		{PHASE_READY, PHASE_DRAINING, 503, 200},
	};

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF all = {0};
		AUTO_BUF one = {0};
		json_t *j;

		health_phase(f->health, "auth", cases[i].auth);
		health_phase(f->health, "gdpr", cases[i].gdpr);
		get(f, "GET", "/readyz?verbose", &all);
		get(f, "GET", "/readyz/auth", &one);
		assert_int_equal(status_of(&all), cases[i].all);
		assert_int_equal(status_of(&one), cases[i].one);
		j = json_loads(body_of(&all), 0, NULL);
		assert_int_equal(json_is_true(json_object_get(j, "ready")),
		                 cases[i].all == 200);
		json_decref(j);
	}
}

static enum health_state well(void *arg, char *detail, size_t max)
{
	(void)arg;
	(void)detail;
	(void)max;
	return HEALTH_UP;
}

static void tell_one(void *arg, struct buf *out)
{
	(void)arg;
	buf_str(out, STR("{\"address\":\"a\"}"));
}

static void verbose_is_asked_with_a_value_or_without(void **state)
{
	static const struct {
		const char *target;
		bool listed;
	} cases[] = {
		{"/readyz", false},          {"/readyz?quiet", false},
		{"/readyz?verbose", true},   {"/readyz?verbose=1", true},
		{"/readyz/x?verbose", true}, {"/readyz?a=b&verbose", true},
	};
	struct fixture *f = *state;

	assert_true(health_check(f->health, "x", "y", false, well, NULL));
	assert_true(health_list(f->health, "x", "y", "parts", tell_one));
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF out = {0};

		get(f, "GET", cases[i].target, &out);
		assert_int_equal(strstr(body_of(&out),
		                        "\"parts\":[{\"address\"") != NULL,
		                 cases[i].listed);
	}
}

static void metrics_are_prometheus_text(void **state)
{
	struct fixture *f = *state;
	AUTO_BUF out = {0};

	metric_add(metric_series(metrics_family(f->metrics, METRIC_COUNTER, "c",
	                                        "C.", NULL, NULL, 0),
	                         NULL),
	           1);
	get(f, "GET", "/metrics", &out);
	assert_int_equal(status_of(&out), 200);
	assert_non_null(strstr(out.p, "text/plain; version=0.0.4"));
	assert_non_null(strstr(body_of(&out), "c 1\n"));
}

static enum health_state is_down(void *arg, char *detail, size_t detail_max)
{
	(void)arg;
	(void)detail;
	(void)detail_max;
	return HEALTH_DOWN;
}

static void metrics_say_what_readyz_says(void **state)
{
	struct fixture *f = *state;
	AUTO_BUF out = {0};

	health_phase(f->health, "auth", PHASE_READY);
	health_phase(f->health, "gdpr", PHASE_DRAINING);
	assert_true(
		health_check(f->health, "auth", "redis", false, is_down, NULL));
	get(f, "GET", "/metrics", &out);
	assert_non_null(strstr(out.p, "\nkae_ready{part=\"auth\"} 1\n"));
	assert_non_null(strstr(out.p, "\nkae_ready{part=\"gdpr\"} 0\n"));
	assert_non_null(strstr(out.p, "\nkae_dependency_state{part=\"auth\","
	                              "dependency=\"redis\"} 2\n"));
	health_forget(f->health, "auth");
}

static void unknown_paths_are_a_json_problem(void **state)
{
	static const char *const targets[] = {
		"/",       "/readyz/", "/readyz/nobody", "/livez/", "/readyzz",
		"/metric", "/%00",     "/../livez",      "//livez",
	};

	for (size_t i = 0; i < COUNTOF(targets); i++) {
		AUTO_BUF out = {0};
		json_t *j;

		get(*state, "GET", targets[i], &out);
		assert_int_equal(status_of(&out), 404);
		assert_non_null(strstr(out.p, "application/problem+json"));
		j = json_loads(body_of(&out), 0, NULL);
		assert_int_equal(
			json_integer_value(json_object_get(j, "status")), 404);
		json_decref(j);
	}
}

static void other_methods_are_405_with_allow(void **state)
{
	static const char *const methods[] = {"POST", "PUT", "DELETE",
	                                      "OPTIONS", "get"};

	for (size_t i = 0; i < COUNTOF(methods); i++) {
		AUTO_BUF out = {0};

		get(*state, methods[i], "/livez", &out);
		assert_int_equal(status_of(&out), 405);
		assert_non_null(strstr(out.p, "Allow: GET, HEAD"));
		assert_non_null(strstr(out.p, "METHOD_NOT_ALLOWED"));
	}
}

static void head_has_no_body(void **state)
{
	AUTO_BUF out = {0};

	get(*state, "HEAD", "/livez", &out);
	assert_int_equal(status_of(&out), 200);
	assert_string_equal(body_of(&out), "");
	assert_non_null(strstr(out.p, "Content-Length: 19"));
}

static void a_body_is_not_read_for_ever(void **state)
{
	uint64_t begin = mono_ms();
	AUTO_BUF post = {0};
	AUTO_BUF with_body = {0};

	talk(*state,
	     STR("POST /livez HTTP/1.1\r\nHost: x\r\n"
	         "Content-Length: 1000000000\r\n\r\nabc"),
	     &post);
	assert_int_equal(status_of(&post), 405);
	talk(*state,
	     STR("GET /livez HTTP/1.1\r\nHost: x\r\n"
	         "Content-Length: 1000000000\r\n\r\nabc"),
	     &with_body);
	/* Closed at once: neither an answer nor 10 s of patience. */
	assert_string_equal(with_body.p, "");
	assert_true(mono_ms() - begin < 5000);
}

static void a_connection_serves_one_request_after_another(void **state)
{
	static const char rq[] = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
	int fd = dial(*state);
	AUTO_BUF out = {0};
	char part[4096];

	for (int i = 0; i < 3; i++) {
		buf_clear(&out);
		assert_int_equal(send(fd, rq, sizeof(rq) - 1, MSG_NOSIGNAL),
		                 sizeof(rq) - 1);
		while (out.n < 7 ||
		       memcmp(out.p + out.n - 3, "\"}\n", 3) != 0) {
			ssize_t n = recv(fd, part, sizeof(part), 0);

			assert_true(n > 0);
			buf_add(&out, part, (size_t)n);
		}
	}
	(void)close(fd);
}

static void a_taken_port_and_a_foreign_address_are_told(void **state)
{
	const struct fixture *f = *state;
	struct admin *second = NULL;
	struct admin_conf conf = {.bind = "127.0.0.1",
	                          .port = admin_port(f->admin),
	                          .metrics = f->metrics,
	                          .health = f->health};

	assert_int_equal(admin_start(&conf, &second), ERR_EXISTS);
	conf.port = 0;
	conf.bind = "192.0.2.1";
	assert_int_equal(admin_start(&conf, &second), ERR_INVALID);
	conf.bind = "not an address";
	assert_int_equal(admin_start(&conf, &second), ERR_INVALID);
	assert_null(second);
	conf.bind = "127.0.0.1";
	assert_int_equal(admin_start(&conf, &second), OK);
	assert_int_not_equal(admin_port(second), admin_port(f->admin));
	admin_stop(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(livez_is_200_whatever_the_phase),
		cmocka_unit_test(readyz_follows_the_phases),
		cmocka_unit_test(metrics_are_prometheus_text),
		cmocka_unit_test(metrics_say_what_readyz_says),
		cmocka_unit_test(unknown_paths_are_a_json_problem),
		cmocka_unit_test(other_methods_are_405_with_allow),
		cmocka_unit_test(head_has_no_body),
		cmocka_unit_test(a_body_is_not_read_for_ever),
		cmocka_unit_test(a_connection_serves_one_request_after_another),
		cmocka_unit_test(a_taken_port_and_a_foreign_address_are_told),
		cmocka_unit_test(verbose_is_asked_with_a_value_or_without),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
