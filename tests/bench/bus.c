/*
 * bus - what a call costs: one process calls, a forked one answers from memory.
 *
 *   build/release/bench/bus [seconds each]
 *
 * One line per setting: calls a second, CPU of both processes per call, and the
 * time from call to reply.
 */
#include "common/bus/bus.h"
#include "common/base/clock.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRY_BYTES 300 /* about what the gateway sends for a GET */
#define REPLY_BYTES 200
#define DEPTH_MAX   256

struct setting {
	const char *url;
	unsigned depth;
	bool keys;
};

static const struct setting settings[] = {
	{"inproc://bench", 64, false},
	{"ipc:///tmp/kae-bench.sock", 1, false},
	{"ipc:///tmp/kae-bench.sock", 8, false},
	{"ipc:///tmp/kae-bench.sock", 64, false},
	{"ipc:///tmp/kae-bench.sock", 256, false},
	{"tcp://127.0.0.1:17912", 64, false},
	{"tcp://127.0.0.1:17912", 64, true},
};

static const char reply[REPLY_BYTES];
static const char entry[ENTRY_BYTES];

static void on_item(void *arg, struct bus_item *it)
{
	(void)arg;
	bus_item_end(it, (struct str){reply, sizeof(reply)});
}

static struct bus_server *serve(const struct setting *set,
                                const struct bus_keys *keys)
{
	struct bus_server_conf conf = {.self = PEER_AUTH,
	                               .keys = keys,
	                               .on_item = on_item};
	struct bus_server *s = bus_server_new(&conf);

	if (!s || bus_server_listen(s, str_from(set->url)) != OK)
		exit(EXIT_FAILURE);
	return s;
}

/* --- the calling side ------------------------------------------------------- */

struct run;
struct one {
	struct run *run;
	uint64_t start_us;
};

struct run {
	struct bus_client *client;
	int event;
	uint64_t end_us, calls, errors;
	struct one ones[DEPTH_MAX];
	unsigned open;
	uint32_t histogram[100000]; /* microseconds */
};

static void wake(void *arg)
{
	const struct run *r = arg;
	uint64_t one = 1;

	if (write(r->event, &one, sizeof(one)) < 0)
		abort();
}

static void call(struct one *o);

static void on_reply(void *arg, enum err e, struct str bytes, bool more)
{
	struct one *o = arg;
	uint64_t us = mono_us() - o->start_us;

	(void)bytes;
	(void)more;
	o->run->open--;
	o->run->calls++;
	o->run->errors += e != OK;
	o->run->histogram[us < 99999 ? us : 99999]++;
	if (mono_us() < o->run->end_us)
		call(o);
}

static void call(struct one *o)
{
	struct bus_call c = {.to = PEER_AUTH,
	                     .retry = true,
	                     .deadline_ms = mono_ms() + 5000,
	                     .bytes = {entry, sizeof(entry)},
	                     .on_reply = on_reply,
	                     .arg = o};
	uint64_t id;

	o->start_us = mono_us();
	if (bus_client_call(o->run->client, &c, &id) == OK)
		o->run->open++;
	else
		o->run->errors++;
}

static void turn(struct run *r)
{
	uint64_t ms, count;
	struct pollfd p = {.fd = r->event, .events = POLLIN};

	bus_client_turn(r->client, mono_ms());
	ms = bus_client_timeout_ms(r->client, mono_ms());
	if (ms == 0 || !bus_client_may_sleep(r->client))
		return;
	if (poll(&p, 1, ms > 1000 ? 1000 : (int)ms) > 0 &&
	    read(r->event, &count, sizeof(count)) < 0)
		abort();
}

static uint64_t quantile(const struct run *r, double q)
{
	uint64_t want = (uint64_t)((double)r->calls * q), seen = 0;

	for (unsigned i = 0; i < 100000; i++) {
		seen += r->histogram[i];
		if (seen > want)
			return i;
	}
	return 99999;
}

static double cpu_us(int who)
{
	struct rusage u;

	(void)getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void measure(const struct setting *set, const struct bus_keys *keys,
                    uint64_t seconds, double out[2])
{
	struct run *r = calloc(1, sizeof(*r));
	struct bus_client_conf conf = {
		.self = PEER_GATEWAY, .keys = keys, .wake = wake, .arg = r};
	uint64_t start_us;
	double used;

	if (!r)
		abort();
	r->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->client = bus_client_new(&conf);
	if (!r->client ||
	    bus_client_add(r->client, PEER_AUTH, str_from(set->url)) != OK)
		abort();
	while (bus_client_up(r->client, PEER_AUTH) == 0)
		turn(r);
	used = cpu_us(RUSAGE_SELF);
	start_us = mono_us();
	r->end_us = start_us + seconds * 1000000;
	for (unsigned i = 0; i < set->depth; i++) {
		r->ones[i].run = r;
		call(&r->ones[i]);
	}
	while (r->open > 0)
		turn(r);
	used = cpu_us(RUSAGE_SELF) - used;
	printf("%-26s %3u in flight%s %8.0f/s  p50 %5" PRIu64
	       " us  p99 %5" PRIu64 " us  %" PRIu64 " errors",
	       set->url, set->depth, set->keys ? " MAC" : "    ",
	       (double)r->calls * 1e6 / (double)(mono_us() - start_us),
	       quantile(r, 0.5), quantile(r, 0.99), r->errors);
	out[0] = (double)r->calls;
	out[1] = used;
	bus_client_free(r->client);
	(void)close(r->event);
	free(r);
}

/* In a process of its own, so that each setting starts fresh. */
static void run_setting(const struct setting *set, uint64_t seconds)
{
	struct bus_keys keys = {0};
	bool inproc = str_starts(str_from(set->url), STR("inproc:"));
	double got[2], served = 0;
	pid_t pid = inproc ? 0 : fork();
	struct bus_server *s = NULL;

	if (set->keys &&
	    !bus_keys_parse(STR("a key for the bench of 32 characters"), &keys))
		abort();
	bus_global_init();
	if (pid == 0)
		s = serve(set, &keys);
	if (pid == 0 && !inproc) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	measure(set, &keys, seconds, got);
	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		served = cpu_us(RUSAGE_CHILDREN);
	}
	bus_server_free(s);
	printf("  CPU %.2f us (service %.2f + client %.2f)\n",
	       (served + got[1]) / got[0], served / got[0], got[1] / got[0]);
}

int main(int argc, char **argv)
{
	uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 2;

	for (size_t i = 0; i < COUNTOF(settings); i++) {
		pid_t pid;

		(void)fflush(stdout);
		pid = fork();
		if (pid == 0) {
			run_setting(&settings[i], seconds);
			(void)fflush(stdout);
			_exit(EXIT_SUCCESS);
		}
		(void)waitpid(pid, NULL, 0);
	}
	return EXIT_SUCCESS;
}
