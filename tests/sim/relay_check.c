/*
 * What must hold of a simulated world that has come to rest.
 */
#include "tests/sim/relay_world.h"

#include <stdio.h>

static bool owner_lives(void *arg, const char *const texts[])
{
	struct world *w = arg;

	for (size_t i = 0; i < w->procs_n; i++) {
		const struct proc *p = &w->procs[i];

		if (p->up && !p->dead && strcmp(p->owner, texts[0]) == 0)
			return true;
	}
	return false;
}

/* Nothing waits, and no lease is left with somebody who is dead. */
bool check_at_rest(struct world *w)
{
	for (size_t i = 0; i < SERVICES; i++) {
		struct sim_db *db = w->services->of[i].db;

		if (sim_db_i64(db, "SELECT count(*) FROM outbox") != 0 ||
		    sim_db_i64(db, "SELECT count(*) FROM outbox_lease") !=
		            EVENT_SHARDS ||
		    !sim_db_rows(db, "SELECT owner FROM outbox_lease",
		                 owner_lives, w))
			return false;
	}
	return true;
}

static bool take_line(void *arg, const char *const texts[])
{
	buf_printf(arg, "%s seq %s xp %s\n", texts[0], texts[1], texts[2]);
	return true;
}

/* Each subject's rows in their order: what was caused, what came of it. */
static void compare(struct world *w, const struct service *from,
                    const struct service *to)
{
	AUTO_BUF caused = {0}, applied = {0};
	char sql[256];

	(void)snprintf(sql, sizeof(sql),
	               "SELECT sub, row_number() OVER (PARTITION BY sub "
	               "ORDER BY n), xp FROM cause WHERE target = '%s' "
	               "ORDER BY sub, n",
	               to->name);
	(void)sim_db_rows(from->db, sql, take_line, &caused);
	(void)snprintf(sql, sizeof(sql),
	               "SELECT sub, seq, xp FROM ledger WHERE source = '%s' "
	               "ORDER BY sub, n",
	               from->name);
	(void)sim_db_rows(to->db, sql, take_line, &applied);
	if (!CLAIM(w, str_eq(buf_view(&caused), buf_view(&applied))) && w->tell)
		printf("%s caused for %s:\n%.*s\napplied:\n%.*s\n", from->name,
		       to->name, (int)caused.n, caused.p, (int)applied.n,
		       applied.p);
}

void check_all(struct world *w)
{
	for (size_t a = 0; a < SERVICES; a++) {
		struct sim_db *db = w->services->of[a].db;

		for (size_t b = 0; b < SERVICES; b++)
			if (a != b)
				compare(w, &w->services->of[a],
				        &w->services->of[b]);
		CLAIM(w, sim_db_i64(db, "SELECT count(*) FROM outbox") == 0);
		CLAIM(w,
		      sim_db_i64(db, "SELECT count(*) FROM balance AS b "
		                     "WHERE xp <> (SELECT sum(xp) FROM "
		                     "ledger AS l WHERE l.sub = b.sub)") == 0);
		CLAIM(w, sim_db_i64(db, "SELECT (SELECT count(DISTINCT sub) "
		                        "FROM ledger) - (SELECT count(*) FROM "
		                        "balance)") == 0);
		CLAIM(w, sim_db_i64(db, "SELECT count(*) FROM inbox AS i "
		                        "WHERE seq <> (SELECT max(seq) FROM "
		                        "ledger AS l WHERE l.sub = i.sub AND "
		                        "l.source = i.source)") == 0);
	}
}
