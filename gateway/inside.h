/*
 * inside - what the files of the gateway share and nobody else sees.
 */
#ifndef GATEWAY_INSIDE_H
#define GATEWAY_INSIDE_H

#include "gateway/loop.h"

#define LOOPS_MAX 64

struct gateway {
	struct site site;
	struct metrics *metrics; /* or NULL */
	unsigned port;
	size_t loops_n; /* whose fields are set */
	struct loop loops[];
};

/*
 * listen.c: n sockets for one address, the first of which shows whether it is
 * free.  On failure some of fds may be open all the same.
 */
enum err listen_open(const struct settings *conf, int *fds, size_t n,
                     unsigned *port) MUST_CHECK;
void listen_close(int *fds, size_t n); /* those that are not -1 */
/*
 * No connection begins at fd any more, as if the first packet of each were
 * lost; one that has begun is completed and can be taken.  Where the system
 * cannot do that, nothing happens.
 */
void listen_shut(int fd);

/* shown.c: health checks and the collector of figures. */
bool shown_add(struct gateway *g) MUST_CHECK;
void shown_remove(struct gateway *g);

#endif
