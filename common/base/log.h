/*
 * log - structured events, one JSON object a line on stdout.
 *
 *     log_info(cx, "export.started", LOG_U64("job", id), LOG_STR("kind", s));
 *
 * Why:     values are typed and escaped, so no value can forge a line (ASVS
 *          16.4.1); event names are stable, alerts hang on them.
 * Bounds:  a line is cut at LOG_LINE_MAX; at most LOG_QUEUE_MAX bytes wait for
 *          the writer thread.  When it is full, lines are dropped and counted,
 *          never waited for: logging does not block a request.  A line is
 *          written at most LOG_LINGER_MS after it came, an error at once.
 * Threads: any.  log_start() and log_stop() belong to main().
 *
 * Before log_start() lines go straight to stderr.  Never log a password,
 * token, e-mail, handle, body or query string: ids only.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "common/base/attr.h"
#include "common/base/str.h"

#include <stdatomic.h>

struct ctx;

#define LOG_LINE_MAX  ((size_t)4096)
#define LOG_QUEUE_MAX ((size_t)1 << 20)
#define LOG_LINGER_MS 5

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum log_kind {
	LOG_KIND_STR,
	LOG_KIND_I64,
	LOG_KIND_U64,
	LOG_KIND_F64,
	LOG_KIND_MS, /* microseconds, shown as milliseconds: 1.234 */
	LOG_KIND_BOOL
};
struct log_field {
	struct str name;
	enum log_kind kind;
	union {
		struct str s;
		int64_t i;
		uint64_t u;
		double f;
		bool b;
	} v;
};

/* Names are literals, so their lengths are known. */
#define LOG_STR(k, x)  ((struct log_field){STR(k), LOG_KIND_STR, {.s = (x)}})
#define LOG_TEXT(k, x) LOG_STR(k, str_from(x)) /* NUL terminated, may be NULL */
#define LOG_I64(k, x)  ((struct log_field){STR(k), LOG_KIND_I64, {.i = (x)}})
#define LOG_U64(k, x)  ((struct log_field){STR(k), LOG_KIND_U64, {.u = (x)}})
#define LOG_F64(k, x)  ((struct log_field){STR(k), LOG_KIND_F64, {.f = (x)}})
#define LOG_MS(k, us)  ((struct log_field){STR(k), LOG_KIND_MS, {.u = (us)}})
#define LOG_BOOL(k, x) ((struct log_field){STR(k), LOG_KIND_BOOL, {.b = (x)}})

extern _Atomic int log_threshold; /* enum log_level; SIGHUP may change it */

bool log_level_from_str(struct str s, enum log_level *out);

/* Starts the writer thread on fd; program names lines without a ctx.  False
 * without memory or threads. */
bool log_start(int fd, const char *program) MUST_CHECK;
/* Writes what is queued, then ends the writer. */
void log_stop(void);
uint64_t log_dropped(void);

void log_emit(enum log_level level, const struct ctx *cx, const char *event,
              const struct log_field *fields, size_t n);

#define LOG_AT(level, cx, event, ...)                                \
	do {                                                         \
		if ((int)(level) <=                                  \
		    atomic_load_explicit(&log_threshold,             \
		                         memory_order_relaxed)) {    \
			const struct log_field fields_[] = {         \
				LOG_BOOL("", false), ##__VA_ARGS__}; \
			log_emit(level, cx, event, fields_ + 1,      \
			         COUNTOF(fields_) - 1);              \
		}                                                    \
	} while (0)
#define log_error(cx, event, ...) LOG_AT(LOG_ERROR, cx, event, ##__VA_ARGS__)
#define log_warn(cx, event, ...)  LOG_AT(LOG_WARN, cx, event, ##__VA_ARGS__)
#define log_info(cx, event, ...)  LOG_AT(LOG_INFO, cx, event, ##__VA_ARGS__)
#define log_debug(cx, event, ...) LOG_AT(LOG_DEBUG, cx, event, ##__VA_ARGS__)

#endif
