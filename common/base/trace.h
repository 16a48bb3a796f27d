/*
 * trace - which trace a piece of work belongs to (W3C Trace Context, level 1),
 * and spans: what took how long for it.
 *
 * Why:     every layer may tell what it did for a request, and none of them
 *          may know who listens: db and cache stand below the exporter.
 * Cost:    nobody listens, or the trace is not sampled: cx->span is NULL, and
 *          span_begin() is one comparison.  A span is its maker's local; at its
 *          end it is copied by the listener.  Nothing here allocates.
 * Private: ids, names out of our tables, numbers.  Never a handle, an e-mail, a
 *          query, a body, a path parameter or a credential (design D34).
 * Bounds:  SPAN_ATTRS_MAX attributes, SPAN_TEXT_MAX bytes of their texts and of
 *          the name: what does not fit is cut or left out.
 * Threads: any.  One span belongs to one thread at a time; children look at its
 *          ids while it is open.  trace_listen() belongs to main().
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "common/base/str.h"

#define TRACE_PARENT_MAX 56 /* 55 characters and the NUL */
#define TRACE_SPAN_AT    36 /* where the span's digits begin in them */

struct trace_parent {
	uint64_t id[2]; /* of the trace, in the order of its digits */
	uint64_t span;
	bool sampled;
};

/*
 * A traceparent.  False for what the recommendation calls invalid: another form
 * or digits in upper case, an id of zeros, version ff, and a version 00 with
 * more behind its flags.  A version to come may have more behind a dash.
 */
bool trace_parse(struct str header, struct trace_parent *out);
/* As version 00, with no flag but sampled. */
struct str trace_write(const struct trace_parent *p,
                       char out[TRACE_PARENT_MAX]);
/* The 16 digits of a span's id at `out`, no NUL. */
void trace_put_span(uint64_t id, char *out);
/* The digits of the trace's id in what trace_write() has written, else
 * nothing. */
struct str trace_id_of(struct str tp);

/* --- who is sampled ----------------------------------------------------------- */

/* OTEL_TRACES_SAMPLER and its argument. */
struct sampler {
	bool parent_based; /* a trace that has begun elsewhere: as it says */
	uint64_t below;    /* of 2^63; others by the low half of their id */
};
/* False when the name is none of the specification's six, or the argument of a
 * ratio is not from 0 to 1; an empty one is 1. */
bool sampler_parse(struct str name, struct str arg, struct sampler *out);
/* from: the flag of the parent, or NULL where there is none. */
bool sampler_takes(const struct sampler *s, const struct trace_parent *from,
                   uint64_t id_low);

/* --- spans ---------------------------------------------------------------------- */

/* The numbers are OTLP's. */
enum span_kind {
	SPAN_INTERNAL = 1,
	SPAN_SERVER = 2,
	SPAN_CLIENT = 3,
	SPAN_PRODUCER = 4,
	SPAN_CONSUMER = 5,
};

#define SPAN_ATTRS_MAX 12
#define SPAN_TEXT_MAX  256

struct span_attr {
	const char *key; /* static text */
	bool number;
	int64_t i;      /* a number */
	unsigned at, n; /* else a text: a part of text[] */
};

struct span {
	struct trace_parent own;
	uint64_t parent;     /* 0: none */
	const char *service; /* static text: whose it is */
	enum span_kind kind;
	bool failed;
	unsigned name_n, text_n, attrs_n;
	uint64_t start_us, end_us; /* mono_us() */
	struct span_attr attrs[SPAN_ATTRS_MAX];
	char text[SPAN_TEXT_MAX]; /* the name first */
};

/* Is called for each span that ends, on its thread: never blocks. */
typedef void trace_listener_fn(void *arg, const struct span *s);
/* NULL: nobody.  Before the first thread that makes spans, after the last. */
void trace_listen(trace_listener_fn *fn, void *arg);
bool trace_heard(void);

/* The first span of a trace in this process, now; its trace is from->id, its
 * parent from->span.  own.span is new. */
void span_root(struct span *s, const struct trace_parent *from,
               const char *service, enum span_kind kind, struct str name);
/* A child of it. */
void span_child(struct span *s, const struct span *parent, enum span_kind kind,
                struct str name);
/* False, and *s untouched, when there is no parent: nobody asks for it. */
static inline bool span_begin(struct span *s, const struct span *parent,
                              enum span_kind kind, const char *name)
{
	if (__builtin_expect(!parent, 1))
		return false;
	span_child(s, parent, kind, str_from(name));
	return true;
}
void span_name(struct span *s, struct str name); /* before any text */
void span_text(struct span *s, const char *key, struct str value);
void span_number(struct span *s, const char *key, int64_t value);
/* It has failed, and why: a word of ours. */
void span_fail(struct span *s, const char *error_type);
void span_end(struct span *s); /* now */
void span_end_at(struct span *s, uint64_t end_us);
struct str span_name_of(const struct span *s);
/* What its children elsewhere are told. */
struct str span_tp(const struct span *s, char out[TRACE_PARENT_MAX]);
uint64_t trace_new_id(void); /* never 0 */

#endif
