/*
 * front - the front end's build (STATIC_DIR), served on the API's own origin
 * (contract 2.4, 3.2).
 *
 * Why:     the front end calls relative /api/ paths, so its files must come
 *          from here; any path of its own is the application, and gets
 *          index.html.
 * Form:    the folder is read whole into memory, at start and on SIGHUP, and a
 *          request looks its path up in a sorted table.  Not sendfile(): that
 *          would block the loop on a slow disk, and each request would have to
 *          find its way through folders that can change under it.  Here no
 *          request touches the file system, so none can leave the folder,
 *          whatever it is spelled like; a file that is replaced or cut while it
 *          is sent stays as it was; index.html and its assets are always of one
 *          build; and a build is small.
 * Taken:   regular files below the folder, and links to them that stay below it
 *          (openat2() with RESOLVE_BENEATH; where a kernel lacks that, no links
 *          at all).  Names that begin with a dot, links that lead out or to
 *          folders, FIFOs, sockets and devices are left out and told on the log.
 * Coding:  NAME.br and NAME.gz beside NAME are NAME compressed, and nothing
 *          else; what has no .gz and shrinks (media.def) is compressed when it
 *          is read.
 * Keeping: a fingerprinted name of vite's, /assets/NAME-HASH.EXT with eight
 *          characters of hash, is immutable; all else is asked for anew each
 *          time and mostly answered 304.
 * Bounds:  STATIC_MAX_MB of bytes, FRONT_FILES_MAX files, FRONT_DEPTH_MAX
 *          folders deep.
 * Threads: front_new(), front_reload() and front_free() belong to one thread,
 *          the rest is for any.  What a request has begun with stays until it
 *          gives it back.
 */
#ifndef GATEWAY_FRONT_H
#define GATEWAY_FRONT_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define FRONT_FILES_MAX 10000
#define FRONT_DEPTH_MAX 16
#define FRONT_WHY_MAX   4096

/*
 * What a page that vite has built needs, and no more: its scripts, styles and
 * calls are files of this origin, and no markup can bring another.  Pictures
 * may be anywhere, also made in the page; fonts may be Google's.
 */
#define FRONT_POLICY                                               \
	"default-src 'self'; script-src 'self'; "                  \
	"style-src 'self' https://fonts.googleapis.com; "          \
	"font-src 'self' data: https://fonts.gstatic.com; "        \
	"img-src 'self' data: blob: https:; connect-src 'self'; "  \
	"object-src 'none'; base-uri 'none'; form-action 'self'; " \
	"frame-ancestors 'none'"

struct front;
struct front_set; /* the files of one reading; immutable */

/* Reads the folder.  NULL after one line in why: the folder or its index.html
 * is missing, a file cannot be read, a bound is exceeded, no memory. */
struct front *front_new(struct str folder, size_t bytes_max,
                        char why[FRONT_WHY_MAX]);
void front_free(struct front *f); /* NULL is fine */
AUTO_TYPE(front, struct front *, front_free)
/* Reads it again.  False after a line in why: what was served stays. */
bool front_reload(struct front *f, char why[FRONT_WHY_MAX]) MUST_CHECK;

/* What is served now; to be given back. */
const struct front_set *front_get(struct front *f);
void front_put(const struct front_set *s); /* NULL is fine */
size_t front_files(const struct front_set *s);
size_t front_bytes(const struct front_set *s); /* that it holds in memory */

/* Whether a path, as sent, is the front end's where no route is: all but
 * /api. */
bool front_owns(struct str path);

/* The parts of a request that count; headers are empty where absent. */
struct front_ask {
	struct str path; /* as sent */
	struct str accept, accept_encoding, if_none_match, if_modified_since,
		range, if_range;
	bool is_head; /* which has no ranges */
};

/* Slices of the set, and what they are. */
struct front_reply {
	struct str bytes;   /* of the file, or the range that was asked for */
	const char *type;   /* Content-Type */
	const char *coding; /* Content-Encoding, or NULL */
	const char *etag, *modified, *cache;
	bool coded;     /* there are several codings */
	bool page;      /* index.html for a path that names no file */
	bool same;      /* the client has it: 304 */
	bool part;      /* 206 */
	char range[72]; /* Content-Range, or empty */
};

/* ERR_NOT_FOUND; ERR_RANGE with out->range; or OK. */
enum err front_answer(const struct front_set *s, const struct front_ask *ask,
                      struct front_reply *out) MUST_CHECK;

#endif
