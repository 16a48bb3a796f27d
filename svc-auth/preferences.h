/*
 * preferences - the settings that a person keeps with us, rows of
 * preferences.def.
 *
 * Stored as JSON text, for whoever exports it; a map of msgpack here, with the
 * rows that are set, in the table's order.
 *
 * Bounds:  PREFERENCE_MAX bytes of a text; so all of it is far below 4 KiB.
 * Threads: any.
 */
#ifndef SVC_AUTH_PREFERENCES_H
#define SVC_AUTH_PREFERENCES_H

#include "common/base/ctx.h"
#include "common/codec/mp.h"

#define PREFERENCE_MAX 35 /* a language tag (RFC 5646, 4.4.1) */

/*
 * Lays `change` over `was` (maps; was may be empty): what it names is replaced,
 * what it sets to null goes (RFC 7396).  ERR_INVALID with faults below `at`,
 * such as "/updates/preferences/theme"; ERR_NOMEM.
 */
enum err preferences_merge(struct ctx *cx, const char *at, struct str was,
                           struct str change, struct buf *out) MUST_CHECK;
/* From what is stored; what this program does not know is left out. */
enum err preferences_from_json(struct str json, struct buf *out) MUST_CHECK;

#endif
