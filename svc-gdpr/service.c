#define METHODS_TABLE
#include "svc-gdpr/methods.h"

#include "common/service/lane.h"
#include "svc-gdpr/audit.h"
#include "svc-gdpr/audit_check.h"
#include "svc-gdpr/breach.h"
#include "svc-gdpr/erase.h"
#include "svc-gdpr/erasure.h"
#include "svc-gdpr/export.h"
#include "svc-gdpr/migrations.h"
#include "svc-gdpr/receipt_cli.h"
#include "svc-gdpr/service.h"
#include "svc-gdpr/state.h"
#include "svc-gdpr/stmts.h"

#include <stdlib.h>

static void kick(void *arg)
{
	service_kick(arg);
}

enum err gdpr_start(struct service *sv, void **state)
{
	const struct settings *conf = service_conf(sv);
	struct gdpr_state *st = calloc(1, sizeof(*st));
	enum err e;

	if (!st)
		return ERR_NOMEM;
	st->ttl_ms = conf->redis_url.n ? conf->cache_degraded_ttl_s * 1000
	                               : STATS_TTL_MS;
	st->board_ttl_ms =
		st->ttl_ms < BOARD_TTL_MAX_MS ? st->ttl_ms : BOARD_TTL_MAX_MS;
	st->pool = service_pool(sv);
	st->events = service_events(sv);
	st->idem = service_idem(sv);
	st->kick = kick;
	st->arg = sv;
	st->cache = service_cache(sv);
	st->caller = service_caller(sv);
	st->folder = conf->data_dir;
	st->export_max = conf->export_max_bytes;
	st->exports = exports_new((size_t)conf->exports_at_once);
	if (st->cache && st->exports)
		st->watch = breach_watch_new(st->pool, service_metrics(sv));
	e = st->watch ? OK : ERR_NOMEM;
	if (!e)
		e = desk_new(&(struct desk_conf){.settings = conf,
		                                 .pool = st->pool,
		                                 .keys = service_root_keys(sv),
		                                 .root = service_root_key(sv),
		                                 .caller = service_caller(sv),
		                                 .erase = service_erase(sv),
		                                 .metrics = service_metrics(sv),
		                                 .cache = st->cache,
		                                 .state = st},
		             &st->desk);
	if (e) {
		gdpr_stop(st);
		return e;
	}
	*state = st;
	return OK;
}

void gdpr_stop(void *state)
{
	struct gdpr_state *st = state;

	desk_free(st->desk);
	breach_watch_free(st->watch);
	exports_free(st->exports);
	free(st);
}

#define ERASURES_AT_ONCE 4

/* Erasures wait there for other services, besides exports, which leave them
 * room (exports_new()). */
static void slow_lane(const struct settings *conf, struct lane_conf *lane)
{
	lane->threads = 2 * (unsigned)conf->exports_at_once + ERASURES_AT_ONCE;
	lane->queue_max = (unsigned)conf->exports_at_once + ERASURES_AT_ONCE;
}

static const struct retention_rule retention[] = {
#define KEEP(category, table, id) {RETENTION_##category, table, STMT(id), NULL},
#include "svc-gdpr/retention.def"
#undef KEEP
	{RETENTION_AUDIT_LOG, "audit_log", NULL, audit_prune},
};

static const struct program_flag flags[] = {AUDIT_CHECK_FLAG, RECEIPT_FLAG};

/*
 * No .apply: "event.apply" is a row of methods.def, because what the cache
 * holds has to be forgotten after the events' commit and not inside it.
 */
const struct service_def gdpr_service = {
	.self = PEER_GDPR,
	.name = "gdpr",
	.methods = methods,
	.methods_n = COUNTOF(methods),
	.migrations = gdpr_migrations,
	.migrations_n = GDPR_MIGRATIONS,
	.retention = retention,
	.retention_n = COUNTOF(retention),
	.slow_lane = slow_lane,
	.root_probe = desk_probe,
	.start = gdpr_start,
	.stop = gdpr_stop,
	.erase = &gdpr_erase,
	.flags = flags,
	.flags_n = COUNTOF(flags),
};
