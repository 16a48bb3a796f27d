/*
 * reply - a chat completion, whole or in chunks, as it is understood so far.
 *
 * Bounds:  LLM_TEXT_MAX bytes of text are for the caller to see to.
 * Threads: one at a time.
 */
#ifndef SVC_CONTENT_LLM_REPLY_H
#define SVC_CONTENT_LLM_REPLY_H

#include "common/base/buf.h"
#include "svc-content/llm/fault.h"
#include "svc-content/llm/llm.h"

/* A zeroed struct has nothing yet. */
struct completion {
	bool finished; /* it was said why it ends */
	bool refused, counted;
	bool spoke; /* the model has begun, if only to think */
	enum llm_finish finish;
	uint64_t tokens_in, tokens_out; /* where counted */
};

enum reply_is {
	REPLY_PART,   /* understood; text may have grown */
	REPLY_DONE,   /* "[DONE]" */
	REPLY_ERROR,  /* it is an error object: see *fault */
	REPLY_UNLIKE, /* none of these */
	REPLY_NOMEM,
};

/* One event of a stream, or a whole body.  What of it is text is appended. */
enum reply_is reply_take(struct completion *r, struct str json,
                         struct buf *text, const struct hints *hints,
                         struct llm_fault *fault) MUST_CHECK;

#endif
