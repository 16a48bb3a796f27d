/*
 * backup - one copy of all SQLite files as of one moment, while programs run.
 *
 * Why:     services tell each other of events that they have committed.  Files
 *          copied one after the other would disagree about which, and what is
 *          lost so is lost for ever: so writers wait until all three are copied.
 * Bounds:  WAIT_MS for the locks; then as long as the disk takes, in which
 *          reads go on and writes wait, or end at their own deadlines.
 */
#ifndef LOCAL_BACKUP_H
#define LOCAL_BACKUP_H

#include "common/service/program.h"

/* A program_flag's run_on: copies into dir, which it makes; refuses to replace a
 * file.  Exit 0, or 1 and a line on stderr. */
int backup_cli(struct program_env *env, const char *dir);

#define BACKUP_FLAG                                                         \
	{                                                                   \
		.name = "--backup", .value = "FOLDER",                      \
		.help = "copies the SQLite files, also while programs run", \
		.run_on = backup_cli,                                       \
	}

#endif
