/*
 * secret_file - a secret kept in a file of DATA_DIR, made once.
 *
 * Why:     several processes may start at the same moment on one folder, and a
 *          crash may come at any point; yet there must never be two secrets,
 *          nor half of one.  So the text is written and synced under a name of
 *          its own and then linked: link() fails when the name is taken.
 * Bounds:  SECRET_FILE_MAX bytes of text.
 * Owns:    nothing; the text is the caller's to wipe.
 * Threads: any.
 */
#ifndef BASE_SECRET_FILE_H
#define BASE_SECRET_FILE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define SECRET_FILE_MAX 1024
#define SECRET_PATH_MAX 1024

/* "dir/name" into out; false when it does not fit. */
bool secret_path(struct str dir, const char *name,
                 char out[SECRET_PATH_MAX]) MUST_CHECK;
/*
 * The text without trailing white space.  ERR_NOT_FOUND: no such file.
 * ERR_INVALID: empty, too long or unreadable; told on the log.
 */
enum err secret_file_read(const char *path, char out[SECRET_FILE_MAX],
                          size_t *n) MUST_CHECK;
/*
 * Creates it, readable by its owner alone, and the folder if that is missing.
 * ERR_EXISTS: it is there already.  ERR_INVALID: told on the log.
 */
enum err secret_file_create(const char *path, struct str text) MUST_CHECK;

#endif
