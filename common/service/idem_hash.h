/*
 * idem_hash - the two hashes of a request with an Idempotency-Key: whose key it
 * is, and what was asked.
 *
 * Why:     the key is the client's text and may say things of a person; its
 *          hash is as good a name.  What was asked only has to be compared.
 * Form:    BLAKE2b-256.  Texts go in with their lengths, so that no two rows of
 *          texts look alike.  The pairs of a map are hashed one by one and
 *          added up, so their order does not matter; a map cannot hold a key
 *          twice, since the gateway refuses that.  1 and 1.0 differ.
 * Bounds:  MP_DEPTH_MAX of nesting, each level about a kilobyte of stack.
 * Threads: any.
 */
#ifndef SERVICE_IDEM_HASH_H
#define SERVICE_IDEM_HASH_H

#include "common/service/idempotency.h"

/* key: of IDEM_HASH bytes, or NULL. */
void idem_hash_id(const unsigned char *key, const struct ctx *cx,
                  const struct effect *ef, unsigned char out[IDEM_HASH]);
/* False when query, path or body are not msgpack. */
bool idem_hash_print(const unsigned char *key, const struct ctx *cx,
                     const struct effect *ef,
                     unsigned char out[IDEM_HASH]) MUST_CHECK;

#endif
