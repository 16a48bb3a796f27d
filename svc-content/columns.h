/*
 * columns - what every column of svc-content is to a person (columns.def).
 */
#ifndef SVC_CONTENT_COLUMNS_H
#define SVC_CONTENT_COLUMNS_H

#include "common/privacy/columns.h"

extern const struct privacy_tables content_columns;

#endif
