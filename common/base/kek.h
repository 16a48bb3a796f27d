/*
 * kek - the key that all others of an installation are made from: from
 * KEY_ENCRYPTION_KEY, or in development from a file of DATA_DIR.
 *
 * It is used by nobody itself: each use takes a key of its own from it by
 * seal_key_for(), so that what one service keeps says nothing of another's.
 *
 * Owns:    nothing; the key is the caller's to wipe.
 * Threads: any; several processes may make the file at once.
 */
#ifndef BASE_KEK_H
#define BASE_KEK_H

#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/seal.h"

/* ERR_INVALID: it is missing or too short, which is told on the log. */
enum err kek_load(const struct settings *s, struct seal_key *out) MUST_CHECK;

#endif
