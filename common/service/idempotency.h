/*
 * idempotency - an effect happens once, however often its request is repeated
 * (design D20; draft-ietf-httpapi-idempotency-key-header).
 *
 * Why:     an answer can be lost on its way when the effect has been committed.
 *          Whoever sends an Idempotency-Key may ask again and gets the answer
 *          of the first time, because key, fingerprint and answer are stored IN
 *          THE TRANSACTION OF THE EFFECT: either both are there or neither.
 *          So the answer has to be made inside that transaction:
 *
 *     static enum err add(struct db *db, void *arg, struct reply *out)
 *     {
 *             ... statements; what is to be said goes into out ...
 *     }
 *     e = idem_write(idem, cx, add, &a, out);
 *     if (e || out->replayed)
 *             return e;
 *     ... what follows a commit: telling others, the audit line ...
 *
 *          Dispatch looks for a stored answer before it runs the handler, so a
 *          repeat costs no generation and no hashing, and a check that depends
 *          on the clock cannot refuse what was done.
 * Key:     of a person, the method and the key; of nobody, the prefix of the
 *          client's address (/24, /64), the method and the key.  Without a
 *          login the key is all that protects the answer, so it must be hard to
 *          guess: IDEM_ANONYMOUS_MIN characters.  SESSION methods count the
 *          session in.
 * Print:   the fingerprint is a hash of method, role and scopes, query, path
 *          parameters and body; the order of members of a JSON object and blanks
 *          between them do not matter.  Another one under the same key is
 *          ERR_OTHER_BODY.  Role and scopes are in it so that weaker credentials
 *          are not given what stronger ones were.
 * At once: the same key twice at the same time is ERR_KEY_BUSY for the second:
 *          by a set of the keys in work in this process, and among replicas by
 *          an advisory lock of the transaction.
 * Stored:  only what was committed.  A refusal has changed nothing and is
 *          decided anew; an error of ours is never kept.
 * Erased:  whoever has been (event/erased.h) gets ERR_BAD_TOKEN inside the
 *          transaction, so that a request that was under way when they were
 *          leaves nothing behind and no answer is given a second time.
 * Secrets: a service whose answers hold some gives a seal (struct idem_seal):
 *          answers then lie encrypted, bound to their row, and the hashes of
 *          key and request are keyed, since a request may hold a password.
 * Bounds:  IDEM_ANSWER_MAX bytes per answer; retention_ms; the purge deletes
 *          IDEM_BATCH rows per transaction, at most IDEM_BATCHES of them in a
 *          row.  The set holds requests in work, which others bound.
 * Cost:    without a key, a look for the erased in each transaction of a person.
 *          With one: a read before, and a lock, a read and an insert too.
 * Threads: any; idem_new(), idem_seal(), idem_purge_*() and idem_free() the
 *          owner's.
 */
#ifndef SERVICE_IDEMPOTENCY_H
#define SERVICE_IDEMPOTENCY_H

#include "common/bus/entry.h"
#include "common/db/db.h"
#include "common/event/erased.h"

#define IDEM_ANSWER_MAX    ((size_t)1 << 20)
#define IDEM_ANONYMOUS_MIN 16
#define IDEM_BATCH         500
#define IDEM_BATCHES       40
#define IDEM_HASH          32

/* The table, a migration of each service.  id: hash of who, method and key;
 * sub: whose, for erasure; print: of the request; answer: reply_pack()'s, or
 * that sealed. */
#define IDEM_TABLE(t, bytes, num)                                   \
	"CREATE TABLE " t "idempotency (id " bytes " PRIMARY KEY, " \
	"sub TEXT NOT NULL, print " bytes " NOT NULL, "             \
	"answer " bytes " NOT NULL, at " num " NOT NULL);"          \
	"CREATE INDEX idempotency_at ON " t "idempotency (at);"     \
	"CREATE INDEX idempotency_sub ON " t "idempotency (sub);"
#define IDEM_TABLE_SQLITE           IDEM_TABLE("", "BLOB", "INTEGER")
#define IDEM_TABLE_POSTGRES(schema) IDEM_TABLE(schema ".", "bytea", "bigint")

/*
 * One request that may have an effect: dispatch makes it and puts it into cx.
 * Without one, as in tests of a handler alone, a request has no key.
 */
struct effect {
	const char *method;
	bool session;                 /* the session belongs to the key */
	bool erases;                  /* ERASE: also for one who is erased, and
	                                 its answer is not kept */
	struct str query, path, body; /* msgpack, as they came */
	bool written;                 /* by idem_write() or idem_read() */
	/* Whose the answer is, where that is not who asks: of whoever logs in.
	 * Set inside the transaction, alive as long as the request. */
	struct str about;
	/* The module's own: */
	bool held; /* the two hashes are made, and id is in the set */
	unsigned char id[IDEM_HASH], print[IDEM_HASH];
	struct effect *next;
};

struct idem_seal {
	unsigned char key[32]; /* of the hashes */
	/* Appends to out; false without memory. */
	bool (*seal)(const void *arg, struct str plain, struct str label,
	             struct buf *out);
	/* False when sealed is not what seal() made for this label, too. */
	bool (*unseal)(const void *arg, struct str sealed, struct str label,
	               struct buf *out);
	const void *arg;
};

struct idem_conf {
	const char *service; /* the schema */
	struct db_pool *pool;
	uint64_t retention_ms;
	struct erased *erased; /* or NULL */
};

struct idem;

/* NULL without memory. */
struct idem *idem_new(const struct idem_conf *conf);
void idem_free(struct idem *s); /* ends the purge; NULL is fine */
AUTO_TYPE(idem, struct idem *, idem_free)
/* Before the first request; copied. */
void idem_seal(struct idem *s, const struct idem_seal *seal);

/*
 * For dispatch, around the handler of a request that has cx->effect; nothing
 * without a key.  OK with out->replayed: out holds the stored answer and the
 * handler is not to run.  ERR_KEY_BUSY, ERR_OTHER_BODY, ERR_BAD_REQUEST, or an
 * error of the database.  idem_end() always, after either.
 */
enum err idem_begin(struct idem *s, struct ctx *cx,
                    struct reply *out) MUST_CHECK;
void idem_end(struct idem *s, struct ctx *cx);

/*
 * fn talks to db and fills out, which is empty each time that it runs; it may
 * run again, as any db_fn.  An error of it leaves nothing behind.
 */
typedef enum err idem_fn(struct db *db, void *arg, struct reply *out);
enum err idem_write(struct idem *s, struct ctx *cx, idem_fn *fn, void *arg,
                    struct reply *out) MUST_CHECK;
/* The same for a function that only reads: without a key it is a read. */
enum err idem_read(struct idem *s, struct ctx *cx, idem_fn *fn, void *arg,
                   struct reply *out) MUST_CHECK;

/* Inside fn: the answer is about sub, and goes when they are erased; whoever
 * asks may be nobody yet, as in a login, or an administrator.  sub lives as long
 * as the request. */
static inline void idem_about(const struct ctx *cx, struct str sub)
{
	if (cx->effect)
		cx->effect->about = sub;
}

/* In the transaction that erases a person; *rows is how many there were. */
enum err idem_forget(struct idem *s, struct db *db, struct str sub,
                     int64_t *rows) MUST_CHECK;

/* Deletes what is past its time; *n counts it, also when it ends in error. */
enum err idem_purge(struct idem *s, struct ctx *cx, int64_t now_ms,
                    uint64_t *n) MUST_CHECK;
/* A thread that does so now and then, until idem_free().  Twice is once. */
enum err idem_purge_start(struct idem *s) MUST_CHECK;

struct idem_stats {
	uint64_t stored, replayed, reused, busy, purged;
};
void idem_stats(const struct idem *s, struct idem_stats *out);

#endif
