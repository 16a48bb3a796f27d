#include "svc-auth/columns.h"

#define COLUMNS_DEF    "svc-auth/columns.def"
#define COLUMNS_SCHEMA "auth."
#include "common/privacy/tables.h"

const struct privacy_tables auth_columns = {"auth", tables, COUNTOF(tables)};
