#include "gateway/gateway.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "gateway/loop.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG   2048
#define LOOPS_MAX 64

struct gateway {
	struct site site;
	struct metrics *metrics; /* or NULL */
	unsigned port;
	size_t loops_n; /* whose fields are set */
	struct loop loops[];
};

/* --- listening ------------------------------------------------------------------ */

static void close_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
}

/*
 * The first socket is bound alone, so that a port that somebody else has is
 * found out even if they would share it; then it is opened for our others.
 */
static enum err open_one(const struct addrinfo *ai, bool shared, bool several,
                         int *out)
{
	const int on = 1;
	int fd = socket(ai->ai_family,
	                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return ERR_INTERNAL;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    (shared &&
	     setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 ||
	    (several &&
	     setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
	    listen(fd, BACKLOG) != 0) {
		int why = errno;

		(void)close(fd);
		return why == EADDRINUSE ? ERR_EXISTS : ERR_INVALID;
	}
	*out = fd;
	return OK;
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage ss = {0};
	socklen_t n = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &n) != 0)
		return 0;
	return ntohs(ss.ss_family == AF_INET6
	                     ? ((struct sockaddr_in6 *)&ss)->sin6_port
	                     : ((struct sockaddr_in *)&ss)->sin_port);
}

static void set_port(struct addrinfo *ai, unsigned port)
{
	if (ai->ai_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)ai->ai_addr)->sin6_port =
			htons((uint16_t)port);
	else
		((struct sockaddr_in *)(void *)ai->ai_addr)->sin_port =
			htons((uint16_t)port);
}

static enum err open_all(const struct settings *conf, int *fds, size_t n,
                         unsigned *port)
{
	const struct addrinfo want = {
		.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *ai = NULL;
	char host[65];
	enum err e = OK;

	(void)snprintf(host, sizeof(host), "%.*s", STR_FMT(conf->bind));
	if (getaddrinfo(host, NULL, &want, &ai) != 0 || !ai)
		return ERR_INVALID;
	set_port(ai, (unsigned)conf->port);
	for (size_t i = 0; i < n && !e; i++) {
		e = open_one(ai, i > 0, n > 1, &fds[i]);
		if (!e && i == 0) {
			*port = port_of(fds[0]);
			set_port(ai, *port);
		}
	}
	freeaddrinfo(ai);
	return e;
}

/* --- health and figures ------------------------------------------------------------ */

static enum health_state service_state(struct gateway *g, enum bus_peer peer,
                                       char *detail, size_t detail_max)
{
	unsigned up = 0;

	for (size_t i = 0; i < g->loops_n; i++)
		up += bus_client_up(g->loops[i].bus, peer);
	(void)snprintf(detail, detail_max, "%u connection%s up", up,
	               up == 1 ? "" : "s");
	return up ? HEALTH_UP : HEALTH_DEGRADED;
}

/* Without one service the others are still worth being asked for, so none is
 * critical; identity is, because without it nearly everything is refused. */
#define SERVICE_CHECK(name, peer)                                      \
	static enum health_state check_##name(void *arg, char *detail, \
	                                      size_t detail_max)       \
	{                                                              \
		return service_state(arg, peer, detail, detail_max);   \
	}
SERVICE_CHECK(auth, PEER_AUTH)
SERVICE_CHECK(content, PEER_CONTENT)
SERVICE_CHECK(gdpr, PEER_GDPR)

static enum health_state check_identity(void *arg, char *detail,
                                        size_t detail_max)
{
	bool ready = gateway_ready(arg);

	(void)snprintf(detail, detail_max, "%s",
	               ready ? "keys and revocations are loaded"
	                     : "waits for svc-auth");
	return ready ? HEALTH_UP : HEALTH_DOWN;
}

static bool add_checks(struct gateway *g, struct health *h)
{
	return health_check(h, "gateway", "identity", true, check_identity,
	                    g) &&
	       health_check(h, "gateway", "auth", false, check_auth, g) &&
	       health_check(h, "gateway", "content", false, check_content, g) &&
	       health_check(h, "gateway", "gdpr", false, check_gdpr, g);
}

struct figure {
	enum metric_kind kind;
	const char *name, *help;
	double (*of)(const struct bus_replica *r);
};

static double figure_up(const struct bus_replica *r)
{
	return r->state == BUS_UP;
}

static double figure_in_flight(const struct bus_replica *r)
{
	return r->in_flight;
}

static double figure_sent(const struct bus_replica *r)
{
	return (double)r->sent;
}

static double figure_replied(const struct bus_replica *r)
{
	return (double)r->replied;
}

static double figure_failed(const struct bus_replica *r)
{
	return (double)r->failed;
}

static double figure_moved(const struct bus_replica *r)
{
	return (double)r->moved;
}

static double figure_late(const struct bus_replica *r)
{
	return (double)r->late;
}

static double figure_latency(const struct bus_replica *r)
{
	return r->latency_ms / 1000;
}

static const struct figure figures[] = {
	{METRIC_GAUGE, "kae_bus_replica_up", "1 while the replica answers.",
         figure_up},
	{METRIC_GAUGE, "kae_bus_in_flight", "Requests without a reply yet.",
         figure_in_flight},
	{METRIC_COUNTER, "kae_bus_requests_total", "Requests sent.",
         figure_sent},
	{METRIC_COUNTER, "kae_bus_replies_total", "Replies received.",
         figure_replied},
	{METRIC_COUNTER, "kae_bus_failures_total",
         "Requests that ended without a reply.", figure_failed},
	{METRIC_COUNTER, "kae_bus_moved_total",
         "Requests sent again to another replica.", figure_moved},
	{METRIC_COUNTER, "kae_bus_late_total",
         "Replies that came after their deadline.", figure_late},
	{METRIC_GAUGE, "kae_bus_latency_seconds",
         "Running average of the time to a reply.", figure_latency},
};

static void collect_bus(struct gateway *g, struct buf *out)
{
	for (size_t f = 0; f < COUNTOF(figures); f++) {
		metrics_head(out, figures[f].kind, figures[f].name,
		             figures[f].help);
		for (size_t i = 0; i < g->loops_n; i++) {
			struct loop *lo = &g->loops[i];
			GUARD(&lo->shown_lock);

			for (size_t r = 0; r < lo->shown_n; r++) {
				const struct bus_replica *rp = &lo->shown[r];
				char labels[220];

				(void)snprintf(labels, sizeof(labels),
				               "loop=\"%zu\",service=\"%s\","
				               "replica=\"%s\"",
				               i, bus_peer_name(rp->peer),
				               rp->url);
				metrics_line(out, figures[f].name, labels,
				             figures[f].of(rp));
			}
		}
	}
}

static void collect_loops(struct gateway *g, struct buf *out)
{
	struct identity_stats all = {0};
	unsigned conns = 0;

	for (size_t i = 0; i < g->loops_n; i++) {
		struct loop *lo = &g->loops[i];
		GUARD(&lo->shown_lock);

		conns += lo->shown_conns;
		all.hits += lo->shown_identity.hits;
		all.misses += lo->shown_identity.misses;
		all.refused += lo->shown_identity.refused;
		all.key_fetches += lo->shown_identity.key_fetches;
		all.entries += lo->shown_identity.entries;
		all.revocations += lo->shown_identity.revocations;
		if (lo->shown_identity.age_ms > all.age_ms)
			all.age_ms = lo->shown_identity.age_ms;
	}
#define ONE(kind, name, help, v)                      \
	metrics_head(out, METRIC_##kind, name, help); \
	metrics_line(out, name, "", (double)(v))
	ONE(GAUGE, "kae_http_connections", "Open client connections.", conns);
	ONE(COUNTER, "kae_identity_hits_total",
	    "Credentials found in the cache.", all.hits);
	ONE(COUNTER, "kae_identity_misses_total",
	    "Credentials that had to be verified.", all.misses);
	ONE(COUNTER, "kae_identity_refused_total", "Credentials refused.",
	    all.refused);
	ONE(COUNTER, "kae_identity_key_fetches_total",
	    "Times the signing keys were asked for.", all.key_fetches);
	ONE(GAUGE, "kae_identity_entries", "Credentials remembered.",
	    all.entries);
	ONE(GAUGE, "kae_identity_revocations", "Revocations held.",
	    all.revocations);
	ONE(GAUGE, "kae_identity_age_seconds",
	    "Time since the last word from svc-auth, of the oldest loop.",
	    (double)all.age_ms / 1000);
#undef ONE
}

static void collect(void *arg, struct buf *out)
{
	collect_bus(arg, out);
	collect_loops(arg, out);
}

/* --- life ---------------------------------------------------------------------------- */

static size_t loops_wanted(const struct settings *conf)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = conf->gateway_threads;

	if (n == 0)
		n = cores > 1 ? (size_t)cores / 2 : 1;
	return n < LOOPS_MAX ? n : LOOPS_MAX;
}

static enum err fill_site(struct gateway *g, const struct gateway_env *env)
{
	const struct settings *conf = env->conf;
	struct site *st = &g->site;
	const char *why = NULL;

	st->conf = conf;
	st->started_ms = wall_ms();
	st->started_mono_ms = mono_ms();
	if (conf->instance_id.n)
		(void)snprintf(st->instance, sizeof(st->instance), "%.*s",
		               STR_FMT(conf->instance_id));
	else if (gethostname(st->instance, sizeof(st->instance) - 1) != 0)
		st->instance[0] = '\0';
	st->cors = cors_new(conf, &why);
	if (!st->cors) {
		log_error(NULL, "gateway.bad_setting", LOG_TEXT("reason", why));
		return ERR_INVALID;
	}
	if (!conf->cors_enabled)
		log_warn(NULL, "gateway.cors_off");
	st->tree = route_tree_new(routes, routes_n);
	st->meter = meter_new(env->metrics, env_name(conf->env));
	return st->tree && st->meter ? OK : ERR_NOMEM;
}

static void free_all(struct gateway *g)
{
	if (g->metrics)
		metrics_forget(g->metrics, collect, g);
	if (g->site.health)
		health_forget(g->site.health, "gateway");
	for (size_t i = 0; i < g->loops_n; i++)
		loop_fini(&g->loops[i]);
	cors_free(g->site.cors);
	route_tree_free(g->site.tree);
	meter_free(g->site.meter);
	free(g);
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
	if (!e && env->metrics && !metrics_collector(env->metrics, collect, g))
		e = ERR_NOMEM;
	if (!e && env->health && !add_checks(g, env->health))
		e = ERR_NOMEM;
	for (size_t i = 0; i < n && !e; i++)
		e = loop_run(&g->loops[i]);
	return e;
}

enum err gateway_start(const struct gateway_env *env, struct gateway **out)
{
	size_t n = loops_wanted(env->conf);
	struct gateway *g = calloc(1, sizeof(*g) + n * sizeof(g->loops[0]));
	int fds[LOOPS_MAX];
	enum err e;

	if (!g)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		fds[i] = -1;
	g->metrics = env->metrics;
	g->site.health = env->health;
	g->site.loops_n = (unsigned)n;
	if (env->health)
		health_phase(env->health, "gateway", PHASE_STARTING);
	e = fill_site(g, env);
	if (!e) {
		e = open_all(env->conf, fds, n, &g->port);
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
	close_fds(fds, n);
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

void gateway_drain(struct gateway *g, uint64_t grace_ms)
{
	if (atomic_load(&g->site.draining))
		return;
	if (g->site.health)
		health_phase(g->site.health, "gateway", PHASE_DRAINING);
	atomic_store(&g->site.stop_by_ms, mono_ms() + grace_ms);
	atomic_store_explicit(&g->site.draining, true, memory_order_release);
	for (size_t i = 0; i < g->loops_n; i++)
		loop_stop(&g->loops[i]);
}

void gateway_stop(struct gateway *g, uint64_t grace_ms)
{
	if (!g)
		return;
	gateway_drain(g, grace_ms);
	free_all(g);
}
