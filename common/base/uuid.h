/*
 * uuid - UUIDv7 (RFC 9562, 5.7): sortable by time, unguessable in its tail.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "common/base/str.h"

#define UUID_MAX 37 /* 36 characters and the NUL */

/* Any thread. */
struct str uuid7(char out[UUID_MAX]);
/* True for 36 characters of the form 8-4-4-4-12, lower-case hex. */
bool uuid_valid(struct str s);

#endif
