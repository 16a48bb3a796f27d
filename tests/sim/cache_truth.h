/*
 * cache_truth - the database of the simulated world, which knows what every
 * value was at every time, and what of it an answer of a cache may still say.
 *
 * A version of a key is committed, then forgotten by the writer's instance, or
 * not, when that is killed in between.  The store contains a version's
 * forgetting from the moment it raised a generation of the key after the
 * commit, for whomever, or began a new epoch: that is the last word on it when
 * the writer has died, so every instance must heed it, the raiser too.
 * An answer that began at t may give version v only if
 *
 *     - this instance had not forgotten the key after v + 1 was committed and
 *       before t, also when it says that it is stale;
 *     - v + 1 was not contained when the instance asked for the last proof
 *       that it hears everything (cache_proof_ms()), stale or not;
 *     - v + 1 is contained for no longer than the degraded bound before t, or
 *       the answer says that it is stale;
 *     - it was read no longer than the key's time to live before t (stale: and
 *       the time to fall back on it), however late the store was told of it;
 *       or a load was waited for.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_CACHE_TRUTH_H
#define TESTS_SIM_CACHE_TRUTH_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "tests/sim/fiber.h"

#define TRUTH_KEYS     12
#define TRUTH_TAGS     4
#define TRUTH_VERSIONS 1024

struct version {
	bool absent; /* there is no such thing, for now */
	uint64_t commit_us, contained_us;
};

struct truth_key {
	char name[32];
	size_t tags_n;
	unsigned tags[2];
	uint64_t ttl_ms, negative_ttl_ms, stale_ms;
	unsigned versions_n, contained_n; /* those below are contained */
	struct version versions[TRUTH_VERSIONS];
	/* The version that an instance forgot last, none older may come. */
	unsigned floor[FIBER_OWNERS];
};

struct truth {
	unsigned keys_n, tags_n;
	struct truth_key keys[TRUTH_KEYS];
	char tags[TRUTH_TAGS][32];
	uint64_t degraded_us;
	uint64_t off_ppm_max; /* how wrong clocks go */
	/* What was checked, to see that it was not nothing. */
	uint64_t answers, stale_answers, old_answers;
};

void truth_begin(struct truth *t);
/* A new value of a key, or of all with a tag, or of all. */
void truth_write(struct truth *t, unsigned key);
void truth_write_tag(struct truth *t, unsigned tag);
void truth_write_all(struct truth *t);
bool truth_has_tag(const struct truth *t, unsigned key, unsigned tag);

/* By the store: slot, or CACHE_SLOT_ALL, also when all began anew. */
void truth_raised(struct truth *t, unsigned slot);
/* The instance's cache_forget() of the key has returned; latest was committed
 * when it was called. */
void truth_forgot(struct truth *t, unsigned owner, unsigned key,
                  unsigned latest);
unsigned truth_latest(const struct truth *t, unsigned key);
/* A new process knows of nothing. */
void truth_process_over(struct truth *t, unsigned owner);

/* What a loader reads now: ERR_NOT_FOUND or a value. */
enum err truth_read(const struct truth *t, unsigned key, struct buf *out);

struct answer {
	unsigned owner, key;
	uint64_t began_us; /* when it was asked for */
	unsigned floor;    /* truth_key.floor as it was then */
	uint64_t proof_ms; /* cache_proof_ms() then */
	bool stale, negative;
	bool loaded; /* by a load that was waited for: then it has no age */
	struct str bytes; /* unless negative */
};
/* Fails the run when it breaks the rules; the version, or UINT_MAX for a
 * negative one. */
unsigned truth_check(struct truth *t, const struct answer *a);

#endif
