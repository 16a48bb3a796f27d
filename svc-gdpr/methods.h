/*
 * methods - the inputs and handlers that methods.def names.
 */
#ifndef SVC_GDPR_METHODS_H
#define SVC_GDPR_METHODS_H

#include "common/service/service.h"

/* On the receive callback: from memory or not at all. */
bool gdpr_stats_peek(void *state, struct ctx *cx, const void *in,
                     struct reply *out);
bool gdpr_leaderboard_peek(void *state, struct ctx *cx, const void *in,
                           struct reply *out);

#define METHODS_DEF "svc-gdpr/methods.def"
#include "common/service/methods.h"

#endif
