/*
 * stmts - the statements of stmts.def as constants: STMT(USER_ADD).
 */
#ifndef SVC_AUTH_STMTS_H
#define SVC_AUTH_STMTS_H

#include "common/db/db.h"

enum auth_stmt {
#define STMT_ROW(id, title, text) STMT_##id,
#include "svc-auth/stmts.def"
#undef STMT_ROW
	STMT_COUNT
};

extern const struct db_stmt auth_stmts[STMT_COUNT];
#define STMT(id) (&auth_stmts[STMT_##id])

#endif
