/*
 * req - the life of one HTTP request, as a list of steps.
 *
 * A step does one thing and names what comes next.  WAIT means that the
 * connection is suspended and that a callback of the bus or of identity will
 * resume it; both run on the loop's own thread.
 *
 * Memory:  one arena and three buffers, kept in a list of spares between
 *          requests, so that a usual request allocates nothing of its own.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_REQ_H
#define GATEWAY_REQ_H

#include "common/base/trace.h"
#include "common/bus/entry.h"
#include "gateway/accept.h"
#include "gateway/events.h"
#include "gateway/flow.h"
#include "gateway/head.h"
#include "gateway/limit.h"
#include "gateway/loop.h"

#define REQ_ARENA_MAX ((size_t)256 << 10)

enum step {
	STEP_IDENTIFY,
	STEP_AUTHORIZE,
	STEP_GUEST,
	STEP_LIMIT,
	STEP_DECODE,
	STEP_FORWARD,
	STEP_REPLY,
	STEP_COUNT
};
enum next { NEXT, WAIT, DONE };
enum wait {
	WAIT_NONE,
	WAIT_IDENTITY,
	WAIT_LIMIT,
	WAIT_BUS,
	WAIT_AGAIN,
	WAIT_SURVEY,
	WAIT_EVENTS, /* for the first of them */
	WAIT_FLOW,   /* answered, and more of the body is to come */
};

struct req {
	struct req *spare; /* next in the list of spares */
	struct loop *loop;
	struct conn *conn;
	struct ctx cx;
	struct head head;
	struct addr client; /* the peer, or whom a trusted proxy names */
	bool https;         /* it came so, here or to that proxy */
	char client_ip[ADDR_TEXT_MAX];
	struct str target;      /* as sent; our copy */
	uintptr_t target_begin; /* where it stood in libmicrohttpd's memory */
	struct route_match match;
	bool matched;
	const struct route *route; /* NULL: none for path and verb */
	enum verb verb;
	enum step step;
	enum wait wait;
	bool held; /* waits, and libmicrohttpd asks again each turn (loop.c) */
	unsigned held_turns;
	uint64_t call;         /* bus call while WAIT_BUS */
	struct survey *survey; /* of an own route that asks replicas; or NULL */
	bool resent; /* the bus has sent it again: an earlier one may run */
	/* While WAIT_AGAIN: its place among those, and when to ask. */
	struct req *again_next, *again_prev;
	uint64_t again_ms;
	unsigned again_n; /* how often it has waited */
	uint64_t began_ms, began_us;
	struct who who;
	struct str cookie;       /* what the session cookie holds, or empty */
	bool cookie_bad;         /* there is one, and it is none */
	const char *set_cookie;  /* the value of Set-Cookie, or NULL */
	const char *set_visitor; /* of another, visitor.h; or NULL */
	/* For explain.c. */
	struct bus_trip trip;
	uint64_t whole_us, known_us, allowed_us, asked_us,
		told_us;      /* 0: never */
	struct hop_times hop; /* what the service said of itself */
	bool identity_asked;  /* the credential was not remembered */
	struct span *asking;  /* while svc-auth is asked who it is; or NULL */
	bool shed; /* refused, because the services have too much to do */
	uint64_t entered_us;         /* 0: not in the services */
	struct limit_decision limit; /* of all that count it so far */

	/* What is to be said. */
	enum err err; /* a problem, or OK: out holds the body */
	unsigned status;
	struct buf body;        /* as read, JSON */
	struct buf input;       /* msgpack of query, path parameters and body */
	size_t query_n, path_n; /* of which these are the first bytes */
	struct buf out;         /* the answer's bytes; sent from here */
	struct str page;        /* or these, which stay for ever */
	struct buf packed;      /* or these: out or page compressed */
	unsigned forms;         /* FORMS_* that there are; 0: JSON */
	enum form form;         /* of the body, if it is no problem */
	const char *media;   /* another one, which the service names; or NULL */
	enum stream streams; /* of its row of streams.def */
	struct flow flow;    /* or what a service streams */
	struct events events; /* or what happens, as it happens */
	size_t out_sent;      /* for the log */
	const char *cache_control;
	const struct front_set *front; /* what file is of, or NULL */
	struct front_reply file;       /* its type is NULL: none */
	size_t extra_n;                /* headers that the service asked for */
	struct {
		const char *name, *value;
	} extra[REPLY_HEADERS_MAX];

	bool headed;   /* the head has been looked at */
	bool running;  /* the whole request is here */
	bool close;    /* Connection: close */
	bool answered; /* an answer is queued or was written */
	bool refused;  /* answered past libmicrohttpd; what comes is dropped */
	bool gone;     /* the client is away */
	uint64_t refused_at_ms;
	size_t read; /* bytes of the body, kept or dropped */

	char no_memory[640]; /* the body that says so */
	char rid[130];
	char tp[TRACE_PARENT_MAX];
};

struct req *req_new(struct loop *lo, struct conn *cn); /* NULL: no memory */
/* Ends what is under way, tells log and meter, goes back to the spares. */
void req_free(struct req *rq);
void req_spares_free(struct loop *lo);

/* The head is here.  NULL version: as libmicrohttpd says, "HTTP/1.1". */
void req_head(struct req *rq, struct str method, struct str version);
/* Request ID and trace: the client's where they are sound, else new ones. */
void req_name(struct req *rq);
/* The route that the head names takes so many bytes of body. */
size_t req_body_max(const struct req *rq);
/* Runs steps until the answer stands (DONE) or a callback must come (WAIT). */
enum next req_run(struct req *rq);

/* For steps. */
static inline enum next req_go(struct req *rq, enum step step)
{
	rq->step = step;
	return NEXT;
}

static inline enum next req_fail(struct req *rq, enum err e)
{
	rq->err = e;
	return req_go(rq, STEP_REPLY);
}

/* req_decode.c: query, path and body into rq->input, or the answer of ours. */
enum next req_decode(struct req *rq);

/* No callback will come for it any more. */
void req_stop_waiting(struct req *rq);
/* req_forward.c: asks the service; WAIT, or NEXT with the answer or error. */
enum next req_forward(struct req *rq);
/* For flow.c: a reply of the bus into what is to be said; the reply is here, or
 * the error of the call; the same when it has been taken already. */
enum err req_take_reply(struct req *rq, struct str bytes);
enum err req_take_view(struct req *rq, const struct reply_view *v);
void req_replied(struct req *rq, enum err e, struct str bytes);
void req_answered(struct req *rq, enum err e);
/* The services have done what the request itself asks of them; timed: how long
 * it took says how busy they are. */
void req_left(struct req *rq, bool timed);
/* Tokens of a model that its person has used. */
void req_charge(const struct req *rq, uint64_t tokens);
/* What the other gateways have counted, or that they did not say. */
void req_limited(struct req *rq, const struct limit_answer *a);
/* What it waited for is here: libmicrohttpd will ask for the answer. */
void req_resume(struct req *rq);

/* answer.c: hands the answer to libmicrohttpd. */
enum MHD_Result answer_queue(struct req *rq);
/* The lines of a head that every answer has; hsts: that one too. */
void answer_always(struct buf *out, bool hsts);
/*
 * Writes a problem past libmicrohttpd, which takes no answer while it reads a
 * body, and ends our side of the connection.
 */
void answer_refuse(struct req *rq, enum err e);

/* reqlog.c */
void reqlog_started(const struct req *rq);
void reqlog_completed(const struct req *rq, uint64_t took_us);

/* reqtrace.c: continues the client's trace or begins one. */
void reqtrace_begin(struct req *rq);
/* The trace of what svc-auth may be asked about this request; tp or elsewhere
 * in the request.  And that there is an answer. */
struct str reqtrace_ask(struct req *rq, char tp[TRACE_PARENT_MAX]);
void reqtrace_asked(struct req *rq, enum err e);
/* Tells the spans of it; before its memory is used again. */
void reqtrace_end(struct req *rq, uint64_t took_us);

/* explain.c: keeps what an administrator may ask for, and tells it. */
void explain_keep(const struct req *rq, uint64_t took_us);
enum err explain_tell(struct req *rq);

/* front_own.c: whether the front end answers, where no row does; and how. */
bool front_is_asked(const struct req *rq);
enum err front_run(struct req *rq);

/* own.c: routes that the gateway answers itself; NULL: no such call. */
typedef enum err own_fn(struct req *rq);
struct own {
	const char *call;
	own_fn *run;
	own_fn *ask;    /* before it, and run waits for the answers; or NULL */
	unsigned forms; /* FORMS_*; 0: JSON */
	bool drops;     /* the body, whatever it is */
	/* Checks the request and appends what the audit log is told before it
	 * is done (noted.h); NULL: nothing. */
	enum err (*note)(struct req *rq, struct buf *body);
};
const struct own *own_find(const char *call);
/* req_decode.c: asks and runs it, once it is noted: WAIT, or NEXT with the answer. */
enum next own_go_on(struct req *rq);

#endif
