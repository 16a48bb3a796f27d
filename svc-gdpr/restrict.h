/*
 * restrict - restriction of processing (GDPR 18): what is kept and not used.
 *
 * Effect:  here a restricted person is on no leaderboard and has no rank.  What
 *          they earned stays, and what they had done before and arrives later
 *          is still written down; so lifting puts them where they would be.
 *          svc-content is told with the event person.restricted {restricted,
 *          at}, in the order of the changes: it records nothing of them and
 *          takes no quizzes (svc-content/restricted.h).
 *
 * Inside a transaction function of common/db.
 */
#ifndef SVC_GDPR_RESTRICT_H
#define SVC_GDPR_RESTRICT_H

#include "common/event/event.h"
#include "svc-gdpr/person.h"

#define RESTRICT_WHY_MAX 500 /* code points */

struct restriction {
	int64_t since;  /* 0: not restricted */
	struct str why; /* in the arena; p NULL: not said */
};
enum err restrict_get(struct db *db, struct arena *a, struct str sub,
                      struct restriction *out) MUST_CHECK;
/*
 * since 0 lifts.  Nothing is done where it is so already: *changed is false, and
 * the first time and reason stay.
 */
enum err restrict_set(struct db *db, struct event_store *events, struct str sub,
                      const struct restriction *want, int64_t now_ms,
                      bool *changed) MUST_CHECK;

#endif
