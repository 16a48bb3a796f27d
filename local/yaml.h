/*
 * yaml - writes a JSON value as YAML 1.2 for people to read.
 *
 * Only what a JSON value needs: block maps and lists, text in double quotes
 * unless it is plainly a word, what is short in one line.
 */
#ifndef LOCAL_YAML_H
#define LOCAL_YAML_H

#include <jansson.h>
#include <stdio.h>

void yaml_write(FILE *f, json_t *v);

#endif
