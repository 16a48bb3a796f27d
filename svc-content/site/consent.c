#include "svc-content/site/consent.h"

#include "common/codec/mp.h"
#include "svc-content/stmts.h"

enum err site_consent_is(struct db *db, struct str sub, bool *out)
{
	const struct db_val v[] = {DB_STR(sub)};
	int64_t n = 0;
	enum err e = db_get_i64(db, STMT(SITE_CONSENT_IS), v, COUNTOF(v), &n);

	if (!e)
		*out = n > 0;
	return e;
}

struct str site_handle(struct str hnd, char out[SITE_HANDLE_MAX])
{
	size_t n = hnd.n < SITE_HANDLE_MAX ? hnd.n : 0;

	for (size_t i = 0; i < n; i++)
		out[i] = hnd.p[i] >= 'A' && hnd.p[i] <= 'Z'
		                 ? (char)(hnd.p[i] - 'A' + 'a')
		                 : hnd.p[i];
	return (struct str){out, n};
}

enum err site_consent_apply(struct db *db, const struct event *ev)
{
	char hnd[SITE_HANDLE_MAX];
	struct str name = mp_find_str(ev->body, "hnd", STR(""));
	const struct db_val v[] = {DB_STR(ev->sub),
	                           DB_STR(site_handle(name, hnd)),
	                           DB_I64(ev->at)};
	enum err e;

	/* Anything but a clear yes is a no. */
	if (mp_find_bool(ev->body, "given", false))
		return db_run(db, STMT(SITE_CONSENT_ADD), v, COUNTOF(v), NULL);
	e = db_run(db, STMT(SITE_CONSENT_DROP), v, 1, NULL);
	return e ? e : db_run(db, STMT(SITE_FORGET), v, 1, NULL);
}
