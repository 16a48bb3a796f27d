/*
 * tasks - how many threads nng runs its callbacks on.
 *
 * nng takes two for each processor.  Two in all cost 7 to 27 % less CPU a call
 * (our callbacks only append to a list or answer from memory), and up to 1.9
 * the only way to say so is what sysconf() tells the library when it starts.
 * The answer is changed for one thread and one call only; programs are linked
 * with -rdynamic, so the library finds this sysconf() before libc's.
 */
#include "common/bus/bus.h"

#include <dlfcn.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define TASK_THREADS 2

#if NNG_MAJOR_VERSION == 1 && NNG_MINOR_VERSION < 10

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

void bus_global_init(void)
{
	nng_socket s;

	if (sodium_init() < 0)
		abort(); /* without random numbers no boot id can be trusted */
	/* Opening a socket is what starts the library. */
	set_threads(true);
	if (nng_req0_open_raw(&s) == 0)
		(void)nng_close(s);
	set_threads(false);
}
