#include "common/service/service.h"

#include "common/base/clock.h"
#include "common/base/cores.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/base/uuid.h"
#include "common/service/dispatch.h"
#include "common/service/erase.h"
#include "common/service/figures.h"
#include "common/service/lane.h"
#include "common/service/operate.h"
#include "common/service/wiring.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RETRY_FIRST_MS   100
#define RETRY_MAX_MS     5000
#define OUTBOX_LATE_MS   10000
#define THREADS_PER_CORE 2
#define ROOT_KEY_MS      30000

struct probe { /* one bus peer, as a health check sees it */
	struct service *sv;
	enum bus_peer peer;
};

struct service {
	const struct service_def *def;
	struct service_env env;
	char instance[UUID_MAX];

	struct db_pool *pool;
	struct event_store *events;
	struct idem *idem;
	struct erased *erased; /* these two: NULL where def->erase is */
	struct erase *erase;
	struct root_key *root_key;  /* NULL where def->root_probe is */
	struct root_keys root_keys; /* while def->start() runs */
	struct bus_caller *caller;
	struct bus_server *server;
	struct lane_pool *lanes[LANE_COUNT];
	struct dispatch *dispatch;
	struct probe probes[PEER_COUNT];

	pthread_t starter;
	bool starter_runs, drained;
	/* The starter's own, others look after it was joined or is ready. */
	bool migrated;
	void *state;

	atomic_bool ready, failed;
	_Atomic(struct cached *) cached;
	pthread_mutex_t lock; /* of the four below */
	pthread_cond_t stop_asked;
	bool stopping;
	bool shown; /* the state can be looked at, from any thread */
	struct event_relay *relay;
	struct retention *retention;
};

/* --- what the state may use ----------------------------------------------- */

const struct settings *service_conf(const struct service *sv)
{
	return sv->env.conf;
}

struct db_pool *service_pool(struct service *sv)
{
	return sv->pool;
}

struct bus_caller *service_caller(struct service *sv)
{
	return sv->caller;
}

struct event_store *service_events(struct service *sv)
{
	return sv->events;
}

struct idem *service_idem(struct service *sv)
{
	return sv->idem;
}

struct erase *service_erase(struct service *sv)
{
	return sv->erase;
}

const struct root_keys *service_root_keys(const struct service *sv)
{
	return &sv->root_keys;
}

struct root_key *service_root_key(struct service *sv)
{
	return sv->root_key;
}

struct metrics *service_metrics(struct service *sv)
{
	return sv->env.metrics;
}

const char *service_instance(const struct service *sv)
{
	return sv->instance;
}

void service_kick(struct service *sv)
{
	GUARD(&sv->lock);

	if (sv->relay)
		event_kick(sv->relay);
}

void service_push(struct service *sv, struct str bytes)
{
	bus_server_push(sv->server, bytes);
}

struct cache *service_cache(struct service *sv)
{
	struct cached *c = atomic_load(&sv->cached);

	if (c)
		return cached_cache(c);
	c = cached_new(sv->env.conf, sv->def->name);
	if (!c)
		return NULL;
	atomic_store(&sv->cached, c);
	if (sv->env.health && cached_is_shared(c) &&
	    !health_check(sv->env.health, sv->def->name, "redis", false,
	                  cached_check, c))
		return NULL; /* freed with the service */
	return cached_cache(c);
}

enum err service_rekey(struct service *sv, const struct bus_keys *keys)
{
	enum err e = bus_server_rekey(sv->server, keys);

	if (!e)
		bus_caller_rekey(sv->caller, keys);
	return e;
}

bool service_ready(const struct service *sv)
{
	return atomic_load(&sv->ready);
}

bool service_failed(const struct service *sv)
{
	return atomic_load(&sv->failed);
}

/* --- requests ---------------------------------------------------------------- */

static void on_item(void *arg, struct bus_item *it)
{
	struct service *sv = arg;

	dispatch_item(sv->dispatch,
	              &(struct dispatch_item){.item = it,
	                                      .bytes = bus_item_bytes(it),
	                                      .deadline_ms =
	                                              bus_item_deadline_ms(it),
	                                      .peer = bus_item_peer(it)});
}

bool service_at_once(void *service, struct str entry, uint64_t deadline_ms,
                     struct buf *out)
{
	const struct service *sv = service;

	return dispatch_at_once(sv->dispatch,
	                        &(struct dispatch_item){.bytes = entry,
	                                                .deadline_ms =
	                                                        deadline_ms,
	                                                .peer = PEER_GATEWAY},
	                        out);
}

static void item_end(void *item, struct str bytes)
{
	bus_item_end(item, bytes);
}

static void item_refuse(void *item, enum err e)
{
	bus_item_refuse(item, e);
}

static enum err item_part(void *item, struct str bytes)
{
	return bus_item_part(item, bytes);
}

static bool item_cancelled(void *item)
{
	return bus_item_cancelled(item);
}

static enum err apply_events(void *arg, struct ctx *cx, struct str body,
                             struct buf *reply)
{
	struct service *sv = arg;

	return event_apply(sv->events, sv->pool, cx, body, sv->def->apply,
	                   sv->state, reply);
}

static enum err tell_health(void *arg, struct ctx *cx, struct str body,
                            struct buf *reply)
{
	struct service *sv = arg;

	(void)cx;
	(void)body;
	health_pack(sv->env.health, sv->def->name, (int64_t)mono_ms(), reply);
	return OK;
}

static void give_figures(void *arg, struct service_figures *out);

static enum err tell_stats(void *arg, struct ctx *cx, struct str body,
                           struct buf *reply)
{
	struct service_figures all = {0};

	(void)cx;
	(void)body;
	give_figures(arg, &all);
	figures_pack(&all, reply);
	return OK;
}

static void reset_models(void *arg)
{
	struct service *sv = arg;
	GUARD(&sv->lock);

	if (sv->shown && sv->def->llm_reset)
		sv->def->llm_reset(sv->state);
}

static enum err control(void *arg, struct ctx *cx, struct str body,
                        struct buf *reply)
{
	struct service *sv = arg;
	const struct operated on = {.cached = atomic_load(&sv->cached),
	                            .llm_reset = reset_models,
	                            .arg = sv};

	return operate(&on, cx, body, reply);
}

static struct cache *cache_of(struct service *sv)
{
	struct cached *c = atomic_load(&sv->cached);

	return c ? cached_cache(c) : NULL;
}

static enum err erase_one(void *arg, struct ctx *cx, struct str body,
                          struct buf *reply)
{
	struct service *sv = arg;

	return erase_method(sv->erase, cx, sv->state, cache_of(sv), body,
	                    reply);
}

static enum err scan_for(void *arg, struct ctx *cx, struct str body,
                         struct buf *reply)
{
	struct service *sv = arg;

	return erase_scan_method(sv->erase, cx, cache_of(sv), body, reply);
}

/* --- health and figures --------------------------------------------------------- */

static enum health_state check_database(void *arg, char *detail, size_t max)
{
	struct service *sv = arg;
	struct db_pool_stats st;

	db_pool_stats(sv->pool, &st);
	(void)snprintf(detail, max, "%s, %u of %u connections in use",
	               st.kind == DB_SQLITE ? "SQLite" : "PostgreSQL",
	               st.in_use, st.size);
	if (st.usable)
		return HEALTH_UP;
	if (st.unusable_since_ms)
		(void)snprintf(detail, max, "unusable for %lld s",
		               (long long)(wall_ms() - st.unusable_since_ms) /
		                       1000);
	return HEALTH_DOWN;
}

static enum health_state check_peer(void *arg, char *detail, size_t max)
{
	const struct probe *p = arg;
	unsigned up = bus_caller_up(p->sv->caller, p->peer);

	(void)snprintf(detail, max, "%u replicas", up);
	return up ? HEALTH_UP : HEALTH_DOWN;
}

static void relay_stats(struct service *sv, struct event_stats *out)
{
	GUARD(&sv->lock);

	if (sv->relay)
		event_relay_stats(sv->relay, out);
}

static enum health_state check_outbox(void *arg, char *detail, size_t max)
{
	struct event_stats st = {0};

	relay_stats(arg, &st);
	(void)snprintf(detail, max, "%llu events wait, the oldest for %lld s",
	               (unsigned long long)st.backlog,
	               (long long)st.oldest_age_ms / 1000);
	return st.oldest_age_ms > OUTBOX_LATE_MS ? HEALTH_DEGRADED : HEALTH_UP;
}

static void state_figures(struct service *sv, struct service_figures *out)
{
	GUARD(&sv->lock);

	if (sv->shown && sv->def->figures)
		sv->def->figures(sv->state, out);
}

static void give_figures(void *arg, struct service_figures *out)
{
	struct service *sv = arg;
	struct cached *cached = atomic_load(&sv->cached);

	db_pool_stats(sv->pool, &out->pool);
	lane_stats(sv->lanes[LANE_DB], &out->db_lane);
	lane_stats(sv->lanes[LANE_SLOW], &out->slow_lane);
	bus_server_stats(sv->server, &out->bus);
	relay_stats(sv, &out->events);
	idem_stats(sv->idem, &out->idem);
	retention_stats(sv->retention, &out->retention);
	if (sv->erased)
		erased_stats(sv->erased, &out->erased);
	if (cached)
		cached_figures(cached, &out->cache);
	state_figures(sv, out);
}

static enum err show(struct service *sv)
{
	struct health *h = sv->env.health;
	const char *name = sv->def->name;
	bool ok = !sv->env.figures ||
	          figures_add(sv->env.figures, name, give_figures, sv);

	if (!h)
		return ok ? OK : ERR_NOMEM;
	ok = ok &&
	     health_check(h, name, "database", true, check_database, sv) &&
	     health_check(h, name, "outbox", false, check_outbox, sv);

	if (sv->root_key)
		ok = ok && health_check(h, name, "key_encryption_key", false,
		                        root_key_check, sv->root_key);
	for (enum bus_peer p = 0; ok && p < PEER_COUNT; p++) {
		sv->probes[p] = (struct probe){sv, p};
		if (sv->env.urls[p] && bus_edge_allowed(sv->def->self, p))
			ok = health_check(h, name, bus_peer_name(p), false,
			                  check_peer, &sv->probes[p]);
	}
	return ok ? OK : ERR_NOMEM;
}

/* --- start --------------------------------------------------------------------------- */

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

/* Not under our lock: health asks its checks, which take ours, under its own. */
static void set_phase(struct service *sv, enum health_phase p)
{
	if (sv->env.health)
		health_phase(sv->env.health, sv->def->name, p);
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
		set_phase(sv, PHASE_READY);
		bus_server_serves(sv->server);
		tell_serving(sv);
		changed(sv);
	}
	return NULL;
}

static enum err make_pool(struct service *sv)
{
	AUTO_BUF url = {0};
	struct db_conf c;

	if (!wiring_db_url(sv->env.conf, sv->def->self, &url))
		return ERR_NOMEM;
	wiring_db_conf(sv->env.conf, sv->def->self, buf_view(&url), &c);
	return db_pool_new(&c, &sv->pool);
}

static enum err make_caller(struct service *sv)
{
	const struct bus_client_conf conf = {
		.self = sv->def->self,
		.keys = sv->env.keys,
		.in_flight_max = (unsigned)sv->env.conf->bus_in_flight,
		.suspect_ms = (unsigned)sv->env.conf->bus_suspect_ms};
	enum err e = OK;

	sv->caller = bus_caller_new(&conf);
	if (!sv->caller)
		return ERR_NOMEM;
	for (enum bus_peer p = 0; !e && p < PEER_COUNT; p++)
		if (sv->env.urls[p] && bus_edge_allowed(sv->def->self, p))
			e = bus_caller_add(sv->caller, p,
			                   str_from(sv->env.urls[p]));
	return e;
}

static enum err make_lane(struct service *sv, enum lane lane, const char *kind,
                          unsigned threads)
{
	char name[16];
	struct lane_conf c = {
		.name = name,
		.threads = threads,
		.queue_max = (unsigned)sv->env.conf->lane_queue,
	};

	(void)snprintf(name, sizeof(name), "%.7s-%.4s", sv->def->name, kind);
	if (lane == LANE_SLOW && sv->def->slow_lane)
		sv->def->slow_lane(sv->env.conf, &c);
	sv->lanes[lane] = lane_new(&c);
	return sv->lanes[lane] ? OK : ERR_NOMEM;
}

static unsigned db_threads(const struct settings *conf)
{
	return conf->db_threads ? (unsigned)conf->db_threads
	                        : THREADS_PER_CORE * cores_usable();
}

static enum err make_lanes(struct service *sv)
{
	unsigned slow = sv->def->slow_threads ? sv->def->slow_threads : 1;
	enum err e = make_lane(sv, LANE_DB, "db", db_threads(sv->env.conf));

	return e ? e : make_lane(sv, LANE_SLOW, "slow", slow);
}

static enum err make_dispatch(struct service *sv)
{
	sv->dispatch = dispatch_new(&(struct dispatch_conf){
		.service = sv->def->name,
		.self = sv->def->self,
		.methods = sv->def->methods,
		.methods_n = sv->def->methods_n,
		.lanes = {[LANE_DB] = sv->lanes[LANE_DB],
	                  [LANE_SLOW] = sv->lanes[LANE_SLOW]},
		.figures = sv->env.figures,
		.idem = sv->idem,
		.erased = sv->erased,
		.events = sv->def->events,
		.builtin = {[BUILTIN_EVENTS] =
	                            sv->def->apply ? apply_events : NULL,
	                    [BUILTIN_HEALTH] =
	                            sv->env.health ? tell_health : NULL,
	                    [BUILTIN_STATS] = tell_stats,
	                    [BUILTIN_CONTROL] = control,
	                    [BUILTIN_ERASE] = sv->erase ? erase_one : NULL,
	                    [BUILTIN_SCAN] = sv->erase ? scan_for : NULL},
		.builtin_arg = sv,
		.end = item_end,
		.refuse = item_refuse,
		.cancelled = item_cancelled,
		.part = item_part});
	return sv->dispatch ? OK : ERR_NOMEM;
}

static enum err make_server(struct service *sv)
{
	const struct bus_server_conf conf = {.self = sv->def->self,
	                                     .keys = sv->env.keys,
	                                     .on_item = on_item,
	                                     .arg = sv};

	sv->server = bus_server_new(&conf);
	if (!sv->server)
		return ERR_NOMEM;
	return bus_server_listen(sv->server, str_from(sv->env.listen));
}

static enum err make_erased(struct service *sv)
{
	if (!sv->def->erase)
		return OK;
	sv->erased = erased_new(sv->def->name);
	return sv->erased ? OK : ERR_NOMEM;
}

static enum err make_root_key(struct service *sv)
{
	if (!sv->def->root_probe)
		return OK;
	sv->root_key = root_key_new(sv->def->name);
	return sv->root_key ? OK : ERR_NOMEM;
}

static enum err make_events(struct service *sv)
{
	sv->events = event_store_new(sv->def->name);
	if (!sv->events)
		return ERR_NOMEM;
	event_store_erased(sv->events, sv->erased);
	return OK;
}

static enum err make_idem(struct service *sv)
{
	sv->idem = idem_new(&(struct idem_conf){
		.service = sv->def->name,
		.pool = sv->pool,
		.retention_ms = sv->env.conf->idempotency_retention_s * 1000,
		.erased = sv->erased});
	return sv->idem ? OK : ERR_NOMEM;
}

static enum err make_retention(struct service *sv)
{
	struct retention_conf conf = {.service = sv->def->name,
	                              .pool = sv->pool,
	                              .rules = sv->def->retention,
	                              .n = sv->def->retention_n};

	retention_settings(sv->env.conf, &conf);
	sv->retention = retention_new(&conf);
	return sv->retention ? OK : ERR_NOMEM;
}

static enum err make_erase(struct service *sv)
{
	if (!sv->def->erase)
		return OK;
	sv->erase = erase_new(&(struct erase_conf){.def = sv->def->erase,
	                                           .service = sv->def->name,
	                                           .settings = sv->env.conf,
	                                           .pool = sv->pool,
	                                           .events = sv->events,
	                                           .idem = sv->idem,
	                                           .erased = sv->erased});
	return sv->erase ? OK : ERR_NOMEM;
}

static enum err make_starter(struct service *sv)
{
	char name[16];

	if (pthread_create(&sv->starter, NULL, starter, sv) != 0)
		return ERR_NOMEM;
	sv->starter_runs = true;
	(void)snprintf(name, sizeof(name), "%.9s-start", sv->def->name);
	(void)pthread_setname_np(sv->starter, name);
	return OK;
}

static struct service *service_new(const struct service_def *def,
                                   const struct service_env *env)
{
	struct service *sv = calloc(1, sizeof(*sv));
	pthread_condattr_t attr;

	if (!sv)
		return NULL;
	sv->def = def;
	sv->env = *env;
	(void)uuid7(sv->instance);
	pthread_mutex_init(&sv->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sv->stop_asked, &attr);
	pthread_condattr_destroy(&attr);
	return sv;
}

enum err service_start(const struct service_def *def,
                       const struct service_env *env, struct service **out)
{
	static enum err (*const steps[])(struct service *) = {
		make_pool,    make_erased,   make_root_key,  make_events,
		make_idem,    make_erase,    make_retention, make_caller,
		make_lanes,   make_dispatch, make_server,    show,
		make_starter,
	};
	struct service *sv = service_new(def, env);
	enum err e = sv ? OK : ERR_NOMEM;

	if (sv)
		set_phase(sv, PHASE_STARTING);
	for (size_t i = 0; !e && i < COUNTOF(steps); i++)
		e = steps[i](sv);
	if (e) {
		service_stop(sv, 0);
		return e;
	}
	*out = sv;
	return OK;
}

/* --- stop --------------------------------------------------------------------------- */

static void ask_stop(struct service *sv)
{
	GUARD(&sv->lock);

	sv->stopping = true;
	atomic_store(&sv->ready, false);
	pthread_cond_broadcast(&sv->stop_asked);
}

static struct event_relay *take_relay(struct service *sv)
{
	GUARD(&sv->lock);

	return STEAL(sv->relay);
}

void service_drain(struct service *sv, uint64_t grace_ms)
{
	const uint64_t until_ms = mono_ms() + grace_ms;

	if (!sv || sv->drained)
		return;
	sv->drained = true;
	ask_stop(sv);
	set_phase(sv, PHASE_DRAINING);
	if (sv->server)
		bus_server_drain(sv->server);
	if (sv->starter_runs)
		pthread_join(sv->starter, NULL);
	/* Again, in case it became ready just then. */
	set_phase(sv, PHASE_DRAINING);
	if (sv->dispatch) {
		dispatch_close(sv->dispatch);
		if (!dispatch_idle(sv->dispatch, until_ms))
			log_warn(&(struct ctx){.service = sv->def->name},
			         "service.grace_over",
			         LOG_U64("in_work",
			                 bus_server_in_work(sv->server)));
	}
	for (size_t i = 0; i < LANE_COUNT; i++)
		if (sv->lanes[i])
			lane_stop(sv->lanes[i]);
	if (sv->state && sv->def->drain)
		sv->def->drain(sv->state);
	event_relay_free(take_relay(sv));
}

/* Nobody looks at the state any more when this returns. */
static void hide_state(struct service *sv)
{
	GUARD(&sv->lock);

	sv->shown = false;
}

void service_stop(struct service *sv, uint64_t grace_ms)
{
	if (!sv)
		return;
	service_drain(sv, grace_ms);
	if (sv->env.health)
		health_forget(sv->env.health, sv->def->name);
	if (sv->env.figures)
		figures_remove(sv->env.figures, sv);
	cached_free(atomic_load(&sv->cached));
	/* Its threads may still push and call. */
	hide_state(sv);
	if (sv->state && sv->def->stop)
		sv->def->stop(sv->state);
	bus_server_free(sv->server);
	bus_caller_free(sv->caller);
	dispatch_free(sv->dispatch);
	for (size_t i = 0; i < LANE_COUNT; i++)
		lane_free(sv->lanes[i]);
	retention_free(sv->retention);
	erase_free(sv->erase);
	idem_free(sv->idem);
	event_store_free(sv->events);
	erased_free(sv->erased);
	root_key_free(sv->root_key);
	db_pool_free(sv->pool);
	pthread_cond_destroy(&sv->stop_asked);
	pthread_mutex_destroy(&sv->lock);
	free(sv);
}
