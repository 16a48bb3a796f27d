/*
 * fault - what a provider says when it does not answer, in all its forms
 * (docs/llm.md).
 *
 * {"error": {...}}, the same in an array, as JSON in the text of a message,
 * {"object": "error", ...}, {"error": "text"}, {"detail": ...}, HTML, nothing:
 * the status and the codes that are found decide; words are looked at for how
 * long to wait and for which part of the request was refused alone.
 *
 * Threads: any.
 */
#ifndef SVC_CONTENT_LLM_FAULT_H
#define SVC_CONTENT_LLM_FAULT_H

#include "common/base/err.h"
#include "common/base/str.h"

#include <jansson.h>

enum fault_kind {
	FAULT_NONE,
	FAULT_PERMANENT, /* this request, of this provider: never */
	FAULT_CONFIG,    /* no request, until somebody mends the settings */
	FAULT_LIMITED,   /* later; it is well */
	FAULT_SPENT,     /* not today */
	FAULT_RETRY,     /* it fails; perhaps not the next time */
	FAULT_OURS,      /* says nothing of the provider */
	FAULT_SKIPPED,   /* it was not asked */
};

enum why {
#define WHY(why, kind, err, name) WHY_##why,
#include "svc-content/llm/fault.def"
#undef WHY
	WHY_COUNT
};

const char *why_name(enum why w);
enum fault_kind why_kind(enum why w);
enum err why_err(enum why w);

/* What headers say of waiting; a zeroed struct says nothing. */
struct hints {
	bool told;
	uint64_t after_ms; /* Retry-After, retry-after-ms */
	struct hint_limit {
		bool told, spent; /* spent: nothing remains */
		uint64_t reset_ms;
	} requests, tokens; /* x-ratelimit-...-requests, -tokens */
};
/* A header line without its end; others than those above are passed over. */
void hints_header(struct hints *h, struct str line, int64_t now_s);

struct llm_fault {
	enum why why;
	bool hinted;
	uint64_t wait_ms; /* where hinted; a day at most */
	/* Parts of the request that it names: it may take one without. */
	bool format, usage, user, max_tokens;
};
/* Of a response that is none of 200; body may be anything. */
struct llm_fault fault_of(long status, const struct hints *h, struct str body);
/* Of the member `error` in a body or an event under 200; the same of a body
 * that is an array. */
struct llm_fault fault_in(const struct hints *h, json_t *root);

/* "1m26.5s", "20.04s", "17ms", "2": seconds.  What stands behind is passed
 * over.  False: no such thing. */
bool duration_ms(struct str text, uint64_t *out);

#endif
