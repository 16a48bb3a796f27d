/*
 * export - who is being exported: one export per person at a time, so that
 * nobody holds all places with requests that they never read.
 *
 * Threads: any.
 */
#ifndef SVC_GDPR_EXPORT_H
#define SVC_GDPR_EXPORT_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define EXPORTS_MAX 64 /* as EXPORTS_AT_ONCE */

struct exports;
struct exports *exports_new(size_t at_once);
void exports_free(struct exports *x); /* NULL is fine */
/* False: it is under way already. */
bool exports_enter(struct exports *x, struct str sub) MUST_CHECK;
void exports_leave(struct exports *x, struct str sub);

#endif
