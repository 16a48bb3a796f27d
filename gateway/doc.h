/*
 * doc - documents and listings made from the gateway's tables.
 */
#ifndef GATEWAY_DOC_H
#define GATEWAY_DOC_H

#include <stdio.h>

/* One line per route: method, path, who, service, call, state, and for ANYONE
 * the reason. */
void doc_routes(FILE *f);
/* docs/errors.md. */
void doc_errors(FILE *f);

#endif
