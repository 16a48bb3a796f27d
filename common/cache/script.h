/*
 * script - the name by which a store of Redis knows a script that it has run:
 * EVALSHA instead of EVAL sends 40 bytes instead of all of it, which the server
 * then need not hash.
 */
#ifndef CACHE_SCRIPT_H
#define CACHE_SCRIPT_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define SCRIPT_SHA_MAX 41 /* with its NUL */

/* SHA-1 in hex; false where the library has none. */
bool script_sha(struct str text, char out[SCRIPT_SHA_MAX]) MUST_CHECK;

#endif
