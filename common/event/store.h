/*
 * store - the statements of outbox and inbox; internal to common/event.
 */
#ifndef EVENT_STORE_H
#define EVENT_STORE_H

#include "common/event/event.h"

enum event_stmt {
	ES_NEXT_SEQ,
	ES_INSERT,
	ES_INBOX_FIRST,
	ES_INBOX_NEXT,
	ES_INBOX_LAST,
	ES_LEASE,
	ES_RELEASE,
	ES_DUE,
	ES_ACKED,
	ES_BACKLOG,
	/* event_forget(), in the order of event_forget_tables. */
	ES_FORGET,
	ES_FORGET_LAST = ES_FORGET + EVENT_FORGET_TABLES - 1,
	ES_COUNT
};

struct event_store {
	struct db_stmt *st;    /* ES_COUNT of them */
	struct erased *erased; /* or NULL */
};

uint64_t event_hash(struct str s); /* FNV-1a */

/*
 * ev is the first of n events of one subject whose seqs follow each other.
 * Those from *skip on are to be applied now, and the inbox row says so; the
 * others are repeats, or all of them are ahead.  *want is the seq that is next.
 */
enum err inbox_accept(struct event_store *s, struct db *db,
                      const struct event *ev, size_t n, size_t *skip,
                      int64_t *want) MUST_CHECK;

#endif
