/*
 * etag - the validator of a body, and what a client says it has (RFC 9110, 8.8
 * and 13.1).
 *
 * Form:    a strong tag: "<32 hex>" over the plain bytes, with the coding's
 *          name behind it where they are sent coded, since those are other
 *          bytes.
 * Threads: any.
 */
#ifndef GATEWAY_ETAG_H
#define GATEWAY_ETAG_H

#include "common/base/str.h"

#define ETAG_MAX 48 /* with a NUL */

/* coding: "gzip", "br"; NULL: the plain bytes. */
struct str etag_of(struct str plain, const char *coding, char out[ETAG_MAX]);
/* If-None-Match: a list of tags, compared weakly, or "*". */
bool etag_listed(struct str if_none_match, struct str etag);
/* If-Range: one tag, compared strongly; a date is never equal. */
bool etag_same(struct str if_range, struct str etag);

#endif
