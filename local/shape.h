/*
 * shape - the shape of an answer, written as an example of it.
 *
 * Why:     a schema and an example of it, kept apart, drift apart.  Here the
 *          example is what people write (operations.json), and the schema is
 *          derived, so neither can be forgotten.
 * Notation, in JSON:
 *     "name?": v        the member may be null; v is an example, or null for
 *                       text of which there is none yet
 *     "name~": v        the member may be absent
 *     "$Name"           the shape of that name
 *     ["|", "a", "b"]   one of these texts; the first is the example
 *     [v]               an array of such; [] of anything
 *     {}                an object of any members
 *   Every other member is there in each answer.  2 is an integer, 2.5 a number; a
 *   text that looks like a time, a UUID or an address says so in its schema.
 * Owns:    what is returned is the caller's.  NULL: no memory, or an unknown
 *          name.  Shapes are only looked at; jansson's iterators know no const.
 */
#ifndef LOCAL_SHAPE_H
#define LOCAL_SHAPE_H

#include <jansson.h>

json_t *shape_schema(json_t *shape);
json_t *shape_example(json_t *shape, json_t *shapes);

#endif
