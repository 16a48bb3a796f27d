#include "svc-gdpr/audit_check.h"

#include "common/base/clock.h"
#include "svc-gdpr/audit_verify.h"

#include <inttypes.h>
#include <stdio.h>

#define CHECK_MS ((uint64_t)6 * 3600 * 1000)

static int tell(const struct audit_report *r)
{
	char text[AUDIT_HEAD_MAX];

	(void)printf("rows %" PRId64 ", from seq %" PRId64 "\n", r->rows,
	             r->first);
	(void)printf("head %s\n", audit_at_text(&r->head, text).p);
	if (r->why)
		(void)printf("FAIL  seq %" PRId64 ": %s\n", r->bad, r->why);
	else
		(void)printf("ok    the audit log is whole\n");
	return r->why ? 1 : 0;
}

int audit_check_cli(struct program_env *env, const char *value)
{
	AUTO(db_pool) pool = NULL;
	struct audit_at expect;
	struct audit_report report = {0};
	struct ctx cx = {.service = "gdpr",
	                 .rid = STR("verify-audit"),
	                 .deadline_ms = mono_ms() + CHECK_MS};
	enum err e;

	if (value && !audit_at_from_str(str_from(value), &expect)) {
		program_complain(env, "a head is written SEQ:HASH, as this "
		                      "flag prints it");
		return 2;
	}
	if (value)
		report.expect = &expect;
	e = program_open_database(env, PEER_GDPR, &pool);
	if (!e)
		e = db_read(pool, &cx, audit_verify, &report);
	if (e) {
		program_complain(env, "the audit log cannot be read: %s",
		                 err_text(e));
		return 1;
	}
	return tell(&report);
}
