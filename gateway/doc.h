/*
 * doc - documents and listings made from the gateway's tables.
 */
#ifndef GATEWAY_DOC_H
#define GATEWAY_DOC_H

#include <stdbool.h>
#include <stdio.h>

/* One line per route: method, path, who, service, call, state, and for ANYONE
 * the reason. */
void doc_routes(FILE *f);
/* Every route that anyone may call, with its reason from anyone.def, and how
 * many there are of each kind; false when the two tables disagree, told too. */
bool doc_audit(FILE *f);
/* docs/errors.md. */
void doc_errors(FILE *f);

#endif
