/*
 * file - a small file, whole.
 *
 * Why:     settings, certificates and keys come in files.  What may be a secret
 *          is read in one piece of memory and past stdio, so that no copy is
 *          left behind; who reads one wipes out->p.
 * Bounds:  max bytes; a larger file is none that was meant.
 * Owns:    out is the caller's, who frees it also after a failure.
 * Threads: any.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "common/base/buf.h"

/*
 * Fills out, which is empty before, and puts a NUL behind it that out->n does not
 * count.  False with errno: EFBIG beyond max, ENOMEM, or what the system says.
 */
bool file_read(const char *path, size_t max, struct buf *out) MUST_CHECK;

#endif
