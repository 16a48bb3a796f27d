/*
 * rows - every row that a service holds about one person, in one snapshot.
 *
 *   msgpack values, one behind the other:
 *     [table, n]       n rows of that table follow
 *     {column: value}  a row: the columns that are `out`, in their order
 *     [n]              the end, with the number of all rows
 *
 * Times are ISO 8601, days dates, flags booleans; PACKED bytes are the value
 * that they hold, or bytes if JSON could not say it.  0 of a time or day, which
 * means never, is nil.
 *
 * Why:     who reads can tell whether it was all: a table that brings fewer
 *          rows than were counted in the same snapshot, or no end, is an error
 *          and no export (design D43).
 * Bounds:  PRIVACY_PAGE rows of the database at a time, by the table's key, and
 *          PRIVACY_CHUNK bytes and a row before they are put.
 * Pool:    one connection for as long as the reading takes, which is as long as
 *          put() takes to consume; no lock that a writer could wait for.
 * Threads: any that may block on the pool.
 */
#ifndef PRIVACY_ROWS_H
#define PRIVACY_ROWS_H

#include "common/bus/entry.h"
#include "common/privacy/columns.h"

#define PRIVACY_PAGE  256
#define PRIVACY_CHUNK ((size_t)32 << 10)

/* Bytes of any length, not cut at values; other than OK ends the reading. */
typedef enum err privacy_put_fn(void *arg, struct str bytes);
/*
 * ERR_DATABASE also where the connection was lost when some had been put: it
 * cannot begin again.
 */
enum err privacy_read(struct db_pool *pool, struct ctx *cx,
                      const struct privacy_tables *all, struct str sub,
                      privacy_put_fn *put, void *arg) MUST_CHECK;

/*
 * A service's answer to svc-gdpr: a stream (bus/stream.h) of them.  ERR_NOT_FOUND
 * when `of`, unless NULL, is a table that has no row of the person.
 */
enum err privacy_answer(struct db_pool *pool, struct ctx *cx,
                        const struct privacy_tables *all, const char *of,
                        struct str sub, struct reply *out) MUST_CHECK;

#endif
