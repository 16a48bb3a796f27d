#include "svc-auth/audit.h"

enum err audit_tell(struct auth *au, struct db *db, const struct ctx *cx,
                    const struct audit_note *note)
{
	return audit_emit(au->conf.events, db, cx, note);
}
