/*
 * apply - turns an event into awards, in the transaction that takes it.
 *
 *   user.registered  auth     {hnd, at}           the person and their handle
 *   quiz.submitted   content  {score, total, percent, earns, at}
 *   topic.finished   content  {at}
 *   audit            anybody  see common/event/audit.h; written at the end
 *   user.erased      auth     {receipt, sub, hnd, email, at}  an erasure to be done
 *
 * Each counted event is one ledger row whose cause is the event's id, so even
 * an event that came past the inbox twice counts once.  An event that makes no
 * sense is logged and taken: refusing it would hold back all later ones of that
 * person for ever.  Unknown types are taken too: a newer sender may have more.
 */
#ifndef SVC_GDPR_APPLY_H
#define SVC_GDPR_APPLY_H

#include "common/event/event.h"

/* An event_apply_fn; arg is a struct gdpr_state, or NULL: no erasures. */
enum err gdpr_apply(void *arg, struct db *db,
                    const struct event *ev) MUST_CHECK;
/* An event_last_fn: counts on the board, and what goes into the audit log. */
enum err gdpr_apply_last(void *arg, struct db *db,
                         const struct event *const *ev, size_t n) MUST_CHECK;

#endif
