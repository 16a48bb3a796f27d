/*
 * dispatch - one request from its entry to its reply: method, who may call,
 * fields, lane, handler, reply (design D4, D9, D11, D13).
 *
 * Why:     the same order of checks for every method of every service.  Who may
 *          call is a column of the method's row and is looked at before the
 *          fields, so nobody learns from a refusal what a method would take.
 * Trust:   a person's identity is believed only from the gateway.  What any
 *          other peer says about sub, handle, role, tier, scopes or session is
 *          wiped before a handler sees it; a service is ROLE_SERVICE.
 * Bounds:  DISPATCH_ARENA_MAX bytes of request memory; the lanes bound how many
 *          requests wait.  Up to DISPATCH_SPARE_MAX request objects are kept.
 * Owns:    an item from dispatch_item() until it calls end or refuse for it,
 *          exactly once.  Methods, lanes and metrics are the caller's.
 * Threads: dispatch_item() any; the others the owner.
 */
#ifndef SERVICE_DISPATCH_H
#define SERVICE_DISPATCH_H

#include "common/service/figures.h"
#include "common/service/lane.h"
#include "common/service/service.h"

#define DISPATCH_ARENA_MAX ((size_t)32 << 20)
#define DISPATCH_SPARE_MAX 256

/* What one method's calls came to; the label `outcome`. */
enum outcome { OUTCOME_OK, OUTCOME_REFUSED, OUTCOME_FAILED, OUTCOME_COUNT };

/* Methods that services have without a row in methods.def; for service
 * principals, and the gateway when it asks for itself. */
enum builtin {
	BUILTIN_EVENTS, /* "event.apply", on the DB lane */
	/* "service.health", INLINE, and answered also before dispatch_open()
	 * and after dispatch_close(): that is when it is worth most. */
	BUILTIN_HEALTH,
	/* For administrators: "service.stats", INLINE, what the service counts;
	 * "service.control", on the DB lane, see operate.h. */
	BUILTIN_STATS,
	BUILTIN_CONTROL,
	/* For svc-gdpr, see erase.h: "service.erase", on the DB lane, and
	 * "service.scan", on the SLOW lane. */
	BUILTIN_ERASE,
	BUILTIN_SCAN,
	BUILTIN_COUNT
};
/* Appends the reply's body. */
typedef enum err builtin_fn(void *arg, struct ctx *cx, struct str body,
                            struct buf *reply);

struct dispatch_conf {
	const char *service; /* static text: of log lines and metrics */
	enum bus_peer self;
	const struct method *methods;
	size_t methods_n;
	struct lane_pool *lanes[LANE_COUNT]; /* INLINE is NULL */
	struct figures *figures;             /* or NULL */
	struct idem *idem;                   /* NULL: no keys, as in tests */
	struct erased *erased;               /* NULL: nobody is */
	events_fn *events;                   /* NULL: there are none */
	builtin_fn *builtin[BUILTIN_COUNT];  /* NULL: there is none */
	void *builtin_arg;
	/* The transport's; item is what dispatch_item() was given. */
	void (*end)(void *item, struct str bytes);
	void (*refuse)(void *item, enum err e);
	bool (*cancelled)(void *item);
	/* A part of a streamed reply (bus/stream.h); NULL: there are none. */
	enum err (*part)(void *item, struct str bytes);
};

struct dispatch;

struct dispatch *dispatch_new(const struct dispatch_conf *conf);
void dispatch_free(struct dispatch *d); /* idle; NULL is fine */
AUTO_TYPE(dispatch, struct dispatch *, dispatch_free)

/* Before it, and after dispatch_close(), items get ERR_UNAVAILABLE, but for
 * BUILTIN_HEALTH. */
void dispatch_open(struct dispatch *d, void *state);
void dispatch_close(struct dispatch *d);
/* True when no request is in work; waits at most until the deadline. */
bool dispatch_idle(struct dispatch *d, uint64_t deadline_ms) MUST_CHECK;

struct dispatch_item {
	void *item;
	struct str bytes; /* the entry; lives until end or refuse */
	uint64_t deadline_ms;
	enum bus_peer peer;
};
void dispatch_item(struct dispatch *d, const struct dispatch_item *it);
/*
 * The same for the gateway in this process, on its thread: true when the method
 * answers from memory, and then it has the answer.  Else nothing was done, and
 * the request is to be sent.  Any thread.
 */
bool dispatch_at_once(struct dispatch *d,
                      const struct entry_near *near) MUST_CHECK;

#endif
