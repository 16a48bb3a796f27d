#include "common/obs/otlp.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/obs/otlp_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct otlp {
	pthread_mutex_t lock; /* of the ring's ends, figures and ending */
	pthread_cond_t some;
	size_t first, n; /* spans that wait: ring[first], ... */
	bool ending;
	bool given_up; /* it has failed since: the rest would too */
	uint64_t exported, full, failed, rejected;

	_Atomic uint64_t until_ms; /* no request lasts longer */
	pthread_t thread;
	uint64_t timeout_ms;
	bool in_trouble; /* as the log has it; the thread's own, as the rest */
	struct otlp_http *http;
	struct otlp_resource resource;
	struct metrics *metrics;
	struct buf body;
	struct otlp_answer answer;
	struct span ring[OTLP_RING];
};

/* --- taking in ------------------------------------------------------------------ */

static void listen(void *arg, const struct span *s)
{
	struct otlp *o = arg;
	GUARD(&o->lock);

	if (o->n == OTLP_RING) {
		o->full++;
		return;
	}
	o->ring[(o->first + o->n) % OTLP_RING] = *s;
	o->n++;
	/* The thread sleeps until there is one, and until there are enough. */
	if (o->n == 1 || o->n == OTLP_BATCH)
		pthread_cond_signal(&o->some);
}

/* --- figures -------------------------------------------------------------------- */

static void collect(void *arg, struct buf *out)
{
	static const char dropped[] = "kae_trace_spans_dropped_total";
	struct otlp *o = arg;
	GUARD(&o->lock);

	metrics_head(out, METRIC_COUNTER, "kae_trace_spans_exported_total",
	             "Spans that the collector has taken.");
	metrics_line(out, "kae_trace_spans_exported_total", "",
	             (double)o->exported);
	metrics_head(out, METRIC_COUNTER, dropped,
	             "Spans lost: no room (full), the collector cannot be "
	             "reached or refuses them (failed), or takes only others "
	             "(rejected).");
	metrics_line(out, dropped, "reason=\"full\"", (double)o->full);
	metrics_line(out, dropped, "reason=\"failed\"", (double)o->failed);
	metrics_line(out, dropped, "reason=\"rejected\"", (double)o->rejected);
	metrics_head(out, METRIC_GAUGE, "kae_trace_spans_waiting",
	             "Spans that wait to be sent.");
	metrics_line(out, "kae_trace_spans_waiting", "", (double)o->n);
}

/* --- sending -------------------------------------------------------------------- */

/* Waits until ms have passed or it is to end; holds the lock. */
static bool wait_ms(struct otlp *o, uint64_t ms, size_t enough)
{
	uint64_t due_ms = mono_ms() + ms;
	const struct timespec t = {.tv_sec = (time_t)(due_ms / 1000),
	                           .tv_nsec = (long)(due_ms % 1000) * 1000000};

	while (!o->ending && o->n < enough)
		if (pthread_cond_timedwait(&o->some, &o->lock, &t) == ETIMEDOUT)
			break;
	return !o->ending;
}

/* How many are to be sent; 0: it is over. */
static size_t next_batch(struct otlp *o)
{
	GUARD(&o->lock);

	while (o->n == 0 && !o->ending)
		pthread_cond_wait(&o->some, &o->lock);
	if (o->given_up) {
		o->failed += o->n;
		return 0;
	}
	(void)wait_ms(o, OTLP_LINGER_MS, OTLP_BATCH);
	return o->n < OTLP_BATCH ? o->n : OTLP_BATCH;
}

static int64_t offset_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 -
	       (int64_t)mono_us();
}

/* Nobody else reads or moves `first`, and what stands there is not written
 * before it has been given back. */
static void encode(struct otlp *o, size_t n)
{
	size_t first;

	{
		GUARD(&o->lock);
		first = o->first;
	}
	buf_clear(&o->body);
	otlp_write(&o->body, &o->resource, o->ring, first, n, offset_us());
	GUARD(&o->lock);

	o->first = (first + n) % OTLP_RING;
	o->n -= n;
}

static void tell(struct otlp *o, bool trouble)
{
	if (trouble && !o->in_trouble)
		log_warn(NULL, "otlp.failing",
		         LOG_I64("status", o->answer.status),
		         LOG_TEXT("reason", o->answer.error));
	if (!trouble && o->in_trouble)
		log_info(NULL, "otlp.works");
	o->in_trouble = trouble;
}

static bool worth_a_try(long status)
{
	return status == 0 || status == 429 || status == 502 || status == 503 ||
	       status == 504;
}

/* False: it is to end, and there has been a try since. */
static bool pause_before(struct otlp *o, unsigned tries)
{
	uint64_t ms = (uint64_t)OTLP_PAUSE_MS << tries;
	uint64_t asked_ms = o->answer.retry_after_s * 1000;
	GUARD(&o->lock);

	/* So that not all processes come back at once. */
	ms = ms / 2 + trace_new_id() % (ms / 2 + 1);
	if (asked_ms > ms)
		ms = asked_ms;
	if (ms > OTLP_PAUSE_MAX_MS)
		ms = OTLP_PAUSE_MAX_MS;
	if (o->ending)
		return false;
	(void)wait_ms(o, ms, SIZE_MAX); /* or until it is to end */
	return true;
}

static void count(struct otlp *o, size_t n, bool taken)
{
	uint64_t rejected =
		taken ? otlp_rejected(buf_view(&o->answer.body)) : 0;
	GUARD(&o->lock);

	if (rejected > n)
		rejected = n;
	o->rejected += rejected;
	*(taken ? &o->exported : &o->failed) += n - rejected;
	o->given_up = o->ending && !taken;
}

static void deliver(struct otlp *o, size_t n)
{
	bool taken = false, again = !o->body.failed;

	for (unsigned tries = 0; again && !taken; tries++) {
		otlp_http_post(o->http, buf_view(&o->body), o->timeout_ms,
		               &o->until_ms, &o->answer);
		taken = o->answer.status / 100 == 2;
		tell(o, !taken);
		again = !taken && worth_a_try(o->answer.status) &&
		        tries + 1 < OTLP_TRIES && pause_before(o, tries);
	}
	count(o, n, taken);
}

static void *run(void *arg)
{
	struct otlp *o = arg;
	size_t n;

	while ((n = next_batch(o)) > 0) {
		encode(o, n);
		deliver(o, n);
	}
	return NULL;
}

/* --- life ----------------------------------------------------------------------- */

const char *otlp_check(const struct settings *conf)
{
	struct otlp_resource r = {0};
	const char *why = otlp_http_check(conf);

	if (!otlp_resource(conf, &r) && !why)
		why = "OTEL_RESOURCE_ATTRIBUTES: must be key=value, comma "
		      "separated, values percent-encoded";
	otlp_resource_fini(&r);
	return why;
}

static void otlp_free(struct otlp *o)
{
	otlp_http_free(o->http);
	otlp_resource_fini(&o->resource);
	buf_fini(&o->body);
	buf_fini(&o->answer.body);
	pthread_cond_destroy(&o->some);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static bool begin(struct otlp *o, const struct settings *conf)
{
	o->http = otlp_http_new(conf);
	if (!o->http || !otlp_resource(conf, &o->resource) ||
	    !metrics_collector(o->metrics, collect, o))
		return false;
	if (pthread_create(&o->thread, NULL, run, o) != 0) {
		metrics_forget(o->metrics, collect, o);
		return false;
	}
	(void)pthread_setname_np(o->thread, "otlp");
	trace_listen(listen, o);
	return true;
}

enum err otlp_start(const struct settings *conf, struct metrics *m,
                    struct otlp **out)
{
	pthread_condattr_t attr;
	struct otlp *o;

	*out = NULL;
	if (conf->otlp_endpoint.n == 0 && conf->otlp_traces_endpoint.n == 0)
		return OK;
	o = calloc(1, sizeof(*o));
	if (!o)
		return ERR_NOMEM;
	o->metrics = m;
	o->timeout_ms = conf->otlp_timeout_ms;
	atomic_store(&o->until_ms, UINT64_MAX);
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->some, &attr);
	pthread_condattr_destroy(&attr);
	if (!begin(o, conf)) {
		otlp_free(o);
		return ERR_NOMEM;
	}
	*out = o;
	return OK;
}

static void ask_end(struct otlp *o, uint64_t until_ms)
{
	GUARD(&o->lock);

	atomic_store(&o->until_ms, until_ms);
	o->ending = true;
	pthread_cond_signal(&o->some);
}

void otlp_stop(struct otlp *o, uint64_t until_ms)
{
	if (!o)
		return;
	trace_listen(NULL, NULL);
	ask_end(o, until_ms);
	otlp_http_wake(o->http);
	(void)pthread_join(o->thread, NULL);
	metrics_forget(o->metrics, collect, o);
	otlp_free(o);
}
