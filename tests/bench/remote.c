/*
 * remote - what a get of the tier shared by all instances costs, beside what
 * redis-benchmark gets out of the same server over one pipelined connection.
 *
 *   build/release/bench/remote [seconds each]
 *
 * One line per number of threads that ask at once: gets a second, the commands
 * that makes, the same of as many asks that no thread waits for, each followed
 * by the next when it is answered, and what redis-benchmark does with as deep a
 * pipeline.  A get is PTTL, GETRANGE and HMGET.  A redis-server of its own is
 * started.
 */
#include "common/cache/remote.h"
#include "common/base/clock.h"
#include "common/cache/redis_wire.h"
#include "tests/bench/cpu.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define VALUE_BYTES 300
#define COMMANDS    3 /* of a get */
#define THREADS_MAX 64

static const unsigned depths[] = {1, 8, 32, 64};

struct bench {
	struct remote *remote;
	atomic_bool stop;
	_Atomic uint64_t gets, failed;
	atomic_uint under_way;
	double cpu_us; /* of a get, this process */
};

/* One of those that are asked at a time. */
struct asking {
	struct bench *b;
	unsigned n; /* of the next key */
};

static void ignore(void *arg, unsigned slot)
{
	(void)arg;
	(void)slot;
}

static pid_t start(const char *const argv[], int out)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)dup2(out, STDOUT_FILENO);
		(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return pid;
}

static struct str key_of(unsigned n, char text[24])
{
	return (struct str){text,
	                    (size_t)snprintf(text, 24, "key:%u", n % 1000)};
}

/* One get; what is not there is set. */
static bool get(struct remote *r, unsigned n, struct remote_found *f)
{
	static const char bytes[VALUE_BYTES];
	char text[24];
	struct str key = key_of(n, text);
	const uint16_t slot = remote_slot(key);
	struct remote_marks m;

	f->bytes.n = 0;
	if (remote_get(r, key, &slot, 1, mono_ms() + 1000, f, &m))
		return false;
	if (!f->found)
		remote_set(r, key, &m, false,
		           (struct str){bytes, sizeof(bytes)}, 600000, 0);
	return f->found;
}

static void *ask_on(void *arg)
{
	struct bench *b = arg;
	struct remote_found f = {0};
	uint64_t gets = 0, failed = 0;
	unsigned n = (unsigned)(uintptr_t)&f >> 4;

	for (; !atomic_load(&b->stop); gets++)
		failed += !get(b->remote, n++, &f);
	buf_fini(&f.bytes);
	b->gets += gets;
	b->failed += failed;
	return NULL;
}

static double gets_a_second(struct bench *b, unsigned threads, unsigned seconds)
{
	pthread_t t[THREADS_MAX];
	uint64_t began = mono_ms(), cpu = cpu_us();

	b->gets = b->failed = 0;
	b->stop = false;
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, ask_on, b))
			abort();
	(void)poll(NULL, 0, (int)seconds * 1000);
	b->stop = true;
	for (unsigned i = 0; i < threads; i++)
		(void)pthread_join(t[i], NULL);
	b->cpu_us = (double)(cpu_us() - cpu) / (double)b->gets;
	return (double)b->gets * 1000 / (double)(mono_ms() - began);
}

static void ask_next(struct asking *a);

static void answered(void *arg, const struct remote_answer *answer)
{
	struct asking *a = arg;

	a->b->gets++;
	a->b->failed += !answer->found;
	ask_next(a);
}

/* On this thread at first, on the remote's from then on. */
static void ask_next(struct asking *a)
{
	struct bench *b = a->b;
	char text[24];
	struct str key = key_of(a->n++, text);
	const uint16_t slot = remote_slot(key);

	if (atomic_load(&b->stop) ||
	    remote_ask(b->remote, key, &slot, 1, mono_ms() + 1000, answered, a))
		b->under_way--;
}

static double asks_a_second(struct bench *b, unsigned depth, unsigned seconds)
{
	struct asking a[THREADS_MAX];
	uint64_t began = mono_ms(), cpu = cpu_us();

	b->gets = b->failed = 0;
	b->stop = false;
	b->under_way = depth;
	for (unsigned i = 0; i < depth; i++) {
		a[i] = (struct asking){b, i * 31};
		ask_next(&a[i]);
	}
	(void)poll(NULL, 0, (int)seconds * 1000);
	b->stop = true;
	while (b->under_way)
		(void)poll(NULL, 0, 1);
	b->cpu_us = (double)(cpu_us() - cpu) / (double)b->gets;
	return (double)b->gets * 1000 / (double)(mono_ms() - began);
}

/* What redis-benchmark says of GET; 0: it does not run. */
static double benchmark(const char *socket, unsigned depth, unsigned seconds)
{
	char pipe_n[12], requests[24], line[256];
	const char *const argv[] = {"redis-benchmark",
	                            "-s",
	                            socket,
	                            "-c",
	                            "1",
	                            "-P",
	                            pipe_n,
	                            "-n",
	                            requests,
	                            "-d",
	                            "300",
	                            "-t",
	                            "get",
	                            "--csv",
	                            NULL};
	double best = 0;
	int ends[2];
	FILE *in;
	pid_t pid;

	(void)snprintf(pipe_n, sizeof(pipe_n), "%u", depth);
	(void)snprintf(requests, sizeof(requests), "%u",
	               seconds * (depth == 1 ? 20000 : 150000));
	if (pipe2(ends, O_CLOEXEC))
		return 0;
	pid = start(argv, ends[1]);
	(void)close(ends[1]);
	in = fdopen(ends[0], "r");
	while (in && fgets(line, sizeof(line), in))
		if (strncmp(line, "\"GET\",\"", 7) == 0)
			best = strtod(line + 7, NULL);
	if (in)
		(void)fclose(in);
	(void)waitpid(pid, NULL, 0);
	return best;
}

static bool is_ready(const struct remote *r)
{
	uint64_t until = mono_ms() + 10000;
	struct remote_stats st;

	do {
		(void)poll(NULL, 0, 10);
		remote_stats(r, &st);
	} while (st.state != REMOTE_IN_STEP && mono_ms() < until);
	return st.state == REMOTE_IN_STEP;
}

static void measure(const char *socket, unsigned seconds)
{
	struct redis_url url = {.is_path = true};
	struct remote_conf conf = {.space = STR("bench"),
	                           .connect_timeout_ms = 5000,
	                           .timeout_ms = 5000,
	                           .forget = ignore};
	struct bench b = {0};
	struct redis_wire *w;

	(void)snprintf(url.host, sizeof(url.host), "%s", socket);
	w = redis_wire_new(&url, STR("kae-bench"));
	if (!w)
		abort();
	conf.wire = redis_wire_of(w);
	b.remote = remote_new(&conf);
	if (!b.remote || !is_ready(b.remote))
		abort();
	(void)gets_a_second(&b, 8, 1);
	for (size_t i = 0; i < COUNTOF(depths); i++) {
		double gets = gets_a_second(&b, depths[i], seconds);
		double cpu = b.cpu_us, asks;
		uint64_t failed = b.failed;
		double theirs = benchmark(socket, depths[i], seconds);

		asks = asks_a_second(&b, depths[i], seconds);
		(void)printf("%2u threads  %8.0f gets/s  %5.1f CPU us each  "
		             "%8.0f commands/s  asked %8.0f  %5.1f CPU us "
		             "each  redis-benchmark -P %-2u %8.0f  ratios "
		             "%.2f and %.2f  not found or failed %llu\n",
		             depths[i], gets, cpu, gets * COMMANDS,
		             asks * COMMANDS, b.cpu_us, depths[i], theirs,
		             theirs > 0 ? gets * COMMANDS / theirs : 0,
		             theirs > 0 ? asks * COMMANDS / theirs : 0,
		             (unsigned long long)(failed + b.failed));
	}
	remote_free(b.remote);
	redis_wire_free(w);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;
	char folder[] = "/tmp/kae-bench-XXXXXX", socket[64];
	const char *const server[] = {"redis-server", "--port",  "0",
	                              "--unixsocket", socket,    "--dir",
	                              folder,         "--save",  "",
	                              "--loglevel",   "warning", NULL};
	pid_t pid;

	if (!mkdtemp(folder))
		return 1;
	(void)snprintf(socket, sizeof(socket), "%s/s", folder);
	pid = start(server, STDERR_FILENO);
	measure(socket, seconds);
	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, NULL, 0);
	(void)rmdir(folder);
	return 0;
}
