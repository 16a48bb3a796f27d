/*
 * audit_check - the flag --verify-audit of kae-gdpr and knowalledge.
 *
 *     kae-gdpr --verify-audit            prints rows, head, and the first fault
 *     kae-gdpr --verify-audit 12:4f…     also holds the log against this head
 *
 * Reads the database of the settings, changes nothing, and may be run beside
 * the program.  Exit 0: the log is whole; 1: it is not, or cannot be read.
 */
#ifndef SVC_GDPR_AUDIT_CHECK_H
#define SVC_GDPR_AUDIT_CHECK_H

#include "common/service/program.h"

/* A row of program.flags. */
#define AUDIT_CHECK_FLAG                                                 \
	{                                                                \
		.name = "--verify-audit", .value = "[SEQ:HASH]",         \
		.help = "prove that the audit log is whole, and is the " \
			"one with this head; exit 0 or 1",               \
		.run_on = audit_check_cli, .optional = true,             \
	}
int audit_check_cli(struct program_env *env, const char *value);

#endif
