/*
 * redis_url - where a Redis or Valkey is and who we are there.
 *
 *     redis://[user:password@]host[:port][/db]     port 6379, db 0
 *     redis+unix://[user:password@]/path[?db=0]
 *
 * User and password may be percent-encoded; the user may be empty, as for
 * servers before users were known.  rediss:// is refused: hiredis of Debian 12
 * has no TLS, and a connection that seems to have it is worse than none.
 */
#ifndef CACHE_REDIS_URL_H
#define CACHE_REDIS_URL_H

#include "common/base/attr.h"
#include "common/base/str.h"

struct redis_url {
	bool is_path;
	char host[256]; /* without []; or the path of a socket */
	char port[6];
	char user[128], password[256];
	unsigned db;
};

/* NULL when it was understood, else what is wrong with it, without a secret. */
const char *redis_url_parse(struct str text, struct redis_url *out) MUST_CHECK;

#endif
