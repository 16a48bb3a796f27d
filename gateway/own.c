/* The routes that the gateway answers itself: from memory, asking nobody. */
#include "gateway/admin.h"
#include "gateway/req.h"
#include "gateway/vouch.h"

#include "common/base/clock.h"
#include "common/codec/json.h"
#include "gateway/pages.h"
#include "gateway/problem.h"
#include "gateway/query.h"

#include <inttypes.h>

static void member(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, ",\"%s\":", name);
	json_add_str(out, str_from(value));
}

static void timestamp(struct buf *out, const char *name, int64_t at_ms)
{
	char iso[CLOCK_ISO_MAX];

	buf_printf(out, ",\"%s\":\"%s\"", name, clock_iso(at_ms, iso).p);
}

static double uptime_s(const struct req *rq)
{
	const struct site *st = rq->loop->site;

	return (double)(rq->loop->now_ms - st->started_mono_ms) / 1000.0;
}

static enum err root(struct req *rq)
{
	buf_str(&rq->out, STR("{\"name\":\"KnowAllEdge\",\"version\":"));
	json_add_str(&rq->out, STR(KAE_VERSION));
	buf_str(&rq->out,
	        STR(",\"links\":{\"health\":\"/health\",\"ready\":\"/ready\","
	            "\"status\":\"/api/health\",\"register\":"
	            "\"/api/auth/register\",\"login\":\"/api/auth/login\","
	            "\"keys\":\"/.well-known/jwks.json\","
	            "\"docs\":\"/docs\",\"openapi\":\"/openapi.json\"}}"));
	return OK;
}

static enum err health(struct req *rq)
{
	buf_str(&rq->out, STR("{\"status\":\"alive\""));
	timestamp(&rq->out, "timestamp", wall_ms());
	member(&rq->out, "instance_id", rq->loop->site->instance);
	buf_printf(&rq->out, ",\"uptime_seconds\":%.1f}", uptime_s(rq));
	return OK;
}

/* --- checks ------------------------------------------------------------------ */

static const enum bus_peer services[] = {PEER_AUTH, PEER_CONTENT, PEER_GDPR};

static const char *const state_names[] = {
	[MONITOR_UP] = "up",
	[MONITOR_UNKNOWN] = "unknown",
	[MONITOR_DEGRADED] = "degraded",
	[MONITOR_DOWN] = "down",
};

static void add_check(struct buf *out, const char *name, const char *status,
                      const char *message)
{
	buf_printf(out, "%s\"%s\":{\"status\":\"%s\",\"message\":\"%s\"}",
	           out->n ? "," : "", name, status, message);
}

/* Names the services whose database is as bad as the worst. */
static enum monitor_state database(const struct req *rq, struct buf *out)
{
	static const char *const messages[] = {
		[MONITOR_UP] = "every service can use its database",
		[MONITOR_UNKNOWN] = "not known at the moment of",
		[MONITOR_DEGRADED] = "answers badly to",
		[MONITOR_DOWN] = "cannot be reached by",
	};
	enum monitor_state each[COUNTOF(services)], worst = MONITOR_UP;
	AUTO_BUF message = {0};
	const char *comma = " ";

	for (size_t i = 0; i < COUNTOF(services); i++) {
		each[i] = monitor_view(rq->loop->site->monitor, services[i],
		                       rq->loop->now_ms)
		                  .database;
		worst = monitor_worse(worst, each[i]);
	}
	buf_str(&message, str_from(messages[worst]));
	for (size_t i = 0; i < COUNTOF(services) && worst != MONITOR_UP; i++) {
		if (each[i] != worst)
			continue;
		buf_printf(&message, "%s%s", comma, bus_peer_name(services[i]));
		comma = ", ";
	}
	buf_char(&message, '\0');
	out->failed |= message.failed;
	if (!message.failed)
		add_check(out, "database", state_names[worst], message.p);
	return worst;
}

/* Without it the services go on with what they have in memory, so the worst that
 * it can do to the whole is to degrade it. */
static enum monitor_state redis(const struct req *rq, struct buf *out)
{
	static const char *const messages[] = {
		[MONITOR_UP] = "instances tell each other what changed",
		[MONITOR_UNKNOWN] = "not known at the moment",
		[MONITOR_DEGRADED] = "answers badly; memory does instead",
		[MONITOR_DOWN] = "cannot be reached; memory does instead",
	};
	enum monitor_state worst = MONITOR_UP;
	bool configured = false;

	for (size_t i = 0; i < COUNTOF(services); i++) {
		struct monitor_view v =
			monitor_view(rq->loop->site->monitor, services[i],
		                     rq->loop->now_ms);

		configured |= v.has_redis;
		if (v.has_redis)
			worst = monitor_worse(worst, v.redis);
	}
	if (configured)
		add_check(out, "redis", state_names[worst], messages[worst]);
	else
		add_check(out, "redis", "not_configured",
		          "what is cached is kept in memory");
	return worst == MONITOR_DOWN ? MONITOR_DEGRADED : worst;
}

/* Without it lessons are made offline, so it never does more than degrade. */
static enum monitor_state models(const struct req *rq, struct buf *out)
{
	static const char *const messages[] = {
		[MONITOR_UP] = "a language model answers",
		[MONITOR_UNKNOWN] = "not known at the moment",
		[MONITOR_DEGRADED] =
			("a provider fails; others or the built-in "
	                 "lexicon do instead"),
		[MONITOR_DOWN] = "the built-in lexicon does instead",
	};
	struct monitor_view v = monitor_view(rq->loop->site->monitor,
	                                     PEER_CONTENT, rq->loop->now_ms);

	if (!v.has_llm) {
		add_check(out, "gemini_api", "not_configured",
		          "lessons are made from the built-in lexicon");
		return MONITOR_UP;
	}
	add_check(out, "gemini_api", state_names[v.llm], messages[v.llm]);
	return v.llm == MONITOR_DOWN ? MONITOR_DEGRADED : v.llm;
}

/* The bus of this loop notices within milliseconds that a service is gone; what
 * else is wrong with it the monitor has asked. */
static enum monitor_state service(const struct req *rq, enum bus_peer peer,
                                  struct buf *out)
{
	unsigned up = bus_client_up(rq->loop->bus, peer);
	enum monitor_state state = up ? monitor_view(rq->loop->site->monitor,
	                                             peer, rq->loop->now_ms)
	                                           .service
	                              : MONITOR_DOWN;

	buf_printf(out,
	           ",\"%s\":{\"status\":\"%s\",\"message\":"
	           "\"%u replica%s up\",\"replicas\":%u}",
	           bus_peer_name(peer), state_names[state], up,
	           up == 1 ? "" : "s", up);
	return state;
}

static enum monitor_state identity(const struct req *rq, struct buf *out)
{
	enum monitor_state state = MONITOR_UP;
	const char *message = "keys and revocations are current";

	if (!identity_ready(rq->loop->identity)) {
		state = MONITOR_DOWN;
		message = "keys and revocations are not loaded yet";
	} else if (identity_stale(rq->loop->identity, rq->loop->now_ms)) {
		state = MONITOR_DEGRADED;
		message = "no news of revocations for more than a second";
	}
	add_check(out, "identity", state_names[state], message);
	return state;
}

/*
 * "checks", from memory: nothing is asked.  The worst of them counts.  Every
 * word is ours: what a service says of itself may name hosts and files.
 * gemini_api and quota are where clients of the old system look for them.
 */
static enum monitor_state checks(const struct req *rq, struct buf *out)
{
	AUTO_BUF each = {0};
	enum monitor_state worst = database(rq, &each);

	worst = monitor_worse(worst, redis(rq, &each));
	worst = monitor_worse(worst, models(rq, &each));
	add_check(&each, "quota", "not_configured",
	          "the built-in lexicon has no quota");
	worst = monitor_worse(worst, identity(rq, &each));
	for (size_t i = 0; i < COUNTOF(services); i++)
		worst = monitor_worse(worst, service(rq, services[i], &each));
	buf_str(out, STR(",\"checks\":{"));
	buf_str(out, buf_view(&each));
	buf_char(out, '}');
	out->failed |= each.failed;
	return worst;
}

/* The verdict stands first in both answers and is known last, so the rest is
 * written aside. */
static enum err finish(struct req *rq, bool well, const char *first,
                       const struct buf *rest)
{
	buf_str(&rq->out, str_from(first));
	buf_str(&rq->out, buf_view(rest));
	buf_char(&rq->out, '}');
	rq->status = well ? 200 : 503;
	return rest->failed ? ERR_NOMEM : OK;
}

static enum err ready(struct req *rq)
{
	AUTO_BUF rest = {0};
	bool well;

	timestamp(&rest, "timestamp", wall_ms());
	member(&rest, "instance_id", rq->loop->site->instance);
	well = checks(rq, &rest) != MONITOR_DOWN &&
	       !atomic_load(&rq->loop->site->draining);
	return finish(rq, well, well ? "{\"ready\":true" : "{\"ready\":false",
	              &rest);
}

static void uptime(const struct req *rq, struct buf *out)
{
	double s = uptime_s(rq);

	buf_printf(out,
	           ",\"uptime\":{\"uptime_seconds\":%.1f,"
	           "\"uptime_hours\":%.2f,\"uptime_days\":%.2f",
	           s, s / 3600, s / 86400);
	timestamp(out, "start_time", rq->loop->site->started_ms);
	timestamp(out, "current_time", wall_ms());
	buf_char(out, '}');
}

static void figures(const struct req *rq, struct buf *out,
                    enum monitor_state worst)
{
	const char *status = worst == MONITOR_DOWN ? "unhealthy"
	                     : worst == MONITOR_UP ? "healthy"
	                                           : "degraded";
	struct meter_sums m;

	meter_sums(rq->loop->site->meter, &m);
	buf_printf(out,
	           ",\"metrics\":{\"status\":\"%s\",\"recent_errors_5min\":%u,"
	           "\"avg_response_time_ms\":%.3f,\"concurrent_users\":%u}",
	           status, m.errors_5min,
	           m.requests ? (double)m.took_us / 1e3 / (double)m.requests
	                      : 0.0,
	           m.in_progress);
}

static enum err api_health(struct req *rq)
{
	const struct site *st = rq->loop->site;
	enum monitor_state worst;
	AUTO_BUF rest = {0};

	timestamp(&rest, "timestamp", wall_ms());
	buf_str(&rest, STR(",\"version\":{\"app_version\":"));
	json_add_str(&rest, STR(KAE_VERSION));
	member(&rest, "environment", env_name(st->conf->env));
	member(&rest, "instance_id", st->instance);
	buf_char(&rest, '}');
	uptime(rq, &rest);
	worst = checks(rq, &rest);
	figures(rq, &rest, worst);
	return finish(rq, worst != MONITOR_DOWN,
	              worst == MONITOR_DOWN ? "{\"status\":\"unhealthy\""
	              : worst == MONITOR_UP
	                      ? "{\"status\":\"healthy\""
	                      : "{\"status\":\"healthy_with_warnings\"",
	              &rest);
}

static enum err problem(struct req *rq)
{
	struct str code = rq->match.params[0].value;
	bool known = rq->form == FORM_HTML ? problem_page(&rq->out, code)
	                                   : problem_explain(&rq->out, code);

	return known ? OK : ERR_NOT_FOUND;
}

/* These stay in memory, so nothing is copied. */
static enum err openapi(struct req *rq)
{
	rq->page = pages_openapi;
	return OK;
}

static enum err docs(struct req *rq)
{
	rq->page = pages_docs;
	return OK;
}

static enum err style(struct req *rq)
{
	rq->page = pages_style;
	return OK;
}

/* What the browser has measured of itself: nobody asks for it, so it is taken and
 * forgotten (contract 2.4). */
static enum err drop(struct req *rq)
{
	rq->status = 204;
	return OK;
}

const struct own *own_find(const char *call)
{
	static const struct own own[] = {
		{.call = "root", .run = root},
		{.call = "health", .run = health},
		{.call = "ready", .run = ready},
		{.call = "api_health", .run = api_health},
		{.call = "problem", .run = problem, .forms = FORMS_PAGE},
		{.call = "openapi", .run = openapi},
		{.call = "docs", .run = docs, .forms = FORMS_HTML},
		{.call = "style", .run = style, .forms = FORMS_CSS},
		{.call = "metrics",
	         .run = admin_metrics,
	         .ask = admin_ask_stats},
		{.call = "stats", .run = admin_stats, .ask = admin_ask_stats},
		{.call = "cache_clear",
	         .run = admin_invalidated,
	         .ask = admin_ask_clear,
	         .note = admin_note_clear},
		{.call = "cache_invalidate",
	         .run = admin_invalidated,
	         .ask = admin_ask_invalidate,
	         .note = admin_note_invalidate},
		{.call = "breaker_state",
	         .run = admin_breaker,
	         .ask = admin_ask_breaker},
		{.call = "metrics_performance", .run = drop, .drops = true},
		{.call = "csrf_token", .run = vouch_token},
		{.call = "explain", .run = explain_tell},
		{.call = "static", .run = front_run, .forms = FORMS_FILE},
		{.call = "breaker_reset",
	         .run = admin_reset,
	         .ask = admin_ask_reset,
	         .note = admin_note_reset},
	};

	for (size_t i = 0; i < COUNTOF(own); i++)
		if (strcmp(own[i].call, call) == 0)
			return &own[i];
	return NULL;
}
