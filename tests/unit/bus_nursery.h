/*
 * bus_nursery - services in processes of their own, to be killed and stopped.
 *
 * The children are forked before any nng thread is started in this process:
 * nursery_fill() comes first in main(), nursery_empty() last.
 */
#ifndef TESTS_BUS_NURSERY_H
#define TESTS_BUS_NURSERY_H

#include "tests/unit/bus_fixture.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct child {
	pid_t pid;
	char url[128];
};

/* Each starts the service for the address that it reads from its pipe. */
static struct nursery {
	pid_t pid;
	int to;
	bool used;
} nursery[24];

static inline void nursery_run(int from)
{
	char url[128] = {0};
	ssize_t n;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	n = read(from, url, sizeof(url) - 1);
	if (n <= 0)
		_exit(0);
	bus_global_init();
	if (!service_try(url, 0, NULL))
		_exit(1);
	for (;;)
		(void)pause();
}

static inline void nursery_fill(void)
{
	for (size_t i = 0; i < COUNTOF(nursery); i++) {
		int p[2];

		if (pipe(p) != 0)
			abort();
		nursery[i].to = p[1];
		nursery[i].pid = fork();
		if (nursery[i].pid == 0) {
			(void)close(p[1]);
			nursery_run(p[0]);
		}
		(void)close(p[0]);
	}
}

static inline struct child child_new(const char *url)
{
	struct child c = {0};

	for (size_t i = 0; i < COUNTOF(nursery); i++) {
		if (nursery[i].used)
			continue;
		nursery[i].used = true;
		c.pid = nursery[i].pid;
		if (url)
			(void)snprintf(c.url, sizeof(c.url), "%s", url);
		else
			fresh_url(c.url, sizeof(c.url), "ipc");
		assert_true(write(nursery[i].to, c.url, strlen(c.url)) > 0);
		return c;
	}
	fail_msg("more children than were made");
	return c;
}

static inline void child_kill(struct child *c)
{
	assert_int_equal(kill(c->pid, SIGKILL), 0);
	assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
}

static inline void child_stop(struct child *c)
{
	int status;

	assert_int_equal(kill(c->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(c->pid, &status, WUNTRACED), c->pid);
	assert_true(WIFSTOPPED(status));
}

static inline void nursery_empty(void)
{
	for (size_t i = 0; i < COUNTOF(nursery); i++)
		(void)close(nursery[i].to); /* the unused end */
}

#endif
