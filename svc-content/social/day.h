/*
 * day - a key of each UTC day, and what is known of somebody by it for that day
 * alone.
 *
 * Why:     to count each looker once, and to tell which events are of one visit,
 *          somebody must be known again within a day, and need not be on the
 *          next.  So what they are known by is hashed with the key of the day,
 *          the keys lie in the database, where all replicas find them, and one
 *          is deleted when it is two days old: from then on nobody, we included,
 *          can tell whose a hash was.
 * Bounds:  three keys at most, for replicas whose clocks differ.
 * Threads: any; inside a db transaction function that writes.
 */
#ifndef SVC_CONTENT_SOCIAL_DAY_H
#define SVC_CONTENT_SOCIAL_DAY_H

#include "common/db/db.h"

#define DAY_KEY  32
#define DAY_HASH 33 /* hex with its NUL */

struct day_key {
	int64_t day; /* clock_utc_day() */
	unsigned char k[DAY_KEY];
};

/* Makes it if there is none, and lets those go that are too old. */
enum err day_key_get(struct db *db, int64_t now_ms,
                     struct day_key *out) MUST_CHECK;
/* Of a few texts, with their lengths: none of them can be read as another. */
struct str day_hash(const struct day_key *k, const struct str *parts, size_t n,
                    char out[DAY_HASH]);

#endif
