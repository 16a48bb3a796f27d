/*
 * otlp - takes in the spans of this process and sends them to a collector, as
 * OTLP/HTTP with JSON (docs/tracing.md).
 *
 * Why:     a span ends on the thread of a request, and a collector may be slow,
 *          away or broken: between them are a ring of fixed size and a thread.
 * Bounds:  OTLP_RING spans wait; those beyond are dropped and counted.  A
 *          request has up to OTLP_BATCH of them, is tried OTLP_TRIES times with
 *          growing pauses (or as long as Retry-After says, up to
 *          OTLP_PAUSE_MAX_MS) on 429, 502, 503, 504 or none; what is refused
 *          for good is dropped.  Of an answer OTLP_ANSWER_MAX bytes are read.
 * Metrics: kae_trace_spans_exported_total, kae_trace_spans_dropped_total by
 *          reason, kae_trace_spans_waiting.
 * Log:     otlp.failing, otlp.works when it changes.  Never the headers.
 * Threads: the owner, while no other thread makes spans.
 */
#ifndef OBS_OTLP_H
#define OBS_OTLP_H

#include "common/base/attr.h"
#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/obs/metrics.h"

#define OTLP_RING         2048
#define OTLP_BATCH        512
#define OTLP_LINGER_MS    1000 /* spans wait this long for company */
#define OTLP_TRIES        5
#define OTLP_PAUSE_MS     500 /* doubles */
#define OTLP_PAUSE_MAX_MS 30000
#define OTLP_ANSWER_MAX   ((size_t)64 << 10)

struct otlp;

/* Why the settings for it will never work; NULL: they may. */
const char *otlp_check(const struct settings *conf);
/* Where no collector is named, *out is NULL and nothing is traced. */
enum err otlp_start(const struct settings *conf, struct metrics *m,
                    struct otlp **out) MUST_CHECK;
/* Sends what waits, until until_ms (mono_ms()) at the latest.  NULL is fine. */
void otlp_stop(struct otlp *o, uint64_t until_ms);

#endif
