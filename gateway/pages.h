/*
 * pages - documents that the build makes from the tables (local/openapi_tool.c)
 * and that stay in memory for ever, so that none can be older than the program.
 */
#ifndef GATEWAY_PAGES_H
#define GATEWAY_PAGES_H

#include "common/base/str.h"

extern const struct str pages_openapi; /* OpenAPI 3.1, JSON */
extern const struct str pages_docs;    /* the same for people, HTML */
extern const struct str pages_style;   /* CSS */

#endif
