#include "svc-content/stmts.h"

/* The table is read once per driver; each pass fills its own member. */
const struct db_stmt content_stmts[STMT_COUNT] = {
#define T(table) #table
#define PG(text)
#define LITE(text) text
#define STMT_ROW(id, title, text) \
	[STMT_##id].name = (title), [STMT_##id].sqlite = (text),
#include "svc-content/stmts.def"
#undef STMT_ROW
#undef LITE
#undef PG
#undef T
#define T(table) "content." #table
#define PG(text) text
#define LITE(text)
#define STMT_ROW(id, title, text) [STMT_##id].postgres = (text),
#include "svc-content/stmts.def"
#undef STMT_ROW
#undef LITE
#undef PG
#undef T
};
