#include "svc-gdpr/columns.h"

#define COLUMNS_DEF    "svc-gdpr/columns.def"
#define COLUMNS_SCHEMA "gdpr."
#include "common/privacy/tables.h"

const struct privacy_tables gdpr_columns = {"gdpr", tables, COUNTOF(tables)};
