#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/inside.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static unsigned system_most(void)
{
	FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
	char text[32] = "";

	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	(void)fclose(f);
	return (unsigned)strtoul(text, NULL, 10);
}

/* Of a listening socket the kernel tells the length of its queue there. */
static unsigned queue_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n), 0);
	return info.tcpi_sacked;
}

static void connections_wait_in_queues_of_2048(void **state)
{
	const struct settings conf = {.bind = STR("127.0.0.1"), .port = 0};
	int fds[2] = {-1, -1};
	unsigned port = 0, most = system_most();

	(void)state;
	assert_int_equal(listen_open(&conf, fds, COUNTOF(fds), &port), OK);
	for (size_t i = 0; i < COUNTOF(fds); i++)
		assert_int_equal(queue_of(fds[i]), most < 2048 ? most : 2048);
	listen_close(fds, COUNTOF(fds));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_wait_in_queues_of_2048),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
