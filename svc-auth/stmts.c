#include "svc-auth/stmts.h"

#define USER(u)                                                             \
	u "sub, " u "handle, " u "role, " u "tier, " u "state, " u          \
	  "not_before, " u "created_at, " u "email, " u "last_login_at, " u \
	  "password_at"

/* The table is read once per driver; each pass fills its own member. */
const struct db_stmt auth_stmts[STMT_COUNT] = {
#define T(table) #table
#define PG(text)
#define STMT_ROW(id, title, text) \
	[STMT_##id].name = (title), [STMT_##id].sqlite = (text),
#include "svc-auth/stmts.def"
#undef STMT_ROW
#undef PG
#undef T
#define T(table)                  "auth." #table
#define PG(text)                  text
#define STMT_ROW(id, title, text) [STMT_##id].postgres = (text),
#include "svc-auth/stmts.def"
#undef STMT_ROW
#undef PG
#undef T
};
