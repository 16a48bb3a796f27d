/*
 * openapi - docs/openapi.yaml, made from the route table of the gateway and the
 * method tables of the services.
 *
 * It stands here because only this folder may look into all programs.
 */
#ifndef LOCAL_OPENAPI_H
#define LOCAL_OPENAPI_H

#include <stdio.h>

void openapi_write(FILE *f);

#endif
