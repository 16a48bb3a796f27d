/*
 * Inside llm: providers (provider.c), what is sent (request.c), what comes back
 * (reply.c, fault.c), the calls (call.c) and the loop that runs them (loop.c,
 * attempt.c).
 */
#ifndef SVC_CONTENT_LLM_INNER_H
#define SVC_CONTENT_LLM_INNER_H

#include "common/base/buf.h"
#include "common/cache/breaker.h"
#include "svc-content/llm/fault.h"
#include "svc-content/llm/llm.h"
#include "svc-content/llm/reply.h"
#include "svc-content/llm/sse.h"
#include "svc-content/quota/quota.h"

#include <curl/curl.h>
#include <pthread.h>

#define LLM_FAILURES     5
#define LLM_SUCCESSES    2
#define LLM_RETRY_MAX_MS 60000
#define LLM_HOLD_MAX_MS  3600000 /* longer hints are tried after that */
#define LLM_ANSWER_MAX   ((size_t)8 << 20) /* bytes of a response */
#define LLM_DONE_MS      100 /* for the end of a stream behind its [DONE] */

/* --- providers ----------------------------------------------------------------- */

/* What a provider takes: of the settings, less what it turns out to refuse. */
enum {
	CAN_SCHEMA = 1,
	CAN_OBJECT = 2,
	CAN_STREAM = 4,
	CAN_VISION = 8,
	CAN_MAX_COMPLETION = 16, /* the limit has its newer name */
	CAN_USAGE = 32,          /* stream_options */
	CAN_USER = 64,
};

struct provider {
	const char *name;
	char *model, *url;
	struct curl_slist *headers;
	struct breaker_rule rule;
	uint64_t connect_ms, first_token_ms, idle_ms, total_ms;
	uint64_t price_in, price_out;

	/* What is found out; under llm.lock. */
	unsigned can;
	struct breaker breaker;
	uint64_t not_before_ms; /* it has said so */
	uint64_t failures, successes;
	int64_t last_failure_ms;
};

/* Fills p[LLM_PROVIDERS_MAX] in the order of the settings; *n may be 0.  *why:
 * static text that names the setting, on ERR_INVALID. */
enum err providers_read(const struct settings *conf, struct provider *p,
                        unsigned *n, const char **why) MUST_CHECK;
void providers_fini(struct provider *p, unsigned n);
/* "0.10": micro-dollars; false when it is no such number. */
bool price_read(struct str text, uint64_t *out) MUST_CHECK;

/* --- what is sent -------------------------------------------------------------- */

/* The part that does not depend on the provider: the array of messages. */
void request_messages(struct buf *out, const struct llm_ask *ask);
/* What the call asks for beside its messages. */
struct llm_request {
	struct str messages; /* JSON */
	struct str schema_name, schema, user;
	bool json;
	unsigned max_tokens;
	double temperature;
};
/* can: what the provider takes. */
void request_write(struct buf *out, const struct llm_request *r,
                   const char *model, unsigned can);

/* --- calls ---------------------------------------------------------------------- */

enum step { STEP_SEEK, STEP_PAUSE, STEP_RUN, STEP_OVER };

/* One request to one provider; the loop's own. */
struct attempt {
	CURL *easy;
	unsigned can; /* what was sent made use of */
	enum breaker_pass pass;
	uint64_t began_ms, heard_ms, first_ms, done_ms; /* 0: not yet */
	bool by_deadline; /* it ends when the call does, not when it must */
	long status;
	size_t got;
	bool known, stream;     /* known: whether it is a stream */
	struct llm_fault fault; /* WHY_NONE: nothing is wrong so far */
	struct hints hints;
	char request_id[72];
	struct sse sse;
	struct buf body;  /* what is sent */
	struct buf whole; /* what has come, but of a stream */
	struct buf piece; /* of text, on its way to the call */
	struct completion reply;
};

struct llm_call {
	struct llm *llm;
	struct llm_call *next; /* in llm.incoming, or the loop's list */
	const char *endpoint;
	struct llm_request request;
	struct buf kept; /* what request and rid point to */
	struct str rid;
	uint64_t deadline_ms, tokens_in;
	unsigned first;
	bool only, vision;
	llm_text_fn *on_text;
	void *arg;

	/* The loop's. */
	enum step step;
	unsigned at;      /* the provider */
	unsigned tries;   /* of it */
	unsigned adapted; /* forms that were refused and given up */
	uint64_t begin_ms;
	uint64_t pause_ms; /* STEP_PAUSE: until then */
	enum why last;     /* why the last provider failed */
	struct attempt a;
	struct provider_take taken; /* of the quota, for the attempt */

	/* Under llm.lock. */
	struct buf text;
	unsigned epoch; /* raised when text is void */
	bool ended, cancelled, abandoned;
	struct llm_result result;
	pthread_cond_t *waiter; /* NULL: nobody waits */

	/* Of who waits. */
	size_t handed;
	unsigned handed_epoch;
	bool returned;
};

struct figures_llm; /* figures.c */

struct llm {
	struct provider providers[LLM_PROVIDERS_MAX];
	unsigned n;
	uint64_t retry_ms;
	struct quota *quota; /* NULL: nothing is held back */
	char *ca_file;       /* NULL: the system's */
	struct figures_llm *figures;
	CURLM *multi;
	pthread_t thread;

	pthread_mutex_t lock;
	struct llm_call *incoming;
	unsigned calls; /* that have begun and not ended */
	bool ending;

	struct llm_call *active; /* the loop's */
};

/* The thread of the loop. */
void *loop_thread(void *llm);
/* Appends text for who waits; false without memory, or beyond LLM_TEXT_MAX. */
bool call_text(struct llm_call *c, struct str text);
void call_void_text(struct llm_call *c);
bool call_is_cancelled(struct llm_call *c);
/* Hands the call to who waits; frees it where nobody will. */
void call_end(struct llm_call *c);

/* attempt.c: false without memory. */
bool attempt_begin(struct llm_call *c, enum breaker_pass pass,
                   uint64_t now_ms) MUST_CHECK;
/* Adds what it used to the result, and frees what it holds. */
void attempt_end(struct llm_call *c);
/* Why it came to nothing, of what curl says; WHY_NONE: it has an answer. */
struct llm_fault attempt_fault(struct llm_call *c, CURLcode code);
/* Whether it is over before curl says so: late (a.fault says how), or the end of
 * its stream is known.  *next_ms comes nearer if need be. */
bool attempt_is_over(struct llm_call *c, uint64_t now_ms, uint64_t *next_ms);

/* --- figures ---------------------------------------------------------------------- */

struct figures_llm *figures_llm_new(struct metrics *m);
void figures_llm_free(struct figures_llm *f);
/* All take NULL. */
void figures_llm_call(struct figures_llm *f, const struct llm_call *c,
                      const struct provider *p, const char *status,
                      uint64_t took_ms);
void figures_llm_tokens(struct figures_llm *f, const struct llm_call *c,
                        const struct provider *p, uint64_t tokens,
                        uint64_t cost);
void figures_llm_first(struct figures_llm *f, const struct provider *p,
                       uint64_t took_ms);
void figures_llm_fallback(struct figures_llm *f, const struct provider *p,
                          const char *reason);

#endif
