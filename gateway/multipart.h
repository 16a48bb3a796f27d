/*
 * multipart - a form with files (multipart/form-data, RFC 7578 and 2046) as the
 * msgpack map that a service reads (design D3).
 *
 *     name of a field      its text
 *     name of a file       {name: its own, type: of its part, data: bin}
 *
 * Why:     a browser sends pictures in no other form, and a service should
 *          see one form of input only; what two readers could read differently
 *          is refused here, before any service sees it.
 * Strict:  line ends are CR LF; a line that begins like the boundary is one;
 *          header lines are not folded and have names of tokens; a part has
 *          one Content-Disposition with one name, no filename* and no
 *          Content-Transfer-Encoding but 7bit, 8bit or binary; no name stands
 *          twice; text is UTF-8 without NUL; the form ends with its close
 *          delimiter.  Preamble and epilogue are ignored, as RFC 2046 has it.
 * Lenient: a form of no parts, as browsers send it, is an empty map; a file
 *          that has neither name nor bytes is one that was not chosen, and is
 *          left out.
 * Names:   of a file only what follows the last slash or backslash is kept; a
 *          service still must not take it for the name of a file of its own.
 * Bounds:  MULTIPART_*; O(n) time; the output is not longer than the body and
 *          some bytes for each part.
 * Owns:    nothing.
 * Threads: any.
 */
#ifndef GATEWAY_MULTIPART_H
#define GATEWAY_MULTIPART_H

#include "common/base/attr.h"
#include "common/base/buf.h"

#define MULTIPART_BOUNDARY_MAX 70 /* RFC 2046, 5.1.1 */
#define MULTIPART_PARTS_MAX    32
#define MULTIPART_LINES_MAX    8    /* of a part's head */
#define MULTIPART_HEAD_MAX     2048 /* bytes of it */
#define MULTIPART_NAME_MAX     64   /* bytes of a field's name */
#define MULTIPART_FILENAME_MAX 255
#define MULTIPART_TYPE_MAX     127

/* What is wrong, where, and in which part if that has said its name. */
struct multipart_error {
	size_t offset;
	const char *reason; /* static, e.g. "a name stands twice" */
	struct str part;    /* a slice of the body */
	bool nomem;
};

/* Whether a Content-Type is multipart/form-data. */
bool multipart_is(struct str content_type);
/* Its boundary, a slice.  False: there is none, two, or one that none can be. */
bool multipart_boundary(struct str content_type, struct str *out) MUST_CHECK;
/* Appends the map.  False: *at tells why, and *out is as before. */
bool multipart_to_mp(struct str body, struct str boundary, struct buf *out,
                     struct multipart_error *at) MUST_CHECK;

#endif
