/*
 * scan_match - whether a value names a person; see scan.h for what counts.
 *
 * Letters are compared without regard to ASCII case.  Threads: any.
 */
#ifndef SERVICE_SCAN_MATCH_H
#define SERVICE_SCAN_MATCH_H

#include "common/base/str.h"

struct scan_needles {
	struct str sub, hnd, email; /* the two may be empty */
};

bool scan_names(const struct scan_needles *who, struct str column,
                struct str value);

#endif
