/*
 * cache_net - the wire of the remote tier (wire.h) over simulated time, and the Redis
 * at its other end.
 *
 * A connection is two queues.  Order is kept within a queue and nowhere else,
 * as TCP does; each item takes its own time.  A connection that is cut delivers
 * some of what was under way, in order, and loses the rest; an answer may stop
 * in the middle.  One that stalls delivers all of it later, also to the server
 * when the client has closed long since: what was written cannot be called
 * back.  A machine that vanishes says nothing at all.
 *
 * Redis executes one command at a time, in the order in which they arrive.  It
 * may be killed, come back with its data, with older data (a replica that lags,
 * a dump) or with none, freeze, be slow, evict keys, lose its scripts or be in
 * a mood (redis_model.h).
 *
 * Threads: one; all of it is the world's.
 */
#ifndef TESTS_SIM_CACHE_NET_H
#define TESTS_SIM_CACHE_NET_H

#include "common/cache/wire.h"
#include "tests/sim/redis_model.h"

#define NET_ENDS 8 /* instances; by owner, so that 0 has none */

struct net;

struct net_conf {
	uint64_t delay_min_us, delay_max_us; /* of one item, one way */
	/* A generation was raised, or all began anew (CACHE_SLOT_ALL). */
	void (*raised)(void *arg, unsigned slot);
	void *arg;
};

struct net *net_new(const struct net_conf *conf);
void net_free(struct net *n);

const struct wire *net_wire(struct net *n, unsigned owner);
/* The process is gone: its kernel closes what it had open. */
void net_process_over(struct net *n, unsigned owner);
/* Answers handed out and not given back. */
unsigned net_replies(unsigned owner);
/* Commands sent and not answered, of an open connection. */
unsigned net_under_way(const struct net *n, unsigned owner);
bool net_connected(const struct net *n, unsigned owner);

/* --- faults ----------------------------------------------------------------------- */

/* Later deliveries of that connection wait until then. */
void net_stall(struct net *n, unsigned owner, enum wire_channel ch,
               uint64_t until_us);
/* silently: the client hears nothing of it until it sends again. */
void net_cut(struct net *n, unsigned owner, enum wire_channel ch,
             bool silently);
/* Connections that are asked for until then do not come to be. */
void net_refuse(struct net *n, unsigned owner, uint64_t until_us);
/* Anew, as in net_conf. */
void net_pace(struct net *n, uint64_t min_us, uint64_t max_us);
void net_slow(struct net *n, uint64_t most_us, uint64_t until_us);

enum redis_return { REDIS_SAME, REDIS_LAGGING, REDIS_EMPTY };
/* What a replica or a dump would have now, for REDIS_LAGGING. */
void net_redis_dump(struct net *n);
void net_redis_kill(struct net *n, bool silently);
void net_redis_start(struct net *n, enum redis_return how);
bool net_redis_is_up(const struct net *n);
void net_redis_freeze(struct net *n, uint64_t until_us);
struct redis_model *net_redis(struct net *n);

#endif
