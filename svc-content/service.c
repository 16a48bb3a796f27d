#define METHODS_TABLE
#include "svc-content/methods.h"

#include "svc-content/apply.h"
#include "svc-content/content.h"
#include "svc-content/erase.h"
#include "svc-content/jobs/jobs.h"
#include "svc-content/migrations.h"
#include "svc-content/service.h"
#include "svc-content/stmts.h"

#include "common/base/log.h"
#include "common/service/erase.h"
#include "common/service/lane.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

static enum health_state dictionary_health(void *arg, char *detail,
                                           size_t detail_max)
{
	const struct content *ct = arg;

	(void)snprintf(detail, detail_max, "%s",
	               ct->wn ? "WordNet"
	                      : "no WordNet in WORDNET_DIR: study plans only");
	return ct->wn ? HEALTH_UP : HEALTH_DEGRADED;
}

static void kick(void *arg)
{
	service_kick(arg);
}

static void content_free(struct content *ct)
{
	if (!ct)
		return;
	jobs_free(ct->jobs);
	llm_stop(ct->llm);
	wordnet_close(ct->wn);
	quota_free(ct->quota);
	decoder_free(ct->decoder);
	free(ct);
}
AUTO_TYPE(content, struct content *, content_free)

/* Without a dictionary the service still answers, with less. */
static enum err open_dictionary(struct content *ct, const struct settings *conf)
{
	char dir[513];
	enum err e;

	(void)snprintf(dir, sizeof(dir), "%.*s", STR_FMT(conf->wordnet_dir));
	e = wordnet_open(dir, &ct->wn);
	if (e != ERR_NOT_FOUND)
		return e;
	log_warn(NULL, "content.dictionary_missing",
	         LOG_STR("dir", conf->wordnet_dir));
	return OK;
}

static enum err open_decoder(struct content *ct, const struct settings *conf)
{
	const struct decode_conf dc = {
		.pixels = conf->image_max_megapixels * 1000000,
		.workers = (unsigned)conf->image_workers,
	};

	ct->image_pixels = dc.pixels;
	ct->image_ttl_ms = conf->image_topic_ttl_s * 1000;
	ct->decoder = decoder_new(&dc);
	return ct->decoder ? OK : ERR_NOMEM;
}

static void tell(void *arg, struct str id)
{
	service_push(arg, id);
}

static enum err start_jobs(struct content *ct, struct service *sv)
{
	const struct settings *conf = service_conf(sv);

	ct->jobs = jobs_new(&(struct jobs_conf){
		.pool = ct->pool,
		.idem = ct->idem,
		.content = ct,
		.methods = methods,
		.methods_n = COUNTOF(methods),
		.kinds = job_kinds,
		.kinds_n = job_kinds_n,
		.threads = (unsigned)conf->stream_jobs,
		.waiting = (unsigned)conf->stream_jobs_waiting,
		.per_person = (unsigned)conf->stream_jobs_per_person,
		.run_ms = conf->stream_job_s * 1000,
		.lease_ms = conf->stream_lease_s * 1000,
		.keep_ms = conf->stream_keep_s * 1000,
		.join_ms = conf->stream_join_s * 1000,
		.tell = tell,
		.arg = sv,
	});
	return ct->jobs ? OK : ERR_NOMEM;
}

static enum err open_events(void *state, struct ctx *cx, const struct method *m,
                            struct str body, struct reply *out)
{
	const struct content *ct = state;

	return jobs_open(ct->jobs, cx, m, body, out);
}

enum err method_job_events(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct content *ct = state;
	const struct job_events_in *ask = in;

	return jobs_follow(ct->jobs, cx, ask->job, ask->after, out);
}

static enum err start(struct service *sv, void **state)
{
	const struct settings *conf = service_conf(sv);
	AUTO(content) ct = NULL;
	enum err e;

	if (sodium_init() < 0)
		return ERR_INTERNAL;
	ct = calloc(1, sizeof(*ct));
	if (!ct)
		return ERR_NOMEM;
	ct->pool = service_pool(sv);
	ct->events = service_events(sv);
	ct->idem = service_idem(sv);
	ct->outline_ttl_ms = conf->subtopics_ttl_s * 1000;
	ct->quiz_ttl_ms = conf->quiz_ttl_s * 1000;
	ct->site_events = metrics_family(
		service_metrics(sv), METRIC_COUNTER, "kae_site_events_total",
		"Events that browsers sent, by what became of them.",
		(const char *const[]){"outcome", NULL}, NULL, 0);
	ct->generated = metrics_family(
		service_metrics(sv), METRIC_COUNTER, "kae_generated_total",
		"Outlines, lessons, quizzes and recommendations that were "
		"handed out, by where each came from.",
		(const char *const[]){"endpoint", "source", NULL}, NULL, 0);
	ct->kick = kick;
	ct->arg = sv;
	ct->cache = service_cache(sv);
	if (!ct->cache)
		return ERR_NOMEM; /* NOLINT: AUTO frees ct, unseen */
	e = open_decoder(ct, conf);
	if (e)
		return e;
	ct->quota = quota_new(conf, ct->pool, erase_erased(service_erase(sv)),
	                      service_metrics(sv));
	if (!ct->quota)
		return ERR_NOMEM; /* NOLINT: as above */
	e = open_dictionary(ct, conf);
	if (!e)
		e = llm_start(conf, service_metrics(sv), &ct->llm);
	if (!e)
		e = llm_limit(ct->llm, ct->quota);
	if (!e)
		generation_setup(&ct->gen, conf, ct->llm);
	if (!e)
		e = start_jobs(ct, sv);
	if (e)
		return e;
	*state = STEAL(ct);
	return OK;
}

static bool show(void *state, struct health *h)
{
	struct content *ct = state;

	return health_check(h, "content", "dictionary", false,
	                    dictionary_health, ct) &&
	       (!ct->llm ||
	        health_check(h, "content", "llm", false, llm_health, ct->llm));
}

static void drain(void *state)
{
	const struct content *ct = state;

	jobs_stop(ct->jobs);
}

static void stop(void *state)
{
	content_free(state);
}

/* Generations wait there for language models; the queue holds twice as many. */
static void slow_lane(const struct settings *conf, struct lane_conf *lane)
{
	lane->threads = (unsigned)conf->llm_concurrency;
	lane->queue_max = 2 * (unsigned)conf->llm_concurrency;
}

static void figures(void *state, struct service_figures *out)
{
	const struct content *ct = state;

	llm_stats(ct->llm, &out->model);
	jobs_stats(ct->jobs, &out->jobs_lane);
}

static void reset_models(void *state)
{
	const struct content *ct = state;

	llm_reset(ct->llm);
}

static const struct retention_rule retention[] = {
#define KEEP(category, table, id) {RETENTION_##category, table, STMT(id), NULL},
#include "svc-content/retention.def"
#undef KEEP
};

const struct service_def content_service = {
	.self = PEER_CONTENT,
	.name = "content",
	.methods = methods,
	.methods_n = COUNTOF(methods),
	.migrations = content_migrations,
	.migrations_n = CONTENT_MIGRATIONS,
	.retention = retention,
	.retention_n = COUNTOF(retention),
	.slow_lane = slow_lane,
	.start = start,
	.show = show,
	.drain = drain,
	.stop = stop,
	.figures = figures,
	.llm_reset = reset_models,
	.apply = content_apply,
	.events = open_events,
	.erase = &content_erase,
};
