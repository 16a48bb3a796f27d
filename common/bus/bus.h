/*
 * bus - requests, replies and streams between our programs, over nng.
 *
 * Follows design sections 3 and 3.1: raw REQ/REP sockets with our own
 * correlation ids, many items in one frame, cumulative acknowledgements and a
 * window of 32 frames each way (raw REP drops silently beyond 64), parts with
 * credit for what is larger than 64 KiB, cancel, MAC.  The frame is specified
 * in docs/bus.md and frame.h; golden frames are in tests/golden/.
 *
 * Two kinds of client:
 *   bus_client   all its state belongs to one thread, the owner of the event
 *                loop (the gateway).  Never blocks, never locks on the hot path.
 *   bus_caller   a bus_client with a thread of its own, for services: blocking
 *                calls from any thread.
 *
 * Delivery: a call is sent once.  It is sent again to another replica, inside
 * its deadline and a retry budget (20 % of the calls of the last 10 s), only
 * when `retry` says that the method is idempotent, or when it provably never
 * left this process.  With no replica up, calls that have not been begun, and
 * idempotent ones, are held up to BUS_HOLD_MS.  Errors: ERR_UNAVAILABLE no
 * replica, never begun;
 * ERR_PEER_LOST sent, peer gone, unknown whether it ran; ERR_TIMEOUT deadline;
 * ERR_BUSY in-flight bound or the peer said so; ERR_TOO_LARGE beyond max_reply.
 */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/err.h"

struct span; /* common/base/trace.h */

enum bus_peer { PEER_GATEWAY, PEER_AUTH, PEER_CONTENT, PEER_GDPR, PEER_COUNT };

const char *bus_peer_name(enum bus_peer p); /* "gateway", "auth", ... */
/* The allowed edges of design D11: who may call whom. */
bool bus_edge_allowed(enum bus_peer from, enum bus_peer to);

#define BUS_FRAME_MAX   ((size_t)256 << 10) /* bytes of items in a frame */
#define BUS_FRAME_ITEMS 256
#define BUS_WINDOW      32 /* unacknowledged frames each way */
#define BUS_PART_MAX    ((size_t)64 << 10)
#define BUS_REQUEST_MAX ((size_t)16 << 20)
#define BUS_REPLY_MAX   ((size_t)64 << 20)
#define BUS_HOLD_MS     1000
#define BUS_CLASSES     16 /* route classes with a latency average each */

/* Keys of the frame MAC.  n 0: there is none. */
struct bus_secret {
	size_t n; /* at most 2; the first signs, all are accepted */
	unsigned char key[2][32];
};

/* Files for tls+tcp://; all three or none (NULL).  Borrowed. */
struct bus_tls {
	const char
		*cert;   /* our certificate, PEM; names us as bus_peer_name() */
	const char *key; /* its private key */
	const char *ca;  /* who signs the certificates of all of us */
};

/*
 * What proves who we are.  all: known to every program; n 0: frames carry no
 * MAC (ipc, inproc).  with[p]: known to us and p alone; where it is set, only it
 * signs and proves what travels between us and p, so that no third program can
 * claim to be either.  The greeting, which cannot know whom it meets, is always
 * signed with all.
 */
struct bus_keys {
	struct bus_secret all, with[PEER_COUNT];
	struct bus_tls tls;
};

/* BUS_KEY's text: one or two comma-separated secrets of 32+ characters. */
bool bus_keys_parse(struct str text, struct bus_keys *out) MUST_CHECK;
/*
 * BUS_PEER_KEYS' text: comma-separated peer=secret, a peer at most twice, for
 * each peer that may call self or be called by it.  NULL: taken; else why not.
 */
const char *bus_keys_parse_pairs(struct str text, enum bus_peer self,
                                 struct bus_keys *out) MUST_CHECK;

/* Whether both have the same secrets. */
bool bus_keys_same(const struct bus_keys *a, const struct bus_keys *b);

/*
 * Starts nng with two task threads, which cost less CPU than its own choice.
 * Call first in main(), before any other bus function.
 */
void bus_global_init(void);

/* --- client ------------------------------------------------------------ */

struct bus_client;

/*
 * The end, or with more = true one part, of a reply.  bytes live during the
 * call.  e != OK: bytes are empty and it is the last.  Called only from
 * bus_client_turn(), never from bus_client_call().
 */
typedef void bus_reply_fn(void *arg, enum err e, struct str bytes, bool more);

struct bus_client_conf {
	enum bus_peer self;
	const struct bus_keys *keys; /* copied; NULL: none */
	unsigned in_flight_max;      /* per replica; 0: 1024 */
	unsigned suspect_ms;         /* 0: 50 */
	/* Any thread: a turn is due.  Called at most once between two turns. */
	void (*wake)(void *arg);
	/* An unsolicited message of a service (bus_server_push), or an empty
	 * one: it has started (bus_server_serves).  May be NULL.
	 * Called from bus_client_turn(). */
	void (*push)(void *arg, enum bus_peer from, struct str bytes);
	void *arg;
};

struct bus_client *bus_client_new(const struct bus_client_conf *conf);
/*
 * Other secrets from the next frame on, for a rotation (docs/bus.md): connections
 * stay as long as each end knows the secret that the other signs with.  Frames
 * are signed or not as before, and the files of TLS stay.  Owner thread.
 */
void bus_client_rekey(struct bus_client *c, const struct bus_keys *keys);
/* Open calls are forgotten.  Waits up to 0.3 s for services to fall silent. */
void bus_client_free(struct bus_client *c);
AUTO_TYPE(bus_client, struct bus_client *, bus_client_free)

/*
 * urls: comma-separated inproc://, ipc://, tcp:// or tls+tcp://.  A tcp name is
 * resolved to all its addresses on a thread of its own, again every 2 s, and
 * followed.  ERR_INVALID with a line on the log when an URL is not one, or is
 * tls+tcp:// without files for it.
 */
enum err bus_client_add(struct bus_client *c, enum bus_peer to,
                        struct str urls) MUST_CHECK;

/* Where a call has been, for whoever explains it. */
#define BUS_TRIP_MAX 4
struct bus_attempt {
	char replica[64];        /* its address; cut */
	uint64_t from_us, to_us; /* mono_us(); to_us 0: not over */
	enum err outcome;
	uint64_t span; /* that the bytes named; 0: as the caller wrote them */
};
struct bus_trip {
	/* The caller's: entry_span_at() of the bytes, so that each attempt is
	 * the parent of what it brings about; 0: all are alike. */
	size_t span_at;
	unsigned n;        /* of at */
	unsigned attempts; /* times it was put to a replica: the last of them
	                      takes the last place when there are too many */
	struct bus_attempt at[BUS_TRIP_MAX];
};
/* A client span below parent for each attempt; what is not over ends now. */
void bus_trip_spans(const struct bus_trip *t, const struct span *parent,
                    enum bus_peer to, struct str method);

struct bus_call {
	enum bus_peer to;
	unsigned route_class; /* below BUS_CLASSES: whose latency average */
	bool retry;           /* idempotent */
	bool stream;          /* hand over parts as they come */
	bool hold_credit;     /* stream: more only after bus_client_credit() */
	uint64_t deadline_ms; /* mono_ms() */
	size_t max_reply;     /* bytes; 0: 1 MiB */
	struct str bytes;     /* the entry, copied */
	/* Only to the replica with this address, never again to another;
	 * ERR_UNAVAILABLE where it cannot be asked now.  NULL: any. */
	const char *only;
	/* Set to true when the call goes out again although an earlier attempt
	 * may be running; or NULL.  Looked at until the end or the cancel. */
	bool *resent;
	struct bus_trip *trip; /* written in the same time; or NULL */
	bus_reply_fn *on_reply;
	void *arg;
};

/* OK and *id (never 0), or the error and no callback. */
enum err bus_client_call(struct bus_client *c, const struct bus_call *call,
                         uint64_t *id) MUST_CHECK;
/* No callback will come.  The peer is told.  Unknown ids are fine. */
void bus_client_cancel(struct bus_client *c, uint64_t id);
/*
 * For a stream with hold_credit: n more bytes of it have been consumed.  The
 * peer sends at most 256 KiB beyond what has been.
 */
void bus_client_credit(struct bus_client *c, uint64_t id, size_t n);
/*
 * One turn of the owner's loop: replies and events in, deadlines, one frame
 * out per replica that is not busy.  Call when woken, when
 * bus_client_timeout_ms() has passed, and after queueing calls.
 */
void bus_client_turn(struct bus_client *c, uint64_t now_ms);
/* Its last part alone: what was queued since goes out.  Calls nothing back. */
void bus_client_flush(struct bus_client *c);
/* Milliseconds until a turn is due without a wake; UINT64_MAX: none. */
uint64_t bus_client_timeout_ms(const struct bus_client *c, uint64_t now_ms);
/*
 * Before sleeping: true promises that wake() will be called for what comes
 * from now on; false says that something is waiting already: turn first.
 */
bool bus_client_may_sleep(struct bus_client *c);

enum bus_state { BUS_DOWN, BUS_UP, BUS_SUSPECT };
struct bus_replica {
	enum bus_peer peer;
	char url[128];
	enum bus_state state;
	unsigned in_flight;
	uint64_t sent, replied, failed, moved, late;
	uint64_t bad_frames; /* refused, each with the end of its connection */
	double latency_ms;
	unsigned unacked; /* frames, at most BUS_WINDOW */
	unsigned waiting; /* frames behind them */
};
/* Fills up to max rows, returns how many replicas there are.  Owner thread. */
size_t bus_client_replicas(const struct bus_client *c, struct bus_replica *out,
                           size_t max);
/* An operator's word that they are well: those avoided after failures are
 * chosen again at once.  Owner thread. */
void bus_client_forgive(struct bus_client *c, enum bus_peer to);
/* Replicas of one service that are up, readable from any thread. */
unsigned bus_client_up(const struct bus_client *c, enum bus_peer to);

/* --- caller: the same for threads that block ---------------------------- */

struct bus_caller;

/* conf.wake and conf.push's thread are the caller's own. */
struct bus_caller *bus_caller_new(const struct bus_client_conf *conf);
void bus_caller_free(struct bus_caller *c);
AUTO_TYPE(bus_caller, struct bus_caller *, bus_caller_free)
enum err bus_caller_add(struct bus_caller *c, enum bus_peer to,
                        struct str urls) MUST_CHECK;
/* Blocks at most until the deadline.  The reply's bytes are appended to *out. */
enum err bus_caller_call(struct bus_caller *c, const struct bus_call *call,
                         struct buf *out) MUST_CHECK;
/*
 * The same for a reply of any size, as stream.h makes them: its bytes go to
 * take() on this thread as they come, in pieces of any size, and at most 256 KiB
 * wait.  What take() returns other than OK ends the call and is returned.  On an
 * error what was taken is no whole reply.
 */
typedef enum err bus_take_fn(void *arg, struct str bytes);
enum err bus_caller_stream(struct bus_caller *c, const struct bus_call *call,
                           bus_take_fn *take, void *arg) MUST_CHECK;
/* As bus_client_rekey(); any thread, waits for the caller's own. */
void bus_caller_rekey(struct bus_caller *c, const struct bus_keys *keys);
unsigned bus_caller_up(const struct bus_caller *c, enum bus_peer to);

/* --- server ------------------------------------------------------------- */

struct bus_server;
struct bus_item; /* one request; exactly one bus_item_end() each */

struct str bus_item_bytes(const struct bus_item *it); /* until the end */
uint64_t bus_item_deadline_ms(const struct bus_item *it);
enum bus_peer bus_item_peer(const struct bus_item *it);
bool bus_item_cancelled(const struct bus_item *it); /* stop working on it */
/*
 * One part of a streamed reply; waits for credit at most until the deadline
 * (ERR_TIMEOUT).  ERR_PEER_LOST: cancelled, or nobody is there any more.  Either
 * way the item is still to be ended.  Not from the on_item callback.
 */
enum err bus_item_part(struct bus_item *it, struct str bytes) MUST_CHECK;
/* The reply (or last part) and the end of it.  Any thread, never blocks. */
void bus_item_end(struct bus_item *it, struct str bytes);
/* Ends without work done: the caller gets e (BUSY, TIMEOUT, INTERNAL). */
void bus_item_refuse(struct bus_item *it, enum err e);

struct bus_server_conf {
	enum bus_peer self;
	const struct bus_keys *keys;
	/*
	 * A request has come.  Runs on an nng thread: answer from memory or
	 * hand it to a lane; never block.  it is the callee's.
	 */
	void (*on_item)(void *arg, struct bus_item *it);
	void *arg;
	unsigned items_max; /* in work at once; beyond it BUSY; 0: 8192 */
};

struct bus_server *bus_server_new(const struct bus_server_conf *conf);
/* ERR_EXISTS: address in use.  ERR_INVALID: not an URL, tcp without keys on
 * other than a loopback address, or tls+tcp without files. */
enum err bus_server_listen(struct bus_server *s, struct str url) MUST_CHECK;
/* As bus_client_rekey(); one thread at a time.  ERR_NOMEM: all is as before. */
enum err bus_server_rekey(struct bus_server *s,
                          const struct bus_keys *keys) MUST_CHECK;
/* The port when listening on tcp port 0. */
unsigned bus_server_port(const struct bus_server *s);
/* To every peer that is connected, 1 to BUS_PART_MAX bytes; best effort. */
void bus_server_push(struct bus_server *s, struct str bytes);
/* Tells every peer that is connected that requests which were refused until now
 * are begun: nobody waits any longer before calling again.  Best effort. */
void bus_server_serves(struct bus_server *s);
/* Tells peers to call others; refuses new items with ERR_UNAVAILABLE. */
void bus_server_drain(struct bus_server *s);
unsigned bus_server_in_work(const struct bus_server *s);
/* All items must have ended.  Waits, at most about a second, until the peers
 * have their answers. */
void bus_server_free(struct bus_server *s);
AUTO_TYPE(bus_server, struct bus_server *, bus_server_free)

struct bus_server_stats {
	uint64_t frames_in, frames_out, items, replies, refused, expired;
	/* Frames refused, each with the end of its connection: all, and why. */
	uint64_t bad_frames, bad_form, bad_version, oversize, bad_mac, bad_time,
		replayed, bad_edge;
	uint64_t arriving; /* bytes of requests that are not yet whole */
	unsigned in_work, peers;
};
void bus_server_stats(const struct bus_server *s, struct bus_server_stats *out);

#endif
