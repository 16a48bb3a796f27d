/*
 * redis_scan - reads every key below a prefix and its value, for whoever has to
 * prove that something is not there, or to remove it.
 *
 * A connection of its own that waits for each answer: the cache's is for
 * requests, and never lists.  Keys that come or go meanwhile may be missed; one
 * that is there all the time is not (SCAN's own promise).
 *
 * Threads: any that may block.
 */
#ifndef CACHE_REDIS_SCAN_H
#define CACHE_REDIS_SCAN_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/cache/redis_url.h"

/* True: the key is to be removed. */
typedef bool redis_scan_fn(void *arg, struct str key, struct str value);
/*
 * *keys counts them.  ERR_UNAVAILABLE: the server cannot be asked; ERR_TIMEOUT:
 * deadline_ms (mono_ms()) has passed.  prefix: no glob characters, at most 60.
 */
enum err redis_scan(const struct redis_url *url, const char *prefix,
                    uint64_t deadline_ms, redis_scan_fn *fn, void *arg,
                    uint64_t *keys) MUST_CHECK;

#endif
