/*
 * The file under a connection: making, opening, and noticing that it is no
 * longer the one that was opened.
 *
 * Why look:   SQLite goes on with the file it has opened when its name is gone,
 *             and would acknowledge writes that the next start cannot find; cut
 *             or overwritten, it is read from memory until something tears.  So
 *             the writer looks before each group and again before it says that
 *             the group is kept, a reader now and then: name, size and first
 *             bytes, three system calls.
 * Why not
 * make again: an empty database in the place of the lost one would hide the loss
 *             from everybody.  A pool that has seen its file never makes one.
 * Locks:      a process loses all its POSIX locks on a file when it closes any
 *             descriptor of it.  SQLite's are the reason why another program
 *             that opens and closes the database leaves our WAL alone.  So
 *             nothing here opens a database that is there but SQLite itself.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/db/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRUB_MS     5000 /* readers that a scrub waits for */
#define BUSY_MS      250  /* the writer asks again until the deadline */
#define PROGRESS_OPS 4000 /* about 0.1 ms between two looks at the clock */

#define HEAD_BYTES  32
#define WHOLE_TRIES 20

static const char MAGIC[16] = "SQLite format 3";

/* --- making ------------------------------------------------------------------ */

static struct sqlite_shared *shared_of(struct db_pool *p)
{
	return p->shared;
}

static bool has_seen(struct db_pool *p)
{
	return atomic_load(&shared_of(p)->size) > 0;
}

static enum err cannot_open(struct db_pool *p, const char *path,
                            const char *why)
{
	if (db_pool_may_complain(p))
		log_error(&p->cx, "db.cannot_open", LOG_TEXT("file", path),
		          LOG_TEXT("why", why));
	return ERR_DATABASE;
}

/* errno tells what no retry will mend: but a file that was there may return. */
static enum err unusable(struct db_pool *p, const char *path, int why)
{
	enum err e = cannot_open(p, path, strerror(why));

	if (why == ENOMEM)
		return ERR_NOMEM;
	if (why == EMFILE || why == ENFILE || why == ENOSPC || why == EIO ||
	    has_seen(p))
		return e;
	return ERR_INVALID;
}

/* By us, because SQLite would let others read it. */
static enum err make_file(struct db_pool *p, const char *path)
{
	int fd = db_make_parents(path)
	                 ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
	                        0600)
	                 : -1;

	if (fd >= 0)
		(void)close(fd); /* nobody has locked it yet */
	return fd >= 0 || errno == EEXIST ? OK : unusable(p, path, errno);
}

static enum err check_file(struct db_pool *p, const char *path)
{
	bool seen = has_seen(p);
	struct stat st;

	if (stat(path, &st))
		return errno == ENOENT && !seen ? make_file(p, path)
		                                : unusable(p, path, errno);
	if (!S_ISREG(st.st_mode))
		return unusable(p, path, EISDIR);
	if (access(path, R_OK | W_OK))
		return unusable(p, path, errno);
	/* SQLite would take it for a new database and throw away the WAL. */
	if (seen && st.st_size == 0)
		return cannot_open(p, path, "the file has become empty");
	return OK;
}

/* --- looking ----------------------------------------------------------------- */

/* The first bytes of the file, and its size; false when it cannot be read. */
static bool read_head(struct sqlite_conn *c, unsigned char head[HEAD_BYTES],
                      sqlite3_int64 *size)
{
	sqlite3_file *f = NULL;

	return sqlite3_file_control(c->h, "main", SQLITE_FCNTL_FILE_POINTER,
	                            &f) == SQLITE_OK &&
	       f && f->pMethods &&
	       f->pMethods->xFileSize(f, size) == SQLITE_OK &&
	       f->pMethods->xRead(f, head, HEAD_BYTES, 0) == SQLITE_OK;
}

static const char *what_is_wrong(struct sqlite_conn *c)
{
	unsigned char head[HEAD_BYTES];
	sqlite3_int64 size = 0;
	int moved = 0;

	if (sqlite3_file_control(c->h, "main", SQLITE_FCNTL_HAS_MOVED,
	                         &moved) == SQLITE_OK &&
	    moved)
		return "the file was moved or deleted";
	if (!read_head(c, head, &size))
		return "the file cannot be read";
	if (size < c->size)
		return "the file was cut";
	if (memcmp(head, MAGIC, sizeof(MAGIC)) != 0)
		return "the file is no database any more";
	if (size > c->size)
		atomic_store(&shared_of(c->db.pool)->size, size);
	c->size = size;
	return NULL;
}

/*
 * False: shorter than it was, and than its head says.  SQLite does not look
 * while there is a WAL, and would read what was cut off as zeros.  Shorter than
 * the head alone is a file whose copying from the WAL was broken off, and whole
 * with it; shorter than it was alone is a VACUUM.
 */
static bool is_whole(struct sqlite_conn *c)
{
	_Atomic sqlite3_int64 *known = &shared_of(c->db.pool)->size;
	unsigned char h[HEAD_BYTES];
	sqlite3_int64 size = 0, page, pages;

	if (!read_head(c, h, &size))
		return false;
	page = h[16] << 8 | h[17];
	pages = (sqlite3_int64)h[28] << 24 | h[29] << 16 | h[30] << 8 | h[31];
	if (size < atomic_load(known) &&
	    size < (page == 1 ? 65536 : page) * pages)
		return false;
	atomic_store(known, size);
	return true;
}

/*
 * The last to close copies the WAL into the file and removes it.  Not into a
 * file that is not ours: the right one, put back, is complete with its WAL.
 */
static void leave_wal(struct sqlite_conn *c, bool leave)
{
	(void)sqlite3_db_config(c->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave,
	                        NULL);
}

bool sqlite_in_place(struct sqlite_conn *c)
{
	const char *wrong = what_is_wrong(c);

	c->looked_ms = mono_ms();
	if (!wrong)
		return true;
	if (db_pool_may_complain(c->db.pool))
		log_error(c->db.cx, "db.file_changed", LOG_TEXT("why", wrong));
	leave_wal(c, true);
	c->db.dead = true;
	return false;
}

/* --- opening ----------------------------------------------------------------- */

void sqlite_shut(struct db *db)
{
	struct sqlite_conn *c = sqlite_of(db);

	sqlite_forget_prepared(c);
	(void)sqlite3_close_v2(c->h);
	free(c);
}

/* SQLite asks now and then whether to go on: not past the deadline. */
static int past_deadline(void *arg)
{
	const struct db *db = arg;

	return mono_ms() >= db->deadline_ms;
}

static enum err configure(struct sqlite_conn *c)
{
	/* FULL: what was acknowledged survives a power cut, in WAL mode too. */
	static const char common[] =
		"PRAGMA journal_mode=WAL;"
		"PRAGMA synchronous=FULL;"
		"PRAGMA foreign_keys=ON;"
		"PRAGMA trusted_schema=OFF;"
		"PRAGMA temp_store=MEMORY;"
		/* What is deleted is gone from the file. */
		"PRAGMA secure_delete=ON;"
		"PRAGMA journal_size_limit=67108864;";

	if (sqlite3_exec(c->h, common, NULL, NULL, NULL) ||
	    (!c->writes &&
	     sqlite3_exec(c->h, "PRAGMA query_only=ON", NULL, NULL, NULL)))
		return sqlite_failure(c, "open");
	sqlite3_progress_handler(c->h, PROGRESS_OPS, past_deadline, &c->db);
	return OK;
}

enum err sqlite_open(struct db_pool *p, bool writes, struct db **out)
{
	struct sqlite_conn *c;
	struct str path = {0};
	enum err e;

	if (!db_sqlite_path(p->conf.url, &path))
		return ERR_INVALID;
	e = check_file(p, path.p);
	if (e)
		return e;
	c = calloc(1, sizeof(*c));
	if (!c)
		return ERR_NOMEM;
	c->db = (struct db){.driver = &db_sqlite,
	                    .pool = p,
	                    .cx = &p->cx,
	                    .deadline_ms = UINT64_MAX,
	                    .opened_ms = mono_ms()};
	c->writes = writes;
	/* One thread at a time uses a connection: no mutex inside. */
	if (sqlite3_open_v2(path.p, &c->h,
	                    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL))
		e = c->h ? sqlite_failure(c, "open") : ERR_NOMEM;
	if (!e) {
		leave_wal(c, true);
		(void)sqlite3_extended_result_codes(c->h, 1);
		(void)sqlite3_busy_timeout(c->h, BUSY_MS);
		e = configure(c);
	}
	if (!e && !is_whole(c))
		e = cannot_open(p, path.p, "a part of the file is missing");
	if (!e && !sqlite_in_place(c))
		e = ERR_DATABASE;
	if (e) {
		sqlite_shut(&c->db);
		return e;
	}
	leave_wal(c, false);
	*out = &c->db;
	return OK;
}

/*
 * The log holds pages as they were before.  A connection of its own, since those
 * of the pool are in transactions; it waits for readers as any writer does.
 */
enum err sqlite_scrub(struct db_pool *p)
{
	struct str path = {0};
	sqlite3 *h = NULL;
	int rc = SQLITE_ERROR;

	if (!db_sqlite_path(p->conf.url, &path))
		return ERR_INVALID;
	if (sqlite3_open_v2(path.p, &h, SQLITE_OPEN_READWRITE, NULL) ==
	    SQLITE_OK) {
		(void)sqlite3_busy_timeout(h, SCRUB_MS);
		/* It knows of no log before it has read something. */
		rc = sqlite3_exec(h, "SELECT 1 FROM sqlite_master", NULL, NULL,
		                  NULL);
		if (rc == SQLITE_OK)
			rc = sqlite3_wal_checkpoint_v2(
				h, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
				NULL);
	}
	(void)sqlite3_close_v2(h);
	return rc == SQLITE_OK ? OK : ERR_DATABASE;
}
