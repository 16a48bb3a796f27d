/*
 * methods - the inputs and handlers that methods.def names.
 */
#ifndef SVC_CONTENT_METHODS_H
#define SVC_CONTENT_METHODS_H

#include "common/service/service.h"

/* On the receive callback: an outline that is in memory, or nothing. */
bool content_outline_peek(void *state, struct ctx *cx, const void *in,
                          struct reply *out);

#define METHODS_DEF "svc-content/methods.def"
#include "common/service/methods.h"

#endif
