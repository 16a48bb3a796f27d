#include "gateway/gateway.h"

#include "common/base/clock.h"
#include "common/base/cores.h"
#include "common/base/log.h"
#include "common/cache/redis_wire.h"
#include "gateway/inside.h"
#include "gateway/recent.h"
#include "gateway/secure.h"
#include "gateway/status.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Services in other processes want cores, too; those in this one are mostly
 * asked on the loops themselves. */
static size_t loops_wanted(const struct gateway_env *env)
{
	size_t cores = cores_usable(), n = env->conf->gateway_threads;

	if (n == 0)
		n = env->near[PEER_AUTH].ask ? cores : (cores + 1) / 2;
	return n < LOOPS_MAX ? n : LOOPS_MAX;
}

static struct front *open_front(const struct settings *conf,
                                char why[FRONT_WHY_MAX])
{
	return front_new(conf->static_dir, (size_t)conf->static_max_mb << 20,
	                 why);
}

/* Reads all of it, since any file of it may be one that cannot be read. */
static bool check_front(const struct settings *conf, FILE *complaints)
{
	char why[FRONT_WHY_MAX];
	AUTO(front) f = NULL;

	if (conf->static_dir.n == 0)
		return true;
	f = open_front(conf, why);
	if (!f)
		(void)fprintf(complaints, "%s\n", why);
	return f != NULL;
}

static bool delay_fits(const struct settings *conf)
{
	return conf->drain_delay_s == 0 || conf->drain_delay_s < conf->grace_s;
}

bool gateway_check(const struct settings *conf, FILE *complaints)
{
	char live_why[LIVE_WHY_MAX];
	AUTO(live) l = live_new(conf, NULL, live_why);
	AUTO(proxies) p = NULL;
	struct redis_url url = {.port = ""};
	const char *why = NULL, *wrong = NULL;
	bool ok = secure_check(conf, complaints);

	if (!l)
		(void)fprintf(complaints, "%s\n", live_why);
	p = proxies_new(conf->trusted_proxies, &why);
	if (!p)
		(void)fprintf(complaints, "%s\n", why);
	if (conf->redis_url.n)
		wrong = redis_url_parse(conf->redis_url, &url);
	explicit_bzero(&url, sizeof(url));
	if (wrong)
		(void)fprintf(complaints, "REDIS_URL: %s\n", wrong);
	if (!delay_fits(conf))
		(void)fprintf(complaints, "DRAIN_DELAY_S: must be less than "
		                          "SHUTDOWN_GRACE_S\n");
	return check_front(conf, complaints) && ok && l && p && !wrong &&
	       delay_fits(conf);
}

const char *gateway_check_certificate(const struct settings *conf)
{
	char why[LIVE_WHY_MAX];
	AUTO(live) l = live_new(conf, NULL, why);

	if (!l)
		return "cannot be read";
	return l->tls ? tls_why_not_now(l->tls, wall_ms() / 1000) : NULL;
}

static void tell_front(struct front *f)
{
	const struct front_set *s = front_get(f);

	log_info(NULL, "front.loaded", LOG_U64("files", front_files(s)),
	         LOG_U64("bytes", front_bytes(s)));
	front_put(s);
}

static enum err start_front(struct site *st)
{
	struct route_match m;
	char why[FRONT_WHY_MAX];

	if (st->conf->static_dir.n == 0)
		return OK;
	if (!route_find(st->tree, STR("/static/x"), &m))
		return ERR_INTERNAL;
	st->front_route = route_for(&m, VERB_GET);
	st->front = open_front(st->conf, why);
	if (!st->front) {
		log_error(NULL, "gateway.bad_setting", LOG_TEXT("reason", why));
		return ERR_INVALID;
	}
	tell_front(st->front);
	return OK;
}

static void reload_front(struct front *f)
{
	char why[FRONT_WHY_MAX];

	if (front_reload(f, why))
		tell_front(f);
	else
		log_error(NULL, "front.not_reloaded", LOG_TEXT("reason", why));
}

static enum err fill_site(struct gateway *g, const struct gateway_env *env)
{
	const struct settings *conf = env->conf;
	struct site *st = &g->site;
	char live_why[LIVE_WHY_MAX];
	AUTO(live) l = live_new(conf, env->keys, live_why);
	const char *why = live_why;

	st->conf = conf;
	/* wiring_rules() has read both. */
	(void)sampler_parse(conf->traces_sampler, conf->traces_sampler_arg,
	                    &st->sampler);
	st->started_ms = wall_ms();
	st->started_mono_ms = mono_ms();
	if (conf->instance_id.n)
		(void)snprintf(st->instance, sizeof(st->instance), "%.*s",
		               STR_FMT(conf->instance_id));
	else if (gethostname(st->instance, sizeof(st->instance) - 1) != 0)
		st->instance[0] = '\0';
	st->proxies = l ? proxies_new(conf->trusted_proxies, &why) : NULL;
	if (!st->proxies) {
		log_error(NULL, "gateway.bad_setting", LOG_TEXT("reason", why));
		return ERR_INVALID;
	}
	live_tell(l);
	live_put_up(&st->board, &l);
	if (!conf->cors_enabled)
		log_warn(NULL, "gateway.cors_off");
	if (!conf->rate_limit_enabled)
		log_warn(NULL, "gateway.rate_limits_off");
	st->limits = limits_new(conf);
	(void)pthread_mutex_init(&st->events.lock, NULL);
	st->crowd = crowd_new((unsigned)conf->connections_per_ip);
	st->tree = route_tree_new(routes, routes_n);
	st->meter = meter_new(env->metrics, env_name(conf->env));
	st->recent = recent_new();
	return st->crowd && st->limits && st->tree && st->meter && st->recent
	               ? start_front(st)
	               : ERR_NOMEM;
}

static void free_all(struct gateway *g)
{
	shown_remove(g);
	/* Its thread puts answers into the loops. */
	limits_free(g->site.limits);
	redis_wire_free(g->site.redis);
	status_free(g->site.status); /* before its bus */
	for (size_t i = 0; i < g->loops_n; i++)
		loop_fini(&g->loops[i]);
	live_board_fini(&g->site.board);
	proxies_free(g->site.proxies);
	crowd_free(g->site.crowd);
	(void)pthread_mutex_destroy(&g->site.events.lock);
	route_tree_free(g->site.tree);
	front_free(g->site.front);
	meter_free(g->site.meter);
	recent_free(g->site.recent);
	monitor_free(g->site.monitor);
	free(g);
}

/* Limits that all gateways count together (limit.h). */
static enum err share_limits(struct gateway *g)
{
	const struct settings *conf = g->site.conf;
	struct redis_url url;
	const char *wrong;
	struct limit_shared_conf shared = {
		.connect_ms = conf->redis_connect_timeout_s * 1000,
		.silence_ms = conf->redis_timeout_s * 1000,
		.answered = limit_wait_answered,
	};

	if (conf->redis_url.n == 0 || !conf->rate_limit_enabled)
		return OK;
	wrong = redis_url_parse(conf->redis_url, &url);
	if (wrong) {
		log_error(NULL, "gateway.bad_setting",
		          LOG_TEXT("reason", wrong));
		return ERR_INVALID;
	}
	g->site.redis = redis_wire_new(&url, STR("kae-limits"));
	explicit_bzero(&url, sizeof(url));
	if (!g->site.redis)
		return ERR_NOMEM;
	shared.wire = redis_wire_of(g->site.redis);
	return limits_share(g->site.limits, &shared) ? OK : ERR_NOMEM;
}

static enum err call_bus(void *bus, const struct bus_call *call, uint64_t *id)
{
	return bus_client_call(bus, call, id);
}

static void wake_loop(void *arg)
{
	loop_wake(arg);
}

static enum err add_monitor(struct gateway *g)
{
	struct loop *lo = &g->loops[0];
	const struct monitor_conf conf = {
		.call = call_bus, .bus = lo->bus, .wake = wake_loop, .arg = lo};

	g->site.monitor = lo->monitor = monitor_new(&conf);
	g->site.status = status_new(g, lo->bus);
	return lo->monitor && g->site.status ? OK : ERR_NOMEM;
}

static enum err start_loops(struct gateway *g, const struct gateway_env *env,
                            int *fds, size_t n)
{
	unsigned conns = (unsigned)(env->conf->connections_max / n);
	enum err e = OK;

	/* All are there before one runs, so that what other threads see of
	 * loops_n never changes. */
	for (size_t i = 0; i < n && !e; i++) {
		int fd = fds[i];

		fds[i] = -1;
		g->loops_n = i + 1;
		e = loop_init(&g->loops[i], &g->site, env, fd,
		              conns ? conns : 1);
	}
	if (!e)
		e = add_monitor(g);
	if (!e)
		e = share_limits(g);
	if (!e && !shown_add(g))
		e = ERR_NOMEM;
	for (size_t i = 0; i < n && !e; i++)
		e = loop_run(&g->loops[i]);
	return e;
}

enum err gateway_start(const struct gateway_env *env, struct gateway **out)
{
	size_t n = loops_wanted(env);
	struct gateway *g = calloc(1, sizeof(*g) + n * sizeof(g->loops[0]));
	int fds[LOOPS_MAX];
	enum err e;

	if (!g)
		return ERR_NOMEM;
	assert(n > 0);
	for (size_t i = 0; i < LOOPS_MAX; i++)
		fds[i] = -1;
	g->metrics = env->metrics;
	live_board_init(&g->site.board);
	g->site.health = env->health;
	g->site.loops_n = (unsigned)n;
	if (env->health)
		health_phase(env->health, "gateway", PHASE_STARTING);
	e = fill_site(g, env);
	if (!e) {
		e = listen_open(env->conf, fds, n, &g->port);
		if (e)
			log_error(NULL, "gateway.cannot_listen",
			          LOG_STR("bind", env->conf->bind),
			          LOG_U64("port", env->conf->port),
			          LOG_TEXT("reason",
			                   e == ERR_EXISTS
			                           ? "the address is taken"
			                           : "not an address of "
			                             "this machine"));
	}
	if (!e)
		e = start_loops(g, env, fds, n);
	listen_close(fds, n);
	if (e) {
		gateway_stop(g, 0);
		return e;
	}
	*out = g;
	return OK;
}

bool gateway_ready(const struct gateway *g)
{
	for (size_t i = 0; i < g->loops_n; i++)
		if (!atomic_load_explicit(&g->loops[i].ready,
		                          memory_order_relaxed))
			return false;
	return !atomic_load(&g->site.draining);
}

unsigned gateway_port(const struct gateway *g)
{
	return g->port;
}

bool gateway_reload(struct gateway *g, const struct settings *conf,
                    const struct bus_keys *keys)
{
	if (g->site.front)
		reload_front(g->site.front);
	if (!live_reload(&g->site.board, conf, keys))
		return false;
	for (size_t i = 0; i < g->loops_n; i++)
		loop_wake(&g->loops[i]);
	return true;
}

const char *gateway_scheme(const struct settings *conf)
{
	return conf->ssl_certfile.n ? "https" : "http";
}

void gateway_drain(struct gateway *g, uint64_t delay_ms, uint64_t grace_ms)
{
	uint64_t now_ms = mono_ms();

	if (atomic_load(&g->site.draining))
		return;
	if (g->site.health)
		health_phase(g->site.health, "gateway", PHASE_DRAINING);
	g->site.relieved = delay_ms > 0;
	g->site.open_until_ms = now_ms + delay_ms;
	g->site.stop_by_ms = now_ms + grace_ms;
	atomic_store_explicit(&g->site.draining, true, memory_order_release);
	for (size_t i = 0; i < g->loops_n; i++)
		loop_wake(&g->loops[i]);
	for (size_t i = 0; i < g->loops_n; i++)
		loop_stop(&g->loops[i]);
}

void gateway_stop(struct gateway *g, uint64_t grace_ms)
{
	if (!g)
		return;
	gateway_drain(g, 0, grace_ms);
	free_all(g);
}
