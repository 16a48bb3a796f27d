/*
 * pseudonym - the name under which records outlive an erased person.
 *
 * Rows that must stay after an erasure (consents) carry a random text that is
 * unique to the person, and one row says whose it is.  Erasing deletes that row:
 * what is left can be told apart from other people's, and led back to nobody.
 *
 * Everything here runs inside a transaction function of common/db.
 */
#ifndef SVC_GDPR_PSEUDONYM_H
#define SVC_GDPR_PSEUDONYM_H

#include "common/db/db.h"

#define PSEUDONYM_MAX 33 /* 32 hex digits and the NUL */

/* "" for somebody who has none. */
enum err pseudonym_get(struct db *db, struct str sub,
                       char out[PSEUDONYM_MAX]) MUST_CHECK;
/* Makes it where there is none, and holds its row to the transaction's end. */
enum err pseudonym_lock(struct db *db, struct str sub,
                        char out[PSEUDONYM_MAX]) MUST_CHECK;
/* Erasure: from then nobody knows whose it was.  Fine where there is none. */
enum err pseudonym_drop(struct db *db, struct str sub) MUST_CHECK;

#endif
