#include "svc-gdpr/erase.h"

#include "svc-gdpr/audit.h"
#include "svc-gdpr/consent.h"
#include "svc-gdpr/person.h"
#include "svc-gdpr/state.h"

/* An eraser's run: the board counts who is on it. */
static enum err erase_row(void *arg, struct db *db, const struct erasee *who,
                          int64_t *rows)
{
	(void)arg;
	return person_delete(db, who->sub, rows);
}

/* An eraser's run: the rows stay and are nobody's. */
static enum err erase_consents(void *arg, struct db *db,
                               const struct erasee *who, int64_t *rows)
{
	(void)arg;
	(void)rows;
	return consent_erase(db, who->sub);
}

/* An eraser's run: last, as the head of the log is locked last of all rows. */
static enum err erase_audit(void *arg, struct db *db, const struct erasee *who,
                            int64_t *rows)
{
	const struct audit_note asked = {.event = AUDIT_IS(ACCOUNT_DELETION),
	                                 .sub = who->sub,
	                                 .actor = who->sub,
	                                 .role = ROLE_USER};
	enum err e = audit_append(db, db_cx(db), &asked);

	(void)arg;
	if (e)
		return e;
	return audit_forget(db, db_cx(db), who->sub, rows);
}

/* Who told of a breach: an administrator, whose account may go. */
#define FORGET_TELLER(t) \
	"UPDATE " t "breaches SET by_sub = '' WHERE by_sub = $1"

/* The person first: their row is what awards of theirs wait for. */
static const struct eraser erasers[] = {
	ERASER_BY("person", erase_row),
	ERASER("gdpr", ledger),
	ERASER("gdpr", unlocked),
	ERASER("gdpr", streak_run),
	ERASER("gdpr", breach_notices),
	{"breaches",
         {"erase.breaches", FORGET_TELLER(""), FORGET_TELLER("gdpr.")},
         NULL},
	ERASER_BY("consent_origins", erase_consents),
	ERASER_BY("audit_detail", erase_audit),
};

static enum err traces(void *arg, struct ctx *cx, const struct erasee *who,
                       struct erase_traces *out)
{
	(void)arg;
	(void)cx;
	(void)who;
	out->tags[out->tags_n++] = BOARD_TAG;
	/* The leaderboard of the shared tier, and what else shows the handle. */
	if (who->hnd.n >= ERASE_WORD_MIN)
		out->words[out->words_n++] = who->hnd;
	return OK;
}

const struct erase_def gdpr_erase = {
	.erasers = erasers,
	.erasers_n = COUNTOF(erasers),
	.traces = traces,
};
