/* Parts of the OpenAPI document that several operations share.  What is
 * returned is the caller's. */
#ifndef LOCAL_OPENAPI_PARTS_H
#define LOCAL_OPENAPI_PARTS_H

#include "common/codec/fields.h"
#include "gateway/route.h"

#include <jansson.h>

/* A row of a methods.def: a method, or a field of the method before it. */
struct field_row {
	const char *method; /* NULL: a field */
	const char *name;
	enum field_from from;
	enum field_type type;
	bool required;
	bool keyed; /* the method takes an Idempotency-Key */
	int64_t min, max;
	const char *text;
	double number;
};

json_t *parts_field(const struct field_row *f); /* its schema */
json_t *parts_scopes(const struct route *r);
/* name: a status, or "Problem". */
json_t *parts_problem_ref(const char *name);
/* Everything before the paths: the front of operations.json, and in its
 * components what the tables say. */
json_t *parts_front(json_t *operations);

#endif
