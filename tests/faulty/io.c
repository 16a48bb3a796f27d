/*
 * System calls that fail, in our code and in every library it uses (nng, libpq,
 * libmicrohttpd, hiredis, SQLite); see control.h.  A shared library for
 * LD_PRELOAD.
 *
 * Each wrapper is one row: what it is called, how it is declared, of which class
 * it is and what errno says.  A descriptor that is no socket makes RECEIVE and
 * SEND calls FILE calls, and one that is neither a socket nor a regular file
 * (an eventfd, a pipe to a thread of our own) never fails: the kernel has no
 * such fault.
 */
#include "tests/faulty/control.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static struct fault_control *control;

__attribute__((constructor)) static void map(void)
{
	control = fault_control_map();
}

/* By system call, as fstat() may be the library's own. */
static enum fault_class class_of(int fd, enum fault_class socket_class)
{
	struct stat st;
	int saved = errno;

	if (fstat(fd, &st))
		st.st_mode = 0;
	errno = saved;
	return S_ISSOCK(st.st_mode)  ? socket_class
	       : S_ISREG(st.st_mode) ? FAULT_FILE
	                             : FAULT_NONE;
}

static bool fails(enum fault_class what, int error)
{
	if (what == FAULT_NONE || !fault_due(control, what))
		return false;
	errno = error;
	return true;
}

/* nng 1.5 gives up with abort() when it cannot make the threads that it starts
 * with, and nobody outside can help that: only our own threads are refused. */
static bool called_by_us(const void *caller)
{
	Dl_info who, us;

	return dladdr(caller, &who) &&
	       dladdr((void *)getauxval(AT_ENTRY), &us) &&
	       who.dli_fbase == us.dli_fbase;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A connection that failed stays dead, as a real one does. */
static void end_connection(int fd, enum fault_class what)
{
	int saved = errno;

	if (what == FAULT_RECEIVE || what == FAULT_SEND)
		(void)shutdown(fd, SHUT_RDWR);
	errno = saved;
}

/* A call on a descriptor that carries bytes. */
#define CARRIES(type, name, params, args, fd, what, of_socket, of_file)   \
	type name params                                                  \
	{                                                                 \
		static __typeof__(&name) real;                            \
		enum fault_class c;                                       \
                                                                          \
		if (!real)                                                \
			real = REAL(name);                                \
		if (!control || !atomic_load(&control->armed))            \
			return real args;                                 \
		c = class_of(fd, what);                                   \
		if (!fails(c, c == FAULT_FILE ? (of_file) : (of_socket))) \
			return real args;                                 \
		end_connection(fd, c);                                    \
		return -1;                                                \
	}
/* Any other. */
#define CALL(name, params, args, what, error)               \
	int name params                                     \
	{                                                   \
		static __typeof__(&name) real;              \
                                                            \
		if (!real)                                  \
			real = REAL(name);                  \
		return fails(what, error) ? -1 : real args; \
	}

/* The mode is there only where a file may be made. */
#define OPENS(name, params, args, last)                            \
	int name params                                            \
	{                                                          \
		static __typeof__(&name) real;                     \
		mode_t mode = 0;                                   \
		va_list ap;                                        \
                                                                   \
		if (!real)                                         \
			real = REAL(name);                         \
		if (flags & (O_CREAT | __O_TMPFILE)) {             \
			va_start(ap, last);                        \
			mode = (mode_t)va_arg(ap, unsigned);       \
			va_end(ap);                                \
		}                                                  \
		return fails(FAULT_OPEN, EMFILE) ? -1 : real args; \
	}
#include "tests/faulty/io.def"

int pthread_create(pthread_t *restrict t, const pthread_attr_t *restrict a,
                   void *(*fn)(void *), void *restrict arg)
{
	static __typeof__(&pthread_create) real;

	if (!real)
		real = REAL(pthread_create);
	return called_by_us(__builtin_return_address(0)) &&
	                       fails(FAULT_THREAD, EAGAIN)
	               ? EAGAIN
	               : real(t, a, fn, arg);
}
