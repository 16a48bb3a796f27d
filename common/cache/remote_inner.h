/*
 * remote_inner - the inside of the remote tier, shared by its four files and
 * nobody else: remote.c is what callers run, remote_turn.c is the thread and
 * what it says, remote_reply.c is what it learns from answers, remote_ask.c
 * gives them to those who do not wait.
 *
 *                    both open            told who it is,
 *        AWAY -> OPENING -----> GREETING -- subscribed --> READING
 *         ^  \ back-off                                     |    ^
 *         |                             generations are known    | in doubt,
 *         |                                                 v    | other epoch
 *         +------- lost, refused, no answer -------------- IN_STEP
 *                  (from every state)
 *
 * GREETING asks both connections which run of the server they reached: two
 * names of one address may be two servers, and what one was told the other
 * does not publish.  READING comes after the subscription, so what is
 * forgotten after the reading is heard, and what was before is read.
 *
 * In doubt: something was said that cannot be true if this instance has heard
 * everything (a message that is none, an epoch or a generation that does not
 * fit).  Then the generations are read again, over the same connections.
 *
 * What is to be forgotten while it cannot be said is a set of bits.  They are
 * said first of all when in step, so every get() that is sent later meets the
 * raised generations; and a get() whose slot is in the set is not believed.
 */
#ifndef CACHE_REMOTE_INNER_H
#define CACHE_REMOTE_INNER_H

#include "common/cache/breaker.h"
#include "common/cache/remote_store.h"

#include <pthread.h>
#include <stdatomic.h>

#define REMOTE_BYTES_MAX     ((size_t)8 << 20) /* of values on their way */
#define REMOTE_RUN_MAX       41
#define REMOTE_BACKOFF_MS    100
#define REMOTE_BACKOFF_MAX   5000
#define REMOTE_STEADY_MS     1000 /* in step so long: back-off begins anew */
#define REMOTE_STATS_MS      10000
#define REMOTE_GET_REPLIES   3
#define REMOTE_PENDING_WORDS (CACHE_SLOTS / 64 + 1)

enum step {
	STEP_AWAY,
	STEP_OPENING,
	STEP_GREETING,
	STEP_READING,
	STEP_IN_STEP
};

enum cmd_kind {
	CMD_GET,
	CMD_SET,
	CMD_FORGET,
	CMD_WHO, /* INFO, for the run of the server */
	CMD_BEGIN,
	CMD_PROBE, /* may one write? */
	CMD_TIME,
	CMD_INFO,
	CMD_SIZE,
};

/*
 * One command from the moment it is asked for until its last answer.  A get's
 * is freed by whoever is the last to need it: its caller, or the thread when
 * the caller has left without the answer.  One that is asked has no caller that
 * waits: told is called for it, once, when it has ended or when its time is
 * over, and then it has been left.
 */
struct cmd {
	struct cmd *next;
	enum cmd_kind kind;
	bool done, left; /* a get; under the lock */
	enum err err;
	enum breaker_pass pass;
	uint64_t sent_ms, sent_lesson;
	size_t replies_n, replies_left;
	struct redisReply *reply[REMOTE_GET_REPLIES];
	size_t slots_n; /* a forget */
	union {
		struct { /* a get or a set */
			pthread_cond_t answered;
			remote_answered_fn *told; /* NULL: it is waited for */
			void *told_arg;
			struct cmd *next_late;
			uint64_t began_us, until_ms; /* a get */
			struct remote_marks marks;
			struct stored value; /* got: its bytes are reply's */
			uint64_t left_ms;    /* got: as the store counts down */
			uint64_t px_ms;      /* to be set */
		};
		uint16_t slots[STORE_RAISE_MAX];
	};
	size_t key_n, bytes_n; /* the whole key, then a set's value */
	char data[];
};

struct fifo {
	struct cmd *first, **end;
};

/* What this instance has seen of one slot. */
struct seen {
	uint64_t gen, lesson;
};

struct remote {
	struct remote_conf conf;
	struct store_names names;
	char sha[SCRIPTS][SCRIPT_SHA_MAX];
	pthread_t thread;
	bool started;
	_Atomic uint64_t proof_ms;

	pthread_mutex_t lock; /* a leaf; guards what follows */
	bool ending;
	bool sleeping; /* the thread is to be woken for what is queued */
	/* Both written by the thread alone. */
	enum step step;
	bool clock_known; /* else nothing is set */
	struct fifo queue;
	size_t under_way, bytes_under_way;
	uint64_t asks_due_ms; /* no ask's time is over before */
	uint64_t pending[REMOTE_PENDING_WORDS];
	size_t pending_n;
	struct breaker breaker;
	uint64_t random;
	uint64_t sets_again_ms; /* the store is full: no sets before */
	struct remote_stats stats;

	/* The thread's own. */
	struct fifo sent[WIRE_CHANNELS];
	struct fifo ended;   /* gets, answered or failed */
	bool known[SCRIPTS]; /* on this connection */
	char run[WIRE_CHANNELS][REMOTE_RUN_MAX];
	bool subscribed;
	const char *lost; /* why the connections are to be closed */
	char told[64];    /* why it was away, as told on the log */
	bool told_full;
	bool fresh; /* not in step yet since it was opened */
	unsigned tries, begins;
	uint64_t try_ms, step_until_ms, in_step_ms;
	uint64_t probe_ms, stats_ms;
	/* What to add to mono_ms(), modulo 2^64, for the store's clock: never
	 * too much, at most REMOTE_PROBE_MS too little. */
	uint64_t clock_ms;
	bool probing;           /* a CMD_PROBE and a CMD_TIME are under way */
	uint64_t ping, ping_ms; /* ping_ms 0: none under way */
	bool in_doubt;
	uint64_t begin_ms, raise_ms;   /* not again before */
	uint64_t epoch;                /* 0: none seen yet */
	char refused[STORE_EPOCH_MAX]; /* an epoch that must not stay */
	uint64_t lessons;              /* counts what seen[] was taught */
	struct seen seen[CACHE_SLOTS + 1];
};

/* --- remote.c --------------------------------------------------------------------- */

void fifo_init(struct fifo *f);
void fifo_add(struct fifo *f, struct cmd *c);
struct cmd *fifo_take(struct fifo *f); /* NULL: empty */

struct cmd *cmd_new(enum cmd_kind kind, size_t replies, size_t room);
void cmd_free(struct cmd *c);
/* Ends a command.  What was to be forgotten and was not is pending again. */
void cmd_end(struct remote *r, struct cmd *c, enum err e);
/* Hands the gets that have ended to their callers: all at once, since each that
 * wakes wants the lock. */
void hand_over(struct remote *r);

void pending_add(struct remote *r, unsigned slot); /* holds the lock */
bool pending_has(const struct remote *r, const struct remote_marks *m);
uint64_t remote_random(struct remote *r); /* holds the lock */

/*
 * Queues a get.  told NULL: it is the caller's to wait for, and *out is it;
 * else the thread's, and *out may be gone.
 */
enum err get_begin(struct remote *r, struct str key, const uint16_t *slots,
                   size_t slots_n, uint64_t until_ms, remote_answered_fn *told,
                   void *told_arg, struct cmd **out) MUST_CHECK;
/* Holds the lock.  A get has come to e as far as its caller is concerned. */
void get_count(struct remote *r, const struct cmd *c, enum err e);
/* The answer to a get, whose bytes are the command's. */
void get_answer(const struct cmd *c, struct remote_answer *out);

/* --- remote_turn.c ---------------------------------------------------------------- */

void *remote_run(void *remote);
/* The connections are of no use; the turn ends with closing them.  Empty: the
 * wire has told why. */
void lose(struct remote *r, const char *why);
/* The generations are to be read again, soon. */
void doubt(struct remote *r);
void say_begin(struct remote *r);
void now_in_step(struct remote *r);

/* --- remote_ask.c ----------------------------------------------------------------- */

/* Tells who asked for it. */
void ask_told(const struct cmd *c, enum err e);
/* Tells those whose time is over. */
void asks_leave(struct remote *r, uint64_t now);
uint64_t asks_due_ms(struct remote *r); /* when to look again */

/* --- remote_reply.c --------------------------------------------------------------- */

/* Both take the answer. */
void hear_answer(struct remote *r, struct redisReply *reply);
void hear_message(struct remote *r, struct redisReply *reply);

#endif
