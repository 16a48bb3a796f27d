/*
 * front_set - the files of one reading of the front end's folder, in memory.
 *
 * Made by one thread, then read-only and shared by count.  front.c and
 * front_load.c only, and tests that need no folder.
 */
#ifndef GATEWAY_FRONT_SET_H
#define GATEWAY_FRONT_SET_H

#include "common/base/buf.h"
#include "gateway/etag.h"
#include "gateway/front.h"

#include <stdatomic.h>
#include <stdint.h>

#define FRONT_DATE_MAX 80

enum front_coding { FRONT_PLAIN, FRONT_GZIP, FRONT_BR, FRONT_CODINGS };

struct front_body {
	bool there; /* else the file is not in this coding */
	struct buf bytes;
	char etag[ETAG_MAX];
};

struct front_file {
	char *path; /* "/assets/app.js", UTF-8, as a decoded path has it */
	const char *type, *cache;
	bool packs;
	char modified[FRONT_DATE_MAX]; /* Last-Modified, or empty */
	struct front_body bodies[FRONT_CODINGS];
};

struct front_set {
	_Atomic unsigned users;
	struct front_file *files; /* by path */
	size_t n, cap, bytes, bytes_max;
	const struct front_file *index; /* "/index.html" */
};

struct front_set *front_set_new(size_t bytes_max); /* NULL: no memory */
void front_set_free(struct front_set *s);          /* whoever uses it */
AUTO_TYPE(front_set, struct front_set *, front_set_free)
/*
 * Takes the bytes of *body and copies path.  False, with a reason: a bound, or
 * no memory.
 */
bool front_set_add(struct front_set *s, struct str path, struct buf *body,
                   int64_t modified_s, const char **why) MUST_CHECK;
/*
 * Once all are there: sorts, joins compressed siblings to their files and makes
 * the codings and tags that are missing.  False, with a reason.
 */
bool front_set_finish(struct front_set *s, const char **why) MUST_CHECK;
/* Of the file with that path, or NULL. */
const struct front_file *front_set_find(const struct front_set *s,
                                        struct str path);

/* front_load.c: reads the folder into a new set; NULL after a line in why. */
struct front_set *front_load(struct str folder, size_t bytes_max,
                             char why[FRONT_WHY_MAX]);

#endif
