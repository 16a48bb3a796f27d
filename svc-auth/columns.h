/*
 * columns - what every column of svc-auth is to a person (columns.def).
 */
#ifndef SVC_AUTH_COLUMNS_H
#define SVC_AUTH_COLUMNS_H

#include "common/privacy/columns.h"

extern const struct privacy_tables auth_columns;

#endif
