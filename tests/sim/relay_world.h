/*
 * relay_world - services, their processes, a network and their databases, all in
 * one thread and over simulated time, around the real code of common/event.
 *
 * Three services send (auth, content, gdpr); two of them receive (content,
 * gdpr).  Each has a database, and one or more processes that share its outbox
 * by lease.  A process is a relay and the calls that it is answering, each a
 * task that can be stopped at a send, before and after a transaction.  A process
 * that is killed does nothing more that others could see: its transactions roll
 * back and its messages are not sent.
 *
 * What happens is drawn from the seed: for each kind of fault whether there is
 * any of it, and how much.  After a while the world becomes calm; then it must
 * come to rest, and relay_check.c looks at what is left.
 */
#ifndef TESTS_SIM_RELAY_WORLD_H
#define TESTS_SIM_RELAY_WORLD_H

#include "common/event/event.h"
#include "tests/sim/relay_db.h"
#include "tests/sim/sim.h"
#include "tests/sim/task.h"

#define SERVICES     3
#define REPLICAS_MAX 3
#define EPOCH_MS     INT64_C(1700000000000)

struct world;
struct proc;
struct relay;

/* In thousandths, if nothing else is said; 0: not in this world. */
struct faults {
	unsigned lose_request, lose_reply, duplicate, garbage, shuffle;
	unsigned delay_ms; /* at most, each way */
	unsigned fail_begin, fail_statement, fail_commit, unknown_commit;
	unsigned run_again, stall, crash;
	unsigned stall_ms;
	bool kills, freezes, outage, clock_steps, clock_skew, cuts;
};

/* What is the same in all worlds: made once. */
struct service {
	const char *name;
	enum bus_peer peer;
	struct sim_db *db;
	struct event_store *store;
	int64_t clock_step_ms; /* the database server's, against true time */
};

struct services {
	struct service of[SERVICES];
};

bool services_open(struct services *s);
void services_close(struct services *s);

/* Something that stops and goes on: a relay, or a call being answered. */
struct strand {
	struct task *task;
	struct proc *proc;
	uint64_t ticket; /* of what it waits for; 0: nothing */
	struct call *call;
	struct buf *reply;
};

#define STRANDS_MAX 256

struct proc {
	struct world *world;
	struct service *service;
	unsigned number, boots;
	char owner[32];
	struct db_pool pool;
	struct relay *relay;
	struct strand *sleeper; /* the relay's strand */
	bool up, dead, ending;  /* dead: it unwinds */
	bool kicked, sleeping;
	uint64_t frozen_until;
	int64_t offset_ms; /* of its clocks */
	int64_t drift_ppm;
};

struct timer {
	uint64_t at, order;
	void (*fire)(struct world *w, void *arg, uint64_t n);
	void *arg;
	uint64_t n;
};

struct world {
	struct services *services;
	struct sim_rng rng;
	struct faults faults;
	uint64_t seed, now, order, tickets;
	bool tell, calm, over; /* over: nobody starts any more */
	const char *violated;  /* the first claim that did not hold */

	struct tasks *tasks;
	struct strand strands[STRANDS_MAX];
	struct strand *strand; /* the running one */
	struct proc *proc;     /* whose code is running */

	struct proc procs[SERVICES * REPLICAS_MAX];
	size_t procs_n, replicas;
	unsigned lease_ms;
	bool service_down[SERVICES], database_down[SERVICES];
	bool cut[SERVICES][SERVICES];

	struct timer *heap;
	size_t heap_n, heap_max;
	struct call *calls; /* all there were, newest first */

	/* The work. */
	unsigned subs;
	uint64_t faults_end;
	char poison[8], refused[8]; /* subs that fail until faults_end */
	unsigned emissions, crashes;
	uint64_t lost; /* what relays said; must stay 0 */
};

/* The time outside of all worlds. */
void world_set_time(uint64_t ms);

/* True: every claim held. */
bool world_run(struct services *s, uint64_t seed, bool tell);

/* --- between the files of the world ------------------------------------------- */

#define CLAIM(w, claim) world_claim((w), (claim), #claim)
bool world_claim(struct world *w, bool claim, const char *words);
void world_say(const struct world *w, const char *fmt, ...) PRINTF(2, 3);
void world_at(struct world *w, uint64_t at,
              void (*fire)(struct world *w, void *arg, uint64_t n), void *arg,
              uint64_t n);

/* relay_world.c */
void proc_start(struct world *w, struct proc *p);
void proc_kill(struct world *w, struct proc *p);
void proc_kick(struct world *w, struct proc *p);
bool strand_start(struct world *w, struct proc *p, void (*fn)(void *arg),
                  struct call *call);
/* The running strand sleeps; another may end its sleep by the ticket. */
void strand_sleep(struct world *w, uint64_t until);
void strand_wake(struct world *w, struct strand *f, uint64_t ticket);
uint64_t proc_true_time(const struct proc *p, uint64_t local_ms);

/* relay_net.c: the calls between services. */
enum err net_send(void *arg, enum bus_peer target, struct str body,
                  uint64_t deadline_ms, struct buf *reply);
void net_free(struct world *w);

/* relay_faults.c: what goes wrong, and what people do meanwhile. */
void faults_draw(struct world *w);
enum err faults_at(void *arg, enum db_point point);
void faults_end(struct world *w);
enum err work_apply(void *arg, struct db *db, const struct event *ev);
bool work_refuses(const struct world *w, struct str body);
extern const char work_tables[];

/* relay_check.c */
bool check_at_rest(struct world *w);
void check_all(struct world *w);

#endif
