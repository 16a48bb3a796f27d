/*
 * cache_world - instances with the real cache in them, people who use it, and
 * what goes wrong, over simulated time.
 *
 *     clients --> cache.c, load.c, ... --> remote.c --> cache_net.c --> redis_model.c
 *        |           loader |                 ^
 *        +------ cache_truth.c <--+       cache_faults.c
 *
 * A run has four parts: faults of every kind while clients load and write; all
 * is mended and time passes; every instance must be in step, hold nothing that
 * is old, and share through the store again; every instance ends in order and
 * leaves nothing behind.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_CACHE_WORLD_H
#define TESTS_SIM_CACHE_WORLD_H

#include "common/cache/cache.h"
#include "tests/sim/cache_net.h"
#include "tests/sim/cache_truth.h"
#include "tests/sim/fiber.h"

#define INSTANCES_MAX 5

enum fault {
	FAULT_CUT,
	FAULT_SILENT_CUT,
	FAULT_STALL,
	FAULT_REFUSE,
	FAULT_SLOW,
	FAULT_REDIS_KILL,
	FAULT_REDIS_FREEZE,
	FAULT_EVICT,
	FAULT_FLUSH,
	FAULT_SCRIPT_FLUSH,
	FAULT_MOOD,
	FAULT_KILL,
	FAULT_STOP,
	FAULT_FREEZE,
	FAULT_NO_MEMORY,
	FAULT_LOADER,
	FAULTS
};

struct world;

/* A process. */
struct instance {
	struct world *world;
	unsigned owner;
	struct cache *cache; /* NULL: not running */
	bool stopping;       /* in order */
	bool killed;         /* at once */
	unsigned inside;     /* clients that have not left */
	unsigned loading[TRUTH_KEYS];
	uint64_t loaded_us[TRUTH_KEYS]; /* when a load of it ended last */
	uint64_t frozen_us;             /* all that it was frozen */
};

struct world {
	uint64_t seed;
	struct truth truth;
	struct net *net;
	unsigned instances_n;
	struct instance instances[INSTANCES_MAX];
	unsigned clients;         /* of an instance */
	uint64_t pause_us;        /* between two things that a client does */
	uint64_t load_us;         /* how long a load takes, mostly */
	unsigned write_per_mille; /* of what clients do */
	unsigned fail_per_mille;  /* of loads */
	uint64_t outage_us;       /* until then all loads fail */
	uint64_t faults_us;       /* how long there are faults */
	uint64_t fault_pause_us;  /* between them */
	bool fault[FAULTS];
	size_t cache_bytes;
	bool detaches;
	unsigned soft_ms, hard_ms, eager;
	bool calm;  /* no more faults and writes */
	bool quiet; /* no clients */
	/* What was done, to see that it was not nothing. */
	uint64_t loads, writes, faults, kills, fetched, from[4];
};

/* One run; false: fiber_failure() says what was violated. */
bool world_run(uint64_t seed,
               void (*tell)(void *arg, const char *line, size_t n), void *arg,
               struct world *out) MUST_CHECK;

/* --- cache_clients.c ----------------------------------------------------------- */

/* A fiber of an instance; arg: struct instance. */
void client_run(void *arg);
/* One load of a key that is checked; *from as cache_info says. */
unsigned client_load(struct instance *in, unsigned key, enum cache_from *from);

/* --- cache_faults.c ------------------------------------------------------------ */

/* A fiber of the world; arg: struct world. */
void faults_run(void *arg);
void faults_mend(struct world *w);

#endif
