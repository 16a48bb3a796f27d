/*
 * json - JSON text to msgpack and back, in one pass, without a tree.
 *
 * json_to_mp() is strict RFC 8259: one value, UTF-8 well formed, no lone
 * surrogate, no duplicate key in an object, no NaN.  Stricter than the RFC: no
 * \u0000 in text, depth at most JSON_DEPTH_MAX, numbers written as integers
 * must fit 64 bits (INT64_MIN to UINT64_MAX), others must be finite doubles.
 * mp_to_json() writes what msgpack can say and JSON too: bin becomes base64
 * text, ext and non-text keys are refused, NaN and infinities become null;
 * whether a key stands twice is not looked at, since our own services wrote it.
 * "-0" comes back as -0.0.  Text is written as UTF-8, not escaped, except what
 * RFC 8259 demands, plus "<", ">", "&" and U+2028/2029 as \u escapes, so that a
 * body pasted into a page starts no tag.
 *
 * Bounds:  O(n) time in the input (duplicate keys are found by hashing);
 *          memory: the output buf plus O(keys of open objects).
 * Errors:  false; *at tells the byte offset and a reason fit for a client.
 * Threads: any.
 */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

#include "common/base/attr.h"
#include "common/base/buf.h"

#define JSON_DEPTH_MAX 32

struct json_error {
	size_t offset;
	const char *reason; /* static, e.g. "a key stands twice in an object" */
	bool nomem;
};

bool json_to_mp(struct str json, struct buf *out,
                struct json_error *at) MUST_CHECK;
/* False when mp is not well-formed or cannot be said in JSON. */
bool mp_to_json(struct str mp, struct buf *out) MUST_CHECK;
/* Appends s as a JSON string with its quotes; bytes that are not UTF-8 become
 * U+FFFD, so that what is told of a fault can always be told. */
void json_add_str(struct buf *out, struct str s);
/* Appends the shortest number that reads back as v; null if there is none. */
void json_add_f64(struct buf *out, double v);

#endif
