/*
 * probe - asks a program's own admin port whether it is ready, for --health,
 * so that an image needs no HTTP client to be a container's health check.
 *
 * Bounds: PROBE_TIMEOUT_S for each of connecting, sending and receiving.
 */
#ifndef SERVICE_PROBE_H
#define SERVICE_PROBE_H

#include <stdbool.h>

#define PROBE_TIMEOUT_S 2

/* True when GET /readyz answers 200.  A bind of 0.0.0.0 or :: is asked on
 * loopback. */
bool probe_ready(const char *bind, unsigned port);

#endif
