/*
 * cache_net_inner - the inside of cache_net: cache_net.c is what travels and
 * the server, cache_wire.c the client's end.
 */
#ifndef TESTS_SIM_CACHE_NET_INNER_H
#define TESTS_SIM_CACHE_NET_INNER_H

#include "tests/sim/cache_net.h"

#define NET_WORDS_MAX 512

/* What travels: a command, or bytes of answers. */
struct parcel {
	struct parcel *next;
	uint64_t due_us;
	bool is_end; /* nothing comes after it */
	struct buf bytes;
};

struct queue {
	struct parcel *head, **tail;
	uint64_t last_us; /* the next is not due before it */
	bool pumping;
};

enum link_state { LINK_OPENING, LINK_OPEN, LINK_LOST };

struct link {
	struct link *next;
	struct net *net;
	unsigned owner, id;
	enum wire_channel ch;
	enum link_state state; /* as the client sees it */
	bool client_gone, server_gone;
	bool is_cut; /* nothing that is answered from now on arrives */
	uint64_t stalled_us;
	struct queue up, down;
	struct redis_session session;
	redisReader *reader;
	struct redisReply *read; /* taken out of it, not received yet */
	unsigned under_way;
};

struct end {
	struct net *net;
	unsigned owner;
	struct wire wire;
	struct link *links[WIRE_CHANNELS]; /* NULL: closed */
	bool woken;
	unsigned idle; /* waits in a row that were none, for nothing */
	uint64_t refuse_us;
};

struct net {
	struct net_conf conf;
	struct end ends[NET_ENDS];
	struct link *links;
	unsigned ids, runs;
	struct redis_model *redis;
	struct redis_data *dump;
	bool up;
	uint64_t frozen_us, slow_us, slow_most_us;
};

static inline uint64_t later_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* --- cache_net.c ------------------------------------------------------------------ */

void queue_init(struct queue *q);
/* At the end of one of the link's queues, due when its time has come. */
struct parcel *queue_put(struct link *l, bool up, bool is_end);
/* Of one item, one way. */
uint64_t net_delay(const struct net *n);

/* --- cache_wire.c ----------------------------------------------------------------- */

struct wire wire_of(struct end *e);
/* There is something to be received. */
void wire_signal(struct link *l);
void wire_lose(struct link *l);
void wire_leave(struct link *l); /* the client closes it */
void wire_drop_replies(unsigned owner);

#endif
