/*
 * counter - a service that only counts, in the place of svc-auth: what a client
 * was told can be compared with what really ran.
 *
 * Every call appends "once ID" or "again ID" to KAE_RAN_FILE, in one write, so
 * that what ran before a SIGKILL is in it, and then takes 2 ms, so that a
 * SIGKILL finds some at work.
 */
#define METHODS_DEF "tests/fault/counter.def"
#define METHODS_TABLE
#include "common/service/methods.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static enum err count(void *state, const struct ctx *cx, const char *what,
                      struct reply *out)
{
	const struct timespec work = {.tv_nsec = 2000000};
	const int *fd = state;
	char line[160];
	int n = snprintf(line, sizeof(line), "%s %.*s\n", what,
	                 STR_FMT(cx->rid));

	if (write(*fd, line, (size_t)n) != n)
		return ERR_INTERNAL;
	(void)nanosleep(&work, NULL);
	mp_map(&out->body, 1);
	mp_kv_bool(&out->body, "counted", true);
	return OK;
}

enum err method_count_once(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	(void)in;
	return count(state, cx, "once", out);
}

enum err method_count_again(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	(void)in;
	return count(state, cx, "again", out);
}

static enum err start(struct service *sv, void **state)
{
	const char *path = getenv("KAE_RAN_FILE");
	int *fd = malloc(sizeof(*fd));

	(void)sv;
	if (!fd)
		return ERR_NOMEM;
	*fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)
	           : -1;
	if (*fd < 0) {
		free(fd);
		return ERR_INVALID;
	}
	*state = fd;
	return OK;
}

static void stop(void *state)
{
	int *fd = state;

	(void)close(*fd);
	free(fd);
}

static const struct db_migration migrations[] = {
	{1, "what every service has", EVENT_TABLES_SQLITE EVENT_TRACE_SQLITE,
         EVENT_TABLES_POSTGRES("auth") EVENT_TRACE_POSTGRES("auth")},
};

static const struct service_def counter = {
	.self = PEER_AUTH,
	.name = "auth",
	.methods = methods,
	.methods_n = COUNTOF(methods),
	.migrations = migrations,
	.migrations_n = COUNTOF(migrations),
	.slow_threads = 1,
	.start = start,
	.stop = stop,
};

int main(int argc, char **argv)
{
	return service_main(&counter, argc, argv);
}
