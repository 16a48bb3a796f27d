/* What the gateway shows on the admin port: its checks and its figures. */

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/codec/json.h"
#include "gateway/replicas.h"
#include "gateway/status.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const char *const said_of_itself[] = {
	[MONITOR_UP] = "it is well",
	[MONITOR_UNKNOWN] = "it does not answer",
	[MONITOR_DEGRADED] = "it can do less than it should",
	[MONITOR_DOWN] = "it is not ready",
};

/* The bus notices within milliseconds that a service is gone; that it has
 * ceased to answer, or what it lacks, the monitor has asked. */
static enum health_state service_state(struct gateway *g, enum bus_peer peer,
                                       char *detail, size_t detail_max)
{
	enum monitor_state said =
		monitor_view(g->site.monitor, peer, mono_ms()).service;
	unsigned up = 0;

	for (size_t i = 0; i < g->loops_n; i++)
		up += bus_client_up(g->loops[i].bus, peer);
	(void)snprintf(detail, detail_max, "%u connection%s up; %s", up,
	               up == 1 ? "" : "s", said_of_itself[said]);
	return up && said == MONITOR_UP ? HEALTH_UP : HEALTH_DEGRADED;
}

static void list_replicas(struct gateway *g, enum bus_peer peer,
                          struct buf *out)
{
	struct replicas l;

	replicas_of(g, peer, &l);
	for (size_t i = 0; i < l.n; i++) {
		const struct replica_seen *r = &l.at[i];

		buf_str(out, i ? STR(",{\"address\":") : STR("{\"address\":"));
		json_add_str(out, str_from(r->url));
		buf_printf(out,
		           ",\"state\":\"%s\",\"connections\":%u,"
		           "\"in_flight\":%u,\"failed\":%" PRIu64 "}",
		           replica_state_name(r->state), r->connections,
		           r->in_flight, r->failed);
	}
}

/* Without one service the others are still worth being asked for, so none is
 * critical; identity is, because without it nearly everything is refused. */
#define SERVICE_CHECK(name, peer)                                      \
	static enum health_state check_##name(void *arg, char *detail, \
	                                      size_t detail_max)       \
	{                                                              \
		return service_state(arg, peer, detail, detail_max);   \
	}                                                              \
	static void list_##name(void *arg, struct buf *out)            \
	{                                                              \
		list_replicas(arg, peer, out);                         \
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

static bool add_checks(struct gateway *g)
{
	struct health *h = g->site.health;

	return health_check(h, "gateway", "identity", true, check_identity,
	                    g) &&
	       health_check(h, "gateway", "auth", false, check_auth, g) &&
	       health_check(h, "gateway", "content", false, check_content, g) &&
	       health_check(h, "gateway", "gdpr", false, check_gdpr, g) &&
	       health_list(h, "gateway", "auth", "replicas", list_auth) &&
	       health_list(h, "gateway", "content", "replicas", list_content) &&
	       health_list(h, "gateway", "gdpr", "replicas", list_gdpr);
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

static double figure_bad_frames(const struct bus_replica *r)
{
	return (double)r->bad_frames;
}

static double figure_unacked(const struct bus_replica *r)
{
	return r->unacked;
}

static double figure_waiting(const struct bus_replica *r)
{
	return r->waiting;
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
	{METRIC_COUNTER, "kae_bus_bad_frames_total",
         "Frames refused, each with the end of its connection.",
         figure_bad_frames},
	{METRIC_GAUGE, "kae_bus_frames_unacked",
         "Frames sent and not acknowledged, at most 32.", figure_unacked},
	{METRIC_GAUGE, "kae_bus_frames_waiting",
         "Frames that wait for an acknowledgement of earlier ones.",
         figure_waiting},
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
	struct work w = work_of(g);

	for (size_t i = 0; i < g->loops_n; i++) {
		struct loop *lo = &g->loops[i];
		GUARD(&lo->shown_lock);

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
	ONE(GAUGE, "kae_http_connections", "Open client connections.", w.conns);
	ONE(GAUGE, "kae_gateway_requests_open",
	    "Requests being read or answered.", w.requests);
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
	    all.age_ms == UINT64_MAX ? HUGE_VAL : (double)all.age_ms / 1000);
#undef ONE
}

static void collect_limits(struct gateway *g, struct buf *out)
{
	struct limit_figures f;

	limits_figures(g->site.limits, &f);

	metrics_head(out, METRIC_COUNTER, "kae_limit_decisions_total",
	             "Requests that a rate limit let in or refused.");
	for (size_t i = 0; i < LIMIT_POLICIES; i++) {
		const char *name = limit_name((enum limit_policy)i);
		char labels[64];

		(void)snprintf(labels, sizeof(labels),
		               "policy=\"%s\",decision=\"admitted\"", name);
		metrics_line(out, "kae_limit_decisions_total", labels,
		             (double)f.of[i].taken);
		(void)snprintf(labels, sizeof(labels),
		               "policy=\"%s\",decision=\"refused\"", name);
		metrics_line(out, "kae_limit_decisions_total", labels,
		             (double)f.of[i].refused);
	}
	metrics_head(out, METRIC_GAUGE, "kae_limit_shared",
	             "1 while gateways count together through Redis.");
	metrics_line(out, "kae_limit_shared", "",
	             limits_are_shared(g->site.limits));
	metrics_head(out, METRIC_COUNTER, "kae_limit_unheard_total",
	             "Requests that Redis did not answer in time.");
	metrics_line(out, "kae_limit_unheard_total", "", (double)f.unheard);
	metrics_head(out, METRIC_COUNTER, "kae_limit_outages_total",
	             "Times that gateways began to count alone.");
	metrics_line(out, "kae_limit_outages_total", "", (double)f.outages);
	metrics_head(out, METRIC_COUNTER, "kae_limit_evicted_total",
	             "Buckets forgotten before they were full again.");
	metrics_line(out, "kae_limit_evicted_total", "", (double)f.evicted);
}

struct group_figure {
	enum metric_kind kind;
	const char *name, *help;
	double (*of)(const struct overload *o, enum overload_group g);
};

static double figure_limit(const struct overload *o, enum overload_group g)
{
	return overload_limit(o, g);
}

static double figure_inside(const struct overload *o, enum overload_group g)
{
	return o->each[g].in_flight;
}

static double figure_shed(const struct overload *o, enum overload_group g)
{
	return (double)o->each[g].refused;
}

static const struct group_figure group_figures[] = {
	{METRIC_GAUGE, "kae_overload_limit",
         "Requests let into the services at once, as learned.", figure_limit},
	{METRIC_GAUGE, "kae_overload_in_flight", "Requests in the services.",
         figure_inside},
	{METRIC_COUNTER, "kae_overload_refused_total",
         "Requests refused because the services had too much to do.",
         figure_shed},
};

static void collect_overload(struct gateway *g, struct buf *out)
{
	uint64_t turned_away = 0;

	for (size_t f = 0; f < COUNTOF(group_figures); f++) {
		const struct group_figure *fig = &group_figures[f];

		metrics_head(out, fig->kind, fig->name, fig->help);
		for (size_t i = 0; i < g->loops_n * OVERLOAD_GROUPS; i++) {
			struct loop *lo = &g->loops[i / OVERLOAD_GROUPS];
			enum overload_group group =
				(enum overload_group)(i % OVERLOAD_GROUPS);
			char labels[64];
			GUARD(&lo->shown_lock);

			(void)snprintf(labels, sizeof(labels),
			               "loop=\"%zu\",class=\"%s\"",
			               i / OVERLOAD_GROUPS,
			               overload_group_name(group));
			metrics_line(out, fig->name, labels,
			             fig->of(&lo->shown_overload, group));
		}
	}
	for (size_t i = 0; i < g->loops_n; i++)
		turned_away += atomic_load_explicit(&g->loops[i].turned_away,
		                                    memory_order_relaxed);
	metrics_head(out, METRIC_COUNTER, "kae_http_connections_refused_total",
	             "Connections beyond CONNECTIONS_PER_IP.");
	metrics_line(out, "kae_http_connections_refused_total", "",
	             (double)turned_away);
}

static void collect_live(struct gateway *g, struct buf *out)
{
	struct live_board *b = &g->site.board;
	AUTO(live) l = live_newest(b);
	unsigned refused = atomic_load(&b->refused);

	metrics_head(out, METRIC_COUNTER, "kae_config_reloads_total",
	             "Times that SIGHUP was heard.");
	metrics_line(out, "kae_config_reloads_total", "result=\"taken\"",
	             atomic_load(&b->n) - 1);
	metrics_line(out, "kae_config_reloads_total", "result=\"refused\"",
	             refused);
	metrics_head(
		out, METRIC_GAUGE, "kae_config_last_reload_success",
		"0 while what SIGHUP should have brought is not in force.");
	metrics_line(out, "kae_config_last_reload_success", "",
	             !atomic_load(&b->last_refused));
	if (!l->tls)
		return;
	metrics_head(out, METRIC_GAUGE, "kae_tls_cert_not_after_seconds",
	             "When the certificate of SSL_CERTFILE expires, since the "
	             "epoch.");
	metrics_line(out, "kae_tls_cert_not_after_seconds", "",
	             (double)l->tls->not_after_s);
}

static void collect(void *arg, struct buf *out)
{
	collect_bus(arg, out);
	collect_loops(arg, out);
	collect_limits(arg, out);
	collect_overload(arg, out);
	collect_live(arg, out);
}

bool shown_add(struct gateway *g)
{
	if (g->site.health)
		health_page(g->site.health, "gateway", status_page,
		            g->site.status);
	return (!g->metrics || metrics_collector(g->metrics, collect, g)) &&
	       (!g->site.health || add_checks(g));
}

void shown_remove(struct gateway *g)
{
	if (g->metrics)
		metrics_forget(g->metrics, collect, g);
	if (g->site.health)
		health_forget(g->site.health, "gateway");
}
