#include "common/db/postgres.h"

#include "common/base/b64.h"
#include "common/base/clock.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* From server/catalog/pg_type.d.h; they never change. */
enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TEXT = 25, OID_FLOAT8 = 701 };

/* The server tells names apart by their first 63 bytes. */
#define NAME_MAX_BYTES  64
#define NAME_HASH_BYTES 16

/*
 * A statement this connection has prepared.  The types of the values are part
 * of its identity: PostgreSQL fixes them at PREPARE, and a NULL has none.
 */
struct pg_prepared {
	const struct db_stmt *st;
	struct pg_prepared *next;
	char types[DB_PARAMS_MAX + 1];
	char name[NAME_MAX_BYTES]; /* "ledger.add/0123456789abcdef..." */
};

/* --- values ---------------------------------------------------------------- */

/* All are sent in binary: nothing to escape, copy or terminate. */
struct params {
	int n;
	Oid oids[DB_PARAMS_MAX];
	const char *values[DB_PARAMS_MAX];
	int lengths[DB_PARAMS_MAX], formats[DB_PARAMS_MAX];
	uint64_t numbers[DB_PARAMS_MAX];
	char types[DB_PARAMS_MAX + 1];
};

static void param_number(struct params *pa, size_t i, uint64_t bits)
{
	pa->numbers[i] = htobe64(bits);
	pa->values[i] = (const char *)&pa->numbers[i];
	pa->lengths[i] = sizeof(bits);
}

static void param_bytes(struct params *pa, size_t i, struct str s)
{
	/* libpq takes a NULL pointer for NULL. */
	pa->values[i] = s.p ? s.p : "";
	pa->lengths[i] = (int)s.n; /* at most DB_VALUE_MAX */
}

static void params_fill(struct params *pa, const struct db_val *v, size_t n)
{
	uint64_t bits;

	pa->n = (int)n;
	for (size_t i = 0; i < n; i++) {
		pa->oids[i] = 0;
		pa->values[i] = NULL;
		pa->lengths[i] = 0;
		pa->formats[i] = 1;
		switch (v[i].type) {
		case DB_T_NULL:
			pa->types[i] = 'n';
			break;
		case DB_T_I64:
			pa->types[i] = 'i';
			pa->oids[i] = OID_INT8;
			param_number(pa, i, (uint64_t)v[i].v.i);
			break;
		case DB_T_F64:
			pa->types[i] = 'f';
			pa->oids[i] = OID_FLOAT8;
			memcpy(&bits, &v[i].v.f, sizeof(bits));
			param_number(pa, i, bits);
			break;
		case DB_T_STR:
			pa->types[i] = 't';
			pa->oids[i] = OID_TEXT;
			param_bytes(pa, i, v[i].v.s);
			break;
		case DB_T_BLOB:
			pa->types[i] = 'b';
			pa->oids[i] = OID_BYTEA;
			param_bytes(pa, i, v[i].v.s);
			break;
		}
	}
	pa->types[n] = '\0';
}

/* --- prepared statements --------------------------------------------------- */

static struct pg_prepared **bucket_of(struct pg *g, const struct db_stmt *st)
{
	return &g->prepared[((uintptr_t)st >> 4) % PG_BUCKETS];
}

static bool is_prepared(const struct pg_prepared *p, const struct db_stmt *st,
                        const char *types)
{
	return p->st == st && strcmp(p->types, types) == 0;
}

/*
 * Also one that goes out before this statement in the same pipeline: if it
 * fails, the server does not look at what follows it.
 */
static const struct pg_prepared *find_prepared(struct pg *g,
                                               const struct db_stmt *st,
                                               const char *types)
{
	const struct pg_prepared *p = *bucket_of(g, st);

	while (p && !is_prepared(p, st, types))
		p = p->next;
	for (unsigned i = 0; i < g->pending_n && !p; i++) {
		if (is_prepared(g->pending[i].node, st, types))
			p = g->pending[i].node;
	}
	return p;
}

static const char *text_of(const struct db_stmt *st)
{
	return st->postgres ? st->postgres : st->sqlite;
}

/*
 * The name says what the text and the types are.  Behind a pooler another
 * program may have prepared on the same server: with names of our own making
 * its "outbox.insert" could run in place of ours, on another schema.
 */
static void name_prepared(struct pg_prepared *p)
{
	const char *text = text_of(p->st);
	unsigned char sum[NAME_HASH_BYTES];
	char digits[2 * NAME_HASH_BYTES + 1];
	crypto_generichash_state hash;

	(void)crypto_generichash_init(&hash, NULL, 0, sizeof(sum));
	(void)crypto_generichash_update(&hash, (const unsigned char *)p->types,
	                                strlen(p->types) + 1);
	(void)crypto_generichash_update(&hash, (const unsigned char *)text,
	                                strlen(text));
	(void)crypto_generichash_final(&hash, sum, sizeof(sum));
	(void)hex(sum, sizeof(sum), digits);
	(void)snprintf(p->name, sizeof(p->name), "%.24s/%s", p->st->name,
	               digits);
}

static struct pg_prepared *new_prepared(const struct db_stmt *st,
                                        const char *types)
{
	struct pg_prepared *p = malloc(sizeof(*p));

	if (!p)
		return NULL;
	p->st = st;
	p->next = NULL;
	(void)snprintf(p->types, sizeof(p->types), "%s", types);
	name_prepared(p);
	return p;
}

void pg_settle(struct pg *g, unsigned results)
{
	for (unsigned i = 0; i < g->pending_n; i++) {
		struct pg_prepared *p = g->pending[i].node;
		struct pg_prepared **bucket = bucket_of(g, p->st);

		if (g->pending[i].after > results) {
			free(p);
			continue;
		}
		p->next = *bucket;
		*bucket = p;
	}
	g->pending_n = 0;
	g->queued_n = 0;
	g->later_n = 0;
	g->later_at = 0;
	g->later_err = OK;
}

void pg_forget_prepared(struct pg *g)
{
	pg_settle(g, 0);
	for (size_t i = 0; i < PG_BUCKETS; i++) {
		while (g->prepared[i]) {
			struct pg_prepared *p = g->prepared[i];

			g->prepared[i] = p->next;
			free(p);
		}
	}
}

/* --- sending --------------------------------------------------------------- */

enum err pg_lost(struct pg *g)
{
	g->db.dead = true;
	g->db.again = true;
	g->silent = true;
	return db_fail(&g->db, ERR_DATABASE);
}

/*
 * We stop waiting; what the server still does is its own to time out.  It had
 * time to say so: a server or a network that is silent may be so for all.
 */
static enum err abandoned(struct pg *g)
{
	atomic_store(&g->db.pool->doubt_ms, mono_ms());
	g->db.dead = true;
	g->silent = true;
	return db_fail(&g->db, ERR_TIMEOUT);
}

static bool send_prepared(struct pg *g, const char *name,
                          const struct params *pa)
{
	g->queued_n++;
	return PQsendQueryPrepared(g->c, name, pa->n, pa->values, pa->lengths,
	                           pa->formats, 0) == 1;
}

static enum err send_text(struct pg *g, const struct db_stmt *st,
                          const struct params *pa)
{
	g->queued_n++;
	return PQsendQueryParams(g->c, text_of(st), pa->n, pa->oids, pa->values,
	                         pa->lengths, pa->formats, 0) == 1
	               ? OK
	               : pg_lost(g);
}

enum err pg_queue_text(struct pg *g, const struct db_stmt *st,
                       const struct db_val *v, size_t n)
{
	struct params pa;

	params_fill(&pa, v, n);
	return send_text(g, st, &pa);
}

enum err pg_queue(struct pg *g, const struct db_stmt *st,
                  const struct db_val *v, size_t n)
{
	const struct pg_prepared *known;
	struct pg_prepared *made;
	struct params pa;

	params_fill(&pa, v, n);
	if (!atomic_load_explicit(&g->db.pool->prepare, memory_order_relaxed))
		return send_text(g, st, &pa);
	known = find_prepared(g, st, pa.types);
	if (known)
		return send_prepared(g, known->name, &pa) ? OK : pg_lost(g);
	made = new_prepared(st, pa.types);
	if (!made)
		return db_fail(&g->db, ERR_NOMEM);
	assert(g->pending_n < PG_QUEUE_MAX);
	g->pending[g->pending_n++] = (struct pg_pending){made, ++g->queued_n};
	if (PQsendPrepare(g->c, made->name, text_of(st), pa.n, pa.oids) != 1 ||
	    !send_prepared(g, made->name, &pa))
		return pg_lost(g);
	return OK;
}

bool pg_wait(struct pg *g, short events, uint64_t until_ms)
{
	struct pollfd fd = {.fd = PQsocket(g->c), .events = events};
	uint64_t left = clock_left(until_ms, mono_ms());
	int rc = poll(&fd, 1, left > 60000 ? 60000 : (int)left);

	return rc > 0 || (rc < 0 && errno == EINTR) || mono_ms() < until_ms;
}

static enum err flush(struct pg *g, uint64_t until_ms)
{
	int rc;

	while ((rc = PQflush(g->c)) == 1) {
		if (!pg_wait(g, POLLIN | POLLOUT, until_ms))
			return abandoned(g);
		if (!PQconsumeInput(g->c))
			return pg_lost(g);
	}
	return rc == 0 ? OK : pg_lost(g);
}

enum err pg_sync(struct pg *g, uint64_t until_ms)
{
	return PQpipelineSync(g->c) == 1 ? flush(g, until_ms) : pg_lost(g);
}

/* --- receiving ------------------------------------------------------------- */

static enum err wait_result(struct pg *g, uint64_t until_ms)
{
	while (PQisBusy(g->c)) {
		if (!pg_wait(g, POLLIN, until_ms))
			return abandoned(g);
		if (!PQconsumeInput(g->c))
			return pg_lost(g);
	}
	return OK;
}

static enum err judge(struct pg *g, const char *name, const PGresult *r)
{
	bool tell;
	enum err e = pg_judge(g, r, &tell);

	if (tell)
		pg_tell(g->db.cx, name, r);
	return e;
}

/* Whose result is the next, of those that nobody waited for. */
static struct pg_later *due_later(struct pg *g)
{
	return g->later_at < g->later_n ? &g->later[g->later_at] : NULL;
}

/* True: the result with this number is of such a statement. */
static bool take_later(struct pg *g, PGresult *r, unsigned number)
{
	const struct pg_later *l = due_later(g);
	enum err e = OK;

	if (!l || l->at != number)
		return false;
	g->later_at++;
	if (l->sink.row && PQresultMemorySize(r) > DB_RESULT_MAX)
		e = db_fail(&g->db, ERR_TOO_LARGE);
	else if (l->sink.row && !g->later_err)
		e = pg_rows(r, &l->sink);
	if (!g->later_err)
		g->later_err = e;
	PQclear(r);
	return true;
}

/* One result; true when it was the sync. */
static bool take_result(struct pg *g, const char *name, PGresult *r,
                        PGresult **last, unsigned *good, enum err *e)
{
	switch (PQresultStatus(r)) {
	case PGRES_PIPELINE_SYNC:
		PQclear(r);
		return true;
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
		if (take_later(g, r, ++*good))
			return false;
		PQclear(*last);
		*last = r;
		return false;
	case PGRES_PIPELINE_ABORTED:
		break;
	case PGRES_FATAL_ERROR:
	case PGRES_EMPTY_QUERY:
	case PGRES_COPY_OUT:
	case PGRES_COPY_IN:
	case PGRES_BAD_RESPONSE:
	case PGRES_NONFATAL_ERROR:
	case PGRES_COPY_BOTH:
	case PGRES_SINGLE_TUPLE:
#ifdef LIBPQ_HAS_CHUNK_MODE /* libpq 17 */
	case PGRES_TUPLES_CHUNK:
#endif
	default:
		/* A connection that broke has no SQLSTATE. */
		if (PQstatus(g->c) == CONNECTION_BAD &&
		    *pg_field(r, PG_DIAG_SQLSTATE) == '\0')
			*e = pg_lost(g);
		else if (!*e)
			*e = judge(g,
			           due_later(g) ? due_later(g)->st->name : name,
			           r);
		break;
	}
	PQclear(r);
	return false;
}

enum err pg_collect(struct pg *g, const char *name, uint64_t until_ms,
                    PGresult **last)
{
	AUTO(pg_result) kept = NULL;
	unsigned good = 0, nothing = 0;
	enum err e = OK;
	bool synced = false;

	while (!synced) {
		enum err waited = wait_result(g, until_ms);
		PGresult *r = waited ? NULL : PQgetResult(g->c);

		if (!r && (waited || PQstatus(g->c) == CONNECTION_BAD ||
		           ++nothing > PG_QUEUE_MAX * 4)) {
			if (!waited)
				waited = pg_lost(g);
			e = e ? e : waited;
			break;
		}
		if (r)
			synced = take_result(g, name, r, &kept, &good, &e);
	}
	e = e ? e : g->later_err;
	pg_settle(g, good);
	if (!e && kept && PQresultMemorySize(kept) > DB_RESULT_MAX)
		e = db_fail(&g->db, ERR_TOO_LARGE);
	if (!e && last)
		*last = STEAL(kept);
	return e;
}

void pg_listen(struct pg *g)
{
	struct pollfd fd = {.fd = PQsocket(g->c), .events = POLLIN};

	/* Once for the words of farewell, once for the end behind them. */
	for (int i = 0; i < 3 && poll(&fd, 1, 0) > 0; i++) {
		if (!PQconsumeInput(g->c))
			break;
		(void)PQisBusy(g->c);
	}
	if (PQstatus(g->c) == CONNECTION_BAD)
		g->db.dead = true;
}

/* --- scripts --------------------------------------------------------------- */

static enum err script_results(struct pg *g, uint64_t until_ms)
{
	enum err e = OK;

	for (;;) {
		enum err waited = wait_result(g, until_ms);
		AUTO(pg_result) r = waited ? NULL : PQgetResult(g->c);

		if (waited)
			return waited;
		if (!r)
			return e;
		if (PQresultStatus(r) == PGRES_COMMAND_OK ||
		    PQresultStatus(r) == PGRES_TUPLES_OK)
			continue;
		if (PQstatus(g->c) == CONNECTION_BAD)
			return pg_lost(g);
		if (!e)
			e = judge(g, "script", r);
	}
}

enum err pg_script(struct pg *g, const char *sql, uint64_t until_ms)
{
	enum err e;

	/* Only simple queries take several statements. */
	if (PQexitPipelineMode(g->c) != 1 || PQsendQuery(g->c, sql) != 1)
		return pg_lost(g);
	e = flush(g, until_ms);
	if (!e)
		e = script_results(g, until_ms);
	if (PQenterPipelineMode(g->c) != 1 && !e)
		e = pg_lost(g);
	return e;
}
