/*
 * head - what a request's head says, and whether it is one that we take.
 *
 * Why:     libmicrohttpd 0.9.75 lets heads through on which two parsers could
 *          disagree (Content-Length beside Transfer-Encoding, repeated lengths,
 *          names that are no tokens).  A proxy before us may have read them the
 *          other way: that is request smuggling, so such a head is refused and
 *          the connection closed (design D32).
 * Use:     head_target(), head_line() for every header, then head_end().
 * Bounds:  HEAD_* below.
 * Owns:    nothing; slices of the request.
 * Threads: one at a time.
 */
#ifndef GATEWAY_HEAD_H
#define GATEWAY_HEAD_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "gateway/forwarded.h"

#define HEAD_LINES_MAX   100
#define HEAD_FIELD_MAX   ((size_t)8190)
#define HEAD_TOTAL_MAX   ((size_t)12 << 10)
#define HEAD_REQUEST_MAX ((size_t)4094) /* the request line */

struct head {
	struct str path, query; /* of the target; query without '?' */
	bool has_query, http11; /* 1.1 or a later 1.x */

	struct str host, content_length, transfer_encoding, content_type,
		expect, accept, authorization, api_key, user_id, request_id,
		traceparent, origin, cors_method, accept_language, user_agent,
		referer, idempotency_key, accept_encoding, if_none_match,
		if_modified_since, range, if_range, cookie, sec_fetch_site,
		csrf_token, sec_gpc, dnt, last_event_id;
	struct forwarded_lines forwarded, x_forwarded_for, x_forwarded_proto;
	uint32_t seen; /* bits of the headers above that have come */

	bool has_length, chunked, continues; /* continues: waits for 100 */
	uint64_t length;
	unsigned lines;
	size_t bytes;

	enum err err;       /* the first fault */
	const char *reason; /* static words for the client */
};

/* The request line.  target is as sent. */
void head_target(struct head *h, struct str method, struct str target,
                 struct str version);
void head_line(struct head *h, struct str name, struct str value);
/* OK, or why the head is refused; h->reason has the words. */
enum err head_end(struct head *h);
/* True when a body follows. */
bool head_has_body(const struct head *h);

/* 1 to 128 characters of [A-Za-z0-9._-]. */
bool head_request_id_valid(struct str s);
/* application/json, with no charset but utf-8. */
bool head_is_json(struct str content_type);

#endif
