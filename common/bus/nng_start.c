/*
 * nng_start - starts nng our way, and keeps two of its ways from us.
 *
 * Up to version 1.9 the library cannot be told how many threads to start, and
 * before 1.6 it hangs in a case that we cannot avoid from above.  Both hang on
 * what libc answers to it: programs are linked with -rdynamic, so the library
 * finds the functions below before libc's.
 *
 * sysconf: nng takes two task threads for each processor.  Two in all cost 7 to
 *          27 % less CPU a call, because our callbacks only append to a list or
 *          answer from memory.  The answer is changed for one thread, during
 *          one call.
 *
 * sendmsg: when a send fails, nng 1.5 closes the pipe at once.  If the head of a
 *          message has just been read and its body has not, the receive is never
 *          finished, the thread that takes pipes down waits for it for ever, and
 *          no connection of the process ends or begins again; killing a busy
 *          peer did that once in a hundred times.  So a send to a peer that is
 *          gone succeeds: the bytes are lost either way, and the end of the
 *          stream, which the receive finds, closes the pipe without harm.
 *          A send hangs in the same way when the pipe is closed after a part of
 *          a message has been written and before nng asks for the rest.  So it
 *          never learns of parts: until the last byte is written the answer is
 *          "try again when there is room", and how far we are is kept here.
 *
 * close:   forgets how far we are.
 *
 * SCHED_BATCH: nng's threads are woken for every step of a message, and each time
 *          the one that works is taken from its processor (a context switch a
 *          request with 8 in flight).  Threads of this policy wait until there is
 *          room (sched(7)): it costs no wait where there is, and spares a tenth
 *          of all CPU at 64 in flight, a fifth at 8.  They inherit it from the
 *          thread that starts them.
 */
#include "common/bus/bus.h"

#include <dlfcn.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TASK_THREADS 2
#define BEFORE(major, minor)            \
	(NNG_MAJOR_VERSION < (major) || \
	 (NNG_MAJOR_VERSION == (major) && NNG_MINOR_VERSION < (minor)))

#if BEFORE(1, 10)

/* Set while this thread is inside nng's first initialisation. */
static _Thread_local bool starting;

typedef long sysconf_fn(int name);

/* Sanitizers ask before they are ready to watch. */
__attribute__((no_sanitize("thread", "address"))) long sysconf(int name)
{
	static _Atomic(sysconf_fn *) libc;
	sysconf_fn *real = atomic_load_explicit(&libc, memory_order_relaxed);

	if (starting && name == _SC_NPROCESSORS_ONLN)
		return TASK_THREADS / 2;
	if (!real) {
		/* POSIX gives dlsym() no type for functions. */
		*(void **)(&real) = dlsym(RTLD_NEXT, "sysconf");
		atomic_store_explicit(&libc, real, memory_order_relaxed);
	}
	return real(name);
}

static void set_threads(bool begin)
{
	starting = begin;
}

#else

static void set_threads(bool begin)
{
	if (!begin)
		return;
	nng_init_set_parameter(NNG_INIT_NUM_TASK_THREADS, TASK_THREADS);
	nng_init_set_parameter(NNG_INIT_MAX_TASK_THREADS, TASK_THREADS);
}

#endif

#if BEFORE(1, 6)

typedef ssize_t sendmsg_fn(int fd, const struct msghdr *m, int flags);

#define FDS_MAX    65536
#define PIECES_MAX 8 /* of one message: nng's own bound */

/* Bytes of the message that nng is sending there and that are written. */
static atomic_size_t written[FDS_MAX];

/* nng names its threads before they run; only they send for it. */
static bool is_nng_thread(void)
{
	static _Thread_local int known; /* 1 yes, -1 no */
	char name[16] = "";

	if (known == 0)
		known = pthread_getname_np(pthread_self(), name,
		                           sizeof(name)) == 0 &&
		                        str_starts(str_from(name), STR("nng:"))
		                ? 1
		                : -1;
	return known > 0;
}

/* The pieces of from without their first done bytes; returns their sum. */
static size_t rest_of(const struct msghdr *from, size_t done,
                      struct iovec out[PIECES_MAX], size_t *pieces)
{
	size_t left = 0;

	*pieces = 0;
	for (size_t i = 0; i < from->msg_iovlen; i++) {
		struct iovec v = from->msg_iov[i];
		size_t skip = done < v.iov_len ? done : v.iov_len;

		done -= skip;
		if (skip == v.iov_len)
			continue;
		v.iov_base = (char *)v.iov_base + skip;
		v.iov_len -= skip;
		left += v.iov_len;
		out[(*pieces)++] = v;
	}
	return left;
}

/* A file descriptor has one message on its way: nng sends one at a time. */
static ssize_t send_whole(sendmsg_fn *real, int fd,
                          const struct msghdr *message, int flags)
{
	size_t done = atomic_load_explicit(&written[fd], memory_order_relaxed);
	struct iovec rest[PIECES_MAX];
	struct msghdr m = *message;
	size_t left = rest_of(message, done, rest, &m.msg_iovlen);
	ssize_t n;

	m.msg_iov = rest;
	n = real(fd, &m, flags);
	if (n < 0 && errno != EPIPE && errno != ECONNRESET)
		return n;
	if (n >= 0 && (size_t)n < left) {
		atomic_store_explicit(&written[fd], done + (size_t)n,
		                      memory_order_relaxed);
		errno = EAGAIN;
		return -1;
	}
	atomic_store_explicit(&written[fd], 0, memory_order_relaxed);
	return (ssize_t)(done + left);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	static _Atomic(sendmsg_fn *) libc;
	sendmsg_fn *real = atomic_load_explicit(&libc, memory_order_relaxed);

	if (!real) {
		*(void **)(&real) = dlsym(RTLD_NEXT, "sendmsg");
		atomic_store_explicit(&libc, real, memory_order_relaxed);
	}
	if (fd < 0 || fd >= FDS_MAX || message->msg_iovlen > PIECES_MAX ||
	    !is_nng_thread())
		return real(fd, message, flags);
	return send_whole(real, fd, message, flags);
}

/* It has a number that the next connection may get. */
typedef int close_fn(int fd);

int close(int fd)
{
	static _Atomic(close_fn *) libc;
	close_fn *real = atomic_load_explicit(&libc, memory_order_relaxed);

	if (!real) {
		*(void **)(&real) = dlsym(RTLD_NEXT, "close");
		atomic_store_explicit(&libc, real, memory_order_relaxed);
	}
	if (fd >= 0 && fd < FDS_MAX)
		atomic_store_explicit(&written[fd], 0, memory_order_relaxed);
	return real(fd);
}

#endif

/* Opening a socket is what starts the library. */
static void start(void)
{
	nng_socket s;

	if (nng_req0_open_raw(&s) == 0)
		(void)nng_close(s);
}

/* Where it may not, it goes without. */
static void start_as_batch(void)
{
	const struct sched_param batch = {.sched_priority = 0};
	struct sched_param before;
	int policy;
	bool may = pthread_getschedparam(pthread_self(), &policy, &before) == 0;

	may = may && policy == SCHED_OTHER &&
	      pthread_setschedparam(pthread_self(), SCHED_BATCH, &batch) == 0;
	start();
	if (may)
		(void)pthread_setschedparam(pthread_self(), policy, &before);
}

void bus_global_init(void)
{
	if (sodium_init() < 0)
		abort(); /* without random numbers no boot id can be trusted */
	set_threads(true);
	start_as_batch();
	set_threads(false);
}
