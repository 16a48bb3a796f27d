/*
 * revoked - what must not be believed any more, as svc-auth tells it (design
 * D28; the kinds are explained in svc-auth/revoke.h).
 *
 * Why:     a token is good by itself until it expires; this list is what makes
 *          a logout true within a second.
 * Layout:  open addressing over keyed 128-bit hashes of (kind, id), so ids that
 *          somebody chose cannot crowd one place.
 * Bounds:  REVOKED_MAX live entries; entries past their time go when the table
 *          is rebuilt.
 * Threads: one at a time.
 */
#ifndef GATEWAY_REVOKED_H
#define GATEWAY_REVOKED_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define REVOKED_MAX ((size_t)1 << 20)

enum revoked_kind { REVOKED_JTI, REVOKED_KEY, REVOKED_SUB };

struct revoked;

struct revoked *revoked_new(void);
void revoked_free(struct revoked *r); /* NULL is fine */
AUTO_TYPE(revoked, struct revoked *, revoked_free)

/* False for a kind this program does not know. */
bool revoked_kind_from_str(struct str s, enum revoked_kind *out);
/* ERR_NOMEM, ERR_BUSY: full.  now_ms and until_ms are wall_ms(). */
enum err revoked_add(struct revoked *r, enum revoked_kind kind, struct str id,
                     int64_t at_ms, int64_t until_ms,
                     int64_t now_ms) MUST_CHECK;
/* When (at_ms), or -1: not revoked. */
int64_t revoked_at(const struct revoked *r, enum revoked_kind kind,
                   struct str id);
/* Changes with every addition: what was held against the list at the same
 * revision need not be held against it again. */
uint64_t revoked_revision(const struct revoked *r);
size_t revoked_count(const struct revoked *r);

#endif
