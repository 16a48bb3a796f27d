#include "common/cache/cache.h"

#include <inttypes.h>
#include <stdio.h>

/* RFC 9211: `hit` and `fwd` exclude each other; a negative ttl is a value over
 * its time, served all the same. */
struct str cache_status(const char *name, const struct cache_info *info,
                        char out[CACHE_STATUS_MAX])
{
	static const char *const details[] = {
		[CACHE_NOT_STALE] = "",
		[CACHE_LOAD_FAILED] = "failsafe",
		[CACHE_LOAD_SLOW] = "slow",
		[CACHE_LOAD_SPARED] = "failsafe",
	};
	int n = 0;

	switch (info->from) {
	case CACHE_FROM_MEMORY:
	case CACHE_FROM_REMOTE:
		n = snprintf(out, CACHE_STATUS_MAX,
		             "%s; hit; ttl=%" PRIu64 "; detail=%s", name,
		             info->ttl_ms / 1000,
		             info->from == CACHE_FROM_MEMORY ? "memory"
		                                             : "remote");
		break;
	case CACHE_FROM_LOADER:
		n = snprintf(out, CACHE_STATUS_MAX, "%s; fwd=miss%s", name,
		             info->joined ? "; collapsed" : "");
		if (info->stored && n > 0 && n < CACHE_STATUS_MAX)
			n += snprintf(out + n, CACHE_STATUS_MAX - (size_t)n,
			              "; stored; ttl=%" PRIu64,
			              info->ttl_ms / 1000);
		break;
	case CACHE_FROM_STALE:
		n = snprintf(out, CACHE_STATUS_MAX,
		             "%s; %s; ttl=%s%" PRIu64 "; detail=%s", name,
		             info->why == CACHE_LOAD_SPARED ? "hit"
		                                            : "fwd=stale",
		             info->late_ms >= 1000 ? "-" : "",
		             info->late_ms / 1000, details[info->why]);
		break;
	}
	if (n < 0 || n >= CACHE_STATUS_MAX)
		n = 0;
	return (struct str){out, (size_t)n};
}
