#define METHODS_TABLE
#include "svc-gdpr/methods.h"

#include "svc-gdpr/audit_check.h"
#include "svc-gdpr/migrations.h"
#include "svc-gdpr/service.h"
#include "svc-gdpr/state.h"

#include <stdlib.h>

enum err gdpr_start(struct service *sv, void **state)
{
	const struct settings *conf = service_conf(sv);
	struct gdpr_state *st = calloc(1, sizeof(*st));

	if (!st)
		return ERR_NOMEM;
	st->ttl_ms = conf->redis_url.n ? conf->cache_degraded_ttl_s * 1000
	                               : STATS_TTL_MS;
	st->pool = service_pool(sv);
	st->events = service_events(sv);
	st->cache = service_cache(sv);
	if (!st->cache) {
		free(st);
		return ERR_NOMEM;
	}
	*state = st;
	return OK;
}

void gdpr_stop(void *state)
{
	free(state);
}

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
	.slow_threads = 1,
	.start = gdpr_start,
	.stop = gdpr_stop,
	.flags = &audit_check_flag,
	.flags_n = 1,
};
