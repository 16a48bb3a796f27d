/*
 * gateway - HTTP and JSON outside, msgpack on the bus inside (design D3, 3.1).
 *
 * Why:     one place for limits, origins, identity, errors and the request ID,
 *          so that a service never sees a malformed or unidentified request.
 * Form:    GATEWAY_THREADS event loops that share nothing but read-only tables:
 *          each has its own listening socket (SO_REUSEPORT), libmicrohttpd
 *          daemon, bus client and identity cache.
 * Bounds:  CONNECTIONS_MAX connections, BODIES_MAX bytes of bodies being read
 *          per loop, and per route the columns of routes.def.
 * Threads: start and stop belong to main(); the rest is for any thread.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "common/base/conf.h"
#include "common/bus/bus.h"
#include "common/bus/entry.h"
#include "common/obs/health.h"
#include "common/obs/metrics.h"

#include <stdio.h>

struct gateway;

/* All of it outlives the gateway. */
struct gateway_env {
	const struct settings *conf;
	struct metrics *metrics;
	struct health *health;
	const char *urls[PEER_COUNT]; /* of the services; PEER_GATEWAY unused */
	const struct bus_keys *keys;
	/*
	 * Services in this process; their `ask` is NULL where there are none.
	 * It answers an entry from memory, on the loop's thread, or returns
	 * false, and then the bus carries it: what needs neither a lane nor
	 * another process is not made to wait for two threads to wake.
	 */
	struct near {
		bool (*ask)(void *service, const struct entry_near *near);
		void *service;
	} near[PEER_COUNT];
};

/* Settings that will never work: false after one line on complaints each. */
bool gateway_check(const struct settings *conf, FILE *complaints) MUST_CHECK;
/* Of SSL_CERTFILE: NULL where it is valid today or there is none; else what is
 * wrong, as words behind its name. */
const char *gateway_check_certificate(const struct settings *conf) MUST_CHECK;
/*
 * Listens and serves.  ERR_EXISTS: the address is taken.  ERR_INVALID: a
 * setting will never work.  Both are told in one line on the log.
 */
enum err gateway_start(const struct gateway_env *env,
                       struct gateway **out) MUST_CHECK;
/* Every loop has its keys and the list of what is revoked. */
bool gateway_ready(const struct gateway *g);
unsigned gateway_port(const struct gateway *g);
const char *gateway_scheme(const struct settings *conf); /* "http", "https" */
/*
 * SIGHUP: the origins and the certificate are those of conf for what begins from
 * now on, and the secrets of the bus are keys; connections that are there stay.
 * Both may go afterwards.  False with a line on the log: all is as before.
 * STATIC_DIR is read again too; what cannot be read stays as it was, and hinders
 * nothing else.  The thread of gateway_stop().
 */
bool gateway_reload(struct gateway *g, const struct settings *conf,
                    const struct bus_keys *keys);
/*
 * Not ready any more; from now on each answer is the last of its connection.
 * After delay_ms no connection is taken that did not come before; requests in
 * flight end within grace_ms, counted from the call, and the rest is answered
 * with 503.  Who has a connection and is silent is left alone until
 * KEEP_ALIVE_S, since a request may be under way; with a delay_ms of 0 nobody
 * takes over, and it ends with the last request.  Health and metrics can still
 * be asked.
 */
void gateway_drain(struct gateway *g, uint64_t delay_ms, uint64_t grace_ms);
/* Drains if that is still to do, and frees.  NULL is fine. */
void gateway_stop(struct gateway *g, uint64_t grace_ms);

#endif
