#include "common/base/log.h"

#include "common/base/clock.h"
#include "common/base/ctx.h"
#include "common/base/guard.h"
#include "common/base/trace.h"
#include "common/base/utf8.h"
#include "common/base/word.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

_Atomic int log_threshold = LOG_INFO;

/* The writer swaps the two halves and writes without holding the lock. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t some;
	pthread_t writer;
	bool running, ending;
	bool idle;   /* the writer sleeps until there is a line */
	bool urgent; /* it is not to linger */
	int fd;
	const char *program;
	char *half[2];
	unsigned filling;
	size_t n;
	_Atomic uint64_t dropped;
} lg = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

bool log_level_from_str(struct str s, enum log_level *out)
{
	for (size_t i = 0; i < COUNTOF(level_names); i++) {
		if (str_ieq(str_from(level_names[i]), s)) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

/* A line under construction; what does not fit is left out. */
struct line {
	char p[LOG_LINE_MAX];
	size_t n;
};

/* Two bytes stay free for the closing brace and the newline. */
static bool put(struct line *l, const char *p, size_t n)
{
	if (n > sizeof(l->p) - 2 - l->n)
		return false;
	memcpy(l->p + l->n, p, n);
	l->n += n;
	return true;
}

/* One character of s; what is not UTF-8 becomes U+FFFD, byte by byte. */
static bool put_character(struct line *l, struct str s, size_t *at)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char c = (unsigned char)s.p[*at];
	char esc[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
	size_t from = *at;
	uint32_t cp;

	if (!utf8_next(s, at, &cp)) {
		*at += 1;
		return put(l, "\xef\xbf\xbd", 3);
	}
	if (c == '"' || c == '\\') {
		esc[1] = (char)c;
		return put(l, esc, 2);
	}
	if (c < 0x20 || c == 0x7f)
		return put(l, esc, sizeof(esc));
	return put(l, s.p + from, *at - from);
}

static bool plain(char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static uint64_t not_plain(uint64_t v)
{
	return word_has_special(v) | word_has(v, 0x7f);
}

static void put_escaped(struct line *l, struct str s)
{
	const size_t longest = 6;
	size_t at = 0;

	/* As most values; a quote must fit behind them. */
	if (s.n < sizeof(l->p) - 2 - l->n &&
	    word_copy(l->p + l->n, s.p, s.n, not_plain)) {
		l->n += s.n;
		return;
	}
	/* A quote must still fit behind whatever is cut here. */
	while (at < s.n && sizeof(l->p) - 2 - l->n >= longest + 2) {
		size_t room = sizeof(l->p) - 2 - l->n - 2, from = at;

		while (at < s.n && at - from < room && plain(s.p[at]))
			at++;
		if (at > from)
			(void)put(l, s.p + from, at - from);
		else
			(void)put_character(l, s, &at);
	}
}

static bool put_name(struct line *l, struct str name)
{
	return put(l, ",\"", 2) && put(l, name.p, name.n) && put(l, "\":", 2);
}

static void put_string(struct line *l, struct str name, struct str s)
{
	size_t before = l->n;

	if (put_name(l, name) && put(l, "\"", 1)) {
		put_escaped(l, s);
		if (put(l, "\"", 1))
			return;
	}
	l->n = before;
}

static void put_raw(struct line *l, struct str name, struct str text)
{
	size_t before = l->n;

	if (put_name(l, name) && put(l, text.p, text.n))
		return;
	l->n = before;
}

#define NUM_MAX 32

/* At least so many digits of v, with a point before the last `decimals`. */
static struct str decimal(char num[NUM_MAX], uint64_t v, int decimals,
                          bool minus)
{
	char *end = num + NUM_MAX, *at = end;

	for (int i = 0; v || i <= decimals; i++) {
		if (i == decimals && i > 0)
			*--at = '.';
		*--at = (char)('0' + v % 10);
		v /= 10;
	}
	if (minus)
		*--at = '-';
	return (struct str){at, (size_t)(end - at)};
}

static struct str real(char num[NUM_MAX], double v)
{
	int n = snprintf(num, NUM_MAX, "%.6g", isfinite(v) ? v : 0.0);

	return (struct str){num, (size_t)n};
}

static void put_field(struct line *l, const struct log_field *f)
{
	int64_t i = f->v.i;
	char num[NUM_MAX];

	switch (f->kind) {
	case LOG_KIND_STR:
		put_string(l, f->name, f->v.s);
		break;
	case LOG_KIND_I64:
		put_raw(l, f->name,
		        decimal(num, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, 0,
		                i < 0));
		break;
	case LOG_KIND_U64:
		put_raw(l, f->name, decimal(num, f->v.u, 0, false));
		break;
	case LOG_KIND_F64:
		put_raw(l, f->name, real(num, f->v.f));
		break;
	case LOG_KIND_MS:
		put_raw(l, f->name, decimal(num, f->v.u, 3, false));
		break;
	case LOG_KIND_BOOL:
		put_raw(l, f->name, f->v.b ? STR("true") : STR("false"));
		break;
	}
}

static void write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t got = write(fd, p, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return; /* nobody to tell */
		p += got;
		n -= (size_t)got;
	}
}

static void enqueue(const struct line *l, bool urgent)
{
	GUARD(&lg.lock);

	if (!lg.running) {
		write_all(STDERR_FILENO, l->p, l->n);
		return;
	}
	if (l->n > LOG_QUEUE_MAX - lg.n) {
		atomic_fetch_add(&lg.dropped, 1);
		return;
	}
	memcpy(lg.half[lg.filling] + lg.n, l->p, l->n);
	lg.n += l->n;
	urgent = urgent || lg.n > LOG_QUEUE_MAX / 2;
	if (lg.idle || (urgent && !lg.urgent))
		pthread_cond_signal(&lg.some);
	lg.idle = false;
	lg.urgent = lg.urgent || urgent;
}

void log_emit(enum log_level level, const struct ctx *cx, const char *event,
              const struct log_field *fields, size_t n)
{
	char ts[CLOCK_ISO_MAX];
	const char *service = cx && cx->service ? cx->service : lg.program;
	struct line l;

	l.n = 0;
	(void)put(&l, "{\"ts\":\"", 7);
	(void)put(&l, clock_iso(wall_ms(), ts).p, CLOCK_ISO_MAX - 1);
	(void)put(&l, "\"", 1);
	put_string(&l, STR("level"), str_from(level_names[level]));
	put_string(&l, STR("service"), str_from(service ? service : "-"));
	put_string(&l, STR("event"), str_from(event));
	if (cx && cx->rid.n)
		put_string(&l, STR("request_id"), cx->rid);
	if (cx && trace_id_of(cx->tp).n)
		put_string(&l, STR("trace_id"), trace_id_of(cx->tp));
	for (size_t i = 0; i < n; i++)
		put_field(&l, &fields[i]);
	l.p[l.n++] = '}';
	l.p[l.n++] = '\n';
	enqueue(&l, level == LOG_ERROR);
}

/*
 * Waking a thread for every line would cost more than the line: the first line
 * wakes the writer, which lingers for what follows it.
 */
static void linger(void)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOG_LINGER_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	while (!lg.urgent && !lg.ending)
		if (pthread_cond_timedwait(&lg.some, &lg.lock, &until) != 0)
			return;
}

static void *writer(void *arg)
{
	(void)arg;
	for (;;) {
		unsigned full;
		size_t n;

		pthread_mutex_lock(&lg.lock);
		lg.idle = lg.n == 0;
		while (lg.n == 0 && !lg.ending)
			pthread_cond_wait(&lg.some, &lg.lock);
		linger();
		lg.urgent = false;
		full = lg.filling;
		n = lg.n;
		lg.filling = !full;
		lg.n = 0;
		pthread_mutex_unlock(&lg.lock);
		if (n == 0)
			return NULL;
		write_all(lg.fd, lg.half[full], n);
	}
}

bool log_start(int fd, const char *program)
{
	lg.fd = fd;
	lg.program = program;
	lg.half[0] = malloc(LOG_QUEUE_MAX);
	lg.half[1] = malloc(LOG_QUEUE_MAX);
	/* Before the writer looks: after a log_stop() it would end at once. */
	lg.ending = false;
	if (lg.half[0] && lg.half[1] &&
	    pthread_create(&lg.writer, NULL, writer, NULL) == 0) {
		GUARD(&lg.lock);

		lg.running = true;
		return true;
	}
	free(lg.half[0]);
	free(lg.half[1]);
	lg.half[0] = lg.half[1] = NULL;
	return false;
}

void log_stop(void)
{
	pthread_mutex_lock(&lg.lock);
	if (!lg.running) {
		pthread_mutex_unlock(&lg.lock);
		return;
	}
	lg.running = false;
	lg.ending = true;
	pthread_cond_signal(&lg.some);
	pthread_mutex_unlock(&lg.lock);
	pthread_join(lg.writer, NULL);
	free(lg.half[0]);
	free(lg.half[1]);
	lg.half[0] = lg.half[1] = NULL;
}

uint64_t log_dropped(void)
{
	return atomic_load(&lg.dropped);
}
