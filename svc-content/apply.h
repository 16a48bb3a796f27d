/*
 * apply - what svc-content is told by other services, and who does what then.
 *
 * An event that makes no sense is logged and taken, as svc-gdpr/apply.h does and
 * for the same reason.
 */
#ifndef SVC_CONTENT_APPLY_H
#define SVC_CONTENT_APPLY_H

#include "common/event/event.h"

/* An event_apply_fn; arg is not used. */
enum err content_apply(void *arg, struct db *db,
                       const struct event *ev) MUST_CHECK;

#endif
