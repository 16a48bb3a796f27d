/*
 * stmts - every statement of svc-gdpr by name: STMT(PERSON_GET).
 */
#ifndef SVC_GDPR_STMTS_H
#define SVC_GDPR_STMTS_H

#include "common/db/db.h"

enum gdpr_stmt {
#define STMT_ROW(id, name, text) GDPR_STMT_##id,
#include "svc-gdpr/stmts.def"
#undef STMT_ROW
	GDPR_STMT_COUNT
};

extern const struct db_stmt gdpr_stmts[GDPR_STMT_COUNT];

#define STMT(id) (&gdpr_stmts[GDPR_STMT_##id])

#endif
