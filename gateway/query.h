/*
 * query - query strings and path parameters as msgpack maps of text.
 *
 * Why:     services see one form for all inputs; what is malformed is refused
 *          here, before any of them sees it.
 * Decodes: %XX, and '+' as a blank in a query (the form that browsers send).
 *          The result must be UTF-8 without NUL.
 * Bounds:  QUERY_MAX parameters; decoded text is never longer than the input.
 * Errors:  ERR_INVALID with the words in cx->problem; a name given twice is one.
 * Threads: one at a time per buf.
 */
#ifndef GATEWAY_QUERY_H
#define GATEWAY_QUERY_H

#include "common/base/buf.h"
#include "common/base/ctx.h"

#include "gateway/route.h"

#define QUERY_MAX 64

/* Appends a map, or nothing when there are no parameters. */
enum err query_pack(struct ctx *cx, struct str query,
                    struct buf *out) MUST_CHECK;
enum err query_pack_params(struct ctx *cx, const struct route_param *params,
                           size_t n, struct buf *out) MUST_CHECK;
/* Decodes into out (room for s.n bytes); false when it is malformed. */
bool query_decode(struct str s, bool plus, char *out, size_t *n);

/* True when a query has more separators than QUERY_MAX parameters need. */
bool query_too_long(struct str target);

#endif
