#include "svc-content/apply.h"

#include "common/base/log.h"
#include "svc-content/restricted.h"
#include "svc-content/site/consent.h"

static enum err restricted(struct db *db, const struct event *ev)
{
	return restricted_apply(NULL, db, ev);
}

static const struct {
	const char *source, *type;
	enum err (*run)(struct db *db, const struct event *ev);
} kinds[] = {
	{"gdpr", "person.restricted", restricted},
	{"gdpr", "consent.analytics", site_consent_apply},
};

enum err content_apply(void *arg, struct db *db, const struct event *ev)
{
	(void)arg;
	for (size_t i = 0; i < COUNTOF(kinds); i++)
		if (str_eq(ev->type, str_from(kinds[i].type)) &&
		    str_eq(ev->source, str_from(kinds[i].source)))
			return kinds[i].run(db, ev);
	log_error(NULL, "event.skipped", LOG_TEXT("id", ev->id),
	          LOG_STR("source", ev->source),
	          LOG_TEXT("reason", "not one that this version knows"));
	return OK;
}
