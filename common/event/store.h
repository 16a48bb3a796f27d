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
	ES_COUNT
};

struct event_store {
	struct db_stmt *st; /* ES_COUNT of them */
};

uint64_t event_hash(struct str s); /* FNV-1a */

#endif
