/* The routes that the gateway answers itself: from memory, asking nobody. */
#include "gateway/req.h"

#include "common/base/clock.h"
#include "common/codec/json.h"
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
	            "\"keys\":\"/.well-known/jwks.json\"}}"));
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

static const enum bus_peer services[] = {PEER_AUTH, PEER_CONTENT, PEER_GDPR};

/*
 * "checks": what the bus and identity of this loop know at this moment.  They
 * notice within milliseconds, so nothing is asked.  True: all is well.
 */
static bool checks(const struct req *rq, struct buf *out)
{
	bool well = identity_ready(rq->loop->identity);
	bool stale = identity_stale(rq->loop->identity, rq->loop->now_ms);

	buf_printf(out,
	           ",\"checks\":{\"identity\":{\"status\":\"%s\","
	           "\"message\":\"%s\"}",
	           !well   ? "down"
	           : stale ? "degraded"
	                   : "up",
	           !well   ? "keys and revocations are not loaded yet"
	           : stale ? "no news of revocations for more than a second"
	                   : "keys and revocations are current");
	for (size_t i = 0; i < COUNTOF(services); i++) {
		unsigned up = bus_client_up(rq->loop->bus, services[i]);

		buf_printf(out,
		           ",\"%s\":{\"status\":\"%s\",\"message\":"
		           "\"%u replica%s up\",\"replicas\":%u}",
		           bus_peer_name(services[i]), up ? "up" : "down", up,
		           up == 1 ? "" : "s", up);
		well &= up > 0;
	}
	buf_char(out, '}');
	return well;
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
	well = checks(rq, &rest) && !atomic_load(&rq->loop->site->draining);
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

static void figures(const struct req *rq, struct buf *out, bool well)
{
	struct meter_sums m;

	meter_sums(rq->loop->site->meter, &m);
	buf_printf(out,
	           ",\"metrics\":{\"status\":\"%s\",\"recent_errors_5min\":%u,"
	           "\"avg_response_time_ms\":%.3f,\"concurrent_users\":%u}",
	           well ? "healthy" : "unhealthy", m.errors_5min,
	           m.requests ? (double)m.took_us / 1e3 / (double)m.requests
	                      : 0.0,
	           m.in_progress);
}

static enum err api_health(struct req *rq)
{
	const struct site *st = rq->loop->site;
	bool stale = identity_stale(rq->loop->identity, rq->loop->now_ms);
	AUTO_BUF rest = {0};
	bool well;

	timestamp(&rest, "timestamp", wall_ms());
	buf_str(&rest, STR(",\"version\":{\"app_version\":"));
	json_add_str(&rest, STR(KAE_VERSION));
	member(&rest, "environment", env_name(st->conf->env));
	member(&rest, "instance_id", st->instance);
	buf_char(&rest, '}');
	uptime(rq, &rest);
	well = checks(rq, &rest);
	figures(rq, &rest, well);
	return finish(rq, well,
	              !well   ? "{\"status\":\"unhealthy\""
	              : stale ? "{\"status\":\"healthy_with_warnings\""
	                      : "{\"status\":\"healthy\"",
	              &rest);
}

static enum err problem(struct req *rq)
{
	struct str code = rq->match.params[0].value;

	return problem_explain(&rq->out, code) ? OK : ERR_NOT_FOUND;
}

own_fn *own_find(const char *call)
{
	static const struct {
		const char *call;
		own_fn *fn;
	} own[] = {
		{"root", root},       {"health", health},
		{"ready", ready},     {"api_health", api_health},
		{"problem", problem},
	};

	for (size_t i = 0; i < COUNTOF(own); i++)
		if (strcmp(own[i].call, call) == 0)
			return own[i].fn;
	return NULL;
}
