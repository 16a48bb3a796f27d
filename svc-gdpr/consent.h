/*
 * consent - the ledger of what people agreed to, and took back (GDPR 7(1), 7(3)).
 *
 * Why:     what was agreed to has to be shown years later, so nothing is ever
 *          changed: giving and taking back are rows alike, and the state is the
 *          last row of a type.  The database refuses to change or delete one.
 * Whose:   rows carry a pseudonym (pseudonym.h).  The network and the browser
 *          that a row came from lie in a table of their own, so that erasing
 *          deletes them and leaves the proof.
 * Repeats: the same state again within CONSENT_REPEAT_MS is the first one.
 * Bounds:  one page of history has CONSENT_PAGE_MAX rows.
 *
 * Everything here runs inside a transaction function of common/db.
 */
#ifndef SVC_GDPR_CONSENT_H
#define SVC_GDPR_CONSENT_H

#include "common/base/ctx.h"
#include "common/db/db.h"

#define CONSENT_REPEAT_MS   30000
#define CONSENT_PAGE_MAX    100
#define CONSENT_VERSION_MAX 32

enum consent {
#define CONSENT(id, kind, name, version) CONSENT_##id,
#include "svc-gdpr/consents.def"
#undef CONSENT
	CONSENT_COUNT
};
enum consent_kind { CONSENT_POLICY, CONSENT_COOKIE, CONSENT_ALWAYS };
struct consent_type {
	const char *name, *stored; /* "analytics", "cookie.analytics" */
	const char *version;       /* of the text in force */
	enum consent_kind kind;
};
extern const struct consent_type consent_types[CONSENT_COUNT];
/* Among the policies, or among the cookie categories; false: none of them. */
bool consent_from_name(struct str name, bool cookie, enum consent *out);

/* at 0: never asked, which is not given (ALWAYS: given). */
struct consent_state {
	bool given;
	char version[CONSENT_VERSION_MAX];
	int64_t at;
};
enum err consent_get(struct db *db, struct str sub,
                     struct consent_state out[CONSENT_COUNT]) MUST_CHECK;

struct consent_change {
	enum consent which;
	bool given;
	struct consent_state now; /* what was recorded, or was there */
	bool recorded;            /* now, and not before */
};
/* cx says who, from where and with which browser; now_ms when. */
enum err consent_record(struct db *db, const struct ctx *cx,
                        const char *mechanism, int64_t now_ms,
                        struct consent_change *v, size_t n) MUST_CHECK;

struct consent_row {
	int64_t seq, at;
	bool given, cookie;
	struct str type, version, mechanism; /* valid during the call */
	struct str network, agent;           /* p NULL: not kept any more */
};
typedef enum err consent_row_fn(void *arg, const struct consent_row *row);
/* The newest first: those with a seq below `before`. */
enum err consent_history(struct db *db, struct str sub, int64_t before,
                         int64_t limit, consent_row_fn *fn,
                         void *arg) MUST_CHECK;

/* In the transaction that erases a person: the rows stay and are nobody's. */
enum err consent_erase(struct db *db, struct str sub) MUST_CHECK;

#endif
