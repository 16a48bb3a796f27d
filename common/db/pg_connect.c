#include "common/db/postgres.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define CONNECT_MS 5000

static void ignore_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

/*
 * The SQLSTATE in a verbose message, "FATAL:  53300: words"; or "".  A digit
 * tells it from the severity, which is a word in the server's language.
 */
static void state_of(const char *message, char out[6])
{
	static const char set[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (const char *p = message; (p = strchr(p, ' ')) != NULL; p++) {
		if (strspn(p + 1, set) == 5 && p[6] == ':' &&
		    strcspn(p + 1, "0123456789") < 5) {
			memcpy(out, p + 1, 5);
			out[5] = '\0';
			return;
		}
	}
	out[0] = '\0';
}

/* Words up to the first newline: the rest names source files. */
static struct str first_line(const char *message)
{
	return (struct str){message, strcspn(message, "\n")};
}

static bool wait_socket(PGconn *c, PostgresPollingStatusType want,
                        uint64_t until_ms)
{
	struct pollfd fd = {.fd = PQsocket(c),
	                    .events = want == PGRES_POLLING_READING ? POLLIN
	                                                            : POLLOUT};
	int rc;

	do {
		uint64_t left = clock_left(until_ms, mono_ms());

		rc = poll(&fd, 1, left > 60000 ? 60000 : (int)left);
	} while ((rc < 0 && errno == EINTR) ||
	         (rc == 0 && mono_ms() < until_ms));
	return rc > 0;
}

static bool shake_hands(PGconn *c, uint64_t until_ms)
{
	PostgresPollingStatusType s = PGRES_POLLING_WRITING;

	/* Verbose messages carry the SQLSTATE, which is in no language. */
	(void)PQsetErrorVerbosity(c, PQERRORS_VERBOSE);
	(void)PQsetNoticeReceiver(c, ignore_notice, NULL);
	while (s != PGRES_POLLING_OK) {
		if (s == PGRES_POLLING_FAILED || !wait_socket(c, s, until_ms))
			return false;
		s = PQconnectPoll(c);
	}
	return PQsetnonblocking(c, 1) == 0 && PQenterPipelineMode(c) == 1;
}

static enum err refusal(struct db_pool *p, PGconn *c)
{
	const char *message = PQerrorMessage(c);
	char state[6];

	state_of(message, state);
	if (strcmp(state, "53300") == 0)
		return ERR_BUSY;
	if (!db_pool_may_complain(p))
		return ERR_DATABASE;
	log_error(&p->cx, "db.cannot_connect", LOG_TEXT("sqlstate", state),
	          LOG_STR("message", *message ? first_line(message)
	                                      : STR("no answer in time")));
	return ERR_DATABASE;
}

enum err pg_open(struct db_pool *p, struct str url, uint64_t deadline_ms,
                 struct db **out)
{
	/* What stands before dbname the URL may override. */
	const char *const keys[] = {
		"fallback_application_name", "keepalives_idle",
		"keepalives_interval",       "keepalives_count",
		"tcp_user_timeout",          "dbname",
		"client_encoding",           NULL};
	const char *const values[] = {p->conf.service, "30",  "5",    "3",
	                              "30000",         url.p, "UTF8", NULL};
	uint64_t until = mono_ms() + CONNECT_MS;
	struct pg *g = calloc(1, sizeof(*g));
	enum err e = OK;

	if (!g)
		return ERR_NOMEM;
	g->db = (struct db){.driver = &db_postgres,
	                    .pool = p,
	                    .cx = &p->cx,
	                    .deadline_ms = deadline_ms,
	                    .opened_ms = mono_ms()};
	g->c = PQconnectStartParams(keys, values, 1);
	if (!g->c)
		e = ERR_NOMEM;
	else if (PQstatus(g->c) == CONNECTION_BAD ||
	         !shake_hands(g->c, deadline_ms < until ? deadline_ms : until))
		e = refusal(p, g->c);
	if (e) {
		pg_close(&g->db);
		return e;
	}
	*out = &g->db;
	return OK;
}

void pg_close(struct db *db)
{
	struct pg *g = pg_of(db);

	pg_forget_prepared(g);
	PQfinish(g->c);
	free(g);
}
