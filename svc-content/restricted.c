#include "svc-content/restricted.h"

#include "common/base/log.h"
#include "common/codec/mp.h"
#include "svc-content/stmts.h"

enum err restricted_is(struct db *db, struct str sub, bool *out)
{
	const struct db_val v[] = {DB_STR(sub)};
	int64_t n = 0;
	enum err e = db_get_i64(db, STMT(RESTRICTED_IS), v, COUNTOF(v), &n);

	if (!e)
		*out = n > 0;
	return e;
}

static enum err read_count(void *arg, const struct db_row *row)
{
	bool *out = arg;

	*out = db_row_i64(row, 0) > 0;
	return OK;
}

enum err restricted_later(struct db *db, struct str sub, bool *out)
{
	const struct db_val v[] = {DB_STR(sub)};
	const struct db_sink sink = {read_count, out};

	return db_later(db, STMT(RESTRICTED_IS), v, COUNTOF(v), &sink);
}

enum err restricted_refuse(struct db *db, struct str sub)
{
	bool yes = false;
	enum err e = restricted_is(db, sub, &yes);

	return !e && yes ? ERR_RESTRICTED : e;
}

static bool says(struct str body, bool *on)
{
	struct str value;
	struct mp m;

	if (!mp_find(body, "restricted", &value))
		return false;
	m = mp_open(value);
	return mp_get_bool(&m, on);
}

enum err restricted_apply(void *arg, struct db *db, const struct event *ev)
{
	bool on;

	(void)arg;
	if (!str_eq(ev->source, STR("gdpr")) ||
	    !str_eq(ev->type, STR("person.restricted")) ||
	    !says(ev->body, &on)) {
		log_error(NULL, "event.skipped", LOG_TEXT("id", ev->id),
		          LOG_STR("source", ev->source),
		          LOG_TEXT("reason",
		                   "not one that this version knows"));
		return OK;
	}
	const struct db_val v[] = {DB_STR(ev->sub), DB_I64(ev->at)};

	return on ? db_run(db, STMT(RESTRICTED_ADD), v, COUNTOF(v), NULL)
	          : db_run(db, STMT(RESTRICTED_DROP), v, 1, NULL);
}
