#include "common/service/service_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <stdio.h>

#define RETRY_FIRST_MS 100
#define RETRY_MAX_MS   5000
#define ROOT_KEY_MS    30000

static void changed(struct service *sv)
{
	if (sv->env.changed)
		sv->env.changed(sv->env.arg);
}

static void give_up(struct service *sv, const char *step, enum err e)
{
	const struct ctx cx = {.service = sv->def->name};

	log_error(&cx, "service.failed", LOG_TEXT("step", step),
	          LOG_TEXT("error", err_name(e)));
	atomic_store(&sv->failed, true);
	changed(sv);
}

static enum err start_relay(struct service *sv)
{
	const struct event_relay_conf conf = {.store = sv->events,
	                                      .pool = sv->pool,
	                                      .caller = sv->caller,
	                                      .service = sv->def->name,
	                                      .owner = sv->instance};
	struct event_relay *relay = event_relay_new(&conf);

	if (!relay)
		return ERR_NOMEM;
	GUARD(&sv->lock);

	sv->relay = relay;
	return OK;
}

static enum err open_root_key(struct service *sv)
{
	struct ctx cx = {.service = sv->def->name,
	                 .rid = STR("root-key"),
	                 .deadline_ms = mono_ms() + ROOT_KEY_MS};

	return sv->root_key ? root_key_open(sv->root_key, sv->pool, &cx,
	                                    sv->env.conf, sv->def->root_probe,
	                                    &sv->root_keys)
	                    : OK;
}

static enum err start_state(struct service *sv)
{
	enum err e = sv->def->start ? sv->def->start(sv, &sv->state) : OK;

	explicit_bzero(&sv->root_keys, sizeof(sv->root_keys));
	if (!e && sv->def->show && sv->env.health &&
	    !sv->def->show(sv->state, sv->env.health))
		e = ERR_INVALID;
	return e;
}

/* Goes on where the last attempt ended; *step says where this one did. */
static enum err bring_up(struct service *sv, const char **step)
{
	enum err e = OK;

	*step = "migrate";
	if (!sv->migrated)
		e = db_migrate(sv->pool, sv->def->migrations,
		               sv->def->migrations_n);
	if (e)
		return e;
	sv->migrated = true;
	*step = "relay";
	if (!sv->relay)
		e = start_relay(sv);
	if (e)
		return e;
	*step = "erased";
	if (sv->erased)
		e = erased_watch(sv->erased, sv->pool, sv->def->name);
	if (e)
		return e;
	*step = "purge";
	e = idem_purge_start(sv->idem);
	if (!e)
		e = retention_start(sv->retention);
	if (e)
		return e;
	*step = "root_key";
	e = open_root_key(sv);
	if (e)
		return e;
	*step = "start";
	return start_state(sv);
}

/* False when the service is to stop instead. */
static bool pause_ms(struct service *sv, uint64_t ms)
{
	uint64_t until_ms = mono_ms() + ms;
	const struct timespec until = {
		.tv_sec = (time_t)(until_ms / 1000),
		.tv_nsec = (long)(until_ms % 1000) * 1000000,
	};
	GUARD(&sv->lock);

	while (!sv->stopping)
		if (pthread_cond_timedwait(&sv->stop_asked, &sv->lock,
		                           &until) != 0)
			break;
	return !sv->stopping;
}

static bool become_ready(struct service *sv)
{
	GUARD(&sv->lock);

	if (sv->stopping)
		return false;
	dispatch_open(sv->dispatch, sv->state);
	sv->shown = sv->state != NULL;
	atomic_store(&sv->ready, true);
	return true;
}

static void tell_serving(struct service *sv)
{
	const struct ctx cx = {.service = sv->def->name};
	struct db_pool_stats db;
	struct lane_stats lane;

	db_pool_stats(sv->pool, &db);
	lane_stats(sv->lanes[LANE_DB], &lane);
	log_info(&cx, "service.serving", LOG_TEXT("instance", sv->instance),
	         LOG_TEXT("address", sv->env.listen),
	         LOG_U64("threads", lane.threads),
	         LOG_TEXT("database",
	                  db.kind == DB_SQLITE ? "sqlite" : "postgresql"));
}

static void *starter(void *arg)
{
	struct service *sv = arg;
	const struct ctx cx = {.service = sv->def->name};
	uint64_t wait_ms = RETRY_FIRST_MS;
	const char *step = "";
	enum err e;

	while ((e = bring_up(sv, &step))) {
		if (!err_may_retry(e)) {
			give_up(sv, step, e);
			return NULL;
		}
		log_warn(&cx, "service.waiting", LOG_TEXT("step", step),
		         LOG_TEXT("error", err_name(e)),
		         LOG_U64("retry_ms", wait_ms));
		if (!pause_ms(sv, wait_ms))
			return NULL;
		wait_ms =
			wait_ms * 2 < RETRY_MAX_MS ? wait_ms * 2 : RETRY_MAX_MS;
	}
	if (become_ready(sv)) {
		service_set_phase(sv, PHASE_READY);
		bus_server_serves(sv->server);
		tell_serving(sv);
		changed(sv);
	}
	return NULL;
}

enum err service_make_starter(struct service *sv)
{
	char name[16];

	if (pthread_create(&sv->starter, NULL, starter, sv) != 0)
		return ERR_NOMEM;
	sv->starter_runs = true;
	(void)snprintf(name, sizeof(name), "%.9s-start", sv->def->name);
	(void)pthread_setname_np(sv->starter, name);
	return OK;
}
