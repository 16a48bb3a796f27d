/*
 * export - "content.export": every row that svc-content holds about a person,
 * for svc-gdpr, which makes a document of what all services hold.
 */
#include "svc-content/columns.h"
#include "svc-content/content.h"
#include "svc-content/methods.h"

#include "common/privacy/rows.h"

enum err method_content_export(void *state, struct ctx *cx, const void *in,
                               struct reply *out)
{
	const struct content_export_in *ask = in;
	const struct content *ct = state;

	return privacy_answer(ct->pool, cx, &content_columns, NULL, ask->sub,
	                      out);
}
