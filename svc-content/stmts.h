/*
 * stmts - the statements of stmts.def as constants: STMT(ATTEMPT_ADD).
 */
#ifndef SVC_CONTENT_STMTS_H
#define SVC_CONTENT_STMTS_H

#include "common/db/db.h"

enum content_stmt {
#define STMT_ROW(id, title, text) STMT_##id,
#include "svc-content/stmts.def"
#undef STMT_ROW
	STMT_COUNT
};

extern const struct db_stmt content_stmts[STMT_COUNT];
#define STMT(id) (&content_stmts[STMT_##id])

#endif
