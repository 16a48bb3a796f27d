/*
 * problem - the one shape of every error answer (design D31, RFC 9457).
 *
 * Carries `type title status detail instance` and, for clients of the old
 * system, `error` (= title), `message` (= detail), `error_code`, `request_id`,
 * `details` and `retry_after`; where a quota is spent also `period`, `tier`,
 * `usage`, `limit` and `reset_in_seconds`.  The words of an unexpected error go to the
 * client in development only.
 */
#ifndef GATEWAY_PROBLEM_H
#define GATEWAY_PROBLEM_H

#include "common/base/buf.h"
#include "common/base/ctx.h"

#define PROBLEM_TYPE "application/problem+json"

/* Seconds for Retry-After: what the problem says, else the code's own; 0: the
 * answer carries none. */
unsigned problem_retry_after(enum err e, const struct problem *pb);

/* Appends the body.  instance: the path; "/" stands for one that is empty or
 * cannot be told. */
void problem_write(struct buf *out, const struct ctx *cx, enum err e,
                   struct str instance, bool development);

/* The page behind a `type`, as JSON and as HTML; false when no code has that
 * name. */
bool problem_explain(struct buf *out, struct str error_code);
bool problem_page(struct buf *out, struct str error_code);

#endif
