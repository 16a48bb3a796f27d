/*
 * restricted - whose data is kept and not used (GDPR 18).
 *
 * svc-gdpr says so with the event person.restricted {restricted, at}; a row here
 * means that it is.  Of such a person:
 *   - subtopics, explanations and quizzes are made as for anybody, since that
 *     uses nothing that is stored, and nothing of it is written down;
 *   - a quiz is not taken: ERR_RESTRICTED.  Grading would use what is kept, and
 *     storing without using would promise progress that never shows;
 *   - recommendations do not look at what is mastered;
 *   - their own progress is shown to them, as they may always see it (GDPR 15).
 *
 * Inside a transaction function of common/db.
 */
#ifndef SVC_CONTENT_RESTRICTED_H
#define SVC_CONTENT_RESTRICTED_H

#include "common/event/event.h"

enum err restricted_is(struct db *db, struct str sub, bool *out) MUST_CHECK;
/* *out is set when the next statement that is waited for has its answer. */
enum err restricted_later(struct db *db, struct str sub, bool *out) MUST_CHECK;
/* ERR_RESTRICTED when it is. */
enum err restricted_refuse(struct db *db, struct str sub) MUST_CHECK;
/* An event_apply_fn; arg is not used.  An event that makes no sense is logged
 * and taken, as svc-gdpr/apply.h does and for the same reason. */
enum err restricted_apply(void *arg, struct db *db,
                          const struct event *ev) MUST_CHECK;

#endif
