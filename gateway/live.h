/*
 * live - what SIGHUP changes while requests run: the list of origins, the
 * certificate and the secrets of the bus.
 *
 * Why:     a lock on the way of every request would cost more than a reload is
 *          worth.  So a struct live never changes: a new one is made, checked
 *          and put up (live_put_up()), and each loop takes it at the beginning
 *          of a turn, by one comparison (live_follow()).
 * Owns:    counted references: the board has one, each loop one, and each
 *          connection with TLS the one of its certificate.  The last to go
 *          frees it.
 * Threads: any for the board and the count; a reference is its holder's.
 */
#ifndef GATEWAY_LIVE_H
#define GATEWAY_LIVE_H

#include "common/bus/bus.h"
#include "gateway/cors.h"
#include "gateway/tls.h"

#include <pthread.h>
#include <stdatomic.h>

#define LIVE_WHY_MAX TLS_WHY_MAX

struct live {
	_Atomic unsigned refs;
	struct cors *cors;
	struct tls *tls; /* NULL: HTTP in clear */
	struct bus_keys keys;
};

/*
 * With one reference; NULL with a line in why, which names the setting.  keys:
 * copied; NULL: none.
 */
struct live *live_new(const struct settings *conf, const struct bus_keys *keys,
                      char why[LIVE_WHY_MAX]);
struct live *live_get(struct live *l); /* one more; returns l */
void live_put(struct live *l);         /* one less; NULL is fine */
AUTO_TYPE(live, struct live *, live_put)

/* Where the newest is. */
struct live_board {
	pthread_mutex_t lock;
	struct live *now;
	_Atomic unsigned n; /* how many there have been */
	_Atomic unsigned refused;
	_Atomic bool last_refused; /* the last reload was */
};

void live_board_init(struct live_board *b);
void live_board_fini(struct live_board *b);
void live_put_up(struct live_board *b, struct live **taken);
/* The newest, for who has no turns: to be put. */
struct live *live_newest(struct live_board *b);
/* *mine is the newest from now on; seen: 0 at first.  True: it is another. */
bool live_follow(struct live_board *b, struct live **mine, unsigned *seen);

/*
 * SIGHUP: puts up what conf and keys now say.  Where that is no good, or its certificate
 * is not valid today, the old one stays: false and a line on the log.
 */
bool live_reload(struct live_board *b, const struct settings *conf,
                 const struct bus_keys *keys);
/* A line on the log about the certificate; also of one that is not valid, which
 * is used all the same at a start: who can still come then can come. */
void live_tell(const struct live *l);

#endif
