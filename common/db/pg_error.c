#include "common/db/postgres.h"

#include "common/base/log.h"

enum verdict {
	PLAIN,     /* nothing but the code */
	TELL,      /* and a line on the log */
	AGAIN,     /* run the transaction again */
	GONE,      /* the connection is lost; run it again on another */
	ELSEWHERE, /* not on this server: a write goes to another, if any */
	UNPREPARE, /* the server forgot, or somebody else prepared */
};

/* By SQLSTATE, or by its class where only two characters stand. */
static const struct {
	const char *state;
	enum err err;
	enum verdict verdict;
} states[] = {
	{"23505", ERR_DB_DUPLICATE, PLAIN},
	{"40001", ERR_DB_CONFLICT, AGAIN},
	{"40P01", ERR_DB_CONFLICT, AGAIN},
	{"57014", ERR_TIMEOUT, PLAIN},      /* statement_timeout */
	{"55P03", ERR_TIMEOUT, PLAIN},      /* lock_timeout */
	{"25P03", ERR_TIMEOUT, GONE},       /* idle_in_transaction */
	{"25P04", ERR_TIMEOUT, GONE},       /* transaction_timeout */
	{"25006", ERR_DATABASE, ELSEWHERE}, /* read only: a standby? */
	{"26000", ERR_DATABASE, UNPREPARE},
	{"42P05", ERR_DATABASE, UNPREPARE},
	{"0A000", ERR_DATABASE, UNPREPARE}, /* a plan whose table changed */
	{"08P01", ERR_INTERNAL, TELL}, /* as many values as the text wants */
	{"57P", ERR_DATABASE, GONE},
	{"08", ERR_DATABASE, GONE},
	{"53", ERR_DATABASE, TELL},
	{"58", ERR_DATABASE, TELL},
	{"", ERR_INTERNAL, TELL},
};

const char *pg_field(const PGresult *r, int code)
{
	const char *p = PQresultErrorField(r, code);

	return p ? p : "";
}

void pg_tell(const struct ctx *cx, const char *name, const PGresult *r)
{
	const char *state = pg_field(r, PG_DIAG_SQLSTATE);
	/* Other messages may quote values; these speak of the text only. */
	bool harmless = strncmp(state, "42", 2) == 0;

	log_error(cx, "db.failed", LOG_TEXT("statement", name),
	          LOG_TEXT("sqlstate", state),
	          LOG_TEXT("constraint", pg_field(r, PG_DIAG_CONSTRAINT_NAME)),
	          LOG_TEXT("message",
	                   harmless ? pg_field(r, PG_DIAG_MESSAGE_PRIMARY)
	                            : ""));
}

/*
 * Without prepared statements from now on if a pooler mixes up the names: on a
 * server of our own these states come only after DDL, and then a fresh
 * connection mends it.
 */
static void unprepare(struct pg *g, const char *state)
{
	g->db.dead = true;
	g->db.again = true;
	if (strcmp(state, "0A000") == 0)
		return;
	if (atomic_exchange(&g->db.pool->prepare, false))
		log_warn(g->db.cx, "db.prepare_off",
		         LOG_TEXT("sqlstate", state));
}

/*
 * FATAL ends a session whatever its state: a pooler says everything with
 * 08P01, which from a server is our own mistake.
 */
static bool is_goodbye(const PGresult *r)
{
	const char *severity = pg_field(r, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (!*severity)
		severity = pg_field(r, PG_DIAG_SEVERITY);
	return strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0;
}

enum err pg_judge(struct pg *g, const PGresult *r, bool *tell)
{
	const char *state = pg_field(r, PG_DIAG_SQLSTATE);
	enum verdict verdict;
	enum err e;
	size_t i = 0;

	while (strncmp(state, states[i].state, strlen(states[i].state)) != 0)
		i++;
	*tell = false;
	verdict = states[i].verdict;
	e = states[i].err;
	if (verdict != GONE && is_goodbye(r)) {
		*tell = db_pool_may_complain(g->db.pool);
		verdict = GONE;
		e = ERR_DATABASE;
	}
	switch (verdict) {
	case PLAIN:
		break;
	case TELL:
		*tell = true;
		break;
	case AGAIN:
		g->db.again = true;
		break;
	case GONE:
		/* A goodbye is no answer: it may have come in between. */
		g->db.dead = true;
		g->db.again = true;
		g->silent = true;
		break;
	case ELSEWHERE:
		*tell = db_pool_may_complain(g->db.pool);
		if (g->mode == DB_MODE_READ) {
			e = ERR_INTERNAL; /* a read that writes: ours */
			break;
		}
		g->db.dead = true;
		g->db.again = true;
		break;
	case UNPREPARE:
		unprepare(g, state);
		break;
	}
	return db_fail(&g->db, e);
}
