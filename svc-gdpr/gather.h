/*
 * gather - all rows about a person, of all services, in one spool.
 *
 * Complete or an error: each store says how many rows of each table it has and
 * then the end (common/privacy/rows.h), and what says something else is counted
 * as a store that is away.
 *
 * Stores, not one moment: each is read in a snapshot of its own, one after the
 * other, so what is done meanwhile may be in one and not in the next.
 */
#ifndef SVC_GDPR_GATHER_H
#define SVC_GDPR_GATHER_H

#include "svc-gdpr/spool.h"
#include "svc-gdpr/state.h"

enum export_store { STORE_AUTH, STORE_CONTENT, STORE_GDPR, STORE_COUNT };

struct gathered {
	struct spool spool;
	struct {
		uint64_t from, to; /* in the spool */
		int64_t rows;
	} of[STORE_COUNT];
};

const char *store_name(enum export_store s); /* "auth" */
/*
 * Opens the spool and fills it.  ERR_NOT_FOUND: svc-auth knows nobody of this
 * sub.  ERR_UNAVAILABLE: cx says which store could not be read.
 * gathered_fini() also after an error.
 */
enum err gather(const struct gdpr_state *st, struct ctx *cx,
                struct gathered *out) MUST_CHECK;
void gathered_fini(struct gathered *g);

/* Walks over the rows of one store. */
struct rows {
	struct spool_in in;
	struct str table, row; /* table: until the next; copied */
	char name[64];
	int64_t left; /* of the table */
	bool head;    /* this is the beginning of a table, not a row */
};
void rows_begin(struct rows *r, const struct gathered *g, enum export_store s);
void rows_fini(struct rows *r);
/* The next table or row; *more is false behind the last. */
enum err rows_next(struct rows *r, bool *more) MUST_CHECK;

#endif
