/*
 * openapi - the HTTP interface as an OpenAPI 3.1 document, made from the route
 * table of the gateway, the method tables of the services, the table of errors
 * and operations.json, which holds what no table says: what an answer looks
 * like, and an example of each.
 *
 * It stands here because only this folder may look into all programs.  The
 * build runs it (openapi_tool.c), and the gateway serves what it made; a
 * document is therefore never older than the program.
 */
#ifndef LOCAL_OPENAPI_H
#define LOCAL_OPENAPI_H

#include "common/base/buf.h"

#include <jansson.h>
#include <stdio.h>

/* NULL: no memory, or an operation that no route has, told on complaints. */
json_t *openapi_build(json_t *operations, FILE *complaints);
/* The document for people. */
void openapi_page(struct buf *out, json_t *document);
/* The document that the gateway serves, as YAML. */
void openapi_write(FILE *f);

#endif
