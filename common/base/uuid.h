/*
 * uuid - UUIDv7 (RFC 9562, 5.7): sortable by time, unguessable in its tail.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "common/base/str.h"

#define UUID_MAX 37 /* 36 characters and the NUL */

/* Any thread. */
struct str uuid7(char out[UUID_MAX]);

/*
 * For who needs many: random bytes are drawn for 16 at a time, since the system
 * call costs more than all the rest.  A zeroed pool is empty and valid.  What
 * has been used is wiped, so a pool tells nothing of UUIDs that were given out.
 * One thread; a process that forks must not use it on both sides.
 */
#define UUID_RANDOM 10 /* bytes behind the time */
struct uuid_pool {
	unsigned char random[16 * UUID_RANDOM];
	size_t left;
};
struct str uuid7_from(struct uuid_pool *pool, char out[UUID_MAX]);
/* True for 36 characters of the form 8-4-4-4-12, lower-case hex. */
bool uuid_valid(struct str s);

#endif
