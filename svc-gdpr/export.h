/*
 * export - who is being exported: so many at a time, as many more may wait, and
 * one per person, so that nobody holds all places with requests that they never
 * read.
 *
 * Bounds:  EXPORTS_MAX of both together.
 * Threads: any; exports_enter() may block.
 */
#ifndef SVC_GDPR_EXPORT_H
#define SVC_GDPR_EXPORT_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define EXPORTS_MAX 128 /* twice the most of EXPORTS_AT_ONCE */

struct exports;
struct exports *exports_new(size_t at_once); /* NULL: no memory */
void exports_free(struct exports *x);        /* NULL is fine */
/* Waits for a place until deadline_ms (CLOCK_MONOTONIC).  False: there was none,
 * or too many wait already. */
bool exports_enter(struct exports *x, struct str sub,
                   uint64_t deadline_ms) MUST_CHECK;
void exports_leave(struct exports *x, struct str sub);

#endif
