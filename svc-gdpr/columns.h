/*
 * columns - what every column of svc-gdpr is to a person (columns.def).
 */
#ifndef SVC_GDPR_COLUMNS_H
#define SVC_GDPR_COLUMNS_H

#include "common/privacy/columns.h"

extern const struct privacy_tables gdpr_columns;

#endif
