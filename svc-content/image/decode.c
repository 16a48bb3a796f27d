#include "svc-content/image/decode.h"

#include "svc-content/image/worker.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MAX \
	(sizeof(struct worker_answer) + (size_t)DECODE_FIT * DECODE_FIT * 3)

struct decoder {
	struct decode_conf conf;
	pthread_mutex_t lock; /* of the two below */
	pthread_cond_t freed;
	unsigned free;
};

/* --- life ---------------------------------------------------------------------- */

struct decoder *decoder_new(const struct decode_conf *conf)
{
	struct decoder *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return NULL;
	d->conf = *conf;
	d->free = conf->workers;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->freed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	pthread_cond_destroy(&d->freed);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* --- turns --------------------------------------------------------------------- */

static bool take_turn(struct decoder *d, uint64_t deadline_ms)
{
	const struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
	                               .tv_nsec = (long)(deadline_ms % 1000) *
	                                          1000000};
	GUARD(&d->lock);

	while (d->free == 0)
		if (pthread_cond_timedwait(&d->freed, &d->lock, &until) ==
		    ETIMEDOUT)
			return false;
	d->free--;
	return true;
}

static void give_turn(struct decoder *d)
{
	GUARD(&d->lock);

	d->free++;
	pthread_cond_signal(&d->freed);
}

/* --- the process ---------------------------------------------------------------- */

struct work {
	pid_t pid;
	int in;      /* the bytes */
	int pipe[2]; /* the answer */
	uint64_t deadline_ms;
	struct buf answer;
	bool late;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static bool fill(int fd, struct str s)
{
	while (s.n > 0) {
		ssize_t k = write(fd, s.p, s.n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		s.p += k;
		s.n -= (size_t)k;
	}
	return true;
}

/* Nothing of ours goes along: no descriptor, no environment, no signal mask. */
static bool spawn(struct work *w, char *const *argv)
{
	char *const nothing[] = {NULL};
	posix_spawn_file_actions_t fds;
	posix_spawnattr_t attr;
	sigset_t none, all;
	bool ok;

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&fds) != 0)
		return false;
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&fds);
		return false;
	}
	ok = posix_spawn_file_actions_adddup2(&fds, w->in, 0) == 0 &&
	     posix_spawn_file_actions_adddup2(&fds, w->pipe[1], 1) == 0 &&
	     posix_spawn_file_actions_addopen(&fds, 2, "/dev/null", O_WRONLY,
	                                      0) == 0 &&
	     posix_spawn_file_actions_addclosefrom_np(&fds, 3) == 0 &&
	     posix_spawnattr_setsigmask(&attr, &none) == 0 &&
	     posix_spawnattr_setsigdefault(&attr, &all) == 0 &&
	     posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
	                                             POSIX_SPAWN_SETSIGDEF) ==
	             0 &&
	     posix_spawn(&w->pid, "/proc/self/exe", &fds, &attr, argv,
	                 nothing) == 0;
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fds);
	return ok;
}

static bool begin(struct work *w, struct str bytes,
                  const struct decode_conf *conf)
{
	char name[] = "kae-picture", flag[] = WORKER_FLAG;
	char pixels[24], fit[24], ms[24];
	char *const argv[] = {name, flag, pixels, fit, ms, NULL};
	bool ok;

	(void)snprintf(pixels, sizeof(pixels), "%" PRIu64, conf->pixels);
	(void)snprintf(fit, sizeof(fit), "%d", DECODE_FIT);
	(void)snprintf(ms, sizeof(ms), "%" PRIu64,
	               clock_left(w->deadline_ms, mono_ms()) + 1);
	w->in = memfd_create("picture", MFD_CLOEXEC);
	ok = w->in >= 0 && fill(w->in, bytes) &&
	     pipe2(w->pipe, O_CLOEXEC) == 0 && spawn(w, argv);
	close_fd(&w->in);
	close_fd(&w->pipe[1]);
	return ok;
}

/* Until the worker has closed its end, or said more than it may. */
static void read_answer(struct work *w)
{
	while (buf_reserve(&w->answer, 65536)) {
		struct pollfd fd = {w->pipe[0], POLLIN, 0};
		uint64_t left = clock_left(w->deadline_ms, mono_ms());
		int ready = poll(&fd, 1, (int)left);
		ssize_t n = 0;

		if (ready < 0 && errno == EINTR)
			continue;
		w->late = ready == 0;
		if (ready > 0)
			n = read(w->pipe[0], w->answer.p + w->answer.n, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		w->answer.n += (size_t)n;
	}
}

/* How it ended: 0, or the signal that killed it, or -1. */
static int end(struct work *w)
{
	int status = 0;
	pid_t p;

	(void)kill(w->pid, SIGKILL); /* it has nothing more to do */
	do
		p = waitpid(w->pid, &status, 0);
	while (p < 0 && errno == EINTR);
	if (p < 0)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* --- the answer ------------------------------------------------------------------ */

static enum err no_worker(const char *why)
{
	log_error(NULL, "image.no_worker", LOG_TEXT("reason", why));
	return ERR_UNAVAILABLE;
}

/* Believes nothing of what the worker says but what can be checked. */
static bool understood(struct work *w, struct worker_answer *a)
{
	if (w->answer.failed || w->answer.n < sizeof(*a))
		return false;
	memcpy(a, w->answer.p, sizeof(*a));
	if (a->magic != WORKER_MAGIC)
		return false;
	if (a->fault)
		return a->fault < PICTURE_FAULTS || a->fault == WORKER_NO_JAIL;
	return a->w >= 1 && a->w <= DECODE_FIT && a->h >= 1 &&
	       a->h <= DECODE_FIT &&
	       w->answer.n == sizeof(*a) + (size_t)a->w * a->h * 3;
}

static enum err use_answer(struct work *w, int signal,
                           enum picture_fault *fault, struct picture *out)
{
	struct worker_answer a;

	if (!understood(w, &a)) {
		bool slow = w->late || signal == SIGXCPU;

		*fault = slow ? PICTURE_SLOW : PICTURE_BROKEN;
		if (!slow)
			log_warn(NULL, "image.worker_died",
			         LOG_I64("signal", signal));
		return OK;
	}
	if (a.fault == WORKER_NO_JAIL)
		return no_worker("the kernel does not let it be jailed");
	*fault = (enum picture_fault)a.fault;
	if (a.fault)
		return OK;
	*out = (struct picture){a.w, a.h, malloc((size_t)a.w * a.h * 3)};
	if (!out->rgb)
		return ERR_NOMEM;
	memcpy(out->rgb, w->answer.p + sizeof(a), picture_bytes(out));
	return OK;
}

static enum err work(const struct decoder *d, struct str bytes,
                     uint64_t deadline_ms, enum picture_fault *fault,
                     struct picture *out)
{
	struct work w = {.in = -1,
	                 .pipe = {-1, -1},
	                 .deadline_ms = deadline_ms,
	                 .answer = {.max = ANSWER_MAX + 65536}};
	enum err e;

	if (begin(&w, bytes, &d->conf)) {
		int signal;

		read_answer(&w);
		signal = end(&w);
		e = use_answer(&w, signal, fault, out);
	} else
		e = no_worker("no process can be made");
	close_fd(&w.pipe[0]);
	buf_fini(&w.answer);
	return e;
}

enum err decode_picture(struct decoder *d, struct str bytes,
                        uint64_t deadline_ms, enum picture_fault *fault,
                        struct picture *out)
{
	uint64_t until;
	enum err e;

	if (picture_format(bytes) == PICTURE_UNKNOWN) {
		*fault = PICTURE_OTHER;
		return OK;
	}
	if (!take_turn(d, deadline_ms))
		return ERR_BUSY;
	until = mono_ms() + DECODE_MS;
	e = work(d, bytes, until < deadline_ms ? until : deadline_ms, fault,
	         out);
	give_turn(d);
	return e;
}
