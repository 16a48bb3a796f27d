#include "svc-content/columns.h"

#define COLUMNS_DEF    "svc-content/columns.def"
#define COLUMNS_SCHEMA "content."
#include "common/privacy/tables.h"

const struct privacy_tables content_columns = {"content", tables,
                                               COUNTOF(tables)};
