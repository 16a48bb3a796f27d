/*
 * llm - asks language models over HTTP: OpenAI-compatible chat completions
 * (docs/llm.md).
 *
 * Why:     an answer must come from whoever can give one.  A chain of providers
 *          is set in LLM_PROVIDERS; a call begins with one of them and goes on
 *          to the next when that one fails, is out of quota, or would answer
 *          too late.  The offline provider is no part of this: who gets an error
 *          here answers from it.
 *
 *   AUTO(llm_call) calls[20] = {0};
 *
 *   for (i = 0; i < n; i++)
 *           e = llm_begin(llm, &asks[i], &calls[i]);
 *   while ((i = llm_next(calls, n)) < n)
 *           use(llm_result(calls[i]));        in the order in which they end
 *
 * A call that was answered with nonsense is asked again with another ask, whose
 * `first` is the provider of that result (repair), or the one behind it.
 *
 * Bounds:  a request LLM_REQUEST_MAX, an answer LLM_TEXT_MAX bytes of text;
 *          LLM_CALLS_MAX calls run at a time, beyond them ERR_BUSY.  Each
 *          provider is tried LLM_TRIES times at most, and never beyond the
 *          deadline.
 * Owns:    llm_begin() copies all that the ask points to.  A result lives as
 *          long as its call.
 * Threads: struct llm: any.  A call belongs to the thread that waits for it; any
 *          may llm_cancel() it.  The network is the business of a thread of its
 *          own, which runs no code of the caller's.
 * Log:     llm.failed (why a provider did not answer), llm.misconfigured (a key
 *          or model is refused: an alert), llm.breaker_open, llm.breaker_closed.
 *          Never a key, a prompt or an answer.
 */
#ifndef SVC_CONTENT_LLM_LLM_H
#define SVC_CONTENT_LLM_LLM_H

#include "common/base/attr.h"
#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/obs/health.h"
#include "common/obs/metrics.h"
#include "common/service/figures.h"

#define LLM_PROVIDERS_MAX 4
#define LLM_CALLS_MAX     256
#define LLM_TRIES         3 /* of one provider */
#define LLM_REQUEST_MAX   ((size_t)16 << 20)
#define LLM_TEXT_MAX      ((size_t)1 << 20)
#define LLM_MESSAGES_MAX  16
#define LLM_SCHEMA_NAME   64 /* [A-Za-z0-9_-] */
#define LLM_USER_MAX      64

struct llm;
struct llm_call;

/* --- the chain --------------------------------------------------------------- */

/* Why the settings for it will never work; NULL: they may.  The text is static
 * and names the setting. */
const char *llm_check(const struct settings *conf);
/* Where no provider is configured, *out is NULL: there are only the offline
 * answers.  metrics may be NULL. */
enum err llm_start(const struct settings *conf, struct metrics *metrics,
                   struct llm **out) MUST_CHECK;
/*
 * Tells q of the providers; what each may be asked (quota/provider.h) is then
 * taken before each request and settled behind it, and a provider that is held
 * back is passed over.  Before the first call; q outlives l.  NULL l has none.
 */
struct quota;
enum err llm_limit(struct llm *l, struct quota *q) MUST_CHECK;
/* Ends what runs; every call has been freed.  NULL is fine. */
void llm_stop(struct llm *l);
AUTO_TYPE(llm, struct llm *, llm_stop)

struct llm_provider {
	const char *name;  /* as in LLM_PROVIDERS: a label, never a person's */
	const char *model; /* an input of every cache key */
	/* Micro-dollars for a million tokens. */
	uint64_t price_in, price_out;
	bool vision, streaming;
};
/* NULL l: 0. */
unsigned llm_providers(const struct llm *l);
/* i < llm_providers(); the texts live as long as l. */
void llm_provider(const struct llm *l, unsigned i, struct llm_provider *out);
/*
 * Whether a call that begins with provider `first` may be answered now: there
 * is one from there on whose breaker lets calls through, and which reads images
 * where that is asked.  NULL l: false.
 */
bool llm_ready(const struct llm *l, unsigned first, bool vision);
/* What a call would cost, in micro-dollars; 0 where no price is set. */
uint64_t llm_cost(const struct llm *l, unsigned provider, uint64_t tokens_in,
                  uint64_t tokens_out);
/* About how many tokens a text is; for estimates and reservations. */
uint64_t llm_tokens(struct str text);

/* A check of health (common/obs/health.h): up or degraded, never down, and no
 * provider is called for it. */
enum health_state llm_health(void *l, char *detail, size_t detail_max);

enum llm_state { LLM_CLOSED, LLM_OPEN, LLM_HALF_OPEN };
struct llm_breaker {
	enum llm_state state;
	uint64_t failures, successes; /* of all time */
	int64_t last_failure_ms;      /* wall_ms(); 0: none */
};
void llm_breaker(const struct llm *l, unsigned provider,
                 struct llm_breaker *out);
/* Of all together: a chain that can be asked is closed.  NULL l: zeros. */
void llm_stats(const struct llm *l, struct model_stats *out);
/* Closes all breakers; an operator's act.  NULL is fine. */
void llm_reset(struct llm *l);

/* --- a call ------------------------------------------------------------------- */

enum llm_role { LLM_SYSTEM, LLM_USER, LLM_ASSISTANT };

struct llm_message {
	enum llm_role role;
	struct str text;       /* UTF-8 */
	struct str image;      /* bytes; n 0: none.  Only with LLM_USER */
	struct str image_type; /* "image/png" */
};

/*
 * Text as it comes, only with providers that stream.  Called on the thread that
 * waits, within llm_next().  text.p NULL: what has come so far is void, the
 * answer begins anew (the provider failed half way, and it or the next one is
 * asked again).  The text is good during the call alone.
 */
typedef void llm_text_fn(void *arg, struct str text);

/* A zeroed member is none of it, but for temperature. */
struct llm_ask {
	const struct llm_message *messages;
	size_t messages_n;
	/* For metrics: static text, such as "create_subtopics". */
	const char *endpoint;
	/* JSON is wanted.  The provider is held to the schema where it can be,
	 * else to JSON, else to nothing: the prompt must say what is wanted, and
	 * the answer must be validated. */
	bool json;
	struct str schema_name, schema; /* a JSON Schema of the strict subset */
	unsigned max_tokens;            /* 0: the provider's own */
	double temperature;             /* less than 0: the provider's own */
	uint64_t deadline_ms;           /* mono_ms() */
	struct str user;                /* a hash of the person, or none */
	struct str rid;                 /* of the request, for the log */
	unsigned first;                 /* which provider to begin with */
	bool only;                      /* no other than the first */
	llm_text_fn *on_text;
	void *arg;
};

enum llm_finish {
	LLM_STOP,    /* whole */
	LLM_LENGTH,  /* truncated: never parse nor cache it */
	LLM_FILTER,  /* the provider's filter stopped it */
	LLM_REFUSED, /* the model refuses; text is what it says */
	LLM_OTHER,   /* the provider did not say why it ended */
};
const char *llm_finish_name(enum llm_finish f);

struct llm_result {
	/*
	 * OK: a provider has answered, see finish.  Else no provider is left, and
	 * this says why the last one failed:
	 * ERR_UNAVAILABLE  not reached, or its breaker is open
	 * ERR_TIMEOUT      the deadline has passed, or would have
	 * ERR_RATE_LIMITED asked too often within its window
	 * ERR_QUOTA        its quota is spent
	 * ERR_BAD_KEY      key or model is refused
	 * ERR_INVALID      it does not take such a request
	 * ERR_NOT_BUILT    none of them can do what is asked (images)
	 * ERR_CONFLICT     the call was cancelled
	 * ERR_NOMEM
	 */
	enum err err;
	enum llm_finish finish;
	struct str text;   /* UTF-8; may be empty */
	unsigned provider; /* of the answer, or the last one tried */
	const char *provider_name, *model; /* NULL: none was tried */
	/* Of all tries, also those that failed after they had begun. */
	uint64_t tokens_in, tokens_out;
	bool estimated; /* some of them, where a provider did not count */
	uint64_t cost;  /* micro-dollars */
	unsigned tries; /* requests that were sent */
	const char *
		reason; /* static: why the last failure; "" if there was none */
};

/* ERR_BUSY: too many run.  ERR_INVALID: the ask breaks a bound.  *out is freed
 * by the caller, whenever. */
enum err llm_begin(struct llm *l, const struct llm_ask *ask,
                   struct llm_call **out) MUST_CHECK;
/*
 * Waits for the next of these calls to end, whichever that is, and returns its
 * index; each is returned once.  n when none is left.  NULLs among them are
 * skipped.  Their on_text run meanwhile.
 */
size_t llm_next(struct llm_call *const *calls, size_t n) MUST_CHECK;
/* Only of a call that llm_next() has returned. */
const struct llm_result *llm_result(const struct llm_call *c);
/* llm_begin(), and llm_next() for it alone. */
enum err llm_run(struct llm *l, const struct llm_ask *ask,
                 struct llm_call **out) MUST_CHECK;
/* It ends as soon as it can.  Any thread; the call is not yet freed. */
void llm_cancel(struct llm_call *c);
/* Cancels it if it runs.  NULL is fine. */
void llm_call_free(struct llm_call *c);
AUTO_TYPE(llm_call, struct llm_call *, llm_call_free)

#endif
