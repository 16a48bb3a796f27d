/*
 * loop - one event loop: an HTTP daemon, a bus client and an identity cache
 * that one thread owns (design 3.1).
 *
 * A turn: libmicrohttpd runs what the network brought; the bus client takes in
 * replies and sends one frame per replica with what the requests asked; then
 * the loop sleeps until a socket, the bus or a timer has something.  Nothing
 * in a loop needs a lock: other threads only wake it.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_LOOP_H
#define GATEWAY_LOOP_H

#include "common/base/trace.h"
#include "common/base/uuid.h"
#include "gateway/crowd.h"
#include "gateway/events.h"
#include "gateway/forwarded.h"
#include "gateway/front.h"
#include "gateway/gateway.h"
#include "gateway/gzip.h"
#include "gateway/identity.h"
#include "gateway/limit.h"
#include "gateway/limit_wait.h"
#include "gateway/live.h"
#include "gateway/meter.h"
#include "gateway/monitor.h"
#include "gateway/overload.h"
#include "gateway/route.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#define LOOP_TICK_MS   250
#define BODIES_MAX     ((size_t)64 << 20) /* bytes being read, per loop */
#define DRAIN_MAX      ((size_t)64 << 10) /* of a body that nobody wants */
#define LINGER_MS      2000 /* after a refusal, for the client to read it */
#define REPLICAS_SHOWN 64

/* What the loops share; read-only, but for the flags, board, meter and
 * monitor. */
struct site {
	const struct settings *conf;
	struct live_board board; /* what a reload changes */
	struct proxies *proxies; /* whose word about the client we take */
	struct crowd *crowd;     /* connections of each address */
	struct events_count events;
	struct redis_wire *redis; /* of limits; NULL: no REDIS_URL */
	struct limits *limits;    /* of all loops: a client may use any */
	struct route_tree *tree;
	struct front *front;             /* NULL: no STATIC_DIR */
	const struct route *front_route; /* the row that answers with it */
	struct meter *meter;
	struct recent *recent;
	struct sampler sampler;  /* of the traces that begin here */
	struct monitor *monitor; /* these two: turned by the first loop */
	struct status *status;
	char instance[65];
	int64_t started_ms; /* wall clock */
	uint64_t started_mono_ms;
	struct health *health; /* or NULL */
	unsigned loops_n;
	_Atomic unsigned ready_n; /* loops that have been ready */
	_Atomic bool draining;
	/* While draining: others take over; mono_ms() of the two ends. */
	bool relieved;
	uint64_t open_until_ms, stop_by_ms;
	_Atomic unsigned idle_n; /* loops that could end, if all could */
	/* How often an operator has said that a service is well. */
	_Atomic unsigned forgiven[PEER_COUNT];
};

struct req;

/* A client connection. */
struct conn {
	struct conn *next, *prev;
	struct MHD_Connection *mhd;
	int fd;
	gnutls_session_t tls; /* NULL: in clear */
	struct live *live;    /* whose certificate that has; or NULL */
	uint64_t began_ms, idle_since_ms;
	struct addr peer; /* all zero where it is no address */
	char ip[ADDR_TEXT_MAX];
	struct req *rq; /* being read or answered; NULL: idle */
	/* While idle: what had come when it was first seen idle, and since
	 * when more has been coming without being a whole head. */
	bool idle_seen;
	bool settled; /* the handshake is over, or there is none */
	uint64_t idle_came, head_since_ms;
};

struct loop {
	struct site *site;
	pthread_t thread;
	bool running;
	int listen_fd, wake_fd;
	struct MHD_Daemon *mhd;
	int mhd_fd; /* its epoll set; not ours to close */
	struct bus_client *bus;
	struct identity *identity;
	struct monitor *monitor; /* NULL: another loop turns it */
	struct near near[PEER_COUNT];
	struct buf entry;  /* the call being packed */
	struct buf reply;  /* of one that is near */
	struct live *live; /* the newest, as of this turn */
	unsigned live_seen;
	struct gzip *gzip;
	struct conn *conns, *spare_conns;
	unsigned conns_n, conns_max;
	struct req *streams; /* of events; see events.h */
	bool events_due;     /* of some there is something to be done */
	struct req *again;   /* those that wait to ask once more; see again.h */
	struct req *spare_reqs;
	unsigned spare_reqs_n;
	size_t bodies; /* bytes of bodies being read */
	unsigned requests;
	struct limit_wait limit_wait;
	struct overload overload;
	/* Of its refusals, what the log has been told, and when. */
	uint64_t overload_told[OVERLOAD_GROUPS], overload_told_ms;
	_Atomic uint64_t
		turned_away; /* connections beyond CONNECTIONS_PER_IP */
	bool resumed;        /* a connection waits for MHD_run() */
	bool stirred;    /* or something was done in it, so there may be more */
	unsigned held_n; /* that were held in it (loop.c) */
	bool shut;       /* while draining: no more connections begin */
	bool quiesced;   /* nor are there any to be taken */
	bool idle;       /* and nothing is asked: counted in site.idle_n */
	bool ending;     /* nothing may be suspended any more */
	unsigned forgiven[PEER_COUNT]; /* as far as this loop has heard */
	uint64_t tick_at_ms;
	uint64_t now_ms;        /* of this turn */
	uint64_t seed;          /* of trace ids */
	struct uuid_pool uuids; /* of request IDs */
	_Atomic bool ready;
	/* A copy for /metrics, renewed at each tick. */
	pthread_mutex_t shown_lock;
	struct bus_replica shown[REPLICAS_SHOWN];
	size_t shown_n;
	struct identity_stats shown_identity;
	unsigned shown_conns, shown_requests;
	struct overload shown_overload;
};

/* Takes listen_fd.  Starts no thread. */
enum err loop_init(struct loop *lo, struct site *site,
                   const struct gateway_env *env, int listen_fd,
                   unsigned conns_max) MUST_CHECK;
enum err loop_run(struct loop *lo) MUST_CHECK; /* starts the thread */
void loop_wake(struct loop *lo);               /* any thread */
/* While draining: waits for the thread and closes every connection.  What
 * other threads may look at stays until loop_fini(). */
void loop_stop(struct loop *lo);
void loop_fini(struct loop *lo); /* after loop_stop() */

/* conn.c */
void conn_notify(void *arg, struct MHD_Connection *mhd, void **context,
                 enum MHD_ConnectionNotificationCode code);
struct conn *conn_of(struct MHD_Connection *mhd);
/* Whether a connection from there is taken at all. */
enum MHD_Result conn_accept(void *arg, const struct sockaddr *from,
                            socklen_t n);
/* Bytes past libmicrohttpd, in one attempt: a client that takes not even this
 * gets nothing.  Only while libmicrohttpd has nothing of its own to send. */
void conn_send(struct conn *cn, struct str bytes);
/* Nothing more comes from our side. */
void conn_end_ours(struct conn *cn);
/* Whether an idle connection has bytes that nobody has read yet. */
bool conn_unread(const struct loop *lo);
/* Timers of slow and vanished clients. */
void conn_tick(struct loop *lo);
void conn_free_all(struct loop *lo);

#endif
