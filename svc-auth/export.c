/*
 * export - "auth.export": every row that svc-auth holds about a person, for
 * svc-gdpr, which makes a document of what all services hold.
 */
#include "svc-auth/auth.h"
#include "svc-auth/columns.h"
#include "svc-auth/methods.h"

#include "common/privacy/rows.h"

enum err method_auth_export(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct auth_export_in *ask = in;
	const struct auth *au = state;

	return privacy_answer(au->conf.pool, cx, &auth_columns, "users",
	                      ask->sub, out);
}
