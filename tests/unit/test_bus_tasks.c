/* tasks - two nng task threads that take nobody's processor, and sysconf() tells
 * everybody else the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/bus/bus.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Threads of this process whose name starts so and whose policy is that one; any
 * below 0. */
static unsigned threads_of(const char *prefix, int policy)
{
	DIR *d = opendir("/proc/self/task");
	const struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		char path[300], name[32] = {0};
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
		               e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) &&
		    str_starts(str_from(name), str_from(prefix)) &&
		    (policy < 0 ||
		     sched_getscheduler((pid_t)strtol(e->d_name, NULL, 10)) ==
		             policy))
			n++;
		(void)fclose(f);
	}
	(void)closedir(d);
	return n;
}

static unsigned threads_named(const char *prefix)
{
	return threads_of(prefix, -1);
}

/* Before nng: main's, and what a sanitizer has. */
static unsigned ours;

/* A thread names itself when it first runs: until then it has our name. */
static void wait_for_names(void)
{
	for (int i = 0; i < 5000 && threads_named("test_bus") != ours; i++)
		(void)usleep(1000);
	assert_int_equal(threads_named("test_bus"), ours);
}

static void nng_has_two_task_threads(void **state)
{
	(void)state;
	wait_for_names();
	assert_int_equal(threads_named("nng:task"), 2);
}

static void they_wait_for_those_who_work(void **state)
{
	(void)state;
	wait_for_names();
	assert_true(threads_named("nng:") > 2);
	assert_int_equal(threads_of("nng:", SCHED_BATCH),
	                 threads_named("nng:"));
	/* Ours are as they were, and so are those that we start later. */
	assert_int_equal(threads_of("test_bus", SCHED_OTHER), ours);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

static void sysconf_still_counts_processors(void **state)
{
	cpu_set_t cpus;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	assert_true(sysconf(_SC_NPROCESSORS_ONLN) >= CPU_COUNT(&cpus));
	assert_int_equal(sysconf(_SC_PAGESIZE), getpagesize());
	bus_global_init(); /* twice is fine */
	wait_for_names();
	assert_true(sysconf(_SC_NPROCESSORS_ONLN) >= CPU_COUNT(&cpus));
	assert_int_equal(threads_named("nng:task"), 2);
}

static void *nothing(void *arg)
{
	return arg;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nng_has_two_task_threads),
		cmocka_unit_test(they_wait_for_those_who_work),
		cmocka_unit_test(sysconf_still_counts_processors),
	};
	pthread_t t;

	/* A sanitizer starts its own thread with the first of ours. */
	if (pthread_create(&t, NULL, nothing, NULL) == 0)
		(void)pthread_join(t, NULL);
	ours = threads_named("test_bus");
	bus_global_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
