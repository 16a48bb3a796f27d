/*
 * wire - how commands of the remote tier travel; internal to common/cache.
 *
 * A table of functions between what the remote tier does (remote.c, the same
 * in production and in the simulation) and what carries it: redis_wire.c with
 * hiredis over sockets, or tests/sim with simulated time, loss and delay.
 *
 * Two channels: commands are answered in order, any number under way; the
 * channel of messages is a connection of its own that has subscribed.
 *
 * Threads: all of them on the remote's thread, but wake(), which is any.
 */
#ifndef CACHE_WIRE_H
#define CACHE_WIRE_H

#include "common/base/err.h"
#include "common/base/str.h"

#include <hiredis/hiredis.h>

enum wire_channel { WIRE_COMMANDS, WIRE_MESSAGES, WIRE_CHANNELS };

struct wire {
	void *arg;
	/*
	 * Begins to connect, authenticate and select; events tell the rest.
	 * ERR_UNAVAILABLE: not now.
	 */
	enum err (*open)(void *arg, enum wire_channel ch, uint64_t timeout_ms);
	bool (*is_open)(void *arg, enum wire_channel ch);
	void (*close)(void *arg, enum wire_channel ch);
	/* Queues one command; false: the connection is lost or out of memory. */
	bool (*send)(void *arg, enum wire_channel ch, size_t n,
	             const struct str *words);
	/*
	 * The next answer or message: OK, freeReplyObject() it; ERR_BUSY:
	 * nothing yet; ERR_UNAVAILABLE: the connection is lost (why is told on
	 * the log by the wire) or never came to be.  An answer that is no
	 * RESP is a lost connection.
	 */
	enum err (*receive)(void *arg, enum wire_channel ch,
	                    struct redisReply **out);
	/* Sleeps until there is something to receive, an open ends, wake() was
	 * called, or until_ms (mono_ms()). */
	void (*wait)(void *arg, uint64_t until_ms);
	void (*wake)(void *arg);
};

#endif
