/*
 * fields - turns the fields of a request into a checked C struct.
 *
 * A method's inputs are rows of a table (methods.def): where the value comes
 * from, its type and bounds, and where it goes in the handler's struct.  What
 * is missing, mistyped or out of bounds becomes one fault each, with a JSON
 * Pointer ("/focus/3", "?limit"); unknown fields are ignored, because clients
 * send extra ones.
 *
 * Types and their C form, bounds in brackets:
 *   TEXT   struct str   [code points]   JSON string; blanks around are kept
 *   TRIM   struct str   [code points]   the same, trimmed of white space first
 *   LINE   struct str   [code points]   TRIM, and only letters, marks, numbers,
 *                                       punctuation, symbols and spaces: no
 *                                       control characters, no '<' or '>'
 *   LOOSE  struct str   [code points]   any non-string counts as absent
 *   SECRET struct str   [code points]   TEXT, a password.  Dispatch runs a
 *                                       request that has one in the SLOW lane,
 *                                       where it may be hashed, and wipes the
 *                                       body when the answer is made
 *   INT    int64_t      [value]         integers; 3.0 counts, 3.5 does not;
 *                                       decimal text in query and path
 *   NUM    double       [value]
 *   BOOL   bool                         true/false; in a query also 1/0
 *   LINES  struct strs  [items]         array of LINE, each 1 to 200
 *   FILE   struct file  [bytes]         what a form with files brings (gateway/
 *                                       multipart.h): {name, type, data: bin};
 *                                       no JSON is one
 *   ANY    struct str   [bytes]         the value's msgpack, unchecked
 *
 * An optional field that is absent (or null) takes its fallback: text as
 * given, numbers by value; `has_NAME` is not made, so choose a fallback out of
 * range where absence matters.  A text fallback of NULL leaves p NULL; an absent
 * file is all NULL.
 *
 * Ownership: texts and files are slices of the request; LINES arrays live in the arena.
 */
#ifndef CODEC_FIELDS_H
#define CODEC_FIELDS_H

#include "common/base/ctx.h"

#define FIELDS_MAX 32 /* of one method */

enum field_from { FROM_BODY, FROM_QUERY, FROM_PATH };
enum field_type {
	FIELD_TEXT,
	FIELD_TRIM,
	FIELD_LINE,
	FIELD_LOOSE,
	FIELD_SECRET,
	FIELD_INT,
	FIELD_NUM,
	FIELD_BOOL,
	FIELD_LINES,
	FIELD_FILE,
	FIELD_ANY,
};

struct strs {
	const struct str *v;
	size_t n;
};

/* What a client says of its file is no more than that. */
struct file {
	struct str name, type, data;
};

#define FIELD_C_TEXT   struct str
#define FIELD_C_TRIM   struct str
#define FIELD_C_LINE   struct str
#define FIELD_C_LOOSE  struct str
#define FIELD_C_SECRET struct str
#define FIELD_C_INT    int64_t
#define FIELD_C_NUM    double
#define FIELD_C_BOOL   bool
#define FIELD_C_LINES  struct strs
#define FIELD_C_FILE   struct file
#define FIELD_C_ANY    struct str

struct field {
	const char *name; /* on the wire */
	enum field_from from;
	enum field_type type;
	bool required;
	int64_t min, max;
	const char *text_fallback; /* TEXT, TRIM, LINE, LOOSE, SECRET */
	double num_fallback;       /* INT, NUM, BOOL */
	size_t offset;             /* into the handler's struct */
};

/*
 * body, query and path are the msgpack of the entry's b, q and p (each a map,
 * or empty where absent).  ERR_INVALID with all faults in cx->problem, or
 * ERR_NOMEM; *out is only whole on OK.  A body that is not a map while a
 * required or given body field exists is one fault with pointer "".
 */
enum err fields_read(struct ctx *cx, const struct field *fields, size_t n,
                     struct str body, struct str query, struct str path,
                     void *out) MUST_CHECK;

#endif
