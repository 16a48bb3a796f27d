/*
 * redis_server - a real redis-server for a unit test: in a folder of its own,
 * on a unix socket and a free loopback port, ended by its own pid, or by the
 * kernel when the test dies first.
 */
#ifndef TESTS_UNIT_REDIS_SERVER_H
#define TESTS_UNIT_REDIS_SERVER_H

#include "common/base/clock.h"
#include "common/cache/redis_url.h"

#include <setjmp.h> /* cmocka.h needs these three */
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define REDIS_START_MS 20000

struct redis_server {
	char folder[64];
	char path[96]; /* of its socket */
	int port;
	pid_t pid;
};

static inline void nap(void)
{
	(void)poll(NULL, 0, 2);
}

/*
 * A port that nobody has just now, and that the system gives to no client
 * meanwhile: below those (as tests/harness/process.py does).
 */
static inline int free_port(void)
{
	static unsigned next;
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd, port = 0, bound = -1;

	for (int tries = 0; bound && tries < 1000; tries++) {
		port = 20000 +
		       (int)(((unsigned)getpid() * 1009 + next++) % 12000);
		a.sin_port = htons((uint16_t)port);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(fd >= 0);
		bound = bind(fd, (struct sockaddr *)&a, sizeof(a));
		assert_int_equal(close(fd), 0);
	}
	assert_int_equal(bound, 0);
	return port;
}

/* One command over a connection of its own; the caller frees the answer. */
static inline redisReply *redis_ask(const struct redis_server *s, size_t n,
                                    const char *const words[])
{
	redisContext *c = redisConnectUnix(s->path);
	const char *argv[16];
	redisReply *r = NULL;

	assert_true(n <= 16);
	for (size_t i = 0; i < n; i++)
		argv[i] = words[i];
	if (c && !c->err)
		r = redisCommandArgv(c, (int)n, argv, NULL);
	if (c)
		redisFree(c);
	return r;
}

#define REDIS_DO(s, ...)                                       \
	redis_ask(s,                                           \
	          sizeof((const char *const[]){__VA_ARGS__}) / \
	                  sizeof(const char *),                \
	          (const char *const[]){__VA_ARGS__})
/* The answer is of no interest. */
#define REDIS_TELL(s, ...) freeReplyObject(REDIS_DO(s, __VA_ARGS__))

/* How often a command was called, in lower case. */
static inline int64_t redis_calls(const struct redis_server *s,
                                  const char *command)
{
	redisReply *r = REDIS_DO(s, "INFO", "commandstats");
	char name[32];
	const char *at;
	int64_t n = 0;

	assert_non_null(r);
	(void)snprintf(name, sizeof(name), "cmdstat_%s:calls=", command);
	at = r->str ? strstr(r->str, name) : NULL;
	if (at)
		n = strtoll(at + strlen(name), NULL, 10);
	freeReplyObject(r);
	return n;
}

static inline void redis_start(struct redis_server *s)
{
	char port[8];
	const char *const argv[] = {"setpriv",
	                            "--pdeathsig",
	                            "KILL",
	                            "redis-server",
	                            "--port",
	                            port,
	                            "--bind",
	                            "127.0.0.1",
	                            "--unixsocket",
	                            s->path,
	                            "--dir",
	                            s->folder,
	                            "--save",
	                            "",
	                            "--appendonly",
	                            "no",
	                            "--daemonize",
	                            "no",
	                            "--loglevel",
	                            "warning",
	                            "--enable-debug-command",
	                            "yes",
	                            NULL};
	posix_spawn_file_actions_t quiet;
	uint64_t until = mono_ms() + REDIS_START_MS;
	redisReply *r = NULL;

	if (!s->folder[0]) {
		(void)snprintf(s->folder, sizeof(s->folder),
		               "/tmp/kae-redis-XXXXXX");
		assert_non_null(mkdtemp(s->folder));
		(void)snprintf(s->path, sizeof(s->path), "%s/sock", s->folder);
		s->port = free_port();
	}
	(void)snprintf(port, sizeof(port), "%d", s->port);
	assert_int_equal(posix_spawn_file_actions_init(&quiet), 0);
	assert_int_equal(posix_spawn_file_actions_addopen(
				 &quiet, 1, "/dev/null", O_WRONLY, 0),
	                 0);
	assert_int_equal(posix_spawnp(&s->pid, argv[0], &quiet, NULL,
	                              (char *const *)(uintptr_t)argv, environ),
	                 0);
	(void)posix_spawn_file_actions_destroy(&quiet);
	while (!r && mono_ms() < until) {
		r = REDIS_DO(s, "PING");
		if (!r)
			nap();
	}
	assert_non_null(r);
	freeReplyObject(r);
}

/* As a crash would: what it had is gone. */
static inline void redis_kill(struct redis_server *s)
{
	if (s->pid <= 0)
		return;
	(void)kill(s->pid, SIGKILL);
	(void)waitpid(s->pid, NULL, 0);
	s->pid = 0;
	(void)unlink(s->path);
}

static inline void redis_end(struct redis_server *s)
{
	redis_kill(s);
	(void)rmdir(s->folder);
	s->folder[0] = '\0';
}

static inline struct redis_url redis_at_path(const struct redis_server *s)
{
	struct redis_url u = {.is_path = true};

	(void)snprintf(u.host, sizeof(u.host), "%s", s->path);
	return u;
}

static inline struct redis_url redis_at_port(const struct redis_server *s)
{
	struct redis_url u = {.host = "127.0.0.1"};

	(void)snprintf(u.port, sizeof(u.port), "%d", s->port & 0xffff);
	return u;
}

#endif
