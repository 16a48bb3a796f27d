/*
 * redis_wire - carries the commands of the remote tier to a Redis or Valkey
 * (design D22): sockets that never block, hiredis' reader for the answers.
 *
 *             looked up     connected     told who we are
 *     CLOSED -> LOOKING -> CONNECTING -> GREETING -> OPEN
 *        ^         |            |  ^ |        |        |
 *        | close   v            v  +-+ next   v        v
 *        +------ LOST <---------+---- address +--------+
 *
 * Greeting: AUTH and SELECT where the URL asks for them, CLIENT SETNAME; their
 * answers never reach the remote tier.  A name is looked up again for every
 * connection, as after a failover it may stand for another address.
 *
 * Why not hiredis' own connections: those of 0.14 look names up while the
 * caller waits, and forget how a greeting ended.  Its reader is the part that
 * must not be written twice.
 *
 * Bounds:  WIRE_OUT_MAX bytes to be sent and WIRE_IN_MAX bytes of one answer,
 *          a connection; more is a lost connection.
 * Owns:    two sockets, an eventfd, a look-up.
 * Threads: as wire.h says.
 *
 * Why a connection is lost is told on the log (cache.remote.lost) once for
 * each reason until one has been open for WIRE_STEADY_MS.
 */
#ifndef CACHE_REDIS_WIRE_H
#define CACHE_REDIS_WIRE_H

#include "common/base/attr.h"
#include "common/cache/redis_url.h"
#include "common/cache/wire.h"

#define WIRE_OUT_MAX   ((size_t)16 << 20)
#define WIRE_IN_MAX    ((size_t)4 << 20)
#define WIRE_STEADY_MS 10000

struct redis_wire;

/* name is what CLIENT LIST shows; letters, digits and '-'.  Connects nothing
 * yet.  NULL without memory or file descriptors. */
struct redis_wire *redis_wire_new(const struct redis_url *url, struct str name);
void redis_wire_free(struct redis_wire *w);
AUTO_TYPE(redis_wire, struct redis_wire *, redis_wire_free)

/* For remote_conf; lives as long as w. */
const struct wire *redis_wire_of(const struct redis_wire *w);

#endif
