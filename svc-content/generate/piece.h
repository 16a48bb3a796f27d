/*
 * piece - one thing to be made: an outline, a lesson, a quiz, an advice; from the
 * cache, a language model or the offline provider (docs/generation.md).
 *
 *   peek in memory -> single flight -> providers, in parallel -> offline
 *
 * Why:     all kinds of answers are cached, asked for, checked, repaired and
 *          replaced in the same way; a shape says what is different.
 * Keys:    of the prompt, in which everything stands that changes the answer,
 *          of the template's version and of the providers' models.  Without a
 *          provider: of the prompt as it was written, since offline answers
 *          repeat the topic as it was written.
 * Failure: when no provider gave anything that is good, what the cache had
 *          before serves although its time is over; else the offline provider
 *          answers, who asks, and none is asked about it for GENERATION_RETRY_S.
 *          What is made offline in place of a provider is not cached.
 * Quota:   whoever makes something holds one generation; the cache is free, and
 *          so is waiting for what somebody else makes.
 * Owns:    results live in the arena of cx.  Threads: of the request.
 */
#ifndef SVC_CONTENT_GENERATE_PIECE_H
#define SVC_CONTENT_GENERATE_PIECE_H

#include "svc-content/content.h"
#include "svc-content/generate/answer.h"
#include "svc-content/generate/sink.h"
#include "svc-content/generate/template.h"

#define PIECES_MAX FOCUS_MAX

enum source { SOURCE_NONE, SOURCE_LLM, SOURCE_CACHE, SOURCE_OFFLINE };
const char *source_name(enum source s); /* "llm", "cache", "offline" */

struct piece {
	const struct shape *shape;
	const void *ask; /* the shape's own */
	size_t items;    /* how many are asked for, where the shape counts */
	struct str lang;
	const struct slot *slots; /* of the template */
	size_t slots_n;
	struct str topic_key; /* its text_key(): of the cache's tag */
	uint64_t ttl_ms;      /* 0: not kept */
	bool keep_offline;    /* where there is no provider, too */

	/* Made by pieces_fetch(): */
	struct str user, key; /* the prompt */
	/* Why the offline provider answers where a language model was to; for
	 * its warnings.  Or empty. */
	struct str note;
	enum source source; /* not NONE before: it is there, with its body */
	struct str body;    /* msgpack, as the shape packs it */
};

struct shape {
	enum template_id template;
	const char *route; /* for quotas and metrics: static */
	/* Appends the body to *body, unless why says that text is no use. */
	enum err (*read)(const struct piece *p, struct arena *a,
	                 struct str text, struct str mark,
	                 struct complaint *why, struct buf *body);
	/* For n pieces of this shape at once: writes their body. */
	enum err (*offline)(const struct content *ct, struct arena *a,
	                    struct piece *const *p, size_t n);
};

struct fetch {
	struct content *ct;
	struct ctx *cx;
	const struct sink *sink;
	struct piece *pieces;
	size_t n; /* 1 to PIECES_MAX, all of one shape */
	/* Each piece when it is there, once; or NULL. */
	void (*ready)(void *arg, size_t i);
	void *arg;

	/* Made by pieces_fetch(): */
	struct str warning;      /* of the quota, for the answer; or empty */
	struct quota_hold *hold; /* for quota_tell(); or NULL */
	struct cache_info info;  /* of the only piece, or of the flight */
	bool cached;             /* info is written */
};

/* ERR_BUSY with ctx_slow(): see common/base/ctx.h.  ERR_QUOTA: cx->problem. */
enum err pieces_fetch(struct fetch *f) MUST_CHECK;

/* Whether the only piece is in memory; never waits. */
bool pieces_peek(struct fetch *f);

#endif
