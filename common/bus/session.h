/*
 * session - a client's conversation with one replica: up, down, and what comes
 * off the wire between.
 *
 * Threads: the owner's.  Callbacks of calls are made from here.
 */
#ifndef BUS_SESSION_H
#define BUS_SESSION_H

#include "common/bus/calls.h"

/* Takes what nng's threads have put into the replica's inbox. */
void session_drain(struct bus_client *c, struct replica *r, uint64_t now_ms);
/*
 * Hears no word from this pipe again, and closes it later: nng dials again
 * within milliseconds, which with a wrong key would be a busy loop; and nng 1.5
 * hangs when it closes a pipe that a message is coming in from.
 */
void session_shun(struct bus_client *c, struct replica *r, uint64_t now_ms);
/*
 * Ends a connection in order: our bye is our last word, the service answers
 * with its own and falls silent.
 */
void session_part(struct bus_client *c, struct replica *r, uint64_t now_ms);
/* The bye, to be sent; NULL: none is due. */
nng_msg *session_last_word(struct replica *r, uint64_t now_ms);

#endif
