/*
 * life - start and stop of svc-auth inside its service, and the one thread it
 * has of its own: upkeep, which reads signing keys again, writes the times at
 * which keys were used, and removes what is past.
 *
 * Threads: auth_start() and auth_stop() the service's.
 */
#ifndef SVC_AUTH_LIFE_H
#define SVC_AUTH_LIFE_H

#include "common/service/service.h"

/* service_def.start and .stop; the state is a struct auth. */
enum err auth_start(struct service *sv, void **state);
void auth_stop(void *state);

#endif
