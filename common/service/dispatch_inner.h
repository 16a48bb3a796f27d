/*
 * dispatch_inner - the inside of dispatch, shared by its files and nobody else.
 *
 * What a request meets, in this order:
 *
 *     dispatch.c           its entry is read, who may call, which lane
 *     dispatch_table.c     the rows that it is looked for in
 *     dispatch_ahead.c     it is tried from memory, and from the shared tier
 *     dispatch_lane.c      it waits, runs, is put off with its read, runs again
 *     dispatch_handler.c   its fields, and the handler, or what that said before
 *     dispatch_reply.c     what it came to is said and counted
 *     dispatch_request.c   the object that it is from the first to the last
 *     dispatch_spans.c     what its trace is told of all this
 *
 * One party owns a request at a time: who calls request_answer(),
 * request_refuse(), request_release() or request_enter_lane() has it no more.
 * So it is behind a request_peeked() or request_looked() that is true.
 */
#ifndef SERVICE_DISPATCH_INNER_H
#define SERVICE_DISPATCH_INNER_H

#include "common/base/trace.h"
#include "common/service/cached.h"
#include "common/service/dispatch.h"

#include <pthread.h>
#include <stdatomic.h>

struct row {
	const struct method *m;
	builtin_fn *builtin; /* instead of m->run; or NULL */
	bool secrets;        /* it has a SECRET field */
	atomic_bool reads;   /* the last one that might put off its read did */
	/* NULL until the first call that came to it: most series of a
	 * histogram would stay empty for ever. */
	_Atomic(struct metric *) took[OUTCOME_COUNT];
};

struct request {
	struct lane_job job; /* first: a job is its request */
	struct dispatch *d;
	struct dispatch_item it;
	struct arena *arena;
	struct ctx cx;
	struct entry entry;
	struct row *row;
	void *in; /* the checked fields, or NULL before */
	struct reply reply;
	struct effect effect;        /* while cx.effect points to it */
	struct db_deferred deferred; /* while cx.deferred does */
	struct cached_fetch fetch;   /* while cx.fetch does */
	struct buf packed;
	const struct entry_near
		*near;       /* who asks instead of the bus; or NULL */
	uint64_t started_us; /* the handler; 0: it has not run */
	/* Of a sampled trace; cx.span is the second while the handler runs, and
	 * NULL when nobody asks for them. */
	struct span span, inner;
	struct request *next_spare;
};

struct dispatch {
	struct dispatch_conf conf;
	void *state;
	atomic_bool serving;
	_Atomic unsigned in_work;
	pthread_mutex_t lock; /* of the two below */
	pthread_cond_t idle;
	struct request *spare;
	unsigned spare_n;
	struct row unknown; /* where calls of no method are counted */
	size_t rows_n;
	struct row rows[]; /* by name */
};

/* --- dispatch_table.c ------------------------------------------------------------- */

/* NULL: no such method. */
struct row *dispatch_find(struct dispatch *d, struct str name);
/* Whose threads run it. */
enum lane dispatch_lane_of(const struct method *m);
/* Whether an Idempotency-Key says something to it.  Services repeat to each
 * other what their inboxes know again, and builtins (no run) write no row. */
bool dispatch_takes_key(const struct dispatch *d, const struct method *m);
void dispatch_fill_rows(struct dispatch *d); /* from its conf, once */
/* False before dispatch_open() and after dispatch_close(), but for the row of
 * BUILTIN_HEALTH; row may be NULL. */
bool dispatch_serves(struct dispatch *d, const struct row *row);

/* --- dispatch_request.c ----------------------------------------------------------- */

/* NULL without memory.  Whoever asks for one has counted it in d->in_work. */
struct request *request_get(struct dispatch *d, const struct dispatch_item *it);
void request_release(struct request *rq); /* and calls dispatch_leave() */
void dispatch_leave(struct dispatch *d);  /* d->in_work is one less */
void dispatch_free_spare(struct dispatch *d);

/* --- dispatch_handler.c ----------------------------------------------------------- */

bool request_wants_events(const struct request *rq);
enum err request_read_fields(struct request *rq);
/* Reads the fields first, if nobody has. */
enum err request_run_method(struct request *rq);

/* --- dispatch_ahead.c ------------------------------------------------------------- */

/* True: its peek has answered, or will be tried again with what the shared tier
 * has, and then it goes on by itself. */
bool request_looked(struct request *rq);

/* --- dispatch_lane.c -------------------------------------------------------------- */

void request_enter_lane(struct request *rq, enum lane lane);
/* True: its read is put off, and it will be run again.  Else it has ended, or
 * goes on in another lane. */
bool request_run(struct request *rq);
/* True when the request has been answered from memory. */
bool request_peeked(struct request *rq);

/* --- dispatch_reply.c ------------------------------------------------------------- */

void request_answer(struct request *rq, enum err e);
void request_refuse(struct request *rq,
                    enum err e); /* without a reply's body */

/* --- dispatch_spans.c ------------------------------------------------------------- */

/* Its name, or what was asked for. */
struct str request_method(const struct request *rq);
/* The caller's trace goes on here if it is sampled and somebody listens. */
void request_begin_spans(struct request *rq);
void request_tell_wait(const struct request *rq);
void request_begin_handler(struct request *rq);
void request_end_handler(struct request *rq); /* it may not have begun */
void request_end_spans(struct request *rq, enum err e);

#endif
